"""Quantization against hand-made numbers, exact arithmetic and ONNX Runtime's own operators."""

import fractions

import hypothesis.extra.numpy as arrays
import keras
import numpy as np
import onnxruntime
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from course_lib.compression.quantization import (
    dequantize,
    error_bound,
    quantize_affine,
    quantize_graph,
    quantize_symmetric,
    round_weights,
)
from course_lib.errors import UsageError
from course_lib.models.classifier import build_classifier
from course_lib.models.encoder import build_encoder

# Up to 2**126 the largest level cannot leave float32's range by rounding.
MATRICES = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=3, max_side=6),
    elements=st.floats(-(2.0**126), 2.0**126, width=32),
)
RANDOM = np.random.default_rng(0).normal(0, [0.1, 1, 30], (200, 3)).astype(np.float32)


def run(operator, inputs, num_outputs=1, **attributes):
    """The outputs of one ONNX operator for inputs by name."""
    outputs = [f"output_{number}" for number in range(num_outputs)]
    node = helper.make_node(operator, list(inputs), outputs, **attributes)
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in inputs.items()]
    infos = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph([node], "one", [], infos, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {})


def test_five_numbers_by_hand():
    """From -1 to 1.55 in 255 steps of 0.01; 0 is code 100."""
    codes, scale, zero_point = quantize_affine([-1, -0.004, 0, 0.126, 1.55])
    assert codes.dtype == zero_point.dtype == np.uint8 and scale.dtype == np.float32
    assert scale == pytest.approx(0.01) and zero_point == 100
    assert codes.tolist() == [0, 100, 100, 113, 255]
    # Symmetric: the largest magnitude, 1.27, is code 127 and the distance again 0.01.
    codes, scale, zero_point = quantize_symmetric([-1.27, -0.004, 0, 0.126, 0.55])
    assert codes.dtype == zero_point.dtype == np.int8 and zero_point == 0
    assert scale == pytest.approx(0.01) and codes.tolist() == [-127, 0, 0, 13, 55]


def test_fewer_bits_by_hand():
    codes, scale, zero_point = quantize_affine([-1, 0, 1, 2], bits=2)
    assert (codes.tolist(), float(scale), int(zero_point)) == ([0, 1, 2, 3], 1.0, 1)
    codes, scale, _ = quantize_symmetric([-3, -1, 0.4, 3], bits=3)
    assert codes.tolist() == [-3, -1, 0, 3] and scale == 1
    for bits in range(2, 9):
        assert len(np.unique(quantize_affine(RANDOM, bits=bits).codes)) <= 2**bits
        assert np.abs(quantize_symmetric(RANDOM, bits=bits).codes).max() == 2 ** (bits - 1) - 1


def test_zero_has_a_code_also_where_all_values_are_on_one_side():
    for values in ([2.0, 3.0, 5.0], [-5.0, -3.0, -2.0]):
        quantized = quantize_affine(values)
        assert quantized.scale == pytest.approx(5 / 255)
        assert quantized.zero_point == (0 if values[0] > 0 else 255)
        assert dequantize(quantized._replace(codes=quantized.zero_point)) == 0


@pytest.mark.parametrize("axis", [None, 1, -1])
def test_codes_and_numbers_are_those_of_onnx_runtime(axis):
    quantized = quantize_affine(RANDOM, axis)
    parameters = {"scale": quantized.scale.ravel(), "zero": quantized.zero_point.ravel()}
    if axis is None:
        parameters = {name: value[0] for name, value in parameters.items()}
    (codes,) = run("QuantizeLinear", {"values": RANDOM, **parameters}, axis=1)
    np.testing.assert_array_equal(quantized.codes, codes)
    (numbers,) = run("DequantizeLinear", {"codes": codes, **parameters}, axis=1)
    np.testing.assert_array_equal(dequantize(quantized), numbers)


def test_scale_and_zero_point_are_those_of_onnx_runtime():
    for values in (RANDOM, np.abs(RANDOM), RANDOM[:5] - 100):
        codes, scale, zero_point = run("DynamicQuantizeLinear", {"values": values}, num_outputs=3)
        quantized = quantize_affine(values)
        assert quantized.scale == pytest.approx(float(scale), rel=2e-7) and quantized.zero_point == zero_point
        assert np.abs(quantized.codes.astype(int) - codes).max() <= 1
        assert (quantized.codes == codes).mean() > 0.99


def within_bound(values, quantized):
    """Exactly, in fractions: no rounding of the check's own."""
    bounds = np.broadcast_to(error_bound(quantized), values.shape)
    for value, found, bound in zip(values.flat, dequantize(quantized).flat, bounds.flat, strict=True):
        exact = fractions.Fraction(float(value)) - fractions.Fraction(float(found))
        assert abs(exact) <= fractions.Fraction(float(bound))


@settings(deadline=None, max_examples=200)
@given(values=MATRICES, axis=st.sampled_from([None, 0, 1, -1]), bits=st.integers(2, 8))
def test_no_error_exceeds_the_bound(values, axis, bits):
    within_bound(values, quantize_symmetric(values, axis, bits=bits))
    try:
        quantized = quantize_affine(values, axis, bits=bits)
    except UsageError as error:
        assert "constant" in str(error)
        assume(False)
    within_bound(values, quantized)


def test_the_bound_is_tight():
    """A value in the middle between two levels is off by half a scale."""
    values = np.linspace(0, 1, 20_001)
    quantized = quantize_affine(values)
    error = np.abs(values - dequantize(quantized)).max()
    assert 0.49 * quantized.scale < error <= error_bound(quantized) < 0.5001 * quantized.scale


@settings(deadline=None, max_examples=100)
@given(values=MATRICES, bits=st.integers(2, 8))
def test_channels_are_quantized_as_if_each_were_alone(values, bits):
    channels = quantize_symmetric(values, 1, bits=bits)
    assert channels.scale.shape == (1, values.shape[1], *[1] * (values.ndim - 2))
    for index in range(values.shape[1]):
        alone = quantize_symmetric(values[:, index], bits=bits)
        np.testing.assert_array_equal(channels.codes[:, index], alone.codes)
        assert channels.scale[0, index].ravel() == alone.scale and alone.scale.shape == ()


def test_affine_channels_are_quantized_as_if_each_were_alone():
    channels = quantize_affine(RANDOM, -1)
    assert channels.scale.shape == channels.zero_point.shape == (1, 3)
    for index in range(3):
        alone = quantize_affine(RANDOM[:, index])
        np.testing.assert_array_equal(channels.codes[:, index], alone.codes)
        assert (channels.scale[0, index], channels.zero_point[0, index]) == (alone.scale, alone.zero_point)


def test_limits_clip():
    quantized = quantize_affine([-9, -1, 0.2, 2, 9], limits=(-1, 1.55))
    assert quantized.codes.tolist() == [0, 0, 120, 255, 255]
    np.testing.assert_allclose(dequantize(quantized), [-1, -1, 0.2, 1.55, 1.55], atol=1e-6)
    per_channel = quantize_affine(RANDOM, 1, limits=(-1, 1.55))
    np.testing.assert_array_equal(per_channel.codes, quantize_affine(RANDOM, limits=(-1, 1.55)).codes)
    assert quantize_affine([3, 3], limits=(-1, 1)).codes.tolist() == [255, 255]
    for limits in ((1, -1), (1, 1), (0, np.inf), (np.nan, 1)):
        with pytest.raises(UsageError, match="lower one first"):
            quantize_affine(RANDOM, limits=limits)


@pytest.mark.parametrize("quantize", [quantize_affine, quantize_symmetric])
def test_what_is_not_finite_is_named(quantize):
    for value, text in ((np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (1e300, "inf")):
        values = np.ones((3, 4))
        values[1, 2] = value
        with pytest.raises(UsageError, match=rf"The value at \(1, 2\) is {text}: only finite numbers"):
            quantize(values, 0)


@pytest.mark.parametrize("quantize", [quantize_affine, quantize_symmetric])
def test_wrong_use_is_refused(quantize):
    for bits in (1, 9, 7.5):
        with pytest.raises(UsageError, match=rf"bits is {bits}; it must be a whole number from 2 to 8"):
            quantize(RANDOM, bits=bits)
    with pytest.raises(UsageError, match="no value to quantize"):
        quantize(np.empty((0, 3)))
    with pytest.raises(UsageError, match=r"no axis 2 in values of the shape \(200, 3\)"):
        quantize(RANDOM, 2)


def test_a_constant_is_refused_where_its_range_would_be_divided():
    with pytest.raises(UsageError, match=r"The values are constant \(0\.5\): a constant has no range"):
        quantize_affine(np.full((2, 3), 0.5))
    with pytest.raises(UsageError, match=r"The values of channel 2 are constant \(0\)"):
        quantize_affine(RANDOM * [1, 1, 0], 1)
    with pytest.raises(UsageError, match="constant"):
        quantize_affine([0, 1e-42])


def test_symmetric_levels_hold_a_constant():
    for constant in (0.0, 0.1, -7.0):
        values = np.full((2, 3), constant, np.float32)
        for axis in (None, 0):
            np.testing.assert_allclose(dequantize(quantize_symmetric(values, axis)), values, rtol=1e-6)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return build_classifier(build_encoder(30, embedding_dim=8, hidden_dim=6), 2)


def test_rounded_weights_are_those_of_the_levels_and_the_model_stays(model):
    before = model.get_weights()
    rounded = round_weights(model, bits=4, axis=None)
    for old, now, new in zip(before, model.get_weights(), rounded.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
        if old.ndim == 1:
            np.testing.assert_array_equal(old, new)
            continue
        # 15 levels around 0 by hand, in float64.
        step = np.abs(old).max() / 7
        np.testing.assert_allclose(new, np.rint(old / step) * step, rtol=1e-5, atol=1e-7)
        assert not np.array_equal(old, new)


def test_each_output_or_each_input_has_a_scale(model):
    kernel = model.get_layer("encoder").get_layer("bilstm_1").get_weights()[0]
    for axis, shape in {-1: (1, 24), 0: (8, 1)}.items():
        rounded = round_weights(model, bits=2, axis=axis).get_layer("encoder").get_layer("bilstm_1")
        # With two bits a channel knows its largest magnitude, 0 and the negative.
        largest = np.abs(kernel).max(axis=0 if axis == -1 else 1, keepdims=True)
        assert largest.shape == shape
        np.testing.assert_allclose(rounded.get_weights()[0], largest * np.rint(kernel / largest), rtol=1e-6)


def test_only_the_named_layers_are_rounded(model):
    rounded = round_weights(model, bits=2, layer_names=["logits"])
    same = [np.array_equal(*pair) for pair in zip(model.get_weights(), rounded.get_weights(), strict=True)]
    names = [variable.path.split("/")[0] for variable in model.weights]
    assert same == [
        name != "logits" or weight.ndim == 1 for name, weight in zip(names, model.get_weights(), strict=True)
    ]
    assert not all(same)
    with pytest.raises(UsageError, match=r"Unknown layer 'bilstm_2'\. Did you mean 'bilstm_1'"):
        round_weights(model, layer_names=["bilstm_2"])


def test_biases_of_attention_heads_stay():
    states = keras.Input((5, 8))
    attention = keras.layers.MultiHeadAttention(2, 3, name="attention")
    model = keras.Model(states, attention(states, states))
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=values.shape) for values in model.get_weights()])
    rounded = round_weights(model, bits=2).get_weights()
    same = [np.array_equal(*pair) for pair in zip(model.get_weights(), rounded, strict=True)]
    # Kernel and bias of query, key, value and output, in turn; the first three biases are (heads, key_dim).
    assert same == [False, True] * 4 and [values.ndim for values in rounded] == [3, 2] * 3 + [3, 1]


def test_a_broken_weight_is_refused(model):
    broken = keras.models.clone_model(model)
    weights = [np.where(weight == weight.max(), np.nan, weight) for weight in model.get_weights()]
    broken.set_weights(weights)
    with pytest.raises(UsageError, match=r"is nan: only finite numbers"):
        round_weights(broken)


def test_a_graph_computes_what_its_levels_say():
    """One matrix product: weights on 256 levels of their range, inputs on those of each call."""
    random = np.random.default_rng(1)
    kernel, values = (random.normal(size=shape).astype(np.float32) for shape in ((40, 6), (5, 40)))
    node = helper.make_node("MatMul", ["values", "kernel"], ["product"])
    inputs = [helper.make_tensor_value_info("values", TensorProto.FLOAT, [None, 40])]
    outputs = [helper.make_tensor_value_info("product", TensorProto.FLOAT, [None, 6])]
    graph = helper.make_graph([node], "one", inputs, outputs, [numpy_helper.from_array(kernel, "kernel")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    small = quantize_graph(model)
    stored = {weight.name: numpy_helper.to_array(weight) for weight in small.graph.initializer}
    assert stored["kernel_quantized"].dtype == np.uint8 and stored["kernel_quantized"].shape == (40, 6)
    session = onnxruntime.InferenceSession(small.SerializeToString(), providers=["CPUExecutionProvider"])
    (product,) = session.run(None, {"values": values})
    expected = dequantize(quantize_affine(values)) @ dequantize(quantize_affine(kernel))
    np.testing.assert_allclose(product, expected, atol=0.02)
    assert np.abs(product - values @ kernel).max() > 1e-4


def test_no_weight_of_a_graph_is_signed():
    """Products of signed weights and unsigned activations are cut to 16 bits where there is no VNNI.

    So large weights of one sign and large inputs give wrong sums there, and the right ones elsewhere.
    """
    random = np.random.default_rng(2)
    hidden_dim, input_dim, steps = 4, 64, 3
    tensors = {
        "W": random.uniform(0.9, 1, (1, 4 * hidden_dim, input_dim)) / input_dim,
        "R": random.uniform(-1, 1, (1, 4 * hidden_dim, hidden_dim)),
        "B": random.uniform(-1, 1, (1, 8 * hidden_dim)),
    }
    initializers = [
        numpy_helper.from_array(values.astype(np.float32), name) for name, values in tensors.items()
    ]
    node = helper.make_node("LSTM", ["values", *tensors], ["states"], hidden_size=hidden_dim)
    inputs = [helper.make_tensor_value_info("values", TensorProto.FLOAT, [steps, 1, input_dim])]
    outputs = [helper.make_tensor_value_info("states", TensorProto.FLOAT, [steps, 1, 1, hidden_dim])]
    graph = helper.make_graph([node], "one", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    small = quantize_graph(model)
    assert {weight.data_type for weight in small.graph.initializer} == {TensorProto.FLOAT, TensorProto.UINT8}
    values = random.uniform(0, 1, (steps, 1, input_dim)).astype(np.float32)
    exact, close = (
        onnxruntime.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"values": values}
        )[0]
        for each in (model, small)
    )
    np.testing.assert_allclose(close, exact, atol=0.01)
