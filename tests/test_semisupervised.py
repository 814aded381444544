"""Pseudo-labels and consistency: numbers worked out by hand or by SciPy, and what must hold for any input."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import rel_entr, softmax

from course_lib.errors import UsageError
from course_lib.semisupervised import (
    ConsistencyBatches,
    ConsistencyModel,
    RampUp,
    choose_pseudo_labels,
    consistency_loss,
    ramp_up,
    word_dropout,
)
from course_lib.training import compile_classifier, train


def test_pseudo_labels_of_five_texts():
    probabilities = [[0.95, 0.05], [0.5, 0.5], [0.1, 0.9], [0.2, 0.8], [0.0, 1.0]]
    rows, labels = choose_pseudo_labels(np.array(probabilities), 0.9)
    assert rows.tolist() == [0, 2, 4]  # 0.9 itself is sure enough
    assert labels.tolist() == [0, 1, 1]
    rows, labels = choose_pseudo_labels(np.array(probabilities), 1.0)
    assert (rows.tolist(), labels.tolist()) == ([4], [1])


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, (7, 3), elements=st.floats(-8, 8, width=32)), st.floats(0.01, 1))
def test_pseudo_labels_equal_a_loop(logits, threshold):
    probabilities = softmax(logits, axis=1)
    rows, labels = choose_pseudo_labels(probabilities, threshold)
    expected = []
    for row, (first, second, third) in enumerate(probabilities):
        best = max(first, second, third)
        if best >= threshold:
            expected.append((row, [first, second, third].index(best)))
    assert list(zip(rows, labels, strict=True)) == expected


@pytest.mark.parametrize("threshold", [0, -0.5, 1.001, 90, float("nan")])
def test_a_threshold_that_is_no_confidence_is_refused(threshold):
    with pytest.raises(UsageError, match=r"threshold is .*above 0 and is at most 1"):
        choose_pseudo_labels(np.array([[0.5, 0.5]]), threshold)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([[2.0, -1.0]], "softmax"),
        ([[0.6, 0.6]], "softmax"),
        ([[float("nan"), 1.0]], "softmax"),
        ([0.4, 0.6], r"shape \(2,\)"),
        ([[1.0], [1.0]], r"shape \(2, 1\)"),
    ],
)
def test_what_is_no_distribution_is_refused(probabilities, message):
    with pytest.raises(UsageError, match=message):
        choose_pseudo_labels(np.array(probabilities), 0.9)


def test_no_text_is_sure_enough_and_no_text_at_all():
    for probabilities in (np.full((4, 2), 0.5), np.empty((0, 2))):
        rows, labels = choose_pseudo_labels(probabilities, 0.51)
        assert rows.shape == labels.shape == (0,)


id_matrices = arrays(np.int32, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=st.integers(2, 50))


@settings(max_examples=80, deadline=None)
@given(id_matrices, st.floats(0, 0.999), st.integers(0, 2**32 - 1), st.data())
def test_word_dropout_leaves_padding_and_one_word(token_ids, rate, seed, data):
    for row in token_ids:
        row[data.draw(st.integers(1, len(row))) :] = 0
    before = token_ids.copy()
    noisy = word_dropout(token_ids, rate, np.random.default_rng(seed))
    assert noisy.dtype == token_ids.dtype
    np.testing.assert_array_equal(token_ids, before)
    np.testing.assert_array_equal(noisy == 0, before == 0)
    assert ((noisy == before) | (noisy == 1)).all()
    assert (((noisy == before) & (before != 0)).sum(axis=1) >= 1).all()


def test_word_dropout_drops_at_its_rate_and_everywhere_alike():
    token_ids = np.full((4_000, 12), 7)
    dropped = word_dropout(token_ids, 0.3, np.random.default_rng(0)) == 1
    # Five standard errors of a share of 0.3 among 4,000 draws are 0.036.
    np.testing.assert_allclose(dropped.mean(axis=0), 0.3, atol=0.036)


def test_the_word_that_stays_is_each_as_often():
    token_ids = np.tile([2, 3, 4, 0, 0], (3_000, 1))
    noisy = word_dropout(token_ids, 0.999_999, np.random.default_rng(0))
    kept = noisy[(noisy > 1)]
    assert len(kept) == 3_000
    # Expected 1,000 each with a standard deviation of 26.
    assert (np.abs(np.bincount(kept)[2:] - 1_000) < 130).all()


def test_word_dropout_at_rate_0_changes_nothing_and_other_rates_are_refused():
    token_ids = np.array([[5, 6, 1, 0]])
    np.testing.assert_array_equal(word_dropout(token_ids, 0, np.random.default_rng(0)), token_ids)
    for rate in (-0.1, 1, 30, float("nan")):
        with pytest.raises(UsageError, match=r"rate of word dropout is .*at least 0 and less than 1"):
            word_dropout(token_ids, rate, np.random.default_rng(0))


def test_consistency_of_two_answers_by_hand():
    # 3/4 to 1/4 against 1/2 to 1/2: half of 3/4 ln 3/2 + 1/4 ln 1/2 and 1/2 ln 2/3 + 1/2 ln 2.
    logits, others = np.array([[math.log(3), 0.0]]), np.array([[4.0, 4.0]])
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    backward = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    np.testing.assert_allclose(consistency_loss(logits, others), [(forward + backward) / 2], rtol=1e-6)
    np.testing.assert_allclose((forward + backward) / 2, math.log(3) / 8, rtol=1e-12)


rows_of_logits = arrays(np.float32, (4, 3), elements=st.floats(-15, 15, width=32))


@settings(max_examples=60, deadline=None)
@given(rows_of_logits, rows_of_logits, st.floats(-5, 5, width=32))
def test_consistency_equals_scipy_and_ignores_what_all_classes_share(logits, others, shift):
    p, q = softmax(logits.astype("float64"), axis=1), softmax(others.astype("float64"), axis=1)
    expected = (rel_entr(p, q).sum(axis=1) + rel_entr(q, p).sum(axis=1)) / 2
    found = keras.ops.convert_to_numpy(consistency_loss(logits, others))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(consistency_loss(others, logits), found, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(consistency_loss(logits + shift, others), found, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(consistency_loss(logits, logits), np.zeros(4))


def test_ramp():
    values = [ramp_up(step, 10) for step in (0, 5, 10, 11, 500)]
    np.testing.assert_allclose(values, [math.exp(-5), math.exp(-1.25), 1, 1, 1], rtol=1e-12)
    with pytest.raises(UsageError, match="ramp has 0 steps"):
        RampUp(1.0, 0)
    with pytest.raises(UsageError, match="weight of consistency is -1"):
        RampUp(-1, 10)


LABELLED, LABELS = [[2, 3], [4], [3, 4, 5], [2]], np.array([0, 1, 1, 0])
UNLABELLED = [[2, 3, 4, 5], [5, 5], [3], [4, 2, 2], [6, 7, 8]]


def batches(**changes):
    arguments = {"batch_size": 3, "num_unlabelled": 4, "rate": 0.5, "length": 4, "seed": 0, **changes}
    return ConsistencyBatches(LABELLED, LABELS, UNLABELLED, **arguments)


def test_batches_hold_two_views_of_the_same_texts_and_repeat():
    rows = batches()
    assert len(rows) == 2
    inputs, labels, weights = rows[0]
    assert {name: ids.shape for name, ids in inputs.items()} == {
        "labelled": (3, 4),
        "view_1": (4, 4),
        "view_2": (4, 4),
    }
    texts = {tuple(ids) + (0,) * (4 - len(ids)): LABELS[row] for row, ids in enumerate(LABELLED)}
    real = weights > 0  # one of the two batches is filled up with empty rows
    assert [texts[tuple(ids)] for ids in inputs["labelled"][real]] == labels[real].tolist()
    assert sum((rows[i][2] > 0).sum() for i in range(2)) == 4
    np.testing.assert_array_equal(inputs["view_1"] == 0, inputs["view_2"] == 0)
    both = (inputs["view_1"] > 1) & (inputs["view_2"] > 1)
    assert both.any()
    np.testing.assert_array_equal(inputs["view_1"][both], inputs["view_2"][both])
    assert (inputs["view_1"] != inputs["view_2"]).any()
    again = batches()[0][0]
    for name in inputs:
        np.testing.assert_array_equal(inputs[name], again[name])
    rows.on_epoch_end()
    assert any((rows[0][0][name] != again[name]).any() for name in ("view_1", "view_2"))


def test_each_batch_draws_every_text_at_most_once():
    drawn = batches(rate=0.0, num_unlabelled=5)[1][0]
    np.testing.assert_array_equal(drawn["view_1"], drawn["view_2"])
    assert {tuple(row[row > 0]) for row in drawn["view_1"].tolist() for row in [np.array(row)]} == {
        tuple(ids) for ids in UNLABELLED
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_unlabelled": 6}, "cannot draw 6 of 5"),
        ({"num_unlabelled": 0}, "cannot draw 0 of 5"),
        ({"rate": 1.0}, "rate of word dropout is 1.0"),
        ({"length": 2}, "longest sequence"),
    ],
)
def test_wrong_batches_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        batches(**changes)


def bag_of_words(seed=0):
    """Mean of the vectors of all ids, padding included: two matrices, so that the loss can be recomputed."""
    keras.utils.set_random_seed(seed)
    ids = keras.Input((None,), dtype="int32")
    states = keras.layers.Embedding(9, 3)(ids)
    return keras.Model(ids, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(states)))


def loss_by_hand(network, batch, weight):
    table, kernel, bias = network.trainable_variables
    inputs, labels, weights = batch

    def logits(ids):
        return tf.reduce_mean(tf.gather(table, ids), axis=1) @ kernel + bias

    log_p = tf.nn.log_softmax(logits(inputs["labelled"]))
    supervised = -tf.reduce_mean(weights * tf.gather(log_p, labels, batch_dims=1))
    one, other = (tf.nn.log_softmax(logits(inputs[name])) for name in ("view_1", "view_2"))
    divergence = tf.reduce_sum(tf.exp(one) * (one - other) + tf.exp(other) * (other - one), axis=1) / 2
    return supervised + weight * tf.reduce_mean(divergence), tf.reduce_mean(divergence)


@pytest.mark.parametrize("weight", [0.0, 2.5])
def test_one_step_is_gradient_descent_on_the_loss_written_out(weight):
    network = bag_of_words()
    model = ConsistencyModel(network)
    compile_classifier(model, keras.optimizers.SGD(0.1))
    model.consistency_weight.assign(weight)
    batch = batches()[0]
    with tf.GradientTape() as tape:
        loss, divergence = loss_by_hand(network, batch, weight)
    gradients = tape.gradient(loss, [variable.value for variable in network.trainable_variables])
    expected = [
        variable.numpy() - 0.1 * tf.convert_to_tensor(gradient).numpy()
        for variable, gradient in zip(network.trainable_variables, gradients, strict=True)
    ]
    inputs, labels, weights = batch
    logs = model.train_on_batch(inputs, labels, sample_weight=weights, return_dict=True)
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(logs["consistency"], divergence, rtol=1e-4)
    assert 0 <= logs["accuracy"] <= 1
    for variable, value in zip(network.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, atol=1e-6)


def test_training_raises_the_weight_and_brings_the_views_together():
    divergences = {}
    for weight in (0.0, 30.0):
        network = bag_of_words()
        network.layers[1].set_weights([5 * network.layers[1].get_weights()[0]])
        model = ConsistencyModel(network)
        compile_classifier(model, keras.optimizers.Adam(0.03))
        history = train(model, batches(), epochs=15, callbacks=[RampUp(weight, 20)], verbose=0)
        assert float(model.consistency_weight) == weight  # 30 steps: the ramp is over
        divergences[weight] = np.mean(history["consistency"][-3:])
    assert divergences[30.0] < 0.2 * divergences[0.0]


def test_the_ramp_follows_the_steps_of_the_optimizer():
    model = ConsistencyModel(bag_of_words())
    compile_classifier(model, keras.optimizers.SGD(0.1))
    train(model, batches(), epochs=1, callbacks=[RampUp(2.0, 4)], verbose=0)
    # The second of two steps begins after one: a quarter of the ramp.
    np.testing.assert_allclose(float(model.consistency_weight), 2 * math.exp(-5 * 0.75**2), rtol=1e-6)
