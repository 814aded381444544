"""Tiny untrained models of the three heads, and sentences for them."""

import numpy as np

from course_lib.models.classifier import build_classifier
from course_lib.models.encoder import build_encoder
from course_lib.models.summarizer import build_summarizer
from course_lib.models.tagger import build_tagger
from course_lib.summarization import FEATURE_NAMES
from course_lib.text import Vocabulary
from course_lib.text.features import TaggingEncoder

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


def tagging_encoder(context_length=1):
    words = Vocabulary([word.lower() for word in WORDS if word != "Lee"])
    return TaggingEncoder(words, Vocabulary(list("abeilmnot.")), TAGS, "BIOES", context_length=context_length)
