"""Both flows of correlated inputs on many small problems, against what shares no code
with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxflow
from benchmarks._small_problems import (
    KINDS,
    SmallProblem,
    cases,
    converging,
    error_of_neurons,
    random_problem,
)
from tests import reference

ZERO_LOSS = converging()
# The others take longer.
CORE = ("n=3, d=3, p=3, from 1",)


@jax.jit
def _run(problem, method):
    return problem.run(method, jnp.array([problem.end]))


def _error(problem, method, right):
    arrays = SmallProblem._make(jnp.asarray(part, float) for part in problem)
    run = _run(arrays, method)
    # Zero loss, to rounding, is the only other end.
    ended = float(run.final_time) == problem.end
    assert ended or run.result == jaxflow.Results.exhausted
    assert int(run.stats["loss_increases"]) == 0
    return error_of_neurons(run.final, right.w, right.a)


def test_the_reference_has_the_right_values():
    # Of the cases, those that it is for: no two inputs are collinear.
    generic = [
        case for case in cases() if case["kind"] in ("generic", "zero_labels", "small")
    ]
    assert len(generic) > 5
    for case in generic:
        arrays = (np.array(case[name]) for name in "xywa")
        w, a, _ = reference.correlated_flow(*arrays, end=case["times"][-1])
        assert_allclose(w, case["final_w"], atol=1e-9)
        assert_allclose(a, case["final_a"], atol=1e-9)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in CORE else [pytest.mark.slow])
        for name in ZERO_LOSS
    ],
)
def test_runs_that_converge_to_zero_loss(name):
    problem = ZERO_LOSS[name]
    x, y, w, a = (np.asarray(part) for part in problem[:4])
    right = jaxflow.Network(*reference.correlated_flow(x, y, w, a, end=problem.end)[:2])
    start = reference.loss(x, y, w, a)
    assert reference.loss(x, y, right.w, right.a) < 1e-12 * start
    for rtol in (1e-4, 1e-8):
        assert _error(problem, jaxflow.EventFlow(rtol), right) < rtol
    errors = [
        _error(problem, jaxflow.FilippovFlow(tolerance), right)
        for tolerance in (1e-3, 1e-4, 1e-5)
    ]
    assert errors[0] < 1e-2
    # Where a² − ‖w‖² decides, which is exact, there is nothing left to fall.
    assert errors[2] < errors[1] < errors[0] or errors[0] < 1e-6


@pytest.mark.slow
def test_the_stepping_scheme_has_the_right_values():
    for tolerance, misses in ((3e-3, 4), (1e-3, 0), (1e-4, 0), (1e-5, 0)):
        missed = 0
        for case in cases():
            end = case["times"][-1]
            problem = SmallProblem._make([*(case[name] for name in "xywa"), end])
            run = problem.run(jaxflow.FilippovFlow(tolerance), case["times"])
            assert float(run.final_time) == problem.end
            error = error_of_neurons(run.final, case["final_w"], case["final_a"])
            if error > 1e-2:
                # Nearly collinear inputs; and it says so.
                missed += 1
                assert float(run.stats["estimated_error"]) > error / 2
        assert missed <= misses


def _errors_of_random_problems(kind, count, methods):
    errors = []
    for seed in range(count):
        problem = random_problem(kind, seed)
        arrays = SmallProblem._make(jnp.asarray(part, float) for part in problem)
        right = _run(arrays, jaxflow.EventFlow(1e-11))
        if int(right.stats["origin_passes"]) + int(right.stats["forks"]):
            # From there the flow has several solutions.
            continue
        errors.append([_error(problem, method, right.final) for method in methods])
    return np.array(errors)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_random_problems(kind):
    methods = (jaxflow.EventFlow(1e-6), jaxflow.FilippovFlow(1e-4))
    exact, stepping = _errors_of_random_problems(kind, 200, methods).T
    assert len(exact) > 150
    assert np.max(exact) < 30e-6
    # A pair that grazes its kink crosses it or turns back, and a small error decides.
    assert np.median(stepping) < 3e-3
    assert np.quantile(stepping, 0.95) < 3e-2


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seed"), [("generic", 55), ("doubled", 128)])
def test_a_neuron_that_dies_on_its_last_kink_stays_dead(kind, seed):
    """The worst of the random problems at first. z falls to zero, where nothing else
    pushes it; later the residual changes its sign, and a preactivation above zero by a
    rounding would come to life again."""
    problem = random_problem(kind, seed)
    right = problem.run(jaxflow.EventFlow(1e-10)).final
    z = np.sort(np.asarray(right.w) @ problem.x.T, axis=1)
    assert np.any(np.abs(z[:, -1]) < 1e-9)
    for tolerance in (1e-3, 1e-4, 1e-5):
        assert _error(problem, jaxflow.FilippovFlow(tolerance), right) < 1e-2


@pytest.mark.slow
def test_a_small_start_is_not_taken_for_a_step_that_vanishes():
    # The tangent kernel is 1e-12 there, and the first steps are made again.
    problem = random_problem("small", 35)
    run = problem.run(jaxflow.FilippovFlow(3e-5), [5.0])
    assert float(run.final_time) == 5.0


@pytest.mark.slow
def test_a_fork_is_counted():
    """A neuron slides along the kink of an example when its a_j changes sign, and the
    pair is repelled from then on: to either side."""
    problem = random_problem("generic", 36)
    exact = problem.run(jaxflow.EventFlow(1e-9))
    assert int(exact.stats["forks"]) == 1
    assert int(exact.stats["origin_passes"]) == 0
    stepping = problem.run(jaxflow.FilippovFlow(1e-3))
    assert float(stepping.stats["estimated_error"]) >= 1


@pytest.mark.slow
def test_what_is_recorded_slides_to_rounding():
    data, network = jaxflow.sample_problem(
        jax.random.key(0), n=120, d=30, inputs="sphere"
    )
    sol = jaxflow.simulate(
        data,
        network,
        jaxflow.FilippovFlow(1e-3),
        times=[60.0],
        observe={"smallest": jaxflow.smallest_kernel_eigenvalue},
    )
    at_rest = jaxflow.tangent_kernel(data, sol.final)
    assert np.any(at_rest.slides)
    # The run knows its slides by their mean over the last step.
    assert_allclose(at_rest.smallest, sol.observables["smallest"][-1], rtol=0.1)
    finer = jaxflow.simulate(
        data, network, jaxflow.FilippovFlow(1e-5), times=[60.0], observe={}
    )
    right = jaxflow.tangent_kernel(data, finer.final)
    assert_allclose(at_rest.smallest, right.smallest, rtol=0.05)
