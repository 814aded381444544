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


def test_texts_shorter_than_the_longest_ngram():
    ids = np.random.default_rng(2).integers(0, 4, size=100)
    model = KneserNey(ids, 4, order=4)
    whole = np.array([0, 1, 2, 3, 1])
    # Each token has the same estimate whatever follows.
    for length in range(1, 5):
        expected = model.log_probabilities(whole)[: length - 1]
        np.testing.assert_array_equal(model.log_probabilities(whole[:length]), expected)
    assert model.log_probabilities(np.array([], dtype=int)).shape == (0,)
    with pytest.raises(UsageError, match="run from 1 to 4"):
        model.log_probabilities(np.array([1, 4]))


def test_a_token_of_the_first_places_alone_ends_no_ngram():
    # Trigrams of 5 6 2 3 2 3: 562, 623, 232, 323; 5 and 6 end none of them.
    model = KneserNey(np.array([5, 6, 2, 3, 2, 3]), 7, order=3)
    assert np.isneginf(model.log_probabilities(np.array([2, 5, 2, 6]))[[0, 2]]).all()


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
        ({"ids": np.array([2, 3, 10])}, r"run from 2 to 10; with 10 tokens they may be 0 to 9"),
        ({"ids": np.array([2, 3, -1])}, "run from -1 to 3"),
        ({"vocabulary_size": 1}, "vocabulary_size is 1"),
        ({"vocabulary_size": 0}, "vocabulary_size is 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        KneserNey(**{"ids": np.arange(2, 8), "vocabulary_size": 10, **arguments})
