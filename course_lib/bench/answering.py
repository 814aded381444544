"""After training: one text answered by a predictor, and what a notebook costs beyond its cells."""

import math
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import nbformat
import numpy as np
from scipy.special import softmax

from course_lib.bench.measure import Figure, rates, ratios, rotate
from course_lib.bench.sizes import Sizes
from course_lib.bench.training import tagger, tagging_encoder
from course_lib.data import load_conll2003, load_rotten_tomatoes
from course_lib.errors import CourseError
from course_lib.files import REPOSITORY
from course_lib.models.classifier import build_classifier
from course_lib.models.encoder import build_encoder
from course_lib.runner.gates import Bound, Expectation
from course_lib.runner.notebooks import find_notebooks, select_notebooks
from course_lib.runner.run import run_notebook
from course_lib.serving import export
from course_lib.serving.network import Network, WordVectors
from course_lib.serving.predictors import EntityPredictor, SentimentPredictor
from course_lib.text import TextEncoder
from course_lib.training import compile_classifier, compile_tagger

_DEADLINE_SECONDS = 300
# Sentences that vocabularies are made of; the networks are untrained, which makes them neither slow nor fast.
_NUM_FOR_VOCABULARY = 2_000
_LABELS = ("negative", "neutral", "positive")


def predictors(sizes: Sizes) -> list[Figure]:
    """One sentence at a time, from text to answer, beside `model.predict` of the same network.

    Keras gets more of a start: for sentiment its answer is the softmax, for entities the logits alone, while
    the predictor also splits the text into sentences and decodes the best tags.
    """
    figures = []
    for name, (texts, ours, plain) in {
        "sentiment": sentiment_answers(sizes),
        "entities": entity_answers(sizes),
    }.items():
        seconds = rotate(
            {
                "ours": lambda texts=texts, answer=ours: [answer(text) for text in texts],
                "predict": lambda texts=texts, answer=plain: [answer(text) for text in texts],
            },
            sizes.rounds,
        )
        figures.append(
            Figure(
                "predictors",
                f"{name}, one text, speed of ours / model.predict",
                ratios(seconds["predict"], seconds["ours"]),
                goal=Bound(min=20),
                note=rates(len(texts), "texts", seconds),
            )
        )
    return figures


def sentiment_answers(sizes: Sizes) -> tuple[list[str], Callable, Callable]:
    """Sentences, and two functions from one to its probabilities (3,): the predictor's and Keras's."""
    sentences = [record.text for record in load_rotten_tomatoes()[:_NUM_FOR_VOCABULARY]]
    encoder = TextEncoder.fit(sentences, max_length=sizes.max_length)
    model = build_classifier(
        build_encoder(len(encoder.vocabulary), hidden_dim=sizes.hidden_dim), len(_LABELS)
    )
    compile_classifier(model, keras.optimizers.Adam())
    predictor = SentimentPredictor(_network(model), encoder, _LABELS)

    def ours(text: str) -> np.ndarray:
        return np.array(list(predictor.predict(text).probabilities.values()))

    def plain(text: str) -> np.ndarray:
        return softmax(model.predict(encoder.encode_batch([text]), verbose=0)[0])

    return sentences[: sizes.answers], ours, plain


def entity_answers(sizes: Sizes) -> tuple[list[str], Callable, Callable]:
    """Sentences, the predictor's function from one to its answer, and Keras's to its logits."""
    sentences = load_conll2003("train")[:_NUM_FOR_VOCABULARY]
    encoder = tagging_encoder(sentences)
    model = tagger(encoder, sizes)
    compile_tagger(model, keras.optimizers.Adam())
    predictor = EntityPredictor(_network(model), encoder, export.transitions(model))
    chosen = [" ".join(sentence.tokens) for sentence in sentences[: sizes.answers]]

    def plain(text: str) -> np.ndarray:
        features = encoder.encode(text.split(" "))
        return model.predict({name: rows[None] for name, rows in features.items()}, verbose=0)[0]

    return chosen, predictor.predict, plain


def notebook(sizes: Sizes) -> list[Figure]:
    """A notebook's wall time over the sum of its cells': starting a kernel, papermill, gates.

    Raises:
        UsageError: there is no such notebook.
        CourseError: it does not run.
    """
    ((name, path),) = select_notebooks([sizes.notebook], find_notebooks(REPOSITORY)).items()
    # What it may cost elsewhere is of no interest here.
    budgets = {(name, "smoke"): Expectation(math.inf, math.inf)}
    whole, cells = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(sizes.slow_rounds):
            executed = Path(folder, path.name)
            outcome = run_notebook(path, executed, "smoke", 0, budgets, deadline_seconds=_DEADLINE_SECONDS)
            if outcome.failures:
                raise CourseError(f"{name} does not run ({outcome.failures[0]}). Try: course run {name[:2]}")
            whole.append(outcome.wall_seconds)
            cells.append(cell_seconds(nbformat.read(executed, as_version=4)))
    times = f"{statistics.median(whole):.1f} s, its cells {statistics.median(cells):.1f} s"
    return [Figure("notebook", f"{name}, whole / its cells", ratios(whole, cells), note=times)]


def cell_seconds(executed: nbformat.NotebookNode) -> float:
    """The sum over the cells of the time that papermill measured for each."""
    return sum(cell.metadata.get("papermill", {}).get("duration") or 0.0 for cell in executed.cells)


def _network(model):
    words = WordVectors.exact(export.word_vectors(model))
    return Network(export.to_onnx(model).SerializeToString(), words)
