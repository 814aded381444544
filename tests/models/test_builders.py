"""`build_encoder` and `build_classifier`: padding, masks, parameters, freezing, saving, errors."""

import ast
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import course_lib.layers.pooling
import course_lib.models.classifier
import course_lib.models.encoder
from course_lib.errors import UsageError
from course_lib.models.classifier import POOLINGS, build_classifier
from course_lib.models.encoder import build_encoder
from course_lib.text import pad

SIZES = {"embedding_dim": 5, "hidden_dim": 3}
TEXTS = [[4, 9, 2, 7, 7, 3], [8], [5, 6, 1]]
pooling_names = pytest.mark.parametrize("pooling", POOLINGS)


def outputs(model, ids):
    return ops.convert_to_numpy(model(ids))


def classifier(pooling="max", **options):
    return build_classifier(build_encoder(10, **SIZES, **options), 3, pooling=pooling)


@pytest.fixture(scope="module", autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def two_layers():
    return build_encoder(10, **SIZES, num_layers=2)


@pytest.fixture(scope="module")
def classifiers(two_layers):
    return {name: build_classifier(two_layers, 3, pooling=name) for name in POOLINGS}


# Padding


def test_real_states_do_not_feel_padding_and_padded_ones_are_zero(two_layers):
    wide = outputs(two_layers, pad(TEXTS, 17))
    for row, text in enumerate(TEXTS):
        alone = outputs(two_layers, np.array([text]))[0]
        assert alone.shape == (len(text), 6)
        np.testing.assert_allclose(wide[row, : len(text)], alone, atol=1e-6, rtol=0)
        np.testing.assert_array_equal(wide[row, len(text) :], 0)


@settings(max_examples=12, deadline=None)
@given(
    text=st.lists(st.integers(1, 9), min_size=1, max_size=7),
    num_padded=st.integers(0, 9),
    pooling=st.sampled_from(sorted(POOLINGS)),
)
def test_logits_do_not_feel_padding(classifiers, text, num_padded, pooling):
    model = classifiers[pooling]
    alone = outputs(model, np.array([text]))
    padded = outputs(model, pad([text], len(text) + num_padded))
    np.testing.assert_allclose(padded, alone, atol=1e-6, rtol=0)


@pooling_names
def test_predict_and_call_agree_in_a_mixed_batch(classifiers, pooling):
    model = classifiers[pooling]
    alone = np.vstack([outputs(model, np.array([text])) for text in TEXTS])
    np.testing.assert_allclose(model.predict(pad(TEXTS, 20), verbose=0), alone, atol=1e-6, rtol=0)


@pytest.mark.filterwarnings("ignore:.*destroy the mask information")
def test_the_same_model_with_keras_s_global_max_pooling_fails_this():
    encoder = build_encoder(10, embedding_dim=5, hidden_dim=16)
    ids = keras.Input((None,), dtype="int32")
    model = keras.Model(ids, keras.layers.GlobalMaxPooling1D()(encoder(ids)))
    alone = outputs(model, np.array([[8]]))
    padded = outputs(model, pad([[8]], 9))
    assert np.abs(padded - alone).max() > 1e-3
    np.testing.assert_allclose(padded, np.maximum(alone, 0), atol=1e-6)


@pooling_names
def test_logits_are_a_dense_layer_on_the_loop_s_pooled_states(classifiers, two_layers, pooling):
    """The mask reaches the pooling through the encoder, a model inside the model."""
    states = outputs(two_layers, pad(TEXTS, 11))
    reduce = {"max": [np.max], "mean": [np.mean], "max_mean": [np.max, np.mean]}[pooling]
    real = [row[: len(text)] for row, text in zip(states, TEXTS, strict=True)]
    pooled = np.array([np.concatenate([each(row, axis=0) for each in reduce]) for row in real])
    kernel, bias = classifiers[pooling].get_layer("logits").get_weights()
    logits = outputs(classifiers[pooling], pad(TEXTS, 11))
    np.testing.assert_allclose(logits, pooled @ kernel + bias, atol=1e-6, rtol=0)


def test_order_matters_to_the_states_but_not_to_the_mean_embedding(two_layers):
    one, two = np.array([[2, 3, 4, 5]]), np.array([[4, 5, 2, 3]])
    table = two_layers.get_layer("token_embedding").get_weights()[0]
    np.testing.assert_allclose(table[one].mean(axis=1), table[two].mean(axis=1), atol=1e-7)
    assert np.abs(outputs(two_layers, one).mean(axis=1) - outputs(two_layers, two).mean(axis=1)).max() > 1e-4


def test_the_first_half_of_a_state_reads_from_the_left_the_second_from_the_right():
    encoder = build_encoder(10, **SIZES)
    states, changed = outputs(encoder, np.array([[2, 3, 4, 5], [2, 3, 4, 9]]))
    np.testing.assert_array_equal(states[:3, :3], changed[:3, :3])
    assert (np.abs(states[:, 3:] - changed[:, 3:]).max(axis=1) > 0).all()


# Parameters


def lstm_parameters(inputs, hidden):
    """Four gates, each with input weights, recurrent weights and a bias."""
    return 4 * (inputs * hidden + hidden * hidden + hidden)


@pytest.mark.parametrize(
    "vocabulary, embedding, hidden, num_layers, classes, by_hand",
    [
        (12, 3, 4, 1, 2, 36 + 256 + 18),
        (20_000, 50, 64, 1, 2, 1_000_000 + 58_880 + 258),
        (100, 7, 5, 2, 4, 700 + 2 * lstm_parameters(7, 5) + 2 * lstm_parameters(10, 5) + 44),
        (100, 7, 5, 3, 2, 700 + 2 * lstm_parameters(7, 5) + 4 * lstm_parameters(10, 5) + 22),
    ],
)
def test_number_of_parameters(vocabulary, embedding, hidden, num_layers, classes, by_hand):
    encoder = build_encoder(vocabulary, embedding_dim=embedding, hidden_dim=hidden, num_layers=num_layers)
    assert build_classifier(encoder, classes).count_params() == by_hand


def test_default_sizes_are_those_of_the_course():
    assert build_encoder(100).count_params() == 100 * 50 + 2 * lstm_parameters(50, 64)


# Embeddings


@pytest.mark.parametrize("trainable", [True, False])
def test_embeddings_start_at_the_matrix_and_move_only_if_trainable(trainable):
    matrix = np.random.default_rng(0).normal(size=(10, 5)).astype("float32")
    model = classifier(embedding_matrix=matrix, trainable_embeddings=trainable)
    embedding = model.get_layer("encoder").get_layer("token_embedding")
    np.testing.assert_array_equal(embedding.get_weights()[0], matrix)
    dense_before = model.get_layer("logits").get_weights()[0]

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.5), loss=loss)
    model.train_on_batch(pad(TEXTS), np.array([0, 1, 2]))
    assert np.array_equal(embedding.get_weights()[0], matrix) is not trainable
    assert np.abs(model.get_layer("logits").get_weights()[0] - dense_before).max() > 0
    used = sorted({token for text in TEXTS for token in text})
    unused = sorted(set(range(10)) - set(used))
    np.testing.assert_array_equal(embedding.get_weights()[0][unused], matrix[unused])


# Dropout


@pytest.mark.parametrize("where", ["encoder", "head"])
def test_dropout_acts_in_training_only(where):
    plain = classifier()
    encoder = build_encoder(10, **SIZES, dropout=0.5 if where == "encoder" else 0.0)
    dropping = build_classifier(encoder, 3, dropout=0.5 if where == "head" else 0.0)
    dropping.set_weights(plain.get_weights())
    ids = pad(TEXTS)
    np.testing.assert_allclose(outputs(dropping, ids), outputs(plain, ids), atol=1e-6)
    np.testing.assert_allclose(dropping.predict(ids, verbose=0), outputs(plain, ids), atol=1e-6)
    assert np.abs(ops.convert_to_numpy(dropping(ids, training=True)) - outputs(plain, ids)).max() > 1e-5


def test_dropout_of_embeddings_drops_a_dimension_in_the_whole_text():
    encoder = build_encoder(10, embedding_dim=40, hidden_dim=2, dropout=0.5)
    layer = encoder.get_layer("embedding_dropout")
    dropped = ops.convert_to_numpy(layer(np.ones((2, 6, 40), "float32"), training=True)) == 0
    assert (dropped == dropped[:, :1]).all()
    assert 0 < dropped.mean() < 1 and (dropped[0] != dropped[1]).any()


# Saving


@pooling_names
def test_a_saved_classifier_answers_the_same(tmp_path, pooling):
    matrix = np.random.default_rng(0).normal(size=(10, 5))
    model = classifier(
        pooling, embedding_matrix=matrix, trainable_embeddings=False, dropout=0.3, num_layers=2
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    ids = pad(TEXTS, 12)
    np.testing.assert_allclose(outputs(loaded, ids), outputs(model, ids), atol=1e-6)
    assert not loaded.get_layer("encoder").get_layer("token_embedding").trainable


def test_the_embedding_matrix_is_in_the_weights_and_not_in_the_configuration(tmp_path):
    sizes = []
    for vocabulary_size in (20, 5_000):
        matrix = np.full((vocabulary_size, 5), 0.123456)
        build_classifier(build_encoder(vocabulary_size, **SIZES, embedding_matrix=matrix), 2).save(
            tmp_path / "model.keras"
        )
        with zipfile.ZipFile(tmp_path / "model.keras") as archive:
            configuration = archive.read("config.json").decode()
        assert "0.123456" not in configuration
        sizes.append(len(configuration))
    assert abs(sizes[1] - sizes[0]) < 200


# Errors


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: build_encoder(10, embedding_dim=5, embedding_matrix=np.zeros((9, 5))),
            r"\(9, 5\).*\(10, 5\)",
        ),
        (
            lambda: build_encoder(10, embedding_dim=5, embedding_matrix=np.zeros((10, 6))),
            r"\(10, 6\).*\(10, 5\)",
        ),
        (lambda: build_encoder(10, num_layers=0), "num_layers is 0"),
        (lambda: build_classifier(build_encoder(10, **SIZES), 2, pooling="maxx"), "Did you mean 'max'"),
        (lambda: build_classifier(build_encoder(10, **SIZES), 1), "num_classes is 1"),
    ],
)
def test_wrong_use_is_one_clear_sentence(call, message):
    with pytest.raises(UsageError, match=message):
        call()


# Backend


@pytest.mark.parametrize(
    "module", [course_lib.layers.pooling, course_lib.models.encoder, course_lib.models.classifier]
)
def test_nothing_but_keras_numpy_and_the_package_is_imported(module):
    """So that the models run on every backend of Keras."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    roots = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    roots |= {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert roots <= {"keras", "numpy", "course_lib"}
