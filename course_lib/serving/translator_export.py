"""A translator as two ONNX graphs: what is done once for each source, and what is done for each token."""

from collections.abc import Sequence

import keras
import numpy as np
import onnx

import course_lib.models.translator  # noqa: F401 (registers what saved translators consist of)
from course_lib.errors import unknown_name
from course_lib.serving.export import MASKED, Graph, compress_layer, within_tolerance
from course_lib.serving.network import WordVectors
from course_lib.text.padding import pad
from course_lib.text.subwords import START_ID
from course_lib.translation import SearchNetwork

TOLERANCE = 1e-4


def translator_to_onnx(model: keras.Model) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The graphs of encoder and decoder; `course_lib.serving.translation.search_network` runs them.

    Batch and source time are free, padding is masked, token vectors stay outside of both graphs (input
    `word_vectors`). The encoder also takes `token_ids`, int32 (batch, time), and gives `states`, `keys`,
    `hidden` and `cell` as the Keras encoder does. The decoder does one step: it takes the vectors of one
    token (batch, 1, embedding_dim), `states`, `keys`, `source_mask`, `hidden` and `cell`, and gives `logits`
    (batch, vocabulary_size), `attention` (batch, source_time), `next_hidden` and `next_cell`.

    Args:
        model: as `build_translator` returns it.

    Raises:
        UsageError: another kind of model.
    """
    if model.name != "translator":
        raise unknown_name("translator to export", model.name, ["translator"])
    return _encoder(model.get_layer("encoder")), _decoder(model.get_layer("decoder"))


def token_vectors(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of source and target tokens, both (vocabulary_size, embedding_dim)."""
    source, target = (layer.get_weights()[0] for layer in _embeddings(model))
    return source, target


def compress_tokens(model: keras.Model) -> tuple[WordVectors, WordVectors]:
    """Rounds the vectors of source and target tokens to 8 bits, in place, and returns them.

    The target's are also the output layer, which is rounded with them.
    """
    source, target = map(compress_layer, _embeddings(model))
    return source, target


def check_translator(
    model: keras.Model,
    network: SearchNetwork,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
) -> float:
    """Compares the steps of a network with its Keras model, which reads the whole target at once.

    Args:
        model: the Keras model.
        network: the same one exported.
        sources, targets: ids of sentence pairs, without start and end; all as one batch, and each alone.

    Returns:
        The largest absolute difference of a logit that is not at padding.

    Raises:
        CourseError: it is above `TOLERANCE`.
    """
    source_ids, target_ids = pad(sources), pad([[START_ID, *ids] for ids in targets])
    with keras.device("cpu"):
        logits = model({"source_ids": source_ids, "target_ids": target_ids})
    expected = keras.ops.convert_to_numpy(logits)
    found = _step_by_step(network, source_ids, target_ids)
    largest = 0.0
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        real = slice(1 + len(target))
        alone = _step_by_step(network, pad([source]), target_ids[row : row + 1, real])[0]
        for each in (alone, found[row, real]):
            # Unlike max(), it lets a NaN through.
            largest = float(np.maximum(largest, np.abs(each - expected[row, real]).max()))
    return within_tolerance(largest, TOLERANCE)


def _step_by_step(network, source_ids, target_ids):
    memory, state = network.encode(source_ids)
    logits = []
    for token_ids in target_ids.T:
        each, _, state = network.step(token_ids, memory, state)
        logits.append(each)
    return np.stack(logits, axis=1)  # (batch, target_time, vocabulary_size)


def _embeddings(model):
    return (
        model.get_layer("encoder").get_layer("source_embedding"),
        model.get_layer("decoder").get_layer("target_embedding"),
    )


def _encoder(model):
    graph = Graph()
    token_ids = graph.input("token_ids", onnx.TensorProto.INT32, "batch", "time")
    embedding = model.get_layer("source_embedding")
    bilstm = model.get_layer("bilstm")
    lstm = graph.lstm(bilstm, graph.words(embedding), graph.lengths(graph.is_real(token_ids)))
    states, (hidden, cell) = graph.steps(lstm, bilstm), graph.last(lstm, bilstm)
    (kernel,) = model.get_layer("keys").get_weights()
    hidden_dim = kernel.shape[1]
    first_hidden = graph.add("Tanh", graph.dense(model.get_layer("first_hidden"), hidden))
    return graph.finish_all(
        {
            "states": (states, ["batch", "time", 2 * hidden_dim]),
            "keys": (graph.add("MatMul", states, kernel), ["batch", "time", hidden_dim]),
            "hidden": (first_hidden, ["batch", hidden_dim]),
            "cell": (graph.dense(model.get_layer("first_cell"), cell), ["batch", hidden_dim]),
        }
    )


def _decoder(model):
    graph = Graph()
    layer, embedding = model.get_layer("lstm"), model.get_layer("target_embedding")
    hidden_dim, real = layer.units, onnx.TensorProto.FLOAT
    vectors = graph.words(embedding)
    states = graph.input("states", real, "batch", "source_time", 2 * hidden_dim)
    keys = graph.input("keys", real, "batch", "source_time", hidden_dim)
    source_mask = graph.input("source_mask", onnx.TensorProto.BOOL, "batch", "source_time")
    first = [graph.input(name, real, "batch", hidden_dim) for name in ("hidden", "cell")]
    lstm = graph.lstm(layer, vectors, first=first)
    query, (hidden, cell) = graph.steps(lstm, layer), graph.last(lstm, layer)

    scores = graph.add("MatMul", query, graph.add("Transpose", keys, perm=[0, 2, 1]))
    scores = graph.add("Where", graph.add("Unsqueeze", source_mask, np.array([1])), scores, MASKED)
    weights = graph.add("Softmax", scores, axis=-1)  # (batch, 1, source_time)
    both = graph.add("Concat", graph.add("MatMul", weights, states), query, axis=2)
    (kernel,) = model.get_layer("attentional").get_weights()
    output = graph.add("Tanh", graph.add("MatMul", both, kernel))
    output = graph.add("Squeeze", output, np.array([1]))  # (batch, embedding_dim)
    embeddings, bias = embedding.get_weights()
    logits = graph.add("Add", graph.add("MatMul", output, embeddings.T), bias)
    return graph.finish_all(
        {
            "logits": (logits, ["batch", len(bias)]),
            "attention": (graph.add("Squeeze", weights, np.array([1])), ["batch", "source_time"]),
            "next_hidden": (hidden, ["batch", hidden_dim]),
            "next_cell": (cell, ["batch", hidden_dim]),
        }
    )
