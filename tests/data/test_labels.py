"""Wrong labels and targets are refused by row and value, wherever they enter."""

import keras
import numpy as np
import pandas as pd
import pytest

from course_lib.data.labels import check_labels, check_numbers
from course_lib.errors import UsageError
from course_lib.models.classifier import build_classifier
from course_lib.models.encoder import build_encoder
from course_lib.text.batches import BucketedBatches
from course_lib.training import compile_classifier, train


def test_good_labels_of_every_kind_become_integers():
    for labels in ([0, 2, 1], np.array([0.0, 2.0, 1.0], np.float32), pd.Series([0, 2, 1], dtype="Int64")):
        checked = check_labels(labels, 3)
        assert checked.dtype == np.int64
        assert checked.tolist() == [0, 2, 1]
    assert check_labels(np.array([0.2, 0.7]) > 0.5, 2).tolist() == [0, 1]
    assert check_labels([np.bool_(True), False], 2).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 3], r"label of row 2 \(counted from 0\) is 3; .* whole number from 0 to 2"),
        ([0, -1], "row 1 .* is -1;"),
        ([0, np.float32(0.5)], r"row 1 .* is 0\.5;"),
        ([0, 1, None], "row 2 .* is missing;"),
        ([0, float("nan")], "row 1 .* is missing;"),
        (pd.Series([1, None], dtype="Int64"), "row 1 .* is missing;"),
        ([0, 1, "positive"], "row 2 .* is 'positive';"),
        ([0, "1"], "row 1 .* is '1';"),
        ([], r"labels have the shape \(0,\); there must be one label for each text"),
        (np.eye(3), r"labels have the shape \(3, 3\)"),
    ],
)
def test_the_row_and_value_of_a_wrong_label_are_named(labels, message):
    with pytest.raises(UsageError, match=message):
        check_labels(labels, 3)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0.5, "good"], r"target of row 1 \(counted from 0\) is 'good'; a target must be a finite number"),
        ([0.5, 1, None], "row 2 .* is missing;"),
        ([np.nan], "row 0 .* is missing;"),
        ([1.0, np.inf], "row 1 .* is inf;"),
        ([], r"targets have the shape \(0,\)"),
        ([[1.0], [2.0]], r"targets have the shape \(2, 1\)"),
    ],
)
def test_the_row_and_value_of_a_wrong_target_are_named(targets, message):
    with pytest.raises(UsageError, match=message):
        check_numbers(targets, "target")


def batches(labels):
    return BucketedBatches([[1], [2], [3]], labels, batch_size=2, bucket_lengths=[4])


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, None, 1], "label of row 1 .* is missing"), ([0.5, 1, "good"], "label of row 2 .* is 'good'")],
)
def test_batches_refuse_labels_that_are_no_numbers(labels, message):
    with pytest.raises(UsageError, match=message):
        batches(labels)


def test_training_refuses_a_label_outside_of_the_classes():
    model = build_classifier(build_encoder(9, embedding_dim=2, hidden_dim=2), 2)
    compile_classifier(model, keras.optimizers.Adam())
    for good, bad in ((batches([0, 1, 2]), None), (batches([0, 1, 1]), batches([0, -1, 1]))):
        with pytest.raises(UsageError, match=r"label of row \d .* whole number from 0 to 1"):
            train(model, good, bad, epochs=1, verbose=0)
