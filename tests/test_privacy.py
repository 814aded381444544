"""Clipping against a loop, noise against its variance, accounting against formulas and published figures."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize, stats

from course_lib.errors import UsageError
from course_lib.privacy import clip_per_example, epsilon_spent, exposure, noise_for_epsilon, private_gradient

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)
MATRICES = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=NUMBERS)
# Number of examples, batch, noise, epochs, delta.
TUTORIAL = (60_000, 250, 1.3, 15, 1e-5)


def renyi_divergence(order, sampling_rate, noise):
    """Of one step, for a whole order: Mironov, Talwar & Zhang 2019, section 3.3, term by term."""
    total = 0.0
    for k in range(order + 1):
        chance = math.comb(order, k) * (1 - sampling_rate) ** (order - k) * sampling_rate**k
        total += chance * math.exp((k * k - k) / (2 * noise**2))
    return math.log(total) / (order - 1)


def epsilons(sampling_rate, noise, num_steps, delta):
    """By Mironov 2017, proposition 3, and by Canonne, Kamath & Steinke 2020, proposition 12."""
    loose, tight = [], []
    for order in range(2, 41):
        divergence = num_steps * renyi_divergence(order, sampling_rate, noise)
        loose.append(divergence + math.log(1 / delta) / (order - 1))
        tight.append(
            divergence + math.log((order - 1) / order) - (math.log(delta) + math.log(order)) / (order - 1)
        )
    return min(loose), min(tight)


def plan(num_examples, batch, noise, epochs, delta):
    num_steps = epochs * num_examples // batch
    return noise, {"sampling_rate": batch / num_examples, "num_steps": num_steps, "delta": delta}


# Exposure


def test_exposure_by_hand():
    # Rank 1 of 1,024 saves all ten bits, rank 4 all but two, the last rank none.
    np.testing.assert_array_equal(exposure(np.array([1, 4, 1024]), 1024), [10.0, 8.0, 0.0])
    assert exposure(1, 1000) == math.log2(1000)


def test_exposure_of_an_unseen_secret_is_log2_e_on_average():
    # The mean of -log2 of a uniform number from 0 to 1 is 1 / ln 2.
    mean = exposure(np.arange(1, 100_001), 100_000).mean()
    np.testing.assert_allclose(mean, 1 / math.log(2), atol=2e-4)


@pytest.mark.parametrize("rank", [0, 11, -1, 1.5, np.array([1, 11])])
def test_exposure_refuses_a_rank_outside_of_the_space(rank):
    with pytest.raises(UsageError, match="whole number from 1 to 10"):
        exposure(rank, 10)


# Clipping


@given(gradients=MATRICES, norm=st.floats(1e-3, 1e3))
def test_clipping_equals_a_loop_over_the_examples(gradients, norm):
    expected = []
    for row in gradients:
        length = math.hypot(*row)
        expected.append([value * norm / length for value in row] if length > norm else list(row))
    np.testing.assert_allclose(clip_per_example(gradients, norm), expected, rtol=1e-9, atol=1e-12)


@given(gradients=MATRICES, norm=st.floats(1e-3, 1e3), row=hnp.arrays(np.float64, 6, elements=NUMBERS))
def test_one_more_example_moves_the_sum_by_at_most_the_norm(gradients, norm, row):
    longer = np.vstack([gradients, row[: gradients.shape[1]]])
    change = clip_per_example(longer, norm).sum(axis=0) - clip_per_example(gradients, norm).sum(axis=0)
    assert np.linalg.norm(change) <= norm * (1 + 1e-9) + 1e-9


def test_clipping_keeps_zero_rows_and_the_type():
    gradients = np.array([[0, 0], [3, 4]], dtype=np.float32)
    clipped = clip_per_example(gradients, 1.0)
    np.testing.assert_allclose(clipped, [[0, 0], [0.6, 0.8]], rtol=1e-6)
    assert clipped.dtype == np.float32


@pytest.mark.parametrize("norm", [0, -1.0, math.nan, math.inf])
def test_clipping_refuses_a_norm_that_is_not_positive(norm):
    with pytest.raises(UsageError, match="clipping norm"):
        clip_per_example(np.ones((2, 3)), norm)


def test_clipping_refuses_a_mean_gradient():
    with pytest.raises(UsageError, match="one row for each example"):
        clip_per_example(np.ones(3), 1.0)


# One step


def step(gradients, norm=2.0, noise_multiplier=0.0, expected_batch_size=4.0, seed=0):
    return private_gradient(
        gradients,
        norm=norm,
        noise_multiplier=noise_multiplier,
        expected_batch_size=expected_batch_size,
        random=np.random.default_rng(seed),
    )


def test_without_noise_it_is_the_clipped_sum_over_the_expected_size():
    # (3, 4) has the length 5 and becomes (1.2, 1.6); (0, 1) stays; the sum is divided by 4, not by 2.
    np.testing.assert_allclose(step(np.array([[3.0, 4.0], [0.0, 1.0]])), [0.3, 0.65])


def test_noise_has_the_promised_size():
    # 40,000 weights: the deviation of the estimated standard deviation is 0.35 %.
    gradient = step(np.zeros((3, 40_000)), norm=2.0, noise_multiplier=1.5, expected_batch_size=4.0)
    np.testing.assert_allclose(gradient.std(), 1.5 * 2.0 / 4.0, rtol=0.02)
    assert stats.kstest(gradient / 0.75, "norm").pvalue > 1e-3


def test_an_empty_draw_is_noise_alone():
    noise = step(np.zeros((0, 3)), noise_multiplier=1.0)
    assert noise.shape == (3,) and np.all(noise != 0)
    np.testing.assert_array_equal(step(np.zeros((0, 3))), np.zeros(3))


def test_step_refuses_negative_noise_and_an_empty_plan():
    with pytest.raises(UsageError, match="noise multiplier is -1"):
        step(np.ones((2, 3)), noise_multiplier=-1.0)
    with pytest.raises(UsageError, match="expected batch size is 0"):
        step(np.ones((2, 3)), expected_batch_size=0)
    with pytest.raises(UsageError, match="clipping norm is 0"):
        step(np.ones((2, 3)), norm=0)


# Accounting


def test_the_formulas_of_this_test_give_the_published_figures():
    # TensorFlow Privacy's MNIST tutorial, 2019: 1.18; Abadi et al. 2016, section 3.2: 1.26. Both by the
    # conversion that was known then.
    num_examples, batch, noise, epochs, delta = TUTORIAL
    loose, _ = epsilons(batch / num_examples, noise, epochs * num_examples // batch, delta)
    assert round(loose, 2) == 1.18
    loose, _ = epsilons(0.01, 4.0, 10_000, 1e-5)
    assert round(loose, 2) == 1.26


@pytest.mark.parametrize("setting", [(0.01, 4.0, 10_000, 1e-5), (250 / 60_000, 1.3, 3_600, 1e-5)])
def test_accounting_equals_the_formulas_with_the_tight_conversion(setting):
    sampling_rate, noise, num_steps, delta = setting
    loose, tight = epsilons(sampling_rate, noise, num_steps, delta)
    spent = epsilon_spent(noise, sampling_rate=sampling_rate, num_steps=num_steps, delta=delta)
    np.testing.assert_allclose(spent, tight, rtol=1e-9)
    assert spent < loose


@pytest.mark.parametrize(
    "setting, published",
    [((60_000, 150, 1.3, 15, 1e-5), 0.7242234026109595), ((100_000, 100, 1.0, 30, 1e-7), 1.4154988495444845)],
)
def test_accounting_gives_the_figures_of_tensorflow_privacys_own_tests(setting, published):
    noise, rest = plan(*setting)
    np.testing.assert_allclose(epsilon_spent(noise, **rest), published, rtol=1e-7)


@settings(max_examples=15, deadline=None)
@given(noise=st.floats(1.0, 8.0), delta=st.floats(1e-6, 1e-3))
def test_accounting_bounds_the_exact_epsilon_of_one_gaussian_step(noise, delta):
    # Balle & Wang 2018, theorem 8: the exact delta of the Gaussian mechanism with sensitivity 1.
    def excess(epsilon):
        first = stats.norm.cdf(1 / (2 * noise) - epsilon * noise)
        second = math.exp(epsilon) * stats.norm.cdf(-1 / (2 * noise) - epsilon * noise)
        return first - second - delta

    exact = optimize.brentq(excess, 0, 50)
    spent = epsilon_spent(noise, sampling_rate=1.0, num_steps=1, delta=delta)
    assert exact <= spent <= 1.25 * exact + 0.05


def test_more_noise_fewer_steps_and_smaller_draws_spend_less():
    base = {"sampling_rate": 0.02, "num_steps": 500, "delta": 1e-5}
    spent = epsilon_spent(1.0, **base)
    assert epsilon_spent(1.5, **base) < spent
    assert epsilon_spent(1.0, **{**base, "num_steps": 250}) < spent
    assert epsilon_spent(1.0, **{**base, "sampling_rate": 0.01}) < spent
    assert epsilon_spent(1.0, **{**base, "delta": 1e-3}) < spent


def test_without_noise_nothing_is_promised():
    assert epsilon_spent(0.0, sampling_rate=0.1, num_steps=1, delta=1e-5) == math.inf


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
def test_calibrated_noise_keeps_the_epsilon_and_a_little_less_does_not(epsilon):
    rest = {"sampling_rate": 0.05, "num_steps": 200, "delta": 1e-5}
    noise = noise_for_epsilon(epsilon, **rest)
    assert epsilon_spent(noise, **rest) <= epsilon
    assert epsilon_spent(noise - 2e-3, **rest) > epsilon


@pytest.mark.parametrize("epsilon", [0, -1.0, math.nan, math.inf])
def test_calibration_refuses_an_epsilon_that_is_not_positive(epsilon):
    with pytest.raises(UsageError, match="epsilon is"):
        noise_for_epsilon(epsilon, sampling_rate=0.05, num_steps=200, delta=1e-5)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"delta": 0}, "delta is 0"),
        ({"delta": 1}, "delta is 1"),
        ({"delta": -1e-5}, "delta is"),
        ({"delta": math.nan}, "delta is nan"),
        ({"sampling_rate": 0}, "sampling rate is 0"),
        ({"sampling_rate": 1.1}, "sampling rate is 1.1"),
        ({"num_steps": 0}, "num_steps is 0"),
        ({"num_steps": 2.5}, "num_steps is 2.5"),
    ],
)
def test_accounting_refuses_a_plan_outside_of_its_range(wrong, message):
    rest = {"sampling_rate": 0.05, "num_steps": 200, "delta": 1e-5, **wrong}
    with pytest.raises(UsageError, match=message):
        epsilon_spent(1.0, **rest)
    with pytest.raises(UsageError, match=message):
        noise_for_epsilon(1.0, **rest)


@pytest.mark.parametrize("delta", [1e-12, 1e-5])
def test_no_noise_makes_epsilon_zero(delta):
    plan = {"sampling_rate": 0.01, "num_steps": 1, "delta": delta}
    # The greatest order, 512, written out; the true delta of an epsilon of 0 is 0.01 * erf(1e-7 / 8**0.5).
    least = math.log(511 / 512) - (math.log(delta) + math.log(512)) / 511
    assert epsilon_spent(1e7, **plan) == pytest.approx(least, rel=1e-9)
    assert 0.01 * math.erf(1e-7 / math.sqrt(8)) > 1e-12
    for epsilon in (0.99 * least, least / 8):
        with pytest.raises(UsageError, match=f"epsilon is {epsilon}; with a delta of {delta} the least"):
            noise_for_epsilon(epsilon, **plan)
    assert epsilon_spent(noise_for_epsilon(1.2 * least, **plan), **plan) <= 1.2 * least


@pytest.mark.parametrize("noise", [-0.1, math.nan, math.inf])
def test_accounting_refuses_negative_and_infinite_noise(noise):
    with pytest.raises(UsageError, match="noise multiplier"):
        epsilon_spent(noise, sampling_rate=0.05, num_steps=200, delta=1e-5)
