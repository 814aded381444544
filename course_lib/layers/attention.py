"""Attention from a decoder to the states of an encoder."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("course_lib")
class LuongAttention(keras.layers.Layer):
    """Each query gets a weighted mean of the values; the weights follow from dot products with the keys.

    The layer has no weights of its own: keys are projected once for each source (Luong's *general* score,
    h W s, with the keys W s), so that a decoder which goes step by step does not repeat that work.

    Call arguments:
        queries: float (batch, target_time, key_dim).
        keys: float (batch, source_time, key_dim).
        values: float (batch, source_time, value_dim).
        source_mask: bool (batch, source_time), True at real tokens. It is an argument of its own and not
            Keras's implicit mask, which belongs to the queries.

    Returns:
        The context, float (batch, target_time, value_dim), and the weights, float (batch, target_time,
        source_time). A row of weights sums to one; masked positions get exactly zero. A source without any
        real token gives zeros.

    Source: Luong, Pham and Manning 2015, "Effective Approaches to Attention-based Neural Machine
    Translation", section 3.1, equations 7 and 8.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, queries, keys, values, source_mask):
        scores = ops.matmul(queries, ops.transpose(keys, (0, 2, 1)))  # (batch, target_time, source_time)
        real = ops.expand_dims(source_mask, 1)  # (batch, 1, source_time)
        # The lowest score never beats a real one; a constant such as -1e9 overflows in float16.
        lowest = ops.min(scores, axis=-1, keepdims=True)
        highest = ops.max(ops.where(real, scores, lowest), axis=-1, keepdims=True)
        # At padding a score may lie above the highest real one, and exp() of it might overflow.
        powers = ops.exp(ops.minimum(scores - highest, 0.0)) * ops.cast(real, scores.dtype)
        weights = powers / ops.maximum(ops.sum(powers, axis=-1, keepdims=True), keras.config.epsilon())
        return ops.matmul(weights, values), weights

    def compute_mask(self, *args, **kwargs):
        return None, None

    def compute_output_spec(self, queries, keys, values, source_mask):
        context_shape = (*queries.shape[:2], values.shape[2])
        weights_shape = (*queries.shape[:2], keys.shape[1])
        return (
            keras.KerasTensor(context_shape, self.compute_dtype),
            keras.KerasTensor(weights_shape, self.compute_dtype),
        )
