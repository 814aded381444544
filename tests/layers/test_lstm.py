"""FusedLSTM against keras.layers.LSTM, which loops over the time steps and differentiates by itself."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.layers.lstm import FusedLSTM

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="Other backends compute as Keras does."
)
FEATURES, HIDDEN = 4, 3


def pair_of_layers(bidirectional=True, **arguments):
    """Keras's layer and ours with the same weights."""
    pair = []
    for kind in (keras.layers.LSTM, FusedLSTM):
        layer = kind(HIDDEN, **arguments)
        layer = keras.layers.Bidirectional(layer) if bidirectional else layer
        layer.build((None, None, FEATURES))
        pair.append(layer)
    random = np.random.default_rng(0)
    weights = [random.normal(0, 0.5, weight.shape).astype("float32") for weight in pair[0].get_weights()]
    for layer in pair:
        layer.set_weights(weights)
    return pair


def sequences(batch, time):
    return np.random.default_rng(1).normal(0, 1, (batch, time, FEATURES)).astype("float32")


def mask_of(lengths, time):
    return np.arange(time) < np.array(lengths)[:, None]


def unequal(shape):
    return np.cos(np.arange(np.prod(shape))).reshape(shape).astype("float32")


def everything(layer, inputs, **arguments):
    """All outputs, and the gradients of a loss that weights them unequally, by inputs and weights."""
    import tensorflow as tf

    inputs = tf.constant(inputs)
    arguments = {
        name: [tf.constant(part) for part in value] if isinstance(value, list) else value
        for name, value in arguments.items()
    }
    sources = [inputs, *arguments.get("initial_state", []), *layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(sources[: -len(layer.trainable_variables)])
        outputs = keras.tree.flatten(layer(inputs, training=True, **arguments))
        loss = tf.add_n([tf.reduce_sum(tf.sin(output * unequal(output.shape))) for output in outputs])
    return [*outputs, *tape.gradient(loss, sources)]


def assert_equal(pair, *args, **kwargs):
    theirs, ours = (everything(layer, *args, **kwargs) for layer in pair)
    for expected, found in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5, rtol=2e-5)


@pytest.fixture
def calls(monkeypatch):
    """The shapes of the inputs that reach TensorFlow's fused operation."""
    import tensorflow as tf

    shapes, operation = [], tf.raw_ops.BlockLSTMV2

    def watched(**arguments):
        shapes.append(tuple(arguments["x"].shape))
        return operation(**arguments)

    monkeypatch.setattr(tf.raw_ops, "BlockLSTMV2", watched)
    return shapes


@on_tensorflow
@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 6).flatmap(
        lambda time: st.tuples(st.just(time), st.lists(st.integers(0, time), min_size=1))
    )
)
def test_both_directions_equal_keras_for_any_lengths(sizes):
    time, lengths = sizes
    pair = pair_of_layers(return_sequences=True)
    assert_equal(pair, sequences(len(lengths), time), mask=mask_of(lengths, time))


@on_tensorflow
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("lengths", [None, [5, 2, 0]])
def test_states_and_their_gradients_equal_keras(calls, lengths, return_sequences, go_backwards):
    pair = pair_of_layers(
        bidirectional=False,
        return_sequences=return_sequences,
        return_state=True,
        go_backwards=go_backwards,
        zero_output_for_mask=True,
    )
    start = [np.full((3, HIDDEN), value, dtype="float32") for value in (0.3, -0.7)]
    mask = None if lengths is None else mask_of(lengths, 5)
    assert_equal(pair, sequences(3, 5), mask=mask, initial_state=start)
    assert calls == [(5, 3, FEATURES)]


@on_tensorflow
def test_an_exact_value_by_hand(calls):
    layer = FusedLSTM(1, return_sequences=True)
    layer.build((None, None, 1))
    # Gates i, f, c, o: only the inputs of c and o count, i and f are one half at the first step.
    layer.set_weights([np.array([[0.0, 0.0, 1.0, 2.0]]), np.zeros((1, 4)), np.zeros(4)])
    outputs = keras.ops.convert_to_numpy(layer(np.array([[[1.0], [-1.0]]], dtype="float32")))

    first = 0.5 * np.tanh(1)
    second = 0.5 * first + 0.5 * np.tanh(-1)
    sigmoid = 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))
    expected = [sigmoid[0] * np.tanh(first), sigmoid[1] * np.tanh(second)]
    np.testing.assert_allclose(outputs[0, :, 0], expected, rtol=1e-6)
    assert calls


def test_a_state_is_carried_from_batch_to_batch():
    theirs, ours = pair_of_layers(bidirectional=False)
    layers = []
    for layer in (theirs, ours):
        inputs = keras.Input(batch_shape=(2, None, FEATURES))
        stateful = type(layer)(HIDDEN, stateful=True, return_sequences=True)
        model = keras.Model(inputs, stateful(inputs))
        model.set_weights(theirs.get_weights())
        layers.append(model)
    for part in np.split(sequences(2, 6), [4], axis=1):
        expected, found = (model.predict_on_batch(part) for model in layers)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@on_tensorflow
def test_padding_that_is_not_on_the_right_is_an_error():
    import tensorflow as tf

    _, layer = pair_of_layers(return_sequences=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="pad on the right"):
        layer(sequences(1, 3), mask=np.array([[True, False, True]]))


@pytest.mark.parametrize(
    "arguments",
    [
        {"activation": "relu"},
        {"recurrent_activation": "hard_sigmoid"},
        {"use_bias": False},
        {"unroll": True},
        {"dtype": "float64"},
    ],
)
def test_what_the_operation_cannot_do_is_left_to_keras(arguments, monkeypatch):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        monkeypatch.setattr(tf.raw_ops, "BlockLSTMV2", None)
    theirs, ours = pair_of_layers(bidirectional=False, return_sequences=True, **arguments)
    expected, found = (keras.ops.convert_to_numpy(layer(sequences(2, 3))) for layer in (theirs, ours))
    np.testing.assert_array_equal(found, expected)


def test_without_zeros_at_padding_the_last_output_stays_as_in_keras():
    theirs, ours = pair_of_layers(bidirectional=False, return_sequences=True)
    mask = mask_of([1, 3], 3)
    expected, found = (
        keras.ops.convert_to_numpy(layer(sequences(2, 3), mask=mask)) for layer in (theirs, ours)
    )
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found[0, 2], found[0, 0])


def test_a_saved_model_keeps_the_layer_and_compiles_without_xla(tmp_path):
    model = keras.Sequential([keras.Input((None, FEATURES)), FusedLSTM(HIDDEN), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(sequences(4, 5), np.zeros((4, 1)), verbose=0)
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")

    assert isinstance(restored.layers[0], FusedLSTM)
    np.testing.assert_array_equal(
        restored.predict(sequences(2, 5), verbose=0), model.predict(sequences(2, 5), verbose=0)
    )
