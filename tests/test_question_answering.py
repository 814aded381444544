"""Reading without a framework: windows, legal spans by brute force, answers from tables of scores."""

import functools
import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.data import load_stop_words
from course_lib.errors import UsageError
from course_lib.question_answering import (
    FLAGS,
    MAX_QUESTION_LENGTH,
    NO_ANSWER,
    PASSAGE,
    QUESTION,
    EncodedPair,
    answer_yes_no,
    best_span,
    content_words,
    encode_pair,
    encode_with_spans,
    find_answer,
    join_pair,
    label_window,
    overlap_sentence,
    passage_windows,
    reading_problem,
    token_positions,
    training_windows,
    word_overlap,
)
from course_lib.text import UNKNOWN_ID, TextEncoder, Vocabulary

PASSAGE_TEXT = "Anna was born in Graz. She moved to “Vienna” in 1902 and painted there until 1911."
ENCODER = TextEncoder.fit([PASSAGE_TEXT, "When was she born? Where did Anna move?"], max_length=5)
encode = functools.partial(encode_with_spans, encoder=ENCODER)


def test_spans_point_at_the_tokens_and_ids_are_the_text_encoder_s():
    ids, spans = encode(PASSAGE_TEXT)
    words = [PASSAGE_TEXT[start:end] for start, end in spans]
    assert words[:6] == ["Anna", "was", "born", "in", "Graz", "."]
    assert words[9:12] == ["“", "Vienna", "”"]
    # Nothing is cut off, though the encoder's own limit is 5.
    long = TextEncoder(ENCODER.vocabulary, max_length=1_000)
    assert ids == long.encode(PASSAGE_TEXT) and len(ids) == len(spans) > 5
    assert encode("") == ([], [])


def test_a_long_run_without_spaces_keeps_all_its_tokens():
    text = "born/in/Graz/" * 40 + "!"
    ids, spans = encode(text)
    assert [text[start:end] for start, end in spans] == ["born", "/", "in", "/", "Graz", "/"] * 40 + ["!"]
    assert len(ids) == 241


def test_no_cache_of_the_process_holds_what_was_read():
    def cached():
        # Of the packages that see the text: other threads of the test process fill caches of their own.
        caches = [
            each
            for each in gc.get_objects()
            if isinstance(each, functools._lru_cache_wrapper)
            and each.__module__.startswith(("course_lib", "nltk", "tokenizers"))
        ]
        return sum(cache.cache_info().currsize for cache in caches)

    encode_pair("Who is it?", PASSAGE_TEXT, encode)  # loads the splitter
    before = cached()
    encode_pair("Did Zorblax meet Quuxly?", "Zorblax met Frobnitz. Quuxly slept.", encode)
    assert cached() == before


def pair_of(question_ids, passage_ids):
    return EncodedPair(list(question_ids), list(passage_ids), [PASSAGE] * len(passage_ids), [])


def flags_of(pair):
    return [{name for i, name in enumerate(FLAGS) if (role - PASSAGE) >> i & 1} for role in pair.roles]


def test_roles_by_hand():
    # A vocabulary whose first 150 words are function words; "anna" and "graz" come behind them.
    tokens = [*("she", "did", "move", "to", ".", "?"), *(f"w{i}" for i in range(144)), "anna", "graz"]
    encode = functools.partial(encode_with_spans, encoder=TextEncoder(Vocabulary(tokens), max_length=5))
    passage = "She slept. Then Anna left. Later ANNA zyx found Graz. Anna did move to Zyx."
    pair = encode_pair("Did Anna Zyx move to Graz?", passage, encode)
    expected = [
        {"capital", "first of sentence", "opening"},  # She
        *[{"opening"}] * 2,
        {"capital", "first of sentence"},  # Then: one of the best sentence's three words is less than half
        {"capital", "in question"},
        *[set()] * 2,
        {"capital", "first of sentence", "near", "best"},  # Later: Anna, Zyx and Graz
        {"capital", "in question", "near", "best"},
        {"in question", "near", "best"},  # zyx is known to nobody and still stands in the question
        {"near", "best"},
        {"capital", "in question", "near", "best"},
        {"near", "best"},
        {
            "capital",
            "in question",
            "first of sentence",
            "near",
        },  # Anna and Zyx; "did", "move", "to" are common
        *[{"in question", "near"}] * 3,
        {"capital", "in question", "near"},
        {"near"},
    ]
    assert flags_of(pair) == expected
    assert pair.question_ids[2] == UNKNOWN_ID and all(role >= PASSAGE > QUESTION for role in pair.roles)


def test_roles_of_equal_and_of_empty_sentences():
    encode = functools.partial(encode_with_spans, encoder=TextEncoder(Vocabulary(["."]), max_length=5))
    flags = flags_of(encode_pair("zyx", "Zyx. Zyx. Abc.", encode))
    assert [("best" in each, "near" in each) for each in flags[::2]] == [
        (True, True),
        (False, True),
        (False, False),
    ]
    nothing = flags_of(encode_pair("zyx", "Abc. Def.", encode))
    assert not any(each & {"best", "near"} for each in nothing)
    assert encode_pair("", "", encode) == ([], [], [], [])
    bullets = encode_pair("zyx", "- * Zyx", encode)
    assert "opening" in flags_of(bullets)[0] and len(bullets.roles) == 3


def test_a_pair_is_one_sequence_and_its_roles():
    pair = EncodedPair([5, 6], [7, 8, 9], [2, 3, 4], [])
    assert join_pair(pair, (0, 3)) == ([5, 6, 7, 8, 9], [QUESTION, QUESTION, 2, 3, 4])
    assert join_pair(pair, (1, 3)) == ([5, 6, 8, 9], [QUESTION, QUESTION, 3, 4])
    assert join_pair(pair, (0, 100)) == join_pair(pair, (0, 3))
    assert join_pair(pair_of([], [7]), (0, 1)) == ([UNKNOWN_ID, 7], [QUESTION, PASSAGE])
    long = pair_of(range(2, 102), [200])
    ids, roles = join_pair(long, (0, 1))
    assert ids == [*range(2, 2 + MAX_QUESTION_LENGTH), 200]
    assert roles.count(QUESTION) == long.question_length == MAX_QUESTION_LENGTH
    assert pair_of([], [7]).question_length == 1


def test_windows_by_hand():
    assert passage_windows(10, 4, 2) == [(0, 4), (2, 6), (4, 8), (6, 10)]
    assert passage_windows(9, 4, 3) == [(0, 4), (3, 7), (5, 9)]
    assert passage_windows(4, 4, 2) == [(0, 4)] and passage_windows(0, 4, 2) == [(0, 0)]
    for stride in (0, 5):
        with pytest.raises(UsageError, match=f"The stride is {stride}"):
            passage_windows(10, 4, stride)


@given(st.integers(1, 80), st.integers(1, 20), st.data())
def test_windows_hold_every_answer_that_is_short_enough(num_tokens, size, data):
    stride = data.draw(st.integers(1, size))
    windows = passage_windows(num_tokens, size, stride)
    assert all(end - start == min(size, num_tokens) for start, end in windows)
    assert len(set(windows)) == len(windows) and windows == sorted(windows)
    for length in range(1, min(size - stride + 1, num_tokens) + 1):
        for first in range(num_tokens - length + 1):
            assert any(start <= first and first + length <= end for start, end in windows)


def test_labels_point_into_the_joined_sequence():
    # Three question tokens, then the passage's tokens 10 to 13.
    assert label_window((10, 14), 3, (10, 10)) == (3, 3)
    assert label_window((10, 14), 3, (11, 13)) == (4, 6)
    for answer in ((9, 10), (13, 14), (2, 3), (20, 21), None):
        assert label_window((10, 14), 3, answer) == (NO_ANSWER, NO_ANSWER)


def test_token_positions_of_characters():
    spans = [(0, 4), (5, 8), (8, 9), (10, 15)]
    assert token_positions(spans, 5, 9) == (1, 2)
    assert token_positions(spans, 6, 7) == (1, 1), "a part of a word is the word"
    assert token_positions(spans, 0, 15) == (0, 3)
    assert token_positions(spans, 4, 5) is None, "the space between two words"


def test_training_windows_hold_the_answer_or_say_that_they_do_not():
    pair = pair_of([5, 6], range(100, 110))
    rows = training_windows(pair, (4, 5), np.random.default_rng(0), size=4, stride=2)
    # Windows begin at 0, 2, 4 and 6; two of them hold tokens 4 and 5.
    (first, first_label), (second, second_label), (third, third_label) = rows
    assert first == ([5, 6, 102, 103, 104, 105], [1, 1, 2, 2, 2, 2]) and first_label == (4, 5)
    assert second[0] == [5, 6, 104, 105, 106, 107] and second_label == (2, 3)
    assert third[0][2] in (100, 106) and third_label == (NO_ANSWER, NO_ANSWER)
    draws = {
        training_windows(pair, None, np.random.default_rng(seed), size=4, stride=2)[0][0][0][2]
        for seed in range(40)
    }
    assert draws == {100, 102, 104, 106}, "one window without an answer, any of them"
    whole = training_windows(
        pair_of([], range(100, 110)), (0, 9), np.random.default_rng(0), size=50, stride=9
    )
    assert [label for _, label in whole] == [(1, 10)]


scores = st.lists(st.integers(-4, 4), min_size=1, max_size=12)


@given(scores, st.data())
def test_best_span_is_the_best_of_all_legal_ones(start, data):
    end = data.draw(st.lists(st.integers(-4, 4), min_size=len(start), max_size=len(start)))
    max_length = data.draw(st.integers(1, 14))
    legal = [
        (start[i] + end[j], -(j - i), -i)
        for i in range(len(start))
        for j in range(len(start))
        if i <= j < i + max_length
    ]
    score, minus_extra, minus_first = max(legal)
    expected = (-minus_first, -minus_first - minus_extra, score)
    assert best_span(np.array(start, float), np.array(end, float), max_length) == expected


def test_the_two_best_pointers_need_not_make_a_span():
    start, end = np.array([0.0, 1.0, 5.0]), np.array([4.0, 2.0, 0.5])
    assert start.argmax() > end.argmax()
    assert best_span(start, end, 3) == (2, 2, 5.5)
    with pytest.raises(UsageError, match=r"shapes \(3,\) and \(2,\)"):
        best_span(start, end[:2], 3)
    with pytest.raises(UsageError, match="at least one token"):
        best_span(np.array([]), np.array([]), 3)
    with pytest.raises(UsageError, match="max_length is 0"):
        best_span(start, end, 0)


def pointing_at(first, last, null=0.0):
    """A network that wants the span from the token with one id to that with another, wherever they stand."""

    def network(token_ids, roles):
        found = np.zeros((*token_ids.shape, 2))
        in_passage = roles >= PASSAGE
        found[..., 0] = 3.0 * (in_passage & (token_ids == first))
        found[..., 1] = 2.0 * (in_passage & (token_ids == last))
        found[:, NO_ANSWER] = null
        return found

    return network


def id_of(word):
    return ENCODER.vocabulary.encode([word])[0]


def test_an_answer_is_found_in_any_window_and_marked_in_the_passage():
    network = pointing_at(id_of("vienna"), id_of("1902"))
    for window, stride in ((100, 50), (6, 2), (7, 3)):
        answer = find_answer(
            "Where did Anna move?", PASSAGE_TEXT, encode, network, window=window, stride=stride
        )
        assert answer.text == PASSAGE_TEXT[answer.start : answer.end] == "Vienna” in 1902"
        assert answer.score == 5.0 and answer.problem is None
    # No window holds both ends: only the better end is left.
    narrow = find_answer("Where?", PASSAGE_TEXT, encode, network, window=2, stride=1)
    assert narrow.text == "Vienna" and narrow.score == 3.0


def test_no_answer_wins_by_its_odds():
    network = pointing_at(id_of("graz"), id_of("graz"), null=2.0)
    options = {"window": 50, "stride": 25}
    answer = find_answer("Where was she born?", PASSAGE_TEXT, encode, network, **options)
    assert answer.text == "Graz" and answer.score == 5.0 - 2 * 2.0
    assert find_answer("Where was she born?", PASSAGE_TEXT, encode, network, threshold=0.9, **options).text
    refused = find_answer("Where was she born?", PASSAGE_TEXT, encode, network, threshold=1.0, **options)
    assert refused == ("", 0, 0, 1.0, "The passage does not seem to tell.")


def test_what_cannot_be_read_gets_a_reason():
    def never(token_ids, roles):
        raise AssertionError("the network must not be asked")

    for question, passage, reason in (
        ("", PASSAGE_TEXT, "The question is empty."),
        ("When?", "   ", "The passage is empty."),
        ("When?", "?! ... ,", "The passage has no word."),
        ("?", PASSAGE_TEXT, "The question has no word."),
        ("Wozu", PASSAGE_TEXT, "The question has no word that the reader knows."),
        ("When?", "Qwx zzyx vvv", "The passage has no word that the reader knows."),
        ("Anna?", "Sie wurde in Graz geboren und zog nach Wien", "The reader knows only 36% of the words;"),
    ):
        answer = find_answer(question, passage, encode, never, window=8, stride=4)
        assert answer.problem.startswith(reason) and answer[:4] == ("", 0, 0, -np.inf)
    assert reading_problem("When", "It was", pair_of([5], [5, 5, UNKNOWN_ID])) is None


def test_a_question_longer_than_the_passage():
    question = "Where did Anna move and when was she born? " * 20
    network = pointing_at(id_of("graz"), id_of("graz"))
    answer = find_answer(question, "Graz.", encode, network, window=8, stride=4)
    assert answer.text == "Graz"


def test_20_000_words_are_read_in_bounded_memory():
    shapes = []
    network = pointing_at(id_of("graz"), id_of("graz"))

    def watched(token_ids, roles):
        shapes.append(token_ids.shape)
        return network(token_ids, roles)

    words = ["in"] * 20_000
    words[17_777] = "Graz"
    passage = " ".join(words)
    tracemalloc.start()
    answer = find_answer("Where was she born?", passage, encode, watched, window=200, stride=150)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert passage[: answer.start].count(" ") == 17_777 and answer.text == "Graz"
    assert max(rows for rows, _ in shapes) == 8 and max(time for _, time in shapes) <= 205
    assert peak < 30e6


def test_yes_and_no_from_the_mean_of_the_windows():
    graz = id_of("graz")

    def network(token_ids, roles):
        says_yes = ((token_ids == graz) & (roles >= PASSAGE)).any(axis=1)
        return np.stack([np.ones(len(token_ids)), 1 + np.where(says_yes, 3.0, -1.0)], axis=1)

    passage = "in Graz in in in in"
    whole = answer_yes_no("Was she born in Graz?", passage, encode, network, window=6, stride=3)
    assert whole.probability == pytest.approx(1 / (1 + np.exp(-3.0))) and whole.problem is None
    # Windows (0, 2), (2, 4), (4, 6): one of three holds the word.
    parts = answer_yes_no("Was she born in Graz?", passage, encode, network, window=2, stride=2)
    assert parts.probability == pytest.approx(1 / (1 + np.exp(-(3 - 1 - 1) / 3)))
    assert answer_yes_no("", passage, encode, network, window=2, stride=2) == (None, "The question is empty.")
    never = answer_yes_no("in", "in", encode, lambda ids, _: np.array([[1e5, 0.0]]), window=2, stride=2)
    assert never.probability == 0


def test_baselines_by_hand():
    stop_words = load_stop_words()
    assert content_words("Where did the cat, the Cat, go?", stop_words) == {"cat", "go"}
    question = "Is the blue whale larger than a dinosaur?"
    passage = (
        "A cat is small. The blue whale is an animal. No whale was ever blue or larger. The dinosaur died."
    )
    # blue, whale, larger, dinosaur
    assert word_overlap(question, passage, stop_words) == 1
    assert word_overlap(question, "The whale.", stop_words) == 1 / 4
    assert word_overlap("Is it?", passage, stop_words) == 0
    start, end = overlap_sentence(question, passage, stop_words)
    assert passage[start:end] == "No whale was ever blue or larger."
    start, end = overlap_sentence("Is it?", passage, stop_words)
    assert passage[start:end] == "A cat is small.", "of equal sentences the first"
    assert overlap_sentence(question, " \n", stop_words) == (0, 0)
