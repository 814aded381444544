"""What scikit-learn's metrics lack: undefined figures said, exact thresholds, intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats
from sklearn import metrics

from course_lib.data.labels import check_labels, check_numbers
from course_lib.errors import UsageError, unknown_name
from course_lib.evaluation.bootstrap import Interval, bootstrap_interval
from course_lib.evaluation.entities import f1_of_counts

THRESHOLD_METRICS = ("accuracy", "balanced_accuracy", "f1")


class Threshold(NamedTuple):
    """Call a text positive where its score is at least `threshold`; `value` is what the metric then is."""

    threshold: float
    value: float


class RegressionScores(NamedTuple):
    """Errors in the unit of the targets; `pearson_r` is None where it is undefined."""

    mae: float
    rmse: float
    pearson_r: float | None


def roc_auc(labels: Sequence, scores: Sequence) -> float:
    """Area under the ROC curve: how often a positive text scores higher than a negative one, ties half.

    Args:
        labels: 0 or 1 for each text, (num_texts,); for one class of several `labels == k`.
        scores: higher means rather positive, (num_texts,).

    Raises:
        UsageError: a wrong label or score, or only one class is present: then no pair can be compared.
    """
    return float(metrics.roc_auc_score(*_two_classes(labels, scores, "ROC and AUC")))


def average_precision(labels: Sequence, scores: Sequence) -> float:
    """Area under the precision–recall curve, as the mean precision at each step of recall.

    Args and errors as in `roc_auc`.
    """
    return float(metrics.average_precision_score(*_two_classes(labels, scores, "Average precision")))


def best_threshold(labels: Sequence, scores: Sequence, metric: str = "f1") -> Threshold:
    """The threshold with the highest metric of all that tell these texts apart; for validation data only.

    Args:
        labels: 0 or 1 for each text, (num_texts,).
        scores: higher means rather positive, (num_texts,).
        metric: one of `THRESHOLD_METRICS`; `f1` is that of label 1.

    Returns:
        One of the scores, or infinity where it is best to call no text positive; of equals the highest.

    Raises:
        UsageError: a wrong label or score, only one class is present, or an unknown metric.
    """
    if metric not in THRESHOLD_METRICS:
        raise unknown_name("metric for a threshold", metric, THRESHOLD_METRICS)
    labels, scores = _two_classes(labels, scores, "The best threshold")
    false_rate, true_rate, thresholds = metrics.roc_curve(labels, scores, drop_intermediate=False)
    num_positive, num_negative = labels.sum(), (1 - labels).sum()
    # Whole numbers again, so that equal values are equal.
    false, true = np.rint(false_rate * num_negative), np.rint(true_rate * num_positive)
    if metric == "accuracy":
        values = (true + num_negative - false) / len(labels)
    elif metric == "balanced_accuracy":
        correct = true * num_negative + (num_negative - false) * num_positive
        values = correct / (2 * num_positive * num_negative)
    else:
        values = 2 * true / (num_positive + true + false)
    best = int(values.argmax())
    return Threshold(float(thresholds[best]), float(values[best]))


def accuracy_interval(labels: Sequence, predictions: Sequence, num_classes: int) -> Interval:
    """The share of right predictions with its 95 % bootstrap interval.

    Args:
        labels, predictions: class ids, (num_texts,).
        num_classes: ids run from 0 to num_classes - 1.

    Raises:
        UsageError: a wrong label, or not one prediction for each label.
    """
    labels, predictions = _paired_labels(labels, predictions, num_classes)
    counts = np.stack([labels == predictions, np.ones(len(labels))], axis=1)
    return bootstrap_interval(counts, lambda sums: sums[..., 0] / sums[..., 1])


def macro_f1_interval(labels: Sequence, predictions: Sequence, num_classes: int) -> Interval:
    """The mean F1 of all classes with its 95 % bootstrap interval; a class that never occurs counts 0.

    Args and errors as in `accuracy_interval`.
    """
    labels, predictions = _paired_labels(labels, predictions, num_classes)
    is_label = labels[:, None] == np.arange(num_classes)
    is_prediction = predictions[:, None] == np.arange(num_classes)
    counts = np.stack(
        [is_label & is_prediction, ~is_label & is_prediction, is_label & ~is_prediction], axis=-1
    )
    return bootstrap_interval(
        counts.reshape(len(labels), -1),
        lambda sums: f1_of_counts(sums.reshape(*sums.shape[:-1], num_classes, 3)).mean(axis=-1),
    )


def regression_scores(targets: Sequence, predictions: Sequence) -> RegressionScores:
    """Mean absolute error, root mean squared error and Pearson's correlation.

    The correlation is undefined, and None, where all targets or all predictions are the same: a model that
    always predicts the mean has an error but no correlation.

    Args:
        targets, predictions: one number for each text, (num_texts,).

    Raises:
        UsageError: a wrong target or prediction, or not one prediction for each target.
    """
    targets, predictions = check_numbers(targets, "target"), check_numbers(predictions, "prediction")
    _check_lengths(targets, predictions, "targets", "predictions")
    # Nearly equal numbers differ by rounding alone.
    is_constant = any(np.ptp(each) <= 1e-13 * np.abs(each).max() for each in (targets, predictions))
    return RegressionScores(
        mae=float(metrics.mean_absolute_error(targets, predictions)),
        rmse=float(metrics.root_mean_squared_error(targets, predictions)),
        pearson_r=None if is_constant else float(stats.pearsonr(targets, predictions).statistic),
    )


def _check_lengths(first: np.ndarray, second: np.ndarray, first_name: str, second_name: str) -> None:
    if len(first) != len(second):
        raise UsageError(f"There are {len(first)} {first_name} but {len(second)} {second_name}.")


def _paired_labels(labels: Sequence, predictions: Sequence, num_classes: int):
    labels, predictions = (
        check_labels(labels, num_classes),
        check_labels(predictions, num_classes, "prediction"),
    )
    _check_lengths(labels, predictions, "labels", "predictions")
    return labels, predictions


def _two_classes(labels: Sequence, scores: Sequence, figure: str):
    labels, scores = check_labels(labels, 2), check_numbers(scores, "score")
    _check_lengths(labels, scores, "labels", "scores")
    if labels.min() == labels.max():
        raise UsageError(
            f"{figure} cannot be computed: all {len(labels)} labels are {labels[0]}, and it needs texts of"
            " both classes."
        )
    return labels, scores
