"""The step that keeps p + n numbers for each stage, against diffrax's own step."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxflow
from jaxflow._methods.gated_runge_kutta import HeldInterpolation, HeldStep
from jaxflow._methods.kink_solver import Arguments, velocity
from jaxflow._methods.kinks import kinks_of
from jaxflow._methods.step_size import ErrorControl, StepError
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


def test_the_error_is_that_of_neurons_and_of_the_fit():
    step = _start("orthogonal")
    problem, weights, a = step.problem, step.weights, step.a
    rng = np.random.default_rng(0)
    errors = 1e-5 * rng.normal(size=weights.shape), 1e-5 * rng.normal(size=a.shape)
    allowed = jnp.asarray(1e-3)
    measure = StepError.at_start(problem, weights, a, allowed)
    r = problem.residuals_at(weights, a)
    given = jnp.asarray(errors[0]), jnp.asarray(errors[1])
    size, sums = measure(problem, weights, a, r, given)

    w, gates = np.asarray(weights), np.asarray(weights) > 0
    lengths = np.asarray(problem.inputs.norms)
    norms = np.sqrt(np.asarray(problem.squared_norms(weights)))
    each = np.maximum(np.linalg.norm(errors[0], axis=1), abs(errors[1]))
    each = each / np.maximum(norms, abs(np.asarray(a)))
    on = np.where(gates, w, 0) * lengths
    missed = errors[1] @ on + np.asarray(a) @ (np.where(gates, errors[0], 0) * lengths)
    fit = np.linalg.norm(missed / len(a)) / np.linalg.norm(r)
    assert_allclose(size, max(each.max(), fit) / 1e-3, rtol=1e-10)
    assert_allclose(sums, abs(np.asarray(a)) @ on / len(a), rtol=1e-12)
    # Neurons of any scale, also where squares underflow.
    ours, tiny = (
        StepError.at_start(
            eqx.tree_at(lambda s: s.offset, problem, jnp.zeros_like(a)),
            scale * weights,
            0.1 * scale * a,
            allowed,
        ).excess
        for scale in (1, 1e-200)
    )
    assert np.all(np.asarray(ours) > 0.1 * norms)
    assert_allclose(tiny, 1e-200 * np.asarray(ours), rtol=1e-12)


def test_a_step_is_kept_if_its_error_is_at_most_one():
    control = ErrorControl(jnp.asarray(1e-3), jnp.asarray(1e-3))
    by_hand = diffrax.PIDController(rtol=0, atol=1, pcoeff=0.4, icoeff=0.3)
    state = (jnp.asarray(1.0), jnp.asarray(1.0), False)
    zero = jnp.asarray(0.0)
    for error, kept in ((0.9, True), (1.1, False), (jnp.inf, False)):
        ours, theirs = (
            controller.adapt_step_size(
                0.0, 1.0, y, y, None, jnp.asarray(error), 5.0, state
            )
            for controller, y in ((control, None), (by_hand, zero))
        )
        assert bool(ours[0]) == bool(theirs[0]) == kept
        assert_allclose(ours[2], theirs[2], rtol=1e-12)
