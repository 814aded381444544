"""ROUGE by hand, its edge cases, and the greedy oracle against all subsets."""

import itertools

import numpy as np
import pytest

from course_lib.errors import UsageError
from course_lib.evaluation.rouge import greedy_oracle, rouge_scores


def rouge(summary, reference):
    scores = rouge_scores([summary], [reference])
    assert list(scores) == ["rouge1", "rouge2", "rougeL"]
    return [values.item() for values in scores.values()]


@pytest.mark.parametrize(
    "summary, reference, expected",
    [
        # 5 of 6 words; 3 of 5 pairs (the cat, on the, the mat); "the cat … on the mat" in order.
        ("The cat sat on the mat.", "The cat is on the mat", [5 / 6, 3 / 5, 5 / 6]),
        # 3 words of 3 and of 5: precision 1, recall 3/5; pairs b c: 1 of 2 and 1 of 4; in order b c.
        ("b c a", "a b c d e", [3 / 4, 1 / 3, 1 / 2]),
        # a word counts as often as in the other text: 1 of 4 and 1 of 2
        ("the the the the", "the dog", [1 / 3, 0, 1 / 3]),
        # stems and case
        ("Running DOGS barked", "run dog bark", [1, 1, 1]),
        # line breaks do not matter
        ("one two\nthree", "one two three", [1, 1, 1]),
        ("same", "same", [1, 0, 1]),
        ("", "some words", [0, 0, 0]),
        ("some words", "", [0, 0, 0]),
        ("", "", [0, 0, 0]),
        ("?!", "。", [0, 0, 0]),
        # the library knows no other letters
        ("他来了", "他来了", [0, 0, 0]),
    ],
)
def test_by_hand(summary, reference, expected):
    assert rouge(summary, reference) == pytest.approx(expected)


def test_one_score_for_each_document_in_order():
    scores = rouge_scores(["a b", "x", "a c"], ["a b", "a b", "a b"])
    np.testing.assert_allclose(scores["rouge1"], [1, 0, 0.5])
    assert all(values.shape == (3,) and values.dtype == float for values in scores.values())
    assert all(values.shape == (0,) for values in rouge_scores([], []).values())
    with pytest.raises(UsageError, match="2 summaries but 1 references"):
        rouge_scores(["a", "b"], ["a"])


SENTENCES = [
    "The dog slept.",
    "A fire broke out in Leeds.",
    "Nobody was hurt.",
    "Police closed a road.",
]
REFERENCE = "Police closed a road after a fire broke out in Leeds."


def test_oracle_of_one_sentence_is_the_best_of_all():
    scores = rouge_scores(SENTENCES, [REFERENCE] * 4)
    # 6 words shared of 6 and 11, against 4 of 4 and 11.
    np.testing.assert_allclose(scores["rouge1"], [0, 12 / 17, 0, 8 / 15])
    assert greedy_oracle(SENTENCES, REFERENCE, 1) == [1]


def test_oracle_adds_while_it_gains_and_keeps_the_order_of_the_source():
    def total(indices):
        scores = rouge_scores([" ".join(SENTENCES[i] for i in indices)], [REFERENCE])
        return scores["rouge1"][0] + scores["rouge2"][0]

    subsets = [list(s) for k in range(1, 5) for s in itertools.combinations(range(4), k)]
    assert max(subsets, key=total) == [1, 3]
    for budget in (2, 3, 4, 9):
        assert greedy_oracle(SENTENCES, REFERENCE, budget) == [1, 3]
    swapped = [SENTENCES[i] for i in (3, 0, 1)]
    assert greedy_oracle(swapped, REFERENCE, 2) == [0, 2]


def test_oracle_takes_nothing_where_nothing_helps():
    assert greedy_oracle(["Nothing shared here."], "Other words", 2) == []
    assert greedy_oracle([], REFERENCE, 2) == []
    assert greedy_oracle(SENTENCES, REFERENCE, 0) == []
