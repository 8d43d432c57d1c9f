"""The law that made the points is found, with the errors that it says."""

import numpy as np
import pytest
from scipy import stats

from jaxflow import statistics


@pytest.mark.parametrize("law", statistics.LAWS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_true_law_is_found(law, weighted):
    x = np.array([25.0, 50, 100, 200, 400, 800])
    truth = {
        "linear": 100 + 2 * x,
        "power": 30 * x**0.5,
        "logarithmic": -200 + 250 * np.log(x),
    }
    expected = {"linear": (100, 2), "power": (30, 0.5), "logarithmic": (-200, 250)}
    sigma = 0.01 * truth[law]
    y = truth[law] + sigma * np.random.default_rng(0).normal(size=6)
    fits = statistics.compare_laws(x, y, sigma if weighted else None)
    best = next(iter(fits.values()))
    assert best.name == law and best.weight > 0.9
    assert list(fits) == sorted(fits, key=lambda name: fits[name].aic)
    np.testing.assert_allclose(sum(fit.weight for fit in fits.values()), 1)
    assert np.all(np.abs(best.parameters - expected[law]) < 4 * best.errors)
    misfit = (y - best.predict(x)) / (sigma if weighted else 1)
    np.testing.assert_allclose(best.residual, np.sum(misfit**2))
    if weighted:
        assert best.p_value > 0.01 > max(f.p_value for f in fits.values() if f != best)
    else:
        assert np.isnan(best.p_value)


def test_linear_law_agrees_with_polyfit():
    x, y = np.array([1.0, 2, 4, 7]), np.array([3.0, 4, 9, 12])
    sigma = np.array([0.5, 1, 1, 2])
    fit = statistics.compare_laws(x, y, sigma)["linear"]
    (b, a), covariance = np.polyfit(x, y, 1, w=1 / sigma, cov="unscaled")
    np.testing.assert_allclose(fit.parameters, [a, b], rtol=1e-6)
    np.testing.assert_allclose(
        fit.errors, np.sqrt(np.diag(covariance))[::-1], rtol=1e-6
    )
    free = statistics.compare_laws(x, y)["logarithmic"]
    (b, a), covariance = np.polyfit(np.log(x), y, 1, cov=True)
    np.testing.assert_allclose(free.parameters, [a, b], rtol=1e-6)
    np.testing.assert_allclose(
        free.errors, np.sqrt(np.diag(covariance))[::-1], rtol=1e-6
    )


def test_errors_of_the_power_law_by_simulation():
    x, sigma = np.array([10.0, 20, 40, 80]), np.full(4, 2.0)
    rng = np.random.default_rng(0)
    fits = [
        statistics.compare_laws(x, 5 * x**0.7 + sigma * rng.normal(size=4), sigma)
        for _ in range(300)
    ]
    found = np.array([fit["power"].parameters for fit in fits])
    errors = np.mean([fit["power"].errors for fit in fits], axis=0)
    np.testing.assert_allclose(found.std(axis=0), errors, rtol=0.15)
    # The weight is about the laws, the p-value about the fit.
    p = [fit["power"].p_value for fit in fits]
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_exact_points_do_not_break_the_criterion():
    x = np.array([1.0, 2, 3, 4])
    fits = statistics.compare_laws(x, 2 * x)
    # A straight line through the origin is a power of x too.
    assert fits["linear"].weight + fits["power"].weight > 0.999
    assert np.isfinite(fits["linear"].aic)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: statistics.compare_laws([1, 2, 2], [1, 2, 3]), "x must have at least"),
        (lambda: statistics.compare_laws([1, 2, 3], [1, 2, 0]), "y must be positive"),
        (
            lambda: statistics.compare_laws([1, 2, 3], [1, 2, 3], [1, 1]),
            "sigma must have the shape of x",
        ),
    ],
)
def test_bad_input_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
