"""Intervals cover what they say they cover; p-values keep their level."""

import numpy as np
import pytest
from scipy import stats

from jaxflow import statistics
from tests.statistics.runs import binomial_error


@pytest.mark.parametrize(
    "method, reference", [("clopper-pearson", "exact"), ("wilson", "wilson")]
)
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_proportion_agrees_with_scipy(method, reference, confidence):
    k = np.arange(13)
    found = statistics.proportion(k, 12, confidence, method)
    for i in k:
        expected = stats.binomtest(int(i), 12).proportion_ci(confidence, reference)
        np.testing.assert_allclose(found.low[i], expected.low, atol=1e-12)
        np.testing.assert_allclose(found.high[i], expected.high, atol=1e-12)
    np.testing.assert_array_equal(found.estimate, k / 12)


def test_ends_of_intervals_solve_their_equations():
    k, m = np.arange(81), 80
    exact = statistics.proportion(k, m, 0.9)
    low = stats.beta.ppf(0.05, k[1:], m - k[1:] + 1)
    np.testing.assert_allclose(exact.low, [0, *low], atol=1e-11)
    high = stats.beta.ppf(0.95, k[:-1] + 1, m - k[:-1])
    np.testing.assert_allclose(exact.high, [*high, 1], atol=1e-11)
    wilson = statistics.proportion(k, m, 0.9, "wilson")
    assert wilson.low[0] == 0 and wilson.high[-1] == 1
    for P in (wilson.low, wilson.high):
        reach = stats.norm.ppf(0.95) * np.sqrt(P * (1 - P) / m)
        np.testing.assert_allclose(np.abs(k / m - P), reach, atol=1e-12)


def test_coverage_of_proportions():
    """Summed over all outcomes, not simulated."""
    m, p = 80, np.linspace(0.01, 0.99, 197)
    k = np.arange(m + 1)
    weight = stats.binom.pmf(k[:, None], m, p)

    def coverage(method):
        found = statistics.proportion(k, m, 0.95, method)
        inside = (found.low[:, None] <= p) & (p <= found.high[:, None])
        return np.sum(weight * inside, axis=0)

    exact, wilson = coverage("clopper-pearson"), coverage("wilson")
    assert np.all(exact >= 0.95)
    assert exact.mean() < 0.98
    assert np.min(wilson) < 0.95
    assert abs(wilson.mean() - 0.95) < 0.005


def test_proportions_broadcast():
    found = statistics.proportion([[0], [3]], [3, 4, 5])
    assert found.low.shape == (2, 3)
    assert np.all(found.low[0] == 0) and found.high[1, 0] == 1
    assert statistics.proportion(1, 2).low.shape == ()
    assert statistics.proportion([], 2).low.shape == (0,)


def test_fisher_from_the_hypergeometric_law():
    k1, m1, k2, m2 = 3, 8, 7, 9
    weight = stats.hypergeom(m1 + m2, k1 + k2, m1).pmf(np.arange(m1 + 1))
    expected = np.sum(weight[weight <= weight[k1] * (1 + 1e-9)])
    found = statistics.compare_proportions(k1, m1, k2, m2, "fisher")
    np.testing.assert_allclose(found, expected)


def test_size_and_power_of_comparisons():
    m = 8
    k = np.arange(m + 1)
    rejected = {
        method: statistics.compare_proportions(k[:, None], m, k, m, method) <= 0.05
        for method in ("fisher", "boschloo")
    }

    def chance(method, p1, p2):
        law1, law2 = stats.binom.pmf(k, m, p1), stats.binom.pmf(k, m, p2)
        return law1 @ rejected[method] @ law2

    for p in np.linspace(0.05, 0.95, 19):
        assert chance("boschloo", p, p) <= 0.05 + 1e-9
        assert chance("fisher", p, p) <= 0.05
    assert chance("boschloo", 0.2, 0.8) > chance("fisher", 0.2, 0.8) > 0.3
    assert statistics.compare_proportions(0, 5, 0, 9) == 1
    assert statistics.compare_proportions(5, 5, [9, 3], 9).shape == (2,)


def test_holm():
    np.testing.assert_allclose(
        statistics.holm([0.03, 0.01, 0.04, 0.8]), [0.09, 0.04, 0.09, 0.8]
    )
    # One false alarm or more among eight, all of them true.
    p = np.random.default_rng(0).random((4000, 8))
    alarms = np.mean([np.any(statistics.holm(row) < 0.05) for row in p])
    assert abs(alarms - 0.05) < 3 * binomial_error(0.05, 4000)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: statistics.proportion(4, 3), "successes must lie.*got 4 of 3"),
        (lambda: statistics.proportion(-1, 3), "successes must lie"),
        (lambda: statistics.proportion(0.5, 3), "successes must be whole.*got 0.5"),
        (lambda: statistics.proportion(0, 0), "trials must be at least 1, got 0"),
        (lambda: statistics.proportion([1, 2], [3, 3, 3]), "shapes must fit"),
        (lambda: statistics.proportion(1, 3, 95), "confidence must be.*got 95"),
        (lambda: statistics.proportion(1, 3, method="wald"), "method must be one of"),
        (lambda: statistics.proportion("a", 3), "successes must be numbers"),
        (
            lambda: statistics.compare_proportions(1, 2, 5, 3),
            "successes_2 must lie between 0 and trials_2",
        ),
        (lambda: statistics.holm([0.5, 1.5]), "p_values must lie.*got 1.5"),
        (lambda: statistics.holm(0.5), "p_values must have 1 axis"),
    ],
)
def test_bad_input_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
