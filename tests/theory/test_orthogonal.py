"""Lemma 7, Propositions 1 and 2, and the estimators of Conjecture 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow
from experiments.theory_checks import groups, orthogonal
from experiments.theory_checks.common import QUICK
from jaxflow import theory


def one_wrong_pair(a):
    """One neuron, one example, a y < 0: w shrinks at speed |a| |r| ‖x‖²."""
    data = jaxflow.Dataset(jaxflow.OrthogonalInputs(jnp.array([2.0])), jnp.ones(1))
    network = jaxflow.Network(jnp.array([[0.01]]), jnp.array([a]), jnp.array([0.01]))
    return data, network


@pytest.mark.slow
def test_extinction_time_bounds_that_of_one_pair():
    data, network = one_wrong_pair(-3.0)
    state = jaxflow.Snapshot.of(data, network)
    derived = theory.extinction_time(state)
    printed = theory.printed.extinction_time(state)
    np.testing.assert_allclose(derived, 2 * 0.02 / (4 * np.sqrt(9 - 0.01)))
    np.testing.assert_allclose(printed, 2 * 0.02 / (4 * (9 - 0.01)))
    sol = jaxflow.simulate(
        data,
        network,
        jaxflow.GradientFlow(rtol=1e-9),
        times=jnp.stack([printed, derived]),
    )
    # Still active when the printed time says that it is not; off at the derived one.
    np.testing.assert_array_equal(sol.observables["active_pairs"], [1, 0])


@pytest.mark.slow
def test_lemma_7_over_random_runs():
    found = orthogonal.extinction(QUICK, jax.random.key(0))
    assert found["runs"] >= 10
    assert found["wrong pairs active at t_n, strong a, derived"] == 0
    assert found["right pairs below their start, strong a, derived"] == 0
    assert found["wrong pairs active at t_n, strong a, printed"] > 0


@pytest.mark.long
def test_proposition_1_over_random_runs():
    found = orthogonal.ceiling(QUICK, jax.random.key(0))
    assert 0 < found["largest μ/(eq. 8), printed"] <= 1
    assert 0 < found["largest μ/(eq. 8), corrected"] <= 1


@pytest.mark.slow
def test_proposition_1_needs_the_weights_outside_the_inputs():
    found = orthogonal.idle_part()
    mu = found["μ in the example for eq. 51, at least"]
    assert found["eq. 8 there, printed"] < mu <= found["eq. 8 there, corrected"]


@pytest.mark.slow
def test_closed_form_of_the_groups():
    found = groups.closed_form(QUICK, jax.random.key(4))
    assert found["‖w‖² error, c₀ = 0.6"] < 1e-6
    assert found["loss error, c₀ = 0.6"] < 1e-6
    assert found["‖w‖² error of eq. 55, c₀ = 1.0"] < 1e-6
    assert found["‖w‖² error of eq. 55, c₀ = 0.6"] > 0.05
    assert found["cosine error of eq. 53, c₀ = 0.6"] > 0.05


@pytest.mark.long
def test_proposition_2():
    found = groups.proposition_2(QUICK, jax.random.key(0))
    assert found["pairs"] > 50
    assert found["violations, printed"] == found["violations, corrected"] == 0
    for alpha in (0.5, 0.75, 1.0):
        assert abs(found[f"exponent of μ(∞), α = {alpha}"] + alpha) < 0.06
    # The bounds are not void: the ceiling is reached within a factor 2.
    assert 1 <= found["tightest upper"] < 2


def test_group_bounds_are_those_of_one_group():
    # One group, equal targets, c₀ = 1: at the stated time e^{2γt} = √n y, and
    # φ = q/(1 + q) to first order, twice what K₁ asks for and more.
    n, y = 100, 1.5
    bounds = theory.group_bounds(1.0 * n, 0.5, jnp.full(n, y), jnp.ones(1))
    np.testing.assert_allclose(bounds.upper, 4 * y / 10)
    np.testing.assert_allclose(bounds.lower, 2 * y / (5 + 2 / np.exp(1)) / 10)
    np.testing.assert_allclose(bounds.time, 10 / (2 * y) * np.log(10 * y))
    printed = theory.printed.group_bounds(1.0 * n, 0.5, jnp.full(n, y), jnp.ones(1))
    np.testing.assert_allclose(printed.lower, 2 * y / 3 / 10)
    assert printed.time > bounds.time


@pytest.mark.slow
def test_theorem_2():
    found = groups.theorem_2(QUICK, jax.random.key(0))
    assert found["worst error of a simulated time"] < 1e-4
    name = "‖D‖ = 2, np = 10^300"
    np.testing.assert_allclose(found[f"window/limit, {name}"], 1, rtol=1e-6)
    assert found[f"window/printed, {name}"] > 4
    assert abs(found[f"time × ‖D‖, {name}"] - 1) < 1e-2
    assert found["C(ε) at ε = 0.6"] < 1


def test_estimators_of_conjecture_1_agree_on_a_pure_exponential():
    times = jnp.linspace(0, 10, 101)
    loss = 3 * jnp.exp(-0.7 * times)
    for value in (
        theory.log_ratio_curvature(loss[-11], loss[-1]),
        theory.log_ratio_curvature(loss[-2], loss[-1], 0.1),
        theory.windowed_curvature(times, loss, 8.0),
        theory.mean_curvature(loss[0], loss[-1], times[-1]),
    ):
        np.testing.assert_allclose(value, 0.7, rtol=1e-9)


def test_the_mean_curvature_remembers_the_plateau():
    # A plateau until t = 5, then a rate of 1: the mean is late, the others are not.
    times = jnp.linspace(0, 10, 101)
    loss = jnp.exp(-jnp.maximum(times - 5, 0))
    np.testing.assert_allclose(theory.mean_curvature(loss[0], loss[-1], 10.0), 0.5)
    np.testing.assert_allclose(theory.windowed_curvature(times, loss, 6.0), 1.0)


@pytest.mark.slow
def test_limiting_curvature_is_the_limit_of_a_run():
    data, network = jaxflow.sample_problem(jax.random.key(1), n=20, d=400, p=25)
    assert bool(jaxflow.Snapshot.of(data, network).covered)
    sol = jaxflow.simulate(
        data,
        network,
        jaxflow.GradientFlow(rtol=1e-9),
        times=jnp.array([60.0, 80.0]),
    )
    limit = theory.limiting_curvature(data, sol.final)
    late = theory.log_ratio_curvature(sol.loss[0], sol.loss[1], 20.0)
    np.testing.assert_allclose(late, limit, rtol=0.05)
    np.testing.assert_allclose(sol.curvature[0], limit, rtol=0.1)
