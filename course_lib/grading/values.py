"""Values that cross the border to a student's kernel: inputs as Python literals, answers as plain JSON.

The kernel is not trusted. Nothing of it is unpickled or evaluated here; an answer is rebuilt from JSON whose
every part is checked, and compared in this process.
"""

import json
import math
from typing import Any

import numpy as np

from course_lib.errors import UsageError

MAX_BYTES = 200_000
_MAX_DEPTH = 8
_DTYPES = {"bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))}
_DTYPES |= {f"float{bits}" for bits in (16, 32, 64)}

# Runs in the student's kernel, so it needs nothing of the course. What it cannot name exactly it refuses: an
# object that merely behaves like a number stays there. Dicts and tuples of a subtype, such as a Counter or a
# named tuple, go as plain ones, read past whatever methods the subtype has.
ENCODER_SOURCE = """
def {name}(value, depth=0):
    import numpy
    kind = type(value)
    if depth > 8:
        raise TypeError("nested too deeply")
    if value is None or kind is bool or kind is str or kind is int:
        return [kind.__name__, value]
    if kind is float:
        return ["float", float.hex(value)]
    if isinstance(value, dict):
        pairs = dict.items(value)
        return ["dict", [[{name}(key, depth + 1), {name}(part, depth + 1)] for key, part in pairs]]
    if isinstance(value, tuple):
        return ["tuple", [{name}(part, depth + 1) for part in tuple.__iter__(value)]]
    if kind is list or kind is set:
        return [kind.__name__, [{name}(part, depth + 1) for part in value]]
    if kind.__module__ == "numpy" and isinstance(value, numpy.generic):
        return {name}(value.item(), depth)
    if kind is numpy.ndarray and value.dtype.kind in "biuf":
        flat = [part.hex() if type(part) is float else part for part in value.reshape(-1).tolist()]
        return ["ndarray", [str(value.dtype), list(value.shape), flat]]
    raise TypeError("array of " + str(value.dtype) if kind is numpy.ndarray else kind.__name__)
"""


class Undecodable(ValueError):
    """What came back is not an encoded value."""


def literal(value: Any) -> str:
    """Python source that makes the value anew; arrays through `numpy`, which the source must have imported.

    Raises:
        UsageError: a type that has no literal.
    """
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return repr(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
    if kind in (list, tuple, set):
        inside = "".join(f"{literal(part)}, " for part in value)
        return {list: f"[{inside}]", tuple: f"({inside})", set: f"{{{inside}}}" if value else "set()"}[kind]
    if kind is dict:
        return "{" + "".join(f"{literal(key)}: {literal(part)}, " for key, part in value.items()) + "}"
    if kind is np.ndarray and str(value.dtype) in _DTYPES:
        flat = literal(value.reshape(-1).tolist())
        return f"numpy.array({flat}, dtype={str(value.dtype)!r}).reshape({value.shape})"
    raise UsageError(f"An input of the type {kind.__name__} has no literal: use plain values and arrays.")


def decode(encoded: Any, depth: int = 0) -> Any:
    """The value that `ENCODER_SOURCE` encoded, from parsed JSON.

    Raises:
        Undecodable: it is anything else.
    """
    if depth > _MAX_DEPTH or not isinstance(encoded, list) or len(encoded) != 2:
        raise Undecodable("not an encoded value")
    kind, content = encoded
    if kind == "NoneType" and content is None:
        return None
    if kind in ("bool", "int", "str") and type(content).__name__ == kind:
        return content
    if kind == "float":
        return _float(content)
    if kind in ("list", "tuple", "set") and isinstance(content, list):
        parts = [decode(part, depth + 1) for part in content]
        return _hashable({"list": list, "tuple": tuple, "set": set}[kind], parts)
    if kind == "dict" and isinstance(content, list) and all(_is_pair(part) for part in content):
        pairs = [(decode(key, depth + 1), decode(part, depth + 1)) for key, part in content]
        return _hashable(dict, pairs)
    if kind == "ndarray" and isinstance(content, list) and len(content) == 3:
        return _array(*content)
    raise Undecodable("not an encoded value")


def decode_json(text: str) -> Any:
    """Parses what an encoded value's JSON says.

    Raises:
        Undecodable: too long, not JSON, or JSON of something else.
    """
    if len(text) > MAX_BYTES:
        raise Undecodable(f"more than {MAX_BYTES // 1000} KB")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Undecodable("not JSON") from error


def difference(expected: Any, found: Any, tolerance: float = 0.0) -> str | None:
    """What is wrong with an answer, in words that do not give the expected value away; None if nothing is.

    Types must be the same, but a whole number may stand for a float, and arrays need only the same kind of
    numbers. Numbers may differ by `tolerance`, absolute or relative to the expected one. NaN equals NaN only.
    """
    if isinstance(expected, float) and type(found) is int:
        found = float(found)
    if type(expected) is not type(found):
        return f"the type is {_type_name(found)}, expected is {_type_name(expected)}"
    if isinstance(expected, np.ndarray):
        return _array_difference(expected, found, tolerance)
    if isinstance(expected, float):
        return None if _close(expected, found, tolerance) else "the number is wrong"
    if isinstance(expected, (list, tuple)):
        if len(expected) != len(found):
            return f"the length is {len(found)}, expected is {len(expected)}"
        pairs = zip(expected, found, strict=True)
        reasons = enumerate(difference(*pair, tolerance) for pair in pairs)
        return next((f"at position {index}, {reason}" for index, reason in reasons if reason), None)
    if isinstance(expected, dict):
        if expected.keys() != found.keys():
            return "the keys are wrong"
        reasons = (difference(expected[key], found[key], tolerance) for key in expected)
        return next((f"a value is wrong: {reason}" for reason in reasons if reason), None)
    return None if expected == found else "the value is wrong"


def _float(content):
    try:
        return float.fromhex(content)
    except (TypeError, ValueError, OverflowError) as error:
        raise Undecodable("not a number") from error


def _hashable(kind, parts):
    try:
        return kind(parts)
    except TypeError as error:
        raise Undecodable("a key that cannot be one") from error


def _is_pair(part):
    return isinstance(part, list) and len(part) == 2


def _array(dtype, shape, flat):
    whole = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    if dtype not in _DTYPES or not whole or not isinstance(flat, list) or math.prod(shape) != len(flat):
        raise Undecodable("not an array of numbers")
    wanted = {"f": str, "b": bool}.get(np.dtype(dtype).kind, int)
    if not all(type(part) is wanted for part in flat):
        raise Undecodable("not an array of numbers")
    try:
        return np.array([_float(part) if wanted is str else part for part in flat], dtype).reshape(shape)
    except (ValueError, OverflowError) as error:
        raise Undecodable("not an array of numbers") from error


def _array_difference(expected, found, tolerance):
    if expected.shape != found.shape:
        return f"the shape is {found.shape}, expected is {expected.shape}"
    kinds = ["integers" if array.dtype.kind in "iu" else str(array.dtype)[:5] for array in (expected, found)]
    if kinds[0] != kinds[1]:
        return f"the array holds {kinds[1]}, expected are {kinds[0]}"
    right = _close(expected, found, tolerance)
    return None if np.all(right) else f"{np.sum(~right):,} of {right.size:,} numbers are wrong"


def _close(expected, found, tolerance):
    return np.isclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def _type_name(value):
    return "array" if isinstance(value, np.ndarray) else type(value).__name__
