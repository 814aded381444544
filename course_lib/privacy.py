"""Privacy of training data: exposure of planted secrets, noisy clipped gradients, the epsilon they spend.

Differential privacy: training is (epsilon, delta)-private if for any two training sets that differ in one
example, and any set of outcomes, P(outcome with it) <= exp(epsilon) P(outcome without it) + delta. One set is
the other with one example added or removed. The proof of DP-SGD asks for three things together: each example
joins a step independently with one fixed probability (Poisson sampling), its gradient is no longer than the
clipping norm, and the sum of the gradients gets Gaussian noise in proportion to that norm.

Sources: Dwork & Roth 2014, "The Algorithmic Foundations of Differential Privacy", definition 2.4; Abadi et
al. 2016, "Deep Learning with Differential Privacy", algorithm 1.
"""

import math
import numbers

import dp_accounting
import numpy as np
from dp_accounting.rdp import RdpAccountant

from course_lib.errors import UsageError

# Rényi orders among which the accountant takes the best; those below 2 need series that often diverge.
_ORDERS = (2, 2.25, 2.5, 2.75, 3, 3.5, *range(4, 65), 80, 96, 128, 192, 256, 512)


def exposure(rank: int | np.ndarray, space: int) -> np.ndarray:
    """How many bits of guessing a model saves: log2(space) - log2(rank), from 0 to log2(space).

    Args:
        rank: place of the secret among all codes of its space, ordered by the model's probability; 1 is the
            most probable one. One number or an array.
        space: number of possible codes.

    Returns:
        float64 of the shape of `rank`. The rank of a secret that the model never saw is uniform, and its
        exposure then log2(e), about 1.44, on average.

    Raises:
        UsageError: a rank that is no whole number from 1 to `space`.

    Source: Carlini et al. 2019, "The Secret Sharer", section 4.
    """
    ranks = np.asarray(rank)
    if not np.issubdtype(ranks.dtype, np.integer) or np.any((ranks < 1) | (ranks > space)):
        raise UsageError(f"A rank must be a whole number from 1 to {space:,}, the size of the space.")
    return np.log2(space) - np.log2(ranks)


def clip_per_example(gradients: np.ndarray, norm: float) -> np.ndarray:
    """Each row shortened to the norm where it is longer, and left alone where it is not.

    Args:
        gradients: (num_examples, num_weights), one row for each example.
        norm: the greatest Euclidean length that a row may keep.

    Returns:
        Float array of the same shape.

    Raises:
        UsageError: the norm is not positive, or the gradients are no matrix.

    Source: Abadi et al. 2016, algorithm 1, "Clip gradient".
    """
    if not norm > 0 or not math.isfinite(norm):
        raise UsageError(
            f"The clipping norm is {norm}; it must be a positive number, such as 1: at 0 nothing is learned."
        )
    gradients = np.asarray(gradients)
    if gradients.ndim != 2:
        raise UsageError(
            f"The gradients have the shape {gradients.shape}; they need one row for each example."
        )
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)  # (num_examples, 1)
    return gradients / np.maximum(1.0, lengths / norm)


def private_gradient(
    gradients: np.ndarray,
    *,
    norm: float,
    noise_multiplier: float,
    expected_batch_size: float,
    random: np.random.Generator,
) -> np.ndarray:
    """The gradient of one step of DP-SGD: clipped rows, added up, noise on the sum, divided.

    Args:
        gradients: (num_examples, num_weights) of the examples that were drawn for this step; may have no row.
        norm: clipping norm.
        noise_multiplier: standard deviation of the noise on each weight of the sum, in units of the norm.
        expected_batch_size: number of examples times the sampling rate. The number that was drawn would tell
            whether one example was among them.
        random: source of the noise.

    Returns:
        (num_weights,)

    Raises:
        UsageError: the norm or the expected batch size is not positive, or the noise is negative or infinite.

    Source: Abadi et al. 2016, algorithm 1.
    """
    _check_noise(noise_multiplier)
    if not expected_batch_size > 0:
        raise UsageError(f"The expected batch size is {expected_batch_size}; it must be positive.")
    total = clip_per_example(gradients, norm).sum(axis=0)
    noise = random.normal(0.0, noise_multiplier * norm, total.shape)
    return (total + noise) / expected_batch_size


def epsilon_spent(noise_multiplier: float, *, sampling_rate: float, num_steps: int, delta: float) -> float:
    """The epsilon of DP-SGD by Rényi accounting; infinite without noise.

    Args:
        noise_multiplier: as in `private_gradient`.
        sampling_rate: probability with which each example joins a step.
        num_steps: steps of the whole training.
        delta: chance that the promise does not hold; far below one over the number of examples.

    Returns:
        An upper bound. It is tight for the epsilons that are of use, below about 20. Whatever the noise, the
        accountant's orders certify no epsilon near 0: with a delta of 1e-5, for example, none below 0.0084.

    Raises:
        UsageError: negative or infinite noise, or a sampling rate, number of steps or delta outside of its
            range.

    Source: Mironov, Talwar & Zhang 2019, "Rényi Differential Privacy of the Sampled Gaussian Mechanism";
    Canonne, Kamath & Steinke 2020, "The Discrete Gaussian for Differential Privacy", proposition 12, for the
    way from Rényi divergence to epsilon. Both as the library `dp-accounting` has them.
    """
    _check_noise(noise_multiplier)
    _check_plan(sampling_rate, num_steps, delta)
    accountant = RdpAccountant(_ORDERS)
    accountant.compose(_training(noise_multiplier, sampling_rate, num_steps))
    # A divergence that rounds to 0 would look like perfect privacy.
    return max(float(accountant.get_epsilon(delta)), _least_epsilon(delta))


def noise_for_epsilon(epsilon: float, *, sampling_rate: float, num_steps: int, delta: float) -> float:
    """The smallest noise multiplier that keeps a training within epsilon, at most 0.001 too large.

    Args and source as in `epsilon_spent`.

    Raises:
        UsageError: epsilon is below what can be certified, or a sampling rate, number of steps or delta
            outside of its range.
    """
    if not epsilon > 0 or not math.isfinite(epsilon):
        raise UsageError(
            f"epsilon is {epsilon}; it must be a positive number, such as 1: at 0 the model may not depend "
            "on its data at all."
        )
    _check_plan(sampling_rate, num_steps, delta)
    if epsilon < _least_epsilon(delta):
        raise UsageError(
            f"epsilon is {epsilon}; with a delta of {delta} the least that the accountant can certify is "
            f"{_least_epsilon(delta):.2g}: ask for more."
        )
    return dp_accounting.calibrate_dp_mechanism(
        lambda: RdpAccountant(_ORDERS),
        lambda noise_multiplier: _training(noise_multiplier, sampling_rate, num_steps),
        target_epsilon=epsilon,
        target_delta=delta,
        tol=1e-3,
    )


def _training(noise_multiplier: float, sampling_rate: float, num_steps: int) -> dp_accounting.DpEvent:
    step = dp_accounting.PoissonSampledDpEvent(sampling_rate, dp_accounting.GaussianDpEvent(noise_multiplier))
    return dp_accounting.SelfComposedDpEvent(step, num_steps)


def _least_epsilon(delta: float) -> float:
    """What the best of the orders gives for no divergence at all: the least that it can certify."""
    orders = np.array(_ORDERS, dtype=float)
    certified = np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return max(0.0, float(certified.min()))


def _check_noise(noise_multiplier: float) -> None:
    if not 0 <= noise_multiplier < math.inf:
        raise UsageError(
            f"The noise multiplier is {noise_multiplier}; it must be a finite number from 0 (no privacy) on."
        )


def _check_plan(sampling_rate: float, num_steps: int, delta: float) -> None:
    if not 0 < sampling_rate <= 1:
        raise UsageError(
            f"The sampling rate is {sampling_rate}; it must be above 0 and at most 1: expected batch size "
            "divided by the number of examples."
        )
    if not isinstance(num_steps, numbers.Integral) or num_steps < 1:
        raise UsageError(f"num_steps is {num_steps!r}; it must be a whole number of at least 1.")
    if not 0 < delta < 1:
        raise UsageError(
            f"delta is {delta}; it must lie between 0 and 1, far below one over the number of examples."
        )
