"""The results frame holds what was measured: sizes, times as ratios, paired changes worked out by hand."""

import gzip
import time

import numpy as np
import pytest

from course_lib.compression.report import Variant, answers_of, compare
from course_lib.errors import UsageError
from course_lib.evaluation.figures import size_quality_latency_figure

SEQUENCES = [[1, 2], [3], [4, 5, 6], [7, 8, 9, 10]]
LABELS = [0, 1, 0, 1]


def parity_logits(sequences, delay=0.0):
    """Class 1 for an odd first id."""
    time.sleep(delay)
    classes = np.array([ids[0] % 2 for ids in sequences])
    return np.eye(2)[classes]


@pytest.fixture(scope="module")
def table():
    variants = {
        "large": Variant(bytes(4_000), lambda ids: parity_logits(ids, delay=0.02)),
        "small": Variant(bytes(range(250)) * 4, lambda ids: 1 - parity_logits(ids)),
    }
    return compare(variants, SEQUENCES, LABELS)


def test_sizes(table):
    assert list(table["bytes"]) == [4_000, 1_000]
    assert list(table["smaller"]) == [1, 4]
    assert table.loc["large", "gzipped"] == len(gzip.compress(bytes(4_000), mtime=0)) < 100


def test_accuracy_and_paired_change_by_hand(table):
    # By parity of the first id: 1, 1, 0, 1 against 0, 1, 0, 1; the small one answers the opposite.
    assert list(table["accuracy"]) == [0.75, 0.25]
    assert list(table["change"]) == [0, -0.5]
    assert table.loc["large", ["change_low", "change_high"]].tolist() == [0, 0]
    assert table.loc["small", "change_low"] < -0.5 < table.loc["small", "change_high"]


def test_times_are_told_apart(table):
    assert table.loc["large", "p50_ms"] >= 20
    assert table.loc["small", "faster"] > 5
    assert table.loc["large", "faster"] == 1


def test_what_the_model_before_leaves_in_the_caches_does_not_count():
    last = []

    def answer(name, ids):
        if last != [name]:  # as if its weights had to be fetched anew
            time.sleep(0.02)
        last[:] = [name]
        return parity_logits(ids)

    variants = {name: Variant(b"x", lambda ids, name=name: answer(name, ids)) for name in "abc"}
    assert max(compare(variants, SEQUENCES, LABELS)["p50_ms"]) < 15


def test_nor_does_it_where_a_small_model_needs_more_than_one_answer_to_get_warm():
    last = []

    def answer(name, ids):
        last[:] = [*last, name] if last[-1:] == [name] else [name]
        if len(last) <= 2:
            time.sleep(0.001)
        return parity_logits(ids)

    variants = {name: Variant(b"x", lambda ids, name=name: answer(name, ids)) for name in "abc"}
    assert max(compare(variants, SEQUENCES, LABELS)["p50_ms"]) < 1


def test_each_variant_may_read_its_own_ids():
    shifted = [[first + 1, *rest] for first, *rest in SEQUENCES]
    variants = {"a": Variant(b"a", parity_logits), "b": Variant(b"b", parity_logits)}
    table = compare(variants, {"a": SEQUENCES, "b": shifted}, LABELS)
    assert list(table["accuracy"]) == [0.75, 0.25]


def test_answers_come_back_in_order():
    def network(inputs):
        assert inputs["token_ids"].dtype == np.int32
        return inputs["token_ids"].sum(axis=1, keepdims=True).astype(float)

    random = np.random.default_rng(0)
    sequences = [list(random.integers(1, 50, random.integers(1, 30))) for _ in range(100)]
    assert answers_of(network)(sequences)[:, 0].tolist() == [sum(ids) for ids in sequences]


@pytest.mark.parametrize(
    ("variants", "sequences", "labels", "message"),
    [
        ({}, SEQUENCES, LABELS, "no model"),
        ({"a": Variant(b"a", parity_logits)}, [], [], "no text"),
        ({"a": Variant(b"a", parity_logits)}, SEQUENCES, [0, 1], "labels"),
        ({"a": Variant(b"a", parity_logits)}, SEQUENCES, [0, 1, 0, 2], "2"),
    ],
)
def test_bad_input(variants, sequences, labels, message):
    with pytest.raises(UsageError, match=message):
        compare(variants, sequences, labels)


def test_figure(table):
    figure = size_quality_latency_figure(table, "two models")
    assert [trace.x[0] for trace in figure.data[::2]] == [0.004, 0.001]
    assert [trace.x[0] for trace in figure.data[1::2]] == list(table["p50_ms"])
    assert {trace.marker.symbol for trace in figure.data} == {"circle", "square"}
    assert [axis.title.text for axis in figure.select_xaxes()] == [
        "megabytes",
        "milliseconds for one text (median)",
    ]
