"""The NumPy LSTM that notebook 03 writes out is Keras's: forward, backward, both, masked, in float64."""

from pathlib import Path
from types import SimpleNamespace

import keras
import nbformat
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "03_building_the_bilstm.ipynb"


@pytest.fixture(scope="module")
def lesson() -> SimpleNamespace:
    """What the notebook's own cells define; the notebook is the only place that holds this code."""
    sources = {cell.id: cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells}
    names = {"np": np}
    for identifier in ("rnn-step", "lstm-step", "lstm-sequence"):
        exec(sources[identifier], names)
    return SimpleNamespace(**names)


def random_case(seed, num_steps, embedding_dim, hidden_dim, num_texts=3):
    """Weights of both directions, inputs and right-padded masks; no row is all padding."""
    random = np.random.default_rng(seed)
    shapes = [(embedding_dim, 4 * hidden_dim), (hidden_dim, 4 * hidden_dim), (4 * hidden_dim,)]
    weights = [random.normal(0, 1, shape) for shape in shapes * 2]
    inputs = random.normal(0, 2, (num_texts, num_steps, embedding_dim))
    lengths = random.integers(1, num_steps + 1, num_texts)
    return weights, inputs, np.arange(num_steps) < lengths[:, None]


def keras_layer(layer, embedding_dim, weights):
    layer.build((None, None, embedding_dim))
    layer.set_weights(weights)
    return layer


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


sizes = {"num_steps": st.integers(1, 9), "embedding_dim": st.integers(1, 5), "hidden_dim": st.integers(1, 6)}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), **sizes)
def test_forward_states_and_final_states_equal_keras(lesson, seed, num_steps, embedding_dim, hidden_dim):
    weights, inputs, _ = random_case(seed, num_steps, embedding_dim, hidden_dim)
    layer = keras.layers.LSTM(hidden_dim, return_sequences=True, return_state=True, dtype="float64")
    states, last_h, last_c = map(to_numpy, keras_layer(layer, embedding_dim, weights[:3])(inputs))
    for row, x in enumerate(inputs):
        hidden, cell = lesson.lstm_sequence(x, *weights[:3])
        np.testing.assert_allclose(hidden, states[row], atol=1e-6, rtol=0)
        np.testing.assert_allclose([hidden[-1], cell[-1]], [last_h[row], last_c[row]], atol=1e-6, rtol=0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), **sizes)
def test_backward_states_equal_keras_which_stores_them_last_word_first(
    lesson, seed, num_steps, embedding_dim, hidden_dim
):
    weights, inputs, _ = random_case(seed, num_steps, embedding_dim, hidden_dim)
    layer = keras.layers.LSTM(hidden_dim, return_sequences=True, go_backwards=True, dtype="float64")
    states = to_numpy(keras_layer(layer, embedding_dim, weights[:3])(inputs))
    for row, x in enumerate(inputs):
        hidden, _ = lesson.lstm_sequence(x, *weights[:3], go_backwards=True)
        np.testing.assert_allclose(hidden, states[row, ::-1], atol=1e-6, rtol=0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), masked=st.booleans(), **sizes)
def test_both_directions_equal_keras_s_bidirectional(
    lesson, seed, masked, num_steps, embedding_dim, hidden_dim
):
    weights, inputs, masks = random_case(seed, num_steps, embedding_dim, hidden_dim)
    if not masked:
        masks = np.ones_like(masks)
    inner = keras.layers.LSTM(hidden_dim, return_sequences=True, return_state=True, dtype="float64")
    layer = keras_layer(keras.layers.Bidirectional(inner, dtype="float64"), embedding_dim, weights)
    states, *final = map(to_numpy, layer(inputs, mask=masks if masked else None))
    for row, (x, mask) in enumerate(zip(inputs, masks, strict=True)):
        forward = lesson.lstm_sequence(x, *weights[:3], mask)
        backward = lesson.lstm_sequence(x, *weights[3:], mask, go_backwards=True)
        both = np.concatenate([forward[0], backward[0]], axis=1) * mask[:, None]
        np.testing.assert_allclose(both, states[row], atol=1e-6, rtol=0)
        ends = [forward[0][-1], forward[1][-1], backward[0][0], backward[1][0]]
        np.testing.assert_allclose(ends, [state[row] for state in final], atol=1e-6, rtol=0)


def test_masked_steps_carry_both_states_whatever_stands_there(lesson):
    weights, inputs, _ = random_case(0, 6, 3, 4)
    mask = np.array([True, True, False, True, False, False])
    rubbish = np.where(mask[:, None], inputs[0], np.nan)
    hidden, cell = lesson.lstm_sequence(rubbish, *weights[:3], mask)
    short_hidden, short_cell = lesson.lstm_sequence(inputs[0][mask], *weights[:3])
    np.testing.assert_array_equal(hidden, short_hidden[[0, 1, 1, 2, 2, 2]])
    np.testing.assert_array_equal(cell, short_cell[[0, 1, 1, 2, 2, 2]])


def test_one_step_worked_out_by_hand(lesson):
    # Zero weights: all gates 1/2, candidate 0; half of the cell state stays, half of its tanh is shown.
    weights = np.zeros((2, 4)), np.zeros((1, 4)), np.zeros(4)
    h, c = lesson.lstm_step(np.ones(2), np.ones(1), np.array([0.8]), *weights)
    np.testing.assert_allclose([h[0], c[0]], [0.5 * np.tanh(0.4), 0.4], rtol=1e-12)


@pytest.mark.parametrize("position, name", enumerate(["input", "forget", "candidate", "output"]))
def test_the_gates_come_in_keras_s_order(lesson, position, name):
    bias = np.zeros(4)
    bias[position] = 2.0
    gates = np.ravel(lesson.lstm_gates(np.zeros(1), np.zeros(1), np.zeros((1, 4)), np.zeros((1, 4)), bias))
    rest = np.array([0.5, 0.5, 0.0, 0.5])
    rest[position] = np.tanh(2.0) if name == "candidate" else 1 / (1 + np.exp(-2.0))
    np.testing.assert_allclose(gates, rest, rtol=1e-12)


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="Keras's SimpleRNN does not run in float64 on the JAX backend"
)
@pytest.mark.parametrize("seed", range(3))
def test_the_recurrent_cell_is_keras_s_simple_rnn(lesson, seed):
    random = np.random.default_rng(seed)
    weights = [random.normal(size=shape) for shape in ((3, 4), (4, 4), (4,))]
    x = random.normal(size=(7, 3))
    layer = keras_layer(keras.layers.SimpleRNN(4, return_sequences=True, dtype="float64"), 3, weights)
    np.testing.assert_allclose(
        lesson.rnn_sequence(x, *weights), to_numpy(layer(x[None]))[0], atol=1e-6, rtol=0
    )
