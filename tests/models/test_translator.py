"""`build_translator`, its attention and its loss: by hand in NumPy, padding, learning, saving, errors."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from course_lib.errors import UsageError
from course_lib.layers.attention import LuongAttention
from course_lib.models.structure import copy_of
from course_lib.models.translator import (
    SmoothedCrossEntropy,
    TiedEmbedding,
    build_translator,
    search_network,
)
from course_lib.text.pairs import PairBatches
from course_lib.training import train
from course_lib.translation import beam_search, greedy_search

SOURCE_IDS = np.array([[4, 5, 6, 7, 8], [9, 4, 5, 0, 0]], dtype=np.int32)
TARGET_IDS = np.array([[2, 5, 6, 7], [2, 8, 0, 0]], dtype=np.int32)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = build_translator(12, 10, embedding_dim=6, hidden_dim=5, dropout=0.3)
    # Biases begin at zero, where a mistake with them would not show.
    random = np.random.default_rng(0)
    model.set_weights([weights + random.normal(0, 0.3, weights.shape) for weights in model.get_weights()])
    return model


def test_parameters_by_hand():
    # two tables and a bias; three LSTMs; keys; two first states; attentional vector
    lstm = 4 * 256 * (192 + 256 + 1)
    expected = 2 * 5_000 * 192 + 5_000 + 3 * lstm + 512 * 256 + 2 * (512 + 1) * 256 + (512 + 256) * 192
    assert build_translator(5_000, 5_000).count_params() == expected == 3_845_512


def test_attention_of_three_source_words_by_hand():
    queries = np.array([[[1.0, 0.0], [0.0, 2.0]]], np.float32)
    keys = np.array([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]], np.float32)
    values = np.array([[[10.0], [20.0], [30.0]]], np.float32)
    context, weights = LuongAttention()(queries, keys, values, source_mask=np.ones((1, 3), bool))
    e = np.e
    # scores 1, 0, 1 and 0, 2, 2
    expected = np.array([[e, 1, e], [1, e**2, e**2]]) / np.array([[2 * e + 1], [2 * e**2 + 1]])
    np.testing.assert_allclose(weights[0], expected, atol=1e-6)
    np.testing.assert_allclose(context[0, :, 0], expected @ [10, 20, 30], rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 6), st.floats(0.1, 300))
def test_attention_weights_are_the_softmax_over_real_tokens_and_zero_elsewhere(seed, num_rows, time, scale):
    random = np.random.default_rng(seed)
    queries = random.normal(0, scale, (num_rows, 2, 4)).astype(np.float32)
    keys, values = (random.normal(0, 1, (num_rows, time, 4)).astype(np.float32) for _ in range(2))
    mask = random.random((num_rows, time)) < 0.6
    context, weights = map(np.array, LuongAttention()(queries, keys, values, source_mask=mask))
    for row in range(num_rows):
        assert (weights[row][:, ~mask[row]] == 0).all()
        if not mask[row].any():
            assert (weights[row] == 0).all() and (context[row] == 0).all()
            continue
        expected = softmax(queries[row].astype(float) @ keys[row][mask[row]].T, axis=-1)
        np.testing.assert_allclose(weights[row][:, mask[row]], expected, atol=2e-4)
        np.testing.assert_allclose(weights[row].sum(axis=-1), 1, atol=1e-5)
        np.testing.assert_allclose(context[row], expected @ values[row][mask[row]], atol=2e-3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_attention_in_half_precision_is_finite(dtype):
    queries = np.full((1, 1, 4), 90.0)
    keys = np.array([[[1.0] * 4, [-1.0] * 4, [20.0] * 4]])
    _, weights = LuongAttention(dtype=dtype)(queries, keys, keys, source_mask=np.array([[True, True, False]]))
    np.testing.assert_array_equal(np.array(weights, float), [[[1, 0, 0]]])


def test_tied_embedding_is_its_own_output_layer():
    layer = TiedEmbedding(5, 3)
    vectors = np.array(layer(np.array([[1, 4]])))
    table, _ = layer.get_weights()
    bias = np.arange(5.0)
    layer.set_weights([table, bias])
    np.testing.assert_array_equal(vectors[0], table[[1, 4]])
    np.testing.assert_allclose(layer(vectors, reverse=True)[0], table[[1, 4]] @ table.T + bias, rtol=1e-5)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(vectors, kernel, recurrent, bias, hidden, cell):
    """States (time, hidden_dim) and the last cell of one sequence; gates in Keras's order."""
    states = []
    for vector in vectors:
        i, f, g, o = np.split(vector @ kernel + hidden @ recurrent + bias, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        states.append(hidden)
    return np.array(states), cell


def logits_by_hand(model, source, target):
    """The whole network for one unpadded pair: logits (target_time, size), attention."""
    layers = {layer.name: layer for name in ("decoder", "encoder") for layer in model.get_layer(name).layers}
    vectors = layers["source_embedding"].get_weights()[0][source]
    weights = layers["bilstm"].get_weights()
    zeros = np.zeros(weights[1].shape[0])
    forward, forward_cell = lstm(vectors, *weights[:3], zeros, zeros)
    backward, backward_cell = lstm(vectors[::-1], *weights[3:], zeros, zeros)
    states = np.concatenate([forward, backward[::-1]], axis=1)
    kernel, bias = layers["first_hidden"].get_weights()
    hidden = np.tanh(np.concatenate([forward[-1], backward[-1]]) @ kernel + bias)
    kernel, bias = layers["first_cell"].get_weights()
    cell = np.concatenate([forward_cell, backward_cell]) @ kernel + bias
    table, output_bias = layers["target_embedding"].get_weights()
    queries, _ = lstm(table[target], *layers["lstm"].get_weights(), hidden, cell)
    attention = softmax(queries @ (states @ layers["keys"].get_weights()[0]).T, axis=-1)
    both = np.concatenate([attention @ states, queries], axis=1)
    return np.tanh(both @ layers["attentional"].get_weights()[0]) @ table.T + output_bias, attention


def test_logits_are_those_by_hand_and_padding_changes_nothing(model):
    logits = np.array(model({"source_ids": SOURCE_IDS, "target_ids": TARGET_IDS}))
    assert logits.shape == (2, 4, 10)
    first, _ = logits_by_hand(model, SOURCE_IDS[0], TARGET_IDS[0])
    second, _ = logits_by_hand(model, SOURCE_IDS[1, :3], TARGET_IDS[1, :2])
    np.testing.assert_allclose(logits[0], first, atol=1e-5)
    np.testing.assert_allclose(logits[1, :2], second, atol=1e-5)


def test_no_position_sees_later_target_tokens(model):
    changed = TARGET_IDS.copy()
    changed[0, 2:] = [9, 9]
    before, after = (
        np.array(model({"source_ids": SOURCE_IDS, "target_ids": ids})) for ids in (TARGET_IDS, changed)
    )
    np.testing.assert_allclose(before[0, :2], after[0, :2], atol=1e-6)
    assert np.abs(before[0, 2] - after[0, 2]).max() > 1e-3


def test_step_by_step_equals_teacher_forcing(model):
    network = search_network(model)
    whole = np.array(model({"source_ids": SOURCE_IDS, "target_ids": TARGET_IDS}))
    memory, state = network.encode(SOURCE_IDS)
    assert set(memory) == {"states", "keys", "source_mask"} and set(state) == {"hidden", "cell"}
    for position in range(2):
        logits, weights, state = network.step(TARGET_IDS[:, position], memory, state)
        np.testing.assert_allclose(logits, whole[:, position], atol=1e-5)
        assert (weights[1, 3:] == 0).all()
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
        by_hand = logits_by_hand(model, SOURCE_IDS[1, :3], TARGET_IDS[1, : position + 1])[1]
        np.testing.assert_allclose(weights[1, :3], by_hand[position], atol=1e-5)


def test_searches_do_not_depend_on_the_batch(model):
    sources = [list(SOURCE_IDS[0]), list(SOURCE_IDS[1, :3]), [11]]
    network = search_network(model)
    for search in (greedy_search, lambda *args: beam_search(*args, beam_size=3, alpha=0.7)):
        together = search(network, sources)
        for source, found in zip(sources, together, strict=True):
            alone = search(network, [source])[0]
            assert alone.ids == found.ids
            np.testing.assert_allclose(alone.score, found.score, atol=1e-4)
            np.testing.assert_allclose(alone.attention, found.attention, atol=1e-5)
            assert found.attention.shape == (len(found.ids) + found.ended, len(source))


def test_smoothed_cross_entropy_by_hand():
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (2, 3, 4)).astype(np.float32)
    labels = np.array([[1, 3, 2], [2, 0, 0]])
    target = np.full((2, 3, 4), 0.1 / 4)
    np.put_along_axis(target, labels[..., None], 0.1 / 4 + 0.9, axis=-1)
    losses = -(target * log_softmax(logits.astype(float), axis=-1)).sum(axis=-1)
    found = float(SmoothedCrossEntropy(0.1)(labels, logits))
    assert found == pytest.approx(losses[labels > 0].mean(), abs=1e-5)
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)(labels, logits)
    assert float(SmoothedCrossEntropy()(labels, logits)) == pytest.approx(float(plain), abs=1e-5)


def test_smoothed_loss_is_lowest_at_the_smoothed_distribution():
    target = np.full(5, 0.2 / 5)
    target[3] += 0.8
    lowest = float(SmoothedCrossEntropy(0.2)(np.array([[3]]), np.log(target)[None, None]))
    assert lowest == pytest.approx(-(target * np.log(target)).sum(), abs=1e-5)
    surer = np.log(np.array([0.001, 0.001, 0.001, 0.996, 0.001]))
    assert float(SmoothedCrossEntropy(0.2)(np.array([[3]]), surer[None, None])) > lowest


def test_it_learns_to_reverse(tmp_path):
    """Reversal needs attention to each place in turn; then it is saved and loaded."""
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(1)
    sources = [random.integers(4, 10, random.integers(1, 6)).tolist() for _ in range(400)]
    targets = [source[::-1] for source in sources]
    batches = PairBatches(sources, targets, max_tokens=160, seed=0)
    network = build_translator(10, 10, embedding_dim=16, hidden_dim=32)
    # XLA: JAX's only way to compile; TensorFlow's own is quicker here.
    jit_compile = keras.backend.backend() == "jax"
    network.compile(keras.optimizers.Adam(1e-2), SmoothedCrossEntropy(0.05), jit_compile=jit_compile)
    history = train(network, batches, epochs=12, verbose=0)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    tried, wanted = sources[:60], targets[:60]
    found = [hypothesis.ids for hypothesis in greedy_search(search_network(network), tried)]
    assert np.mean([ids == target for ids, target in zip(found, wanted, strict=True)]) > 0.9

    copy_of(network).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    inputs, _ = batches[0]
    np.testing.assert_allclose(loaded(inputs), network(inputs), atol=1e-6)
    again = [hypothesis.ids for hypothesis in greedy_search(search_network(loaded), tried)]
    assert again == found


@pytest.mark.parametrize(
    "arguments", [{"hidden_dim": 0}, {"embedding_dim": 0}, {"dropout": 1.0}, {"dropout": -0.1}]
)
def test_wrong_sizes(arguments):
    with pytest.raises(UsageError):
        build_translator(10, 10, **arguments)


def test_wrong_smoothing():
    with pytest.raises(UsageError, match="smoothing"):
        SmoothedCrossEntropy(1.0)
