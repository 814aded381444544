"""The distillation loss against SciPy, closed-form gradients and Keras's own; misfits are refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, rel_entr, softmax

from course_lib.compression.distillation import (
    DistillationLoss,
    check_classes,
    distillation_targets,
    soft_loss,
)
from course_lib.errors import UsageError
from course_lib.text.batches import BucketedBatches

NAMES = ("negative", "positive")
TEACHER = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]], dtype="float32")
STUDENT = np.array([[1.0, 0.0, -0.5], [0.3, -0.2, 2.0]], dtype="float32")


def soft_gradient(teacher, student, temperature):
    """By automatic differentiation, with respect to the student's logits."""
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        loss = soft_loss(teacher, student, temperature)
    return tape.gradient(loss, student).numpy()


def by_scipy(teacher, student, temperature):
    powers = rel_entr(softmax(teacher / temperature, axis=-1), softmax(student / temperature, axis=-1))
    return temperature**2 * powers.sum(axis=-1)


def test_soft_loss_of_two_classes_by_hand():
    # Teacher 3/4 to 1/4, student 1/2 to 1/2, at T = 1; doubled logits at T = 2 give the same divergence.
    teacher, student = np.array([[np.log(3.0), 0.0]]), np.array([[5.0, 5.0]])
    divergence = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    np.testing.assert_allclose(soft_loss(teacher, student, 1.0), [divergence], rtol=1e-6)
    np.testing.assert_allclose(soft_loss(2 * teacher, student, 2.0), [4 * divergence], rtol=1e-6)


logits = arrays(np.float32, (4, 3), elements=st.floats(-20, 20, width=32))


@settings(max_examples=50, deadline=None)
@given(logits, logits, st.floats(0.5, 20))
def test_soft_loss_equals_scipy_and_is_no_less_than_zero(teacher, student, temperature):
    found = keras.ops.convert_to_numpy(soft_loss(teacher, student, temperature))
    expected = by_scipy(teacher.astype("float64"), student.astype("float64"), temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3 * temperature)
    assert (found >= -1e-3 * temperature).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 8.0])
def test_gradient_is_t_times_the_difference_of_probabilities(temperature):
    expected = temperature * (softmax(STUDENT / temperature, axis=1) - softmax(TEACHER / temperature, axis=1))
    np.testing.assert_allclose(soft_gradient(TEACHER, STUDENT, temperature), expected, atol=1e-5)


def test_without_the_factor_the_gradient_falls_as_one_over_t_squared():
    sizes = [np.linalg.norm(soft_gradient(TEACHER, STUDENT, t)) / t**2 for t in (50.0, 100.0, 200.0)]
    np.testing.assert_allclose([sizes[0] / sizes[1], sizes[1] / sizes[2]], 4, rtol=0.03)


def test_for_large_t_the_gradient_matches_centred_logits():
    # Hinton et al. 2015, equation 4, times T²: (z − v) / N for logits of mean zero.
    teacher, student = (values - values.mean(axis=1, keepdims=True) for values in (TEACHER, STUDENT))
    found = soft_gradient(TEACHER, STUDENT, 300.0)
    np.testing.assert_allclose(found, (student - teacher) / 3, atol=0.01)


@pytest.mark.skipif(not hasattr(keras, "distillation"), reason="this Keras has none")
def test_soft_loss_is_that_of_keras():
    for temperature in (1.0, 3.0):
        # By the name "kl_divergence", its default, Keras 3.15 compares the logits without a softmax.
        theirs = keras.distillation.LogitsDistillation(temperature, loss=keras.losses.KLDivergence())
        expected = float(theirs.compute_loss(TEACHER, STUDENT))
        np.testing.assert_allclose(
            np.mean(soft_loss(TEACHER, STUDENT, temperature)), expected, rtol=1e-5, atol=1e-6
        )


def targets_of(labels):
    return np.column_stack([TEACHER, labels]).astype("float32")


def test_labels_and_teacher_are_mixed_and_unlabelled_texts_hear_the_teacher_alone():
    loss = DistillationLoss(temperature=2.0, alpha=0.3, reduction=None)
    found = keras.ops.convert_to_numpy(loss(targets_of([2, -1]), STUDENT))
    soft = by_scipy(TEACHER, STUDENT, 2.0)
    hard = -log_softmax(STUDENT, axis=1)[0, 2]
    np.testing.assert_allclose(found, [0.3 * soft[0] + 0.7 * hard, soft[1]], rtol=1e-5)


def test_alpha_zero_is_cross_entropy_and_alpha_one_ignores_the_labels():
    alone = DistillationLoss(alpha=0.0, reduction=None)(targets_of([1, 0]), STUDENT)
    np.testing.assert_allclose(alone, -log_softmax(STUDENT, axis=1)[[0, 1], [1, 0]], rtol=1e-5)
    taught = DistillationLoss(alpha=1.0)
    assert float(taught(targets_of([0, 1]), STUDENT)) == float(taught(targets_of([2, -1]), STUDENT))


def test_rows_that_fill_a_batch_do_not_count():
    random = np.random.default_rng(0)
    teacher = random.normal(size=(5, 2)).astype("float32")
    targets = distillation_targets(teacher, [0, 1, 1, 0, 1], teacher_classes=NAMES, student_classes=NAMES)
    inputs = keras.Input((None,), dtype="int32")
    vectors = keras.layers.Embedding(8, 2)(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(vectors))
    ids = [[1], [2, 3], [4, 5], [6], [7, 1]]
    batches = BucketedBatches(ids, targets, batch_size=4, bucket_lengths=[2])
    assert sum(len(batches[i][0]) for i in range(len(batches))) == 8
    loss = DistillationLoss(temperature=3.0, alpha=0.5)
    model.compile(loss=loss)
    student = np.concatenate([model.predict_on_batch(batches[i][0]) for i in range(len(batches))])[:5]
    order = np.concatenate([members for _, members in batches.batches])
    each = 0.5 * by_scipy(teacher[order], student, 3.0)
    each -= 0.5 * log_softmax(student, axis=1)[np.arange(5), targets[order, 2].astype(int)]
    np.testing.assert_allclose(model.evaluate(batches, verbose=0), each.mean(), rtol=1e-5)


def test_a_student_ends_at_its_teachers_probabilities():
    keras.utils.set_random_seed(0)
    points = np.random.default_rng(0).normal(size=(256, 4)).astype("float32")
    teacher = points @ np.array([[2, -1], [0, 1], [-1, 0.5], [0.5, 0.5]], dtype="float32")
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    targets = distillation_targets(teacher, teacher_classes=NAMES, student_classes=NAMES)
    student.compile(keras.optimizers.Adam(0.1), DistillationLoss(temperature=2.0))
    student.fit(points, targets, batch_size=256, epochs=150, verbose=0)
    difference = softmax(student.predict(points, verbose=0), axis=1) - softmax(teacher, axis=1)
    assert np.abs(difference).max() < 0.02


def test_loss_survives_saving():
    loss = DistillationLoss(temperature=3.0, alpha=0.25)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert (again.temperature, again.alpha) == (3.0, 0.25)


def test_targets_hold_logits_and_labels():
    teacher = np.array([[1.5, -0.5], [0.0, 2.0]])
    labelled = distillation_targets(teacher, [0, 1], teacher_classes=NAMES, student_classes=NAMES)
    assert labelled.tolist() == [[1.5, -0.5, 0], [0, 2, 1]]
    unlabelled = distillation_targets(teacher, teacher_classes=NAMES, student_classes=NAMES)
    assert unlabelled[:, 2].tolist() == [-1, -1]
    assert labelled.dtype == unlabelled.dtype == np.float32


@pytest.mark.parametrize(
    ("teacher", "student", "message"),
    [
        (("positive", "negative"), NAMES, "in the order"),
        (("negative", "neutral", "positive"), NAMES, "has 3 classes but the student 2"),
        (("bad", "good"), NAMES, "are not the student's"),
    ],
)
def test_other_classes_are_refused(teacher, student, message):
    with pytest.raises(UsageError, match=message):
        check_classes(teacher, student)
    with pytest.raises(UsageError, match=message):
        distillation_targets(
            np.zeros((2, len(teacher))), [0, 1], teacher_classes=teacher, student_classes=student
        )


def test_swapped_columns_under_the_right_names_are_noticed():
    labels = np.arange(60) % 2
    teacher = np.eye(2)[labels]
    teacher[:12] = teacher[:12, ::-1]  # right in 80 % of the texts
    distillation_targets(teacher, labels, teacher_classes=NAMES, student_classes=NAMES)
    with pytest.raises(UsageError, match="agrees with 20% of the labels"):
        distillation_targets(teacher[:, ::-1], labels, teacher_classes=NAMES, student_classes=NAMES)
    # Two of five are fewer than half, but that may be chance.
    distillation_targets(teacher[10:15], labels[10:15], teacher_classes=NAMES, student_classes=NAMES)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((2, 3)), [0, 1], "shape"),
        (np.zeros(2), [0, 1], "shape"),
        (np.array([[0, 1], [np.nan, 0]]), [0, 1], "row 1"),
        (np.zeros((2, 2)), [0, 2], "2"),
        (np.zeros((2, 2)), [0], "2 rows of logits but 1 label"),
    ],
)
def test_bad_targets(logits, labels, message):
    with pytest.raises(UsageError, match=message):
        distillation_targets(logits, labels, teacher_classes=NAMES, student_classes=NAMES)


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_bad_temperature(temperature):
    with pytest.raises(UsageError, match="must be above 0"):
        soft_loss(TEACHER, STUDENT, temperature)
    with pytest.raises(UsageError, match="must be above 0"):
        DistillationLoss(temperature=temperature)


def test_bad_alpha_and_a_student_with_other_classes():
    with pytest.raises(UsageError, match="between 0 and 1"):
        DistillationLoss(alpha=1.5)
    with pytest.raises(UsageError, match="teacher has 3 classes but the student 2"):
        DistillationLoss()(targets_of([0, 1]), STUDENT[:, :2])
