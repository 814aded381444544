"""Kneser-Ney against NLTK's implementation and by hand."""

import numpy as np
import pytest
from nltk.lm import KneserNeyInterpolated
from nltk.util import everygrams

from course_lib.errors import UsageError
from course_lib.models.ngram import KneserNey


@pytest.mark.parametrize("order", [2, 3, 4])
def test_equals_nltk(order):
    random = np.random.default_rng(0)
    ids = random.zipf(1.5, size=300) % 8 + 2
    # NLTK counts followers of the stream's first context, too; so the start is repeated at the end.
    ids = np.concatenate([ids, ids[:5]])
    reference = KneserNeyInterpolated(order, discount=0.6)
    words = [str(index) for index in ids]
    reference.fit([list(everygrams(words, max_len=order))], vocabulary_text=words)
    test = random.zipf(1.5, size=60) % 8 + 2
    expected = [
        reference.logscore(str(test[i]), [str(index) for index in test[max(0, i - order + 1) : i]])
        for i in range(1, len(test))
    ]
    ours = KneserNey(ids, 10, order=order, discount=0.6).log_probabilities(test)
    np.testing.assert_allclose(ours, np.array(expected) * np.log(2), atol=1e-12)


def test_a_bigram_by_hand():
    # Stream a b a c a b with a=2, b=3, c=4. Bigrams: ab 2, ba 1, ac 1, ca 1.
    model = KneserNey(np.array([2, 3, 2, 4, 2, 3]), 5, order=2, discount=0.5)
    # Continuations: a after b and c (2), b after a (1), c after a (1); 4 in all.
    # P(b|a) = (2 - 0.5)/3 + 0.5 * 2/3 * 1/4
    expected = 1.5 / 3 + 1 / 3 * 0.25
    assert np.exp(model.log_probabilities(np.array([2, 3])))[0] == pytest.approx(expected)


def test_probabilities_sum_to_one_and_an_unseen_token_has_none():
    random = np.random.default_rng(1)
    ids = random.integers(2, 9, size=200)
    model = KneserNey(ids, 10, order=3)
    for context in ([2, 3], [9, 9], [9, 4]):
        last = [model.log_probabilities(np.array([*context, token]))[-1] for token in range(10)]
        assert np.exp(last).sum() == pytest.approx(1)
        assert last[9] == -np.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": 1}, "order is 1"),
        ({"order": 99}, "may be 2 to"),
        ({"discount": 1.0}, "discount is 1.0"),
        ({"ids": np.array([2])}, "fewer than one n-gram"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        KneserNey(**{"ids": np.arange(2, 8), "vocabulary_size": 10, **arguments})
