"""Tiny untrained models of all tasks, and sentences for them."""

import json

import numpy as np

from course_lib.models.classifier import build_classifier
from course_lib.models.encoder import build_encoder
from course_lib.models.reader import build_span_reader
from course_lib.models.summarizer import build_summarizer
from course_lib.models.tagger import build_tagger
from course_lib.models.translator import build_translator
from course_lib.question_answering import ReaderSettings
from course_lib.relations import FORMAT, Sentence, candidates, features
from course_lib.summarization import FEATURE_NAMES
from course_lib.text import Vocabulary
from course_lib.text.features import TaggingEncoder
from course_lib.text.subwords import END_ID, Subwords
from course_lib.text.tagging import EntitySpan

WORDS = (
    *("the", "a", "film", "plot", "actor", "good", "bad", "dull", "fine", "not", "very", "was", "is"),
    *("Rome", "Anna", "Lee", "Acme", "visits", "in", "7", "U.S.", "."),
)
TAGS = ["O", *(f"{prefix}-{kind}" for kind in ("LOC", "PER") for prefix in "BIES")]


def sentences(num_sentences, seed):
    """Sentences of 1 to 60 words."""
    random = np.random.default_rng(seed)
    return [list(random.choice(WORDS, random.integers(1, 61))) for _ in range(num_sentences)]


def make_random(model, seed=0, scale=0.5):
    """Weights that make outputs differ; the builders' own leave a summarizer's at 0."""
    random = np.random.default_rng(seed)
    model.set_weights([scale * random.standard_normal(weight.shape) for weight in model.get_weights()])
    return model


def classifier(pooling="max", num_layers=1, num_classes=2, vocabulary_size=25):
    encoder = build_encoder(
        vocabulary_size, embedding_dim=6, hidden_dim=5, num_layers=num_layers, dropout=0.2
    )
    return make_random(build_classifier(encoder, num_classes, pooling=pooling, dropout=0.5))


def tagger(encoder, **options):
    options = {"output": "crf", "num_characters": len(encoder.characters), "casing": True} | options
    model = build_tagger(
        len(encoder.words),
        len(encoder.tags),
        embedding_dim=6,
        hidden_dim=5,
        allowed=encoder.allowed,
        **options,
    )
    make_random(model)
    bias = model.get_layer("logits").bias
    bias.assign(np.where(np.arange(len(encoder.tags)) == 0, -2, bias))  # it finds many entities
    return model


def summarizer():
    random = np.random.default_rng(0)
    return make_random(build_summarizer(None, random.normal(1, 2, (50, len(FEATURE_NAMES))), hidden_dim=4))


# About half of the tiny reader's answers have odds above this.
SETTINGS = ReaderSettings(window=24, stride=16, max_answer_length=6, threshold=0.1)


def reader(vocabulary_size):
    encoder = build_encoder(vocabulary_size, embedding_dim=6, hidden_dim=5, dropout=0.2)
    return make_random(build_span_reader(encoder, attention_dim=4, hidden_dim=4, dropout=0.3), seed=3)


def tagging_encoder(context_length=1):
    words = Vocabulary([word.lower() for word in WORDS if word != "Lee"])
    return TaggingEncoder(words, Vocabulary(list("abeilmnot.")), TAGS, "BIOES", context_length=context_length)


# What the tiny tagger of relations takes all other words for is a proper noun.
POS = {"visits": "VBZ", "is": "VBZ", "was": "VBD", "in": "IN", "the": "DT", "a": "DT", "not": "RB", ".": "."}


def relations_json(threshold=0.5):
    """The file of a relation extractor: a tagger that knows a few words, and a confidence of one feature.

    With n entities between subject and phrase it is 1 / (1 + exp(2 n - 2)).
    """
    example = Sentence(("Anna", "visits", "Rome"), ("NNP", "VBZ", "NNP"), tuple(PAIR))
    names = list(features(example, candidates(example)[0], {}))
    weights = dict.fromkeys(names, 0.0) | {"entities between subject and phrase": -2.0}
    document = {
        "format": FORMAT,
        "threshold": threshold,
        "bias": 2.0,
        "weights": weights,
        "phrase_counts": {"visit": 3},
        "tagger": {"weights": {}, "tagdict": POS, "classes": ["IN", "NNP"]},
    }
    return json.dumps(document)


PAIR = [EntitySpan("PER", 0, 1), EntitySpan("LOC", 2, 3)]
SPANISH = (
    "el",
    "la",
    "película",
    "trama",
    "actriz",
    "buena",
    "mala",
    "no",
    "muy",
    "fue",
    "es",
    "visita",
    "¿",
    "?",
)


def subwords():
    """Of English and Spanish words; every word of `WORDS` is one subword."""
    english = [" ".join(words) for words in sentences(60, seed=11)]
    random = np.random.default_rng(12)
    spanish = [" ".join(random.choice(SPANISH, random.integers(1, 20))) for _ in range(60)]
    return Subwords.train(english, 120), Subwords.train(spanish, 120)


def translator(source, target):
    """Random weights; about half of the sentences end, the others are given up at their limit."""
    model = build_translator(len(source), len(target), embedding_dim=8, hidden_dim=8, dropout=0.1)
    make_random(model, seed=1, scale=0.8)
    layer = model.get_layer("decoder").get_layer("target_embedding")
    layer.bias.assign(np.where(np.arange(len(target)) == END_ID, 0.5, layer.bias))
    return model
