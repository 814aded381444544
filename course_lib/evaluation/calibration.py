"""Are a model's probabilities honest? Reliability, calibration error, temperature scaling."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from course_lib.data.labels import check_labels, check_numbers
from course_lib.errors import UsageError

TEMPERATURE_RANGE = (0.01, 100.0)


class ReliabilityBins(NamedTuple):
    """What a model promised and what it kept, for each bin that holds texts, by increasing confidence.

    Attributes:
        confidence: mean probability that the model gave, float64 (num_filled_bins,).
        accuracy: share of verdicts that are 1, float64 (num_filled_bins,).
        count: number of texts, int64 (num_filled_bins,).
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray


def reliability_bins(
    probabilities: Sequence, correct: Sequence, num_bins: int = 15, *, equal_mass: bool = False
) -> ReliabilityBins:
    """Sorts texts into bins by the model's probability, and compares each bin's mean with what came true.

    Args:
        probabilities: the highest class probability of each text, (num_texts,); for one class alone, that
            class's probability.
        correct: one verdict for each text, (num_texts,): 1 if its prediction is right, otherwise 0; for one
            class alone, whether the text belongs to it.
        num_bins: bins of equal width; bin m holds probabilities above (m - 1) / num_bins up to m / num_bins,
            and the first one 0 as well.
        equal_mass: bins of equally many texts instead; they differ by one text at most, or there is one bin
            for each text if there are fewer texts than bins.

    Raises:
        UsageError: a probability outside 0 to 1, a verdict other than 0 or 1, not one verdict for each
            probability, or less than one bin.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2; bins of equal mass: Nguyen
    and O'Connor 2015, "Posterior Calibration and Exploratory Analysis for NLP Models", section 3.2.
    """
    confidences, verdicts = check_numbers(probabilities, "confidence"), check_labels(correct, 2, "verdict")
    outside = np.flatnonzero((confidences < 0) | (confidences > 1))
    if len(outside):
        row = outside[0]
        raise UsageError(
            f"The confidence of row {row} (counted from 0) is {confidences[row]}; a probability must lie"
            " between 0 and 1."
        )
    if len(confidences) != len(verdicts):
        raise UsageError(f"There are {len(confidences)} probabilities but {len(verdicts)} verdicts.")
    if num_bins < 1:
        raise UsageError(f"num_bins is {num_bins}; there must be at least one bin.")
    if equal_mass:
        parts = np.array_split(np.argsort(confidences, kind="stable"), min(num_bins, len(confidences)))
    else:
        upper_ends = np.arange(1, num_bins + 1) / num_bins
        bin_of_text = np.searchsorted(upper_ends, confidences)
        parts = [np.flatnonzero(bin_of_text == number) for number in np.unique(bin_of_text)]
    return ReliabilityBins(
        confidence=np.array([confidences[part].mean() for part in parts]),
        accuracy=np.array([verdicts[part].mean() for part in parts]),
        count=np.array([len(part) for part in parts]),
    )


def expected_calibration_error(
    probabilities: Sequence, correct: Sequence, num_bins: int = 15, *, equal_mass: bool = False
) -> float:
    """Mean distance of accuracy from confidence over the bins, each weighted by its texts: 0 is honest.

    It depends on the bins, and chance alone keeps it above 0: compare only figures with the same bins and
    the same number of texts.

    Args, errors and source as in `reliability_bins`; there equation 3.
    """
    bins = reliability_bins(probabilities, correct, num_bins, equal_mass=equal_mass)
    return float(np.average(np.abs(bins.accuracy - bins.confidence), weights=bins.count))


def fit_temperature(logits: np.ndarray, labels: Sequence) -> float:
    """The one number that all logits are divided by so that the labels become most likely.

    Above 1 the model was too sure of itself, below 1 not sure enough. The order of the classes, and with it
    every prediction, stays as it was. Fit it on validation data.

    Args:
        logits: (num_texts, num_classes), at least two classes.
        labels: class ids, (num_texts,).

    Raises:
        UsageError: logits of another shape or not finite, a wrong label, not one label for each text, or no
            temperature is best: all labels have the highest logit, say, and ever smaller ones do better.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise UsageError(
            f"The logits have the shape {logits.shape}; there must be one row for each text and one column"
            " for each class, at least two."
        )
    not_finite = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(not_finite):
        row = not_finite[0]
        raise UsageError(
            f"The logits of row {row} (counted from 0) are {logits[row].tolist()}; all must be finite"
            " numbers."
        )
    labels = check_labels(labels, logits.shape[1])
    if len(labels) != len(logits):
        raise UsageError(f"There are {len(logits)} rows of logits but {len(labels)} labels.")

    # Relative to the true class: its negative log-likelihood is then exact however small it gets.
    lead = logits - logits[np.arange(len(labels)), labels][:, None]

    def loss(log_temperature):
        return float(logsumexp(lead / np.exp(log_temperature), axis=1).mean())

    # In 1 / T the loss is convex, so in log T it has one valley.
    ends = np.log(TEMPERATURE_RANGE)
    best = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-9})
    if not best.fun < min(map(loss, ends)):
        raise UsageError(
            f"No temperature from {TEMPERATURE_RANGE[0]:g} to {TEMPERATURE_RANGE[1]:g} is best: use more"
            " validation texts, with right and wrong predictions among them."
        )
    return float(np.exp(best.x))
