"""Bootstrap intervals for any figure that follows from counts summed over the units of a test set."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from course_lib.errors import UsageError


class Interval(NamedTuple):
    """The value on the whole test set and the ends of its interval."""

    value: float
    low: float
    high: float


def check_level(level: float) -> None:
    """Raises UsageError unless the level of an interval is a share of cases, above 0 and below 1."""
    if not 0 < level < 1:
        raise UsageError(f"The level of the interval is {level}; it must lie between 0 and 1, such as 0.95.")


def bootstrap_interval(
    counts: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap: how far a figure would move if the test units had been drawn anew.

    A unit is what is drawn independently: a review, a sentence, a document. Drawing units with replacement
    only changes how often each one counts, so the resampled sums are one matrix product.

    Args:
        counts: (num_units, num_counts), what each unit adds to the sums: for the F1 its true positives, false
            positives and false negatives; for a mean its value and 1. For the difference of two models, the
            columns of both: then the interval is that of a paired comparison.
        statistic: from sums (..., num_counts) to the figure (...).
        num_resamples: number of resampled test sets.
        level: share of the resampled figures inside the interval.
        seed: of the draws.

    Raises:
        UsageError: no units, no resamples, or a level outside of 0 to 1.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 2 or len(counts) == 0:
        raise UsageError(f"The counts have the shape {counts.shape}: they need one row for each unit.")
    if num_resamples < 1:
        raise UsageError(f"num_resamples is {num_resamples}; an interval needs at least 1, better 1000.")
    check_level(level)
    random = np.random.default_rng(seed)
    num_units = len(counts)
    sums = np.empty((num_resamples, counts.shape[1]))
    for resample in sums:
        drawn = np.bincount(random.integers(0, num_units, num_units), minlength=num_units)
        resample[:] = drawn @ counts
    low, high = np.quantile(statistic(sums), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(counts.sum(axis=0))), float(low), float(high))
