"""What a tagger does to token and character ids before its encoder."""

import keras
from keras import ops

from course_lib.errors import UsageError
from course_lib.layers.pooling import masked_max
from course_lib.text.vocabulary import PAD_ID, UNKNOWN_ID


@keras.saving.register_keras_serializable("course_lib")
class WordDropout(keras.layers.Layer):
    """In training, replaces some token ids by the unknown token: context and spelling have to do.

    Args:
        rate: share of the tokens that are replaced; padding stays.
        seed: of the random numbers.

    Call arguments:
        inputs: int tensor (batch, time) of token ids; the result has the same shape.

    Raises:
        UsageError: the rate is not between 0 and 1.

    Source: Iyyer et al. 2015 (Deep Averaging Networks), section 3; the unknown token as in Lample et al.
    2016, 4.2.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate <= 1:
            raise UsageError(f"The rate of word dropout is {rate}; it must be between 0 and 1.")
        self.rate = rate
        self.seed = seed
        self._seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        drawn = keras.random.uniform(ops.shape(inputs), seed=self._seed_generator) < self.rate
        return ops.where(drawn & (inputs != PAD_ID), ops.cast(UNKNOWN_ID, inputs.dtype), inputs)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable("course_lib")
class CharacterCNN(keras.layers.Layer):
    """One vector for each token from its characters: embedding, convolution, maximum over them.

    Padding changes nothing: its embedding is taken as zero, which is also what the convolution sees beyond
    the token's ends, and the maximum leaves it out. A token without any character gives zeros.

    Args:
        num_characters: number of character ids, padding (0) and unknown (1) included.
        embedding_dim: size of a character vector.
        num_filters: size of the result.
        kernel_size: number of neighbouring characters that a filter sees.
        dropout: share of the character embeddings' dimensions that training drops.

    Call arguments:
        inputs: int tensor (batch, time, max_chars) of character ids.

    Returns:
        float tensor (batch, time, num_filters); tokens without any character are masked.

    Source: Ma and Hovy 2016, section 2.1.
    """

    def __init__(
        self,
        num_characters: int,
        embedding_dim: int = 30,
        num_filters: int = 30,
        kernel_size: int = 3,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.sizes = {
            "num_characters": num_characters,
            "embedding_dim": embedding_dim,
            "num_filters": num_filters,
            "kernel_size": kernel_size,
            "dropout": dropout,
        }
        limit = (3 / embedding_dim) ** 0.5  # unit variance in the sum over the dimensions
        self.embedding = keras.layers.Embedding(
            num_characters,
            embedding_dim,
            embeddings_initializer=keras.initializers.RandomUniform(-limit, limit),
        )
        self.dropout = keras.layers.Dropout(dropout)
        # Over characters only: each token is a row of its own.
        self.convolution = keras.layers.Conv2D(num_filters, (1, kernel_size), padding="same")

    def build(self, input_shape):
        shape = (*input_shape, self.sizes["embedding_dim"])
        self.embedding.build(input_shape)
        self.convolution.build(shape)

    def call(self, inputs, training=False):
        real = ops.expand_dims(inputs != PAD_ID, -1)  # (batch, time, max_chars, 1)
        vectors = self.dropout(self.embedding(inputs), training=training)
        vectors = vectors * ops.cast(real, vectors.dtype)  # (batch, time, max_chars, embedding_dim)
        features = self.convolution(vectors)  # (batch, time, max_chars, num_filters)
        return masked_max(features, real, axis=2)

    def compute_mask(self, inputs, mask=None):
        return ops.any(inputs != PAD_ID, axis=2)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], self.sizes["num_filters"])

    def get_config(self):
        return {**super().get_config(), **self.sizes}
