"""Readers: attention from a passage to its question, then two pointers to an answer or yes and no."""

import keras
import numpy as np
from keras import ops

from course_lib.errors import UsageError
from course_lib.layers.attention import LuongAttention
from course_lib.layers.lstm import FusedLSTM
from course_lib.layers.merging import MaskedConcatenate
from course_lib.layers.pooling import MaskedMaxMeanPooling
from course_lib.question_answering import FLAGS, NO_ANSWER, PASSAGE, QUESTION, Network
from course_lib.text.vocabulary import PAD_ID, UNKNOWN_ID

# Closes a position to a pointer: float16 still holds it, and exp() of it is 0.
CLOSED_SCORE = -3e4


def build_span_reader(
    encoder: keras.Model, *, attention_dim: int = 64, hidden_dim: int = 64, dropout: float = 0.0
) -> keras.Model:
    """Scores each token of a passage as start and as end of the answer to a question.

    The encoder reads question and passage as one sequence; then every token looks at the question
    (`QuestionAttention`), and a BiLSTM reads the result.

    Args:
        encoder: model from (batch, time) to (batch, time, features), as `build_encoder` returns it.
        attention_dim: size of the vectors whose dot products are the attention's scores.
        hidden_dim: size of the hidden state of the second BiLSTM in each direction.
        dropout: share of the features that training drops before the BiLSTM and before the pointers, the
            same ones at each time step of a text.

    Returns:
        Model from a dict of int32 `token_ids` and `roles` (batch, time), as `join_pair` makes them, 0 for
        padding, to logits (batch, time, 2): the softmax over time of the first is the distribution of the
        start, of the second that of the end. Position `NO_ANSWER` stands for an unanswerable question; the
        question's other tokens and padding are closed. The layer `question_attention` also returns the
        attention's weights, for a look at them.

    Raises:
        UsageError: a size below 1, or a dropout outside of 0 to 1.

    Source: Chen et al. 2017, "Reading Wikipedia to Answer Open-Domain Questions", section 3.2, for aligned
    question embedding, exact match and pointers; Devlin et al. 2019, section 4.3, for the null position.
    """
    inputs, fused, states = _read(encoder, attention_dim, hidden_dim, dropout)
    both = MaskedConcatenate(name="fused_and_states")([fused, states])
    logits = keras.layers.Dense(2, name="pointers")(both)  # (batch, time, 2)
    logits = ClosedPositions(name="closed_positions")([logits, inputs["roles"]])
    return keras.Model(inputs, logits, name="span_reader")


def build_yes_no_reader(
    encoder: keras.Model, *, attention_dim: int = 64, hidden_dim: int = 64, dropout: float = 0.0
) -> keras.Model:
    """Answers a question on a passage with yes (1) or no (0).

    The same network as `build_span_reader` up to its second BiLSTM; then maximum and mean of the passage's
    states and one dense layer.

    Args and errors as in `build_span_reader`.

    Returns:
        Model from the same inputs to logits (batch, 2).

    Source: Clark et al. 2019, "BoolQ", section 5, for a recurrent reader with attention.
    """
    inputs, _, states = _read(encoder, attention_dim, hidden_dim, dropout)
    in_passage = inputs["roles"] >= PASSAGE
    pooled = MaskedMaxMeanPooling(name="pooling")(states, mask=in_passage)  # (batch, 4 * hidden_dim)
    if dropout:
        pooled = keras.layers.Dropout(dropout, name="head_dropout")(pooled)
    logits = keras.layers.Dense(2, name="logits")(pooled)
    return keras.Model(inputs, logits, name="yes_no_reader")


def _read(encoder, attention_dim, hidden_dim, dropout):
    if min(attention_dim, hidden_dim) < 1:
        raise UsageError(
            f"attention_dim is {attention_dim} and hidden_dim {hidden_dim}; both must be 1 or more."
        )
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout is {dropout}; it must be at least 0 and below 1.")
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    roles = keras.Input((None,), dtype="int32", name="roles")
    states = encoder(token_ids)  # (batch, time, features)
    attention = QuestionAttention(attention_dim, name="question_attention")
    fused, _ = attention([states, roles])  # (batch, time, 3 * features + 7)
    if dropout:
        fused = keras.layers.SpatialDropout1D(dropout, name="fused_dropout")(fused)
    lstm = FusedLSTM(hidden_dim, return_sequences=True)
    states = keras.layers.Bidirectional(lstm, name="reading_bilstm")(fused)  # (batch, time, 2 * hidden_dim)
    if dropout:
        states = keras.layers.SpatialDropout1D(dropout, name="state_dropout")(states)
    return {"token_ids": token_ids, "roles": roles}, fused, states


@keras.saving.register_keras_serializable("course_lib")
class QuestionAttention(keras.layers.Layer):
    """Each token looks at the question: what is there like me, and am I one of its words?

    With s_t the state of token t, its query and its key are relu(W s_t + b), and its context c_t is the mean
    of the question's states, weighted by the softmax of the dot products of query and keys. The result is
    s_t, c_t and their elementwise product side by side, then seven features, 1 or 0: this is the passage, and
    the six `FLAGS` that its role holds.

    Args:
        attention_dim: size of queries and keys.

    Call arguments:
        inputs: states float (batch, time, features) and roles int (batch, time).

    Returns:
        float (batch, time, 3 * features + 7), masked at padding, and the weights, float (batch, time, time):
        rows sum to one, and only tokens of the question have any.

    Source: Chen et al. 2017, section 3.2, aligned question embedding (f_align), exact match and features.
    """

    def __init__(self, attention_dim: int, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.attention_dim = attention_dim
        self.projection = keras.layers.Dense(attention_dim, activation="relu")
        self.attention = LuongAttention()

    def build(self, input_shape):
        self.projection.build(input_shape[0])

    def call(self, inputs):
        states, roles = inputs
        keys = self.projection(states)  # (batch, time, attention_dim)
        context, weights = self.attention(keys, keys, states, source_mask=ops.equal(roles, QUESTION))
        in_passage = roles >= PASSAGE
        added = ops.where(in_passage, roles - PASSAGE, 0)
        flags = [ops.equal(added // 2**i % 2, 1) for i in range(len(FLAGS))]
        features = ops.cast(ops.stack([in_passage, *flags], axis=2), states.dtype)  # (batch, time, 7)
        fused = [states, context, states * context, features]
        return ops.concatenate(fused, axis=-1), weights

    def compute_mask(self, inputs, previous_mask=None):
        return ops.not_equal(inputs[1], PAD_ID), None

    def compute_output_spec(self, inputs):
        states, roles = inputs
        return (
            keras.KerasTensor((*states.shape[:2], 3 * states.shape[2] + 1 + len(FLAGS)), self.compute_dtype),
            keras.KerasTensor((*roles.shape, roles.shape[1]), self.compute_dtype),
        )

    def get_config(self):
        return {**super().get_config(), "attention_dim": self.attention_dim}


@keras.saving.register_keras_serializable("course_lib")
class ClosedPositions(keras.layers.Layer):
    """Lets pointers stand on the passage and on `NO_ANSWER` only: any other logit becomes too low to count.

    Call arguments:
        inputs: logits float (batch, time, 2) and roles int (batch, time).

    Returns:
        float (batch, time, 2), without a mask: the softmax goes over time and needs none any more.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        logits, roles = inputs
        positions = ops.cumsum(ops.ones_like(roles), axis=1) - 1
        is_open = ops.logical_or(roles >= PASSAGE, ops.equal(positions, NO_ANSWER))
        return ops.where(ops.expand_dims(is_open, -1), logits, ops.cast(CLOSED_SCORE, logits.dtype))

    def compute_mask(self, inputs, previous_mask=None):
        return None

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@keras.saving.register_keras_serializable("course_lib")
class SpanLoss(keras.losses.Loss):
    """Mean cross-entropy of the start and the end pointer over all positions, in nats.

    Call arguments:
        y_true: int (batch, 2), the positions of first and last token, as `label_window` gives them.
        y_pred: logits (batch, time, 2), as `build_span_reader` returns them.
    """

    def __init__(self, name: str = "span_loss", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        positions = ops.cast(y_true, "int32")[:, None, :]  # (batch, 1, 2); Keras casts labels to float
        right = ops.take_along_axis(y_pred, positions, axis=1)[:, 0]  # (batch, 2)
        return ops.mean(ops.logsumexp(y_pred, axis=1) - right, axis=-1)


def reading_network(model: keras.Model) -> Network:
    """A reader as a function of NumPy arrays, for `find_answer` or `answer_yes_no`.

    Args:
        model: as `build_span_reader` or `build_yes_no_reader` returns it.
    """

    def network(token_ids: np.ndarray, roles: np.ndarray) -> np.ndarray:
        return model.predict_on_batch({"token_ids": token_ids, "roles": roles})

    # Two calls that differ in every dimension leave both open; else many shapes are compiled.
    for size in (1, 2):
        ones = np.ones((size, size + 1), dtype=np.int32)
        network(ones * UNKNOWN_ID, ones * PASSAGE)
    return network
