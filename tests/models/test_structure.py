"""Copies answer alike, share nothing, and hold no optimizer, also on disk."""

import zipfile

import h5py
import keras
import numpy as np
import pytest

from course_lib.errors import UsageError
from course_lib.models.classifier import build_classifier
from course_lib.models.encoder import build_encoder
from course_lib.models.structure import copy_of, layers_by_name, save_model
from course_lib.models.tagger import build_tagger
from course_lib.training import compile_classifier

IDS = np.array([[3, 5, 7, 0], [2, 9, 0, 0]], dtype="int32")


def num_values(path):
    """How many numbers the weights file inside of a .keras file holds."""
    sizes = []
    with zipfile.ZipFile(path) as archive, h5py.File(archive.open("model.weights.h5")) as file:
        file.visititems(lambda name, item: sizes.append(item.size) if hasattr(item, "size") else None)
    return sum(sizes)


def encoder():
    return build_encoder(30, embedding_dim=20, hidden_dim=6)


def test_layers_inside_of_a_model_count_by_their_own_names():
    layers = layers_by_name(build_classifier(encoder(), 2))
    assert {"token_embedding", "bilstm_1", "pooling", "logits"} <= set(layers)
    assert not any(isinstance(layer, keras.Model) for layer in layers.values())


def test_inputs_give_way_and_two_layers_of_one_name_are_refused():
    # Within one model Keras refuses equal names; a model inside of another may repeat them.
    inner_input, outer_input = keras.Input((4,)), keras.Input((4,), name="keys")
    dense = keras.layers.Dense(2, name="keys")
    inner = keras.Model(inner_input, dense(inner_input), name="inner")
    assert layers_by_name(keras.Model(outer_input, inner(outer_input))) == {"keys": dense}
    other_input = keras.Input((4,))
    without, with_weights = keras.layers.ReLU(name="keys"), keras.layers.Dense(3, name="keys")
    assert layers_by_name(keras.Model(other_input, without(inner(other_input)))) == {"keys": dense}
    with pytest.raises(UsageError, match="Two layers with weights are named 'keys'"):
        layers_by_name(keras.Model(other_input, with_weights(inner(other_input))))


def test_a_trained_copy_has_no_optimizer_and_a_third_of_the_file(tmp_path):
    model = build_classifier(encoder(), 2)
    compile_classifier(model, keras.optimizers.Adam(0.1))
    model.fit(IDS, np.array([0, 1]), verbose=0)
    copy = copy_of(model)
    assert not copy.compiled
    np.testing.assert_array_equal(copy.predict(IDS, verbose=0), model.predict(IDS, verbose=0))
    model.save(tmp_path / "model.keras", include_optimizer=False)
    copy.save(tmp_path / "copy.keras")
    assert num_values(tmp_path / "copy.keras") == copy.count_params()
    assert num_values(tmp_path / "model.keras") > 2.9 * copy.count_params()  # what `copy_of` is for


def test_training_a_copy_leaves_the_model_alone():
    model = build_tagger(30, 5, output="crf", embedding_dim=20)
    before = [weight.copy() for weight in model.get_weights()]
    copy = copy_of(model)
    copy.set_weights([weight + 1 for weight in before])
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_a_model_is_saved_without_the_optimizer_or_not_at_all(tmp_path, monkeypatch):
    model = build_classifier(encoder(), 2)
    compile_classifier(model, keras.optimizers.Adam(0.1))
    model.fit(IDS, np.array([0, 1]), verbose=0)
    save_model(model, tmp_path / "model.keras")
    assert num_values(tmp_path / "model.keras") == model.count_params()
    before = (tmp_path / "model.keras").read_bytes()

    def full_disk(self, path):
        path.write_bytes(b"half a model")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_model(model, tmp_path / "model.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    assert (tmp_path / "model.keras").read_bytes() == before
