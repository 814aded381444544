"""Truncation, padding and bucket lengths against hand-made edges and a plain specification."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.errors import UsageError
from course_lib.text import TRUNCATIONS, UNKNOWN_ID, choose_bucket_lengths, pad, truncate

id_lists = st.lists(st.integers(1, 99), max_size=12)


@pytest.mark.parametrize(
    "num_ids, max_length, truncation, expected",
    [
        (0, 3, "head", []),
        (0, 3, "tail", []),
        (0, 1, "head_tail", []),
        (1, 1, "head", [1]),
        (1, 1, "tail", [1]),
        (1, 1, "head_tail", [1]),
        (3, 3, "head_tail", [1, 2, 3]),
        (4, 3, "head", [1, 2, 3]),
        (4, 3, "tail", [2, 3, 4]),
        (4, 3, "head_tail", [1, 2, 4]),
        (9, 4, "head_tail", [1, 2, 8, 9]),
        (9, 5, "head_tail", [1, 2, 3, 8, 9]),
        (9, 2, "head_tail", [1, 9]),
        # A tail of no ids: ids[-0:] would be all of them.
        (9, 1, "head_tail", [1]),
        (9, 1, "head", [1]),
        (9, 1, "tail", [9]),
    ],
)
def test_truncate(num_ids, max_length, truncation, expected):
    assert truncate(range(1, num_ids + 1), max_length, truncation) == expected


def test_head_tail_is_the_default():
    assert truncate([1, 2, 3, 4, 5], 4) == [1, 2, 4, 5]


@given(ids=id_lists, max_length=st.integers(1, 14), truncation=st.sampled_from(TRUNCATIONS))
def test_truncate_against_a_specification(ids, max_length, truncation):
    num_head = {"head": max_length, "tail": 0, "head_tail": math.ceil(max_length / 2)}[truncation]
    num_tail = max_length - num_head
    kept = [token for place, token in enumerate(ids) if place < num_head or len(ids) - place <= num_tail]
    assert truncate(ids, max_length, truncation) == (ids if len(ids) <= max_length else kept)
    assert truncate(np.array(ids, dtype=int), max_length, truncation) == truncate(ids, max_length, truncation)


def test_truncate_leaves_its_input_alone():
    ids = [1, 2, 3]
    truncate(ids, 3).append(4)
    assert ids == [1, 2, 3]


@pytest.mark.parametrize("max_length", [0, -1])
def test_truncate_refuses_to_keep_nothing(max_length):
    with pytest.raises(UsageError, match="max_length"):
        truncate([1], max_length)


def test_truncate_names_an_unknown_truncation():
    with pytest.raises(UsageError, match=r"'heads'.*'head'"):
        truncate([1], 1, "heads")


def test_pad_on_the_right():
    padded = pad([[5, 6], [7], [], [1, 2, 3]])
    assert padded.dtype == np.int32
    assert padded.tolist() == [[5, 6, 0], [7, 0, 0], [1, 0, 0], [1, 2, 3]]
    assert pad([[5]], 3).tolist() == [[5, 0, 0]]
    assert pad([[5, 6]], 2).tolist() == [[5, 6]]


def test_pad_of_only_empty_sequences():
    assert pad([[], []]).tolist() == [[1], [1]]
    assert pad([[]], 2).tolist() == [[1, 0]]
    assert pad([]).shape == (0, 1)


@pytest.mark.parametrize("sequences, length", [([[1, 2, 3]], 2), ([[]], 0), ([[1]], 0), ([[1], [1, 2]], 1)])
def test_pad_refuses_what_does_not_fit(sequences, length):
    with pytest.raises(UsageError, match="does not fit"):
        pad(sequences, length)


@given(sequences=st.lists(id_lists, min_size=1, max_size=6), extra=st.one_of(st.none(), st.integers(0, 4)))
def test_pad_against_a_specification(sequences, extra):
    longest = max(1, *(len(ids) for ids in sequences), 1)
    length = None if extra is None else longest + extra
    padded = pad(sequences, length)
    assert padded.shape == (len(sequences), longest + (extra or 0))
    for row, ids in zip(padded.tolist(), sequences, strict=True):
        expected = ids or [UNKNOWN_ID]
        assert row == expected + [0] * (len(row) - len(expected))


@pytest.mark.parametrize(
    "lengths, num_buckets, multiple, expected",
    [
        # Quarters of 1..100 end at 25, 50, 75, 100: rounded up to a multiple of 8, but not beyond 100.
        (range(1, 101), 4, 8, [32, 56, 80, 100]),
        (range(1, 101), 1, 8, [100]),
        ([5, 5, 5], 3, 8, [5]),
        ([3, 200], 2, 8, [8, 200]),
        ([3, 200], 2, 1, [3, 200]),
        ([16, 16, 16, 24], 4, 8, [16, 24]),
        ([0], 2, 8, [1]),
        ([0, 0, 9], 3, 4, [4, 9]),
        ([7], 5, 8, [7]),
    ],
)
def test_choose_bucket_lengths(lengths, num_buckets, multiple, expected):
    assert choose_bucket_lengths(list(lengths), num_buckets, multiple) == expected


@given(
    lengths=st.lists(st.integers(0, 300), min_size=1, max_size=60),
    num_buckets=st.integers(1, 10),
    multiple=st.sampled_from([1, 8, 16]),
)
def test_bucket_lengths_hold_their_share(lengths, num_buckets, multiple):
    buckets = choose_bucket_lengths(lengths, num_buckets, multiple)
    assert buckets == sorted(set(buckets)) and 1 <= len(buckets) <= num_buckets
    assert all(isinstance(bucket, int) for bucket in buckets)
    assert buckets[-1] == max(1, max(lengths))
    assert all(bucket % multiple == 0 for bucket in buckets[:-1])
    # The shortest lengths that hold 1/num_buckets, 2/num_buckets, ... of the sequences, rounded up.
    expected = set()
    for k in range(1, num_buckets + 1):
        length = 1
        while sum(size <= length for size in lengths) * num_buckets < k * len(lengths):
            length += 1
        while length % multiple and length < buckets[-1]:
            length += 1
        expected.add(length)
    assert set(buckets) == expected


@pytest.mark.parametrize("lengths, num_buckets", [([], 3), ([1, 2], 0), ([1, 2], -1)])
def test_choose_bucket_lengths_refuses_nothing(lengths, num_buckets):
    with pytest.raises(UsageError):
        choose_bucket_lengths(lengths, num_buckets)


def test_buckets_are_multiples_of_something():
    with pytest.raises(UsageError, match="a multiple of at least 1"):
        choose_bucket_lengths([5], 1, 0)
