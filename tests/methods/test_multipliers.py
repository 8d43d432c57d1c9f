"""The multipliers of a step against their equations and a bounded least squares."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import lsq_linear

import jaxflow
from jaxflow._methods.coupled_multipliers import coupled_masks
from jaxflow._methods.interactions import Interactions
from jaxflow._methods.multipliers import damped_mask, mean_mask
from jaxflow._methods.stiff_modes import StiffModes
from jaxflow._problem.run_problem import counts, to_run_coordinates
from tests.problems import correlated


def test_a_damped_mask_solves_its_equation():
    rng = np.random.default_rng(0)
    z, drift = rng.normal(size=(2, 40, 500))
    pull, extra = rng.exponential(size=(2, 40, 500))
    z[:5], pull[5:8], extra[8:12] = 0, 0, 0
    h = jnp.asarray(0.7)
    z, drift, pull, extra = (jnp.asarray(v) for v in (z, drift, pull, extra))
    mask = damped_mask(z, drift, pull, extra, h)
    again = mean_mask(z, drift - extra * mask, -pull, h)
    assert_allclose(mask, again, atol=1e-12)
    assert 0.1 < float(jnp.mean((mask > 0) & (mask < 1))) < 0.9
    # The rule has no scale, in float32 too, where the squares of these vanish.
    z, drift, pull, extra, h = (
        (unit * v).astype(jnp.float32)
        for unit, v in zip(
            (1e-25,) * 4 + (1.0,), (z, drift, pull, extra, h), strict=True
        )
    )
    tiny = damped_mask(z, drift, pull, extra, h)
    assert_allclose(tiny, mask, atol=1e-3)


def _solved(x, gain, drift, candidates=64):
    """λ and the velocities of one neuron whose pairs all lie on their kinks."""
    interactions = Interactions(jaxflow.DenseInputs(x))
    z = jnp.zeros((1, len(x)))
    masks = coupled_masks(
        interactions,
        z,
        jnp.asarray(drift)[None],
        z,
        jnp.asarray(gain)[None],
        jnp.asarray(0.1),
        candidates,
        jnp.asarray(1e-12),
        jnp.array(True),
    )
    velocity = drift + (x @ x.T) @ (gain * np.asarray(masks.values[0]))
    return np.asarray(masks.values[0]), velocity, masks


@pytest.mark.parametrize("d", [2, 5, 30])
@pytest.mark.parametrize("candidates", [20, 3])
def test_pairs_that_attract_solve_a_convex_problem(d, candidates):
    # min ½ ν·Kν − b·ν on 0 ≤ ν ≤ |g| with K = X Xᵀ and b = X q, a least squares.
    rng = np.random.default_rng(d)
    x = rng.normal(size=(20, d))
    gain = -rng.exponential(size=20)
    aim = rng.normal(size=d)
    best = lsq_linear(x.T, aim, bounds=(0, -gain), tol=1e-14)
    lam, velocity, masks = _solved(x, gain, x @ aim, candidates)
    assert int(masks.overflow) == max(20 - candidates, 0)
    # K ν is unique even where ν is not.
    assert_allclose(velocity, x @ (aim - x.T @ best.x), atol=1e-6)
    assert np.all((lam >= 0) & (lam <= 1))


def test_opposite_inputs_hold_by_the_sum_of_their_pushes():
    # x₂ = −2 x₁: with λ for the first, 1 − λ for the second. One of them repels.
    x = np.array([[1.0, 0.5], [-2.0, -1.0], [0.3, -1.0]])
    square = 1.25
    gain = np.array([-2.0, 0.4, 0.0])
    # Below the kink the second one is on.
    aim = np.array([1.2, 0.6])
    lam, _, masks = _solved(x, gain, x @ aim)
    assert lam[1] == pytest.approx(1 - lam[0])
    held = x[0] @ aim + square * (gain[0] * lam[0] - 2 * gain[1] * lam[1])
    assert held == pytest.approx(0, abs=1e-10)
    assert_array_equal(masks.sliding[0], [True, True, False])
    # With a stronger repulsion they are let go, whatever the single signs.
    lam, _, masks = _solved(x, np.array([-2.0, 1.1, 0.0]), x @ aim)
    assert set(lam[:2]) == {0.0, 1.0}
    assert not np.any(masks.sliding)


def test_equal_directions_share_one_multiplier():
    x = np.array([[1.0, 0.5], [2.0, 1.0], [0.5, 0.25], [1.0, -1.0]])
    lam, velocity, _ = _solved(x, -np.ones(4), x @ np.array([0.4, 0.2]))
    assert_allclose(lam[:3], lam[0])
    assert 0 < lam[0] < 1
    assert_allclose(velocity[:3], 0, atol=1e-10)


@pytest.mark.slow
def test_few_candidates_change_nothing_but_the_time():
    data, network = jaxflow.sample_problem(
        jax.random.key(3), n=30, d=6, p=5, inputs="sphere"
    )

    def run(candidates):
        method = jaxflow.FilippovFlow(1e-4, sliding_candidates=candidates)
        return jaxflow.simulate(data, network, method, times=[20.0], observe={})

    many, few = run(30), run(2)
    assert int(few.stats["overflow"]) > 0 == int(many.stats["overflow"])
    assert float(few.stats["multiplier_residual"]) < 1e-3
    assert_allclose(few.final_loss, many.final_loss, rtol=2e-4)


@pytest.mark.slow
def test_steps_are_not_bound_by_the_largest_modes():
    data, network = jaxflow.sample_problem(
        jax.random.key(0), n=300, d=20, inputs="sphere"
    )
    method = jaxflow.FilippovFlow(3e-3)
    start, end = 200.0, 400.0
    sol = jaxflow.simulate(data, network, method, times=[start], observe={})
    later = jaxflow.simulate(data, sol.final, method, times=[end - start], observe={})
    largest = float(jaxflow.tangent_kernel(data, later.final).largest)
    assert int(later.stats["steps"]) < 0.6 * largest * (end - start) / 2
    assert float(later.stats["loss_increases"]) == 0


def test_what_a_step_resolves_is_left_alone():
    data, network = correlated_problem()
    problem, weights, a = to_run_coordinates(
        data, network, *counts(data, network), reduce=True
    )
    z = problem.inputs.preactivations(weights)
    gates = (z > 0).astype(z.dtype)
    v = jnp.sin(jnp.arange(1.0, z.shape[1] + 1))

    @eqx.filter_jit
    def changed(h):
        stiff = StiffModes(problem)
        outliers = stiff.start(z, a, gates)
        return jnp.linalg.norm(stiff.damped(outliers, gates, a, h, v) - v)

    steps = [1e-3, 5e-4]
    coarse, fine = (float(changed(jnp.asarray(h))) for h in steps)
    assert coarse / fine == pytest.approx(4, rel=0.01)


def correlated_problem():
    x, y, w, a = correlated(n=12, d=4, p=3)
    return jaxflow.Dataset(x, y), jaxflow.Network(w, a)
