"""The course's own Plotly figures, and the style of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
import plotly.io
from plotly.subplots import make_subplots

from course_lib.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from course_lib.evaluation.bootstrap import Interval
    from course_lib.evaluation.calibration import ReliabilityBins

# Okabe & Ito's colours: told apart with every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x", "star")


def set_style() -> None:
    """Makes the course's look plotly's default: one palette, one size, light grid, readable type."""
    template = go.layout.Template(plotly.io.templates["plotly_white"])
    template.layout.update(
        colorway=COLOURS,
        font={"family": "Inter, Segoe UI, Helvetica, Arial, sans-serif", "size": 14},
        title={"x": 0.02, "xanchor": "left", "font": {"size": 17}},
        width=820,
        height=420,
        margin={"l": 70, "r": 30, "t": 70, "b": 60},
    )
    plotly.io.templates["course"] = template
    plotly.io.templates.default = "course"


def learning_curves(histories: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> go.Figure:
    """Loss and accuracy after each epoch, training dashed and validation solid, one colour per run.

    Args:
        histories: name of the run → history as `course_lib.training.train` returns it, with `loss`,
            `accuracy`, `val_loss` and `val_accuracy`.
        title: the figure's title.
    """
    figure = make_subplots(cols=2, subplot_titles=("Loss (nats)", "Accuracy"), horizontal_spacing=0.12)
    for index, (name, history) in enumerate(histories.items()):
        for column, metric in enumerate(("loss", "accuracy"), start=1):
            for prefix, dash, suffix in (("", "dash", "training"), ("val_", "solid", "validation")):
                values = history[prefix + metric]
                figure.add_scatter(
                    x=list(range(1, len(values) + 1)),
                    y=list(values),
                    mode="lines+markers",
                    line={"color": COLOURS[index % len(COLOURS)], "dash": dash},
                    name=f"{name}, {suffix}",
                    legendgroup=f"{name}, {suffix}",
                    showlegend=column == 1,
                    col=column,
                    row=1,
                )
    figure.update_xaxes(title="epoch", dtick=1)
    figure.update_layout(title=title, legend={"orientation": "h", "y": -0.2})
    return figure


def confusion_figure(
    labels: Sequence, predictions: Sequence, class_names: Sequence[str], title: str
) -> go.Figure:
    """Confusion matrix: true classes in rows, predicted ones in columns; texts and share of the row in cells.

    Args:
        labels, predictions: class ids, (num_texts,).
        class_names: the name of each class id, in order.
        title: the figure's title.

    Raises:
        UsageError: a wrong label, or not one prediction for each label.
    """
    from sklearn.metrics import confusion_matrix

    from course_lib.data.labels import check_labels

    labels = check_labels(labels, len(class_names))
    predictions = check_labels(predictions, len(class_names), "prediction")
    if len(labels) != len(predictions):
        raise UsageError(f"There are {len(labels)} labels but {len(predictions)} predictions.")
    counts = confusion_matrix(labels, predictions, labels=range(len(class_names)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    texts = [
        [f"{count:,}<br>{share:.1%}" for count, share in zip(*rows, strict=True)]
        for rows in zip(counts, shares, strict=True)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            x=list(class_names),
            y=list(class_names),
            text=texts,
            texttemplate="%{text}",
            hovertemplate="true %{y}, predicted %{x}: %{text}<extra></extra>",
            colorscale="Blues",
            zmin=0,
            zmax=1,
            xgap=2,
            ygap=2,
            colorbar={"title": "share of<br>the row", "tickformat": ".0%"},
        )
    )
    figure.update_xaxes(title="predicted class", type="category")
    figure.update_yaxes(title="true class", type="category", autorange="reversed")
    return figure.update_layout(title=title)


def roc_figure(curves: Mapping[str, tuple[Sequence, Sequence]], title: str) -> go.Figure:
    """ROC curves with the area under each in the legend; the diagonal is chance.

    Args:
        curves: name of the model → (labels, scores), as `course_lib.evaluation.classification.roc_auc` takes
            them.
        title: the figure's title.

    Raises:
        UsageError: wrong labels or scores, or those of one class only.
    """
    from sklearn.metrics import roc_curve

    from course_lib.evaluation.classification import roc_auc

    figure = go.Figure()
    for index, (name, (labels, scores)) in enumerate(curves.items()):
        area = roc_auc(labels, scores)
        false_rates, true_rates, _ = roc_curve(labels, scores)
        _add_curve(figure, index, f"{name}, AUC {area:.3f}", false_rates, true_rates)
    _add_reference(figure, "chance, AUC 0.5", [0, 1], [0, 1])
    _set_unit_axes(figure, "false positive rate (share of the negative texts)", "true positive rate (recall)")
    return figure.update_layout(title=title)


def precision_recall_figure(curves: Mapping[str, tuple[Sequence, Sequence]], title: str) -> go.Figure:
    """Precision at each recall with the average precision in the legend; the level line is chance.

    Chance is the share of positive texts, and all models must be judged on the same labels.

    Args and errors as in `roc_figure`.

    Raises:
        UsageError: as there, or no curve.
    """
    from sklearn.metrics import precision_recall_curve

    from course_lib.evaluation.classification import average_precision

    if not curves:
        raise UsageError("There is no curve to draw: pass at least one model with its labels and scores.")
    figure = go.Figure()
    for index, (name, (labels, scores)) in enumerate(curves.items()):
        area = average_precision(labels, scores)
        precisions, recalls, _ = precision_recall_curve(labels, scores)
        # A step: between two thresholds there is nothing to interpolate.
        _add_curve(figure, index, f"{name}, AP {area:.3f}", recalls, precisions, shape="hv")
    share = float(np.mean(np.asarray(labels, dtype=float)))
    _add_reference(figure, f"chance, AP {share:.3f}", [0, 1], [share, share])
    _set_unit_axes(figure, "recall (share of the positive texts found)", "precision")
    return figure.update_layout(title=title)


def reliability_figure(tables: Mapping[str, ReliabilityBins], title: str) -> go.Figure:
    """Reliability diagram: what came true against what was promised, and how many texts stand in each bin.

    Args:
        tables: name of the model → its bins, as `course_lib.evaluation.calibration.reliability_bins` returns
            them.
        title: the figure's title.
    """
    figure = make_subplots(rows=2, shared_xaxes=True, row_heights=[0.72, 0.28], vertical_spacing=0.06)
    for index, (name, bins) in enumerate(tables.items()):
        look = _look(index)
        shared = {"x": bins.confidence, "mode": "lines+markers", "name": name, "legendgroup": name, **look}
        figure.add_scatter(y=bins.accuracy, customdata=bins.count, row=1, col=1, **shared)
        figure.add_scatter(y=bins.count, showlegend=False, row=2, col=1, **shared)
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="honest", line={"color": "grey", "dash": "dot"}, row=1, col=1
    )
    lowest = min((bins.confidence.min() for bins in tables.values()), default=0)
    figure.update_xaxes(range=[0.48 if lowest >= 0.5 else -0.02, 1.02])
    figure.update_xaxes(title="mean probability of the bin", row=2, col=1)
    figure.update_yaxes(title="share that came true", range=[-0.03, 1.03], row=1, col=1)
    figure.update_yaxes(title="texts", rangemode="tozero", row=2, col=1)
    return figure.update_layout(title=title, height=520)


def interval_figure(
    intervals: Mapping[str, Interval], title: str, axis_title: str, reference: float | None = None
) -> go.Figure:
    """One row for each name, the first at the top: a dot for the value, whiskers to the interval's ends.

    Args:
        intervals: name → (value, low, high).
        title: the figure's title.
        axis_title: what is measured, with its unit.
        reference: draws a dotted line at this value, such as 0 for differences.

    Raises:
        UsageError: no interval.
    """
    if not intervals:
        raise UsageError("There is no interval to draw: pass at least one name with its interval.")
    values, lows, highs = (np.array(part, dtype=float) for part in zip(*intervals.values(), strict=True))
    figure = go.Figure(
        go.Scatter(
            x=values,
            y=list(intervals),
            mode="markers",
            marker={"size": 11, "color": COLOURS[0]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": highs - values,
                "arrayminus": values - lows,
            },
            customdata=np.stack([lows, highs], axis=1),
            hovertemplate="%{y}: %{x:.3f}, from %{customdata[0]:.3f} to %{customdata[1]:.3f}<extra></extra>",
        )
    )
    if reference is not None:
        figure.add_vline(reference, line_dash="dot", line_color="grey")
    figure.update_xaxes(title=axis_title)
    figure.update_yaxes(type="category", autorange="reversed", automargin=True)
    return figure.update_layout(title=title, height=max(280, 130 + 42 * len(values)))


def size_quality_latency_figure(table: pd.DataFrame, title: str) -> go.Figure:
    """Accuracy against bytes on the left and against milliseconds on the right, both logarithmic.

    Args:
        table: one row for each model, as `course_lib.compression.report.compare` returns it.
        title: the figure's title; the machine is added to it.
    """
    figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.05)
    for index, (name, row) in enumerate(table.iterrows()):
        shared = {
            "y": [row["accuracy"]],
            "mode": "markers",
            "name": name,
            "legendgroup": name,
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [row["high"] - row["accuracy"]],
                "arrayminus": [row["accuracy"] - row["low"]],
            },
            "marker": {
                "size": 12,
                "symbol": SYMBOLS[index % len(SYMBOLS)],
                "color": COLOURS[index % len(COLOURS)],
            },
        }
        figure.add_scatter(x=[row["bytes"] / 1e6], row=1, col=1, **shared)
        figure.add_scatter(x=[row["p50_ms"]], row=1, col=2, showlegend=False, **shared)
    figure.update_xaxes(type="log")
    figure.update_xaxes(title="megabytes", row=1, col=1)
    figure.update_xaxes(title="milliseconds for one text (median)", row=1, col=2)
    figure.update_yaxes(title="accuracy", row=1, col=1)
    machine = table["machine"].iloc[0]
    return figure.update_layout(
        title={"text": title, "subtitle": {"text": f"with 95 % intervals; {machine}"}},
        legend={"orientation": "h", "y": -0.2},
    )


def _look(index: int) -> dict:
    """Colour, dash and marker of the curve with this number: never told apart by colour alone."""
    return {
        "line": {"color": COLOURS[index % len(COLOURS)], "dash": DASHES[index % len(DASHES)]},
        "marker": {"symbol": SYMBOLS[index % len(SYMBOLS)], "size": 9},
    }


def _add_curve(figure: go.Figure, index: int, name: str, x, y, shape: str = "linear") -> None:
    line = {**_look(index)["line"], "shape": shape}
    figure.add_scatter(x=x, y=y, mode="lines", name=name, line=line)


def _add_reference(figure: go.Figure, name: str, x, y) -> None:
    figure.add_scatter(x=x, y=y, mode="lines", name=name, line={"color": "grey", "dash": "dot", "width": 1.5})


def _set_unit_axes(figure: go.Figure, x_title: str, y_title: str) -> None:
    figure.update_xaxes(title=x_title, range=[-0.02, 1.02])
    figure.update_yaxes(title=y_title, range=[-0.02, 1.02])
