"""Translation: a BiLSTM encoder, an LSTM decoder, and Luong attention between them."""

import keras
import numpy as np
from keras import ops

from course_lib.errors import UsageError
from course_lib.layers.attention import LuongAttention
from course_lib.layers.lstm import FusedLSTM
from course_lib.text.subwords import START_ID
from course_lib.text.vocabulary import PAD_ID, UNKNOWN_ID
from course_lib.translation import SearchNetwork


def build_translator(
    source_vocabulary_size: int,
    target_vocabulary_size: int,
    *,
    embedding_dim: int = 192,
    hidden_dim: int = 256,
    dropout: float = 0.0,
) -> keras.Model:
    """Source ids and the target so far in, logits of the next target token out, at every position at once.

    The attention stands *after* the decoder's LSTM. The LSTM then depends on the given target tokens alone,
    and training runs it over the whole target in one call (teacher forcing); with attention before it
    (Bahdanau et al. 2015), each step would have to wait for the context of the last one.

    Args:
        source_vocabulary_size, target_vocabulary_size: number of ids, the special ones included.
        embedding_dim: size of a token vector on both sides; the target's vectors are also the output layer.
        hidden_dim: size of the hidden state of the decoder and of each direction of the encoder.
        dropout: share of the embedding dimensions, the same at each time step of a text, and of the output
            vector that training drops.

    Returns:
        Model from a dict of int32 `source_ids` (batch, source_time) and `target_ids` (batch, target_time),
        beginning with the start token, to float32 logits (batch, target_time, target_vocabulary_size). Id 0
        is padding. It holds two models by name, and `search_network` runs them step by step:
        `encoder`, from source ids to a dict of `states` (batch, source_time, 2 * hidden_dim), `keys` (batch,
        source_time, hidden_dim), `source_mask` bool (batch, source_time), and `hidden` and `cell` (batch,
        hidden_dim), the decoder's first state; and
        `decoder`, from a dict of all these and `target_ids` to a dict of `logits`, `attention` (batch,
        target_time, source_time), `hidden` and `cell`, the state after the last of these tokens.

    Raises:
        UsageError: a size below 1, or a dropout outside of 0 to 1.

    Source: Luong, Pham and Manning 2015, section 3; Sutskever, Vinyals and Le 2014 for encoder and decoder;
    Press and Wolf 2017 for the tied output layer.
    """
    if min(source_vocabulary_size, target_vocabulary_size, embedding_dim, hidden_dim) < 1:
        raise UsageError("A translator's vocabulary sizes, embedding_dim and hidden_dim must be 1 or more.")
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout is {dropout}; it must be at least 0 and below 1.")
    encoder = _encoder(source_vocabulary_size, embedding_dim, hidden_dim, dropout)
    decoder = _decoder(target_vocabulary_size, embedding_dim, hidden_dim, dropout)
    source_ids = keras.Input((None,), dtype="int32", name="source_ids")
    target_ids = keras.Input((None,), dtype="int32", name="target_ids")
    logits = decoder({**encoder(source_ids), "target_ids": target_ids})["logits"]
    return keras.Model({"source_ids": source_ids, "target_ids": target_ids}, logits, name="translator")


def _encoder(vocabulary_size, embedding_dim, hidden_dim, dropout):
    source_ids = keras.Input((None,), dtype="int32", name="source_ids")
    embedding = keras.layers.Embedding(
        vocabulary_size,
        embedding_dim,
        mask_zero=True,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=0.1),
        name="source_embedding",
    )
    vectors = embedding(source_ids)  # (batch, source_time, embedding_dim)
    if dropout:
        vectors = keras.layers.SpatialDropout1D(dropout, name="source_dropout")(vectors)
    lstm = FusedLSTM(hidden_dim, return_sequences=True, return_state=True)
    bilstm = keras.layers.Bidirectional(lstm, name="bilstm")
    # states (batch, source_time, 2 * hidden_dim); the four others (batch, hidden_dim)
    states, forward_hidden, forward_cell, backward_hidden, backward_cell = bilstm(vectors)
    last_hidden = keras.layers.Concatenate(name="last_hidden")([forward_hidden, backward_hidden])
    last_cell = keras.layers.Concatenate(name="last_cell")([forward_cell, backward_cell])
    outputs = {
        "states": states,
        "keys": keras.layers.Dense(hidden_dim, use_bias=False, name="keys")(states),
        "source_mask": ops.not_equal(source_ids, PAD_ID),
        "hidden": keras.layers.Dense(hidden_dim, activation="tanh", name="first_hidden")(last_hidden),
        "cell": keras.layers.Dense(hidden_dim, name="first_cell")(last_cell),
    }
    return keras.Model(source_ids, outputs, name="encoder")


def _decoder(vocabulary_size, embedding_dim, hidden_dim, dropout):
    inputs = {
        "target_ids": keras.Input((None,), dtype="int32", name="target_ids"),
        "states": keras.Input((None, 2 * hidden_dim), name="states"),
        "keys": keras.Input((None, hidden_dim), name="keys"),
        "source_mask": keras.Input((None,), dtype="bool", name="source_mask"),
        "hidden": keras.Input((hidden_dim,), name="hidden"),
        "cell": keras.Input((hidden_dim,), name="cell"),
    }
    embedding = TiedEmbedding(vocabulary_size, embedding_dim, name="target_embedding")
    vectors = embedding(inputs["target_ids"])  # (batch, target_time, embedding_dim)
    if dropout:
        vectors = keras.layers.SpatialDropout1D(dropout, name="target_dropout")(vectors)
    # Padding stands on the right: no earlier step sees it, so that the decoder needs no mask.
    lstm = FusedLSTM(hidden_dim, return_sequences=True, return_state=True, name="lstm")
    queries, hidden, cell = lstm(vectors, initial_state=[inputs["hidden"], inputs["cell"]])
    context, weights = LuongAttention(name="attention")(
        queries, inputs["keys"], inputs["states"], source_mask=inputs["source_mask"]
    )
    both = keras.layers.Concatenate(name="context_and_query")([context, queries])
    # (batch, target_time, embedding_dim): Luong's attentional vector, in the size of a token vector
    output = keras.layers.Dense(embedding_dim, activation="tanh", use_bias=False, name="attentional")(both)
    if dropout:
        output = keras.layers.Dropout(dropout, name="output_dropout")(output)
    outputs = {
        "logits": embedding(output, reverse=True),
        "attention": weights,
        "hidden": hidden,
        "cell": cell,
    }
    return keras.Model(inputs, outputs, name="decoder")


@keras.saving.register_keras_serializable("course_lib")
class TiedEmbedding(keras.layers.Layer):
    """An embedding that is also the output layer: called with `reverse=True`, vectors become logits.

    The logit of a token is the dot product of the vector with the token's own embedding, plus its bias.

    Args:
        vocabulary_size: number of ids.
        embedding_dim: size of a token vector.

    Call arguments:
        inputs: int (batch, time), or with `reverse` float (batch, time, embedding_dim).

    Returns:
        float (batch, time, embedding_dim), or with `reverse` (batch, time, vocabulary_size).

    Source: Press and Wolf 2017, "Using the Output Embedding to Improve Language Models".
    """

    def __init__(self, vocabulary_size: int, embedding_dim: int, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = embedding_dim

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            shape=(self.vocabulary_size, self.embedding_dim),
            initializer=keras.initializers.RandomNormal(stddev=0.1),
            name="embeddings",
        )
        self.bias = self.add_weight(shape=(self.vocabulary_size,), initializer="zeros", name="bias")

    def call(self, inputs, reverse=False):
        embeddings = ops.convert_to_tensor(self.embeddings)
        if not reverse:
            return ops.take(embeddings, inputs, axis=0)
        return ops.matmul(inputs, ops.transpose(embeddings)) + self.bias

    def compute_output_spec(self, inputs, reverse=False):
        last_dim = self.vocabulary_size if reverse else self.embedding_dim
        return keras.KerasTensor((*inputs.shape[:2], last_dim), self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "embedding_dim": self.embedding_dim,
        }


@keras.saving.register_keras_serializable("course_lib")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy in nats per token, against targets that leave a little probability to every token.

    The target distribution gives 1 - smoothing to the right token and spreads the rest evenly over all of
    them. Padding (label 0) does not count: the mean over a batch is that over its real tokens.

    Args:
        smoothing: what is spread, between 0 and 1; 0 is plain cross-entropy.

    Call arguments:
        y_true: int (batch, time).
        y_pred: logits, float (batch, time, vocabulary_size).

    Raises:
        UsageError: the smoothing is not at least 0 and below 1.

    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", section 7.
    """

    def __init__(self, smoothing: float = 0.0, name: str = "smoothed_cross_entropy", **kwargs):
        super().__init__(name=name, **kwargs)
        if not 0 <= smoothing < 1:
            raise UsageError(f"smoothing is {smoothing}; it must be at least 0 and below 1.")
        self.smoothing = smoothing

    def call(self, y_true, y_pred):
        labels = ops.cast(y_true, "int32")  # Keras casts them to the type of the logits
        real = ops.cast(labels != PAD_ID, y_pred.dtype)
        right = ops.take_along_axis(y_pred, ops.expand_dims(labels, -1), axis=-1)[..., 0]
        expected = (1 - self.smoothing) * right + self.smoothing * ops.mean(y_pred, axis=-1)
        losses = (ops.logsumexp(y_pred, axis=-1) - expected) * real
        # Keras divides the sum by the number of all positions, padding included.
        return losses * ops.cast(ops.size(real), real.dtype) / ops.maximum(ops.sum(real), 1.0)

    def get_config(self):
        return {**super().get_config(), "smoothing": self.smoothing}


def search_network(model: keras.Model) -> SearchNetwork:
    """The two halves of a translator as functions of NumPy arrays, for greedy and beam search.

    Args:
        model: as `build_translator` returns it.
    """
    encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")

    def encode(source_ids: np.ndarray) -> tuple[dict, dict]:
        outputs = encoder.predict_on_batch(source_ids)
        state = {name: outputs.pop(name) for name in ("hidden", "cell")}
        return outputs, state

    def step(token_ids: np.ndarray, memory: dict, state: dict) -> tuple[np.ndarray, np.ndarray, dict]:
        outputs = decoder.predict_on_batch({"target_ids": token_ids[:, None], **memory, **state})
        state = {name: outputs[name] for name in state}
        return outputs["logits"][:, 0], outputs["attention"][:, 0], state

    # Two calls that differ in every free dimension leave it open; else many shapes are compiled.
    for size in (1, 2):
        memory, state = encode(np.full((size, size), UNKNOWN_ID, dtype=np.int32))
        step(np.full(size, START_ID, dtype=np.int32), memory, state)
    return SearchNetwork(encode, step)
