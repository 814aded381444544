"""`build_summarizer`: padding, its linear part, the loss by hand, learning, saving, errors."""

import keras
import numpy as np
import pytest
from keras import ops

from course_lib.errors import UsageError
from course_lib.models.encoder import build_encoder
from course_lib.models.summarizer import PADDING_SCORE, SentenceEncoder, build_summarizer, rouge_targets

RANDOM = np.random.default_rng(0)
TRAINING_FEATURES = RANDOM.normal(2, 3, (50, 4)).astype(np.float32)
FEATURES = RANDOM.normal(2, 3, (2, 5, 4)).astype(np.float32)
TOKEN_IDS = RANDOM.integers(1, 10, (2, 5, 6)).astype(np.int32)
TOKEN_IDS[0, 2, 3:] = 0


@pytest.fixture(scope="module", autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def with_random_scores(model):
    kernel, bias = model.get_layer("score").get_weights()
    model.get_layer("score").set_weights([RANDOM.normal(size=kernel.shape), bias])
    return model


@pytest.fixture(scope="module")
def with_words():
    word_encoder = build_encoder(10, embedding_dim=5, hidden_dim=3)
    return with_random_scores(build_summarizer(word_encoder, TRAINING_FEATURES, hidden_dim=3, dropout=0.5))


@pytest.fixture(scope="module")
def without_words():
    return with_random_scores(build_summarizer(None, TRAINING_FEATURES, hidden_dim=3))


def outputs(model, *inputs):
    return ops.convert_to_numpy(model(list(inputs) if len(inputs) > 1 else inputs[0]))


def padded(array, num_sentences):
    return np.pad(array, [(0, 0), (0, num_sentences - array.shape[1]), (0, 0)])


def test_scores_do_not_feel_padding(with_words, without_words):
    scores = outputs(with_words, TOKEN_IDS, FEATURES)
    assert scores.shape == (2, 5)
    wide_ids = padded(TOKEN_IDS, 9)
    wide_ids[:, 5:, 0] = 1  # as `pad` does with an empty text
    wide = outputs(with_words, np.pad(wide_ids, [(0, 0), (0, 0), (0, 7)]), padded(FEATURES, 9))
    np.testing.assert_allclose(wide[:, :5], scores, atol=1e-5)
    np.testing.assert_array_equal(wide[:, 5:], PADDING_SCORE)
    wide = outputs(without_words, padded(FEATURES, 9))
    np.testing.assert_allclose(wide[:, :5], outputs(without_words, FEATURES), atol=1e-5)
    one = outputs(with_words, TOKEN_IDS[:1, :1], FEATURES[:1, :1])
    assert one.shape == (1, 1) and np.isfinite(one).all()


def test_a_score_depends_on_words_features_and_neighbours(with_words):
    scores = outputs(with_words, TOKEN_IDS, FEATURES)
    for changed in (0, 1):
        inputs = [TOKEN_IDS.copy(), FEATURES.copy()]
        inputs[changed][0, 3, 0] += 1
        differences = np.abs(outputs(with_words, *inputs) - scores)
        assert (differences[0] > 1e-7).all() and (differences[1] == 0).all()


def test_without_context_the_score_is_linear_in_standardized_features(without_words):
    layer = without_words.get_layer("score")
    before = layer.get_weights()
    try:
        weights = np.concatenate([[[1.0], [-2.0], [0.5], [3.0]], np.zeros((6, 1))])
        layer.set_weights([weights, np.array([7.0])])
        standardized = (FEATURES - TRAINING_FEATURES.mean(0)) / TRAINING_FEATURES.std(0)
        expected = standardized @ [1.0, -2.0, 0.5, 3.0] + 7
        np.testing.assert_allclose(outputs(without_words, FEATURES), expected, rtol=1e-4)
    finally:
        layer.set_weights(before)


def test_a_feature_that_never_varied_does_not_explode():
    model = with_random_scores(build_summarizer(None, np.ones((9, 2), np.float32), hidden_dim=2))
    assert np.abs(outputs(model, np.full((1, 3, 2), 1.1, np.float32))).max() < 100


def test_sentence_vectors_are_the_mean_over_the_words():
    word_encoder = build_encoder(10, embedding_dim=5, hidden_dim=3)
    vectors = outputs(SentenceEncoder(word_encoder), TOKEN_IDS)
    assert vectors.shape == (2, 5, 6)
    states = outputs(word_encoder, TOKEN_IDS[0, 2:3, :3])
    np.testing.assert_allclose(vectors[0, 2], states[0].mean(axis=0), atol=1e-6)


def test_parameters_by_hand(with_words, without_words):
    # BiLSTM: 2 · 4 · (inputs · 3 + 3 · 3 + 3), then one weight for each input and state, and a bias.
    def expected(inputs):
        return 2 * 4 * (inputs * 3 + 3 * 3 + 3) + inputs + 6 + 1

    assert sum(int(np.prod(w.shape)) for w in without_words.trainable_weights) == expected(4)
    word_encoder = 10 * 5 + 2 * 4 * (5 * 3 + 3 * 3 + 3)
    assert sum(int(np.prod(w.shape)) for w in with_words.trainable_weights) == expected(4 + 6) + word_encoder


def test_targets_and_loss_by_hand():
    rouge = [np.array([0.1, 0.3]), np.array([0.2, 0.2, 0.2, 0.9])]
    targets = rouge_targets(rouge, 3, temperature=0.2)
    first = 1 / (1 + np.e)
    np.testing.assert_allclose(targets, [[first, 1 - first, 0], [1 / 3] * 3], rtol=1e-6)
    scores = np.array([[0.0, np.log(3), PADDING_SCORE], [0.0, 0.0, 0.0]], dtype=np.float32)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)(targets, scores)
    by_hand = (-(first * np.log(1 / 4) + (1 - first) * np.log(3 / 4)) + np.log(3)) / 2
    assert float(loss) == pytest.approx(by_hand, rel=1e-6)
    np.testing.assert_allclose(rouge_targets(rouge, 4, 1e-4), [[0, 1, 0, 0], [0, 0, 0, 1]])
    with pytest.raises(UsageError, match="temperature is 0"):
        rouge_targets(rouge, 3, 0)


def test_it_learns_what_only_the_neighbours_tell():
    # The best sentence is the one after the marked one.
    keras.utils.set_random_seed(0)
    marked = RANDOM.integers(0, 5, 300)
    features = RANDOM.normal(size=(300, 6, 2)).astype(np.float32)
    features[:, :, 0] = 0.1
    features[np.arange(300), marked, 0] = 3
    targets = np.eye(6, dtype=np.float32)[marked + 1]
    model = build_summarizer(None, features.reshape(-1, 2), hidden_dim=8)
    model.compile(
        optimizer=keras.optimizers.Adam(0.03), loss=keras.losses.CategoricalCrossentropy(from_logits=True)
    )
    model.fit(features[:200], targets[:200], batch_size=20, epochs=8, verbose=0)
    assert (outputs(model, features[200:]).argmax(axis=1) == marked[200:] + 1).mean() > 0.95


def test_untrained_it_prefers_no_sentence_and_l2_weighs_the_last_layer():
    model = build_summarizer(None, TRAINING_FEATURES, hidden_dim=3, l2=0.5)
    np.testing.assert_array_equal(outputs(model, FEATURES), 0)
    model.get_layer("score").set_weights([np.full((10, 1), 2.0), np.array([9.0])])
    assert float(sum(model.losses)) == pytest.approx(0.5 * 10 * 4)


def test_saved_and_loaded(with_words, tmp_path):
    with_words.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        outputs(loaded, TOKEN_IDS, FEATURES), outputs(with_words, TOKEN_IDS, FEATURES), atol=1e-6
    )


@pytest.mark.parametrize("features", [np.zeros((0, 4)), np.zeros((3, 0)), np.zeros(4)])
def test_errors(features):
    with pytest.raises(UsageError, match="one row for each training sentence"):
        build_summarizer(None, features)
