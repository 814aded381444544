"""Distillation: a small student learns from the logits of a large teacher, computed once and kept."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from course_lib.data.labels import check_labels
from course_lib.errors import UsageError
from course_lib.text.batches import IGNORED_LABEL

# So many standard errors below guessing are no bad luck: the teacher's columns are in another order.
_STANDARD_ERRORS = 3


def soft_loss(teacher_logits, student_logits, temperature: float):
    """T² · KL(teacher at T ‖ student at T) of each text, in nats.

    The gradient of the divergence falls as 1/T² for large T; the factor keeps its size beside other losses.

    Args:
        teacher_logits, student_logits: (batch, num_classes), the classes in the same order.
        temperature: both logits are divided by it before the softmax.

    Returns:
        float32 (batch,).

    Raises:
        UsageError: the temperature is not positive.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2, equations 1 to 4.
    """
    _check_temperature(temperature)
    teacher = ops.log_softmax(ops.cast(teacher_logits, "float32") / temperature, axis=-1)
    student = ops.log_softmax(ops.cast(student_logits, "float32") / temperature, axis=-1)
    return temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)


@keras.saving.register_keras_serializable("course_lib")
class DistillationLoss(keras.losses.Loss):
    """α · T² · KL(teacher ‖ student) + (1 − α) · cross-entropy with the label; α is 1 where there is none.

    Takes `distillation_targets` (batch, num_classes + 1) and the student's logits (batch, num_classes).

    Args:
        temperature: T of the soft loss; the labels are compared at temperature 1.
        alpha: weight of the teacher on labelled texts, from 0 (labels alone) to 1 (teacher alone).

    Raises:
        UsageError: a temperature that is not positive, an alpha outside of 0 to 1, or targets of another
            number of classes than the student has.

    Source: Hinton et al. 2015, section 2.
    """

    def __init__(self, temperature: float = 2.0, alpha: float = 0.5, name: str = "distillation", **kwargs):
        super().__init__(name=name, **kwargs)
        _check_temperature(temperature)
        if not 0 <= alpha <= 1:
            raise UsageError(f"alpha is {alpha}; the teacher's share must lie between 0 and 1.")
        self.temperature = temperature
        self.alpha = alpha

    def call(self, y_true, y_pred):
        if y_true.shape[-1] != y_pred.shape[-1] + 1:
            raise UsageError(
                f"The teacher has {y_true.shape[-1] - 1} classes but the student {y_pred.shape[-1]}: give "
                "both the same classes in the same order."
            )
        labels = y_true[..., -1]
        is_labelled = ops.cast(ops.not_equal(labels, IGNORED_LABEL), y_pred.dtype)
        alpha = 1 - is_labelled * (1 - self.alpha)
        # Any class does in the place of a missing label: its weight is zero.
        known = ops.cast(ops.maximum(labels, 0), "int32")
        hard = keras.losses.sparse_categorical_crossentropy(known, y_pred, from_logits=True)
        return alpha * soft_loss(y_true[..., :-1], y_pred, self.temperature) + (1 - alpha) * hard

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature, "alpha": self.alpha}


def distillation_targets(
    teacher_logits: np.ndarray,
    labels: Sequence[int] | None = None,
    *,
    teacher_classes: Sequence[str],
    student_classes: Sequence[str],
) -> np.ndarray:
    """The teacher's kept logits and the labels in one array, for `BucketedBatches` and `DistillationLoss`.

    Args:
        teacher_logits: (num_texts, num_classes).
        labels: class ids of the texts, (num_texts,); None for unlabelled texts.
        teacher_classes, student_classes: the names of the classes in the order of either model's logits.

    Returns:
        float32 (num_texts, num_classes + 1): the logits, then the label, -1 for none.

    Raises:
        UsageError: the classes differ in number, name or order; logits that do not fit them or are not
            finite; a wrong label; or the teacher is right less often than by guessing.
    """
    check_classes(teacher_classes, student_classes)
    logits = np.asarray(teacher_logits, dtype=np.float32)
    if logits.ndim != 2 or logits.shape[1] != len(teacher_classes):
        raise UsageError(
            f"The teacher's logits have the shape {logits.shape}, but it has {len(teacher_classes)} classes: "
            "pass one row for each text and one column for each class."
        )
    if not np.isfinite(logits).all():
        row = np.flatnonzero(~np.isfinite(logits).all(axis=1))[0]
        raise UsageError(f"The teacher's logits of row {row} (counted from 0) are not all finite numbers.")
    if labels is None:
        labels = np.full(len(logits), IGNORED_LABEL)
    else:
        labels = check_labels(labels, logits.shape[1])
        _check_agreement(logits, labels)
    return np.column_stack([logits, labels]).astype(np.float32)


def check_classes(teacher_classes: Sequence[str], student_classes: Sequence[str]) -> None:
    """Refuses a teacher whose logits do not stand for the student's classes, column by column.

    Raises:
        UsageError: the classes differ in number, name or order.
    """
    teacher, student = list(teacher_classes), list(student_classes)
    if teacher == student:
        return
    if len(teacher) != len(student):
        problem = f"The teacher has {len(teacher)} classes but the student {len(student)}"
    elif sorted(teacher) == sorted(student):
        problem = f"The teacher's classes are in the order {teacher}, the student's in {student}"
    else:
        problem = f"The teacher's classes {teacher} are not the student's {student}"
    raise UsageError(f"{problem}: give both the same classes in the same order.")


def _check_temperature(temperature):
    if not temperature > 0:
        raise UsageError(f"The temperature is {temperature}; it must be above 0.")


def _check_agreement(logits, labels):
    if len(labels) != len(logits):
        raise UsageError(f"There are {len(logits)} rows of logits but {len(labels)} labels.")
    chance = 1 / logits.shape[1]
    agreement = (logits.argmax(axis=1) == labels).mean()
    if agreement < chance - _STANDARD_ERRORS * (chance * (1 - chance) / len(labels)) ** 0.5:
        raise UsageError(
            f"The teacher agrees with {agreement:.0%} of the labels, less than guessing would: are its "
            "columns in another order than the labels?"
        )
