"""Questions and passages in, answers out: as with the Keras model, for any text, in bounded memory."""

import functools
import json
import math
import time
import tracemalloc

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import SETTINGS, WORDS, sentences

from course_lib.compression.quantization import quantize_graph
from course_lib.data import ReadingQuestion
from course_lib.errors import CourseError
from course_lib.files import REPOSITORY
from course_lib.models.encoder import build_encoder
from course_lib.models.reader import build_span_reader, reading_network
from course_lib.question_answering import (
    MAX_QUESTION_LENGTH,
    NO_ANSWER,
    PASSAGE,
    QUESTION,
    ReaderSettings,
    encode_with_spans,
    find_answer,
    split_by_passage,
)
from course_lib.serving.export import READER_TOLERANCE, check_parity, compress_words, to_onnx
from course_lib.serving.network import Network
from course_lib.serving.questions import QuestionPredictor
from course_lib.text import TextEncoder, pad

QUESTION_TEXT = "Who visits Rome?"
PASSAGE_TEXT = "Anna Lee visits Rome. The film was not good,\n\nLee is very dull in the U.S. Acme was bad."


@pytest.fixture(scope="module", params=["float32", "int8"])
def predictor(published, request):
    return QuestionPredictor.load(published / "question_answering", request.param)


@pytest.fixture(scope="module")
def exact(published):
    return QuestionPredictor.load(published / "question_answering")


def pairs():
    """Questions of 1 to 60 words on passages of 1 to 180, and the text above."""
    long = [" ".join(" ".join(words) for words in sentences(3, seed=seed)) for seed in range(20, 32)]
    asked = [" ".join(words) for words in sentences(12, seed=19)]
    return [*zip(asked, long, strict=True), (QUESTION_TEXT, PASSAGE_TEXT), ("visits Rome", "Anna")]


@pytest.mark.parametrize("threshold", [None, -math.inf, 1e9])
def test_answers_are_those_of_the_keras_model(exact, rounded, artifacts, threshold):
    network = reading_network(rounded["question_answering"])
    encode = functools.partial(encode_with_spans, encoder=artifacts.encoders["question_answering"])
    options = SETTINGS if threshold is None else SETTINGS._replace(threshold=threshold)
    num_answered = 0
    for question, passage in pairs():
        answer = exact.predict(question, passage, threshold)
        expected = find_answer(question, passage, encode, network, **options._asdict())
        assert answer[:3] == expected[:3] and answer.message == (expected.problem or "")
        assert answer.log_odds == pytest.approx(expected.score, abs=1e-3)
        num_answered += bool(answer.text)
    assert num_answered in {None: range(1, 14), -math.inf: [14], 1e9: [0]}[threshold]


@pytest.fixture(scope="module")
def model():
    """The sizes are those of the notebook in full, the weights those of the builder, larger."""
    keras.utils.set_random_seed(2)
    model = build_span_reader(build_encoder(500, hidden_dim=64), attention_dim=64, hidden_dim=64, dropout=0.3)
    random = np.random.default_rng(0)
    model.set_weights([2 * each + random.normal(0, 0.05, each.shape) for each in model.get_weights()])
    return model


def joined(question_length, passage_length, seed):
    """Token ids and roles of one pair; every flag and many sums of flags occur."""
    random = np.random.default_rng(seed)
    roles = [QUESTION] * question_length + random.integers(PASSAGE, PASSAGE + 64, passage_length).tolist()
    return {"token_ids": random.integers(1, 500, len(roles)).tolist(), "roles": roles}


ROWS = [joined(*lengths, seed) for seed, lengths in enumerate([(1, 1), (3, 9), (40, 2), (12, 60)])]


def batch_of(rows, length=None):
    return {name: pad([row[name] for row in rows], length) for name in ("token_ids", "roles")}


def test_the_graph_gives_keras_scores_whatever_the_padding(model):
    network = Network(to_onnx(model).SerializeToString(), compress_words(model))
    for length in (None, 90):
        batch = batch_of(ROWS, length)
        expected, found = np.asarray(model(batch)), network(batch)
        assert found.dtype == np.float32 and found.shape == (*batch["roles"].shape, 2)
        np.testing.assert_allclose(found, expected, atol=READER_TOLERANCE)
        # Question and padding are closed but for the first position; the passage is open.
        is_open = batch["roles"] >= PASSAGE
        is_open[:, NO_ANSWER] = True
        assert (np.abs(found[is_open]) < 1e3).all() and (found[~is_open] == -3e4).all()
        assert np.ptp(found[is_open]) > 1
    for row in ROWS:
        alone = batch_of([row])
        np.testing.assert_allclose(network(alone), np.asarray(model(alone)), atol=READER_TOLERANCE)


def test_each_flag_and_the_question_count(model):
    """A graph that left one of them out would give what it gave before."""
    network = Network(to_onnx(model).SerializeToString(), compress_words(model))
    row = batch_of([ROWS[1]])
    before = network(row)[0, 3:]
    for flag in range(6):
        roles = row["roles"].copy()
        roles[0, 5] = PASSAGE + ((roles[0, 5] - PASSAGE) ^ 2**flag)
        assert np.abs(network({**row, "roles": roles})[0, 3:] - before).max() > 1e-3
    token_ids = row["token_ids"].copy()
    token_ids[0, 1] += 1
    assert np.abs(network({**row, "token_ids": token_ids})[0, 3:] - before).max() > 1e-3


def test_parity_notices_a_wrong_pointer_and_a_wrong_batch(model):
    network, batch = Network(to_onnx(model).SerializeToString(), compress_words(model)), batch_of(ROWS)
    assert check_parity(model, network, [batch], READER_TOLERANCE) < READER_TOLERANCE
    for num_rows in (1, len(ROWS)):

        def wrong(features, num_rows=num_rows):
            scores = network(features)
            scores[:, 0, 1] += 2e-4 * (len(scores) == num_rows)
            return scores

        with pytest.raises(CourseError, match=r"differs from its Keras model .* nothing was exported"):
            check_parity(model, wrong, [batch], READER_TOLERANCE)


def test_int8_is_a_quarter_and_close(model):
    graph, words = to_onnx(model), compress_words(model)
    small = quantize_graph(graph)
    operators = [node.op_type for node in small.graph.node]
    assert operators.count("DynamicQuantizeLSTM") == 2 and "LSTM" not in operators
    assert len(small.SerializeToString()) < 0.3 * len(graph.SerializeToString())
    batch = batch_of(ROWS)
    exact, close = (Network(each.SerializeToString(), words)(batch) for each in (graph, small))
    real = exact > -1e4
    assert ((close == exact) | real).all()  # what is closed stays closed
    errors, spread = np.abs(exact - close)[real], np.ptp(exact[real])
    assert 0 < errors.mean() < 0.05 * spread and errors.max() < 0.25 * spread


@given(
    st.text(max_size=30) | st.just(QUESTION_TEXT),
    st.text(max_size=80)
    | st.lists(st.sampled_from([*WORDS, "\n", "“", "é", "好"]), max_size=60).map(" ".join),
)
@settings(max_examples=80, deadline=None)
def test_any_pair_gets_a_slice_of_the_passage_or_a_reason(exact, question, passage):
    for threshold in (None, -math.inf):
        answer = exact.predict(question, passage, threshold)
        assert bool(answer.text) != bool(answer.message)
        assert answer.text == passage[answer.start : answer.end]
        assert len(encode_with_spans(answer.text, exact._encode.keywords["encoder"])[0]) <= 6


@pytest.mark.parametrize(
    "question, passage, message",
    [
        (QUESTION_TEXT, "", "The passage is empty."),
        (QUESTION_TEXT, " \n\t ", "The passage is empty."),
        ("", PASSAGE_TEXT, "The question is empty."),
        (QUESTION_TEXT, "vvkq wqq zzk", "The passage has no word that the reader knows."),
        ("qwxz zzyx", PASSAGE_TEXT, "The question has no word that the reader knows."),
        ("Anna?", "日本語の文章", "The passage has no word that the reader knows."),
        # Known are "Anna", "in", "Rome" and ".", four tokens of eight.
        ("Anna", "Die Frau wohnt lange in Rome.", "The reader knows only 50% of the words; it was trained"),
    ],
)
def test_what_cannot_be_read_gets_a_reason(predictor, question, passage, message):
    for threshold in (None, -math.inf):
        answer = predictor.predict(question, passage, threshold)
        assert answer.message.startswith(message)
        assert answer[:3] == ("", 0, 0) and answer.log_odds == -math.inf


def test_other_languages_are_told_from_english():
    """With a vocabulary of real English; the network is asked only for what passes."""
    encoder = TextEncoder.load(REPOSITORY / "app" / "models" / "reviews" / "encoder.json")
    asked = []

    def network(features):
        asked.append(features)
        return np.zeros((*features["roles"].shape, 2), np.float32)

    predictor = QuestionPredictor(network, encoder, ReaderSettings(128, 96, 30, -1.0))
    for question, passage in (
        ("Wer hat die Stadt gegründet?", "Die Stadt wurde von Händlern am Fluss gegründet."),
        ("¿Dónde nació la pintora?", "La pintora nació en un pueblo cerca del mar y vivió allí diez años."),
        ("Qui a construit le pont ?", "Le vieux pont fut construit par un tailleur de pierre du village."),
    ):
        assert "it was trained on English" in predictor.predict(question, passage).message
    assert not asked
    passage = "The old bridge was built by a stonemason named Clara Voss. It was opened in 1877."
    assert predictor.predict("Who built the old bridge?", passage).text and len(asked) == 1


def test_a_question_longer_than_its_passage(predictor):
    question = "was the film not good in Rome and very dull " * 20
    answer = predictor.predict(question, "Anna.", -math.inf)
    assert "Anna.".startswith(answer.text) and answer.text
    # What is behind the fortieth token is not read.
    tokens = encode_with_spans(question, predictor._encode.keywords["encoder"])[1]
    cut = question[: tokens[MAX_QUESTION_LENGTH - 1][1]]
    assert (
        predictor.predict(cut, "film film", -math.inf)[:4]
        == predictor.predict(question, "film film", -math.inf)[:4]
    )


def test_20_000_words_are_read_in_bounded_memory(exact, monkeypatch):
    shapes, network = [], exact._network

    def watched(token_ids, roles):
        shapes.append(token_ids.shape)
        return network(token_ids, roles)

    monkeypatch.setattr(exact, "_network", watched)
    passage = "the film was not very good in Rome . " * 2_223
    began = time.process_time()
    tracemalloc.start()
    answer = exact.predict(QUESTION_TEXT, passage, -math.inf)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.num_tokens == 9 * 2_223 > 20_000 and answer.text == passage[answer.start : answer.end]
    # Each but the last window begins 16 tokens behind the one before.
    assert answer.num_windows == math.ceil((20_007 - 24) / 16) + 1 == sum(rows for rows, _ in shapes)
    assert max(rows for rows, _ in shapes) == 8 and max(time for _, time in shapes) == 4 + 24
    assert peak < 40e6 and time.process_time() - began < 30


def test_a_passage_of_20_000_characters_is_answered_in_time(predictor):
    for passage in ("the film was good. " * 1_053, "good " * 4_000, "good" * 5_000, "x. " * 6_667):
        began = time.process_time()
        answer = predictor.predict(QUESTION_TEXT, passage[:20_000])
        assert bool(answer.text) != bool(answer.message)
        assert time.process_time() - began < 10


def test_the_threshold_decides_between_a_span_and_no_answer(predictor):
    """The span with no limit is the one that a limit just below its odds lets through."""
    forced = predictor.predict(QUESTION_TEXT, PASSAGE_TEXT, -math.inf)
    assert forced.text and math.isfinite(forced.log_odds)
    below, above = forced.log_odds - 1e-3, forced.log_odds + 1e-3
    assert predictor.predict(QUESTION_TEXT, PASSAGE_TEXT, below)[:5] == forced[:5]
    refused = predictor.predict(QUESTION_TEXT, PASSAGE_TEXT, above)
    assert refused[:5] == ("", 0, 0, "The passage does not seem to tell.", forced.log_odds)
    assert predictor.threshold == SETTINGS.threshold
    own = predictor.predict(QUESTION_TEXT, PASSAGE_TEXT)
    assert bool(own.text) == (forced.log_odds > SETTINGS.threshold)


def test_counts_by_hand(exact):
    answer = exact.predict("good?", "A good zebra visits Rome, Anna!")
    # Unknown are the zebra, the comma and the exclamation mark, of eight tokens.
    assert (answer.num_tokens, answer.unknown_share, answer.num_windows) == (8, 3 / 8, 1)
    assert answer.latency_ms > 0
    assert exact.predict("good?", "").num_tokens == exact.predict("good?", "").unknown_share == 0


def test_a_batch_gives_what_single_pairs_give(exact):
    asked = [*pairs()[:4], ("", PASSAGE_TEXT), (QUESTION_TEXT, "")]
    for threshold in (None, -math.inf):
        answers = exact.predict_batch(asked, threshold)
        assert [each[:-1] for each in answers] == [exact.predict(*pair, threshold)[:-1] for pair in asked]
    assert exact.predict_batch([]) == []


def test_settings_survive_their_file_and_wrong_ones_are_refused(tmp_path):
    path = tmp_path / "reading.json"
    kept = ReaderSettings(window=224, stride=128, max_answer_length=30, threshold=-3.25)
    kept.save(path)
    assert ReaderSettings.load(path) == kept
    content = json.loads(path.read_text(encoding="utf-8"))
    assert {name: content[name] for name in kept._fields} == kept._asdict()
    for wrong in (
        kept._replace(stride=225),
        kept._replace(stride=0),
        kept._replace(max_answer_length=0),
        kept._replace(window=224.5),
        kept._replace(threshold=math.inf),
        kept._replace(threshold="low"),
    ):
        with pytest.raises(CourseError, match="settings of a reader"):
            wrong.save(path)
    assert ReaderSettings.load(path) == kept  # the old file stays
    path.write_text(path.read_text(encoding="utf-8").replace("224", "225"), encoding="utf-8")
    with pytest.raises(CourseError, match=r"settings of a reader .*reading\.json is damaged"):
        ReaderSettings.load(path)


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["span", "other words", "no answer"])), max_size=60
    ),
    st.integers(0, 5),
)
def test_no_passage_stands_in_two_parts_and_no_usable_question_is_lost(kinds, seed):
    found = {"span": (("a",), ((0, 1),)), "other words": (("b",), ()), "no answer": ((), ())}
    records = [
        ReadingQuestion(str(number), f"a passage {group}", *found[kind])
        for number, (group, kind) in enumerate(kinds)
    ]
    usable = [record for record, (_, kind) in zip(records, kinds, strict=True) if kind != "other words"]
    if not usable:
        return
    parts = split_by_passage(records, seed)
    passages = [{record.passage for record in part} for part in parts]
    assert not passages[0] & passages[1] and not passages[0] & passages[2] and not passages[1] & passages[2]
    assert sorted(record for part in parts for record in part) == sorted(usable)
    for part, most in zip(parts[1:], (len(usable) // 10, len(usable) // 5), strict=True):
        assert len(part) <= most and part == [record for record in usable if record in part]
