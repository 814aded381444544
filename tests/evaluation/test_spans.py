"""Exact match and token F1 against values counted by hand and a second implementation of the rules."""

import collections
import re
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.errors import UsageError
from course_lib.evaluation.spans import exact_match, normalize_answer, span_scores, token_f1


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Beatles.", "beatles"),
        ("  a  cat,\n and THE dog ", "cat and dog"),
        ("U.S.", "us"),
        ("an", ""),
        ("theatre, another anthem", "theatre another anthem"),
        # Punctuation goes first: what it leaves behind may be an article.
        ("(a) b-a the-end", "ba theend"),
        ("naïve Café", "naïve café"),
        ("1,000", "1000"),
        ("", ""),
    ],
)
def test_normalization(text, normal):
    assert normalize_answer(text) == normal


# (answer, reference, exact match, F1), the F1 counted by hand.
BY_HAND = [
    ("the Eiffel Tower", "Eiffel tower!", 1, 1),
    ("in the Eiffel Tower", "Eiffel Tower", 0, 2 * 2 / (3 + 2)),
    ("Paris", "London", 0, 0),
    ("to be or not to be", "to be", 0, 2 * 2 / (6 + 2)),
    ("to", "to be or not to be", 0, 2 * 1 / (1 + 6)),
    ("to to to", "to be or not to be", 0, 2 * 2 / (3 + 6)),
    ("1983 May", "May 1983", 0, 1),
    ("", "", 1, 1),
    ("the", "", 1, 1),
    ("", "Paris", 0, 0),
    ("Paris", "", 0, 0),
]


@pytest.mark.parametrize(("answer", "reference", "match", "f1"), BY_HAND)
def test_scores_by_hand(answer, reference, match, f1):
    assert exact_match(answer, reference) == match
    assert token_f1(answer, reference) == pytest.approx(f1)


def test_the_best_reference_counts_and_no_reference_means_no_answer():
    scores = span_scores(
        ["Denver Broncos", "Santa Clara, California", "", "Rome", ""],
        [
            ["The Denver Broncos", "Carolina"],
            ["Levi's Stadium", "California"],
            [],
            [],
            ["Rome"],
        ],
    )
    np.testing.assert_array_equal(scores["exact_match"], [1, 0, 1, 0, 0])
    np.testing.assert_allclose(scores["f1"], [1, 2 * 1 / (3 + 1), 1, 0, 0])
    assert span_scores([], [])["f1"].shape == (0,)


def test_wrong_shapes_are_refused():
    with pytest.raises(UsageError, match="1 answers but references for 2 questions"):
        span_scores(["a"], [["a"], ["b"]])
    with pytest.raises(UsageError, match="a list of texts, not one text"):
        span_scores(["a"], ["a"])


def second_f1(answer, reference):
    """SQuAD's rules again, word by word and with lists."""
    kept = []
    for text in (answer, reference):
        letters = "".join(c for c in text.lower() if c not in string.punctuation)
        kept.append([word for word in re.sub(r"\b(a|an|the)\b", " ", letters).split()])
    if not kept[0] or not kept[1]:
        return float(kept[0] == kept[1])
    common = 0
    left = collections.Counter(kept[1])
    for word in kept[0]:
        if left[word] > 0:
            left[word] -= 1
            common += 1
    if common == 0:
        return 0.0
    precision, recall = common / len(kept[0]), common / len(kept[1])
    return 2 * precision * recall / (precision + recall)


texts = st.lists(
    st.sampled_from(["a", "the", "cat", "Cat.", "dog", "(dog", "an", "1,0", "-"]), max_size=8
).map(" ".join)


@given(texts, texts)
def test_f1_equals_a_second_implementation(answer, reference):
    f1 = token_f1(answer, reference)
    assert f1 == pytest.approx(second_f1(answer, reference))
    assert f1 == token_f1(reference, answer)
    assert exact_match(answer, reference) <= f1 <= 1
