"""Plotly figures that two or more places draw, and the style of all of them."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import plotly.io
from plotly.subplots import make_subplots

# Okabe & Ito's colours: told apart with every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


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
