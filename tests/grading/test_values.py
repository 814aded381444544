"""What crosses the border comes through unchanged, and nothing else comes through at all."""

import collections
import json

import numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from course_lib.errors import UsageError
from course_lib.grading.values import (
    ENCODER_SOURCE,
    MAX_BYTES,
    Undecodable,
    decode,
    decode_json,
    difference,
    literal,
)
from course_lib.text.tagging import EntitySpan

namespace = {}
exec(ENCODER_SOURCE.format(name="encode"), namespace)
encode = namespace["encode"]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
arrays = hnp.arrays(
    st.sampled_from([np.float64, np.float32, np.int64, np.int32, np.bool_]),
    hnp.array_shapes(max_dims=3, max_side=4),
)
values = st.recursive(
    scalars | arrays,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return (
            a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return a == b or (a != a and b != b)


@given(values)
def test_round_trip_as_answer(value):
    assert same(decode(json.loads(json.dumps(encode(value)))), value)


@given(values)
def test_round_trip_as_literal(value):
    assert same(eval(literal(value), {"numpy": numpy}), value)


@given(values)
def test_a_value_equals_itself_exactly(value):
    has_nan = "nan" in repr(value)
    assert difference(value, value) is None or has_nan


class AlwaysEqual:
    def __eq__(self, other):
        return True


class Float(float):
    pass


class List(list):
    pass


@pytest.mark.parametrize(
    "value",
    [AlwaysEqual(), Float(1), List([1]), object(), [AlwaysEqual()], {"a": Float(1)}, 1j, b"1", range(3)],
)
def test_only_plain_values_leave_the_kernel(value):
    with pytest.raises(TypeError):
        encode(value)


class Lying(dict):
    def items(self):
        return [("a", 2)]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (EntitySpan("PER", 0, 2), ("PER", 0, 2)),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        ([collections.OrderedDict(a=EntitySpan("LOC", 1, 2))], [{"a": ("LOC", 1, 2)}]),
        (Lying(a=1), {"a": 1}),
    ],
)
def test_subtypes_of_dict_and_tuple_arrive_as_plain_ones(value, plain):
    assert same(decode(json.loads(json.dumps(encode(value)))), plain)


@pytest.mark.parametrize(
    ("value", "name"),
    [(map(abs, [1]), "map"), ([range(3)], "range"), ((np.array([object()]),), "array of object")],
)
def test_what_cannot_leave_the_kernel_is_named(value, name):
    with pytest.raises(TypeError) as caught:
        encode(value)
    assert str(caught.value) == name


def test_deep_nesting_is_refused_on_both_sides():
    deep = wire = None
    for _ in range(20):
        deep, wire = [deep], ["list", [wire]]
    with pytest.raises(TypeError):
        encode(deep)
    with pytest.raises(Undecodable):
        decode(wire)


@pytest.mark.parametrize(
    "wire",
    [
        None,
        1,
        "right",
        ["float", 1.0],
        ["float", "x"],
        ["int", True],
        ["bool", 1],
        ["str", 1],
        ["object", {}],
        ["list", {"a": 1}],
        ["dict", [[["list", []], ["int", 1]]]],
        ["set", [["list", []]]],
        ["ndarray", ["object", [1], [1]]],
        ["ndarray", ["float64", [2], ["0x1p0"]]],
        ["ndarray", ["float64", [1], [1.0]]],
        ["ndarray", ["int8", [1], [1000]]],
        ["ndarray", ["int8", [-1], [1]]],
        ["ndarray", ["int64", [1], [True]]],
        ["NoneType", 0],
    ],
)
def test_forged_answers_are_refused(wire):
    with pytest.raises(Undecodable):
        decode(wire)


def test_long_and_broken_json_is_refused():
    for text in ("[" * 100_000, "[" * (MAX_BYTES + 1), "{", ""):
        with pytest.raises(Undecodable):
            decode_json(text)


@pytest.mark.parametrize(
    ("expected", "found", "tolerance", "reason"),
    [
        (1.0, 1, 0, None),
        (1.0, True, 0, "type"),
        (1, 1.0, 0, "type"),
        (1.0, 1.001, 1e-2, None),
        (1.0, 1.1, 1e-2, "wrong"),
        (1.0, float("nan"), 1, "wrong"),
        (float("nan"), float("nan"), 0, None),
        ([1, 2], (1, 2), 0, "type"),
        ([1, 2], [1], 0, "length"),
        ([1, 2], [1, 3], 0, "position 1"),
        ({"a": 1}, {"b": 1}, 0, "keys"),
        ({"a": 1}, {"a": 2}, 0, "value"),
        (np.zeros(3), np.zeros((3, 1)), 0, "shape"),
        (np.zeros(3), np.zeros(3, np.float32), 0, None),
        (np.zeros(3), np.zeros(3, np.int64), 0, "integers"),
        (np.zeros(3), np.array([0, 0, 1.0]), 1e-6, "1 of 3"),
        (np.zeros(3), [0.0, 0.0, 0.0], 0, "list"),
        ("a", "b", 0, "wrong"),
    ],
)
def test_differences(expected, found, tolerance, reason):
    told = difference(expected, found, tolerance)
    assert told is None if reason is None else reason in told


def test_a_difference_gives_nothing_away():
    assert "0.123" not in difference(0.123456, 0.5) and "secret" not in difference("secret", "x")


def test_inputs_must_have_a_literal():
    with pytest.raises(UsageError, match="object"):
        literal([object()])
