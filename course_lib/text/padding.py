"""Truncation, padding and the choice of bucket lengths."""

import math
from collections.abc import Sequence

import numpy as np

from course_lib.errors import UsageError, unknown_name
from course_lib.text.vocabulary import PAD_ID, UNKNOWN_ID

TRUNCATIONS = ("head", "tail", "head_tail")


def truncate(ids: Sequence[int], max_length: int, truncation: str = "head_tail") -> list[int]:
    """Cuts a sequence to at most `max_length` ids.

    Args:
        truncation: `head` keeps the beginning, `tail` the end, `head_tail` half of the length each
            (the head gets the odd one), after Sun et al. 2019, "How to Fine-Tune BERT", section 5.3.1, who
            take 128 and 382; here half each.

    Raises:
        UsageError: an unknown truncation, or `max_length` below 1.
    """
    if truncation not in TRUNCATIONS:
        raise unknown_name("truncation", truncation, TRUNCATIONS)
    if max_length < 1:
        raise UsageError(f"max_length is {max_length}; it must be at least 1.")
    if len(ids) <= max_length:
        return list(ids)
    tail_length = {"head": 0, "tail": max_length, "head_tail": max_length // 2}[truncation]
    # len(ids) - 0 is the end, where ids[-0:] would be everything.
    return [*ids[: max_length - tail_length], *ids[len(ids) - tail_length :]]


def pad(sequences: Sequence[Sequence[int]], length: int | None = None) -> np.ndarray:
    """Pads on the right with id 0 to one length; an empty sequence becomes one unknown token.

    Args:
        sequences: of ids, or of rows of ids of one width.
        length: number of time steps; the longest sequence by default.

    Returns:
        int32 array of shape (batch, time) or (batch, time, width).

    Raises:
        UsageError: a sequence is longer than `length` (truncate first).
    """
    longest = max([1, *map(len, sequences)])
    length = longest if length is None else length
    if longest > length:
        raise UsageError(
            f"A sequence of {longest} ids does not fit into {length} time steps: truncate first."
        )
    width = next((np.shape(ids)[1:] for ids in sequences if len(ids)), ())
    padded = np.full((len(sequences), length, *width), PAD_ID, dtype=np.int32)
    for row, ids in zip(padded, sequences, strict=True):
        if len(ids) == 0:
            row[0] = UNKNOWN_ID
        else:
            row[: len(ids)] = ids
    return padded


def choose_bucket_lengths(lengths: Sequence[int], num_buckets: int, multiple: int = 8) -> list[int]:
    """Bucket lengths that split the sequences into equal shares; the last one holds the longest.

    Args:
        lengths: the sequences' lengths.
        num_buckets: at most this many; equal ones are merged.
        multiple: lengths are rounded up to a multiple of this, but none is longer than the longest sequence.

    Returns:
        Increasing lengths.

    Raises:
        UsageError: no lengths, fewer than one bucket, or a multiple below 1.
    """
    if len(lengths) == 0 or num_buckets < 1 or multiple < 1:
        raise UsageError(
            "Choosing bucket lengths takes at least one sequence, one bucket and a multiple of at least 1."
        )
    ordered = sorted(max(int(length), 1) for length in lengths)
    ends = [ordered[math.ceil(k * len(ordered) / num_buckets) - 1] for k in range(1, num_buckets + 1)]
    return sorted({min(math.ceil(end / multiple) * multiple, ordered[-1]) for end in ends})
