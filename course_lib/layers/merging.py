"""Features side by side."""

import keras


@keras.saving.register_keras_serializable("course_lib")
class MaskedConcatenate(keras.layers.Concatenate):
    """`keras.layers.Concatenate` whose result is masked as the first input that has a mask.

    Keras' own takes for real what any of its inputs does, one without a mask everywhere; and in Keras 3.10 it
    fails where the number of time steps is open.
    """

    def compute_mask(self, inputs, mask=None):
        return next((each for each in mask or () if each is not None), None)
