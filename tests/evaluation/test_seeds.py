"""Student's interval over seeds, against values from his tables and against coverage."""

import numpy as np
import pytest

from course_lib.errors import UsageError
from course_lib.evaluation.seeds import seed_interval


def test_two_and_five_values_by_the_tables():
    # t(0.975; 1) = 12.706 and t(0.975; 4) = 2.776; the standard errors are 1 and sqrt(2.5 / 5).
    assert seed_interval([0.0, 2.0]) == pytest.approx((1, 1 - 12.706, 1 + 12.706), abs=1e-3)
    reach = 2.776 * np.sqrt(0.5)
    assert seed_interval([1, 2, 3, 4, 5]) == pytest.approx((3, 3 - reach, 3 + reach), abs=1e-3)
    # t(0.95; 4) = 2.132
    assert seed_interval([1, 2, 3, 4, 5], level=0.9).high == pytest.approx(3 + 2.132 * np.sqrt(0.5), abs=1e-3)


def test_it_holds_the_true_mean_as_often_as_it_says():
    samples = np.random.default_rng(0).normal(7, 2, (4000, 3))
    covered = np.mean([low <= 7 <= high for _, low, high in map(seed_interval, samples)])
    assert covered == pytest.approx(0.95, abs=0.012)  # three standard errors of 4,000 draws are 0.010


@pytest.mark.parametrize("values", [[], [0.5], [[0.1, 0.2], [0.3, 0.4]]])
def test_what_is_no_sample_is_refused(values):
    with pytest.raises(UsageError, match="at least two values"):
        seed_interval(values)


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_share(level):
    with pytest.raises(UsageError, match="between 0 and 1"):
        seed_interval([0.1, 0.2], level=level)
