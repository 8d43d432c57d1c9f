"""Fits agree with the likelihood on a grid; intervals cover what they say."""

import numpy as np
import pytest
from scipy import special, stats

from jaxflow import statistics
from tests.statistics.runs import (
    GRID,
    RUNS,
    N,
    S,
    binomial_error,
    brute_force,
    grid_counts,
    logistic,
)


def test_fit_agrees_with_the_likelihood_on_a_grid():
    k = grid_counts(3)
    fit = statistics.fit_threshold(GRID, k, RUNS)
    thresholds, scales = np.linspace(1600, 1700, 401), np.geomspace(15, 80, 400)
    values = brute_force(GRID, k, RUNS, thresholds, scales)
    i, j = np.unravel_index(np.argmax(values), values.shape)
    assert abs(fit.estimate - thresholds[i]) < 0.25
    assert abs(fit.scale / scales[j] - 1) < 0.005
    assert 0 <= fit.log_likelihood - values.max() < 1e-3
    level = values.max() - stats.chi2.ppf(0.95, 1) / 2
    inside = thresholds[values.max(axis=1) >= level]
    np.testing.assert_allclose([fit.low, fit.high], inside[[0, -1]], atol=0.5)
    inside = scales[values.max(axis=0) >= level]
    np.testing.assert_allclose(
        [fit.scale_low, fit.scale_high], inside[[0, -1]], rtol=0.01
    )
    assert not fit.separated and fit.interval == "profile"
    np.testing.assert_allclose(
        fit.probability(GRID), logistic(GRID, fit.estimate, fit.scale)
    )


def test_single_runs_and_counts_are_the_same_data():
    k = grid_counts(4)
    singly = np.arange(RUNS) < k[:, None]
    fit = statistics.fit_threshold(GRID, k, RUNS)
    again = statistics.fit_threshold(np.repeat(GRID, RUNS), singly.ravel())
    np.testing.assert_allclose(again.estimate, fit.estimate)
    np.testing.assert_allclose(again.high, fit.high)


def test_units_and_origin_of_n():
    k = grid_counts(4)
    fit = statistics.fit_threshold(GRID, k, RUNS)
    moved = statistics.fit_threshold(GRID * 1e-3 - 5.0, k, RUNS)
    np.testing.assert_allclose(moved.estimate, fit.estimate * 1e-3 - 5, rtol=1e-7)
    np.testing.assert_allclose(moved.scale_high, fit.scale_high * 1e-3, rtol=1e-7)


def test_coverage_of_the_profile_interval():
    repetitions = 300
    fits = [
        statistics.fit_threshold(GRID, grid_counts(i), RUNS) for i in range(repetitions)
    ]
    error = 3 * binomial_error(0.95, repetitions)
    covered = np.mean([fit.low <= N <= fit.high for fit in fits])
    assert abs(covered - 0.95) < error
    covered = np.mean([fit.scale_low <= S <= fit.scale_high for fit in fits])
    assert abs(covered - 0.95) < error


def test_bootstrap_agrees_with_the_profile_and_follows_its_seed():
    k = grid_counts(5)
    profile = statistics.fit_threshold(GRID, k, RUNS)
    first, same, other = (
        statistics.fit_threshold(GRID, k, RUNS, interval="bootstrap", seed=seed)
        for seed in (0, 0, 1)
    )
    assert first == same and first != other
    assert first.interval == "bootstrap"
    np.testing.assert_allclose(first.estimate, profile.estimate)
    length = profile.high - profile.low
    np.testing.assert_allclose(first.low, profile.low, atol=0.1 * length)
    np.testing.assert_allclose(first.high, profile.high, atol=0.1 * length)


@pytest.mark.parametrize("m, reaches_beyond", [(1, True), (2, True), (3, False)])
def test_separated(m, reaches_beyond):
    n = np.array([100, 200, 300, 400])
    fit = statistics.fit_threshold(n, [m, m, 0, 0], m)
    assert fit.separated and fit.scale == fit.scale_low == 0
    assert fit.estimate == 250 and fit.log_likelihood == 0
    assert fit.low <= 200 + 1e-6 and fit.high >= 300 - 1e-6
    assert (fit.high > 301) == reaches_beyond
    assert fit.high - 250 == pytest.approx(250 - fit.low)
    np.testing.assert_array_equal(fit.probability([249, 250, 251]), [1, 0.5, 0])
    for k, all_ended in ((5, 1), (0, 0)):
        alike = statistics.fit_threshold([1, 2, 3], [k, k, k], 5)
        np.testing.assert_array_equal(alike.probability([1, 9]), all_ended)
    rising = statistics.fit_threshold([1, 2], [1, 4], 5)
    assert np.all(np.isnan(rising.probability([1, 2])))
    # A bootstrap would say that N is known exactly.
    again = statistics.fit_threshold(n, [m, m, 0, 0], m, interval="bootstrap")
    assert again == fit and again.interval == "profile"


@pytest.mark.parametrize("interval_of", ["estimate", "scale"])
def test_separated_interval_by_brute_force(interval_of):
    n, k, m = np.array([0.0, 10, 20, 30]), np.array([2, 2, 0, 0]), 2
    fit = statistics.fit_threshold(n, k, m)
    thresholds, scales = np.linspace(-20, 50, 701), np.geomspace(0.01, 100, 701)
    values = brute_force(n, k, m, thresholds, scales)
    level = -stats.chi2.ppf(0.95, 1) / 2
    if interval_of == "estimate":
        inside = thresholds[values.max(axis=1) >= level]
        np.testing.assert_allclose([fit.low, fit.high], inside[[0, -1]], atol=0.11)
    else:
        inside = scales[values.max(axis=0) >= level]
        assert fit.scale_low == 0
        np.testing.assert_allclose(fit.scale_high, inside[-1], rtol=0.02)


def test_separated_but_for_one_point():
    fit = statistics.fit_threshold([100, 200, 300], [9, 1, 0], [9, 30, 9])
    assert fit.separated and fit.estimate == 200 and fit.scale == 0
    expected = np.log(1 / 30) + 29 * np.log(29 / 30)
    np.testing.assert_allclose(fit.log_likelihood, expected)
    # P(200) ≥ 1/2 is rejected, so N > 200 is.
    assert fit.low < 200
    np.testing.assert_allclose(fit.high, 200, atol=1e-6)


def test_all_or_none():
    n = np.array([100, 200])
    every = statistics.fit_threshold(n, 3, 3)
    assert every.estimate == every.high == np.inf and np.isfinite(every.low)
    assert np.isnan(every.scale) and every.separated
    assert every.relative_half_width == np.inf
    none = statistics.fit_threshold(n, 0, 3)
    assert none.estimate == none.low == -np.inf
    np.testing.assert_allclose(none.high - 150, 150 - every.low, rtol=1e-6)
    # One run at each n does not exclude a small threshold with a large scale.
    assert statistics.fit_threshold(n, 1, 1).low == -np.inf


def test_no_fall():
    fit = statistics.fit_threshold([1, 2, 3], [10, 12, 18], 20)
    assert fit.estimate == np.inf and fit.scale == np.inf and fit.scale_high == np.inf
    assert 0 < fit.scale_low < np.inf and not fit.separated
    assert (fit.low, fit.high) != (-np.inf, np.inf)
    level = statistics.fit_threshold([1, 2], 10, 20)
    assert np.isnan(level.estimate) and (level.low, level.high) == (-np.inf, np.inf)


def test_the_lack_of_fit_is_that_of_statistics_textbooks():
    rng = np.random.default_rng(0)
    n, m = np.arange(10.0, 20.0), 200
    P = special.expit((15 - n) / 1.5)
    p_values = []
    for _ in range(200):
        k = rng.binomial(m, P)
        fit = statistics.fit_threshold(n, k, m)
        p_values.append(statistics.lack_of_fit(fit, n, k, m).p_value)
    # Where the model holds the p-value is uniform.
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    # By hand, at one step away from what was drawn.
    k = np.where(n < 15, m, 0)
    k[[0, -1]] = m // 2
    fit = statistics.fit_threshold(n, k, m)
    lack = statistics.lack_of_fit(fit, n, k, m)
    q = fit.probability(n)
    likely = stats.binom.logpmf(k, m, k / m) - stats.binom.logpmf(k, m, q)
    assert lack.deviance == pytest.approx(2 * likely.sum())
    assert lack.degrees == 8 and lack.p_value < 1e-10


def test_a_step_that_splits_the_runs_fits_them():
    n, k = np.array([1.0, 2.0, 3.0, 4.0]), np.array([5, 5, 0, 0])
    fit = statistics.fit_threshold(n, k, 5)
    assert fit.separated
    assert statistics.lack_of_fit(fit, n, k, 5).deviance == 0


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: statistics.fit_threshold([1, 1], [1, 0]), "n must have.*distinct"),
        (lambda: statistics.fit_threshold([1, 2], [1, 0, 1]), "shapes must fit"),
        (lambda: statistics.fit_threshold([1, np.nan], [1, 0]), "n must be finite"),
        (
            lambda: statistics.fit_threshold([1, 2], [[1, 0], [1, 0]]),
            "must have the shape of n",
        ),
        (
            lambda: statistics.fit_threshold([1, 2], [1, 0], interval="wald"),
            "interval must be one of",
        ),
    ],
)
def test_bad_input_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
