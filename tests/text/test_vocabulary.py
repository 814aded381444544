"""The vocabulary: ids, order, size, unknown and special tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.errors import UsageError
from course_lib.text import PAD, PAD_ID, UNKNOWN, UNKNOWN_ID, TextEncoder, Vocabulary

TEXTS = [["b", "a", "b"], ["c", "a", "b"], ["d"]]
tokenized_texts = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "B", "é", "中", PAD, UNKNOWN]), max_size=6)
)


def test_ids_are_positions_behind_the_special_tokens():
    vocabulary = Vocabulary(["film", "fine"])
    assert (PAD_ID, UNKNOWN_ID) == (0, 1)
    assert vocabulary.tokens == ["[PAD]", "[UNK]", "film", "fine"]
    assert len(vocabulary) == 4
    assert vocabulary.encode(["fine", "film", "dull", ""]) == [3, 2, 1, 1]
    assert vocabulary.decode([3, 2, 1, 0, 0]) == ["fine", "film", "[UNK]"]
    assert "film" in vocabulary and "dull" not in vocabulary


def test_build_ranks_by_count_then_by_spelling():
    # b three times, a twice, c and d once.
    assert Vocabulary.build(TEXTS).tokens[2:] == ["b", "a", "c", "d"]
    assert Vocabulary.build([["z", "Z", "é", "a"]]).tokens[2:] == ["Z", "a", "z", "é"]


@pytest.mark.parametrize(
    "max_size, expected",
    [
        (None, ["b", "a", "c", "d"]),
        (6, ["b", "a", "c", "d"]),
        (5, ["b", "a", "c"]),
        (3, ["b"]),
        (2, []),
        (0, []),
    ],
)
def test_max_size_counts_the_special_tokens(max_size, expected):
    assert Vocabulary.build(TEXTS, max_size=max_size).tokens == [PAD, UNKNOWN, *expected]


@pytest.mark.parametrize("min_count, expected", [(1, "bacd"), (2, "ba"), (3, "b"), (4, "")])
def test_min_count(min_count, expected):
    assert Vocabulary.build(TEXTS, min_count=min_count).tokens[2:] == list(expected)


def test_build_from_nothing_still_encodes():
    assert Vocabulary.build([]).encode(["film"]) == [UNKNOWN_ID]


def test_text_that_spells_a_special_token_is_unknown():
    vocabulary = Vocabulary.build([[PAD, PAD, PAD, UNKNOWN, "film"]])
    assert vocabulary.tokens == [PAD, UNKNOWN, "film"]
    assert vocabulary.encode([PAD, UNKNOWN, "film"]) == [UNKNOWN_ID, UNKNOWN_ID, 2]
    assert PAD not in vocabulary and UNKNOWN not in vocabulary


def test_text_that_spells_a_special_token_never_becomes_padding():
    for steps in ((), ("lowercase",)):
        encoder = TextEncoder.fit(["[PAD] [UNK] film"], max_length=20, steps=steps)
        assert PAD_ID not in encoder.encode("[PAD] [UNK] [pad] film [PAD]")


@pytest.mark.parametrize("tokens", [["a", "b", "a"], [PAD], ["a", UNKNOWN], ["a", 3], [None], [b"a"]])
def test_wrong_tokens_are_refused(tokens):
    with pytest.raises(UsageError):
        Vocabulary(tokens)


@given(texts=tokenized_texts, data=st.data())
def test_the_order_of_the_texts_does_not_matter(texts, data):
    shuffled = [data.draw(st.permutations(text)) for text in data.draw(st.permutations(texts))]
    assert Vocabulary.build(texts).tokens == Vocabulary.build(shuffled).tokens


@given(texts=tokenized_texts, max_size=st.integers(2, 8), min_count=st.integers(1, 3))
def test_build_against_counting_by_hand(texts, max_size, min_count):
    flat = [token for text in texts for token in text]
    vocabulary = Vocabulary.build(texts, max_size, min_count)
    kept = vocabulary.tokens[2:]
    candidates = {token for token in flat if flat.count(token) >= min_count} - {PAD, UNKNOWN}
    assert set(kept) <= candidates
    assert len(kept) == min(len(candidates), max_size - 2)
    # Nothing that was left out ranks before anything that was kept.
    ranks = [(-flat.count(token), token) for token in kept]
    assert ranks == sorted(ranks)
    assert all((-flat.count(token), token) > rank for token in candidates - set(kept) for rank in ranks)


@given(texts=tokenized_texts)
def test_decode_undoes_encode(texts):
    vocabulary = Vocabulary.build(texts)
    for tokens in texts:
        expected = [UNKNOWN if token == PAD else token for token in tokens]
        assert vocabulary.decode(vocabulary.encode(tokens)) == expected
