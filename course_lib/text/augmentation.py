"""Augmentation: changed copies of tokenized texts whose labels and spans stay right, and mix-up.

Each function returns a copy and draws from the NumPy generator that it gets, so that the same generator
state gives the same copy. Labels belong to tokens and travel with them. Spans name tokens that belong
together, such as the entities of `entity_spans`: their tokens are never deleted, replaced or torn apart, and
the result names their new places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from course_lib.errors import UsageError
from course_lib.text.tagging import EntitySpan, check_spans

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

# So many of the nearest words may stand in for a word if vectors are given instead of a table.
NUM_NEIGHBOURS = 5


class Augmented(NamedTuple):
    """A changed text.

    Attributes:
        tokens: one token or more.
        labels: one for each token; None if the text came without.
        spans: the given spans at their new places, sorted by them.
    """

    tokens: list[str]
    labels: list | None
    spans: list[EntitySpan]


def swap_words(
    tokens: Sequence[str],
    rate: float,
    random: np.random.Generator,
    *,
    labels: Sequence | None = None,
    spans: Sequence[EntitySpan] = (),
) -> Augmented:
    """Lets two words change places, again and again; each takes its label along.

    Args:
        tokens: two or more.
        rate: swaps for each token outside the spans, from 0 to 1; the number is rounded.
        random: draws the places, all pairs of them equally likely.
        labels: one for each token.
        spans: tokens that stay where they are; they must not overlap.

    Raises:
        UsageError: fewer than two tokens, a rate outside 0 to 1, or labels or spans that do not fit.

    Source: Wei & Zou 2019, "EDA: Easy Data Augmentation Techniques", section 2.
    """
    spans = _check(tokens, rate, labels, spans)
    free = np.flatnonzero(_outside(tokens, spans))
    order = np.arange(len(tokens))
    if len(free) > 1:
        num_swaps = round(rate * len(free))
        first = random.integers(len(free), size=num_swaps)
        # A step of at least 1 around the circle never leads back to the first place.
        second = (first + random.integers(1, len(free), size=num_swaps)) % len(free)
        for a, b in zip(free[first], free[second], strict=True):
            order[a], order[b] = order[b], order[a]
    return _pick(tokens, labels, order, spans)


def delete_words(
    tokens: Sequence[str],
    rate: float,
    random: np.random.Generator,
    *,
    labels: Sequence | None = None,
    spans: Sequence[EntitySpan] = (),
) -> Augmented:
    """Drops each word outside the spans with the same probability; one word always stays.

    Args:
        tokens: two or more.
        rate: probability that a token outside the spans is dropped, from 0 to 1.
        random: draws which.
        labels: one for each token; a dropped token's label goes with it.
        spans: tokens that stay; they must not overlap.

    Raises:
        UsageError: as in `swap_words`.

    Source: Wei & Zou 2019, section 2; Iyyer et al. 2015, "Deep Unordered Composition", section 3.1, who drop
    words anew in each epoch.
    """
    spans = _check(tokens, rate, labels, spans)
    is_kept = (random.random(len(tokens)) >= rate) | ~_outside(tokens, spans)
    if not is_kept.any():
        is_kept[random.integers(len(tokens))] = True
    num_kept_before = np.concatenate([[0], np.cumsum(is_kept)])
    moved = [
        span._replace(start=int(num_kept_before[span.start]), end=int(num_kept_before[span.end]))
        for span in spans
    ]
    return _pick(tokens, labels, np.flatnonzero(is_kept), moved)


def replace_synonyms(
    tokens: Sequence[str],
    neighbours: Mapping[str, Sequence[str]] | KeyedVectors,
    rate: float,
    random: np.random.Generator,
    *,
    labels: Sequence | None = None,
    spans: Sequence[EntitySpan] = (),
) -> Augmented:
    """Puts a neighbour in the place of some words. A neighbour of a word vector need not be a synonym.

    Args:
        tokens: two or more.
        neighbours: the words that may stand in for a word, each equally likely; or word vectors, of which
            the `NUM_NEIGHBOURS` nearest are taken. Words without any stay.
        rate: probability that a token outside the spans is replaced, from 0 to 1.
        random: draws which tokens, and by what.
        labels: one for each token.
        spans: tokens that stay as they are; they must not overlap.

    Raises:
        UsageError: as in `swap_words`, or a string where a list of neighbours should be.

    Source: Wang & Yang 2015, "That's So Annoying!!!", for neighbours of word vectors.
    """
    spans = _check(tokens, rate, labels, spans)
    replaced = list(tokens)
    for place in np.flatnonzero((random.random(len(tokens)) < rate) & _outside(tokens, spans)):
        candidates = _neighbours_of(tokens[place], neighbours)
        if candidates:
            replaced[place] = candidates[random.integers(len(candidates))]
    return Augmented(replaced, None if labels is None else list(labels), spans)


def draw_mixture(
    num_examples: int, alpha: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws for each example a partner and how much of the example itself the mixture keeps.

    Args:
        num_examples: two or more.
        alpha: both parameters of the beta distribution; 1 draws every weight equally often, smaller values
            leave most mixtures near one of the two.
        random: draws both.

    Returns:
        partners, int (num_examples,), a permutation; weights, float32 (num_examples,), from 0 to 1.

    Raises:
        UsageError: fewer than two examples, or an alpha that is not positive or infinite.

    Source: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", section 2.
    """
    if num_examples < 2:
        raise UsageError(f"Mixing needs at least two examples, not {num_examples}.")
    if not 0 < alpha < math.inf:
        raise UsageError(f"alpha is {alpha}; it must be a positive number, such as 0.4.")
    return random.permutation(num_examples), random.beta(alpha, alpha, num_examples).astype(np.float32)


def mixup(values: np.ndarray, partners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mixes each row with its partner's: weight · row + (1 − weight) · partner.

    Use it twice with the same draw: on the inputs, such as word vectors (num_examples, time, embedding_dim),
    and on the targets (num_examples, num_classes).

    Args:
        values: (num_examples, ...).
        partners, weights: as `draw_mixture` returns them.

    Returns:
        The mixtures, of the shape of the values.

    Raises:
        UsageError: not one partner and one weight for each row, or a weight outside 0 to 1.

    Source: Zhang et al. 2018, section 2; Guo et al. 2019, "Augmenting Data with Mixup for Sentence
    Classification", for word vectors.
    """
    values, weights = np.asarray(values), np.asarray(weights)
    if not len(values) == len(partners) == len(weights):
        raise UsageError(
            f"There are {len(values)} rows, {len(partners)} partners and {len(weights)} weights: "
            "draw them with draw_mixture(num_examples, ...)."
        )
    if not ((weights >= 0) & (weights <= 1)).all():
        raise UsageError("Each weight of a mixture must lie between 0 and 1.")
    weights = weights.reshape(-1, *[1] * (values.ndim - 1))
    return weights * values + (1 - weights) * values[partners]


def _check(tokens, rate, labels, spans) -> list[EntitySpan]:
    """The spans in order, once everything fits."""
    if isinstance(tokens, str) or len(tokens) < 2:
        found = "a string" if isinstance(tokens, str) else f"{len(tokens)}"
        raise UsageError(
            f"Augmenting needs a list of at least two tokens, not {found}: leave shorter texts as they are."
        )
    if not 0 <= rate <= 1:
        raise UsageError(f"The rate is {rate}; it must lie between 0 and 1, such as 0.1.")
    if labels is not None and len(labels) != len(tokens):
        raise UsageError(f"There are {len(tokens)} tokens but {len(labels)} labels.")
    return check_spans(spans, len(tokens))


def _outside(tokens, spans) -> np.ndarray:
    """True where a token belongs to no span."""
    is_outside = np.ones(len(tokens), dtype=bool)
    for span in spans:
        is_outside[span.start : span.end] = False
    return is_outside


def _pick(tokens, labels, places, spans) -> Augmented:
    return Augmented(
        [tokens[place] for place in places],
        None if labels is None else [labels[place] for place in places],
        spans,
    )


def _neighbours_of(word, neighbours) -> Sequence[str]:
    if isinstance(neighbours, Mapping):
        found = neighbours.get(word, ())
        if isinstance(found, str):
            raise UsageError(f"The neighbours of {word!r} are the string {found!r}: give a list of words.")
        return found
    if word not in neighbours:
        return ()
    return [near for near, _ in neighbours.most_similar(word, topn=NUM_NEIGHBOURS)]
