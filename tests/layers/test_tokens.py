"""Word dropout and the character CNN: by a plain loop, and what padding does to them."""

import keras
import numpy as np
import pytest
from keras import ops

from course_lib.errors import UsageError
from course_lib.layers.tokens import CharacterCNN, WordDropout


def test_word_dropout_acts_in_training_only_and_leaves_padding():
    ids = np.tile(np.array([[5, 6, 7, 0]], dtype="int32"), (5000, 1))
    layer = WordDropout(0.3, seed=1)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(ids)), ids)
    dropped = ops.convert_to_numpy(layer(ids, training=True))
    assert (dropped[:, 3] == 0).all()
    assert set(np.unique(dropped)) == {0, 1, 5, 6, 7}
    assert (dropped[:, :3] == 1).mean() == pytest.approx(0.3, abs=0.015)  # four standard errors
    assert (dropped != ops.convert_to_numpy(layer(ids, training=True))).any()


def test_word_dropout_refuses_a_rate_above_one():
    with pytest.raises(UsageError, match="between 0 and 1"):
        WordDropout(5)


def by_loop(layer, characters):
    """One token: its characters between two zero vectors, each filter at each place, the maximum."""
    table, kernel, bias = layer.get_weights()
    zero = np.zeros(table.shape[1])
    vectors = [zero, *(table[index] for index in characters), zero]
    places = [
        sum(vectors[place + offset] @ kernel[0, offset] for offset in range(3)) + bias
        for place in range(len(characters))
    ]
    return np.max(places, axis=0)


def test_character_cnn_equals_a_plain_loop_whatever_the_padding():
    keras.utils.set_random_seed(0)
    layer = CharacterCNN(9, embedding_dim=4, num_filters=5)
    tokens = [[3, 4, 5, 6, 7], [8], [2, 1]]
    for width in (5, 9):
        ids = np.zeros((1, 4, width), dtype="int32")  # the fourth token is padding
        for row, characters in enumerate(tokens):
            ids[0, row, : len(characters)] = characters
        layer(ids)
        layer.set_weights(
            [*layer.get_weights()[:2], np.full(5, -0.7)]
        )  # a maximum with padding would be above
        result = ops.convert_to_numpy(layer(ids))
        assert result.shape == (1, 4, 5) == layer.compute_output_shape((1, 4, width))
        for row, characters in enumerate(tokens):
            np.testing.assert_allclose(result[0, row], by_loop(layer, characters), atol=1e-6)
        np.testing.assert_array_equal(result[0, 3], 0)


@pytest.mark.parametrize("layer", [WordDropout(0.2, seed=3), CharacterCNN(9, 4, 5, dropout=0.1)])
def test_is_restored_from_its_configuration(layer):
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert restored.get_config() == layer.get_config()
