"""Pruning: masks by brute force, zeros that survive training and reload, smaller networks that are equal."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.sparse import csr_array

from course_lib.compression.pruning import (
    CubicSchedule,
    PruningCallback,
    apply_masks,
    keep_units,
    lstm_states,
    magnitude_masks,
    remove_units,
    unit_importance,
    weights_to_prune,
)
from course_lib.errors import UsageError
from course_lib.models.classifier import build_classifier
from course_lib.models.encoder import build_encoder
from course_lib.text.batches import BucketedBatches
from course_lib.training import compile_classifier, train

# Few distinct values, so that there are many ties.
TIED_VALUES = st.integers(-3, 3).map(float)
MATRICES = st.lists(
    arrays(np.float32, array_shapes(max_dims=2, max_side=5), elements=TIED_VALUES), min_size=1, max_size=3
)
SPARSITIES = st.floats(0, 1, exclude_max=True)


def small_model(seed=1, pooling="max", num_layers=1, hidden_dim=6):
    keras.utils.set_random_seed(seed)
    encoder = build_encoder(30, embedding_dim=5, hidden_dim=hidden_dim, num_layers=num_layers, dropout=0.1)
    model = build_classifier(encoder, 3, pooling=pooling, dropout=0.2)
    # No weight of a fresh model's biases is at work: they are 0 and 1.
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(0, 0.7, values.shape) for values in model.get_weights()])
    return model


def texts(num_texts=64, seed=0):
    random = np.random.default_rng(seed)
    sequences = [list(random.integers(1, 30, random.integers(1, 9))) for _ in range(num_texts)]
    return sequences, np.array([sum(ids) % 3 for ids in sequences])


def batches():
    sequences, labels = texts()
    return BucketedBatches(sequences, labels, batch_size=8, bucket_lengths=[4, 8], seed=0)


def compiled(model):
    compile_classifier(model, keras.optimizers.Adam(0.01))
    return model


def zeros(model, layer_names=None):
    weights = weights_to_prune(model, layer_names)
    return {name: keras.ops.convert_to_numpy(variable) == 0 for name, variable in weights.items()}


def brute_force(values, sparsity):
    """True where a weight stays, one after the other: the smallest goes, of equal ones the first."""
    values, kept = list(np.abs(values)), [True] * len(values)
    for _ in range(round(sparsity * len(values))):
        smallest = min(values)
        first = values.index(smallest)
        kept[first], values[first] = False, float("inf")
    return kept


@given(MATRICES, SPARSITIES)
def test_masks_per_layer_by_brute_force(matrices, sparsity):
    weights = {str(index): matrix for index, matrix in enumerate(matrices)}
    masks = magnitude_masks(weights, sparsity, scope="layer")
    for name, matrix in weights.items():
        assert masks[name].shape == matrix.shape
        assert masks[name].ravel().tolist() == brute_force(matrix.ravel(), sparsity)


@given(MATRICES, SPARSITIES)
def test_global_masks_by_brute_force(matrices, sparsity):
    weights = {str(index): matrix for index, matrix in enumerate(matrices)}
    masks = magnitude_masks(weights, sparsity, scope="global")
    together = np.concatenate([matrix.ravel() for matrix in matrices])
    assert [masks[name].shape for name in weights] == [matrix.shape for matrix in matrices]
    assert np.concatenate([masks[name].ravel() for name in weights]).tolist() == brute_force(
        together, sparsity
    )


def test_masks_by_hand():
    weights = {"a": np.array([[0.5, -0.1], [2.0, -3.0]]), "b": np.array([0.2, -0.3, 4.0, 5.0])}
    by_layer = magnitude_masks(weights, 0.5, scope="layer")
    assert by_layer["a"].tolist() == [[False, False], [True, True]]
    assert by_layer["b"].tolist() == [False, False, True, True]
    # The three smallest of all eight: 0.1, 0.2 and 0.3.
    together = magnitude_masks(weights, 3 / 8, scope="global")
    assert together["a"].tolist() == [[True, False], [True, True]]
    assert together["b"].tolist() == [False, False, True, True]


def test_zeros_are_zero_bytes():
    variable = keras.Variable([-1.0, 2.0, -3.0])
    apply_masks({"a": variable}, {"a": np.array([False, False, True])})
    values = keras.ops.convert_to_numpy(variable)
    assert values.tolist() == [0, 0, -3]
    assert values[:2].tobytes() == bytes(8)  # -0.0 would equal 0 and not be zero bytes


def test_which_weights_are_pruned():
    model = small_model()
    shapes = [tuple(variable.shape) for variable in weights_to_prune(model).values()]
    assert shapes == [(5, 24), (6, 24), (5, 24), (6, 24), (12, 3)]
    assert [tuple(v.shape) for v in weights_to_prune(model, ["token_embedding"]).values()] == [(30, 5)]


@pytest.mark.parametrize(
    ("step", "sparsity"),
    [
        (0, 0.1),
        (99, 0.1),
        (100, 0.1),  # (1 - 0)**3 = 1
        (199, 0.1),
        (200, 0.9 - 0.8 * 0.421875),  # 0.75**3
        (300, 0.9 - 0.8 * 0.125),
        (350, 0.9 - 0.8 * 0.125),
        (499, 0.9 - 0.8 * 0.015625),  # 0.25**3
        (500, 0.9),
        (9_999, 0.9),
    ],
)
def test_schedule_by_hand(step, sparsity):
    schedule = CubicSchedule(0.9, first_step=100, last_step=500, every=100, initial=0.1)
    assert schedule(step) == pytest.approx(sparsity, abs=1e-12)


def test_schedule_of_one_step_prunes_at_once():
    schedule = CubicSchedule(0.5, first_step=3, last_step=3)
    assert [schedule(step) for step in range(5)] == [0, 0, 0, 0.5, 0.5]


@given(st.integers(0, 20), st.integers(0, 50), st.integers(1, 9), SPARSITIES)
def test_schedule_never_falls_and_arrives(first_step, length, every, sparsity):
    schedule = CubicSchedule(sparsity, first_step=first_step, last_step=first_step + length, every=every)
    values = [schedule(step) for step in range(first_step + length + 2)]
    assert values == sorted(values) and values[-2:] == [sparsity, sparsity]


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_masks_are_exact_after_training_and_reload(scope, tmp_path):
    model = compiled(small_model())
    schedule = CubicSchedule(0.75, first_step=2, last_step=12, every=3)
    train(model, batches(), epochs=3, callbacks=[PruningCallback(schedule, scope=scope)], verbose=0)
    found = zeros(model)
    if scope == "layer":
        assert [mask.sum() for mask in found.values()] == [90, 108, 90, 108, 27]
    # Python rounds halves to even: 0.75 of 564 is 423 exactly.
    assert sum(mask.sum() for mask in found.values()) == 423
    kinds = {"bias", "embeddings"}
    assert all(np.all(v.numpy() != 0) for v in model.trainable_variables if v.name in kinds)
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    for before, after in zip(model.get_weights(), reloaded.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_without_the_callback_the_optimizer_revives_the_weights():
    model = compiled(small_model())
    weights = weights_to_prune(model)
    apply_masks(weights, magnitude_masks(weights, 0.75))
    assert sum(mask.sum() for mask in zeros(model).values()) == 423
    train(model, batches(), epochs=1, verbose=0)
    assert sum(mask.sum() for mask in zeros(model).values()) < 50


def test_masks_grow_and_never_shrink():
    pruned = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            pruned.append(np.concatenate([mask.ravel() for mask in zeros(self.model).values()]))

    model = compiled(small_model())
    callback = PruningCallback(CubicSchedule(0.5, first_step=2, last_step=16), scope="global")
    train(model, batches(), epochs=3, callbacks=[callback, Watch()], verbose=0)
    assert all(np.all(after[before]) for before, after in itertools.pairwise(pruned))
    counts = [mask.sum() for mask in pruned]
    # Batch number i is the optimizer's step i + 1; 564 weights; s(3) = 0.5 (1 - (13 / 14)**3).
    assert counts[:3] == [0, 0, round(564 * 0.5 * (1 - (13 / 14) ** 3))]
    assert counts[15:] == [282] * (len(counts) - 15)


def test_the_embedding_is_pruned_only_by_name():
    model = compiled(small_model())
    callback = PruningCallback(
        CubicSchedule(0.5, first_step=0, last_step=4), layer_names=["token_embedding", "logits"]
    )
    train(model, batches(), epochs=1, callbacks=[callback], verbose=0)
    assert [mask.sum() for mask in zeros(model, ["token_embedding", "logits"]).values()] == [75, 18]
    assert not any(mask.any() for mask in zeros(model, ["bilstm_1"]).values())


def test_a_resumed_run_finds_its_masks(tmp_path):
    def run(epochs, folder):
        model = compiled(small_model())
        callback = PruningCallback(CubicSchedule(0.75, first_step=2, last_step=12, every=5))
        train(model, batches(), epochs=epochs, checkpoint_dir=folder, callbacks=[callback], verbose=0)
        return model.get_weights()

    whole = run(3, tmp_path / "whole")
    # The first epoch has 8 steps: too few for the schedule, which the callback refuses; so stop after two.
    run(2, tmp_path / "parts")
    for first, second in zip(whole, run(3, tmp_path / "parts"), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("pooling", ["max", "mean", "max_mean"])
def test_the_smaller_model_equals_the_masked_one(pooling):
    model = small_model(pooling=pooling)
    kept = np.array([[4, 1, 2], [0, 5, 3]])
    smaller = keep_units(model, kept)
    masked = keras.models.clone_model(model)
    masked.set_weights(model.get_weights())
    layer = masked.get_layer("encoder").get_layer("bilstm_1")
    weights = layer.get_weights()
    for direction, units in enumerate(kept):
        for unit in set(range(6)) - set(units.tolist()):
            # All that leads into the unit, in each of its gates; what leads out of it stays.
            for values in weights[3 * direction : 3 * direction + 3]:
                for gate in range(4):
                    values[..., 6 * gate + unit] = 0
    layer.set_weights(weights)
    ids = np.random.default_rng(0).integers(1, 30, (20, 7)).astype("int32")
    ids[:8, 4:] = 0
    expected = keras.ops.convert_to_numpy(masked(ids))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(smaller(ids)), expected, atol=1e-6)
    # The removed units did say something.
    assert np.abs(keras.ops.convert_to_numpy(model(ids)) - expected).max() > 0.05
    assert smaller.get_layer("encoder").output_shape == (None, None, 6)
    assert (
        smaller.count_params()
        == 30 * 5 + 2 * 4 * 3 * (5 + 3 + 1) + (12 if pooling == "max_mean" else 6) * 3 + 3
    )


def test_the_smaller_model_can_be_trained_on_saved_and_keeps_its_dropout(tmp_path):
    smaller = compiled(remove_units(small_model(), 2))
    assert smaller.get_layer("head_dropout").rate == 0.2
    assert smaller.get_layer("encoder").get_layer("embedding_dropout").rate == 0.1
    before = smaller.get_weights()
    train(smaller, batches(), epochs=1, verbose=0)
    assert all(np.any(a != b) for a, b in zip(before, smaller.get_weights(), strict=True))
    smaller.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    for first, second in zip(smaller.get_weights(), reloaded.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_keeping_all_units_changes_nothing():
    model = small_model(pooling="max_mean")
    for first, second in zip(model.get_weights(), remove_units(model, 6).get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_importance_by_hand():
    model = small_model(hidden_dim=2)
    kernel, recurrent_kernel = np.zeros((5, 8)), np.zeros((2, 8))
    kernel[0] = [3, 0, 0, 0, 4, 0, 0, 0]  # gates in pairs: unit 0 hears with input and cell gate, 3 and 4
    kernel[1] = [0, 0, 0, 2, 0, 0, 0, 0]  # unit 1 with its forget gate
    recurrent_kernel[1] = [0, 0, 0, 0, 0, 0, 12, 0]  # unit 0's output gate hears unit 1
    head = np.zeros((4, 3))
    head[0], head[1] = [2, 1, 2], [0, 5, 0]
    model.get_layer("encoder").get_layer("bilstm_1").set_weights(
        [kernel, recurrent_kernel, np.full(8, 9.0), np.zeros((5, 8)), recurrent_kernel, np.zeros(8)]
    )
    model.get_layer("logits").set_weights([head, np.zeros(3)])
    # Forward: unit 0 hears sqrt(9 + 16 + 144) = 13 and says 3; unit 1 hears 2 and says sqrt(144 + 25) = 13.
    # Backward: unit 0 hears 12 and says nothing; unit 1 hears nothing and says 12.
    np.testing.assert_allclose(unit_importance(model), [[39, 26], [0, 0]])
    kept = remove_units(model, 1)
    np.testing.assert_array_equal(kept.get_layer("logits").get_weights()[0], head[[0, 2]])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 5), SPARSITIES, st.integers(0, 2**32 - 1))
def test_sparse_states_equal_dense_and_keras(num_steps, num_features, hidden_dim, sparsity, seed):
    random = np.random.default_rng(seed)
    weights = [
        random.normal(size=shape).astype("float32")
        for shape in [(num_features, 4 * hidden_dim), (hidden_dim, 4 * hidden_dim), (4 * hidden_dim,)]
    ]
    masks = magnitude_masks({"kernel": weights[0], "recurrent_kernel": weights[1]}, sparsity)
    kernel, recurrent_kernel = weights[0] * masks["kernel"], weights[1] * masks["recurrent_kernel"]
    inputs = random.normal(size=(num_steps, num_features)).astype("float32")
    layer = keras.layers.LSTM(hidden_dim, return_sequences=True)
    layer.build((None, num_steps, num_features))
    layer.set_weights([kernel, recurrent_kernel, weights[2]])
    dense = lstm_states(inputs, kernel.T, recurrent_kernel.T, weights[2])
    sparse = lstm_states(inputs, csr_array(kernel.T), csr_array(recurrent_kernel.T), weights[2])
    assert sparse.shape == (num_steps, hidden_dim)
    np.testing.assert_allclose(sparse, dense, atol=1e-5)
    np.testing.assert_allclose(dense, keras.ops.convert_to_numpy(layer(inputs[None]))[0], atol=1e-5)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
def test_impossible_sparsity_is_refused(sparsity):
    with pytest.raises(UsageError, match=r"sparsity is .*from 0 up to"):
        magnitude_masks({"a": np.ones(3)}, sparsity)
    with pytest.raises(UsageError, match="sparsity is"):
        CubicSchedule(sparsity, first_step=0, last_step=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"first_step": 5, "last_step": 4}, "not end before it begins"),
        ({"first_step": -1, "last_step": 4}, "begin at 0"),
        ({"first_step": 0, "last_step": 4, "every": 0}, "every is 0"),
        ({"first_step": 0, "last_step": 4, "initial": 0.9}, "down to 0.8"),
        ({"first_step": 0, "last_step": 4, "initial": -0.5}, "sparsity is -0.5"),
    ],
)
def test_impossible_schedules_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        CubicSchedule(0.8, **arguments)


def test_training_that_ends_before_the_schedule_is_refused():
    callback = PruningCallback(CubicSchedule(0.5, first_step=0, last_step=17))
    with pytest.raises(UsageError, match="ends at step 16, before the schedule's last step 17"):
        train(compiled(small_model()), batches(), epochs=2, callbacks=[callback], verbose=0)


def test_wrong_names_are_refused():
    schedule = CubicSchedule(0.5, first_step=0, last_step=4)
    with pytest.raises(UsageError, match="Unknown scope 'local'"):
        PruningCallback(schedule, scope="local")
    with pytest.raises(UsageError, match="Unknown scope 'local'"):
        magnitude_masks({"a": np.ones(3)}, 0.5, scope="local")
    with pytest.raises(UsageError, match="Did you mean 'logits'"):
        weights_to_prune(small_model(), ["logit"])
    with pytest.raises(UsageError, match="kernel to prune"):
        weights_to_prune(small_model(), ["pooling"])


def test_models_without_removable_units_are_refused():
    with pytest.raises(UsageError, match="this model has 2 BiLSTM layers"):
        remove_units(small_model(num_layers=2), 3)
    with pytest.raises(UsageError, match="this model has 0 BiLSTM layers"):
        unit_importance(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="logits")]))


@pytest.mark.parametrize("num_kept", [0, 7])
def test_impossible_numbers_of_units_are_refused(num_kept):
    with pytest.raises(UsageError, match=f"num_kept is {num_kept}"):
        remove_units(small_model(), num_kept)


@pytest.mark.parametrize(
    "kept",
    [[[0, 0], [1, 2]], [[0, 6], [1, 2]], [[0, -1], [1, 2]], [0, 1], [[], []], [[0, 1], [2]], [[0.0], [1.0]]],
)
def test_impossible_units_are_refused(kept):
    with pytest.raises(UsageError, match="two rows"):
        keep_units(small_model(), kept)
