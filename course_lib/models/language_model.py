"""Language models: LSTMs that read forward and backward over one embedding, also their output layer."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from course_lib.errors import UsageError, unknown_name
from course_lib.layers.lstm import FusedLSTM
from course_lib.models.encoder import build_encoder
from course_lib.text.streams import check_directions

# Steps scored at once: the logits of a window take batch_size * steps * vocabulary_size * 4 bytes.
_SCORED_STEPS = 32


def build_language_model(
    vocabulary_size: int,
    *,
    batch_size: int,
    embedding_dim: int = 128,
    hidden_dim: int = 128,
    directions: Sequence[str] = ("forward",),
    dropout: float = 0.0,
    embedding_matrix: np.ndarray | None = None,
) -> keras.Model:
    """Predicts each token of a stream from those before it (forward) or after it (backward).

    The LSTMs are stateful: they keep their last state for the next window, so the windows of `StreamBatches`
    must come in order, and `ResetStates` starts each epoch afresh. On the JAX backend Keras does not hand a
    stateful layer's state on in `fit` and `predict`: there each window is read from an empty state.

    Args:
        vocabulary_size: number of ids.
        batch_size: rows in each window.
        embedding_dim: size of a token vector.
        hidden_dim: size of the LSTM's state.
        directions: `forward`, `backward` or both; each has its own LSTM, all share the embedding.
        dropout: share of the LSTM's inputs and outputs that training drops, the same at each step of a window
            (Gal & Ghahramani 2016).
        embedding_matrix: start values (vocabulary_size, embedding_dim).

    Returns:
        Model from a dict direction -> int32 (batch_size, time) to a dict direction -> float32
        (batch_size, time, embedding_dim): vectors that `NextToken.logits` compares with the embedding.

    Raises:
        UsageError: an unknown direction, or an embedding matrix of another shape.

    Source: Mikolov et al. 2010; Press & Wolf 2017 (tied output); Peters et al. 2018 (both directions).
    """
    check_directions(directions)
    if embedding_matrix is not None and np.shape(embedding_matrix) != (vocabulary_size, embedding_dim):
        raise UsageError(
            f"The embedding matrix has the shape {np.shape(embedding_matrix)}; {vocabulary_size:,} ids with "
            f"vectors of {embedding_dim} need ({vocabulary_size}, {embedding_dim})."
        )
    embedding = keras.layers.Embedding(
        vocabulary_size,
        embedding_dim,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=0.1),
        name="token_embedding",
    )
    inputs, outputs = {}, {}
    for direction in directions:
        inputs[direction] = keras.Input(batch_shape=(batch_size, None), dtype="int32", name=direction)
        states = embedding(inputs[direction])  # (batch_size, time, embedding_dim)
        if dropout:
            states = keras.layers.SpatialDropout1D(dropout, name=f"{direction}_input_dropout")(states)
        lstm = FusedLSTM(hidden_dim, return_sequences=True, stateful=True, name=f"{direction}_lstm")
        states = lstm(states)  # (batch_size, time, hidden_dim)
        if dropout:
            states = keras.layers.SpatialDropout1D(dropout, name=f"{direction}_output_dropout")(states)
        outputs[direction] = NextToken(vocabulary_size, embedding_dim, name=f"{direction}_next")(states)
    if embedding_matrix is not None:
        embedding.set_weights([embedding_matrix])
    return keras.Model(inputs, outputs, name="language_model")


@keras.saving.register_keras_serializable("course_lib")
class NextToken(keras.layers.Layer):
    """Projects states (batch, time, hidden_dim) to vectors (batch, time, embedding_dim); holds the bias.

    The logit of a token is the dot product of the vector with the token's own embedding, plus its bias.

    Args:
        vocabulary_size: number of ids.
        embedding_dim: size of a token vector.

    Source: Press & Wolf 2017, "Using the Output Embedding to Improve Language Models".
    """

    def __init__(self, vocabulary_size: int, embedding_dim: int, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = embedding_dim
        self.projection = keras.layers.Dense(embedding_dim, name="projection")
        # Its state is among the model's variables, so that a resumed run draws the same tokens.
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, input_shape):
        self.projection.build(input_shape)
        self.bias = self.add_weight(shape=(self.vocabulary_size,), initializer="zeros", name="bias")

    def call(self, states):
        return self.projection(states)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.embedding_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "embedding_dim": self.embedding_dim,
        }

    def logits(self, vectors, embeddings):
        """Scores (..., vocabulary_size) of all tokens for vectors (..., embedding_dim)."""
        return ops.matmul(vectors, ops.transpose(embeddings)) + self.bias

    def draw(self, num_samples: int):
        """Ids int32 (num_samples,), drawn with replacement with `log_uniform_probability`."""
        uniform = keras.random.uniform((num_samples,), seed=self.seed_generator)
        ids = ops.cast(ops.exp(uniform * np.log(self.vocabulary_size + 1)), "int32") - 1
        return ops.clip(ids, 0, self.vocabulary_size - 1)


def log_uniform_probability(ids, vocabulary_size: int):
    """The chance of each id when ids fall off as in Zipf's law: log((id + 2) / (id + 1)) / log(size + 1)."""
    ids = ops.cast(ids, "float32")
    return ops.log((ids + 2) / (ids + 1)) / np.log(vocabulary_size + 1).astype("float32")


class FullSoftmaxLoss(keras.losses.Loss):
    """Cross-entropy over the whole vocabulary, in nats per token; its cost grows with the vocabulary."""

    def __init__(self, model: keras.Model, direction: str):
        super().__init__(name="full_softmax")
        self._embedding = model.get_layer("token_embedding")
        self._output = model.get_layer(f"{direction}_next")

    def call(self, targets, vectors):
        logits = self._output.logits(vectors, ops.convert_to_tensor(self._embedding.embeddings))
        return keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)


class SampledSoftmaxLoss(keras.losses.Loss):
    """Cross-entropy whose sum over the vocabulary is estimated from a few drawn tokens.

    A drawn token stands for all that were not drawn, so its share is divided by how often it is expected in
    the draw; the target counts once by itself and is left out where it was drawn. The estimated sum is then
    unbiased. All positions of a window share the draw.
    Ids must be ordered by frequency, most frequent first, as `Vocabulary.build` orders them.

    Args:
        model: as `build_language_model` returns it.
        direction: whose output.
        num_samples: tokens drawn for each window.

    Source: Bengio & Senécal 2008, importance sampling of the partition function.
    """

    def __init__(self, model: keras.Model, direction: str, num_samples: int):
        super().__init__(name="sampled_softmax")
        self._embedding = model.get_layer("token_embedding")
        self._output = model.get_layer(f"{direction}_next")
        self._num_samples = num_samples

    def call(self, targets, vectors):
        targets = ops.cast(targets, "int32")  # Keras casts them to the type of the vectors
        embeddings, bias = ops.convert_to_tensor(self._embedding.embeddings), self._output.bias
        size = self._output.vocabulary_size
        drawn = self._output.draw(self._num_samples)  # (num_samples,)
        target_logits = ops.sum(vectors * ops.take(embeddings, targets, axis=0), axis=-1)
        target_logits += ops.take(bias, targets)  # (batch, time)
        logits = ops.matmul(vectors, ops.transpose(ops.take(embeddings, drawn, axis=0)))
        expected = self._num_samples * log_uniform_probability(drawn, size)
        logits += ops.take(bias, drawn) - ops.log(expected)  # (batch, time, num_samples)
        logits = ops.where(ops.expand_dims(targets, -1) == drawn, -1e9, logits)
        logits = ops.concatenate([ops.expand_dims(target_logits, -1), logits], axis=-1)
        return ops.logsumexp(logits, axis=-1) - target_logits


class ResetStates(keras.callbacks.Callback):
    """Clears what the stateful layers remember before each epoch and before each validation."""

    def on_epoch_begin(self, epoch, logs=None):
        reset_states(self.model)

    def on_test_begin(self, logs=None):
        reset_states(self.model)


def reset_states(model: keras.Model) -> None:
    """Clears what the stateful layers of a model remember."""
    for layer in model.layers:
        if getattr(layer, "stateful", False):
            layer.reset_state()


def encoder_from_language_model(model: keras.Model) -> keras.Model:
    """The bidirectional encoder whose embedding and LSTMs are those of a trained language model.

    Args:
        model: as `build_language_model` returns it, with both directions.

    Returns:
        A model as `build_encoder` returns it, with the layers `token_embedding` and `bilstm_1`.

    Raises:
        UsageError: the language model has only one direction.
    """
    if set(model.output) != {"forward", "backward"}:
        raise UsageError(
            f"The encoder reads both directions, but this language model has only {', '.join(model.output)}."
        )
    embedding = model.get_layer("token_embedding")
    forward, backward = model.get_layer("forward_lstm"), model.get_layer("backward_lstm")
    encoder = build_encoder(embedding.input_dim, embedding_dim=embedding.output_dim, hidden_dim=forward.units)
    encoder.get_layer("token_embedding").set_weights(embedding.get_weights())
    encoder.get_layer("bilstm_1").set_weights([*forward.get_weights(), *backward.get_weights()])
    return encoder


def log_probabilities(model: keras.Model, ids: np.ndarray, direction: str = "forward") -> np.ndarray:
    """The model's log-probability of each token of a stream given those before it, in nats.

    The stream is read in as many rows as the model's batch has, each from an empty state: with B rows, B
    tokens are predicted from one token alone, so the figure is a little too pessimistic.

    Args:
        model: as `build_language_model` returns it.
        ids: the stream, int (num_tokens,).
        direction: `forward`, or `backward` for the token given those after it.

    Returns:
        float64 (num_tokens - 1,) in reading order of that direction: the first token has nothing before it.

    Raises:
        UsageError: a direction that the model does not have.
    """
    if direction not in model.input:
        raise unknown_name("direction of this model", direction, model.input)
    batch_size = model.input[direction].shape[0]
    stream = np.asarray(ids if direction == "forward" else ids[::-1], dtype=np.int32)
    row_length = -(-(len(stream) - 1) // batch_size)
    padded = np.zeros(batch_size * row_length + 1, dtype=np.int32)
    padded[: len(stream)] = stream
    inputs = padded[:-1].reshape(batch_size, row_length)
    targets = padded[1:].reshape(batch_size, row_length)
    # The other direction's input has no influence on this one.
    others = {name: np.zeros((batch_size, 1), dtype=np.int32) for name in model.input if name != direction}
    embedding, output = model.get_layer("token_embedding"), model.get_layer(f"{direction}_next")
    reset_states(model)
    scores = np.empty((batch_size, row_length))
    for start in range(0, row_length, _SCORED_STEPS):
        window = slice(start, start + _SCORED_STEPS)
        vectors = model.predict_on_batch({direction: inputs[:, window], **others})[direction]
        # Read anew each time: on the JAX backend a prediction takes the old array away.
        logits = output.logits(vectors, ops.convert_to_tensor(embedding.embeddings))
        chosen = ops.take_along_axis(logits, targets[:, window, None], axis=-1)[..., 0]
        scores[:, window] = ops.convert_to_numpy(chosen - ops.logsumexp(logits, axis=-1))
    return scores.reshape(-1)[: len(stream) - 1]


def perplexity(log_probabilities: np.ndarray) -> float:
    """exp of the mean negative log-probability: the size of a uniform choice that is as hard to guess."""
    return float(np.exp(-np.mean(log_probabilities)))
