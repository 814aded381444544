"""Masked pooling against a plain loop; what padding does to it, and to Keras's own layer."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from course_lib.layers.pooling import MaskedMaxMeanPooling, MaskedMaxPooling, MaskedMeanPooling

LAYERS = {"mean": MaskedMeanPooling, "max": MaskedMaxPooling, "max_mean": MaskedMaxMeanPooling}
REDUCE = {"mean": [np.mean], "max": [np.max], "max_mean": [np.max, np.mean]}
every_kind = pytest.mark.parametrize("kind", LAYERS)


def by_loop(kind, states, mask):
    """Row by row over the real steps only."""
    real = [row[keep] for row, keep in zip(states, mask, strict=True)]
    return np.array([np.concatenate([reduce(row, axis=0) for reduce in REDUCE[kind]]) for row in real])


def pooled(kind, states, mask=None):
    return ops.convert_to_numpy(LAYERS[kind](dtype="float64")(states, mask=mask))


@every_kind
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), num_steps=st.integers(1, 8), num_features=st.integers(1, 4))
def test_equals_a_plain_loop(kind, seed, num_steps, num_features):
    random = np.random.default_rng(seed)
    # Also all-negative and huge features: neither zeros nor a constant may enter the result.
    states = random.normal(random.choice([-1e12, -5.0, 0.0, 1e12]), 3, (4, num_steps, num_features))
    mask = random.random((4, num_steps)) < 0.6
    mask[np.arange(4), random.integers(0, num_steps, 4)] = True
    np.testing.assert_allclose(pooled(kind, states, mask), by_loop(kind, states, mask), rtol=1e-12)


@every_kind
def test_without_a_mask_every_step_counts(kind):
    states = np.random.default_rng(0).normal(size=(2, 5, 3))
    expected = by_loop(kind, states, np.ones((2, 5), bool))
    # On the JAX backend keras.ops.mean computes in float32, whatever the dtype.
    rtol = 1e-6 if keras.backend.backend() == "jax" else 1e-12
    np.testing.assert_allclose(pooled(kind, states), expected, rtol=rtol)


@every_kind
def test_a_row_of_padding_alone_is_finite_and_leaves_the_others_alone(kind):
    states = np.random.default_rng(0).normal(size=(2, 3, 4))
    mask = np.array([[True, True, False], [False, False, False]])
    result = pooled(kind, states, mask)
    np.testing.assert_allclose(result[0], by_loop(kind, states[:1], mask[:1])[0], rtol=1e-12)
    np.testing.assert_array_equal(result[1], np.zeros(4 * len(REDUCE[kind])))


@every_kind
def test_half_precision_does_not_overflow(kind):
    states = np.array([[[-0.5], [0.25], [0.0]]], dtype="float16")
    layer = LAYERS[kind](dtype="float16")
    result = ops.convert_to_numpy(layer(states, mask=np.array([[True, False, False]])))
    np.testing.assert_array_equal(result, [[-0.5] * len(REDUCE[kind])])
    assert np.isfinite(ops.convert_to_numpy(layer(states, mask=np.zeros((1, 3), bool)))).all()


MASK = np.array([[True, True, True, False], [True, False, False, False], [False, False, False, False]])


def trained_once(kind, states, slopes):
    """How far one step of gradient descent at rate 1 moves the pooled layer's inputs, on any backend."""
    offset = keras.layers.Embedding(states.shape[0] * states.shape[1], states.shape[2], dtype="float64")
    ids = np.arange(states.shape[0] * states.shape[1]).reshape(states.shape[:2])
    token_ids, mask, weights = (
        keras.Input((4,), dtype="int32"),
        keras.Input((4,), dtype="bool"),
        keras.Input((slopes.shape[1],)),
    )
    result = LAYERS[kind](dtype="float64")(offset(token_ids), mask=mask)
    total = keras.layers.Dot(axes=1, dtype="float64")([result, weights])
    model = keras.Model([token_ids, mask, weights], total)
    offset.set_weights([states.reshape(-1, states.shape[2])])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=lambda _, value: ops.sum(value))
    model.train_on_batch([ids, MASK, slopes], np.zeros((3, 1)))
    return states - ops.convert_to_numpy(offset.embeddings).reshape(states.shape)


@every_kind
def test_gradients_are_those_of_the_plain_loop_and_finite(kind):
    random = np.random.default_rng(1)
    states, slopes = random.normal(size=(3, 4, 2)), random.normal(size=(3, 2 * len(REDUCE[kind])))
    states[1, 0] = -2.0  # a single real step, below the zeros behind it
    states[~MASK] = 0.0
    gradients = trained_once(kind, states, slopes)
    assert np.isfinite(gradients).all()
    expected = np.zeros_like(states)
    for row in (0, 1):
        real = np.flatnonzero(MASK[row])
        for column, slope in enumerate(slopes[row]):
            feature = column % 2
            if REDUCE[kind][column // 2] is np.mean:
                expected[row, real, feature] += slope / len(real)
            else:
                expected[row, real[states[row, real, feature].argmax()], feature] += slope
    np.testing.assert_allclose(gradients[:2], expected[:2], atol=1e-6)


@every_kind
def test_the_mask_ends_here(kind):
    layer = LAYERS[kind]()
    assert layer.supports_masking
    assert layer.compute_mask(None, np.ones((2, 3), bool)) is None
    assert layer.compute_output_shape((None, None, 7)) == (None, 7 * len(REDUCE[kind]))


@every_kind
def test_is_restored_from_its_configuration(kind):
    layer = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(LAYERS[kind](name="pooling"))
    )
    assert type(layer) is LAYERS[kind] and layer.name == "pooling"


@pytest.mark.filterwarnings("ignore:.*destroy the mask information")
def test_keras_s_global_max_pooling_does_feel_padding():
    """The failure that the layers here are for: without it the tests of invariance would prove nothing."""
    states = np.array([[[-0.5, 0.3], [-0.2, -0.1]]])
    padded = np.pad(states, ((0, 0), (0, 2), (0, 0)))
    mask = np.array([[True, True, False, False]])
    plain = keras.layers.GlobalMaxPooling1D(dtype="float64")
    np.testing.assert_allclose(ops.convert_to_numpy(plain(states)), [[-0.2, 0.3]])
    np.testing.assert_allclose(ops.convert_to_numpy(plain(padded)), [[0.0, 0.3]])
    np.testing.assert_allclose(pooled("max", padded, mask), [[-0.2, 0.3]])
