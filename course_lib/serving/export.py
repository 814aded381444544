"""Keras models as ONNX graphs for serving, checked against Keras.

The graphs are written down here, layer by layer, with ONNX's own LSTM operator. Keras's `export` turns an
LSTM into a loop of small operators, which takes many times as long and which int8 does not make faster;
`course_lib.compression.quantization.quantize_graph` makes int8 of a graph.

Word vectors stay outside of the graph: the largest part of a model is stored once for both precisions.
"""

import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import keras
import numpy as np
import onnx
from onnx import helper, numpy_helper

from course_lib.errors import CourseError, unknown_name
from course_lib.layers.crf import CRF
from course_lib.layers.pooling import MaskedMaxMeanPooling, MaskedMaxPooling
from course_lib.layers.tokens import CharacterCNN
from course_lib.models.reader import CLOSED_SCORE
from course_lib.models.summarizer import PADDING_SCORE
from course_lib.question_answering import FLAGS, PASSAGE, QUESTION
from course_lib.serving.network import WordVectors

# The scores of a reader's pointers reach tens, and float32 holds seven digits.
TOLERANCE, READER_TOLERANCE = 1e-5, 1e-4
# The score of what attention must not see, whose weight after the softmax is exactly 0.
MASKED = np.float32(-1e9)
# Old enough for every runtime that the app's requirements allow.
_OPSET, _IR_VERSION = 18, 9


def load_model(path: Path) -> keras.Model:
    """Reads a model of this course that a notebook saved.

    Raises:
        CourseError: the file cannot be read, or is no such model.
    """
    try:
        return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0]
        raise CourseError(f"The model {path} cannot be loaded ({reason}): run its notebook again.") from error


def to_onnx(model: keras.Model) -> onnx.ModelProto:
    """The graph of a classifier, tagger, summarizer or span reader that this course's builders made.

    Inputs are the Keras model's and, if it reads words, `word_vectors`, float32 (batch, time, embedding_dim).
    Batch and time are free, padding is masked. Dropout and the CRF, which leaves the logits alone, are not in
    it. The output is `logits`, for a summarizer its scores.

    Args:
        model: as `build_classifier`, `build_tagger`, `build_summarizer` or `build_span_reader` return it.

    Raises:
        UsageError: another kind of model.
        CourseError: a summarizer that reads words; only one of features alone can be exported.
    """
    if model.name not in _HEADS:
        raise unknown_name("model to export", model.name, _HEADS)
    graph = Graph()
    return graph.finish(_HEADS[model.name](graph, model), model.output_shape)


def word_vectors(model: keras.Model) -> np.ndarray | None:
    """The model's word vectors, (vocabulary_size, embedding_dim); None without words."""
    layer = _word_layer(model)
    return None if layer is None else layer.get_weights()[0]


def compress_words(model: keras.Model) -> WordVectors | None:
    """Rounds the model's word vectors to 8 bits, in place, and returns them; None without words."""
    layer = _word_layer(model)
    return None if layer is None else compress_layer(layer)


def compress_layer(layer: keras.layers.Layer) -> WordVectors:
    """Rounds the first weight of an embedding to 8 bits, in place, and returns it."""
    vectors, *others = layer.get_weights()
    words = WordVectors.compress(vectors)
    layer.set_weights([words.look_up(np.arange(len(vectors))), *others])
    return words


def transitions(model: keras.Model) -> np.ndarray | None:
    """The transition scores of a tagger's CRF, (num_tags + 1, num_tags + 1); None without CRF."""
    crf = next((layer for layer in model.layers if isinstance(layer, CRF)), None)
    return None if crf is None else keras.ops.convert_to_numpy(crf.scores())


def check_parity(
    model: keras.Model,
    network: Callable[[Mapping[str, np.ndarray]], np.ndarray],
    batches: Iterable[Mapping[str, np.ndarray]],
    tolerance: float = TOLERANCE,
) -> float:
    """Compares a network with its Keras model: whole batches, and each row alone without its padding.

    Args:
        model: the Keras model.
        network: the same one exported, from inputs by name to outputs.
        batches: inputs by name, (batch, time, …), rows of many lengths padded on the right with zeros.
        tolerance: the largest difference allowed.

    Returns:
        The largest absolute difference of an output that is not at padding.

    Raises:
        CourseError: it is above the tolerance.
    """
    largest = 0.0
    for batch in batches:
        first = batch[model.inputs[0].name]
        with keras.device("cpu"):
            expected = model(dict(batch) if isinstance(model.input, dict) else first)
        expected, found = keras.ops.convert_to_numpy(expected), network(batch)
        # A row ends where all its later steps are padding.
        is_real = np.any(first != 0, axis=tuple(range(2, first.ndim)))
        lengths = is_real.shape[1] - is_real[:, ::-1].argmax(axis=1)
        for row, length in enumerate(lengths):
            alone = network({name: values[row : row + 1, :length] for name, values in batch.items()})[0]
            kept = slice(len(alone))  # of a classifier all its logits, otherwise those of the real steps
            for values in (alone, found[row][kept]):
                # Unlike max(), it lets a NaN through.
                largest = float(np.maximum(largest, np.abs(values - expected[row][kept]).max()))
    return within_tolerance(largest, tolerance)


def within_tolerance(difference: float, tolerance: float = TOLERANCE) -> float:
    """The largest difference of a network to its Keras model.

    Raises:
        CourseError: it is above the tolerance, or not a number.
    """
    if not difference <= tolerance:
        raise CourseError(
            f"The exported network differs from its Keras model by {difference:.1e}, more than "
            f"{tolerance:.0e}; nothing was exported. Was the model built by this version of the course?"
        )
    return difference


class Graph:
    """Collects nodes and weights; each method adds some and returns the name of the result."""

    def __init__(self):
        self.nodes, self.weights, self.inputs = [], [], []

    def add(self, operator, *inputs, **attributes):
        name = f"{operator}_{len(self.nodes)}"
        # What is no name is a weight.
        inputs = [value if isinstance(value, str) else self.weight(value) for value in inputs]
        outputs = [name, f"{name}_last_state", f"{name}_last_cell"] if operator == "LSTM" else [name]
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=name, **attributes))
        return name

    def weight(self, values):
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def input(self, name, element_type, *shape):
        self.inputs.append(helper.make_tensor_value_info(name, element_type, shape))
        return name

    def finish(self, output, shape):
        """The model whose only output is `logits`."""
        shape = [size or name for size, name in zip(shape, ("batch", "time", ""), strict=False)]
        return self.finish_all({"logits": (output, shape)})

    def finish_all(self, outputs):
        """The model of several float outputs: name → (result, shape)."""
        values = []
        for name, (output, shape) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [output], [name], name=name))
            values.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
        graph = helper.make_graph(self.nodes, "network", self.inputs, values, self.weights)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def words(self, layer):
        embedding_dim = layer.get_weights()[0].shape[1]
        return self.input("word_vectors", onnx.TensorProto.FLOAT, "batch", "time", embedding_dim)

    def is_real(self, ids):
        """True where an id is not padding."""
        return self.add("Not", self.add("Equal", ids, np.int32(0)))

    def lengths(self, is_real):
        steps = self.add("Cast", is_real, to=onnx.TensorProto.INT32)
        return self.add("ReduceSum", steps, np.array([1]), keepdims=0)

    def bilstm(self, layer, states, lengths):
        """(batch, time, features) to (batch, time, 2 * hidden_dim); zeros at padding."""
        return self.steps(self.lstm(layer, states, lengths), layer)

    def lstm(self, layer, states, lengths="", first=()):
        """An LSTM's own result; `steps` and `last` make the usual ones of it.

        Args:
            layer: Keras's `LSTM`, or `Bidirectional` of one.
            states: float (batch, time, features).
            lengths: int32 (batch,); "" reads all time steps.
            first: hidden state and cell before the first step, (batch, hidden_dim); without them zeros.
        """
        weights = [np.split(weight, 4, axis=-1) for weight in layer.get_weights()]
        # Keras orders the gates input, forget, cell, output; ONNX input, output, forget, cell.
        weights = [np.concatenate([i, o, f, c], axis=-1).T for i, f, c, o in weights]
        kernels, recurrent_kernels, biases = (np.stack(weights[part::3]) for part in range(3))
        return self.add(
            "LSTM",
            self.add("Transpose", states, perm=[1, 0, 2]),
            kernels,
            recurrent_kernels,
            np.concatenate([biases, np.zeros_like(biases)], axis=1),
            lengths,
            *(self.add("Unsqueeze", state, np.array([0])) for state in first),
            hidden_size=recurrent_kernels.shape[-1],
            direction="bidirectional" if len(kernels) == 2 else "forward",
        )  # (time, num_directions, batch, hidden_dim)

    def steps(self, lstm, layer):
        """The states at every step, (batch, time, num_directions * hidden_dim); zeros at padding."""
        states = self.add("Transpose", lstm, perm=[2, 0, 1, 3])
        return self.add("Reshape", states, np.array([0, 0, _state_dim(layer)]))

    def last(self, lstm, layer):
        """Hidden state and cell behind the last real step, both (batch, num_directions * hidden_dim)."""
        shape = np.array([0, _state_dim(layer)])
        return [
            self.add("Reshape", self.add("Transpose", f"{lstm}_{name}", perm=[1, 0, 2]), shape)
            for name in ("last_state", "last_cell")
        ]

    def dense(self, layer, states):
        kernel, bias = layer.get_weights()
        return self.add("Add", self.add("MatMul", states, kernel), bias)

    def highest(self, values, is_real, axis):
        """The maximum along an axis over what is real; the lowest value where nothing is."""
        lowest = self.add("ReduceMin", values, np.array([axis]), keepdims=1)
        return self.add("ReduceMax", self.add("Where", is_real, values, lowest), np.array([axis]), keepdims=0)

    def characters(self, layer, char_ids):
        """The character CNN: (batch, time, max_chars) to (batch, time, num_filters)."""
        table, kernel, bias = layer.get_weights()  # the kernel is (1, kernel_size, in, out)
        real = self.add("Unsqueeze", self.is_real(char_ids), np.array([3]))
        factors = self.add("Cast", real, to=onnx.TensorProto.FLOAT)
        vectors = self.add("Mul", self.add("Gather", table, char_ids), factors)
        # The convolution runs over (batch * time, embedding_dim, max_chars).
        by_token = self.add("Concat", np.array([-1]), self.add("Shape", vectors, start=2), axis=0)
        rows = self.add("Transpose", self.add("Reshape", vectors, by_token), perm=[0, 2, 1])
        filtered = self.add("Conv", rows, kernel[0].transpose(2, 1, 0), bias, auto_pad="SAME_UPPER")
        filtered = self.add("Transpose", filtered, perm=[0, 2, 1])
        by_text = self.add("Concat", self.add("Shape", char_ids), np.array([len(bias)]), axis=0)
        filtered = self.add("Reshape", filtered, by_text)  # (batch, time, max_chars, num_filters)
        any_real = self.add("ReduceMax", factors, np.array([2]), keepdims=0)
        return self.add("Mul", self.highest(filtered, real, 2), any_real)


def _classifier(graph, model):
    token_ids = graph.input("token_ids", onnx.TensorProto.INT32, "batch", "time")
    is_real = graph.is_real(token_ids)
    lengths = graph.lengths(is_real)
    states = _encoder(graph, model, lengths)
    real = graph.add("Unsqueeze", is_real, np.array([2]))
    pooling, parts = model.get_layer("pooling"), []
    if isinstance(pooling, (MaskedMaxPooling, MaskedMaxMeanPooling)):
        parts.append(graph.highest(states, real, 1))
    if not isinstance(pooling, MaskedMaxPooling):
        # States are zero at padding.
        divisor = graph.add("Cast", lengths, to=onnx.TensorProto.FLOAT)
        divisor = graph.add("Unsqueeze", graph.add("Max", divisor, np.float32(1)), np.array([1]))
        parts.append(graph.add("Div", graph.add("ReduceSum", states, np.array([1]), keepdims=0), divisor))
    return graph.dense(model.get_layer("logits"), graph.add("Concat", *parts, axis=-1))


def _span_reader(graph, model):
    # What is padding shows in the roles as well; the words come as vectors.
    roles = graph.input("roles", onnx.TensorProto.INT32, "batch", "time")
    lengths = graph.lengths(graph.is_real(roles))
    states = _encoder(graph, model, lengths)

    keys = graph.add("Relu", graph.dense(model.get_layer("question_attention").projection, states))
    scores = graph.add("MatMul", keys, graph.add("Transpose", keys, perm=[0, 2, 1]))
    in_question = graph.add("Unsqueeze", graph.add("Equal", roles, np.int32(QUESTION)), np.array([1]))
    weights = graph.add("Softmax", graph.add("Where", in_question, scores, MASKED), axis=-1)
    context = graph.add("MatMul", weights, states)  # (batch, time, features)
    in_passage = graph.add("Unsqueeze", graph.add("GreaterOrEqual", roles, np.int32(PASSAGE)), np.array([2]))
    added = graph.add("Max", graph.add("Sub", roles, np.int32(PASSAGE)), np.int32(0))
    powers = 2 ** np.arange(len(FLAGS), dtype=np.int32)
    flags = graph.add("Div", graph.add("Unsqueeze", added, np.array([2])), powers)
    flags = graph.add("Cast", graph.add("Mod", flags, np.int32(2)), to=onnx.TensorProto.FLOAT)
    fused = [states, context, graph.add("Mul", states, context)]
    fused += [graph.add("Cast", in_passage, to=onnx.TensorProto.FLOAT), flags]
    fused = graph.add("Concat", *fused, axis=2)

    read = graph.bilstm(model.get_layer("reading_bilstm"), fused, lengths)
    logits = graph.dense(model.get_layer("pointers"), graph.add("Concat", fused, read, axis=2))
    # The first position, which stands for "no answer", is open although it is the question's.
    first = graph.add("Slice", logits, np.array([0]), np.array([1]), np.array([1]))
    closed = graph.add("Where", in_passage, logits, np.float32(CLOSED_SCORE))
    others = graph.add("Slice", closed, np.array([1]), np.array([2**31 - 1]), np.array([1]))
    return graph.add("Concat", first, others, axis=1)


def _tagger(graph, model):
    token_ids = graph.input("token_ids", onnx.TensorProto.INT32, "batch", "time")
    lengths = graph.lengths(graph.is_real(token_ids))
    features = [graph.words(_word_layer(model))]
    for layer in model.layers:
        if isinstance(layer, CharacterCNN):
            char_ids = graph.input("char_ids", onnx.TensorProto.INT32, "batch", "time", "max_chars")
            features.append(graph.characters(layer, char_ids))
    if "casing_ids" in model.input:
        casing_ids = graph.input("casing_ids", onnx.TensorProto.INT32, "batch", "time")
        features.append(graph.add("Gather", model.get_layer("casing_embedding").get_weights()[0], casing_ids))
    states = graph.add("Concat", *features, axis=2)
    normalizations = _numbered(model, "normalization")
    for index, layer in enumerate(_numbered(model, "bilstm")):
        states = graph.bilstm(layer, states, lengths)
        if normalizations:
            normalization = normalizations[index]
            weights = normalization.get_weights()
            states = graph.add("LayerNormalization", states, *weights, epsilon=normalization.epsilon)
    return graph.dense(model.get_layer("logits"), states)


def _summarizer(graph, model):
    if len(model.inputs) > 1:
        raise CourseError("A summarizer that reads words cannot be exported; build one of features alone.")
    features = graph.input("features", onnx.TensorProto.FLOAT, "batch", "time", model.inputs[0].shape[-1])
    not_zero = graph.add("Not", graph.add("Equal", features, np.float32(0)))
    not_zero = graph.add("Cast", not_zero, to=onnx.TensorProto.INT32)
    is_real = graph.add("ReduceMax", not_zero, np.array([2]), keepdims=0)
    (scale,) = (layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))
    mean, variance = (keras.ops.convert_to_numpy(part).reshape(-1) for part in (scale.mean, scale.variance))
    sentences = graph.add("Div", graph.add("Sub", features, mean), np.sqrt(variance))
    is_real = graph.add("Cast", is_real, to=onnx.TensorProto.BOOL)
    context = graph.bilstm(model.get_layer("document_bilstm"), sentences, graph.lengths(is_real))
    both = graph.add("Concat", sentences, context, axis=2)
    scores = graph.add("Squeeze", graph.dense(model.get_layer("score"), both), np.array([2]))
    return graph.add("Where", is_real, scores, np.float32(PADDING_SCORE))


_HEADS = {
    "classifier": _classifier,
    "tagger": _tagger,
    "summarizer": _summarizer,
    "span_reader": _span_reader,
}


def _encoder(graph, model, lengths):
    """The states of the model's encoder, (batch, time, 2 * hidden_dim); zeros at padding."""
    states = graph.words(_word_layer(model))
    for layer in _numbered(model.get_layer("encoder"), "bilstm"):
        states = graph.bilstm(layer, states, lengths)
    return states


def _state_dim(layer):
    """Of an LSTM, or of both directions of one."""
    weights = layer.get_weights()
    return len(weights) // 3 * weights[1].shape[0]


def _word_layer(model):
    """The embedding of words, in the model or in its encoder; None without words."""
    layers = [inner for layer in model.layers for inner in getattr(layer, "layers", [layer])]
    return next((layer for layer in layers if layer.name == "token_embedding"), None)


def _numbered(model, name):
    """The layers name_1, name_2 …, in this order."""
    layers = {layer.name: layer for layer in model.layers}
    names = [f"{name}_{number}" for number in range(1, len(layers) + 1)]
    return [layers[numbered] for numbered in names if numbered in layers]
