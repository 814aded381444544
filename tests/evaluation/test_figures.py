"""The figures show the numbers that the metrics give, have titled axes, and never rely on colour alone."""

import numpy as np
import pytest
from sklearn import metrics

from course_lib.errors import UsageError
from course_lib.evaluation.bootstrap import Interval
from course_lib.evaluation.calibration import reliability_bins
from course_lib.evaluation.figures import (
    confusion_figure,
    interval_figure,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
)

RANDOM = np.random.default_rng(3)
LABELS = RANDOM.integers(0, 2, 80)
CURVES = {"good": (LABELS, LABELS + RANDOM.normal(0, 0.5, 80)), "poor": (LABELS, RANDOM.random(80))}


def axis_titles(figure):
    return [axis.title.text for axis in figure.select_xaxes()] + [
        axis.title.text for axis in figure.select_yaxes()
    ]


def looks(figure):
    return [(trace.line.dash, trace.marker.symbol) for trace in figure.data]


def test_confusion_by_hand():
    figure = confusion_figure([0, 0, 0, 1, 1], [0, 0, 1, 1, 0], ["no", "yes"], "five texts")
    assert figure.data[0].z == pytest.approx(np.array([[2 / 3, 1 / 3], [1 / 2, 1 / 2]]))
    assert [list(row) for row in figure.data[0].text] == [
        ["2<br>66.7%", "1<br>33.3%"],
        ["1<br>50.0%", "1<br>50.0%"],
    ]
    assert list(figure.data[0].x) == list(figure.data[0].y) == ["no", "yes"]
    assert axis_titles(figure) == ["predicted class", "true class"]
    assert figure.layout.title.text == "five texts"
    assert figure.layout.yaxis.autorange == "reversed", "the first class stands at the top"


def test_confusion_of_a_class_without_texts():
    figure = confusion_figure([0, 0], [0, 2], ["a", "b", "c"], "two texts")
    assert figure.data[0].z == pytest.approx(np.array([[1 / 2, 0, 1 / 2], [0, 0, 0], [0, 0, 0]]))
    with pytest.raises(UsageError, match=r"prediction of row 1 .* is 2; .* from 0 to 1"):
        confusion_figure([0, 0], [0, 2], ["a", "b"], "")
    with pytest.raises(UsageError, match="2 labels but 3 predictions"):
        confusion_figure([0, 0], [0, 1, 1], ["a", "b"], "")


def test_the_area_under_the_drawn_roc_curve_is_the_one_in_the_legend():
    figure = roc_figure(CURVES, "two models")
    for trace, (labels, scores) in zip(figure.data, CURVES.values(), strict=False):
        area = metrics.roc_auc_score(labels, scores)
        assert np.trapezoid(trace.y, trace.x) == pytest.approx(area)
        assert trace.name.endswith(f", AUC {area:.3f}")
    assert figure.data[-1].name == "chance, AUC 0.5"
    assert len(set(looks(figure))) == 3
    assert all(axis_titles(figure))


def test_the_steps_drawn_enclose_the_average_precision():
    figure = precision_recall_figure(CURVES, "two models")
    for trace, (labels, scores) in zip(figure.data, CURVES.values(), strict=False):
        assert trace.line.shape == "hv", "from each point first level to the next recall"
        area = -np.sum(np.diff(trace.x) * trace.y[:-1])
        assert area == pytest.approx(metrics.average_precision_score(labels, scores))
        assert trace.name.endswith(f", AP {area:.3f}")
    assert figure.data[-1].y == pytest.approx([LABELS.mean()] * 2)
    assert len(set(looks(figure))) == 3
    assert all(axis_titles(figure))


@pytest.mark.parametrize("draw", [roc_figure, precision_recall_figure])
def test_curves_of_one_class_are_refused(draw):
    with pytest.raises(UsageError, match="all 2 labels are 1"):
        draw({"model": ([1, 1], [0.2, 0.3])}, "")


def test_no_curve_is_refused():
    with pytest.raises(UsageError, match="no curve to draw"):
        precision_recall_figure({}, "")


def test_reliability_shows_the_bins():
    scores = RANDOM.random(80)
    tables = {"first": reliability_bins(scores, LABELS, 4), "second": reliability_bins(scores**2, LABELS, 4)}
    figure = reliability_figure(tables, "two models")
    for trace, (name, bins) in zip(figure.data[::2], tables.items(), strict=False):
        assert trace.name == name
        np.testing.assert_array_equal(trace.x, bins.confidence)
        np.testing.assert_array_equal(trace.y, bins.accuracy)
    np.testing.assert_array_equal(figure.data[1].y, tables["first"].count)
    assert figure.data[0].marker.symbol != figure.data[2].marker.symbol
    assert axis_titles(figure) == [None, "mean probability of the bin", "share that came true", "texts"]


def test_intervals_reach_from_low_to_high():
    intervals = {"first": Interval(0.5, 0.4, 0.7), "second": Interval(-0.1, -0.2, 0.1)}
    figure = interval_figure(intervals, "two models", "accuracy", reference=0)
    trace = figure.data[0]
    assert list(trace.y) == ["first", "second"]
    assert trace.x == pytest.approx([0.5, -0.1])
    assert np.array(trace.x) + trace.error_x.array == pytest.approx([0.7, 0.1])
    assert np.array(trace.x) - trace.error_x.arrayminus == pytest.approx([0.4, -0.2])
    assert figure.layout.shapes[0].x0 == 0
    assert figure.layout.xaxis.title.text == "accuracy"
    assert figure.layout.yaxis.autorange == "reversed"
    assert not interval_figure(intervals, "", "accuracy").layout.shapes


def test_no_interval_is_refused():
    with pytest.raises(UsageError, match="no interval to draw"):
        interval_figure({}, "", "")
