"""How cost grows with the number of reviews and with their length: ×1, ×2, ×4, ×8."""

import statistics
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from course_lib.bench.measure import Figure, ratios, rotate
from course_lib.bench.sizes import Sizes
from course_lib.bench.training import REVIEW_BATCH, trainer
from course_lib.data import load_imdb
from course_lib.evaluation.figures import COLOURS, SYMBOLS, set_style
from course_lib.files import write_atomically
from course_lib.text import TextEncoder
from course_lib.text.batches import BucketedBatches

FACTORS = (1, 2, 4, 8)
_PANELS = {"reviews": "number of reviews", "lengths": "tokens of a review"}

# panel → curve → factor → seconds, one for each round.
Curves = Mapping[str, Mapping[str, Mapping[int, list[float]]]]


def growth(sizes: Sizes, out: Path) -> list[Figure]:
    """Time for eight times as much, over eight times the time for once: 1 if cost grows in proportion.

    Reviews are doubled at twice the shortest length, lengths at the smallest number of reviews; every review
    is exactly as long as it should be. The curves are drawn into growth.html.

    Args:
        sizes: of which `grown_reviews`, `grown_length`, `hidden_dim` and `slow_rounds` count.
        out: folder of the figure.
    """
    curves = measure_growth(sizes)
    starts = {"reviews": sizes.grown_reviews, "lengths": sizes.grown_length}
    write_atomically(out / "growth.html", draw(curves, starts).to_html(include_plotlyjs=True))
    figures = []
    for panel, by_work in curves.items():
        for work, seconds in by_work.items():
            times = ", ".join(f"×{k} {statistics.median(seconds[k]):.3g} s" for k in FACTORS)
            values = tuple(value / FACTORS[-1] for value in ratios(seconds[FACTORS[-1]], seconds[1]))
            what = f"{work}, {panel} ×{FACTORS[-1]}, time / proportional time"
            figures.append(Figure("growth", what, values, note=times))
    return figures


def measure_growth(sizes: Sizes) -> Curves:
    """Seconds of encoding and of one epoch of training, for both panels."""
    tokens, encoder = _tokens(sizes)
    fixed_length = 2 * sizes.grown_length
    shapes = {
        "reviews": {k: (k * sizes.grown_reviews, fixed_length) for k in FACTORS},
        "lengths": {k: (sizes.grown_reviews, k * sizes.grown_length) for k in FACTORS},
    }
    curves = {}
    for panel, by_factor in shapes.items():
        encoding, training = {}, {}
        for factor, (num_reviews, length) in by_factor.items():
            rows = _rows(tokens, num_reviews, length)
            texts = [" ".join(row) for row in rows]
            batches = BucketedBatches(
                [encoder.vocabulary.encode(row) for row in rows],
                np.arange(num_reviews) % 2,
                batch_size=REVIEW_BATCH,
                bucket_lengths=[length],
            )
            encoding[factor] = lambda texts=texts: [encoder.encode(text) for text in texts]
            # A model of its own for each shape: none waits for another one's compiling.
            training[factor] = trainer(len(encoder.vocabulary), sizes.hidden_dim, batches)
        curves[panel] = {
            "training": rotate(training, sizes.slow_rounds),
            "encoding": rotate(encoding, sizes.slow_rounds),
        }
    return curves


def draw(curves: Curves, starts: Mapping[str, int]) -> go.Figure:
    """Both panels, doubly logarithmic; dotted, what growth in proportion would cost.

    Args:
        curves: as `measure_growth` returns them.
        starts: panel → what ×1 stands for.
    """
    set_style()
    figure = make_subplots(cols=2, subplot_titles=["More reviews", "Longer reviews"], horizontal_spacing=0.12)
    for column, (panel, by_work) in enumerate(curves.items(), start=1):
        sizes = [starts[panel] * factor for factor in FACTORS]
        for index, (work, seconds) in enumerate(by_work.items()):
            medians = [statistics.median(seconds[factor]) for factor in FACTORS]
            proportional = [medians[0] * factor for factor in FACTORS]
            colour, first = COLOURS[index], column == 1
            figure.add_scatter(
                x=sizes,
                y=medians,
                mode="lines+markers",
                name=work,
                legendgroup=work,
                showlegend=first,
                line_color=colour,
                marker_symbol=SYMBOLS[index],
                row=1,
                col=column,
            )
            figure.add_scatter(
                x=sizes,
                y=proportional,
                mode="lines",
                name=f"{work}, in proportion",
                legendgroup=work,
                showlegend=first,
                line={"color": colour, "dash": "dot", "width": 1},
                row=1,
                col=column,
            )
        figure.update_xaxes(title=_PANELS[panel], type="log", tickvals=sizes, row=1, col=column)
    figure.update_yaxes(title="seconds", type="log")
    figure.update_layout(title="What more and longer reviews cost", legend={"orientation": "h", "y": -0.2})
    return figure


def _tokens(sizes):
    """Enough running text for the largest shape, and an encoder that cuts nothing of it."""
    reviews = load_imdb("train")[: FACTORS[-1] * sizes.grown_reviews]
    encoder = TextEncoder.fit(
        [review.text for review in reviews], max_length=FACTORS[-1] * sizes.grown_length
    )
    return [token for review in reviews for token in encoder.tokenize(review.text)], encoder


def _rows(tokens, num_reviews, length):
    """So many made reviews of so many tokens; the text begins anew where it ends."""
    rows = np.resize(np.array(tokens, dtype=object), num_reviews * length)
    return rows.reshape(num_reviews, length).tolist()
