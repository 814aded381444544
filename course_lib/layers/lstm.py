"""The LSTM of the course's models: Keras's own, trained faster where TensorFlow computes on a CPU."""

import keras


@keras.saving.register_keras_serializable("course_lib")
class FusedLSTM(keras.layers.LSTM):
    """`keras.layers.LSTM` with the same weights and results, trained faster on a CPU.

    On a CPU Keras walks through the time steps with many small operations, and back through all of them,
    adding to each weight's gradient at each step. Here one operation of TensorFlow walks forwards. The way
    back goes step by step only for what a step needs of the next one; the gradient of each weight is then a
    single matrix product over all steps. `course bench` measures what that gains.

    This holds on TensorFlow without a GPU, in float32, for Keras's default activations, without dropout
    inside of the layer and, where there is a mask, if outputs at padding are to be zero, as in
    `Bidirectional`. All else is left to Keras, and so to cuDNN on a GPU. As there, a mask must be True up to
    each row's end and False after it: another one ends in tf.errors.InvalidArgumentError.

    Arguments, call arguments and results as in `keras.layers.LSTM`.

    Source: Appleyard, Kočiský & Blunsom 2016, "Optimizing Performance of Recurrent Neural Networks on GPUs".
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # XLA does not know the fused operation.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def inner_loop(self, sequences, initial_state, mask, training=False):
        if isinstance(mask, (list, tuple)):
            mask = mask[0]
        if self._is_plain(mask):
            from course_lib.layers import tensorflow_lstm  # other backends need no TensorFlow

            if not tensorflow_lstm.has_gpu():
                return tensorflow_lstm.fused_loop(
                    sequences,
                    initial_state,
                    mask,
                    [self.cell.kernel.value, self.cell.recurrent_kernel.value, self.cell.bias.value],
                    go_backwards=self.go_backwards,
                    cells_are_used=self.return_state,
                )
        return super().inner_loop(sequences, initial_state, mask, training=training)

    def _is_plain(self, mask):
        """Whether TensorFlow's operation computes what this layer is set to."""
        functions = self.cell.activation, self.cell.recurrent_activation
        return (
            keras.backend.backend() == "tensorflow"
            and self.compute_dtype == "float32"
            and functions == (keras.activations.tanh, keras.activations.sigmoid)
            and self.cell.use_bias
            and not (self.dropout or self.recurrent_dropout or self.unroll)
            and (mask is None or self.zero_output_for_mask)
        )
