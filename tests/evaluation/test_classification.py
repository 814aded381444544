"""Figures against hand, brute force and scikit-learn; wrong labels, scores and targets by row and value."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics

from course_lib.errors import UsageError
from course_lib.evaluation.classification import (
    THRESHOLD_METRICS,
    accuracy_interval,
    average_precision,
    best_threshold,
    macro_f1_interval,
    regression_scores,
    roc_auc,
)

# Few different scores, so that there are ties.
TWO_CLASSES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=25).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


def test_wrong_targets_are_refused():
    with pytest.raises(UsageError, match=r"target of row 1 .* is 'good'"):
        regression_scores([0.5, "good"], [0.5, 1.0])


def test_auc_and_average_precision_by_hand():
    # Of the 2 × 3 pairs 4 are in order and 1 is a tie.
    labels, scores = [1, 0, 1, 0, 0], [0.9, 0.8, 0.5, 0.5, 0.1]
    assert roc_auc(labels, scores) == pytest.approx(4.5 / 6)
    # Recall 1/2 at precision 1, recall 1 at precision 2/4.
    assert average_precision(labels, scores) == pytest.approx(0.5 * 1 + 0.5 * 0.5)


@given(TWO_CLASSES)
def test_auc_is_the_share_of_pairs_in_order(rows):
    labels, scores = zip(*rows, strict=True)
    pairs = [
        (high > low) + 0.5 * (high == low)
        for (one, high), (zero, low) in itertools.product(rows, rows)
        if one == 1 and zero == 0
    ]
    assert roc_auc(labels, scores) == pytest.approx(np.mean(pairs))


@given(TWO_CLASSES, st.randoms())
def test_order_of_the_texts_and_monotone_changes_of_the_scores_do_not_matter(rows, random):
    shuffled = random.sample(rows, len(rows))
    labels, scores = zip(*rows, strict=True)
    other_labels, other_scores = zip(*[(label, score**3 - 2) for label, score in shuffled], strict=True)
    for figure in (roc_auc, average_precision):
        assert 0 <= figure(labels, scores) <= 1
        assert figure(other_labels, other_scores) == pytest.approx(figure(labels, scores))


@pytest.mark.parametrize("figure", [roc_auc, average_precision, best_threshold])
def test_one_class_alone_is_said_not_scored(figure):
    with pytest.raises(UsageError, match=r"cannot be computed: all 3 labels are 1, .* both classes"):
        figure([1, 1, 1], [0.1, 0.5, 0.7])
    with pytest.raises(UsageError, match="all 2 labels are 0"):
        figure([0, 0], [0.1, 0.5])
    with pytest.raises(UsageError, match="2 labels but 3 scores"):
        figure([0, 1], [0.1, 0.5, 0.7])
    with pytest.raises(UsageError, match=r"score of row 1 .* is missing"):
        figure([0, 1], [0.1, np.nan])
    with pytest.raises(UsageError, match=r"label of row 1 .* is 2;"):
        figure([0, 2], [0.1, 0.5])


@given(TWO_CLASSES, st.sampled_from(THRESHOLD_METRICS))
# Thresholds 0 and 1 are equally good here, but the sums of their rounded rates differ in the last bit.
@example([(0, 0)] * 5 + [(0, 1)] * 3 + [(0, 2), (1, 0), (1, 1), (1, 2)], "balanced_accuracy")
def test_best_threshold_by_brute_force(rows, metric):
    labels, scores = np.array(rows).T
    judge = {
        "accuracy": metrics.accuracy_score,
        "balanced_accuracy": metrics.balanced_accuracy_score,
        "f1": metrics.f1_score,
    }[metric]
    cuts = [*np.arange(-0.5, 7), math.inf]
    expected = max(judge(labels, scores >= cut) for cut in cuts)
    best = best_threshold(labels, scores, metric)
    assert best.value == pytest.approx(expected)
    assert judge(labels, scores >= best.threshold) == pytest.approx(expected)
    higher = [cut for cut in cuts if cut > best.threshold]
    assert all(judge(labels, scores >= cut) < expected - 1e-12 for cut in higher), "of equals the highest"


def test_best_threshold_by_hand():
    labels, scores = [0, 0, 1, 0, 1, 1], np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7], dtype=np.float32)
    # From 0.3 on: 3 true and 1 false positive, F1 6/7; from 0.6 on: F1 4/5 but the same accuracy 5/6.
    best = best_threshold(labels, scores)
    assert best == pytest.approx((0.3, 6 / 7))
    assert (scores >= best.threshold).tolist() == [False, False, True, True, True, True], "also in float32"
    assert best_threshold(labels, scores, "accuracy") == pytest.approx((0.6, 5 / 6))
    assert best_threshold([0, 0, 1], [0.3, 0.2, 0.1], "accuracy") == (math.inf, 2 / 3)
    with pytest.raises(UsageError, match="metric for a threshold 'f2'"):
        best_threshold(labels, scores, "f2")


LABELS = np.random.default_rng(0).integers(0, 3, 600)
PREDICTIONS = np.where(np.random.default_rng(1).random(600) < 0.7, LABELS, (LABELS + 1) % 3)


def test_intervals_have_sklearn_s_value_and_scipy_s_ends():
    for ours, judge in [
        (accuracy_interval, metrics.accuracy_score),
        (macro_f1_interval, lambda a, b: metrics.f1_score(a, b, average="macro")),
    ]:
        interval = ours(LABELS, PREDICTIONS, 3)
        assert interval.value == pytest.approx(judge(LABELS, PREDICTIONS))
        scipy_s = scipy.stats.bootstrap(
            (LABELS, PREDICTIONS),
            judge,
            paired=True,
            vectorized=False,
            n_resamples=600,
            method="percentile",
            rng=np.random.default_rng(2),
        ).confidence_interval
        assert (interval.low, interval.high) == pytest.approx((scipy_s.low, scipy_s.high), abs=0.008)


def test_macro_f1_by_hand():
    # Class 0: 1 right, none wrong; class 1: 1 right, 1 missed, none taken for it; class 2: 1 taken for it.
    interval = macro_f1_interval([0, 1, 1], [0, 1, 2], 3)
    assert interval.value == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert macro_f1_interval([0, 1], [0, 1], 4).value == pytest.approx(2 / 4), "absent classes count 0"
    assert macro_f1_interval([0, 1], [1, 0], 2) == (0, 0, 0)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=20),
    st.permutations(range(3)),
)
def test_macro_f1_lies_between_0_and_1_whatever_the_classes_are_called(rows, names):
    labels, predictions = np.array(rows).T
    interval = macro_f1_interval(labels, predictions, 3)
    assert 0 <= interval.low <= interval.high <= 1
    renamed = np.array(names)
    other = macro_f1_interval(renamed[labels], renamed[predictions], 3)
    assert other == pytest.approx(interval)


@pytest.mark.parametrize("interval", [accuracy_interval, macro_f1_interval])
def test_intervals_refuse_what_is_no_label(interval):
    with pytest.raises(UsageError, match=r"prediction of row 1 .* is 2; .* from 0 to 1"):
        interval([0, 1], [0, 2], 2)
    with pytest.raises(UsageError, match="3 labels but 2 predictions"):
        interval([0, 1, 1], [0, 1], 2)


def test_regression_by_hand():
    scores = regression_scores([1, 2, 3], [2, 2, 5])
    assert scores.mae == pytest.approx((1 + 0 + 2) / 3)
    assert scores.rmse == pytest.approx(math.sqrt((1 + 0 + 4) / 3))
    # Deviations (-1, 0, 1) and (-1, -1, 2): 3 / sqrt(2 * 6).
    assert scores.pearson_r == pytest.approx(3 / math.sqrt(12))


def test_a_constant_has_errors_but_no_correlation():
    assert regression_scores([1, 2, 3], [2.1, 2.1, 2.1]) == (
        pytest.approx(0.7),
        pytest.approx(0.822598),
        None,
    )
    assert regression_scores([2, 2], [1, 3]) == (1, 1, None)
    assert regression_scores([2], [3]) == (1, 1, None)


def test_regression_refuses_different_lengths():
    with pytest.raises(UsageError, match="2 targets but 1 predictions"):
        regression_scores([1, 2], [1])


def test_predictions_that_differ_by_rounding_alone_have_no_correlation():
    constant = [0.1 + 0.2, 0.3, 0.1 + 0.2]  # the sum rounds up in its last bit
    assert constant[0] != constant[1]
    assert regression_scores([1.0, 2.0, 3.0], constant).pearson_r is None
    assert regression_scores(constant, [1.0, 2.0, 3.0]).pearson_r is None
    assert regression_scores([0.0, 0.0], [1.0, 2.0]).pearson_r is None
    assert regression_scores([1.0, 2.0, 3.0], [1.0, 1 + 1e-9, 1 + 2e-9]).pearson_r == pytest.approx(
        1, abs=1e-5
    )
