"""The paired comparisons against SciPy, all sign patterns, published tables and known distributions."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from course_lib.errors import UsageError
from course_lib.evaluation.significance import mcnemar_test, paired_bootstrap, sign_flip_test

RANDOM = np.random.default_rng(5)
BASELINE = RANDOM.random(150)
BETTER = BASELINE + RANDOM.normal(0.03, 0.1, 150)


def test_interval_is_scipy_s():
    result = paired_bootstrap(BETTER, BASELINE, num_samples=20_000)
    assert result.value == pytest.approx(np.mean(BETTER - BASELINE))
    scipy_s = scipy.stats.bootstrap(
        (BETTER - BASELINE,), np.mean, n_resamples=20_000, method="percentile", random_state=0
    ).confidence_interval
    assert (result.low, result.high) == pytest.approx((scipy_s.low, scipy_s.high), abs=5e-4)


def test_interval_turns_round_with_the_systems_and_grows_with_the_level():
    forth = paired_bootstrap(BETTER, BASELINE, num_samples=2_000)
    back = paired_bootstrap(BASELINE, BETTER, num_samples=2_000)
    assert back == pytest.approx((-forth.value, -forth.high, -forth.low))
    wide = paired_bootstrap(BETTER, BASELINE, num_samples=2_000, level=0.99)
    assert wide.low < forth.low < forth.value < forth.high < wide.high
    assert forth == paired_bootstrap(BETTER, BASELINE, num_samples=2_000), "repeatable"
    assert forth != paired_bootstrap(BETTER, BASELINE, num_samples=2_000, seed=1)


def test_pairing_sees_what_the_means_alone_hide():
    spread_out = np.linspace(0, 1, 50)
    result = paired_bootstrap(spread_out + 0.01, spread_out, num_samples=500)
    assert result == pytest.approx((0.01, 0.01, 0.01))


def test_sign_flips_equal_all_patterns_worked_out():
    differences = np.array([0.5, 0.2, -0.1, 0.4, 0.3, -0.2, 0.1, 0.6])
    sums = [np.dot(signs, differences) for signs in itertools.product((-1, 1), repeat=8)]
    exact = np.mean(np.abs(sums) >= abs(differences.sum()) - 1e-12)
    assert 0.01 < exact < 0.2
    assert sign_flip_test(differences, np.zeros(8), num_samples=40_000) == pytest.approx(exact, abs=0.005)
    assert sign_flip_test(np.zeros(8), differences, num_samples=40_000) == pytest.approx(exact, abs=0.005)


def test_sign_flip_p_value_is_scipy_s():
    scipy_s = scipy.stats.permutation_test(
        (BETTER, BASELINE),
        lambda a, b: np.mean(a - b),
        permutation_type="samples",
        n_resamples=9_999,
        random_state=0,
    ).pvalue
    assert sign_flip_test(BETTER, BASELINE) == pytest.approx(scipy_s, abs=0.004)


def test_equal_systems_give_no_difference_and_p_value_one():
    assert paired_bootstrap(BASELINE, BASELINE, num_samples=100) == (0, 0, 0)
    assert sign_flip_test(BASELINE, BASELINE, num_samples=100) == 1
    clearly_better = sign_flip_test(BASELINE + 1, BASELINE, num_samples=999)
    assert clearly_better == pytest.approx(1 / 1_000)


@pytest.mark.parametrize("compare", [paired_bootstrap, sign_flip_test])
def test_errors(compare):
    with pytest.raises(UsageError, match=r"shapes are \(3,\) and \(2,\)"):
        compare([1, 2, 3], [1, 2])
    with pytest.raises(UsageError, match="one score of each system for every document"):
        compare([], [])
    with pytest.raises(UsageError, match="not finite"):
        compare([1, np.nan], [1, 2])


def verdicts(both, only_first, only_second, neither):
    first = [1] * (both + only_first) + [0] * (only_second + neither)
    second = [1] * both + [0] * only_first + [1] * only_second + [0] * neither
    return first, second


def test_mcnemar_by_hand():
    # One against five: 2 · (1 + 6) / 2^6.
    assert mcnemar_test(*verdicts(3, 5, 1, 2)) == pytest.approx(14 / 64)
    # Texts on which both agree change nothing.
    assert mcnemar_test(*verdicts(300, 5, 1, 0)) == pytest.approx(14 / 64)
    assert mcnemar_test(*verdicts(0, 0, 10, 0)) == pytest.approx(2 / 2**10)
    assert mcnemar_test(*verdicts(4, 7, 7, 4)) == 1
    assert mcnemar_test(*verdicts(4, 0, 0, 4)) == 1


def test_mcnemar_of_published_tables():
    # Fay 2010, "Two-sided exact tests and matching confidence intervals for discrete data": 0.06543.
    assert mcnemar_test(*verdicts(21, 2, 9, 12)) == pytest.approx(0.06543, abs=5e-6)
    # Agresti 1990, page 350, approval ratings; by the normal approximation 3e-5.
    assert mcnemar_test(*verdicts(794, 150, 86, 570)) == pytest.approx(3.716e-5, abs=5e-9)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=12))
def test_mcnemar_counts_all_coin_tosses(rows):
    first, second = np.array(rows).T
    wins = (first - second)[first != second]
    tosses = [sum(signs) for signs in itertools.product((-1, 1), repeat=len(wins))]
    assert mcnemar_test(first, second) == pytest.approx(np.mean(np.abs(tosses) >= abs(wins.sum())))
    assert mcnemar_test(first == 1, second == 1) == mcnemar_test(second, first), "booleans, either order"


def test_mcnemar_refuses_what_is_no_verdict():
    with pytest.raises(UsageError, match=r"verdict of row 1 \(counted from 0\) is 0\.5; .* from 0 to 1"):
        mcnemar_test([1, 0.5], [0, 1])
    with pytest.raises(UsageError, match=r"verdict of row 0 .* is missing"):
        mcnemar_test([1, 0], [None, 1])
    with pytest.raises(UsageError, match="3 verdicts on one system but 2 on the other"):
        mcnemar_test([1, 0, 1], [0, 1])


def test_no_samples_are_refused():
    for compare in (paired_bootstrap, sign_flip_test):
        with pytest.raises(UsageError, match=r"s is 0; .* needs at least 1"):
            compare([1.0, 2.0], [0.0, 1.0], num_samples=0)
