"""Exponents and their intervals agree with independent ones."""

import numpy as np
import pytest
from scipy import stats

from jaxflow import statistics
from tests.statistics.runs import binomial_error


def power_samples(rng, x, runs, exponent=-1.5, scatter=0.5):
    noise = rng.normal(-(scatter**2) / 2, scatter, (len(x), runs))
    return 3 * x[:, None] ** exponent * np.exp(noise)


@pytest.mark.parametrize("average", ["log-of-mean", "mean-of-log"])
def test_power_law_agrees_with_polyfit(average):
    x = np.geomspace(100, 2000, 6)
    samples = power_samples(np.random.default_rng(0), x, 30)
    y = (
        np.log(samples.mean(axis=1))
        if average == "log-of-mean"
        else np.log(samples).mean(axis=1)
    )
    fit = statistics.power_law(x, samples, average=average)
    (slope, height), residual, *_ = np.polyfit(np.log(x), y, 1, full=True)
    np.testing.assert_allclose(fit.exponent, slope)
    np.testing.assert_allclose(fit.prefactor, np.exp(height))
    np.testing.assert_allclose(fit.residual_rms, np.sqrt(residual[0] / 6))
    np.testing.assert_allclose(fit.predict(x), np.exp(slope * np.log(x) + height))
    assert fit.low < fit.exponent < fit.high


def test_the_two_averages_differ_where_the_scatter_grows():
    x = np.array([1.0, 10.0, 100.0])
    scatter = 0.3 * np.log(x)[:, None] + 0.1
    noise = np.random.default_rng(0).normal(0, 1, (3, 400))
    samples = x[:, None] * np.exp(scatter * noise)
    typical = statistics.power_law(x, samples, average="mean-of-log")
    mean = statistics.power_law(x, samples, average="log-of-mean")
    assert abs(typical.exponent - 1) < 0.05
    assert mean.exponent > 1.1


@pytest.mark.parametrize("average", ["log-of-mean", "mean-of-log"])
def test_coverage_of_the_exponent(average):
    x = np.geomspace(100, 2000, 5)
    rng = np.random.default_rng(1)
    repetitions = 400
    covered = 0
    for _ in range(repetitions):
        fit = statistics.power_law(
            x, power_samples(rng, x, 40), average=average, resamples=500
        )
        covered += fit.low <= -1.5 <= fit.high
    assert abs(covered / repetitions - 0.95) < 3 * binomial_error(0.95, repetitions)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_agrees_with_scipy(method):
    x = np.geomspace(100, 2000, 4)
    # Skewed, and more so at one end: else the corrections of "bca" cancel.
    scatter = np.array([[0.1], [0.2], [0.4], [1.5]])
    samples = np.exp(scatter * np.random.default_rng(2).normal(size=(4, 12)))
    centred = np.log(x) - np.log(x).mean()

    def exponent(*runs, axis):
        means = np.stack([np.log(values.mean(axis=axis)) for values in runs])
        return np.tensordot(centred, means, 1) / np.sum(centred**2)

    expected = stats.bootstrap(
        tuple(samples),
        exponent,
        n_resamples=20_000,
        method=method,
        axis=-1,
        vectorized=True,
    ).confidence_interval
    fit = statistics.power_law(x, samples, method=method, resamples=20_000)
    near = 0.04 * (expected.high - expected.low)
    np.testing.assert_allclose([fit.low, fit.high], expected, atol=near)


def test_power_law_follows_its_seed_and_takes_ragged_samples():
    rng = np.random.default_rng(3)
    samples = [rng.lognormal(size=size) for size in (5, 9, 7)]
    first, same, other = (
        statistics.power_law([1, 2, 4], samples, seed=seed) for seed in (0, 0, 1)
    )
    assert first == same and first != other
    constant = statistics.power_law([1, 2, 4], np.ones((3, 2)), method="bca")
    assert constant.low == constant.exponent == constant.high == 0


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: statistics.power_law([1, 0], np.ones((2, 3))), "x must be positive"),
        (lambda: statistics.power_law([1, 1], np.ones((2, 3))), "x must have at least"),
        (lambda: statistics.power_law([1, 2], np.ones((3, 2))), "one row for each x"),
        (lambda: statistics.power_law([1, 2], np.ones((2, 1))), r"samples\[0\] must"),
        (
            lambda: statistics.power_law([1, 2], [[1, 1], [1, -2]]),
            r"samples\[1\] must be positive, got -2",
        ),
        (
            lambda: statistics.power_law([1, 2], np.ones((2, 3)), average="median"),
            "average must be one of",
        ),
    ],
)
def test_bad_input_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
