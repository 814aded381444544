"""Numbers in few bits: affine and symmetric levels, weights of a Keras model, ONNX graphs.

The functions on arrays need NumPy alone, so that the app can use them.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from course_lib.errors import UsageError, unknown_name

if TYPE_CHECKING:
    import keras
    import onnx

# The least scale of symmetric levels: a channel of zeros gets it and comes back as zeros.
SMALLEST_SCALE = 1e-12


class Quantized(NamedTuple):
    """Numbers as codes: each stands for `(code - zero_point) * scale`.

    Attributes:
        codes: uint8 (affine) or int8 (symmetric), the shape of the values.
        scale: float32, the distance of two levels; of shape () for a whole tensor, otherwise the values'
            shape with 1 in place of all axes but that of the channels.
        zero_point: the code of 0, the type of the codes and the shape of the scale.
    """

    codes: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray


def quantize_affine(
    values: np.ndarray,
    axis: int | None = None,
    *,
    bits: int = 8,
    limits: tuple[float, float] | None = None,
) -> Quantized:
    """The nearest of 2**bits equally spaced levels between the smallest and the largest value.

    The range is widened to hold 0, so that one code is exactly 0: padding and pruned weights stay zero.

    Args:
        values: finite numbers of any shape, read as float32.
        axis: gives each index of this axis, a channel, levels of its own; None shares them in the tensor.
        bits: 2 to 8; the codes are uint8 in any case.
        limits: lowest and highest level instead of those of the values; what lies outside is clipped.

    Raises:
        UsageError: an infinite value or one that is no number; without limits a constant tensor or channel,
            which has no range to divide; limits in the wrong order; no value, or other bits.

    Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", section 2.1.
    """
    values, others = _checked(values, axis, bits)
    low, high = (reduce(values, axis=others, keepdims=True).astype(float) for reduce in (np.min, np.max))
    if limits is None:
        _check_range(low, high, axis, bits)
    else:
        if not np.isfinite(limits).all() or limits[1] - limits[0] < _smallest_range(bits):
            raise UsageError(f"The limits {limits} must be two finite numbers, the lower one first.")
        low, high = (np.full_like(low, limit) for limit in limits)
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    largest = 2**bits - 1
    scale = ((high - low) / largest).astype(np.float32)
    zero_point = np.rint(-low / scale)
    codes = np.clip(np.rint(values / scale) + zero_point, 0, largest).astype(np.uint8)
    shape = () if axis is None else scale.shape
    return Quantized(codes, scale.reshape(shape), zero_point.astype(np.uint8).reshape(shape))


def quantize_symmetric(values: np.ndarray, axis: int | None = None, *, bits: int = 8) -> Quantized:
    """The nearest of 2**bits - 1 equally spaced levels around 0, whose zero point is 0.

    Meant for weights. The scale comes from the largest magnitude, not from a range, so that a constant is
    no trouble: one other than 0 comes back to rounding, and a channel of zeros as zeros.

    Args:
        values, axis, bits: as in `quantize_affine`; the codes are int8.

    Raises:
        UsageError: an infinite value or one that is no number, no value, or other bits.
    """
    values, others = _checked(values, axis, bits)
    highest = np.abs(values).max(axis=others, keepdims=axis is not None)
    scale = np.maximum(highest / (2 ** (bits - 1) - 1), SMALLEST_SCALE).astype(np.float32)
    return Quantized(np.rint(values / scale).astype(np.int8), scale, np.zeros_like(scale, np.int8))


def dequantize(quantized: Quantized) -> np.ndarray:
    """The numbers that the codes stand for, float32."""
    steps = quantized.codes.astype(np.int32) - quantized.zero_point.astype(np.int32)
    return steps.astype(np.float32) * quantized.scale


def error_bound(quantized: Quantized) -> np.ndarray:
    """What rounding changes at most, float64 with the shape of the scale: half a scale and float32's part.

    It holds for float32 values up to 2**126 that no limits have clipped. Three of float32's roundings count:
    of the scale, of `values / scale` and of the product. Each moves a value by at most
    255 * 2**-24 scales, and never more than two of them meet: together less than 2**-15 of a scale.
    """
    return (0.5 + 2.0**-15) * np.asarray(quantized.scale, dtype=float)


def round_weights(
    model: keras.Model,
    *,
    bits: int = 8,
    axis: int | None = -1,
    layer_names: Sequence[str] | None = None,
) -> keras.Model:
    """A copy of a model whose weight matrices take the values of symmetric levels; biases stay as they are.

    The copy computes in float32, as weight-only quantization does: it shows what fewer bits cost in quality.

    Args:
        model: any model of this course; it stays as it is.
        bits: 2 to 8.
        axis: that of the channels, each with a scale of its own: -1 each output of a matrix (of an embedding
            each dimension), 0 each input (each word); None has one scale for each matrix.
        layer_names: rounds only these, such as `token_embedding`, `bilstm_1` and `logits`; None rounds all.

    Raises:
        UsageError: an unknown layer, a weight that is not finite, or other bits.
    """
    from course_lib.models.structure import copy_of, layers_by_name

    rounded = copy_of(model)
    layers = {name: layer for name, layer in layers_by_name(rounded).items() if layer.weights}
    for name in layers if layer_names is None else layer_names:
        if name not in layers:
            raise unknown_name("layer", name, layers)
        variables, weights = layers[name].weights, layers[name].get_weights()
        layers[name].set_weights(
            [
                # Attention keeps its biases as (num_heads, key_dim): not every matrix is one of weights.
                dequantize(quantize_symmetric(weight, axis, bits=bits))
                if weight.ndim > 1 and variable.name != "bias"
                else weight
                for variable, weight in zip(variables, weights, strict=True)
            ]
        )
    return rounded


def quantize_graph(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with 8-bit weights; activations are quantized as they come (dynamic quantization).

    Weights are unsigned: processors without VNNI add two products of unsigned activations and signed weights
    in 16 bits, where 2 · 255 · 127 is cut to 32,767. An LSTM has one scale for each matrix and direction.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it advises a preparation that these graphs do not need
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            quantize_dynamic(graph, path, weight_type=QuantType.QUInt8)
            small = onnx.load(path)
    finally:
        logging.disable(before)
    _make_lstm_unsigned(small)
    return small


def _make_lstm_unsigned(graph):
    """Adds 128 to the LSTM's codes and zero points, which the library makes signed: the same weights."""
    from onnx import numpy_helper

    stored = {each.name: each for each in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type != "DynamicQuantizeLSTM":
            continue
        for place in (1, 2, 9, 11):  # W, R and their zero points, in the order of the operator's inputs
            codes = stored[node.input[place]]
            shifted = numpy_helper.to_array(codes).astype(np.int16) + 128
            codes.CopyFrom(numpy_helper.from_array(shifted.astype(np.uint8), codes.name))


def _checked(values, axis, bits):
    """The values as finite float32, and the axes that are no channels."""
    if bits not in range(2, 9):
        raise UsageError(f"bits is {bits}; it must be a whole number from 2 to 8.")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused below
        values = np.asarray(values, np.float32)
    if values.size == 0:
        raise UsageError("There is no value to quantize.")
    if axis is not None and not -values.ndim <= axis < values.ndim:
        raise UsageError(f"There is no axis {axis} in values of the shape {values.shape}.")
    is_wrong = ~np.isfinite(values)
    if is_wrong.any():
        index = tuple(int(place) for place in np.argwhere(is_wrong)[0])
        raise UsageError(
            f"The value at {index} is {values[index]}: only finite numbers can be quantized. Look for the "
            "step that made it."
        )
    channel = None if axis is None else axis % values.ndim
    return values, tuple(number for number in range(values.ndim) if number != channel)


def _check_range(low, high, axis, bits):
    """Refuses a constant, and a range so small that float32 has no scale for it."""
    constant = np.flatnonzero(
        (low == high) | (np.maximum(high, 0) - np.minimum(low, 0) < _smallest_range(bits))
    )
    if len(constant):
        where = "The values" if axis is None else f"The values of channel {constant[0]}"
        raise UsageError(
            f"{where} are constant ({low.flat[constant[0]]:g}): a constant has no range to divide into "
            "levels. Keep it as one number, or use quantize_symmetric."
        )


def _smallest_range(bits):
    return np.finfo(np.float32).tiny * 2**bits
