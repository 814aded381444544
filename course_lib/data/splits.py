"""Splitting records and dropping duplicates, so that no text stands in two splits."""

import hashlib
import string
from collections.abc import Hashable, Sequence

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


def hold_out_groups(
    records: Sequence, groups: Sequence[Hashable], num_held_out: int, seed: int
) -> tuple[list, list]:
    """Splits records into (kept, held out) so that no group stands on both sides, both in their order.

    Whole groups are drawn until no further one fits: at most `num_held_out` records are held out.

    Args:
        records: anything.
        groups: for each record what must stay together, such as its passage or its article.
        num_held_out: how many records to hold out.
        seed: chooses the groups.

    Raises:
        UsageError: not one group for each record, or nothing would be left to keep.
    """
    if len(records) != len(groups):
        raise UsageError(f"There are {len(records):,} records but {len(groups):,} groups.")
    if not 0 <= num_held_out < max(len(records), 1):
        raise UsageError(
            f"Cannot hold out {num_held_out:,} of {len(records):,} records: at least one must be kept."
        )
    kept, held_out = split_groups(records, groups, [num_held_out], seed)
    return kept, held_out


def split_groups(
    records: Sequence, groups: Sequence[Hashable], sizes: Sequence[int], seed: int
) -> list[list]:
    """The records that are kept, then the parts that are drawn, all in their order; no group is divided.

    Args:
        records: anything.
        groups: for each record what must stay together.
        sizes: of each part at most; a group goes to the first one that still has room for it.
        seed: chooses the groups.
    """
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    indices = list(members.values())
    part_of, room = np.zeros(len(records), dtype=int), list(sizes)
    for group in np.random.default_rng(seed).permutation(len(indices)):
        part = next((part for part, free in enumerate(room) if len(indices[group]) <= free), None)
        if part is not None:
            part_of[indices[group]] = part + 1
            room[part] -= len(indices[group])
    return [
        [record for record, own in zip(records, part_of, strict=True) if own == part]
        for part in range(len(sizes) + 1)
    ]


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
