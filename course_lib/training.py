"""Training: compile defaults, early stopping, checkpoints that resume bit for bit, range test."""

import hashlib
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from course_lib.data.labels import check_labels
from course_lib.errors import CourseError, UsageError
from course_lib.files import write_atomically
from course_lib.layers.crf import CRF, CRFLoss
from course_lib.models.language_model import FullSoftmaxLoss, SampledSoftmaxLoss
from course_lib.text.batches import IGNORED_LABEL, BucketedBatches
from course_lib.text.streams import StreamBatches

NUM_CHECKPOINTS_KEPT = 2
_DIGEST_SIZE = hashlib.sha256().digest_size
# Without XLA the JAX backend would run a step operation by operation.
_JIT_COMPILE = keras.backend.backend() == "jax"


def compile_classifier(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Compiles a model that returns logits (batch, num_classes) for integer labels (batch,).

    TensorFlow's XLA stays off: on a GPU it would replace cuDNN's LSTM, and on a CPU it pays only on some
    machines, while each new bucket length costs seconds of compiling.
    """
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # Weighted, so that the rows that fill the last batch do not count.
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        jit_compile=_JIT_COMPILE,
    )


def compile_regressor(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Compiles a model that returns numbers (batch, 1) for targets (batch,); the loss is the squared error.

    XLA stays off, as in `compile_classifier`.
    """
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.MeanSquaredError(),
        # Weighted, so that the rows that fill the last batch do not count.
        weighted_metrics=[keras.metrics.MeanAbsoluteError(name="mae")],
        jit_compile=_JIT_COMPILE,
    )


def compile_tagger(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Compiles a model that returns logits (batch, time, num_tags) for token labels (batch, time).

    The loss of a model that ends in a CRF is the negative log-likelihood in nats per sentence, of any other
    one the cross-entropy in nats per token. XLA stays off, as in `compile_classifier`.
    """
    if isinstance(model.layers[-1], CRF):
        loss = CRFLoss(model.layers[-1])
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED_LABEL)
    model.compile(optimizer=optimizer, loss=loss, jit_compile=_JIT_COMPILE)


def compile_language_model(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, num_samples: int | None = None
) -> None:
    """Compiles a model as `build_language_model` returns it; its loss is in nats per token and direction.

    Args:
        model: with one or both directions.
        optimizer: any.
        num_samples: tokens that the sampled softmax draws for each window; None computes the full softmax.
    """
    if num_samples is None:
        loss = {direction: FullSoftmaxLoss(model, direction) for direction in model.output}
    else:
        loss = {direction: SampledSoftmaxLoss(model, direction, num_samples) for direction in model.output}
    model.compile(optimizer=optimizer, loss=loss, jit_compile=_JIT_COMPILE)


def cosine_schedule(
    peak: float, num_steps: int, warmup_share: float = 0.1
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Learning rate that rises linearly from 0 to the peak and falls to 0 along half a cosine.

    Args:
        peak: the highest rate.
        num_steps: of the whole run, at least 2.
        warmup_share: share of the steps that rise, at least one step.

    Raises:
        UsageError: fewer than two steps.

    Source: Loshchilov & Hutter 2017, "SGDR", equation 5 without restarts; notebook 04, section 4.
    """
    if num_steps < 2:
        raise UsageError(f"A run of {num_steps} step has no schedule: take smaller batches or more epochs.")
    warmup_steps = max(1, int(warmup_share * num_steps))
    return keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=num_steps - warmup_steps, warmup_target=peak, warmup_steps=warmup_steps
    )


def train(
    model: keras.Model,
    batches: BucketedBatches | StreamBatches,
    validation_batches: BucketedBatches | StreamBatches | None = None,
    *,
    epochs: int,
    patience: int | None = None,
    checkpoint_dir: str | Path | None = None,
    save_checkpoints: bool = True,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> dict[str, list[float]]:
    """Fits a compiled model; with `checkpoint_dir`, a run that was cut off goes on as if nothing happened.

    Args:
        model: compiled.
        batches: training batches, shuffled by their seed.
        validation_batches: evaluated after each epoch.
        epochs: number of epochs in all, those before a resume included.
        patience: stop after this many epochs without a lower validation loss and return to the best weights;
            None trains all epochs and keeps the last weights.
        checkpoint_dir: folder for a checkpoint after each epoch; resumes from the newest whole one there.
        save_checkpoints: False resumes from that folder and writes nothing into it, as all processes of
            several do but one.
        callbacks: further Keras callbacks; their own state is not part of a checkpoint.
        verbose: as in `keras.Model.fit`.

    Returns:
        History: a list with one value per epoch for each metric.

    Raises:
        CourseError: the loss is no longer a number; or the checkpoints are all damaged or belong to another
            model, or one cannot be written.
        UsageError: the model is not compiled, `patience` does not fit, or a label is outside of the model's
            classes (its row is named).
    """
    if not model.compiled:
        raise UsageError("The model is not compiled: call compile_classifier(model, optimizer) first.")
    if patience is not None and validation_batches is None:
        raise UsageError("Early stopping needs validation batches: pass them or leave patience out.")
    if patience is not None and patience < 1:
        raise UsageError(f"patience is {patience}; it must be at least 1, or None to train all epochs.")
    for part in (batches, validation_batches):
        labels = getattr(part, "labels", None)
        if isinstance(model.loss, keras.losses.SparseCategoricalCrossentropy) and np.ndim(labels) == 1:
            check_labels(labels, model.output_shape[-1])
    state = _TrainingState(model, batches, validation_batches, patience, checkpoint_dir, save_checkpoints)
    first_epoch = state.resume()
    if not state.finished(epochs):
        model.fit(
            batches,
            validation_data=validation_batches,
            initial_epoch=first_epoch,
            epochs=epochs,
            callbacks=[*callbacks, state],
            shuffle=False,  # the batches shuffle themselves, by seed and epoch
            verbose=verbose,
        )
    state.restore_best()
    return state.history


class _TrainingState(keras.callbacks.Callback):
    """All that a run needs to go on: variables, optimizer, history, best weights, epoch of the data."""

    def __init__(self, model, batches, validation_batches, patience, folder, saves):
        super().__init__()
        # The random state of dropout is among the model's variables.
        model.optimizer.build(model.trainable_variables)
        self._variables = {"model": model.variables, "optimizer": model.optimizer.variables}
        self._model = model
        self._all_batches = [batches] if validation_batches is None else [batches, validation_batches]
        self._patience = patience
        self._folder = None if folder is None else Path(folder)
        self._saves = saves and folder is not None
        self._best_weights: list[np.ndarray] = []
        self.history: dict[str, list[float]] = {}

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        # Keras counts up at other times, too; a resume repeats the order only if it follows from the epoch.
        for batches in self._all_batches:
            batches.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            kept = (
                ""
                if self._folder is None
                else f" The checkpoints in {self._folder} hold the epochs before it."
            )
            raise CourseError(
                f"The loss became {logs['loss']} in epoch {self._epoch + 1}, batch {batch + 1}: lower the "
                f"learning rate, clip the gradients or look for such values in the data.{kept}"
            )

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        if self._patience is not None:
            if self._epochs_since_best() == 0:
                self._best_weights = self._model.get_weights()
            if self._epochs_since_best() >= self._patience:
                self._model.stop_training = True
        if self._saves:
            self._save(epoch + 1)

    def finished(self, epochs):
        num_done = len(next(iter(self.history.values()), []))
        return num_done >= epochs or (
            self._patience is not None and num_done > 0 and self._epochs_since_best() >= self._patience
        )

    def restore_best(self):
        if self._best_weights:
            self._model.set_weights(self._best_weights)

    def resume(self):
        """Loads the newest whole checkpoint; returns the number of epochs that are done."""
        paths = sorted(self._folder.glob("checkpoint-*.npz"), reverse=True) if self._folder else []
        for path in paths:
            try:
                epochs_done, arrays = _read_checkpoint(path)
            except (OSError, ValueError) as error:
                warnings.warn(f"The checkpoint {path} is damaged ({error}) and is not used.", stacklevel=3)
                continue
            self._apply(path, arrays)
            return epochs_done
        if paths:
            raise CourseError(
                f"All checkpoints in {self._folder} are damaged: delete that folder to train anew."
            )
        return 0

    def _epochs_since_best(self):
        losses = np.nan_to_num(self.history["val_loss"], nan=np.inf)
        return len(losses) - 1 - int(np.argmin(losses))

    def _apply(self, path, arrays):
        saved = {"model": [], "optimizer": [], "best": []}
        for key in sorted(arrays.keys() - {"history", "epochs_done"}):
            saved[key.split("/")[0]].append(arrays[key])
        for kind, variables in self._variables.items():
            if [value.shape for value in saved[kind]] != [tuple(variable.shape) for variable in variables]:
                raise CourseError(
                    f"The checkpoint {path} belongs to another model or optimizer: name another folder, or "
                    "delete this one to train anew."
                )
        if self._patience is not None and not saved["best"]:
            raise CourseError(
                f"The checkpoint {path} was trained without early stopping and holds no best weights: name "
                "another folder, or leave patience out."
            )
        for kind, variables in self._variables.items():
            for variable, value in zip(variables, saved[kind], strict=True):
                variable.assign(value)
        self._best_weights = [] if self._patience is None else saved["best"]
        self.history = json.loads(str(arrays["history"]))

    def _save(self, epochs_done):
        arrays = {"history": np.array(json.dumps(self.history)), "epochs_done": np.array(epochs_done)}
        for kind, variables in self._variables.items():
            for index, variable in enumerate(variables):
                arrays[f"{kind}/{index:05d}"] = keras.ops.convert_to_numpy(variable)
        for index, value in enumerate(self._best_weights):
            arrays[f"best/{index:05d}"] = value
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        path = self._folder / f"checkpoint-{epochs_done:05d}.npz"
        # A zip file's own checksums leave its headers out; its readers skip what follows its end.
        content = buffer.getvalue() + hashlib.sha256(buffer.getbuffer()).digest()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content, verify=_read_checkpoint)
        except (OSError, ValueError) as error:
            raise CourseError(
                f"The checkpoint {path} could not be written ({error}). The one before it is whole: make "
                "room and start again to go on from there."
            ) from error
        old = sorted(self._folder.glob("checkpoint-*.npz"))[:-NUM_CHECKPOINTS_KEPT]
        for path in [*old, *self._folder.glob("checkpoint-*.tmp")]:  # the latter of runs that were killed
            path.unlink()


def _read_checkpoint(path):
    content = path.read_bytes()
    content, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("its checksum differs")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return int(arrays["epochs_done"]), arrays


def predict(
    model: keras.Model, sequences: Sequence[Sequence[int]], *, batch_size: int, bucket_lengths: Sequence[int]
) -> np.ndarray:
    """The model's outputs for all sequences, in their order: shape (num_sequences, ...)."""
    batches = BucketedBatches(sequences, batch_size=batch_size, bucket_lengths=bucket_lengths)
    rows = model.predict(batches, verbose=0)
    outputs = np.empty((len(sequences), *rows.shape[1:]), rows.dtype)
    for index, (_, members) in enumerate(batches.batches):
        outputs[members] = rows[index * batch_size :][: len(members)]
    return outputs


def predict_tokens(
    model: keras.Model,
    sequences: Sequence[Sequence[int]] | Mapping[str, Sequence[Sequence]],
    *,
    batch_size: int,
    bucket_lengths: Sequence[int],
) -> list[np.ndarray]:
    """A tagger's outputs for all sequences, in their order: one array (length, num_tags) for each."""
    batches = BucketedBatches(sequences, batch_size=batch_size, bucket_lengths=bucket_lengths)
    outputs: list[np.ndarray] = [np.empty(0)] * len(batches.sequences)
    for index, (_, members) in enumerate(batches.batches):
        rows = model.predict_on_batch(batches[index][0])
        for row, member in zip(rows, members, strict=False):
            outputs[member] = row[: len(batches.sequences[member])]
    return outputs


def learning_rate_range_test(
    model: keras.Model,
    batches: BucketedBatches,
    *,
    lowest: float = 1e-5,
    highest: float = 1.0,
    num_steps: int = 60,
) -> tuple[np.ndarray, np.ndarray]:
    """Trains a few steps while the learning rate grows exponentially; the model is left as it was.

    Args:
        model: compiled, with a settable learning rate.
        batches: training batches; they are repeated if there are fewer than `num_steps`.
        lowest, highest: first and last learning rate.

    Returns:
        The learning rates and the loss of the batch at each, both (num_steps_done,); the test ends early once
        the loss is more than four times the lowest so far or not a number.

    Raises:
        UsageError: the learning rate follows a schedule.

    Source: after Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3, who
    raises the rate linearly.
    """
    if isinstance(model.optimizer.get_config()["learning_rate"], dict):
        raise UsageError("The range test sets the learning rate itself: compile with a number, no schedule.")
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    before = [keras.ops.convert_to_numpy(variable) for variable in variables]
    rates, losses = np.geomspace(lowest, highest, num_steps), []
    try:
        for step, rate in enumerate(rates):
            model.optimizer.learning_rate = rate
            ids, labels, weights = batches[step % len(batches)]
            model.reset_metrics()
            logs = model.train_on_batch(ids, labels, sample_weight=weights, return_dict=True)
            losses.append(float(logs["loss"]))
            if not losses[-1] <= 4 * min(losses):
                break
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
        model.reset_metrics()
    return rates[: len(losses)], np.array(losses)
