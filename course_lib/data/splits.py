"""Splitting records and dropping duplicates, so that no text stands in two splits."""

import hashlib
import string
from collections.abc import Sequence

import numpy as np

from course_lib.data.records import LabelledText
from course_lib.errors import UsageError

_IGNORED = (string.whitespace + string.punctuation).encode()


def hold_out(records: Sequence, num_held_out: int, seed: int) -> tuple[list, list]:
    """Split records into (kept, held out), stratified by `.label`, both in their original order.

    Each label gives its share of `num_held_out`, rounded by largest remainders. Deterministic in `seed`.

    Raises:
        UsageError: `num_held_out` is negative or would leave nothing to keep.
    """
    if not 0 <= num_held_out < max(len(records), 1):
        raise UsageError(
            f"Cannot hold out {num_held_out:,} of {len(records):,} records: at least one must be kept."
        )
    labels, label_of_record = np.unique([record.label for record in records], return_inverse=True)
    shares = np.bincount(label_of_record, minlength=len(labels)) * num_held_out / max(len(records), 1)
    num_of_label = np.floor(shares).astype(int)
    largest_remainders = np.argsort(num_of_label - shares, kind="stable")[: num_held_out - num_of_label.sum()]
    num_of_label[largest_remainders] += 1

    rng = np.random.default_rng(seed)
    is_held_out = np.zeros(len(records), dtype=bool)
    for label, num in enumerate(num_of_label):
        is_held_out[rng.permutation(np.flatnonzero(label_of_record == label))[:num]] = True
    kept = [record for record, held in zip(records, is_held_out, strict=True) if not held]
    return kept, [record for record, held in zip(records, is_held_out, strict=True) if held]


def duplicate_key(text: str) -> bytes:
    """What two texts share if they differ at most in case, whitespace, ASCII punctuation and `<br />`."""
    return text.replace("<br />", "").casefold().encode().translate(None, delete=_IGNORED)


def drop_duplicates(records: Sequence[LabelledText]) -> list[LabelledText]:
    """Keep the first of each group with one `duplicate_key`; drop groups with contradictory labels."""
    groups: dict[bytes, list[LabelledText]] = {}
    for record in records:
        groups.setdefault(duplicate_key(record.text), []).append(record)
    return [group[0] for group in groups.values() if len({record.label for record in group}) == 1]


def in_hash_order(records: Sequence[LabelledText]) -> list[LabelledText]:
    """Sort by the SHA-256 of the text: mixes the labels, needs no seed and never changes."""
    return sorted(records, key=lambda record: hashlib.sha256(record.text.encode()).digest())
