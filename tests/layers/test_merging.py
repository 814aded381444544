"""Features side by side, and whose mask they have."""

import keras
import numpy as np

from course_lib.layers.merging import MaskedConcatenate


def test_the_mask_is_that_of_the_first_input_that_has_one(tmp_path):
    token_ids, features = keras.Input((None,), dtype="int32"), keras.Input((None, 2))
    vectors = keras.layers.Embedding(5, 3, mask_zero=True)(token_ids)
    both = MaskedConcatenate()([features, vectors])  # the features have no mask
    model = keras.Model([token_ids, features], keras.layers.LSTM(4)(both))
    model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    ids, numbers = np.array([[2, 1, 0, 0]], dtype="int32"), np.ones((1, 4, 2), dtype="float32")
    padded = model.predict([ids, numbers], verbose=0)
    np.testing.assert_allclose(model.predict([ids[:, :2], numbers[:, :2]], verbose=0), padded, atol=1e-6)


def test_without_masks_it_is_keras_own():
    one, other = np.ones((2, 3, 1)), np.zeros((2, 3, 2))
    layer = MaskedConcatenate()
    np.testing.assert_array_equal(layer([one, other]), keras.layers.Concatenate()([one, other]))
    assert layer.compute_mask([one, other], [None, None]) is None
    assert layer.compute_mask([one, other]) is None
