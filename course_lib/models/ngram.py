"""Kneser-Ney n-gram language model: what a neural one has to beat."""

from typing import NamedTuple

import numpy as np

from course_lib.errors import UsageError


class _Order(NamedTuple):
    """Sorted n-grams of one length with their counts, and for each context what its n-grams add up to."""

    ngrams: np.ndarray  # int64 (num_ngrams,), packed
    counts: np.ndarray  # (num_ngrams,)
    contexts: np.ndarray  # int64 (num_contexts,), packed
    totals: np.ndarray  # (num_contexts,)
    num_followers: np.ndarray  # (num_contexts,)


class KneserNey:
    """Interpolated Kneser-Ney smoothing with one discount, counted on a stream of ids.

    The longest n-grams count how often they occur; shorter ones count in how many different contexts they
    occur, since that says how likely they are in a new one.

    Args:
        ids: the training stream, int (num_tokens,).
        vocabulary_size: number of ids.
        order: length of the longest n-grams, 2 or more.
        discount: taken off each count, between 0 and 1.

    Raises:
        UsageError: fewer than two ids, an order or a discount outside its range, a stream shorter than one
            n-gram, or an id outside the vocabulary.

    Source: Kneser & Ney 1995; Chen & Goodman 1999, section 2.7, equation 21 for the interpolated form.
    """

    def __init__(self, ids: np.ndarray, vocabulary_size: int, *, order: int = 3, discount: float = 0.75):
        if vocabulary_size < 2:
            raise UsageError(f"vocabulary_size is {vocabulary_size}; a model needs at least 2 ids.")
        if not 2 <= order <= int(62 / np.log2(vocabulary_size)):
            raise UsageError(
                f"The order is {order}; with {vocabulary_size:,} tokens it may be 2 to "
                f"{int(62 / np.log2(vocabulary_size))}."
            )
        if not 0 < discount < 1:
            raise UsageError(f"The discount is {discount}; it must lie between 0 and 1, such as 0.75.")
        if len(ids) < order:
            raise UsageError(f"The stream has {len(ids)} tokens, fewer than one n-gram of order {order}.")
        self.vocabulary_size, self.order, self.discount = vocabulary_size, order, discount
        ngrams, counts = np.unique(self._pack(self._checked(ids), order), return_counts=True)
        self._orders = []
        for length in range(order, 0, -1):
            self._orders.insert(0, self._summarize(ngrams, counts))
            # Without its first token each n-gram is one context in which a shorter one occurs.
            ngrams, counts = np.unique(ngrams % vocabulary_size ** (length - 1), return_counts=True)

    def log_probabilities(self, ids: np.ndarray) -> np.ndarray:
        """The natural log-probability of each token but the first given those before it: (num_tokens - 1,).

        A token that never occurred in training has the probability 0 and so minus infinity; so has one that
        occurred only among the first `order` - 1 tokens, which end no n-gram that was counted.

        Raises:
            UsageError: an id outside the vocabulary.
        """
        ids = self._checked(ids)
        unigrams = self._orders[0]
        probabilities = self._look_up(unigrams.ngrams, unigrams.counts, ids[1:]) / unigrams.totals[0]
        for length in range(2, min(self.order, len(ids)) + 1):
            order = self._orders[length - 1]
            # Near the start of the stream the context is shorter and the shorter n-gram's estimate stands.
            ngrams = self._pack(ids, length)
            contexts = ngrams // self.vocabulary_size
            counts = self._look_up(order.ngrams, order.counts, ngrams)
            totals = self._look_up(order.contexts, order.totals, contexts)
            followers = self._look_up(order.contexts, order.num_followers, contexts)
            seen = totals > 0
            shorter = probabilities[length - 2 :]
            discounted = np.maximum(counts - self.discount, 0) + self.discount * followers * shorter
            probabilities[length - 2 :] = np.where(seen, discounted / np.where(seen, totals, 1), shorter)
        with np.errstate(divide="ignore"):
            return np.log(probabilities)

    def _checked(self, ids: np.ndarray) -> np.ndarray:
        ids = np.asarray(ids, dtype=np.int64)
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.vocabulary_size:
            raise UsageError(
                f"The ids run from {ids.min()} to {ids.max()}; with {self.vocabulary_size:,} tokens they may "
                f"be 0 to {self.vocabulary_size - 1}."
            )
        return ids

    def _pack(self, ids: np.ndarray, length: int) -> np.ndarray:
        """Each n-gram as one number, its first token most significant: (num_ids - length + 1,)."""
        packed = np.zeros(len(ids) - length + 1, dtype=np.int64)
        for offset in range(length):
            packed = packed * self.vocabulary_size + ids[offset : len(ids) - length + 1 + offset]
        return packed

    def _summarize(self, ngrams: np.ndarray, counts: np.ndarray) -> _Order:
        contexts, first = np.unique(ngrams // self.vocabulary_size, return_index=True)
        totals, num_followers = np.add.reduceat(counts, first), np.diff(first, append=len(ngrams))
        return _Order(ngrams, counts, contexts, totals, num_followers)

    @staticmethod
    def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """The value of each wanted key, 0 where it is missing."""
        places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[places] == wanted, values[places], 0).astype(np.float64)
