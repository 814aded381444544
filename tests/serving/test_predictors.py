"""Text in, answer out: the same as the Keras models give, whatever the text, from any number of threads."""

import itertools
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from tiny_models import TAGS, WORDS

from course_lib.decoding import share_evidence
from course_lib.errors import CourseError, UsageError
from course_lib.serving.cards import read_card
from course_lib.serving.entities import find_entities
from course_lib.serving.export import transitions
from course_lib.serving.predictors import (
    PREDICTORS,
    EntityPredictor,
    SentimentAnswer,
    SentimentPredictor,
    SummaryPredictor,
)
from course_lib.summarization import network_scores, summarize
from course_lib.text import Vocabulary, sentence_spans
from course_lib.text.features import TaggingEncoder
from course_lib.text.news import news_token_spans

HARD_TEXTS = {
    "NUL": "a\x00good\x00film",
    "bidi": "a \u202egood\u202c film \u2066was\u2069 fine",
    "zero width": "a go\u200bod film",
    "surrogate": "\ud800 good \udfff film",
    "tags": "<script>alert('good')</script> <b>film</b>",
    "20,000 characters": "a very good film . " * 1_052 + "good film .."[:12],
    "one long word": "good" * 500,
    "no spaces": "好" * 2_000,
    "line breaks": "good\r\n\r\nfilm\u2028was\x0bfine",
    "emoji": "🎬👍🏽 good",
}
EMPTY_TEXTS = ["", "   \n\t ", "\x00\x00", "\u200b\u202e"]
LABELS = {"sentiment": ["negative", "neutral", "positive"], "reviews": ["negative", "positive"]}
TEXT = "Anna Lee visits Rome. The film was not good, Lee is very dull in the U.S.\n\nAcme was bad."


@pytest.fixture(scope="module", params=["float32", "int8"])
def predictors(published, request):
    return {name: kind.load(published / name, request.param) for name, kind in PREDICTORS.items()}


@pytest.fixture(scope="module")
def sentiment(published):
    return SentimentPredictor.load(published / "sentiment")


@pytest.fixture(scope="module")
def entities(published):
    return EntityPredictor.load(published / "entities")


@pytest.fixture(scope="module")
def summary(published):
    return SummaryPredictor.load(published / "summary")


def timeless(answer):
    return answer._replace(latency_ms=0)


@pytest.mark.parametrize("name, labels", LABELS.items())
def test_probabilities_are_those_of_the_keras_model(published, rounded, artifacts, name, labels):
    encoder, predictor = artifacts.encoders[name], SentimentPredictor.load(published / name)
    texts = [*artifacts.texts[:20], TEXT]
    assert len({len(encoder.encode(text)) for text in texts}) > 10
    answers = predictor.predict_batch(texts)
    for text, answer in zip(texts, answers, strict=True):
        logits = np.asarray(rounded[name](encoder.encode_batch([text])))
        expected = np.asarray(keras.ops.softmax(logits))[0]
        np.testing.assert_allclose(list(answer.probabilities.values()), expected, atol=1e-5)
        assert answer.label == labels[expected.argmax()]
        assert list(answer.probabilities) == labels
    assert {answer.label for answer in answers} == set(labels)


def test_margin_and_entropy_by_hand():
    def answer(**probabilities):
        return SentimentAnswer("a", probabilities, 1, 0, False, 0)

    # -(1/2 ln 1/2 + 2 · 1/4 ln 1/4) = 3/2 ln 2, of at most ln 3.
    assert answer(a=0.25, b=0.5, c=0.25).margin == 0.25
    assert answer(a=0.25, b=0.5, c=0.25).entropy == pytest.approx(1.5 * np.log(2) / np.log(3))
    assert (answer(a=0.0, b=0.0, c=1.0).margin, answer(a=0.0, b=0.0, c=1.0).entropy) == (1, 0)
    assert answer(a=1 / 3, b=1 / 3, c=1 / 3).margin == 0
    assert answer(a=1 / 3, b=1 / 3, c=1 / 3).entropy == pytest.approx(1)
    # One bit's worth is -(0.1 log2 0.1 + 0.9 log2 0.9) = 0.4690.
    assert answer(a=0.9, b=0.1).margin == pytest.approx(0.8)
    assert answer(a=0.9, b=0.1).entropy == pytest.approx(0.4690, abs=5e-5)


def test_a_batch_gives_what_single_texts_give_in_their_order(sentiment, artifacts):
    texts = artifacts.texts[:150]
    for text, answer in zip(texts, sentiment.predict_batch(texts), strict=True):
        alone = sentiment.predict(text)
        assert alone.label == answer.label and alone[2:5] == answer[2:5]
        for label, probability in alone.probabilities.items():
            assert answer.probabilities[label] == pytest.approx(probability, abs=1e-5)
    assert sentiment.predict_batch([]) == []


def test_the_network_reads_a_bounded_number_of_tokens_at_once(sentiment, monkeypatch):
    shapes, network = [], sentiment._network
    monkeypatch.setattr(
        sentiment,
        "_network",
        lambda features: (shapes.append(features["token_ids"].shape), network(features))[1],
    )
    sentiment.predict_batch(["good " * 40] * 150 + ["good"] * 10_000)
    assert sum(rows for rows, _ in shapes) == 10_150 and max(rows * time for rows, time in shapes) <= 4_096
    assert len(shapes) <= 6


def test_counts_of_tokens_by_hand(sentiment):
    answer = sentiment.predict("A good zebra!")
    assert (answer.num_tokens, answer.unknown_share, answer.truncated) == (4, 0.5, False)
    assert not sentiment.predict("good " * 40).truncated  # the encoder's limit
    answer = sentiment.predict("good " * 41)
    assert (answer.num_tokens, answer.unknown_share, answer.truncated) == (41, 0, True)
    assert answer.latency_ms > 0


@pytest.mark.parametrize("text", EMPTY_TEXTS)
def test_a_text_without_words_gets_a_neutral_answer(predictors, text):
    for name, labels in LABELS.items():
        answer = predictors[name].predict(text)
        assert answer.label is None and answer.probabilities == dict.fromkeys(labels, 1 / len(labels))
        assert (answer.num_tokens, answer.unknown_share, answer.truncated) == (0, 0, False)
        assert predictors[name].explain(text) == []
    assert timeless(predictors["entities"].predict(text)) == ([], 0, 0, 0)
    assert predictors["entities"].explain(text) == []
    assert timeless(predictors["summary"].predict(text)) == ([], [], 0)


@pytest.mark.parametrize("text", HARD_TEXTS.values(), ids=HARD_TEXTS)
def test_any_text_gets_an_answer_with_right_offsets(predictors, text):
    answer = predictors["sentiment"].predict(text)
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert answer.label is not None
    found = predictors["entities"].predict(text).entities
    chosen = predictors["summary"].predict(text)
    parts = [*predictors["sentiment"].explain(text), *found, *chosen.sentences, *chosen.all_sentences]
    assert parts
    for part in parts:
        assert text[part.start : part.end] == part.text


def test_support_is_the_probability_that_the_word_adds(sentiment):
    text = "A <b>dull</b> film, <!-- a remark --> was n't it?"
    explained = sentiment.explain(text)
    assert [word.text for word in explained] == ["A", "dull", "film", "was", "n't", "it"]
    whole = sentiment.predict(text)
    for word in explained:
        without = sentiment.predict(text[: word.start] + " " + text[word.end :])
        change = whole.probabilities[whole.label] - without.probabilities[whole.label]
        assert word.support == pytest.approx(change, abs=1e-6)
    assert max(abs(word.support) for word in explained) > 0.01


def test_the_explanation_of_a_long_text_is_bounded_and_covers_it(sentiment, monkeypatch):
    text = " ".join(itertools.islice(itertools.cycle(WORDS), 3_000))
    num_read = []
    network = sentiment._network
    monkeypatch.setattr(
        sentiment,
        "_network",
        lambda features: num_read.append(features["token_ids"].size) or network(features),
    )
    explained = sentiment.explain(text)
    assert 100 < len(explained) <= 500 and sum(num_read) <= 20_000 + 40
    words = [word for part in explained for word in part.text.split() if word != "."]
    assert words == [word for word in text.split() if word != "."]
    assert all(one.end < two.start for one, two in itertools.pairwise(explained))


@pytest.mark.parametrize(
    "text", [TEXT, "Rome", HARD_TEXTS["bidi"], HARD_TEXTS["line breaks"], "Lee is good " * 50]
)
def test_entities_are_those_that_find_entities_finds_with_the_keras_model(entities, rounded, artifacts, text):
    encoder, model = artifacts.encoders["entities"], rounded["entities"]

    def score_tokens(features):
        return keras.ops.convert_to_numpy(model(features))

    expected = find_entities(text, score_tokens, encoder, transitions(model))
    found = entities.predict(text)
    assert [entity[:4] for entity in found.entities] == [entity[:4] for entity in expected]
    np.testing.assert_allclose(
        [entity.probability for entity in found.entities],
        [entity.probability for entity in expected],
        atol=1e-4,
    )
    sentences = [text[start:end] for start, end in sentence_spans(text)]
    assert found.num_tokens == sum(len(news_token_spans(sentence)) for sentence in sentences)


def test_entities_of_several_texts_do_not_mix(entities):
    texts = [TEXT, "", "Anna visits Rome."]
    answers = entities.predict_batch(texts)
    assert [timeless(answer) for answer in answers] == [timeless(entities.predict(text)) for text in texts]
    assert len(answers[0].entities) > 1
    assert entities.predict("Lee visits Rome").unknown_share == pytest.approx(1 / 3)


def test_alternatives_are_shares_of_all_tag_sequences(entities, rounded, artifacts):
    encoder, model = artifacts.encoders["entities"], rounded["entities"]
    text = next(
        text
        for text in map(" ".join, itertools.permutations(["Anna", "Rome", "is"]))
        if entities.predict(text).entities
    )
    scores = transitions(model)
    features = {name: values[None] for name, values in encoder.encode(text.split()).items()}
    (logits,) = share_evidence(
        [np.asarray(model(features))[0]], scores, [text.split()], [tag[2:] for tag in TAGS]
    )
    weights = {
        path: np.exp(
            logits[range(3), path].sum() + sum(scores[step] for step in itertools.pairwise([-1, *path, -1]))
        )
        for path in itertools.product(range(len(TAGS)), repeat=3)
    }
    total = sum(weights.values())
    explained = entities.explain(text)
    assert [part.entity for part in explained] == entities.predict(text).entities
    for entity, alternatives in explained:
        first, num_words = text[: entity.start].count(" "), entity.text.count(" ") + 1
        assert {kind for kind, _ in alternatives} == {"LOC", "PER"} - {entity.type}
        for kind, probability in [*alternatives, (entity.type, entity.probability)]:
            spelled = {1: "S", 2: "BE", 3: "BIE"}[num_words]
            wanted = tuple(TAGS.index(f"{prefix}-{kind}") for prefix in spelled)
            held = sum(w for path, w in weights.items() if path[first : first + num_words] == wanted)
            assert probability == pytest.approx(held / total, abs=1e-5)


def test_an_explanation_reads_the_text_once(entities, monkeypatch):
    text, calls, network = "Anna visits Rome. He left.", [], entities._network
    monkeypatch.setattr(entities, "_network", lambda features: calls.append(1) or network(features))
    entities.predict(text)
    once = len(calls)
    entities.explain(text)
    assert len(calls) == 2 * once


def test_a_type_whose_tags_cannot_spell_two_tokens_is_no_alternative_for_them():
    tags = ["O", "B-MISC", "B-PER", "I-PER"]
    encoder = TaggingEncoder(Vocabulary(["anna"]), Vocabulary(["a"]), tags, scheme="BIO")
    logits = np.full((1, 2, 4), 0.0)
    logits[0, [0, 1], [2, 3]] = 9.0  # B-PER I-PER
    predictor = EntityPredictor(lambda features: logits, encoder)
    ((entity, alternatives),) = predictor.explain("Anna Berg")
    assert (entity.text, entity.type, alternatives) == ("Anna Berg", "PER", [("MISC", 0.0)])


def test_summaries_are_those_of_the_keras_scorer(summary, rounded, artifacts):
    text = " ".join(article.text for article in artifacts.examples["summary"][:3])

    def scorer(sentences):
        return network_scores(
            sentences,
            artifacts.encoders["summary"],
            lambda ids, features: np.asarray(rounded["summary"](features)),
        )

    expected = summarize(text, scorer, num_sentences=4)
    answer = summary.predict(text, num_sentences=4)
    assert [part[:4] for part in answer.sentences] == [part[:4] for part in expected.sentences]
    spans = sentence_spans(text)
    assert [(part.start, part.end) for part in answer.all_sentences] == spans
    assert [part.index for part in answer.all_sentences] == list(range(len(spans)))
    scores = scorer([text[start:end] for start, end in spans])
    np.testing.assert_allclose([part.score for part in answer.all_sentences], scores, atol=1e-5)
    assert answer.sentences == [answer.all_sentences[part.index] for part in answer.sentences]
    assert summary.predict("One good film.").sentences[0].text == "One good film."
    with pytest.raises(UsageError, match="budget"):
        summary.predict(text, num_sentences=0)


def test_eight_threads_get_the_answers_of_one(predictors, artifacts):
    texts = [*artifacts.texts[:40], TEXT, ""]
    # A long translation takes many steps, all alike.
    jobs = [(name, text) for text in texts for name in predictors if name != "translation" or len(text) < 50]

    def answer(job):
        name, text = job
        asked = ("Who visits Rome?", text) if name == "question_answering" else text
        (found,) = predictors[name].predict_batch([asked])
        return repr(timeless(found))  # arrays have no equality of their own

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, jobs * 3)) == [answer(job) for job in jobs] * 3


FILES = [
    ("sentiment", ["model.onnx", "model.int8.onnx", "encoder.json", "words.npz"]),
    ("reviews", ["model.onnx", "model.int8.onnx", "encoder.json", "words.npz"]),
    ("entities", ["model.onnx", "model.int8.onnx", "encoder.json", "words.npz", "transitions.json"]),
    ("summary", ["model.onnx", "model.int8.onnx", "encoder.json"]),
    ("relations", ["relations.json"]),
    (
        "question_answering",
        ["model.onnx", "model.int8.onnx", "encoder.json", "reading.json", "words.npz"],
    ),
    (
        "translation",
        [
            *(f"{part}{bits}.onnx" for part in ("encoder", "decoder") for bits in ("", ".int8")),
            *(f"{side}_{what}" for side in ("source", "target") for what in ("subwords.json", "words.npz")),
        ],
    ),
]


@pytest.mark.parametrize("name, files", FILES)
def test_an_altered_or_missing_file_is_named_with_the_way_out(published, tmp_path, name, files):
    folder = shutil.copytree(published / name, tmp_path / name)
    if name == "relations":
        shutil.copytree(published / "entities", tmp_path / "entities")
    assert sorted(path.name for path in folder.iterdir()) == sorted([*files, "card.json"])
    for file in files:
        whole = (folder / file).read_bytes()
        middle = len(whole) // 2
        for content in (
            whole[:-1],
            whole + b"\n",
            whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        ):
            (folder / file).write_bytes(content)
            with pytest.raises(CourseError) as caught:
                PREDICTORS[name].load(folder)
            assert str(caught.value) == (
                f"{folder / file} is not the file that its card describes: "
                f"make it with: course publish {name} --profile fast"
            )
        (folder / file).unlink()
        with pytest.raises(CourseError) as caught:
            PREDICTORS[name].load(folder)
        assert str(caught.value) == (
            f"{folder / file} is missing: make it with: course publish {name} --profile fast"
        )
        (folder / file).write_bytes(whole)
    PREDICTORS[name].load(folder)


def test_a_missing_model_and_wrong_arguments_are_one_sentence(published, tmp_path):
    with pytest.raises(CourseError, match=r"There is no model in .*sentiment: .*course publish sentiment$"):
        SentimentPredictor.load(tmp_path / "sentiment")
    with pytest.raises(UsageError, match=r"Unknown precision 'int4'.*float32, int8"):
        SentimentPredictor.load(published / "sentiment", "int4")


def test_a_predictor_takes_the_tasks_that_it_serves_whatever_their_folder(published, tmp_path):
    folder = shutil.copytree(published / "reviews", tmp_path / "elsewhere")
    assert SentimentPredictor.load(folder).labels == ("negative", "positive")
    assert SentimentPredictor.load(published / "sentiment").labels == ("negative", "neutral", "positive")
    with pytest.raises(CourseError) as caught:
        SentimentPredictor.load(published / "entities")
    assert str(caught.value) == (
        f"{published / 'entities'} holds a model for the task entities, not for sentiment or reviews: "
        "load it with the predictor of its task."
    )
    for kind in (EntityPredictor, SummaryPredictor):
        with pytest.raises(CourseError, match="for the task reviews, not for"):
            kind.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda card: None,
        lambda card: [],
        lambda card: card | {"format": "course_lib.model/2"},
        lambda card: card | {"files": 3},
        lambda card: card | {"files": {}},
        lambda card: card | {"files": {name: {} for name in card["files"]}},
        lambda card: card | {"files": {name: {"sha256": None} for name in card["files"]}},
        lambda card: card | {"files": list(card["files"])},
        lambda card: card | {"labels": "positive"},
        lambda card: {key: value for key, value in card.items() if key != "command"},
        lambda card: card | {"files": card["files"] | {"../secret": {}}},
        lambda card: {key: value for key, value in card.items() if key != "format"},
    ],
)
def test_a_damaged_card_is_refused(published, tmp_path, change):
    folder = shutil.copytree(published / "sentiment", tmp_path / "sentiment")
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    (folder / "card.json").write_text(json.dumps(change(card)), encoding="utf-8")
    with pytest.raises(CourseError, match=r"card\.json is damaged .*course publish sentiment$"):
        read_card(folder)


@pytest.mark.parametrize("content", [b"", b"\xff", b"{", b"[" * 100_000])
def test_a_card_that_is_no_json_is_refused(tmp_path, content):
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(CourseError, match="is damaged"):
        read_card(tmp_path)


def test_predictors_run_without_tensorflow_and_pickle(published):
    code = f"""
import sys
for name in ("tensorflow", "keras", "pandas", "sklearn", "onnx", "scipy"):
    sys.modules[name] = None
from course_lib.serving.predictors import PREDICTORS
for name, kind in PREDICTORS.items():
    asked = ("Who visits Rome?", {TEXT!r}) if name == "question_answering" else {TEXT!r}
    for precision in ("float32", "int8"):
        predictor = kind.load({str(published)!r} + "/" + name, precision)
        print(predictor.predict_batch([asked])[0].latency_ms > 0)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["True"] * 14
