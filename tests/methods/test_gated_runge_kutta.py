"""The step that keeps p + n numbers for each stage, against diffrax's own step."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxflow
from jaxflow._methods.gated_runge_kutta import HeldInterpolation, HeldStep
from jaxflow._methods.kink_solver import Arguments, velocity
from jaxflow._methods.kinks import kinks_of
from jaxflow._methods.step_size import ErrorControl, MovingRootMeanSquare
from jaxflow._problem.run_problem import counts, to_run_coordinates

SOLVERS = [
    diffrax.Dopri5(),
    diffrax.Tsit5(),
    diffrax.Bosh3(),
    diffrax.Heun(),
    diffrax.Dopri8(),
]


def _start(inputs):
    data, network = jaxflow.sample_problem(
        jax.random.key(0), n=24, d=30, p=7, inputs=inputs
    )
    problem, weights, a = to_run_coordinates(
        data, network, *counts(data, network), reduce=True
    )
    kinks = kinks_of(problem.inputs)
    carried = kinks.start(weights, a, problem.field(weights, a).residuals)
    return HeldStep(problem, kinks, carried, weights, a, jnp.asarray(1.5))


@pytest.mark.slow
@pytest.mark.parametrize(
    "inputs", [pytest.param("orthogonal", marks=pytest.mark.slow), "antipodal"]
)
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_is_the_step_of_diffrax(solver, inputs):
    step = _start(inputs)
    args = Arguments(step.problem, step.kinks, step.pattern)
    terms, y0 = diffrax.ODETerm(velocity), (step.weights, step.a)
    state = solver.init(terms, 0.0, 1.5, y0, args)
    y1, error, info, _, _ = solver.step(terms, 0.0, 1.5, y0, args, state, False)

    tableau = solver.tableau
    stages = step.stages(tableau, step.first())
    ours = step.end(tableau, stages)
    if tableau.fsal:
        stages.append(step.stage(*ours))
    kinked = np.sum((np.asarray(y0[0]) > 0) & (np.asarray(y1[0]) < 0))
    assert kinked > 0
    pairs = (
        zip(ours, y1, strict=True),
        zip(step.moved(tableau.b_error, stages), error, strict=True),
    )
    for ours_and_theirs in pairs:
        for mine, theirs in ours_and_theirs:
            assert_allclose(mine, theirs, rtol=0, atol=1e-13)

    theirs = solver.interpolation_cls(t0=0.0, t1=1.5, **info)
    mine = HeldInterpolation(0.0, 1.5, step, stages, solver)
    for t in (0.0, 0.4, 1.1, 1.5):
        weights, a = theirs.evaluate(t)
        settled, own_a = mine.evaluate(t)
        assert_allclose(own_a, a, rtol=0, atol=1e-12)
        assert_allclose(settled, step.pattern.settle(weights), rtol=0, atol=1e-12)
    between = mine.evaluate(0.4, 1.1)
    assert_allclose(between[1], mine.evaluate(1.1)[1] - mine.evaluate(0.4)[1])


def test_the_error_is_that_of_what_moves():
    step = _start("orthogonal")
    rng = np.random.default_rng(0)
    weights, new = rng.normal(size=(2, 7, 24))
    error = 1e-5 * rng.normal(size=(7, 24))
    error[rng.random((7, 24)) < 0.7] = 0
    a, new_a, a_error = np.ones(7), 2 * np.ones(7), 3e-5 * np.ones(7)
    scaled = error / (1e-4 + 1e-3 * np.maximum(abs(weights), abs(new)))
    scaled_a = a_error / (1e-4 + 1e-3 * 2)
    size = np.sqrt((np.sum(scaled**2) + np.sum(scaled_a**2)) / (np.sum(error != 0) + 7))

    norm = MovingRootMeanSquare(step.problem)
    control = ErrorControl(jnp.asarray(1e-3), jnp.asarray(1e-4), norm)
    by_hand = diffrax.PIDController(rtol=0, atol=1, pcoeff=0.4, icoeff=0.3)
    state = (jnp.asarray(1.0), jnp.asarray(1.0), False)

    def next_step(controller, y0, y1, error):
        return controller.adapt_step_size(0.0, 1.0, y0, y1, None, error, 5.0, state)

    ours = next_step(control, (weights, a), (new, new_a), (error, a_error))
    theirs = next_step(by_hand, jnp.asarray(0.0), jnp.asarray(0.0), jnp.asarray(size))
    assert bool(ours[0]) == bool(theirs[0]) is True
    assert_allclose(ours[2], theirs[2], rtol=1e-12)

    broken = np.full((7, 24), np.nan)
    kept, _, end, *_ = next_step(control, (weights, a), (broken, a), (error, a_error))
    assert not kept
    assert 0 < float(end) < 1
