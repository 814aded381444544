"""Bucketed batches: nothing lost or repeated, static shapes, an order that follows from seed and epoch."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.errors import UsageError
from course_lib.text import choose_bucket_lengths
from course_lib.text.batches import BucketedBatches, rows_of_share

cases = st.fixed_dictionaries(
    {
        "lengths": st.lists(st.integers(0, 40), min_size=1, max_size=50),
        "batch_size": st.integers(1, 9),
        "num_buckets": st.integers(1, 6),
        "seed": st.one_of(st.none(), st.integers(0, 5)),
        "epoch": st.integers(0, 4),
    }
)


def make(lengths, batch_size, num_buckets=3, seed=None, epoch=0):
    """Sequence i holds its own number, i + 2, again and again; its label is that number, too."""
    sequences = [[i + 2] * length for i, length in enumerate(lengths)]
    batches = BucketedBatches(
        sequences,
        np.arange(len(lengths)) + 2,
        batch_size=batch_size,
        bucket_lengths=choose_bucket_lengths(lengths, num_buckets, multiple=4),
        seed=seed,
    )
    batches.epoch = epoch
    return batches


def members(batches):
    return [chunk.tolist() for _, chunk in batches.batches]


@settings(deadline=None, max_examples=200)
@given(case=cases)
def test_every_example_once_with_its_label_and_a_static_shape(case):
    batches = make(**case)
    lengths, batch_size = case["lengths"], case["batch_size"]
    assert len(batches) == math.ceil(len(lengths) / batch_size)
    seen, num_short = [], 0
    for index in range(len(batches)):
        ids, labels, weights = batches[index]
        assert ids.dtype == np.int32 and weights.dtype == np.float32
        assert ids.shape[0] == labels.shape[0] == weights.shape[0] == batch_size
        assert ids.shape[1] in batches.bucket_lengths
        assert (ids[:, 0] != 0).all(), "a row of nothing but padding"
        real = weights > 0
        num_short += not real.all()
        # Real rows come first, the filled ones hold one unknown token each.
        assert real.tolist() == sorted(real.tolist(), reverse=True)
        assert ids[~real].sum() == (~real).sum()
        for row, label in zip(ids[real], labels[real], strict=True):
            length = lengths[label - 2]
            assert row.tolist() == ([label] * length or [1]) + [0] * (ids.shape[1] - max(length, 1))
            seen.append(label - 2)
    assert sorted(seen) == list(range(len(lengths)))
    assert num_short == (len(lengths) % batch_size > 0)


@settings(deadline=None)
@given(case=cases)
def test_weights_are_equal_and_sum_to_the_number_of_rows(case):
    batches = make(**case)
    weights = np.concatenate([batches[i][2] for i in range(len(batches))])
    assert len(np.unique(weights[weights > 0])) == 1
    assert np.count_nonzero(weights) == len(case["lengths"])
    np.testing.assert_allclose(weights.mean(), 1, rtol=1e-6)


@settings(deadline=None)
@given(case=cases)
def test_order_follows_from_seed_and_epoch_alone(case):
    fresh = make(**case)
    advanced = make(**{**case, "epoch": 0})
    for _ in range(case["epoch"]):
        advanced.on_epoch_end()
    assert advanced.epoch == case["epoch"]
    assert members(advanced) == members(fresh)


@settings(deadline=None)
@given(case=cases)
def test_an_example_moves_up_only_as_a_leftover(case):
    """Cut the buckets into batches on paper: only what is left over at the end of a bucket moves up."""
    batches = make(**case)
    size, buckets = case["batch_size"], batches.bucket_lengths
    waiting, expected = 0, []
    for shortest, longest in zip([0, *buckets], buckets, strict=False):
        num_here = sum(shortest < max(length, 1) <= longest for length in case["lengths"]) + waiting
        expected += [longest] * (num_here // size)
        waiting = num_here % size
    got = sorted(length for length, _ in batches.batches)
    if waiting:
        short = next(b for b in batches.batches if len(b[1]) == waiting)
        longest = max(max(case["lengths"][i], 1) for i in short[1])
        expected.append(next(bucket for bucket in buckets if bucket >= longest))
    assert got == sorted(expected)


@settings(deadline=None)
@given(case=cases)
def test_the_first_two_batches_differ_in_length_if_any_do(case):
    lengths = [length for length, _ in make(**case).batches]
    assert len(set(lengths)) == 1 or lengths[0] != lengths[1]


def test_batches_by_hand():
    batches = BucketedBatches(
        [[5], [5, 6, 7], [8], [], [9, 9, 9, 9]], [10, 11, 12, 13, 14], batch_size=2, bucket_lengths=[2, 4]
    )
    # Short ones: 0, 2, 3. Two of them make a batch; 3 moves up to 1 and 4, of which 4 is left over.
    # The batch of another length comes second.
    assert [(length, chunk.tolist()) for length, chunk in batches.batches] == [
        (2, [0, 2]),
        (4, [3, 1]),
        (4, [4]),
    ]
    ids, labels, weights = batches[0]
    assert (ids.tolist(), labels.tolist()) == ([[5, 0], [8, 0]], [10, 12])
    ids, labels, weights = batches[1]
    assert (ids.tolist(), labels.tolist()) == ([[1, 0, 0, 0], [5, 6, 7, 0]], [13, 11])
    assert weights.tolist() == pytest.approx([6 / 5, 6 / 5])
    ids, labels, weights = batches[2]
    assert (ids.tolist(), labels[0]) == ([[9, 9, 9, 9], [1, 0, 0, 0]], 14)
    assert weights.tolist() == pytest.approx([6 / 5, 0])
    # 4 + 8 + 8 time steps hold 1 + 1 + 1 + 3 + 4 tokens.
    assert batches.padding_share == pytest.approx(1 - 10 / 20)


def test_no_seed_keeps_the_order_inside_a_bucket():
    batches = make([1, 9, 2, 9, 3, 9, 4, 9], batch_size=2, num_buckets=2)
    assert sorted(members(batches)) == [[0, 2], [1, 3], [4, 6], [5, 7]]
    before = members(batches)
    batches.on_epoch_end()
    assert members(batches) == before


def test_leftover_goes_up_to_the_next_bucket():
    batches = make([1, 1, 1, 9, 9, 9], batch_size=2, num_buckets=2)
    assert [(length, chunk.tolist()) for length, chunk in batches.batches] == [
        (4, [0, 1]),
        (9, [2, 3]),
        (9, [4, 5]),
    ]
    assert [ids.shape for ids, _, _ in (batches[i] for i in range(3))] == [(2, 4), (2, 9), (2, 9)]


def test_a_remainder_of_short_ones_is_not_padded_to_the_longest_bucket():
    batches = make([1, 1, 1, 9], batch_size=4, num_buckets=2)
    assert [length for length, _ in batches.batches] == [9]
    batches = BucketedBatches([[2], [3], [4]], batch_size=2, bucket_lengths=[1, 50])
    assert [length for length, _ in batches.batches] == [1, 1]


def test_epochs_and_seeds_differ():
    lengths = list(range(1, 31)) * 2
    first, second = make(lengths, 4, seed=0), make(lengths, 4, seed=0, epoch=1)
    assert members(first) != members(second)
    assert members(first) != members(make(lengths, 4, seed=1))
    assert members(first) == members(make(lengths, 4, seed=0))
    # Not only the order of the batches: who shares a batch changes, too.
    assert {frozenset(chunk) for chunk in members(first)} != {frozenset(chunk) for chunk in members(second)}


def test_shuffling_mixes_short_and_long_batches():
    lengths = [length for length, _ in make([4] * 80 + [40] * 80, 4, num_buckets=2, seed=0).batches]
    # 40 batches in random order change their length about 20 times, sorted ones once.
    assert 10 <= np.count_nonzero(np.diff(lengths)) <= 30


def test_labels_of_any_shape_and_kind():
    labels = np.arange(12, dtype=np.float64).reshape(3, 2, 2)
    batches = BucketedBatches([[2], [3], [4]], labels, batch_size=2, bucket_lengths=[1])
    assert batches[0][1].tolist() == labels[:2].tolist()
    assert batches[1][1].shape == (2, 2, 2) and batches[1][1][0].tolist() == labels[2].tolist()
    batches = BucketedBatches([[2]], [7], batch_size=1, bucket_lengths=[1])
    assert batches[0][1].tolist() == [7]


def test_without_labels():
    batches = BucketedBatches([[2], [3]], batch_size=2, bucket_lengths=[1])
    assert len(batches[0]) == 1
    assert batches[0][0].tolist() == [[2], [3]]


@pytest.mark.parametrize(
    "sequences, labels, batch_size, buckets, message",
    [
        ([], [], 1, [4], "at least one sequence"),
        ([[1]], [0], 0, [4], "batch size"),
        ([[1]], [0, 1], 1, [4], "1 sequences but 2 labels"),
        ([[1, 1]], [0], 1, [1], "longest sequence"),
        ([[1]], [0], 1, [], "bucket lengths"),
        ([[1]], [0], 1, [4, 2], "increase"),
        ([[1]], [0], 1, [2, 2], "increase"),
        # An empty sequence takes one step.
        ([[]], [0], 1, [0, 4], "positive"),
        ([[]], [0], 1, [0], "positive"),
    ],
)
def test_wrong_arguments_are_refused(sequences, labels, batch_size, buckets, message):
    with pytest.raises(UsageError, match=message):
        BucketedBatches(sequences, labels, batch_size=batch_size, bucket_lengths=buckets)


class Recorded(BucketedBatches):
    """Writes down what Keras asks for."""

    def __getitem__(self, index):
        batch = super().__getitem__(index)
        self.served.append((self.epoch, index, batch[0].shape))
        return batch


def test_a_keras_model_fits_with_several_lengths():
    lengths = [1, 2, 3, 4, 5, 6, 7, 8, 16, 16, 30]
    batches = Recorded(
        [[2] * length for length in lengths],
        np.arange(11) % 2,
        batch_size=2,
        bucket_lengths=[4, 16, 30],
        seed=0,
    )
    batches.served = []
    token_ids = keras.Input((None,), dtype="int32")
    states = keras.layers.Embedding(3, 2, mask_zero=True)(token_ids)
    model = keras.Model(token_ids, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(states)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="sgd", loss=loss, jit_compile=False)
    history = model.fit(batches, epochs=2, shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(history).all() and len(history) == 2
    # The last two times six are the epochs (the first two calls only look at the shapes).
    first, second = batches.served[-12:-6], batches.served[-6:]
    for served in (first, second):
        assert sorted(index for _, index, _ in served) == list(range(6))
        assert len({epoch for epoch, _, _ in served}) == 1
        assert len({shape for _, _, shape in served}) == 3
    assert second[0][0] == first[0][0] + 1


@pytest.mark.parametrize("num_processes", [0, -2, 3])
def test_rows_that_cannot_be_shared(num_processes):
    with pytest.raises(UsageError, match=f"{num_processes} processes cannot share batches of 64 rows"):
        rows_of_share(64, num_processes)
