"""What is bad but not known before a run is compiled is told by its outcome."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jaxflow

from . import problems

METHODS = {
    "descent": jaxflow.GradientDescent(0.25),
    "filippov": jaxflow.FilippovFlow(1e-3),
    "literal": jaxflow.LiteralFlow(1e-4),
}
X, Y, W, A = problems.without_kinks(n=4, d=6, p=2)
DATA, NETWORK = jaxflow.Dataset(X, Y), jaxflow.Network(W, A)
GOOD = jnp.array([0.0, 0.5, 2.0])
BAD = {
    "descending": [0.0, 2.0, 1.0],
    "repeated": [0.0, 1.0, 1.0],
    "negative": [-1.0, 0.5, 2.0],
    "NaN first": [np.nan, 0.5, 2.0],
    "NaN last": [0.0, 0.5, np.nan],
    "infinite": [0.0, 0.5, np.inf],
}


def run(times, method):
    return jaxflow.simulate(DATA, NETWORK, method, times=times)


def assert_says_nothing(solution):
    assert solution.result == jaxflow.Results.bad_times
    assert "times" in solution.message
    for leaf in jax.tree.leaves(eqx.tree_at(lambda s: s.result, solution, None)):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            assert jnp.all(jnp.isnan(leaf))
        else:
            assert_array_equal(leaf, -1)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_bad_times_within_jit_are_an_outcome(name):
    method = METHODS[name]
    within = eqx.filter_jit(lambda times: run(times, method))
    for bad in BAD.values():
        assert_says_nothing(within(jnp.array(bad)))
    # jit rounds otherwise, since it knows the data as constants.
    for inside, outside in zip(
        jax.tree.leaves(within(GOOD)), jax.tree.leaves(run(GOOD, method)), strict=True
    ):
        assert_allclose(inside, outside, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
def test_one_bad_run_of_a_batch_leaves_the_others_alone():
    method = METHODS["descent"]
    batch = jnp.array([GOOD, BAD["descending"], 2 * GOOD])
    solutions = eqx.filter_vmap(lambda times: run(times, method))(batch)
    for index, times in ((0, GOOD), (2, 2 * GOOD)):
        assert_allclose(solutions.loss[index], run(times, method).loss, rtol=1e-12)
    assert_says_nothing(jax.tree.map(lambda leaf: leaf[1], solutions))


@pytest.mark.slow
def test_a_bad_learning_rate_within_jit_is_an_outcome():
    within = eqx.filter_jit(lambda rate: run(GOOD, jaxflow.GradientDescent(rate)))
    for rate in (-1.0, 0.0, np.nan, 1e-12):
        assert_says_nothing(within(jnp.array(rate)))
    expected = run(GOOD, jaxflow.GradientDescent(0.25))
    assert_allclose(within(jnp.array(0.25)).loss, expected.loss, rtol=1e-12)


FLOWS = {
    "filippov": jaxflow.FilippovFlow,
    "literal": jaxflow.LiteralFlow,
    "event": jaxflow.EventFlow,
    "gradient flow": jaxflow.GradientFlow,
}


@pytest.mark.parametrize(
    "name",
    [
        name if name == "literal" else pytest.param(name, marks=pytest.mark.slow)
        for name in FLOWS
    ],
)
def test_a_bad_tolerance_within_jit_is_an_outcome(name):
    within = eqx.filter_jit(lambda tolerance: run(GOOD, FLOWS[name](tolerance)))
    for tolerance in (np.nan, -1.0, 0.0, np.inf):
        assert_says_nothing(within(jnp.array(tolerance)))
    expected = run(GOOD, FLOWS[name](1e-4))
    found = within(jnp.array(1e-4))
    assert found.result == jaxflow.Results.reached_time
    assert_allclose(found.loss, expected.loss, rtol=1e-12)


@pytest.mark.slow
def test_a_bad_tolerance_on_orthogonal_inputs_within_jit_is_an_outcome():
    data = jaxflow.Dataset(jaxflow.OrthogonalInputs([1.0, 2.0, 1.5, 1.0]), Y)
    network = jaxflow.Network(W[:, :4], A, np.sum(W**2, axis=1))
    for method in (jaxflow.RungeKuttaFlow, jaxflow.GradientFlow):
        within = eqx.filter_jit(
            lambda rtol, method=method: jaxflow.simulate(
                data, network, method(rtol), times=GOOD
            )
        )
        for rtol in (np.nan, -1.0):
            assert_says_nothing(within(jnp.array(rtol)))
        assert within(jnp.array(1e-4)).result == jaxflow.Results.reached_time


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_targets_that_turn_out_to_be_zeros_within_jit_are_learned(name):
    """Outside they are refused. There is no example here that could be unfitted, so
    the stop at the loss below which none can be tells nothing."""
    stop = jaxflow.LossBelow()
    within = eqx.filter_jit(
        lambda y: jaxflow.simulate(
            jaxflow.Dataset(X, y), NETWORK, METHODS[name], times=GOOD, stop=stop
        )
    )
    solution = within(jnp.zeros(len(Y)))
    assert solution.result == jaxflow.Results.reached_time
    assert_allclose(
        solution.loss[0], np.mean(jaxflow.predict(NETWORK, DATA) ** 2) / 2, rtol=1e-12
    )
    assert np.all(np.diff(solution.loss) < 0)
    assert within(jnp.asarray(Y)).result == jaxflow.Results.loss_below


def test_a_step_count_beyond_32_bits_is_refused():
    method = jaxflow.GradientDescent(1e-12)
    message = (
        r"learning_rate = 1e-12 takes 1e\+18 steps .* 1e\+06.*larger learning_rate"
    )
    with pytest.raises(ValueError, match=message):
        run([0.0, 1e6], method)
    # At the limit itself nothing is refused, and the clock holds the count.
    rate, steps = jnp.float32(1.0), 2**31 - 128
    jaxflow.GradientDescent(rate).check_times(jnp.array([steps], jnp.float32))
    assert int(jnp.round(jnp.float32(steps) / rate).astype(jnp.int32)) == steps
