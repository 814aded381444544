"""Tagging head: features of each token, BiLSTM, one logit per tag, with or without a CRF on top."""

from collections.abc import Sequence

import keras
import numpy as np

from course_lib.errors import UsageError, unknown_name
from course_lib.layers.crf import CRF
from course_lib.layers.lstm import FusedLSTM
from course_lib.layers.merging import MaskedConcatenate
from course_lib.layers.tokens import CharacterCNN, WordDropout
from course_lib.text.features import CASING_VOCABULARY

OUTPUTS = ("softmax", "crf")
CASING_DIM = 10


def build_tagger(
    vocabulary_size: int,
    num_tags: int,
    *,
    output: str = "softmax",
    embedding_dim: int = 50,
    embedding_matrix: np.ndarray | None = None,
    trainable_embeddings: bool = True,
    hidden_dim: int = 100,
    num_layers: int = 1,
    num_characters: int | None = None,
    num_char_filters: int = 30,
    casing: bool = False,
    allowed: np.ndarray | Sequence[Sequence[bool]] | None = None,
    dropout: float = 0.0,
    word_dropout: float = 0.0,
    layer_normalization: bool = False,
) -> keras.Model:
    """Features of tokens in, one vector of logits for each token out.

    Args:
        vocabulary_size: number of token ids, padding (0) and unknown (1) included.
        num_tags: number of tags.
        output: `softmax` judges each token by itself; `crf` adds the layer `crf`, which scores tag sequences:
            it leaves the logits as they are, `CRFLoss` trains it and its `viterbi` decodes.
        embedding_dim: size of a word vector.
        embedding_matrix: start values (vocabulary_size, embedding_dim), such as aligned GloVe vectors.
        trainable_embeddings: whether training may change the word vectors.
        hidden_dim: size of the hidden state in each direction.
        num_layers: BiLSTM layers, one on top of the other.
        num_characters: number of character ids; adds the input `char_ids` and a character CNN.
        num_char_filters: size of a token's character vector.
        casing: adds the input `casing_ids`.
        allowed: bool (num_tags + 1, num_tags + 1) for the CRF, as `allowed_transitions` returns it.
        dropout: share of the dimensions that training drops before and after each BiLSTM, the same ones at
            each time step of a text (variational dropout, Gal and Ghahramani 2016).
        word_dropout: share of the words that training replaces by the unknown one.
        layer_normalization: normalise the BiLSTM's states (Ba et al. 2016).

    Returns:
        Model from a dict of int32 inputs `token_ids` (batch, time), `char_ids` (batch, time, max_chars) and
        `casing_ids` (batch, time), as `TaggingEncoder` makes them, to logits (batch, time, num_tags). Id 0
        is padding in each of them.

    Raises:
        UsageError: an unknown output, fewer than two tags, no layer, or an embedding matrix of another shape.

    Source: Ma and Hovy 2016, for words, character CNN, BiLSTM and CRF; Chiu and Nichols 2016, for casing.
    """
    if output not in OUTPUTS:
        raise unknown_name("output of a tagger", output, OUTPUTS)
    if num_tags < 2 or num_layers < 1:
        raise UsageError(
            f"A tagger with {num_tags} tags and {num_layers} layers: it needs 2 tags and 1 layer at least."
        )
    if embedding_matrix is not None and embedding_matrix.shape != (vocabulary_size, embedding_dim):
        raise UsageError(
            f"The embedding matrix has the shape {embedding_matrix.shape}, "
            f"but the tagger expects {(vocabulary_size, embedding_dim)}."
        )
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    inputs = {"token_ids": token_ids}
    embedding = keras.layers.Embedding(
        vocabulary_size, embedding_dim, mask_zero=True, trainable=trainable_embeddings, name="token_embedding"
    )
    words = WordDropout(word_dropout, name="word_dropout")(token_ids) if word_dropout else token_ids
    features = [embedding(words)]  # (batch, time, embedding_dim)
    if num_characters is not None:
        inputs["char_ids"] = keras.Input((None, None), dtype="int32", name="char_ids")
        characters = CharacterCNN(num_characters, num_filters=num_char_filters, name="character_cnn")
        features.append(characters(inputs["char_ids"]))  # (batch, time, num_char_filters)
    if casing:
        inputs["casing_ids"] = keras.Input((None,), dtype="int32", name="casing_ids")
        casings = keras.layers.Embedding(
            len(CASING_VOCABULARY), CASING_DIM, mask_zero=True, name="casing_embedding"
        )
        features.append(casings(inputs["casing_ids"]))  # (batch, time, CASING_DIM)
    states = MaskedConcatenate(name="features")(features) if len(features) > 1 else features[0]
    if dropout:
        states = keras.layers.SpatialDropout1D(dropout, name="feature_dropout")(states)
    for layer in range(1, num_layers + 1):
        lstm = FusedLSTM(hidden_dim, return_sequences=True)
        # (batch, time, 2 * hidden_dim)
        states = keras.layers.Bidirectional(lstm, name=f"bilstm_{layer}")(states)
        if layer_normalization:
            states = keras.layers.LayerNormalization(name=f"normalization_{layer}")(states)
        if dropout:
            states = keras.layers.SpatialDropout1D(dropout, name=f"state_dropout_{layer}")(states)
    logits = keras.layers.Dense(num_tags, name="logits")(states)  # (batch, time, num_tags)
    if output == "crf":
        logits = CRF(allowed, name="crf")(logits)
    if embedding_matrix is not None:
        # Set after building: an initializer would write the whole matrix into the saved configuration.
        embedding.set_weights([embedding_matrix])
    return keras.Model(inputs, logits, name="tagger")
