"""Language model: loss, perplexity, carried state and sampled softmax against independent computations."""

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from course_lib.errors import CourseError, UsageError
from course_lib.models.language_model import (
    FullSoftmaxLoss,
    ResetStates,
    SampledSoftmaxLoss,
    build_language_model,
    encoder_from_language_model,
    log_probabilities,
    log_uniform_probability,
    perplexity,
    reset_states,
)
from course_lib.text import Vocabulary
from course_lib.text.streams import StreamBatches, token_stream
from course_lib.training import compile_language_model, train

SIZE = 40
needs_carried_states = pytest.mark.skipif(
    keras.backend.backend() == "jax",
    reason="on the JAX backend Keras's fit and predict do not carry the state of a stateful layer",
)


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return build_language_model(
        SIZE, batch_size=2, embedding_dim=6, hidden_dim=5, directions=("forward", "backward")
    )


def random_stream(length, seed=0):
    return np.random.default_rng(seed).integers(2, SIZE, size=length).astype(np.int32)


def test_a_stream_holds_each_text_and_its_end():
    vocabulary = Vocabulary(["a", "<eos>", "b"])
    np.testing.assert_array_equal(token_stream([["a", "b"], ["x"]], vocabulary), [2, 4, 3, 1, 3])
    with pytest.raises(UsageError, match="lacks <eos>"):
        token_stream([["a"]], Vocabulary(["a"]))
    with pytest.raises(UsageError, match="at least one text"):
        token_stream([], vocabulary)


def test_windows_go_on_where_the_last_one_ended_in_both_directions():
    batches = StreamBatches(np.arange(10), batch_size=2, num_steps=2, directions=("forward", "backward"))
    assert len(batches) == 2
    inputs, targets = batches[1]
    np.testing.assert_array_equal(inputs["forward"], [[2, 3], [6, 7]])
    np.testing.assert_array_equal(targets["forward"], [[3, 4], [7, 8]])
    np.testing.assert_array_equal(inputs["backward"], [[7, 6], [3, 2]])
    np.testing.assert_array_equal(targets["backward"], [[6, 5], [2, 1]])
    with pytest.raises(UsageError, match="too short"):
        StreamBatches(np.arange(10), batch_size=2, num_steps=5)
    for sizes in ({"batch_size": 0, "num_steps": 2}, {"batch_size": 2, "num_steps": 0}):
        with pytest.raises(UsageError, match="both must be at least 1"):
            StreamBatches(np.arange(10), **sizes)
    with pytest.raises(UsageError, match="forward, backward or both"):
        StreamBatches(np.arange(10), batch_size=2, num_steps=2, directions=("sideways",))


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(model):
    model.get_layer("token_embedding").set_weights([np.zeros((SIZE, 6))])
    scores = log_probabilities(model, random_stream(33))
    assert scores.shape == (32,)
    assert perplexity(scores) == pytest.approx(SIZE, rel=1e-6)


@needs_carried_states
def test_scores_are_those_of_an_lstm_over_the_whole_row(model):
    ids = random_stream(81)
    table = model.get_layer("token_embedding").get_weights()[0]
    plain = keras.layers.LSTM(5, return_sequences=True)
    for direction, stream in [("forward", ids), ("backward", ids[::-1])]:
        plain.build((1, None, 6))
        plain.set_weights(model.get_layer(f"{direction}_lstm").get_weights())
        output = model.get_layer(f"{direction}_next")
        kernel, bias = output.projection.get_weights()
        rows, targets = stream[:80].reshape(2, 40), stream[1:81].reshape(2, 40)
        states = keras.ops.convert_to_numpy(plain(table[rows]))
        logits = (states @ kernel + bias) @ table.T + keras.ops.convert_to_numpy(output.bias)
        expected = np.take_along_axis(log_softmax(logits, axis=-1), targets[..., None], axis=-1).ravel()
        np.testing.assert_allclose(log_probabilities(model, ids, direction), expected, atol=1e-5)


@needs_carried_states
def test_the_state_is_carried_until_it_is_reset(model):
    window = {name: random_stream(6).reshape(2, 3) for name in ("forward", "backward")}
    reset_states(model)
    first = model.predict_on_batch(window)["forward"]
    second = model.predict_on_batch(window)["forward"]
    assert np.abs(first - second).max() > 1e-3
    reset_states(model)
    np.testing.assert_array_equal(model.predict_on_batch(window)["forward"], first)


def test_full_loss_is_the_mean_negative_log_probability(model):
    ids = random_stream(21)
    batches = StreamBatches(ids, batch_size=2, num_steps=10)
    vectors = model.predict_on_batch({**batches[0][0], "backward": np.zeros((2, 10), np.int32)})["forward"]
    loss = float(FullSoftmaxLoss(model, "forward")(batches[0][1]["forward"], vectors))
    assert loss == pytest.approx(-log_probabilities(model, ids).mean(), abs=1e-5)


def test_the_draw_follows_the_stated_distribution(model):
    probabilities = keras.ops.convert_to_numpy(log_uniform_probability(np.arange(SIZE), SIZE))
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    drawn = keras.ops.convert_to_numpy(model.get_layer("forward_next").draw(40_000))
    np.testing.assert_allclose(np.bincount(drawn, minlength=SIZE) / 40_000, probabilities, atol=0.01)


def test_sampled_loss_comes_near_the_full_one_with_many_samples(model):
    model.get_layer("token_embedding").set_weights([np.random.default_rng(1).normal(size=(SIZE, 6))])
    targets = random_stream(200).reshape(2, 100)
    vectors = np.random.default_rng(2).normal(size=(2, 100, 6)).astype("float32")
    full = float(FullSoftmaxLoss(model, "forward")(targets, vectors))
    sampled = float(SampledSoftmaxLoss(model, "forward", 20_000)(targets, vectors))
    assert sampled == pytest.approx(full, abs=0.05)


@needs_carried_states
def test_training_lowers_the_perplexity_and_is_repeatable():
    ids = np.tile(np.arange(2, 12), 60).astype(np.int32)
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model = build_language_model(SIZE, batch_size=4, embedding_dim=8, hidden_dim=8, dropout=0.1)
        compile_language_model(model, keras.optimizers.Adam(0.02), num_samples=20)
        batches = StreamBatches(ids, batch_size=4, num_steps=10)
        train(model, batches, epochs=12, callbacks=[ResetStates()], verbose=0)
        weights.append(model.get_weights())
    assert perplexity(log_probabilities(model, ids)) < 2
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_encoder_has_the_language_models_states(model):
    ids = random_stream(14).reshape(2, 7)
    states = encoder_from_language_model(model).predict_on_batch(ids)
    table = model.get_layer("token_embedding").get_weights()[0]
    for direction, half in [("forward", slice(0, 5)), ("backward", slice(5, 10))]:
        layer = keras.layers.LSTM(5, return_sequences=True, go_backwards=direction == "backward")
        layer.build((2, 7, 6))
        layer.set_weights(model.get_layer(f"{direction}_lstm").get_weights())
        expected = keras.ops.convert_to_numpy(layer(table[ids]))
        if direction == "backward":
            expected = expected[:, ::-1]
        np.testing.assert_allclose(states[..., half], expected, atol=1e-6)


def test_an_encoder_needs_both_directions():
    forward = build_language_model(SIZE, batch_size=2, embedding_dim=4, hidden_dim=4)
    with pytest.raises(UsageError, match="Unknown direction of this model 'backward'"):
        log_probabilities(forward, np.arange(4), "backward")
    with pytest.raises(UsageError, match=r"shape \(3, 4\); 5 ids with vectors of 4 need \(5, 4\)"):
        build_language_model(5, batch_size=2, embedding_dim=4, embedding_matrix=np.zeros((3, 4)))
    with pytest.raises(UsageError, match="only forward"):
        encoder_from_language_model(forward)


def test_a_diverging_run_stops_and_says_where(tmp_path):
    keras.utils.set_random_seed(0)
    model = build_language_model(SIZE, batch_size=2, embedding_dim=4, hidden_dim=4)
    compile_language_model(model, keras.optimizers.SGD(1e30))
    with pytest.raises(
        CourseError, match=r"The loss became .* in epoch \d+, batch \d+: lower the learning rate"
    ):
        train(model, StreamBatches(random_stream(200), batch_size=2, num_steps=10), epochs=3, verbose=0)
