"""How far a mean over training runs would move with other seeds."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student_t

from course_lib.errors import UsageError
from course_lib.evaluation.bootstrap import Interval, check_level


def seed_interval(values: Sequence[float], *, level: float = 0.95) -> Interval:
    """The mean of one figure over seeds with Student's interval, which assumes normal scatter.

    For a comparison, give the differences of runs that share a seed: then the interval is a paired one. It
    says nothing about other test examples; `bootstrap_interval` does.

    Args:
        values: one figure for each seed.
        level: share of such intervals that hold the true mean.

    Raises:
        UsageError: fewer than two values, or a level outside of 0 to 1.

    Source: Student 1908, "The Probable Error of a Mean".
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise UsageError(
            f"The values have the shape {values.shape}: a list of at least two values, one a seed, is needed."
        )
    check_level(level)
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    reach = student_t.ppf((1 + level) / 2, len(values) - 1) * error
    return Interval(float(mean), float(mean - reach), float(mean + reach))
