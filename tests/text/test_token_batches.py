"""Bucketed batches of several inputs with one label for each token."""

import numpy as np
import pytest

from course_lib.errors import UsageError
from course_lib.text import pad
from course_lib.text.batches import IGNORED_LABEL, BucketedBatches

INPUTS = {
    "token_ids": [[5, 6], [7], [8, 9, 4]],
    "char_ids": [np.array([[2, 0], [3, 4]]), np.array([[5, 5]]), np.array([[1, 0], [2, 0], [3, 3]])],
}
LABELS = [[0, 1], [2], [1, 0, 2]]


def test_by_hand():
    batches = BucketedBatches(INPUTS, token_labels=LABELS, batch_size=2, bucket_lengths=[2, 4])
    assert [(length, members.tolist()) for length, members in batches.batches] == [(2, [0, 1]), (4, [2])]
    ids, labels, weights = batches[0]
    assert ids["token_ids"].tolist() == [[5, 6], [7, 0]]
    assert ids["char_ids"].tolist() == [[[2, 0], [3, 4]], [[5, 5], [0, 0]]]
    assert labels.tolist() == [[0, 1], [2, IGNORED_LABEL]]
    np.testing.assert_allclose(weights, np.full((2, 1), 4 / 3), rtol=1e-6)
    ids, labels, weights = batches[1]
    assert ids["token_ids"].tolist() == [[8, 9, 4, 0], [1, 0, 0, 0]]
    assert ids["char_ids"].shape == (2, 4, 2) and ids["char_ids"].dtype == np.int32
    assert labels.tolist() == [[1, 0, 2, -1], [-1] * 4]
    assert weights.ravel().tolist() == pytest.approx([4 / 3, 0])
    assert batches.padding_share == pytest.approx(1 - 6 / 12)


def test_without_labels_the_inputs_alone():
    ((ids,),) = list(BucketedBatches(INPUTS, batch_size=3, bucket_lengths=[3]))
    assert set(ids) == {"token_ids", "char_ids"}


def test_rows_of_ids_are_padded_and_an_empty_sequence_is_one_unknown_token():
    padded = pad([np.zeros((0, 2), int), [[3, 4]]], 2)
    assert padded.tolist() == [[[1, 1], [0, 0]], [[3, 4], [0, 0]]]


@pytest.mark.parametrize(
    "inputs, labels, name",
    [
        ({**INPUTS, "char_ids": INPUTS["char_ids"][:2]}, LABELS, "char_ids"),
        (INPUTS, [[0, 1], [2], [1, 0]], "token_labels"),
    ],
)
def test_inputs_and_labels_of_other_lengths_are_named(inputs, labels, name):
    with pytest.raises(UsageError, match=f"{name} must hold as many values"):
        BucketedBatches(inputs, token_labels=labels, batch_size=2, bucket_lengths=[4])


def test_labels_of_both_kinds_are_refused():
    with pytest.raises(UsageError, match="not both"):
        BucketedBatches([[5, 6]], np.array([1]), token_labels=[[0, 1]], batch_size=1, bucket_lengths=[2])
