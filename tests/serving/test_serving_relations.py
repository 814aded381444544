"""Relations from a published model: plain sentences, bad input, a document."""

import math
import shutil
import time
from types import SimpleNamespace

import pytest
from tiny_models import PAIR, relations_json

from course_lib.errors import CourseError
from course_lib.files import REPOSITORY
from course_lib.relations import Relation
from course_lib.serving.entities import Entity
from course_lib.serving.predictors import EntityPredictor, RelationPredictor

MODELS = REPOSITORY / "app" / "models"


@pytest.fixture(scope="module", params=["float32", "int8"])
def shipped(request):
    return RelationPredictor.load(MODELS / "relations", request.param)


@pytest.mark.parametrize(
    "text, relation",
    [
        ("Steffi Graf defeated Monica Seles.", ("Steffi Graf", "defeated", "Monica Seles")),
        ("Monica Seles was defeated by Steffi Graf.", ("Monica Seles", "was defeated by", "Steffi Graf")),
        ("Qantas will open an office in Auckland.", ("Qantas", "will open an office in", "Auckland")),
    ],
)
def test_plain_sentences_have_their_relation(shipped, text, relation):
    answer = shipped.predict(f"It rained. {text}")
    (found,) = answer.relations
    assert (found.subject, found.phrase, found.object) == relation
    assert shipped.threshold <= found.confidence < 1
    assert f"It rained. {text}"[found.start : found.end] == text
    assert answer.message == "" and answer.latency_ms > 0


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "the text holds no words"),
        (" \u200b\n ", "the text holds no words"),
        ("… 12 — !!", "the text holds no words"),
        (
            "El presidente Aznar se reunió ayer con Jacques Chirac en París para hablar de la pesca.",
            "English",
        ),
        ("Helen Clark slept badly because the hotel was loud.", "no sentence holds two names"),
        ("good" * 5_000, "no sentence holds two names"),
    ],
)
def test_without_relations_there_is_a_reason(shipped, text, message):
    answer = shipped.predict(text)
    assert answer.relations == [] and message in answer.message


@pytest.mark.parametrize(
    "text",
    [
        "Helen Clark met " + "and greeted John Howard of Sydney " * 66 + ".",
        "Helen Clark met John Howard in Sydney. " * 512,
        "Anna saw Rome and Paris, " * 800,
        "was seen in the house of " * 800,
    ],
    ids=["400 words", "many sentences", "one sentence of names", "one sentence of verbs"],
)
def test_20_000_characters_are_answered_in_time(text):
    shipped = RelationPredictor.load(MODELS / "relations")
    began = time.process_time()
    answer = shipped.predict(text[:20_000])
    assert bool(answer.relations) != bool(answer.message)
    assert time.process_time() - began < 10


def test_a_batch_gives_what_single_texts_give(shipped):
    texts = ["Steffi Graf defeated Monica Seles.", "", "Qantas will open an office in Auckland."]
    answers = shipped.predict_batch(texts)
    assert [answer[:2] for answer in answers] == [shipped.predict(text)[:2] for text in texts]


def test_a_document_is_read_in_its_tokens(tmp_path):
    """By hand: with a gap between subject and phrase the confidence is 0.5, without one 0.88."""
    (tmp_path / "relations.json").write_text(relations_json(threshold=0.6), encoding="utf-8")
    tags = [["S-PER", "O", "S-LOC", "O"], ["S-PER", "S-PER", "O", "S-LOC"], ["O"]]
    entities = SimpleNamespace(tag_document=lambda sentences: tags[: len(sentences)])
    document = [("Anna", "visits", "Rome", "."), ("Anna", "Lee", "visits", "Rome"), ("Nothing",)]
    predictor = RelationPredictor.of_file(tmp_path / "relations.json", entities)
    first, second, third = predictor.relate_document(document)
    assert first == [Relation(PAIR[0], (1,), 1, PAIR[1])] and third == []
    assert [(found.subject.start, found.object.start) for found in second] == [(1, 3)]
    (tmp_path / "relations.json").write_text(relations_json(threshold=0.4), encoding="utf-8")
    predictor = RelationPredictor.of_file(tmp_path / "relations.json", entities)
    second = predictor.relate_document(document)[1]
    assert [(found.subject.start, found.object.start) for found in second] == [(1, 3), (0, 3)]


def test_the_entities_are_those_of_the_folder_beside(published, monkeypatch, tmp_path):
    """By hand: the tiny confidence is 1 / (1 + exp(-2)) where nothing stands between."""
    loaded = []

    def load(folder, precision):
        loaded.append((folder, precision))
        found = [Entity("Anna", "PER", 0, 4, 0.9), Entity("Rome", "LOC", 12, 16, 0.8)]
        return SimpleNamespace(predict=lambda text: SimpleNamespace(entities=found))

    monkeypatch.setattr(EntityPredictor, "load", load)
    predictor = RelationPredictor.load(published / "relations", "int8")
    assert loaded == [(published / "entities", "int8")]
    (relation,) = predictor.predict("Anna visits Rome.").relations
    assert relation[:3] == ("Anna", "visits", "Rome") and predictor.threshold == 0.5
    assert relation.confidence == pytest.approx(1 / (1 + math.exp(-2)))
    monkeypatch.undo()
    alone = shutil.copytree(published / "relations", tmp_path / "relations")
    with pytest.raises(CourseError, match=r"There is no model in .*entities: .*course publish entities$"):
        RelationPredictor.load(alone)
