"""The bidirectional LSTM encoder that the whole course is about."""

import keras
import numpy as np

from course_lib.errors import UsageError
from course_lib.layers.lstm import FusedLSTM


def build_encoder(
    vocabulary_size: int,
    *,
    embedding_dim: int = 50,
    hidden_dim: int = 64,
    num_layers: int = 1,
    embedding_matrix: np.ndarray | None = None,
    trainable_embeddings: bool = True,
    dropout: float = 0.0,
) -> keras.Model:
    """Token ids in, one context vector for each token out.

    Args:
        vocabulary_size: number of ids, padding (0) and unknown (1) included.
        embedding_dim: size of a token vector.
        hidden_dim: size of the hidden state in each direction.
        num_layers: BiLSTM layers, one on top of the other.
        embedding_matrix: start values (vocabulary_size, embedding_dim), such as aligned GloVe vectors.
        trainable_embeddings: whether training may change the token vectors.
        dropout: share of embedding dimensions that training drops, the same at each time step of a text
            (Gal & Ghahramani 2016).

    Returns:
        Model from int32 (batch, time) to float32 (batch, time, 2 * hidden_dim): forward states first, then
        backward ones. Id 0 is masked; the mask goes on to the next layer.

    Raises:
        UsageError: no layer, or an embedding matrix of another shape.

    Source: Hochreiter & Schmidhuber 1997; Graves & Schmidhuber 2005 for both directions.
    """
    if num_layers < 1:
        raise UsageError(f"num_layers is {num_layers}; the encoder needs at least one BiLSTM layer.")
    if embedding_matrix is not None and embedding_matrix.shape != (vocabulary_size, embedding_dim):
        raise UsageError(
            f"The embedding matrix has the shape {embedding_matrix.shape}, "
            f"but the encoder expects {(vocabulary_size, embedding_dim)}."
        )
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    embedding = keras.layers.Embedding(
        vocabulary_size, embedding_dim, mask_zero=True, trainable=trainable_embeddings, name="token_embedding"
    )
    states = embedding(token_ids)  # (batch, time, embedding_dim)
    if dropout:
        states = keras.layers.SpatialDropout1D(dropout, name="embedding_dropout")(states)
    for layer in range(1, num_layers + 1):
        lstm = FusedLSTM(hidden_dim, return_sequences=True)
        # (batch, time, 2 * hidden_dim)
        states = keras.layers.Bidirectional(lstm, name=f"bilstm_{layer}")(states)
    if embedding_matrix is not None:
        # Set after building: an initializer would write the whole matrix into the saved configuration.
        embedding.set_weights([embedding_matrix])
    return keras.Model(token_ids, states, name="encoder")
