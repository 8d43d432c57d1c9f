"""Searches for a threshold are precise, and need few runs for it."""

import numpy as np
import pytest
from scipy import special

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
    simulated,
)


@pytest.mark.long
def test_the_search_needs_far_fewer_runs_than_the_grid():
    """To ±1 %: 8 to 9 times fewer than the 1360 of the grid, but only about 3 times
    fewer than a grid of the same spacing with an interval of the same length."""
    repetitions = 100
    searches = [
        statistics.find_threshold(simulated(seed), 1300, 2100)
        for seed in range(repetitions)
    ]
    runs = np.array([search.runs for search in searches])
    assert all(search.precise for search in searches)
    assert all(s.threshold.relative_half_width <= 0.01 for s in searches)
    assert 7 < len(GRID) * RUNS / runs.mean() < 10

    found = [search.threshold for search in searches]
    half = np.mean([t.high - t.low for t in found]) / 2
    grid = [statistics.fit_threshold(GRID, grid_counts(i), RUNS) for i in range(60)]
    grid_half = np.mean([t.high - t.low for t in grid]) / 2
    equal = len(GRID) * RUNS * (grid_half / half) ** 2
    assert 2.3 < equal / runs.mean() < 3.5
    # Not at the cost of the interval.
    covered = np.mean([t.low <= N <= t.high for t in found])
    assert covered > 0.95 - 2 * binomial_error(0.95, repetitions)
    assert np.std([t.estimate for t in found]) * 1.96 < 1.2 * half


def test_precision_is_what_is_asked_for():
    loose = statistics.find_threshold(simulated(0), 1300, 2100, precision=0.03)
    assert loose.precise and 0.01 < loose.threshold.relative_half_width <= 0.03
    assert loose.threshold.interval == "posterior"
    short = statistics.find_threshold(simulated(0), 1300, 2100, max_runs=20)
    assert not short.precise and short.runs == 20
    assert short.outcomes.shape == short.n.shape == (20,)
    assert short.threshold.relative_half_width > 0.01


@pytest.mark.parametrize("alike", [True, False])
def test_a_search_whose_runs_all_end_alike_bounds_the_threshold(alike):
    search = statistics.find_threshold(
        lambda points: np.full(len(points), alike), 26000, 34000, max_runs=16
    )
    found = search.threshold
    assert not search.precise and found.interval == "profile"
    assert found.estimate == (np.inf if alike else -np.inf)
    # Eight runs at its end are enough to say that N is not within the range.
    bound = found.low if alike else found.high
    np.testing.assert_allclose(bound, search.n.max() if alike else search.n.min())


@pytest.mark.parametrize(
    "low, high", [(100, 300), (4000, 4010), (1600, 1605), (1000, 10_000)]
)
def test_a_range_that_misses_the_threshold(low, high):
    search = statistics.find_threshold(simulated(1), low, high, precision=0.02)
    assert search.precise and search.low < N < search.high
    assert abs(search.threshold.estimate - N) < 0.05 * N
    assert np.all(search.n >= 1)


def test_bounds_that_exclude_the_threshold():
    with pytest.raises(ValueError, match="beyond maximum = 900"):
        statistics.find_threshold(simulated(0), 300, 600, maximum=900)
    with pytest.raises(ValueError, match="below minimum = 2500"):
        statistics.find_threshold(simulated(0), 3000, 3500, minimum=2500)


def test_points_obey_the_step_and_a_sharp_threshold_is_bisected():
    search = statistics.find_threshold(
        lambda n: n < 1651, 1300, 2100, step=10, batch=4, precision=0.02
    )
    assert search.precise and np.all(search.n % 10 == 0)
    assert search.threshold.low < 1651 < search.threshold.high
    assert search.threshold.separated
    assert search.runs < 100


@pytest.mark.parametrize("batch", [1, 3])
def test_small_batches(batch):
    search = statistics.find_threshold(
        simulated(2), 1300, 2100, batch=batch, precision=0.03
    )
    assert search.precise
    assert search.threshold.low < N < search.threshold.high
    again = statistics.find_threshold(
        simulated(2), 1300, 2100, batch=batch, precision=0.03
    )
    np.testing.assert_array_equal(again.n, search.n)


def test_next_points_start_spread_and_then_close_in():
    candidates = np.arange(1300, 2101, 5)
    start = statistics.next_points(candidates, [], [], [], 8)
    assert start.shape == (8,) and np.all(np.diff(start) >= 0)
    assert np.ptp(start) > 300
    n = np.arange(1300, 2101, 50)
    later = statistics.next_points(candidates, n, np.round(20 * logistic(n)), 20, 8)
    assert np.all(np.isin(later, candidates))
    assert np.all(np.abs(later - N) < 3 * S)


def test_next_points_lower_the_variance_most():
    """By enumeration of both outcomes of one run, for every candidate."""
    n, k, m = np.array([1500, 1600, 1700, 1800]), np.array([5, 4, 1, 0]), 5
    candidates = np.arange(1500, 1801, 20)
    thresholds = np.linspace(1200, 2100, 400)
    scales = 1650 * np.geomspace(3e-4, 0.3, 60)
    log_weights = brute_force(n, k, m, thresholds, scales) + np.log(scales)
    weights = np.exp(log_weights - log_weights.max())
    weights[weights < 1e-2] = 0
    weights /= weights.sum()

    def expected_variance(candidate):
        p = special.expit((thresholds[:, None] - candidate) / scales)
        total = 0.0
        for outcome in (p, 1 - p):
            joint = (weights * outcome).sum(axis=1)
            mean = joint @ thresholds / joint.sum()
            total += joint @ (thresholds - mean) ** 2
        return total

    variances = np.array([expected_variance(candidate) for candidate in candidates])
    chosen = statistics.next_points(candidates, n, k, m, 1)[0]
    lost = variances[candidates == chosen][0] / variances.min() - 1
    assert lost < 0.01 < variances.max() / variances.min() - 1


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: statistics.next_points([5], [], [], [], 1), "n_candidates must be"),
        (lambda: statistics.next_points([5, 6], [], [], [], 0), "batch must be"),
        (lambda: statistics.find_threshold(simulated(0), 9, 5), "low and high must"),
        (
            lambda: statistics.find_threshold(simulated(0), 5, 90, maximum=80),
            "low and high must",
        ),
        (
            lambda: statistics.find_threshold(simulated(0), 5, 90, precision=1.0),
            "precision must be",
        ),
        (
            lambda: statistics.find_threshold(lambda n: 1.0 * n, 5, 90),
            "run must return booleans",
        ),
        (
            lambda: statistics.find_threshold(simulated(0), 5, 90, max_runs=1),
            "max_runs must allow",
        ),
    ],
)
def test_bad_input_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
