"""One results frame for every way to make a model smaller: bytes, milliseconds, quality."""

import gzip
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from course_lib.errors import UsageError
from course_lib.evaluation.classification import accuracy_interval
from course_lib.evaluation.significance import paired_bootstrap
from course_lib.text import pad

# Two texts in one batch must not differ much in length, or padding is most of the work.
_BATCH_SIZE = 32
# A small model's first answers after a large one's wait for its own weights to come back into the caches.
_WARM_UP_SECONDS = 0.005


class Variant(NamedTuple):
    """A model as it would be shipped.

    Attributes:
        content: all bytes that must be stored to answer: the graph and, if it has any, the word vectors.
        answer: from token ids of some texts to their logits, float (num_texts, num_classes).
    """

    content: bytes
    answer: Callable[[Sequence[Sequence[int]]], np.ndarray]


def answers_of(
    network: Callable[[Mapping[str, np.ndarray]], np.ndarray],
) -> Callable[[Sequence[Sequence[int]]], np.ndarray]:
    """A function from token ids of some texts to logits, from a network that takes padded batches.

    Args:
        network: from `token_ids` int32 (batch, time), padded on the right with 0, to (batch, num_classes),
            such as `course_lib.serving.network.Network`.
    """

    def answer(sequences):
        order = np.argsort([len(ids) for ids in sequences], kind="stable")
        parts = [order[start : start + _BATCH_SIZE] for start in range(0, len(order), _BATCH_SIZE)]
        rows = [network({"token_ids": pad([sequences[index] for index in part])}) for part in parts]
        rows = np.concatenate(rows)
        logits = np.empty_like(rows)
        logits[order] = rows
        return logits

    return answer


def compare(
    variants: Mapping[str, Variant],
    sequences: Mapping[str, Sequence[Sequence[int]]] | Sequence[Sequence[int]],
    labels: Sequence[int],
    *,
    num_timed: int = 200,
) -> pd.DataFrame:
    """Measures all variants on the same texts and, text by text in turn, at the same time.

    Args:
        variants: by name; the first one is what the ratios compare with.
        sequences: token ids of the texts; by the variant's name, where the variants read different ids.
        labels: class ids, (num_texts,).
        num_timed: so many texts, evenly spread over all of them, are also answered one by one.

    Returns:
        One row for each variant: `bytes`, `gzipped` (bytes after gzip), `smaller` (the first variant's bytes
        over this one's), `p50_ms` (median milliseconds for one text), `faster` (the median, over the timed
        texts, of the first variant's time over this one's), `accuracy` with `low` and `high`, `change`
        (accuracy minus the first variant's, paired by text) with `change_low` and `change_high`, and
        `machine`, the processor's name. All intervals are 95 % bootstrap intervals.

    Raises:
        UsageError: no variant, no text, a wrong label, or not one label for each text.
    """
    if not variants:
        raise UsageError("There is no model to measure: pass at least one variant.")
    if not isinstance(sequences, Mapping):
        sequences = dict.fromkeys(variants, sequences)
    milliseconds = _answer_times(variants, sequences, num_timed)
    reference, rows, reference_right = next(iter(variants)), [], None
    for name, variant in variants.items():
        logits = variant.answer(sequences[name])
        predictions = logits.argmax(axis=1)
        accuracy = accuracy_interval(labels, predictions, logits.shape[1])
        right = predictions == np.asarray(labels)
        reference_right = right if reference_right is None else reference_right
        change = paired_bootstrap(right, reference_right)
        rows.append(
            {
                "model": name,
                "bytes": len(variant.content),
                "gzipped": len(gzip.compress(variant.content, mtime=0)),
                "smaller": len(variants[reference].content) / len(variant.content),
                "p50_ms": float(np.median(milliseconds[name])),
                "faster": float(np.median(milliseconds[reference] / milliseconds[name])),
                "accuracy": accuracy.value,
                "low": accuracy.low,
                "high": accuracy.high,
                "change": change.value,
                "change_low": change.low,
                "change_high": change.high,
                "machine": processor_name(),
            }
        )
    return pd.DataFrame(rows).set_index("model")


def processor_name() -> str:
    """The processor's name; Linux tells it in /proc alone."""
    try:
        match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        match = None
    return match[1] if match else platform.processor() or platform.machine()


def _answer_times(variants, sequences, num_timed):
    """Milliseconds by variant, (num_timed,): all variants answer a text before the next one's turn.

    Each answers it untimed first, so that what the model before has left in the caches does not count.
    """
    num_texts = min(map(len, sequences.values()))
    if num_texts == 0 or num_timed < 1:
        raise UsageError("There is no text to time the models with: pass at least one.")
    chosen = np.linspace(0, num_texts - 1, min(num_timed, num_texts)).astype(int)
    times = {name: np.empty(len(chosen)) for name in variants}
    for row, index in enumerate(chosen):
        for name, variant in variants.items():
            warm = time.perf_counter() + _WARM_UP_SECONDS
            variant.answer([sequences[name][index]])
            while time.perf_counter() < warm:
                variant.answer([sequences[name][index]])
            began = time.perf_counter()
            variant.answer([sequences[name][index]])
            times[name][row] = 1000 * (time.perf_counter() - began)
    return times
