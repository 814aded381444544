"""The paired comparisons against SciPy, all sign patterns and known distributions."""

import itertools

import numpy as np
import pytest
import scipy.stats

from course_lib.errors import UsageError
from course_lib.evaluation.significance import paired_bootstrap, sign_flip_test

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
