"""Costs agree with Keras's count, and with a ledger kept by NumPy layers that compute what Keras computes."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.compression.cost import (
    Cost,
    classifier_costs,
    dense_cost,
    embedding_cost,
    lstm_cost,
    max_pooling_cost,
    self_attention_cost,
    total_cost,
    training_memory,
)
from course_lib.errors import UsageError
from course_lib.models.classifier import build_classifier
from course_lib.models.encoder import build_encoder

SIZES = st.integers(1, 9)


class Ledger:
    """Does matrix products number by number and books what is multiplied, moved and kept."""

    def __init__(self):
        self.multiply_adds = self.moved = self.kept = 0

    def move(self, *arrays):
        self.moved += sum(array.size for array in arrays)

    def keep(self, *arrays):
        self.kept += sum(array.size for array in arrays)

    def product(self, a, b):
        result = np.zeros((len(a), b.shape[1]))
        for row in range(len(a)):
            for column in range(b.shape[1]):
                for inner in range(len(b)):
                    result[row, column] += a[row, inner] * b[inner, column]
                    self.multiply_adds += 1
        return result

    def check(self, cost):
        assert cost.flops == 2 * self.multiply_adds
        assert cost.bytes_moved == 4 * self.moved
        assert cost.activation_bytes == 4 * self.kept


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def booked_lstm(ledger, inputs, kernel, recurrent_kernel, bias):
    batch, time, input_dim = inputs.shape
    hidden_dim = len(recurrent_kernel)
    rows = inputs.reshape(-1, input_dim)
    ledger.move(rows, kernel, bias)
    sums = ledger.product(rows, kernel) + bias
    ledger.move(sums)
    sums = sums.reshape(batch, time, -1)
    state, cell = np.zeros((2, batch, hidden_dim))
    states = []
    for step in range(time):
        ledger.move(sums[:, step], state, cell, recurrent_kernel)
        gates = sums[:, step] + ledger.product(state, recurrent_kernel)
        i, f, c, o = np.split(gates, 4, axis=1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
        state = sigmoid(o) * np.tanh(cell)
        ledger.move(state, cell)
        ledger.keep(gates, state, cell)
        states.append(state)
    return np.stack(states, axis=1)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (2, 3, 4, 5), (3, 5, 2, 3)])
def test_lstm_against_a_ledger(sizes):
    batch, time, input_dim, hidden_dim = sizes
    inputs = np.random.default_rng(0).normal(size=(batch, time, input_dim)).astype("float32")
    layer = keras.layers.LSTM(hidden_dim, return_sequences=True)
    expected = layer(inputs)
    ledger = Ledger()
    found = booked_lstm(ledger, inputs, *layer.get_weights())
    np.testing.assert_allclose(found, expected, atol=1e-5)
    cost = lstm_cost(input_dim, hidden_dim, batch=batch, time=time)
    ledger.check(cost)
    assert cost.parameters == layer.count_params()
    both = lstm_cost(input_dim, hidden_dim, batch=batch, time=time, bidirectional=True)
    assert both == Cost(*(2 * figure for figure in cost))


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (2, 3, 2, 2), (1, 4, 3, 1)])
def test_self_attention_against_a_ledger(sizes):
    batch, time, num_heads, head_dim = sizes
    model_dim = num_heads * head_dim
    inputs = np.random.default_rng(0).normal(size=(batch, time, model_dim)).astype("float32")
    layer = keras.layers.MultiHeadAttention(num_heads, head_dim)
    expected = layer(inputs, inputs)
    weights = layer.get_weights()
    kernels = [weight.reshape(model_dim, model_dim) for weight in weights[::2]]
    biases = [weight.reshape(model_dim) for weight in weights[1::2]]

    ledger, rows = Ledger(), inputs.reshape(-1, model_dim)
    parts = []
    for kernel, bias in zip(kernels[:3], biases[:3], strict=True):
        part = ledger.product(rows, kernel) + bias
        ledger.move(rows, kernel, bias, part)
        ledger.keep(part)
        parts.append(part.reshape(batch, time, num_heads, head_dim).swapaxes(1, 2))
    context = np.empty_like(parts[0])
    for text in range(batch):
        for head in range(num_heads):
            query, key, value = (part[text, head] for part in parts)
            scores = ledger.product(query / np.sqrt(head_dim), key.T)
            shares = softmax(scores)
            context[text, head] = ledger.product(shares, value)
            ledger.move(query, key, scores)
            ledger.move(scores, shares)
            ledger.move(shares, value, context[text, head])
            ledger.keep(shares, context[text, head])
    merged = context.swapaxes(1, 2).reshape(-1, model_dim)
    output = ledger.product(merged, kernels[3]) + biases[3]
    ledger.move(merged, kernels[3], biases[3], output)
    ledger.keep(output)
    np.testing.assert_allclose(output.reshape(expected.shape), expected, atol=1e-5)
    cost = self_attention_cost(model_dim, num_heads, batch=batch, time=time)
    ledger.check(cost)
    assert cost.parameters == layer.count_params()


def test_dense_embedding_and_pooling_against_a_ledger():
    random = np.random.default_rng(0)
    table, ids = random.normal(size=(11, 3)), random.integers(0, 11, (2, 5))
    ledger = Ledger()
    vectors = table[ids]
    ledger.move(ids, table[ids], vectors)
    ledger.keep(vectors)
    ledger.check(embedding_cost(11, 3, batch=2, time=5))

    ledger = Ledger()
    pooled = vectors.max(axis=1)
    ledger.move(vectors, pooled)
    ledger.keep(pooled)
    ledger.check(max_pooling_cost(3, batch=2, time=5))

    ledger = Ledger()
    kernel, bias = random.normal(size=(3, 4)), np.zeros(4)
    outputs = ledger.product(pooled, kernel)
    ledger.move(pooled, kernel, bias, outputs)
    ledger.keep(outputs)
    ledger.check(dense_cost(3, 4, rows=2))


@given(input_dim=SIZES, output_dim=SIZES, vocabulary_size=SIZES)
@settings(max_examples=20, deadline=None)
def test_parameters_of_single_layers(input_dim, output_dim, vocabulary_size):
    dense, embedding = keras.layers.Dense(output_dim), keras.layers.Embedding(vocabulary_size, input_dim)
    dense.build((None, input_dim))
    embedding.build(None)
    assert dense_cost(input_dim, output_dim, rows=7).parameters == dense.count_params()
    assert embedding_cost(vocabulary_size, input_dim, batch=2, time=3).parameters == embedding.count_params()


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("sizes", [(5, 1, 1, 2), (20, 3, 2, 3), (100, 8, 16, 5), (321, 50, 7, 2)])
def test_parameters_of_the_classifier(sizes, num_layers):
    vocabulary_size, embedding_dim, hidden_dim, num_classes = sizes
    encoder = build_encoder(
        vocabulary_size, embedding_dim=embedding_dim, hidden_dim=hidden_dim, num_layers=num_layers
    )
    model = build_classifier(encoder, num_classes)
    costs = classifier_costs(
        vocabulary_size,
        embedding_dim=embedding_dim,
        hidden_dim=hidden_dim,
        num_layers=num_layers,
        num_classes=num_classes,
        batch=2,
        time=3,
    )
    for layer in encoder.layers[1:]:
        name = layer.name.removeprefix("token_")
        assert costs[name].parameters == layer.count_params(), name
    assert costs["logits"].parameters == model.get_layer("logits").count_params()
    assert total_cost(costs.values()).parameters == model.count_params()


def test_intensity_by_hand():
    # One step, one text, D = H = 1: 4 gates of 2 multiply-adds; 8 + 4 weights, 1 + 12 activations of 4 bytes.
    cost = lstm_cost(1, 1, batch=1, time=1)
    assert (cost.flops, cost.bytes_moved, cost.intensity) == (16, 100, 0.16)
    assert embedding_cost(1000, 50, batch=32, time=100).intensity == 0
    # Far more steps than input weights, a wide state: 2 FLOPs for each recurrent weight of 4 bytes and text.
    for batch in (1, 2, 8):
        wide = lstm_cost(1, 4096, batch=batch, time=1000)
        assert wide.intensity == pytest.approx(batch / 2, rel=0.01)


def test_time_enters_lstm_once_and_attention_twice():
    lstm = [lstm_cost(64, 64, batch=2, time=time) for time in (100, 400)]
    assert lstm[1].flops == 4 * lstm[0].flops
    assert lstm[1].activation_bytes == 4 * lstm[0].activation_bytes
    attention = [self_attention_cost(64, 4, batch=2, time=time) for time in (100, 400)]
    products, scores = 2 * 4 * 200 * 64**2, 2 * 2 * 2 * 64 * 100**2
    assert [cost.flops for cost in attention] == [products + scores, 4 * products + 16 * scores]
    assert attention[0].parameters == attention[1].parameters == 4 * (64 * 64 + 64)


def test_training_memory_by_hand():
    memory = training_memory(Cost(parameters=10, flops=1, bytes_moved=1, activation_bytes=7))
    assert tuple(memory) == (40, 40, 80, 7)
    assert memory.total == 167


def test_adam_really_stores_two_copies():
    model = build_classifier(build_encoder(30, embedding_dim=4, hidden_dim=3), 2)
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    averages = [variable for variable in optimizer.variables if len(variable.shape)]
    cost = total_cost(
        classifier_costs(30, embedding_dim=4, hidden_dim=3, num_classes=2, batch=1, time=1).values()
    )
    assert 4 * sum(int(np.prod(variable.shape)) for variable in averages) == training_memory(cost).optimizer


@pytest.mark.parametrize("wrong", [0, -3, 2.5])
@pytest.mark.parametrize(
    ("function", "sizes"),
    [
        (embedding_cost, {"vocabulary_size": 5, "embedding_dim": 5, "batch": 1, "time": 1}),
        (lstm_cost, {"input_dim": 5, "hidden_dim": 5, "batch": 1, "time": 1}),
        (self_attention_cost, {"model_dim": 4, "num_heads": 2, "batch": 1, "time": 1}),
        (dense_cost, {"input_dim": 5, "output_dim": 5, "rows": 1}),
        (max_pooling_cost, {"features": 5, "batch": 1, "time": 1}),
        (
            classifier_costs,
            {
                "vocabulary_size": 5,
                "embedding_dim": 5,
                "hidden_dim": 5,
                "num_layers": 1,
                "num_classes": 2,
                "batch": 1,
                "time": 1,
            },
        ),
    ],
)
def test_wrong_sizes_are_refused(function, sizes, wrong):
    function(**sizes)
    for name in sizes:
        with pytest.raises(UsageError):
            function(**{**sizes, name: wrong})


def test_wrong_size_is_named():
    with pytest.raises(UsageError, match="hidden_dim is 0; it must be a whole number of at least 1"):
        lstm_cost(5, 0, batch=1, time=1)


def test_heads_must_divide_the_model_size():
    with pytest.raises(UsageError, match="3 heads must divide it"):
        self_attention_cost(8, 3, batch=1, time=1)


def test_no_layer_is_refused():
    with pytest.raises(UsageError, match="at least one"):
        total_cost([])
