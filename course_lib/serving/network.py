"""A trained network without Keras: an ONNX graph and, beside it, the word vectors that it reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from course_lib.compression.quantization import quantize_symmetric


class WordVectors(NamedTuple):
    """Vectors by token id: that of an id is `values[id] * scale`.

    Attributes:
        values: (vocabulary_size, embedding_dim), int8 if compressed.
        scale: float32 (embedding_dim,).
    """

    values: np.ndarray
    scale: np.ndarray

    @classmethod
    def exact(cls, vectors: np.ndarray) -> "WordVectors":
        """The vectors as they are, float32 (vocabulary_size, embedding_dim)."""
        return cls(vectors, np.ones(vectors.shape[1], np.float32))

    @classmethod
    def compress(cls, vectors: np.ndarray, bits: int = 8) -> "WordVectors":
        """The nearest vectors in few bits, each code an int8; each dimension has a scale of its own."""
        quantized = quantize_symmetric(vectors, axis=1, bits=bits)
        return cls(quantized.codes, quantized.scale[0])

    def look_up(self, token_ids: np.ndarray) -> np.ndarray:
        """float32, the shape of the ids and the embedding dimension behind it."""
        return self.values[token_ids] * self.scale

    def save(self, path: Path) -> None:
        """Writes an .npz file."""
        np.savez(path, **self._asdict())

    @classmethod
    def load(cls, path: Path) -> "WordVectors":
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays["values"], arrays["scale"])


class Network:
    """Runs an ONNX graph on the CPU; may be called from several threads at once.

    Each call takes one core, so that several visitors share the machine instead of waiting for one another.

    Args:
        graph: as `to_onnx` of `course_lib.serving.export` and its neighbours make it, in bytes.
        words: the word vectors, if the graph reads words.
    """

    def __init__(self, graph: bytes, words: WordVectors | None = None):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # Texts differ in length: plans and memory that are kept for each shape would only grow.
        options.enable_mem_pattern = options.enable_cpu_mem_arena = False
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._names = [node.name for node in self._session.get_inputs()]
        self._outputs = [node.name for node in self._session.get_outputs()]
        self._words = words

    def __call__(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """The only output (batch, …) for inputs by name, as the Keras model takes them."""
        (output,) = self.run(features).values()
        return output

    def run(self, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs by name, for inputs by name; it may ignore some."""
        feeds = {name: features[name] for name in self._names if name != "word_vectors"}
        if self._words is not None:
            feeds["word_vectors"] = self._words.look_up(features["token_ids"])
        return dict(zip(self._outputs, self._session.run(None, feeds), strict=True))
