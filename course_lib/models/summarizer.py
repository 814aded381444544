"""Summarizer: a sentence vector from its words, a BiLSTM over the sentences, one score for each sentence."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from course_lib.errors import UsageError
from course_lib.layers.lstm import FusedLSTM
from course_lib.layers.merging import MaskedConcatenate
from course_lib.layers.pooling import MaskedMeanPooling

# Softmax of a padded sentence is 0; larger numbers overflow in float16.
PADDING_SCORE = -1e4


def build_summarizer(
    word_encoder: keras.Model | None,
    training_features: np.ndarray,
    *,
    hidden_dim: int = 8,
    dropout: float = 0.0,
    l2: float = 0.0,
) -> keras.Model:
    """Scores all sentences of a document, each in the light of the others.

    A sentence's score is linear in its features, its vector and the states of a BiLSTM over the document.

    Args:
        word_encoder: model from (batch, time) to (batch, time, features), as `build_encoder` returns it; the
            mean over a sentence's words is its vector. None leaves the words out.
        training_features: of all training sentences, (num_training_sentences, num_features), as
            `course_lib.summarization.sentence_features` gives them; their mean and variance standardize the
            features.
        hidden_dim: size of the document BiLSTM's hidden state in each direction.
        dropout: share of the BiLSTM's inputs and outputs that training drops.
        l2: weight in the loss of the last layer's squared weights. They start at 0: all sentences are equal.

    Returns:
        Model from `[token_ids, features]` to scores (batch, num_sentences), logits of a softmax over the
        sentences; padded ones get -10,000. token_ids are int32 (batch, num_sentences, time), features float32
        (batch, num_sentences, num_features) and all zeros where a sentence is padding. Without a word encoder
        the model takes the features alone.

    Raises:
        UsageError: the training features are no table, or an empty one.

    Source: after Nallapati, Zhai and Zhou (2017), "SummaRuNNer", section 2.1, but with position and
    salience as given features.
    """
    if np.ndim(training_features) != 2 or 0 in training_features.shape:
        raise UsageError(
            f"The training features have the shape {np.shape(training_features)}; "
            "they need one row for each training sentence and one column for each feature."
        )
    num_features = training_features.shape[1]
    features = keras.Input((None, num_features), name="features")
    is_sentence = ops.any(ops.not_equal(features, 0), axis=-1)  # (batch, num_sentences)
    inputs = features
    # A feature that hardly varies in training must not explode on another text.
    variance = np.maximum(training_features.var(axis=0), 1e-4)
    standardize = keras.layers.Normalization(mean=training_features.mean(axis=0), variance=variance)
    sentences = standardize(features)
    if word_encoder is not None:
        token_ids = keras.Input((None, None), dtype="int32", name="token_ids")
        vectors = SentenceEncoder(word_encoder, name="sentence_encoder")(token_ids)
        sentences = keras.layers.Concatenate(name="sentences")([sentences, vectors])
        inputs = [token_ids, features]
    lstm = FusedLSTM(hidden_dim, return_sequences=True)
    dropped = keras.layers.Dropout(dropout, name="sentence_dropout")(sentences)
    context = keras.layers.Bidirectional(lstm, name="document_bilstm")(dropped, mask=is_sentence)
    context = keras.layers.Dropout(dropout, name="context_dropout")(context)
    both = MaskedConcatenate(name="sentences_in_context")([sentences, context])
    score = keras.layers.Dense(
        1, kernel_initializer="zeros", kernel_regularizer=keras.regularizers.L2(l2), name="score"
    )
    scores = score(both)[..., 0]  # (batch, num_sentences)
    return keras.Model(inputs, ops.where(is_sentence, scores, PADDING_SCORE), name="summarizer")


def rouge_targets(rouge: Sequence[np.ndarray], num_sentences: int, temperature: float) -> np.ndarray:
    """The listwise targets: for each document a softmax of its sentences' ROUGE scores by the temperature.

    With it, `keras.losses.CategoricalCrossentropy(from_logits=True)` of the scores is ListNet's loss.

    Args:
        rouge: for each document the scores of its sentences against the reference, (num_sentences,).
        num_sentences: documents are cut or padded to this length, as `pad_documents` does it.
        temperature: in ROUGE's unit; small ones leave only the best sentence.

    Returns:
        float32 (num_documents, num_sentences); rows sum to 1, padding gets 0.

    Raises:
        UsageError: the temperature is not above 0.

    Source: Cao et al. (2007), "Learning to Rank: From Pairwise Approach to Listwise Approach", section 4.
    """
    if not temperature > 0:
        raise UsageError(f"The temperature is {temperature}; it must be above 0.")
    targets = np.zeros((len(rouge), num_sentences), dtype=np.float32)
    for row, scores in zip(targets, rouge, strict=True):
        scores = np.asarray(scores)[:num_sentences]
        weights = np.exp((scores - scores.max()) / temperature)
        row[: len(scores)] = weights / weights.sum()
    return targets


@keras.saving.register_keras_serializable("course_lib")
class SentenceEncoder(keras.layers.Wrapper):
    """Applies a word encoder to each sentence of each document and takes the mean over the words.

    Call arguments:
        inputs: int32 token ids (batch, num_sentences, time).

    Returns:
        float tensor (batch, num_sentences, features).
    """

    def __init__(self, layer: keras.Model, **kwargs):
        super().__init__(layer, **kwargs)
        self.pooling = MaskedMeanPooling()

    def call(self, inputs, training=None):
        batch, num_sentences, time = ops.shape(inputs)
        token_ids = ops.reshape(inputs, (batch * num_sentences, time))
        states = self.layer(token_ids, training=training)  # (batch * num_sentences, time, features)
        vectors = self.pooling(states, mask=ops.not_equal(token_ids, 0))
        return ops.reshape(vectors, (batch, num_sentences, vectors.shape[-1]))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], self.layer.output_shape[-1])
