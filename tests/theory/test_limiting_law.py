"""The law of √n μ_∞ on orthogonal inputs, piece by piece and as a whole."""

import itertools

import jax
import numpy as np
import pytest
from scipy import optimize

import jaxflow
from jaxflow import theory
from jaxflow.theory import _final_weights, _limiting_law


def subsets(squares):
    """Every sum of a subset, all equally likely."""
    coins = np.array(list(itertools.product((0, 1), repeat=len(squares))))
    return coins @ squares


def test_subset_sums_by_enumeration():
    squares = np.random.default_rng(0).exponential(1.0, 12)
    law, step = _limiting_law.subset_sums(squares, 4000)
    assert law.sum() == pytest.approx(1)
    sums = subsets(squares)
    for level in (0.5, 2.0, 5.0, 9.0):
        below = law[: int(level / step)].sum()
        near = np.mean(np.abs(sums - level) < 2 * step)
        assert abs(below - np.mean(sums <= level)) < near + 1e-9


def test_mean_inverse_by_enumeration():
    squares = np.random.default_rng(1).exponential(1.0, (3, 9))
    squares[1, 4:] = 0
    sums = [subsets(row[row > 0]) for row in squares]
    expected = [np.mean(1 / each[each > 0]) for each in sums]
    found = _final_weights.mean_inverse(squares, squares > 0)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_long_growth_from_a_start_without_first_layer():
    """a = a(0) cosh Gτ, so c = a(0)/2."""
    points = _final_weights.Points.draw((1.0, 2.0), 0.0, 3, np.random.default_rng(0))
    a = np.array([0.3, 1.0, 4.0])
    found = _final_weights.growth_constant(a, points, 20_000)
    np.testing.assert_allclose(found, a / 2, rtol=1e-3)


def flow(n, a, rng, steps=2000):
    """a_j² at the end of (1), (2) of `_final_weights`, all targets and a_j positive, by
    Heun's scheme with n examples, d = n."""
    p = len(a)
    rho, y = rng.uniform(1, 2, n), rng.uniform(1, 2, n)
    v = rng.standard_normal((p, n)) / np.sqrt(n)
    active = v > 0
    a = a.copy()

    def velocity(a, v):
        r = y - rho / p * np.sum(a[:, None] * np.where(active, v, 0), axis=0)
        push = active * (r * rho)
        return push * a[:, None], np.sum(push * v, axis=1)

    h = 12 / np.sqrt(n) / steps * 4
    for _ in range(steps):
        first = velocity(a, v)
        second = velocity(a + h * first[1], v + h * first[0])
        v = v + h / 2 * (first[0] + second[0])
        a = a + h / 2 * (first[1] + second[1])
    return a**2


@pytest.mark.slow
def test_final_squares_are_those_of_the_flow():
    """All examples of one sign: 20 neurons, against the flow of 3000 examples."""
    rng = np.random.default_rng(0)
    n, p = 3000, 20
    a = 1 + rng.exponential(1.0, p)
    many = np.broadcast_to(a, (64, p))
    found = _final_weights.final_squares(
        1.0 * n, many, np.full(64, 1.0 * n), np.zeros((64, p)), (1.0, 2.0), 1.0, rng
    )
    ratio = found.mean(0) / flow(n, a, rng)
    np.testing.assert_allclose(np.average(ratio, weights=a**2), 1, rtol=0.03)
    # A neuron's own examples scatter by 1/√n, some per cent in a_j² here; a_j² at the
    # start differ by a factor of 50.
    assert np.std(np.log(ratio)) < 0.08


def at_interpolation(n, p, rng):
    """D and z of a balanced network on n examples of one sign that has fitted them with
    v_ji in proportion to a_j: a_j² = Σ_i v_ji²."""
    rho, y = rng.uniform(1, 2, n), rng.uniform(1, 2, n)
    active = rng.integers(0, 2, (p, n)).astype(bool)
    active[0] |= ~active.any(0)
    squares = np.full(p, 2.0 * np.sqrt(n)) * rng.uniform(0.5, 1.5, p)
    for _ in range(2000):
        sums = active.T @ squares
        gain = active @ ((y * p / rho) ** 2 / sums**2)
        squares *= gain**0.5
    sums = active.T @ squares
    v = np.where(active, np.sqrt(squares)[:, None] * y * p / (rho * sums), 0)
    return rho, y, sums, squares, v


def test_part_of_rank_p_of_the_least_example():
    """λ_min of the kernel against D_i + ρ² t φ(S_i), at p²/n = 2.7."""
    rng = np.random.default_rng(3)
    n, p = 24, 8
    with_it, without = [], []
    for _ in range(40):
        rho, y, sums, squares, v = at_interpolation(n, p, rng)
        z = rho * v
        least = np.linalg.eigvalsh(np.diag(rho**2 * sums) + z.T @ z)[0]
        total = squares.sum()
        e = np.sum(squares**2) / total**2
        phi = 1 / (sums * (1 + e)) - 1 / (total * (1 + e) * (2 + e))
        with_it.append(np.min(rho**2 * sums + (y * p) ** 2 * phi) / least)
        without.append(np.min(rho**2 * sums) / least)
    assert np.mean(without) < 0.9
    assert abs(np.mean(with_it) - 1) < 0.035


def test_one_example_by_sampling():
    rng = np.random.default_rng(4)
    squares, same, p = rng.exponential(30.0, 9), 200.0, 20
    m = 400_000
    rho, y = rng.uniform(1, 2, m), rng.uniform(1, 2, m)
    sums = rng.integers(0, 2, (m, 9)) @ squares
    total = squares.sum()
    e = np.sum(squares**2) / total**2
    t = (p * y / rho) ** 2
    # S' by the equation that defines it.
    bare, shared = sums * (1 - 2 / same), t / (total * (1 + e) * (2 + e))
    grown = bare
    for _ in range(200):
        grown = 0.5 * grown + 0.5 * np.maximum(
            bare + t / (np.maximum(grown, 1e-6) * (1 + e)) - shared, 1e-6
        )
    values = (2 * grown - bare)[sums > 0] * rho[sums > 0] ** 2
    levels = np.quantile(values, [0.01, 0.1, 0.5, 0.9])
    found = _limiting_law._one_example(squares, same, p, (1.0, 2.0), levels)
    np.testing.assert_allclose(found, [0.01, 0.1, 0.5, 0.9], rtol=0.04, atol=2e-3)


def test_coverage_is_that_of_lemma_5():
    law = theory.limiting_curvature_law(1000, 30, networks=200)
    exact = float(theory.coverage_probability(500, 500, 30))
    assert law.coverage == pytest.approx(exact, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "p", "inputs"), [(200, 33, "orthonormal"), (500, 40, "orthogonal")]
)
def test_law_of_simulated_networks(n, p, inputs):
    key, count = jax.random.key(0), 120
    init = jaxflow.CoveredInitialisation()
    found = []
    for seed in range(count):
        own = jaxflow.run_key(key, n, n, p, seed)
        problem = jaxflow.sample_problem(own, n=n, d=n, p=p, inputs=inputs, init=init)
        times = [0.0, 3 * n * p]
        stop = jaxflow.LossBelow(1e-6 / n)
        sol = jaxflow.simulate(
            *problem, jaxflow.GradientFlow(1e-5), times=times, stop=stop
        )
        found.append(float(theory.limiting_curvature(problem[0], sol.final)) * n**0.5)
    law = theory.limiting_curvature_law(n, p, inputs=inputs, networks=300)
    # Shares of the networks below predicted quantiles, within 2.6 standard errors.
    for q in (0.1, 0.5, 0.9):
        share = np.mean(np.array(found) <= law.quantile(q))
        assert abs(share - q) < 2.6 * np.sqrt(q * (1 - q) / count) + 0.02


def test_law_is_one_and_is_repeated():
    law = theory.limiting_curvature_law(100, 30, networks=20, seed=3)
    again = theory.limiting_curvature_law(100, 30, networks=20, seed=3)
    np.testing.assert_array_equal(law.probability, again.probability)
    assert np.all(np.diff(law.probability) >= -1e-12)
    assert law.probability[0] < 1e-6 and law.probability[-1] > 1 - 1e-6
    assert law.squares.shape == (20, 30) and 0 < law.median_error < 0.1 * law.median
    low, middle, high = law.quantile([0.1, 0.5, 0.9])
    assert low < middle == law.median < high


@pytest.mark.slow
def test_law_at_large_n_nears_its_limit():
    c = 8
    limit = theory.limiting_curvature_constant(c)
    medians = []
    for n in (1e4, 1e30):
        p = int(c * np.log(n / 0.05) / np.log(4 / 3)) + 1
        medians.append(theory.limiting_curvature_law(n, p, networks=8).median)
    assert medians[0] > medians[1] > limit
    assert medians[1] < 1.12 * limit


def test_constant_solves_its_equation():
    """By SciPy's maximum over u, from random a(0) rather than quantiles."""
    c, rng = 2.0, np.random.default_rng(0)
    points = _final_weights.Points.draw((1.0, 2.0), 1.0, 1, rng, 512)
    x = _final_weights.growth_constant(1 + rng.exponential(1, 20_000), points, 800) ** 2
    x /= x.mean()
    size = np.sqrt(4 * 7 / 3 / 2)
    s = theory.limiting_curvature_constant(c) / size

    def minus_rate(log_u):
        u = np.exp(log_u)
        return u * s + np.mean(np.log1p(np.exp(-u * x)) - np.log(2))

    best = optimize.minimize_scalar(minus_rate, bounds=(-5, 10), method="bounded")
    assert -best.fun == pytest.approx(2 * np.log(4 / 3) / c, rel=0.02)


def test_constant_at_its_ends():
    critical = theory.CRITICAL_WIDTH_RATIO
    assert critical == pytest.approx(0.830, abs=1e-3)
    constant = theory.limiting_curvature_constant
    assert constant(0.5) == constant(critical) == 0
    assert 0 < constant(critical + 1e-3) < 1e-3
    values = [constant(c) for c in (1, 1.5, 2, 4, 8, 1e6)]
    assert np.all(np.diff(values) > 0)
    assert values[-1] == pytest.approx(np.sqrt(4 * 7 / 3 / 2) / 2, rel=1e-2)
    wide = constant(1e6, inputs="orthonormal")
    assert wide == pytest.approx(np.sqrt(4 * 7 / 3) / 2, rel=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(n=10, p=30), "at least 50"),
        (dict(n=0, p=30), "n"),
        (dict(n=100, p=0), "p"),
        (dict(n=100, p=2.5), "p"),
        (dict(n=100, p=1), "cover"),
        (dict(n=1e6, p=10), "cover"),
        (dict(n=100, p=30, d=50), "hold no"),
        (dict(n=100, p=30, inputs="sphere"), "inputs"),
        (dict(n=100, p=30, networks=0), "networks"),
    ],
)
def test_bad_arguments_of_the_law(arguments, message):
    with pytest.raises(ValueError, match=message):
        theory.limiting_curvature_law(**arguments)


def test_other_bad_arguments():
    with pytest.raises(ValueError, match="c"):
        theory.limiting_curvature_constant(0)
    with pytest.raises(ValueError, match="aspect"):
        theory.limiting_curvature_constant(2, aspect=1.5)
    law = theory.limiting_curvature_law(100, 30, networks=2)
    with pytest.raises(ValueError, match="q must lie"):
        law.quantile([0.5, 1.0])
