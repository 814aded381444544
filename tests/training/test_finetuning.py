"""Loading, freezing and learning rates, on models so small that the right answer is known."""

import keras
import numpy as np
import pytest

from course_lib.errors import CourseError, UsageError
from course_lib.finetuning import layer_wise_optimizer, load_pretrained, save_pretrained, train_only
from course_lib.models.classifier import build_classifier
from course_lib.models.encoder import build_encoder
from course_lib.text import TextEncoder, Vocabulary

WORDS = ["fine", "film", "dull"]


@pytest.fixture
def text_encoder():
    return TextEncoder(Vocabulary(WORDS), max_length=8)


@pytest.fixture
def folder(tmp_path, text_encoder):
    keras.utils.set_random_seed(0)
    save_pretrained(build_encoder(5, embedding_dim=4, hidden_dim=3), text_encoder, tmp_path / "pretrained")
    return tmp_path / "pretrained"


def test_every_weight_of_the_encoder_arrives_and_the_head_stays_new(folder, text_encoder):
    keras.utils.set_random_seed(1)
    classifier = build_classifier(build_encoder(5, embedding_dim=4, hidden_dim=3), num_classes=2)
    head = classifier.get_layer("logits").get_weights()[0]
    report = load_pretrained(classifier, text_encoder, folder)
    assert dict(report.groupby("layer")["status"].first()) == {
        "token_embedding": "loaded",
        "bilstm_1": "loaded",
        "logits": "new",
    }
    assert len(report) == 1 + 6 + 2
    pretrained = keras.models.load_model(folder / "model.keras")
    ids = np.array([[2, 3, 4]])
    np.testing.assert_array_equal(
        classifier.get_layer("encoder").predict_on_batch(ids), pretrained.predict_on_batch(ids)
    )
    np.testing.assert_array_equal(classifier.get_layer("logits").get_weights()[0], head)


@pytest.mark.parametrize(
    ("sizes", "words", "message"),
    [
        ({"embedding_dim": 4, "hidden_dim": 2}, WORDS, r"bilstm_1.*\(4, 12\).*\(4, 8\)"),
        ({"embedding_dim": 4, "hidden_dim": 3}, ["fine", "film", "bad"], r"vocabulary.*id 4.*'dull'.*'bad'"),
        ({"embedding_dim": 4, "hidden_dim": 3}, ["fine", "film"], r"vocabulary.*5 tokens.*4 tokens"),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_loaded(folder, sizes, words, message):
    encoder = build_encoder(5, **sizes)
    before = encoder.get_weights()
    with pytest.raises(CourseError, match=f"(?s)nothing was loaded.*{message}"):
        load_pretrained(encoder, TextEncoder(Vocabulary(words), max_length=8), folder)
    for one, other in zip(before, encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_encoder_and_no_common_layer(tmp_path, folder, text_encoder):
    with pytest.raises(CourseError, match="no pretrained encoder"):
        load_pretrained(build_encoder(5), text_encoder, tmp_path / "nothing")
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="other")])
    with pytest.raises(CourseError, match="nothing was loaded"):
        load_pretrained(other, text_encoder, folder)
    (folder / "model.keras").write_bytes(b"PK but no model")
    with pytest.raises(CourseError, match=r"cannot be loaded \(.*\): run the notebook that makes it again"):
        load_pretrained(build_encoder(5), text_encoder, folder)


def two_layers():
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="low"),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="high"),
        ]
    )
    return model


def test_only_the_named_layers_train():
    model = two_layers()
    assert train_only(model, ["high"]) == 1
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    model.train_on_batch(np.array([[1.0]]), np.array([[0.0]]))
    # d/dw_high (w_low * w_high)² = 2 at 1, 1: the step is 0.2.
    assert [float(w.squeeze()) for w in model.get_weights()] == pytest.approx([1.0, 0.8])
    with pytest.raises(UsageError, match="Unknown layer 'hihg'"):
        train_only(model, ["hihg"])


def test_each_layer_learns_at_its_own_rate():
    model = two_layers()
    optimizer = layer_wise_optimizer(model, {"low": 0.01, "high": 0.1}, keras.optimizers.SGD)
    model.compile(optimizer=optimizer, loss="mse")
    model.train_on_batch(np.array([[1.0]]), np.array([[0.0]]))
    assert [float(w.squeeze()) for w in model.get_weights()] == pytest.approx([0.98, 0.8])


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has none")
def test_the_weights_are_those_of_keras_multi_optimizer():
    rates, weights = {"low": 0.01, "high": 0.1}, []

    def adam(rate):
        return keras.optimizers.Adam(rate, global_clipnorm=0.5)

    for ours in (True, False):
        model = two_layers()
        if ours:
            optimizer = layer_wise_optimizer(model, rates, adam)
        else:
            each = {name: adam(rate) for name, rate in rates.items()}
            paths = {v.path: each[name] for name in rates for v in model.get_layer(name).trainable_variables}
            optimizer = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(each["low"], paths))
        model.compile(optimizer=optimizer, loss="mse")
        for _ in range(3):
            model.train_on_batch(np.array([[1.0]]), np.array([[0.0]]))
        assert int(optimizer.iterations) == 3
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"low": 0.1}, "have no learning rate: high"),
        ({"low": 0.1, "high": 0.0}, "must be positive"),
        ({"low": 0.1, "hi": 0.1}, "Unknown layer 'hi'"),
    ],
)
def test_bad_rates_are_named(rates, message):
    with pytest.raises(UsageError, match=message):
        layer_wise_optimizer(two_layers(), rates)
