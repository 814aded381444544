"""A translator's two graphs: Keras's logits step by step, whatever the lengths; attention; 8 bits."""

import statistics
import time

import keras
import numpy as np
import onnx
import pytest
from tiny_models import subwords, translator

from course_lib.compression.quantization import quantize_graph
from course_lib.errors import CourseError, UsageError
from course_lib.models import translator as keras_translator
from course_lib.models.encoder import build_encoder
from course_lib.models.translator import build_translator
from course_lib.serving.network import Network, WordVectors
from course_lib.serving.translation import search_network
from course_lib.serving.translator_export import (
    check_translator,
    compress_tokens,
    token_vectors,
    translator_to_onnx,
)
from course_lib.text import pad
from course_lib.text.subwords import START_ID
from course_lib.translation import beam_search, greedy_search

SOURCES = [[5], [6, 7, 8], [9, 4, 5, 6, 7, 8, 9], list(range(4, 24))]
TARGETS = [[5, 6, 7], [], [8, 9, 4, 5, 6, 7, 8, 9, 10, 11], [6]]


@pytest.fixture(scope="module")
def model():
    """The sizes are those of the notebook, the weights those of the builder, larger so that logits differ."""
    keras.utils.set_random_seed(1)
    model = build_translator(5_000, 5_000, embedding_dim=192, hidden_dim=256, dropout=0.1)
    model.set_weights([3 * weight for weight in model.get_weights()])
    return model


def network_of(model, quantize=lambda graph: graph):
    words = [WordVectors.exact(each) for each in token_vectors(model)]
    graphs = [quantize(graph).SerializeToString() for graph in translator_to_onnx(model)]
    return search_network(*map(Network, graphs, words))


@pytest.fixture(scope="module")
def network(model):
    return network_of(model)


def test_steps_give_the_logits_of_the_whole_target(model, network):
    """Keras reads the target in one call, the network token by token with the state that it gave before."""
    source_ids, target_ids = pad(SOURCES), pad([[START_ID, *ids] for ids in TARGETS])
    expected = np.asarray(model({"source_ids": source_ids, "target_ids": target_ids}))
    memory, state = network.encode(source_ids)
    for step in range(target_ids.shape[1]):
        logits, _, state = network.step(target_ids[:, step], memory, state)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected[:, step], atol=1e-4)
    assert np.ptp(expected, axis=2).min() > 1


@pytest.mark.parametrize("row", range(len(SOURCES)))
def test_attention_sums_to_one_over_real_tokens_and_padding_gets_none(model, network, row):
    padded, alone = pad(SOURCES), pad([SOURCES[row]])
    first = np.full(len(SOURCES), START_ID, np.int32)
    _, attention, _ = network.step(first, *network.encode(padded))
    assert (attention[padded == 0] == 0).all()
    np.testing.assert_allclose(attention.sum(axis=1), 1, atol=1e-6)
    _, weights, _ = network.step(first[:1], *network.encode(alone))
    np.testing.assert_allclose(attention[row, : len(SOURCES[row])], weights[0], atol=1e-5)
    expected = keras_translator.search_network(model)
    _, of_keras, _ = expected.step(first[:1], *expected.encode(alone))
    np.testing.assert_allclose(weights, of_keras, atol=1e-5)


@pytest.mark.parametrize("beam_size", [None, 4])
def test_searches_write_the_tokens_that_they_write_with_keras(beam_size):
    """The tiny translator ends some sentences and gives up others."""
    source, target = subwords()
    model = translator(source, target)
    sources = [[4 + (7 * row + i) % (len(source) - 4) for i in range(1 + row)] for row in range(12)]

    def search(network):
        if beam_size is None:
            return greedy_search(network, sources)
        return beam_search(network, sources, beam_size=beam_size)

    expected, found = search(keras_translator.search_network(model)), search(network_of(model))
    assert {hypothesis.ended for hypothesis in expected} == {True, False}
    for one, two in zip(expected, found, strict=True):
        assert one.ids == two.ids and one.ended == two.ended
        assert one.log_probability == pytest.approx(two.log_probability, abs=1e-3)
        np.testing.assert_allclose(one.attention, two.attention, atol=1e-4)


def test_a_beam_of_one_is_greedy_search(network):
    for one, two in zip(
        greedy_search(network, SOURCES), beam_search(network, SOURCES, beam_size=1), strict=True
    ):
        assert one.ids == two.ids
        np.testing.assert_array_equal(one.attention, two.attention)


def test_parity_is_measured_in_the_batch_and_alone(model, network):
    assert check_translator(model, network, SOURCES, TARGETS) < 1e-4

    def changed(rows_changed, amount):
        def step(token_ids, memory, state):
            logits, attention, state = network.step(token_ids, memory, state)
            return logits + amount * (len(token_ids) in rows_changed), attention, state

        return network._replace(step=step)

    for wrong in (changed({1}, 2e-4), changed({4}, 2e-4), changed({1, 4}, np.nan)):
        with pytest.raises(CourseError, match=r"differs from its Keras model .* nothing was exported"):
            check_translator(model, wrong, SOURCES, TARGETS)


def test_a_state_that_is_not_carried_on_is_noticed(model, network):
    def step(token_ids, memory, state):
        logits, attention, _ = network.step(token_ids, memory, state)
        return logits, attention, state

    with pytest.raises(CourseError, match="differs from its Keras model"):
        check_translator(model, network._replace(step=step), SOURCES, TARGETS)


@pytest.mark.parametrize("beam_size, milliseconds", [(1, 60), (4, 200)])
@pytest.mark.parametrize("quantize", [lambda graph: graph, quantize_graph], ids=["float32", "int8"])
def test_a_sentence_of_twelve_words_is_quick_on_one_core(model, quantize, beam_size, milliseconds):
    """Untrained, it never ends: 36 steps, twice what a translation takes. CPU time: others may be busy."""
    network, source = network_of(model, quantize), list(range(4, 17))
    times = []
    for _ in range(7):
        began = time.process_time()
        (found,) = beam_search(network, [source], beam_size=beam_size)
        times.append(1000 * (time.process_time() - began))
    assert len(found.ids) == 36
    assert statistics.median(times) < milliseconds


def test_int8_is_a_quarter_and_close(model, network):
    sizes = {}
    for part, graph in zip(("encoder", "decoder"), translator_to_onnx(model), strict=True):
        small = quantize_graph(graph)
        operators = {node.op_type for node in small.graph.node}
        assert "DynamicQuantizeLSTM" in operators and "LSTM" not in operators
        sizes[part] = len(small.SerializeToString()) / len(graph.SerializeToString())
    assert all(size < 0.3 for size in sizes.values())
    small = network_of(model, quantize_graph)
    first = np.full(len(SOURCES), START_ID, np.int32)
    exact, _, _ = network.step(first, *network.encode(pad(SOURCES)))
    close, attention, _ = small.step(first, *small.encode(pad(SOURCES)))
    assert 0 < np.abs(exact - close).max() < 0.15 * np.ptp(exact)
    np.testing.assert_allclose(attention.sum(axis=1), 1, atol=1e-6)


def test_token_vectors_are_rounded_and_the_tied_output_with_them():
    model = build_translator(40, 30, embedding_dim=8, hidden_dim=6)
    before = token_vectors(model)
    words = compress_tokens(model)
    for old, new, each in zip(before, token_vectors(model), words, strict=True):
        assert each.values.dtype == np.int8 and not np.array_equal(old, new)
        np.testing.assert_array_equal(new, each.look_up(np.arange(len(new))))
        assert (np.abs(new - old) <= each.scale / 2 * 1.001).all()
    # The output layer's matrix is the rounded one, transposed.
    _, decoder = translator_to_onnx(model)
    matrices = [onnx.numpy_helper.to_array(weight) for weight in decoder.graph.initializer]
    assert any(np.array_equal(matrix, words[1].look_up(np.arange(30)).T) for matrix in matrices)


def test_another_model_is_refused():
    with pytest.raises(UsageError, match="Unknown translator to export 'encoder'"):
        translator_to_onnx(build_encoder(5))
