"""Pooling over time that leaves padding out.

Keras's `GlobalMaxPooling1D` ignores the mask. A padded step of a `Bidirectional` layer holds zeros, so
padding puts a floor of zero under the maximum: the same text gets another vector when it is padded.
"""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("course_lib")
class MaskedMeanPooling(keras.layers.Layer):
    """Mean over the time steps that are not padding; a row without any gives zeros.

    Call arguments:
        inputs: float tensor (batch, time, features).
        mask: bool tensor (batch, time), True at real tokens; passed on by Keras. None counts every step.

    Returns:
        float tensor (batch, features).
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        return _mean(inputs, mask)

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[2])


@keras.saving.register_keras_serializable("course_lib")
class MaskedMaxPooling(MaskedMeanPooling):
    """Maximum over the time steps that are not padding; a row without any gives zeros.

    Call arguments and result as in `MaskedMeanPooling`.

    Source: Conneau et al. 2017 (InferSent), section 3.2.2, for max pooling over BiLSTM states.
    """

    def call(self, inputs, mask=None):
        return _max(inputs, mask)


@keras.saving.register_keras_serializable("course_lib")
class MaskedMaxMeanPooling(MaskedMeanPooling):
    """Maximum and mean over the time steps that are not padding, side by side: (batch, 2 * features).

    Call arguments as in `MaskedMeanPooling`.

    Source: Howard & Ruder 2018, "Universal Language Model Fine-tuning", section 3.3, without the last state.
    """

    def call(self, inputs, mask=None):
        return ops.concatenate([_max(inputs, mask), _mean(inputs, mask)], axis=-1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 2 * input_shape[2])


def _mean(inputs, mask):
    if mask is None:
        return ops.mean(inputs, axis=1)
    weights = ops.cast(mask, inputs.dtype)[:, :, None]  # (batch, time, 1)
    return ops.sum(inputs * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0)


def _max(inputs, mask):
    if mask is None:
        return ops.max(inputs, axis=1)
    return masked_max(inputs, mask[:, :, None], axis=1)


def masked_max(values, real, axis: int):
    """The maximum along an axis over what is real, 0 where nothing is.

    Args:
        values: float tensor.
        real: bool tensor that broadcasts to it.
        axis: disappears.
    """
    # A constant like -1e9 overflows in float16; infinity does not, and ties with nothing that is real.
    highest = ops.max(ops.where(real, values, -np.inf), axis=axis)
    return ops.where(ops.any(real, axis=axis), highest, 0.0)
