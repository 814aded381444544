"""The tiny models as notebooks leave them behind, and as the app finds them."""

import functools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from tiny_models import (
    PAIR,
    SETTINGS,
    classifier,
    reader,
    relations_json,
    sentences,
    subwords,
    summarizer,
    tagger,
    tagging_encoder,
    translator,
)

from course_lib.data import LabelledText, ReadingQuestion, SummarizedText, TaggedSentence, TranslatedSentence
from course_lib.models.reader import reading_network
from course_lib.models.translator import search_network
from course_lib.question_answering import encode_with_spans, find_answer
from course_lib.relations import Relation
from course_lib.serving import publish as publishing
from course_lib.serving.export import compress_words
from course_lib.serving.translator_export import compress_tokens
from course_lib.text import TextEncoder
from course_lib.translation import translate


def surest_texts(model, encoder, texts):
    """Moves the biases so that no class is rare; the texts whose answers are surest, about 80, with these."""
    bias = model.get_layer("logits").bias
    logits = np.asarray(model(encoder.encode_batch(texts)))
    bias.assign(bias - np.median(logits, axis=0))
    logits = logits - np.median(logits, axis=0)
    labels, (second, best) = logits.argmax(axis=1), np.sort(logits, axis=1)[:, -2:].T
    by_margin = np.argsort(second - best)
    num_classes = logits.shape[1]
    surest = [by_margin[labels[by_margin] == label][: 80 // num_classes] for label in range(num_classes)]
    surest = np.random.default_rng(0).permutation(np.concatenate(surest))
    return [LabelledText(texts[index], int(labels[index])) for index in surest]


def questions_on(passages, questions, model, encoder):
    """Three questions on each passage, the first with another answer than the model's."""
    network, encode = reading_network(model), functools.partial(encode_with_spans, encoder=encoder)
    options = SETTINGS._replace(threshold=-np.inf)._asdict()
    examples = []
    for number, passage in enumerate(passages):
        asked = questions[3 * number :][:3]
        found = [find_answer(question, passage, encode, network, **options).text for question in asked]
        answers = zip(asked, ["nobody", *found[1:]], strict=True)
        examples.append([ReadingQuestion(question, passage, (answer,), ()) for question, answer in answers])
    return examples


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory):
    """What notebooks 04 and 08 to 13 leave behind, and test data that the models mostly get right."""
    root = tmp_path_factory.mktemp("artifacts")
    texts = [" ".join(words) for words in sentences(300, seed=1)]
    text_encoder = TextEncoder.fit(texts[:30], max_length=40)
    encoders = {
        "sentiment": text_encoder,
        "reviews": text_encoder,
        "entities": tagging_encoder(20),
        "summary": text_encoder,
        "question_answering": text_encoder,
    }
    vocabulary_size = len(text_encoder.vocabulary)
    models = {
        "sentiment": classifier("mean", num_classes=3, vocabulary_size=vocabulary_size),
        "reviews": classifier(vocabulary_size=vocabulary_size),
        "entities": tagger(encoders["entities"]),
        "summary": summarizer(),
        "question_answering": reader(vocabulary_size),
    }
    examples = {name: surest_texts(models[name], text_encoder, texts) for name in ("sentiment", "reviews")}
    for name, model in models.items():
        folder = root / "fast" / name
        folder.mkdir(parents=True)
        model.save(folder / "model.keras")
        encoders[name].save(folder / "encoder.json")
    SETTINGS.save(root / "fast" / "question_answering" / "reading.json")
    documents = [
        [TaggedSentence(tuple(words), (), (), ("B-PER", *["O"] * (len(words) - 1)), number) for words in part]
        for number, part in enumerate(np.array_split(np.array(sentences(40, seed=2), dtype=object), 10))
    ]
    articles = [
        SummarizedText(
            " ".join(" ".join(words).capitalize() + "." for words in sentences(5, seed=number)),
            "The film was good.",
        )
        for number in range(20)
    ]
    related = [publishing.RelatedSentence([("Anna", "visits", "Rome"), ("Lee",)], 0, [Relation(*VISIT)])] * 8
    examples |= {"entities": documents, "summary": articles, "relations": related}
    passages = [article.text for article in articles[:12]]
    examples["question_answering"] = questions_on(passages, texts, models["question_answering"], text_encoder)
    (root / "fast" / "relations").mkdir()
    (root / "fast" / "relations" / "relations.json").write_text(relations_json(), encoding="utf-8")

    both = subwords()
    models["translation"], encoders["translation"] = translator(*both), both
    folder = root / "fast" / "translation"
    folder.mkdir()
    models["translation"].save(folder / "model.keras")
    for side, each in zip(("source", "target"), both, strict=True):
        each.save(folder / f"{side}_subwords.json")
    english = [" ".join(words) for words in sentences(40, seed=13) if len(words) < 20]
    found = translate(english, *both, search_network(models["translation"]), beam_size=4)
    examples["translation"] = [
        TranslatedSentence(text, (answer.text or "no",), ("nobody",))
        for text, answer in zip(english, found, strict=True)
    ]
    return SimpleNamespace(root=root, models=models, encoders=encoders, examples=examples, texts=texts)


VISIT = (PAIR[0], (1,), 1, PAIR[1])


def use_tiny_tasks(patch, artifacts):
    """Lets `course publish` measure on the tiny test data."""
    for name, task in publishing.TASKS.items():
        examples = artifacts.examples[name]
        tiny = task._replace(examples=lambda profile, examples=examples: examples, num_checked=8)
        patch.setitem(publishing.TASKS, name, tiny)


@pytest.fixture(scope="session")
def published(artifacts, tmp_path_factory):
    """Folder of the published models; untrained ones may lose what they like to rounding."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "MAX_LOSS", 1.0)
        use_tiny_tasks(patch, artifacts)
        for name in publishing.TASKS:
            publishing.publish(name, "fast", artifacts=artifacts.root, models=folder)
    return folder


@pytest.fixture
def tiny_tasks(artifacts, monkeypatch):
    """The tasks of `course publish` on the tiny test data."""
    use_tiny_tasks(monkeypatch, artifacts)
    return artifacts


@pytest.fixture(scope="session")
def rounded(artifacts):
    """The Keras models with the word vectors that are published."""
    models = {}
    for name in artifacts.models:
        models[name] = keras.saving.load_model(artifacts.root / "fast" / name / "model.keras")
        (compress_tokens if name == "translation" else compress_words)(models[name])
    return models
