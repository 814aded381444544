"""Learning from texts without labels: pseudo-labels, and consistency between two noisy views."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from course_lib.errors import UsageError
from course_lib.text import PAD_ID, UNKNOWN_ID, pad
from course_lib.text.batches import BucketedBatches

# How steeply the weight rises: it begins at e^-5, less than one in a hundred.
_RAMP_STEEPNESS = 5.0


def choose_pseudo_labels(probabilities: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """The texts of which a model is sure enough, and the classes that it takes them for.

    Args:
        probabilities: (num_texts, num_classes), each row a distribution.
        threshold: least probability of the likeliest class, above 0 and at most 1.

    Returns:
        The numbers of the chosen rows, increasing, and their labels: both int (num_chosen,).

    Raises:
        UsageError: a threshold outside of (0, 1], or rows that are no distributions, such as logits.

    Source: Lee 2013, "Pseudo-Label", section 2; the threshold as in Sohn et al. 2020, "FixMatch", equation 4.
    """
    if not 0 < threshold <= 1:
        raise UsageError(f"The threshold is {threshold}; a confidence lies above 0 and is at most 1.")
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise UsageError(
            f"The probabilities have the shape {probabilities.shape}: pass one row for each text and one "
            "column for each class."
        )
    # Rounding moves the sum of float32 probabilities by far less.
    if not ((probabilities >= 0).all() and np.allclose(probabilities.sum(axis=1), 1, atol=1e-3)):
        raise UsageError("The rows must be probabilities that add up to 1: apply a softmax to logits first.")
    rows = np.flatnonzero(probabilities.max(axis=1) >= threshold)
    return rows, probabilities[rows].argmax(axis=1)


def word_dropout(token_ids: np.ndarray, rate: float, random: np.random.Generator) -> np.ndarray:
    """Replaces words by the unknown token, each with the same chance; padding stays, and so does one word.

    Args:
        token_ids: int (batch, time), padded with 0.
        rate: chance of each word, from 0 to less than 1.
        random: where the draws come from.

    Returns:
        A changed copy, (batch, time). A row that would lose all words keeps one of them, each as likely.

    Raises:
        UsageError: a rate outside of [0, 1).

    Source: Iyyer et al. 2015, "Deep Unordered Composition", section 3.1; unknown tokens fill the gaps as in
        Bowman et al. 2016, so that the length stays the same.
    """
    if not 0 <= rate < 1:
        raise UsageError(f"The rate of word dropout is {rate}; it must be at least 0 and less than 1.")
    token_ids = np.asarray(token_ids)
    is_word = token_ids != PAD_ID
    draws = np.where(is_word, random.random(token_ids.shape), -1.0)
    # The word with the highest draw is the last to go, whatever the rate.
    is_kept = (draws >= rate) | (draws == draws.max(axis=1, keepdims=True))
    return np.where(is_word & ~is_kept, UNKNOWN_ID, token_ids)


def consistency_loss(logits, other_logits):
    """Half the sum of both Kullback–Leibler divergences between two answers to one text, in nats.

    With p and q as the softmax of the logits u and v it is ½ Σ (p − q)(log p − log q) = ½ Σ (p − q)(u − v):
    log p and u differ by one number for all classes, and p − q adds up to 0.

    Args:
        logits, other_logits: (batch, num_classes), of two views of the same texts.

    Returns:
        float32 (batch,), 0 where both answers agree.

    Source: Jeffreys 1946 for the divergence; Sajjadi et al. 2016 and Laine & Aila 2017 for its use.
    """
    logits, other_logits = ops.cast(logits, "float32"), ops.cast(other_logits, "float32")
    probabilities, others = ops.softmax(logits, axis=-1), ops.softmax(other_logits, axis=-1)
    return 0.5 * ops.sum((probabilities - others) * (logits - other_logits), axis=-1)


def ramp_up(step: int, num_steps: int) -> float:
    """Share of the weight after so many steps: exp(−5 (1 − step / num_steps)²), and 1 from `num_steps` on.

    Raises:
        UsageError: `num_steps` below 1.

    Source: Laine & Aila 2017, "Temporal Ensembling", section 2.1.
    """
    if num_steps < 1:
        raise UsageError(f"The ramp has {num_steps} steps; it needs at least 1.")
    missing = max(0.0, 1 - step / num_steps)
    return math.exp(-_RAMP_STEEPNESS * missing**2)


class ConsistencyBatches(BucketedBatches):
    """Labelled texts, and beside each batch of them two noisy views of other texts.

    Args:
        sequences, labels, batch_size, seed: of the labelled texts, as in `BucketedBatches`.
        unlabelled: lists of ids; each batch draws from them anew.
        num_unlabelled: unlabelled texts in each batch.
        rate: of `word_dropout`, in either view.
        length: time steps of every row; no sequence may be longer.

    `batches[i]` is `(inputs, labels, weights)`; inputs is a dict of int32 ids: `labelled` (batch_size,
    length), `view_1` and `view_2` (num_unlabelled, length), row by row of the same text. What is drawn
    follows from the seed, the epoch and i.

    Raises:
        UsageError: as in `BucketedBatches`; fewer texts than `num_unlabelled`; or a wrong rate.
    """

    def __init__(
        self,
        sequences: Sequence[Sequence[int]],
        labels: np.ndarray,
        unlabelled: Sequence[Sequence[int]],
        *,
        batch_size: int,
        num_unlabelled: int,
        rate: float,
        length: int,
        seed: int,
    ):
        super().__init__(sequences, labels, batch_size=batch_size, bucket_lengths=[length], seed=seed)
        if not 1 <= num_unlabelled <= len(unlabelled):
            raise UsageError(
                f"A batch cannot draw {num_unlabelled} of {len(unlabelled)} unlabelled texts: "
                "lower num_unlabelled or bring more texts."
            )
        self.unlabelled = pad(unlabelled, length)
        self.num_unlabelled = num_unlabelled
        self.rate = rate
        word_dropout(self.unlabelled[:1], rate, np.random.default_rng(0))  # a wrong rate is refused here

    def __getitem__(self, index: int):
        ids, labels, weights = super().__getitem__(index)
        random = np.random.default_rng([self.seed, self.epoch, index])
        chosen = self.unlabelled[random.choice(len(self.unlabelled), self.num_unlabelled, replace=False)]
        views = {name: word_dropout(chosen, self.rate, random) for name in ("view_1", "view_2")}
        return {"labelled": ids, **views}, labels, weights


class ConsistencyModel(keras.Model):
    """Trains a classifier on the labels and on agreeing with itself about texts without labels.

    The loss is the compiled one on the labelled texts plus `consistency_weight` times the mean
    `consistency_loss` between the two views. Fit it on `ConsistencyBatches` with a `RampUp`; predict with the
    network itself, which it trains.

    Args:
        network: from ids (batch, time) to logits (batch, num_classes).

    Attributes:
        consistency_weight: a variable, 0 until `RampUp` or you assign it.
    """

    def __init__(self, network: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.network = network
        self.consistency_weight = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="consistency_weight"
        )
        self.consistency = keras.metrics.Mean(name="consistency")

    @property
    def output_shape(self):
        # `train` compares the labels with the number of classes.
        return self.network.output_shape

    def call(self, inputs, training=None):
        # One pass for all rows: a recurrent network's time hardly grows with the batch.
        ids = ops.concatenate([inputs["labelled"], inputs["view_1"], inputs["view_2"]], axis=0)
        logits = self.network(ids, training=training)
        num_labelled, num_views = ops.shape(inputs["labelled"])[0], ops.shape(inputs["view_1"])[0]
        middle = num_labelled + num_views
        return logits[:num_labelled], logits[num_labelled:middle], logits[middle:]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        logits, view_1, view_2 = y_pred
        disagreement = ops.mean(consistency_loss(view_1, view_2))
        self.consistency.update_state(disagreement)
        supervised = super().compute_loss(x, y, logits, sample_weight, training)
        return supervised + self.consistency_weight * disagreement

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y, y_pred[0], sample_weight)


class RampUp(keras.callbacks.Callback):
    """Raises a `ConsistencyModel`'s weight along `ramp_up`: first it should know something, then agree.

    Args:
        weight: at the end of the ramp.
        num_steps: of the ramp, counted by the optimizer.

    Raises:
        UsageError: a negative weight or less than one step.
    """

    def __init__(self, weight: float, num_steps: int):
        super().__init__()
        if not weight >= 0:
            raise UsageError(f"The weight of consistency is {weight}; it must not be negative.")
        ramp_up(0, num_steps)  # too short a ramp is refused here
        self.weight = weight
        self.num_steps = num_steps

    def on_train_batch_begin(self, batch, logs=None):
        step = int(self.model.optimizer.iterations)
        self.model.consistency_weight.assign(self.weight * ramp_up(step, self.num_steps))
