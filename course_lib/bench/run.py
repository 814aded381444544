"""`course bench`: the parts one after the other, one table, and what was measured as a file."""

import json
import logging
import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
from tqdm import tqdm

from course_lib.bench import answering, reading, training
from course_lib.bench.growth import growth
from course_lib.bench.measure import Figure
from course_lib.bench.sizes import Sizes
from course_lib.compression.report import processor_name
from course_lib.errors import unknown_name
from course_lib.files import REPOSITORY, write_atomically

# By name, in the order in which they run; each gets the sizes and the folder for its figures.
PARTS: dict[str, Callable[[Sizes, Path], list[Figure]]] = {
    "imdb": lambda sizes, _: training.imdb(sizes),
    "conll": lambda sizes, _: training.conll(sizes),
    "bound": lambda sizes, _: training.bound(sizes),
    "tokenization": lambda sizes, _: reading.tokenization(sizes),
    "memory": lambda sizes, _: reading.memory(sizes),
    "glove": lambda sizes, _: reading.glove(sizes),
    "predictors": lambda sizes, _: answering.predictors(sizes),
    "notebook": lambda sizes, _: answering.notebook(sizes),
    "growth": growth,
}


def bench(
    only: Iterable[str] = (), *, out: Path = REPOSITORY / "runs" / "bench", sizes: Sizes | None = None
) -> list[Figure]:
    """Measures the parts, and writes results.json and the figures of growth into `out`.

    Args:
        only: names of `PARTS`; nothing means all.
        out: folder, made if missing.
        sizes: how much to measure; by default what two idle cores do in ten minutes.

    Raises:
        UsageError: an unknown part; raised before anything is measured.
        CourseError: data cannot be fetched, or the notebook does not run.
    """
    only = list(only)
    for name in only:
        if name not in PARTS:
            raise unknown_name("part of the bench", name, PARTS)
    sizes = sizes or Sizes()
    out.mkdir(parents=True, exist_ok=True)
    # Each shape is compiled on purpose, before its time counts; TensorFlow warns of it.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    figures: list[Figure] = []
    for name in tqdm([name for name in PARTS if not only or name in only], desc="bench", disable=None):
        keras.utils.set_random_seed(0)
        figures += PARTS[name](sizes, out)
        keras.utils.clear_session()
        # After every part, so that a run that is stopped leaves what it has.
        _write(out / "results.json", figures)
    return figures


def _write(path, figures):
    document = {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "figures": [
            {
                "part": figure.part,
                "what": figure.what,
                "unit": figure.unit,
                "median": figure.median,
                "values": figure.values,
                "goal": None if figure.goal is None else str(figure.goal),
                "verdict": figure.verdict,
                "measured": figure.note,
            }
            for figure in figures
        ],
    }
    write_atomically(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
