"""Intervals cover what they say they cover; fits agree with independent ones."""

import numpy as np
import pytest
from scipy import special, stats

from jaxflow import statistics

# The paper's grid for n, and a threshold like the one it finds.
GRID = np.arange(1300, 2101, 50)
RUNS = 80
N, S = 1651.0, 35.0


def logistic(n, threshold=N, scale=S):
    return special.expit((threshold - np.asarray(n)) / scale)


def grid_counts(seed):
    return np.random.default_rng(seed).binomial(RUNS, logistic(GRID))


def binomial_error(level, repetitions):
    return np.sqrt(level * (1 - level) / repetitions)


# Probability of convergence.


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


# Threshold.


def brute_force(n, k, m, thresholds, scales):
    logit = (thresholds[:, None, None] - n) / scales[:, None]
    return np.sum(
        k * special.log_expit(logit) + (m - k) * special.log_expit(-logit), axis=-1
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


# Exponents.


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


# Laws.


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


# Design.


def simulated(seed, threshold=N, scale=S):
    rng = np.random.default_rng(seed)

    def run(n):
        return rng.random(n.shape) < logistic(n, threshold, scale)

    return run


@pytest.mark.slow
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


# Bad input.


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
        (lambda: statistics.compare_laws([1, 2, 2], [1, 2, 3]), "x must have at least"),
        (lambda: statistics.compare_laws([1, 2, 3], [1, 2, 0]), "y must be positive"),
        (
            lambda: statistics.compare_laws([1, 2, 3], [1, 2, 3], [1, 1]),
            "sigma must have the shape of x",
        ),
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
