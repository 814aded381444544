"""Calibration by hand, by brute force and by another minimiser; bad inputs named."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax

from course_lib.errors import UsageError
from course_lib.evaluation.calibration import expected_calibration_error, fit_temperature, reliability_bins

PROMISED = [0.55, 0.65, 0.65, 0.75, 0.85, 0.95, 0.95, 0.95]
KEPT = [1, 0, 1, 1, 0, 1, 1, 0]
ROWS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=40)


def test_bins_by_hand():
    # Two bins: up to 0.5 nothing, above it all eight.
    whole = reliability_bins(PROMISED, KEPT, 2)
    assert whole.confidence == pytest.approx([6.3 / 8])
    assert whole.accuracy == pytest.approx([5 / 8])
    assert whole.count.tolist() == [8]
    # Five bins of width 0.2: one text in (0.4, 0.6], three in (0.6, 0.8], four in (0.8, 1].
    bins = reliability_bins(PROMISED, KEPT, 5)
    assert bins.confidence == pytest.approx([0.55, 2.05 / 3, 3.7 / 4])
    assert bins.accuracy == pytest.approx([1, 2 / 3, 2 / 4])
    assert bins.count.tolist() == [1, 3, 4]
    expected = 1 / 8 * 0.45 + 3 / 8 * (2.05 / 3 - 2 / 3) + 4 / 8 * (3.7 / 4 - 0.5)
    assert expected_calibration_error(PROMISED, KEPT, 5) == pytest.approx(expected)


def test_bins_of_equal_mass_by_hand():
    bins = reliability_bins(PROMISED[::-1], KEPT[::-1], 3, equal_mass=True)
    assert bins.count.tolist() == [3, 3, 2]
    assert bins.confidence == pytest.approx([1.85 / 3, 2.55 / 3, 0.95])
    # The last bin holds two of the three texts at 0.95, those that come last.
    assert bins.accuracy == pytest.approx([2 / 3, 1 / 3, 1])
    assert reliability_bins([0.3, 0.9], [0, 1], 15, equal_mass=True).count.tolist() == [1, 1]


def test_a_probability_on_an_edge_belongs_to_the_lower_bin():
    bins = reliability_bins([0, 0.1, 0.3, 0.7, 1], [0, 0, 1, 1, 1], 10)
    assert bins.count.tolist() == [2, 1, 1, 1]
    assert bins.confidence == pytest.approx([0.05, 0.3, 0.7, 1])


@given(ROWS, st.integers(1, 12))
def test_calibration_error_by_brute_force(rows, num_bins):
    total = 0.0
    for number in range(num_bins):
        low, high = number / num_bins, (number + 1) / num_bins
        members = [(p, hit) for p, hit in rows if low < p <= high or (p == number == 0)]
        # |accuracy − confidence| · members / all = |hits − sum of probabilities| / all
        total += abs(sum(hit for _, hit in members) - sum(p for p, _ in members)) / len(rows)
    promised, kept = zip(*rows, strict=True)
    assert expected_calibration_error(promised, kept, num_bins) == pytest.approx(total)


@given(ROWS, st.integers(1, 12), st.booleans())
def test_bounds(rows, num_bins, equal_mass):
    promised, kept = zip(*rows, strict=True)
    bins = reliability_bins(promised, kept, num_bins, equal_mass=equal_mass)
    assert bins.count.sum() == len(rows)
    assert bins.count.min() >= 1 and len(bins.count) <= num_bins
    assert np.average(bins.accuracy, weights=bins.count) == pytest.approx(np.mean(kept))
    assert np.average(bins.confidence, weights=bins.count) == pytest.approx(np.mean(promised))
    assert (np.diff(bins.confidence) >= -1e-12).all()
    error = expected_calibration_error(promised, kept, num_bins, equal_mass=equal_mass)
    overall = abs(np.mean(kept) - np.mean(promised))
    assert overall - 1e-12 <= error <= 1 + 1e-12, "no binning hides a mean that is off"
    if equal_mass:
        assert np.ptp(bins.count) <= 1


def test_honest_and_boastful_extremes():
    assert expected_calibration_error([1, 1, 0], [1, 1, 0]) == 0
    assert expected_calibration_error([1, 1], [0, 0]) == 1
    assert expected_calibration_error([0.75] * 4, [1, 1, 1, 0]) == 0


@pytest.mark.parametrize("figure", [reliability_bins, expected_calibration_error])
def test_bad_probabilities_and_verdicts_are_named(figure):
    for promised, kept, message in [
        ([0.5, 1.2], [0, 1], r"confidence of row 1 \(counted from 0\) is 1\.2; .* between 0 and 1"),
        ([-0.1, 0.5], [0, 1], r"row 0 .* is -0\.1"),
        ([0.5, np.nan], [0, 1], "confidence of row 1 .* is missing"),
        ([0.5, 0.5], [0, 2], "verdict of row 1 .* is 2; .* from 0 to 1"),
        ([0.5, 0.5], ["yes", "no"], "verdict of row 0 .* is 'yes'"),
        ([0.5, 0.5], [1], "2 probabilities but 1 verdicts"),
        ([], [], r"shape \(0,\)"),
        ([[0.5, 0.5]], [1], r"shape \(1, 2\)"),
    ]:
        with pytest.raises(UsageError, match=message):
            figure(promised, kept)
    with pytest.raises(UsageError, match="num_bins is 0; there must be at least one bin"):
        figure([0.5], [1], 0)


def test_temperature_by_hand():
    # Two logits d apart, right in three of four texts: best is 1 / (1 + exp(-d / T)) = 3/4, so T = d / log 3.
    logits = np.array([[0.0, 5.0]] * 4)
    assert fit_temperature(logits, [1, 1, 1, 0]) == pytest.approx(5 / np.log(3), rel=1e-6)
    assert fit_temperature(logits / 10, [1, 1, 1, 0]) == pytest.approx(0.5 / np.log(3), rel=1e-6)
    assert fit_temperature(logits + 1_000, [1, 1, 1, 0]) == pytest.approx(5 / np.log(3), rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_temperature_is_the_root_of_the_derivative(seed):
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (300, 4))
    honest = softmax(logits / 2.5, axis=1)
    labels = np.array([random.choice(4, p=row) for row in honest])

    def slope(log_inverse):
        weighted = (softmax(logits * np.exp(log_inverse), axis=1) * logits).sum(axis=1)
        return (weighted - logits[np.arange(300), labels]).mean()

    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(np.exp(-brentq(slope, -5, 5)), rel=1e-5)
    assert 2 < temperature < 3.1, "near the temperature that the labels were drawn with"


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.2, 5))
def test_temperature_beats_a_grid_and_follows_the_scale_of_the_logits(seed, scale):
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1, (60, 3))
    labels = np.array([random.choice(3, p=row) for row in softmax(logits, axis=1)])

    def loss(temperature):
        return -log_softmax(logits / temperature, axis=1)[np.arange(60), labels].mean()

    temperature = fit_temperature(logits, labels)
    assert all(loss(temperature) <= loss(other) + 1e-9 for other in np.geomspace(0.02, 50, 60))
    assert fit_temperature(scale * logits, labels) == pytest.approx(scale * temperature, rel=1e-4)


def test_no_temperature_is_best():
    sure = np.array([[2.0, -1.0], [-1.0, 3.0]])
    undecided = np.zeros((2, 2))
    for logits, labels in itertools.product([sure, undecided], [[0, 1], [1, 0]]):
        with pytest.raises(UsageError, match=r"No temperature from 0\.01 to 100 is best"):
            fit_temperature(logits, labels)


def test_bad_logits_are_named():
    good = np.array([[1.0, 0.0], [0.0, 1.0]])
    for logits, labels, message in [
        (good[:, 0], [0, 1], r"logits have the shape \(2,\); .* one column for each class, at least two"),
        (good[:, :1], [0, 0], r"shape \(2, 1\)"),
        (np.array([[1, 0], [np.nan, 1]]), [0, 1], r"logits of row 1 .* \[nan, 1\.0\]; all must be finite"),
        (good, [0, 2], "label of row 1 .* is 2; .* from 0 to 1"),
        (good, [0], "2 rows of logits but 1 labels"),
    ]:
        with pytest.raises(UsageError, match=message):
            fit_temperature(logits, labels)
