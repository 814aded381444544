"""A classifier over MiniLM as an ONNX graph, float32, to compare its speed and size with smaller models."""

import math

import keras
import numpy as np
import onnx
from keras_hub.layers import TransformerEncoder
from keras_hub.models import BertBackbone

from course_lib.errors import UsageError
from course_lib.layers.pooling import MaskedMeanPooling
from course_lib.serving.export import MASKED, Graph


def minilm_to_onnx(model: keras.Model) -> onnx.ModelProto:
    """The graph of a classifier that pools the mean of MiniLM's states.

    The input is `token_ids`, int32 (batch, time), as `minilm_ids` makes them, padded on the right with 0; the
    output is `logits`. Word-piece vectors are in the graph. Batch and time are free; dropout is not in it.

    Args:
        model: `build_classifier(build_minilm_encoder(), ..., pooling="mean")`.

    Raises:
        UsageError: another kind of model.

    Source: Vaswani et al. 2017, section 3, in the order of Devlin et al. 2019: normalization comes last.
    """
    backbone = _backbone(model)
    graph = Graph()
    token_ids = graph.input("token_ids", onnx.TensorProto.INT32, "batch", "time")
    is_real = graph.is_real(token_ids)
    real = graph.add("Cast", is_real, to=onnx.TensorProto.FLOAT)  # (batch, time)
    padding = graph.add("Mul", graph.add("Sub", np.float32(1), real), MASKED)
    mask = graph.add("Unsqueeze", padding, np.array([1, 2]))  # (batch, 1, 1, time): over heads and queries
    states = _embeddings(graph, backbone, token_ids)
    for layer in backbone.transformer_layers:
        states = _transformer_layer(graph, layer, states, mask)
    weights = graph.add("Unsqueeze", real, np.array([2]))
    total = graph.add("ReduceSum", graph.add("Mul", states, weights), np.array([1]), keepdims=0)
    num_real = graph.add("Max", graph.add("ReduceSum", real, np.array([1]), keepdims=1), np.float32(1))
    pooled = graph.add("Div", total, num_real)  # (batch, hidden_dim)
    return graph.finish(graph.dense(model.get_layer("logits"), pooled), model.output_shape)


def _backbone(model):
    encoder = next((layer for layer in model.layers if layer.name == "minilm"), None)
    pooled = [layer for layer in model.layers if isinstance(layer, MaskedMeanPooling)]
    if encoder is None or not pooled:
        raise UsageError(
            f"The model {model.name!r} is no classifier that pools the mean of MiniLM's states: export "
            "others with course_lib.serving.export.to_onnx."
        )
    return next(layer for layer in encoder.layers if isinstance(layer, BertBackbone))


def _embeddings(graph, backbone, token_ids):
    """Vectors of the word piece, its position and the first segment, added up and normalized."""
    words, positions, segments = (
        keras.ops.convert_to_numpy(backbone.get_layer(f"{name}_embedding").weights[0])
        for name in ("token", "position", "segment")
    )
    length = graph.add("Shape", token_ids, start=1, end=2)
    places = graph.add("Slice", positions + segments[0], np.array([0]), length, np.array([0]))
    states = graph.add("Add", graph.add("Gather", words, token_ids), places)
    return _normalize(graph, backbone.get_layer("embeddings_layer_norm"), states)


def _transformer_layer(graph, layer: TransformerEncoder, states, mask):
    """Self-attention, then two dense layers; each is added to its input and normalized."""
    attended = _attention(graph, layer._self_attention_layer, states, mask)
    states = _normalize(graph, layer._self_attention_layer_norm, graph.add("Add", states, attended))
    wide = _gelu(graph, graph.dense(layer._feedforward_intermediate_dense, states))
    narrow = graph.dense(layer._feedforward_output_dense, wide)
    return _normalize(graph, layer._feedforward_layer_norm, graph.add("Add", states, narrow))


def _attention(graph, layer, states, mask):
    """Scaled dot-product attention of several heads, (batch, time, hidden_dim) to the same."""
    # Kernels (hidden_dim, num_heads, key_dim) and (num_heads, key_dim, hidden_dim).
    query, query_bias, key, key_bias, value, value_bias, output, output_bias = layer.get_weights()
    hidden_dim, num_heads, key_dim = query.shape

    def project(kernel, bias, order):
        flat = graph.add("MatMul", states, kernel.reshape(hidden_dim, -1))
        heads = graph.add("Add", flat, bias.reshape(-1))
        heads = graph.add("Reshape", heads, np.array([0, 0, num_heads, key_dim]))
        return graph.add("Transpose", heads, perm=order)

    scale = np.float32(1 / math.sqrt(key_dim))
    queries = project(query * scale, query_bias * scale, [0, 2, 1, 3])  # (batch, num_heads, time, key_dim)
    keys = project(key, key_bias, [0, 2, 3, 1])  # (batch, num_heads, key_dim, time)
    values = project(value, value_bias, [0, 2, 1, 3])
    scores = graph.add("Add", graph.add("MatMul", queries, keys), mask)
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), values)
    mixed = graph.add("Transpose", mixed, perm=[0, 2, 1, 3])
    mixed = graph.add("Reshape", mixed, np.array([0, 0, num_heads * key_dim]))
    return graph.add("Add", graph.add("MatMul", mixed, output.reshape(-1, hidden_dim)), output_bias)


def _normalize(graph, layer, states):
    return graph.add("LayerNormalization", states, *layer.get_weights(), epsilon=layer.epsilon)


def _gelu(graph, values):
    """The approximation by tanh that BERT's implementations use (Hendrycks & Gimpel 2016)."""
    cubes = graph.add("Mul", graph.add("Pow", values, np.float32(3)), np.float32(0.044715))
    inner = graph.add("Mul", graph.add("Add", values, cubes), np.float32(math.sqrt(2 / math.pi)))
    outer = graph.add("Add", graph.add("Tanh", inner), np.float32(1))
    return graph.add("Mul", graph.add("Mul", values, np.float32(0.5)), outer)
