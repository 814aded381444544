"""Bootstrap intervals against theory and against scipy."""

import time

import numpy as np
import pytest
from scipy import stats

from course_lib.errors import UsageError
from course_lib.evaluation.bootstrap import bootstrap_interval
from course_lib.evaluation.entities import f1_of_counts


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def counts_of_mean(values):
    return np.stack([values, np.ones(len(values))], axis=1)


def test_the_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(3.0, 2.0, 2000)
    interval = bootstrap_interval(counts_of_mean(values), mean, num_resamples=4000)
    half = 1.96 * values.std() / np.sqrt(2000)  # 0.088
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.006)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.006)


def test_equals_scipy_s_percentile_interval_for_the_f1():
    counts = np.random.default_rng(1).poisson([1.5, 0.2, 0.3], (400, 3))
    ours = bootstrap_interval(counts, f1_of_counts, num_resamples=4000, level=0.9)
    scipy_s = stats.bootstrap(
        tuple(counts.T),
        lambda *columns, axis: f1_of_counts(np.stack([column.sum(axis=axis) for column in columns], axis=-1)),
        paired=True,
        method="percentile",
        confidence_level=0.9,
        n_resamples=4000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((scipy_s.low, scipy_s.high), abs=0.002)


def test_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(3)
    hits = 0
    for trial in range(300):
        values = random.random(100) < 0.7
        interval = bootstrap_interval(counts_of_mean(values), mean, num_resamples=200, seed=trial)
        hits += interval.low <= 0.7 <= interval.high
    assert 0.90 < hits / 300 < 0.98


def test_a_paired_difference_is_narrower_than_two_intervals():
    random = np.random.default_rng(4)
    easy = random.random(1000)
    first, second = easy < 0.80, easy < 0.78  # the second errs wherever the first does, and on 2 % more
    counts = np.stack([first, second, np.ones(1000)], axis=1)
    interval = bootstrap_interval(counts, lambda sums: (sums[..., 0] - sums[..., 1]) / sums[..., 2])
    assert 0 < interval.low < interval.value == pytest.approx((first & ~second).mean())
    alone = bootstrap_interval(counts_of_mean(first), mean)
    assert interval.high - interval.low < 0.5 * (alone.high - alone.low)


def test_same_seed_same_interval_and_a_thousand_resamples_take_less_than_a_second():
    counts = np.random.default_rng(5).poisson(1.0, (3453, 3))
    start = time.process_time()
    first = bootstrap_interval(counts, f1_of_counts, seed=7)
    assert time.process_time() - start < 1
    assert first == bootstrap_interval(counts, f1_of_counts, seed=7)
    assert first[1:] != bootstrap_interval(counts, f1_of_counts, seed=8)[1:]


@pytest.mark.parametrize(
    "counts, level", [(np.zeros((0, 2)), 0.95), (np.ones(5), 0.95), (np.ones((5, 2)), 95)]
)
def test_wrong_use_is_one_clear_sentence(counts, level):
    with pytest.raises(UsageError):
        bootstrap_interval(counts, mean, level=level)


def test_no_resamples_are_refused():
    with pytest.raises(UsageError, match="num_resamples is 0"):
        bootstrap_interval(np.ones((5, 2)), lambda sums: sums[..., 0], num_resamples=0)
