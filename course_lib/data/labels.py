"""Labels and targets checked row by row, before a loss or a metric fails on them without saying where."""

import numbers
from collections.abc import Sequence

import numpy as np

from course_lib.errors import UsageError


def check_labels(labels: Sequence, num_classes: int, name: str = "label") -> np.ndarray:
    """Class ids as int64 (num_texts,), every one a whole number from 0 to num_classes - 1.

    Args:
        labels: one for each text.
        num_classes: how many classes there are.
        name: what a single one is called in the error, such as "prediction".

    Raises:
        UsageError: there are none, they are not one for each text, or one is missing, NaN, text or outside
            the classes; its row and value are named.
    """
    rows = _rows(labels, name)
    for row, label in enumerate(rows):
        if not isinstance(label, numbers.Real) or label not in range(num_classes):
            raise UsageError(
                f"{_place(row, label, name)}; a {name} must be a whole number from 0 to {num_classes - 1}."
            )
    return np.array(rows, dtype=np.int64)


def check_numbers(values: Sequence, name: str) -> np.ndarray:
    """Regression targets, predictions or scores as float64 (num_texts,), every one finite.

    Args:
        values: one for each text.
        name: what a single one is called in the error, such as "target".

    Raises:
        UsageError: there are none, they are not one for each text, or one is missing, text or not finite;
            its row and value are named.
    """
    rows = _rows(values, name)
    for row, value in enumerate(rows):
        if not isinstance(value, numbers.Real) or not np.isfinite(value):
            raise UsageError(f"{_place(row, value, name)}; a {name} must be a finite number.")
    return np.array(rows, dtype=np.float64)


def _rows(values: Sequence, name: str) -> list:
    # As objects: an array of numbers and text would turn all of them into text.
    array = np.asarray(values, dtype=object)
    if array.ndim != 1 or len(array) == 0:
        raise UsageError(f"The {name}s have the shape {array.shape}; there must be one {name} for each text.")
    return [value.item() if isinstance(value, np.generic) else value for value in array.tolist()]


def _place(row: int, value: object, name: str) -> str:
    found = "missing" if str(value) in ("None", "nan", "<NA>") else repr(value)
    return f"The {name} of row {row} (counted from 0) is {found}"
