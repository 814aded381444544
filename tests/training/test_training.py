"""Training: loss and accuracy by hand, early stopping, prediction order, range test, repeatable runs."""

from pathlib import Path

import keras
import nbformat
import numpy as np
import pytest
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

from course_lib.errors import UsageError
from course_lib.models.classifier import build_classifier, build_regressor
from course_lib.models.encoder import build_encoder
from course_lib.text.batches import BucketedBatches, ShardedBatches
from course_lib.text.pairs import PairBatches
from course_lib.text.streams import StreamBatches
from course_lib.training import (
    compile_classifier,
    compile_regressor,
    cosine_schedule,
    learning_rate_range_test,
    predict,
    train,
)

NUM_IDS, BUCKETS = 20, [4, 8]


def small_model(seed=0, dropout=0.0):
    keras.utils.set_random_seed(seed)
    encoder = build_encoder(NUM_IDS, embedding_dim=4, hidden_dim=3, dropout=dropout)
    return build_classifier(encoder, 3, dropout=dropout)


def quick_model():
    """The mean of the embeddings, padding left out: where the encoder does not matter."""
    keras.utils.set_random_seed(0)
    token_ids = keras.Input((None,), dtype="int32")
    states = keras.layers.Embedding(NUM_IDS, 4, mask_zero=True)(token_ids)
    return keras.Model(token_ids, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(states)))


def random_texts(num_texts, seed=0):
    random = np.random.default_rng(seed)
    sequences = [random.integers(2, NUM_IDS, size=size).tolist() for size in random.integers(0, 9, num_texts)]
    return sequences, random.integers(0, 3, num_texts)


def one_by_one(model, sequences):
    rows = [model(np.array([ids or [1]]), training=False)[0] for ids in sequences]
    return np.array([keras.ops.convert_to_numpy(row) for row in rows])


def cross_entropy(logits, labels):
    """-log softmax(logits)[label] for each row, written out."""
    return np.array(
        [np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, labels, strict=True)]
    )


class Logits(keras.Model):
    """Returns its input: the logits are known."""

    def call(self, inputs):
        return inputs


def test_loss_and_accuracy_by_hand():
    model = Logits()
    compile_classifier(model, keras.optimizers.SGD())
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]], dtype=np.float32)
    labels = np.array([0, 0, 1])
    # log(1 + e^-2) = 0.126928, log(1 + e^1) = 1.313262, log(1 + e^2) = 2.126928
    result = model.evaluate(logits, labels, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx((0.126928 + 1.313262 + 2.126928) / 3, abs=1e-5)
    assert result["accuracy"] == pytest.approx(1 / 3)
    # A row of weight zero counts for neither.
    result = model.evaluate(
        logits, labels, sample_weight=np.array([1.5, 1.5, 0]), verbose=0, return_dict=True
    )
    assert result["loss"] == pytest.approx((0.126928 + 1.313262) / 2, abs=1e-5)
    assert result["accuracy"] == pytest.approx(1 / 2)


@pytest.mark.parametrize("num_texts, batch_size", [(10, 8), (3, 8), (8, 4), (13, 4)])
def test_loss_and_accuracy_over_batches_are_those_of_the_examples(num_texts, batch_size):
    sequences, labels = random_texts(num_texts)
    model = quick_model()
    compile_classifier(model, keras.optimizers.SGD())
    batches = BucketedBatches(sequences, labels, batch_size=batch_size, bucket_lengths=BUCKETS, seed=0)
    result = model.evaluate(batches, verbose=0, return_dict=True)
    logits = one_by_one(model, sequences)
    assert result["loss"] == pytest.approx(cross_entropy(logits, labels).mean(), abs=1e-5)
    assert result["accuracy"] == pytest.approx((logits.argmax(axis=1) == labels).mean())


def test_train_reports_the_loss_of_the_examples():
    sequences, labels = random_texts(11)
    model = quick_model()
    # With a rate of zero, the loss of the epoch is the loss of the model as it stands.
    compile_classifier(model, keras.optimizers.SGD(0.0))
    batches = BucketedBatches(sequences, labels, batch_size=4, bucket_lengths=BUCKETS, seed=0)
    history = train(model, batches, batches, epochs=1, verbose=0)
    expected = cross_entropy(one_by_one(model, sequences), labels).mean()
    assert history["loss"] == [pytest.approx(expected, abs=1e-5)]
    assert history["val_loss"] == [pytest.approx(expected, abs=1e-5)]
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}


def test_one_batch_takes_the_gradient_of_the_mean():
    sequences, labels = random_texts(3)
    model = quick_model()
    compile_classifier(model, keras.optimizers.SGD(1.0))
    before = model.layers[-1].bias.numpy()
    logits = one_by_one(model, sequences)
    batches = BucketedBatches(sequences, labels, batch_size=8, bucket_lengths=BUCKETS)
    train(model, batches, epochs=1, verbose=0)
    # d loss / d bias = mean over the examples of softmax - one-hot.
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    gradient = (softmax - np.eye(3)[labels]).mean(axis=0)
    np.testing.assert_allclose(before - model.layers[-1].bias.numpy(), gradient, atol=1e-6)


class Observer(keras.callbacks.Callback):
    """Keeps the weights and the order of the data of each epoch."""

    def __init__(self, batches):
        super().__init__()
        self.batches, self.weights, self.orders, self.epochs = batches, [], [], []

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            self.orders.append([chunk.tolist() for _, chunk in self.batches.batches])
            self.epochs.append(self.batches.epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())


class FakeLosses(keras.callbacks.Callback):
    """Replaces the validation losses by given ones."""

    def __init__(self, losses):
        super().__init__()
        self.losses = losses

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = self.losses[epoch]


@pytest.mark.parametrize(
    "losses, patience, num_epochs, best",
    [
        ([5, 4, 3, 4, 4, 9, 9], 2, 5, 2),
        ([5, 6, 4, 6, 6, 6, 1], 3, 6, 2),
        ([5, 6, 4, 6, 6, 6, 1], 4, 7, 6),
        # An equal loss is no improvement.
        ([5, 5, 5, 1], 2, 3, 0),
        ([1, 2], 1, 2, 0),
        # What is not a number is never the best.
        ([5, float("nan"), float("nan"), 1], 2, 3, 0),
        ([float("nan"), 3, 4, 5], 2, 4, 1),
        ([5, 4, 3], 5, 3, 2),
        ([5, 4, 4.5], 5, 3, 1),
    ],
)
def test_early_stopping_returns_the_best_weights(losses, patience, num_epochs, best):
    sequences, labels = random_texts(8)
    model = quick_model()
    compile_classifier(model, keras.optimizers.SGD(0.5))
    batches = BucketedBatches(sequences, labels, batch_size=4, bucket_lengths=[8], seed=0)
    observer = Observer(batches)
    history = train(
        model,
        batches,
        batches,
        epochs=len(losses),
        patience=patience,
        callbacks=[FakeLosses(losses), observer],
        verbose=0,
    )
    assert history["val_loss"] == pytest.approx(losses[:num_epochs], nan_ok=True)
    assert len(observer.weights) == num_epochs
    for index, weights in enumerate(observer.weights):
        same = all((a == b).all() for a, b in zip(model.get_weights(), weights, strict=True))
        assert same == (index == best)


def test_without_patience_the_last_weights_stay():
    sequences, labels = random_texts(8)
    model = quick_model()
    compile_classifier(model, keras.optimizers.SGD(0.5))
    batches = BucketedBatches(sequences, labels, batch_size=4, bucket_lengths=[8], seed=0)
    observer = Observer(batches)
    train(model, batches, batches, epochs=3, callbacks=[FakeLosses([1, 2, 3]), observer], verbose=0)
    assert len(observer.weights) == 3
    assert all((a == b).all() for a, b in zip(model.get_weights(), observer.weights[2], strict=True))


def test_each_epoch_serves_its_own_order():
    sequences, labels = random_texts(24)
    model = quick_model()
    compile_classifier(model, keras.optimizers.SGD())
    batches = BucketedBatches(sequences, labels, batch_size=4, bucket_lengths=BUCKETS, seed=3)
    observer = Observer(batches)
    train(model, batches, epochs=3, callbacks=[observer], verbose=0)
    assert observer.epochs == [0, 1, 2]
    for epoch in range(3):
        batches.epoch = epoch
        assert observer.orders[epoch] == [chunk.tolist() for _, chunk in batches.batches]


def test_wrong_use_is_refused():
    sequences, labels = random_texts(4)
    batches = BucketedBatches(sequences, labels, batch_size=4, bucket_lengths=[8])
    model = quick_model()
    with pytest.raises(UsageError, match="not compiled"):
        train(model, batches, epochs=1)
    compile_classifier(model, keras.optimizers.SGD())
    with pytest.raises(UsageError, match="validation batches"):
        train(model, batches, epochs=1, patience=2)
    with pytest.raises(UsageError, match="patience is 0"):
        train(model, batches, batches, epochs=1, patience=0)


@pytest.mark.parametrize("num_texts, batch_size", [(1, 4), (7, 4), (21, 4), (5, 16)])
def test_predict_keeps_the_order(num_texts, batch_size):
    sequences, _ = random_texts(num_texts, seed=num_texts)
    model = quick_model()
    outputs = predict(model, sequences, batch_size=batch_size, bucket_lengths=[2, 4, 8])
    assert outputs.shape == (num_texts, 3)
    np.testing.assert_allclose(outputs, one_by_one(model, sequences), atol=1e-6)


def test_two_runs_with_one_seed_are_equal_bit_for_bit():
    sequences, labels = random_texts(30)
    runs = []
    for seed in (4, 4, 5):
        model = small_model(seed, dropout=0.3)
        compile_classifier(model, keras.optimizers.Adam(0.01))
        batches = BucketedBatches(sequences, labels, batch_size=8, bucket_lengths=BUCKETS, seed=0)
        history = train(model, batches, epochs=2, verbose=0)
        runs.append((history, [weights.tobytes() for weights in model.get_weights()]))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.fixture
def for_range_test():
    sequences, labels = random_texts(12)
    model = small_model(dropout=0.3)
    compile_classifier(model, keras.optimizers.Adam(0.01))
    batches = BucketedBatches(sequences, labels, batch_size=4, bucket_lengths=[8], seed=0)
    train(model, batches, epochs=1, verbose=0)
    return model, batches


def test_range_test_leaves_model_and_optimizer_as_they_were(for_range_test):
    model, batches = for_range_test
    variables = [*model.variables, *model.optimizer.variables]
    before = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
    epoch, order = batches.epoch, [chunk.tolist() for _, chunk in batches.batches]
    rates, losses = learning_rate_range_test(model, batches, lowest=1e-4, highest=1e-1, num_steps=7)
    # Seven steps from 1e-4 to 1e-1: half a decade each; three batches are repeated.
    np.testing.assert_allclose(rates, [10 ** (-4 + k / 2) for k in range(7)])
    assert losses.shape == (7,) and np.isfinite(losses).all() and len(set(losses)) == 7
    after = [keras.ops.convert_to_numpy(variable) for variable in variables]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=True))
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    assert int(model.optimizer.iterations) == 3
    assert (batches.epoch, [chunk.tolist() for _, chunk in batches.batches]) == (epoch, order)


def test_range_test_reports_the_loss_of_each_batch():
    sequences, labels = random_texts(8)
    model = quick_model()
    compile_classifier(model, keras.optimizers.SGD(0.1))
    batches = BucketedBatches(sequences, labels, batch_size=4, bucket_lengths=[8])
    # At rates this low the model stands still.
    _, losses = learning_rate_range_test(model, batches, lowest=1e-12, highest=1e-11, num_steps=3)
    each = cross_entropy(one_by_one(model, sequences), labels)
    expected = [each[batches.batches[step % 2][1]].mean() for step in range(3)]
    np.testing.assert_allclose(losses, expected, atol=1e-5)


def test_range_test_stops_at_divergence():
    sequences, labels = random_texts(8)
    model = quick_model()
    compile_classifier(model, keras.optimizers.SGD(0.1))
    batches = BucketedBatches(sequences, labels, batch_size=8, bucket_lengths=[8])
    before = model.get_weights()
    rates, losses = learning_rate_range_test(model, batches, lowest=1e-2, highest=1e6, num_steps=50)
    assert 3 < len(losses) == len(rates) < 50
    assert losses[-1] > 4 * losses.min() or np.isnan(losses[-1])
    assert all(loss <= 4 * losses[: i + 1].min() for i, loss in enumerate(losses[:-1]))
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))


def test_range_test_gives_the_weights_back_when_it_is_interrupted(for_range_test, monkeypatch):
    model, batches = for_range_test
    before = model.get_weights()
    step = model.train_on_batch

    def interrupt(*args, **kwargs):
        step(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "train_on_batch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        learning_rate_range_test(model, batches, lowest=0.1, highest=1.0, num_steps=3)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)


def test_range_test_refuses_a_schedule():
    model = quick_model()
    compile_classifier(model, keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 10)))
    batches = BucketedBatches(*random_texts(4), batch_size=4, bucket_lengths=[8])
    with pytest.raises(UsageError, match="schedule"):
        learning_rate_range_test(model, batches)


def test_the_schedule_is_the_one_of_notebook_04():
    notebook = Path(__file__).resolve().parents[2] / "notebooks" / "04_training.ipynb"
    cell = next(c for c in nbformat.read(notebook, as_version=4).cells if c.id == "schedule-check")
    names = {"np": np, "keras": keras}
    exec(cell.source, names)
    for steps, share in ((200, 0.1), (57, 0.25), (9, 0.05)):
        theirs = names["cosine_schedule"](3e-3, steps, share)
        ours = cosine_schedule(3e-3, steps, share)
        assert [float(ours(step)) for step in range(steps)] == [float(theirs(step)) for step in range(steps)]
    # By hand: half way up after 10 of 20 warm-up steps, half way down after 90 of the other 180.
    rates = [float(cosine_schedule(2.0, 200)(step)) for step in (0, 10, 20, 110, 200)]
    assert rates == pytest.approx([0, 1, 2, 1, 0], abs=1e-6)
    with pytest.raises(UsageError, match="A run of 1 step has no schedule"):
        cosine_schedule(1e-3, 1)


def test_a_regressor_s_loss_and_error_are_those_by_hand_although_the_last_batch_is_filled():
    sequences, _ = random_texts(7)
    targets = np.linspace(-4, 4, 7).astype("float32")
    keras.utils.set_random_seed(0)
    model = build_regressor(build_encoder(NUM_IDS, embedding_dim=4, hidden_dim=3), pooling="mean")
    predictions = one_by_one(model, sequences)
    assert predictions.shape == (7, 1)
    compile_regressor(model, keras.optimizers.SGD(0.0))
    batches = BucketedBatches(sequences, targets, batch_size=4, bucket_lengths=BUCKETS, seed=0)
    history = train(model, batches, epochs=1, verbose=0)
    errors = predictions[:, 0] - targets
    assert history["loss"][0] == pytest.approx(np.mean(errors**2), rel=1e-4)
    assert history["mae"][0] == pytest.approx(np.abs(errors).mean(), rel=1e-4)


def test_a_regressor_learns_a_mean():
    sequences = [[2, 3], [4, 5], [6, 7, 8], [9]] * 4
    targets = np.full(16, 2.5)
    keras.utils.set_random_seed(0)
    model = build_regressor(build_encoder(NUM_IDS, embedding_dim=4, hidden_dim=3))
    compile_regressor(model, keras.optimizers.Adam(0.05))
    train(
        model, BucketedBatches(sequences, targets, batch_size=4, bucket_lengths=BUCKETS), epochs=40, verbose=0
    )
    np.testing.assert_allclose(one_by_one(model, sequences), 2.5, atol=0.1)


def test_keras_takes_the_batches_in_their_order():
    sequences, labels = random_texts(60)
    by_fit, by_hand = quick_model(), quick_model()
    batches = BucketedBatches(sequences, labels, batch_size=4, bucket_lengths=BUCKETS, seed=0)
    for model in (by_fit, by_hand):
        compile_classifier(model, keras.optimizers.SGD(0.5, momentum=0.9))
    train(by_fit, batches, epochs=3, verbose=0)
    for epoch in range(3):
        batches.epoch = epoch
        for index in range(len(batches)):
            by_hand.train_on_batch(*batches[index])
    for fitted, expected in zip(by_fit.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(fitted, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data feeds TensorFlow alone")
def test_no_pass_waits_for_the_autotuning_of_tf_data():
    bucketed = BucketedBatches([[2], [3]], batch_size=2, bucket_lengths=[4])
    for batches in (
        bucketed,
        ShardedBatches(bucketed, 2, 0),
        PairBatches([[5]], [[6]], max_tokens=4),
        StreamBatches(np.arange(10), batch_size=2, num_steps=2),
    ):
        assert PyDatasetAdapter(batches).get_tf_dataset().options().autotune.enabled is False
