"""`simulate` is pure: jit, vmap, grad, no recompilation, codes for outcomes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxflow
from tests import problems

METHODS = {
    "flow": jaxflow.GradientFlow(rtol=1e-6),
    "descent": jaxflow.GradientDescent(0.5),
}
# Where a test of the flow compiles for long.
FLOW_IS_SLOW = ["descent", pytest.param("flow", marks=pytest.mark.slow)]
TIMES = np.array([0.0, 5.0, 20.0])


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOW_IS_SLOW)
def test_jit_and_vmap_equal_the_loop(name):
    def run(key):
        data, network = problems.small_orthogonal(key)
        return jaxflow.simulate(data, network, METHODS[name], times=TIMES)

    keys = jax.random.split(jax.random.key(7), 3)
    batch = jax.vmap(run)(keys)
    # Rounding is not the same in a batch. It moves the adaptive steps of the flow, and
    # so its result by a small part of the tolerance (rtol 1e-6).
    tolerance = {"flow": 1e-7, "descent": 1e-11}[name]
    exact = {
        "flow": ("kink_crossings", "loss_increases"),
        "descent": ("velocity_evaluations", "steps", "kink_crossings"),
    }[name]
    for i, key in enumerate(keys):
        alone, compiled = run(key), jax.jit(run)(key)
        for one in (alone, compiled):
            assert_allclose(batch.loss[i], one.loss, rtol=tolerance)
            assert_allclose(batch.final.w[i], one.final.w, atol=tolerance)
            for stat in exact:
                assert int(batch.stats[stat][i]) == int(one.stats[stat]), stat


@pytest.mark.parametrize(
    "dtype", [pytest.param(jnp.float32, marks=pytest.mark.slow), jnp.float64]
)
@pytest.mark.parametrize("name", METHODS)
def test_precision_follows_the_arrays(name, dtype):
    data, network = problems.small_orthogonal(jax.random.key(0), dtype=dtype)
    run = jaxflow.simulate(
        data, network, METHODS[name], times=TIMES, stop=jaxflow.LossBelow()
    )
    floats = [x for x in jax.tree.leaves(run) if jnp.issubdtype(x.dtype, jnp.inexact)]
    assert {x.dtype for x in floats} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("name", FLOW_IS_SLOW)
def test_other_numbers_do_not_compile_anew(name):
    traces = []

    def counting(s):
        traces.append(1)
        return s.loss

    def run(seed, scale):
        method = (
            jaxflow.RungeKuttaFlow(rtol=1e-5 * scale)
            if name == "flow"
            else jaxflow.GradientDescent(0.1 * scale)
        )
        data, network = problems.small_orthogonal(jax.random.key(seed))
        return jaxflow.simulate(
            data,
            network,
            method,
            times=TIMES * scale,
            stop=(jaxflow.LossBelow(1e-4 * scale), jaxflow.Stationary(1e-3 * scale)),
            observe={"count": counting},
        )

    run(0, 1.0)
    compiled = len(traces)
    assert compiled > 0
    for seed in range(1, 4):
        run(seed, 1.0 + 0.1 * seed)
    assert len(traces) == compiled


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOW_IS_SLOW)
def test_gradient_of_the_loss_with_respect_to_the_start(name):
    x, y, w, a = problems.without_kinks()
    data = jaxflow.Dataset(x, y)

    def final_loss(scale):
        network = jaxflow.Network(w, scale * jnp.asarray(a))
        method = {
            "flow": jaxflow.LiteralFlow(rtol=1e-10, max_steps=2000),
            "descent": jaxflow.GradientDescent(0.05),
        }[name]
        run = jaxflow.simulate(data, network, method, times=[1.0], observe={})
        return run.final_loss

    slope = jax.grad(final_loss)(1.0)
    step = 1e-5
    difference = (final_loss(1.0 + step) - final_loss(1.0 - step)) / (2 * step)
    assert_allclose(slope, difference, rtol=1e-5)


@pytest.mark.slow
def test_flow_stops_where_the_loss_reaches_the_level():
    data, network = problems.small_orthogonal(jax.random.key(0))
    level = 0.3 * float(jaxflow.loss(data, network))
    run = jaxflow.simulate(
        data,
        network,
        jaxflow.GradientFlow(rtol=1e-8),
        times=np.arange(0.0, 200.0),
        stop=jaxflow.LossBelow(level),
    )
    assert_allclose(run.final_loss, level, rtol=1e-8)
    assert_allclose(jaxflow.loss(data, run.final), level, rtol=1e-8)
    reached = np.arange(0.0, 200.0) <= float(run.final_time)
    assert np.all(np.isfinite(run.loss) == reached)
    assert np.all((np.asarray(run.observables["active_pairs"]) == -1) == ~reached)
    assert run.result == jaxflow.Results.loss_below


@pytest.mark.parametrize("name", FLOW_IS_SLOW)
def test_the_default_level_is_the_certificate(name):
    data, network = problems.small_orthogonal(jax.random.key(0), p=30)
    level = float(jnp.min(jnp.abs(data.targets)) ** 2) / (2 * data.num_examples)
    assert_allclose(jaxflow.certificate(data.targets, data.num_examples), level)
    run = jaxflow.simulate(
        data, network, METHODS[name], times=[1e4], stop=jaxflow.LossBelow()
    )
    assert 0.5 * level < float(run.final_loss) <= level * (1 + 1e-8)


@pytest.mark.parametrize("name", FLOW_IS_SLOW)
def test_a_share_of_the_initial_loss_is_that_level(name):
    data, network = problems.small_orthogonal(jax.random.key(0), p=30)
    initial = float(jaxflow.loss(data, network))
    given = data, network, METHODS[name]
    share, level = (
        jaxflow.simulate(*given, times=[1e4], stop=stop)
        for stop in (jaxflow.LossFallen(1e-3), jaxflow.LossBelow(1e-3 * initial))
    )
    assert share.result == jaxflow.Results.loss_below
    assert_allclose(share.final_loss, level.final_loss, rtol=1e-9)
    assert_allclose(share.final_time, level.final_time, rtol=1e-9)


def test_a_share_that_underflows_is_not_met():
    """In float32 1e-12 of this L(0) is less than any normal number: the loss is seen as
    zero long before it is that share."""
    data = jaxflow.Dataset(jnp.eye(1, dtype="f4"), jnp.full(1, 1e-15, "f4"))
    network = jaxflow.Network(jnp.full((1, 1), 1e-8, "f4"), jnp.full(1, 2e-8, "f4"))
    given = data, network, jaxflow.GradientDescent(1e14)
    assert 0 < float(jaxflow.loss(data, network)) < 1e-29
    stopped, alone = (
        jaxflow.simulate(*given, times=[1e17], stop=stop)
        for stop in (jaxflow.LossFallen(), None)
    )
    assert stopped.result == alone.result != jaxflow.Results.loss_below
    assert stopped.final_time == alone.final_time


def test_a_run_that_starts_at_zero_loss_has_fallen():
    data = jaxflow.Dataset(jaxflow.OrthogonalInputs(jnp.ones(1)), jnp.ones(1))
    network = jaxflow.Network(jnp.ones((1, 1)), jnp.ones(1))
    run = jaxflow.simulate(
        data,
        network,
        jaxflow.GradientDescent(0.1),
        times=[5.0],
        stop=jaxflow.LossFallen(),
    )
    assert float(run.final_time) == 0 and float(run.final_loss) == 0
    with pytest.raises(ValueError, match="at_start"):
        problem = jaxflow.Snapshot.of(data, network).problem
        jaxflow.LossFallen().margin(problem, run.final_loss, run.final_loss)


@pytest.mark.parametrize("name", FLOW_IS_SLOW)
def test_a_run_that_cannot_learn_ends_stationary(name):
    # One neuron with a > 0 fits y_0 and leaves y_1 < 0, on which it dies, unfitted.
    data = jaxflow.Dataset(
        jaxflow.OrthogonalInputs(jnp.ones(2)), jnp.array([1.0, -1.0])
    )
    network = jaxflow.Network(jnp.array([[0.5, 0.2]]), jnp.array([1.0]))
    run = jaxflow.simulate(
        data,
        network,
        METHODS[name],
        times=[1e4],
        stop=(jaxflow.LossBelow(), jaxflow.Stationary()),
    )
    assert run.result == jaxflow.Results.stationary
    assert_allclose(run.final_loss, 0.25, rtol=1e-3)
    assert float(run.final_time) < 1e3


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_stop_that_holds_at_the_start_takes_no_step(name):
    data, network = problems.small_orthogonal(jax.random.key(0))
    run = jaxflow.simulate(
        data, network, METHODS[name], times=[0.0, 5.0], stop=jaxflow.LossBelow(1e3)
    )
    assert float(run.final_time) == 0.0
    assert np.isfinite(run.loss[0]) and np.isnan(run.loss[1])
    assert_allclose(run.final.w, network.w, atol=1e-15)
    assert run.result == jaxflow.Results.loss_below


def test_too_few_steps_is_a_code():
    data, network = problems.small_orthogonal(jax.random.key(0))
    run = jaxflow.simulate(
        data, network, jaxflow.GradientFlow(max_steps=5), times=[1.0, 1e4]
    )
    assert run.result == jaxflow.Results.max_steps_reached
    assert float(run.final_time) < 1e4
    assert np.isnan(run.loss[1])


@pytest.mark.slow
def test_observables_are_what_they_say():
    data, network = problems.small_orthogonal(jax.random.key(5))
    method = jaxflow.GradientFlow(rtol=1e-9)
    run = jaxflow.simulate(data, network, method, times=[0.0, 3.0, 30.0])
    seen = {name: np.asarray(value)[-1] for name, value in run.observables.items()}
    x = np.diag(np.asarray(data.inputs.norms))
    z, a = np.asarray(run.final.w) @ x, np.asarray(run.final.a)
    y, n, p = np.asarray(data.targets), data.num_examples, network.width
    r = y - (a[:, None] * np.maximum(z, 0)).mean(0)
    on = z > 0
    squares = np.asarray(run.final.squared_norm)
    assert_allclose(seen["max_relative_residual"], np.max(np.abs(r / y)))
    assert_allclose(seen["mean_relative_residual"], np.mean(np.abs(r / y)))
    assert seen["active_pairs"] == on.sum()
    assert seen["correctly_active_pairs"] == (on & (a[:, None] * y > 0)).sum()
    assert seen["inactive_examples"] == (~on.any(0)).sum()
    assert_allclose(seen["squared_norm"], squares)
    norms = np.asarray(data.inputs.norms)
    lower = 2 / n * norms.min() ** 2 * ((a**2)[:, None] * on).mean(0).min()
    upper = 2 / n * norms.max() ** 2 * ((a**2 + squares)[:, None] * on).mean(0).max()
    assert_allclose(seen["lower_bound"], lower)
    assert_allclose(seen["upper_bound"], upper)
    assert lower < float(run.curvature[-1]) < upper
    dw = (a[:, None] / n) * on * r * norms
    da = np.maximum(z, 0) @ r / n
    gradient = (np.sum(dw**2) + np.sum(da**2)) / p
    assert_allclose(run.curvature[-1], gradient / run.loss[-1], rtol=1e-10)
    mean = np.log(float(run.loss[0] / run.loss[-1])) / 30
    assert_allclose(run.average_curvature[-1], mean, rtol=1e-10)
    assert_allclose(run.average_curvature[0], run.curvature[0])


def test_curvature_is_the_rate_of_the_loss():
    data, network = problems.small_orthogonal(jax.random.key(5))
    step = 1e-3
    times = [10.0 - step, 10.0, 10.0 + step]
    run = jaxflow.simulate(data, network, jaxflow.GradientFlow(rtol=1e-11), times=times)
    rate = -np.diff(np.log(np.asarray(run.loss))[::2])[0] / (2 * step)
    assert_allclose(run.curvature[1], rate, rtol=1e-5)


@pytest.mark.slow
def test_arrays_may_be_closed_over_inside_jit():
    x, y, w, a = map(jnp.asarray, problems.without_kinks())
    times = jnp.array([0.5, 1.0])
    method = jaxflow.GradientDescent(0.1)

    def losses(inputs, scale):
        data = jaxflow.Dataset(inputs, y)
        weights = w @ x.T if isinstance(inputs, jaxflow.GramInputs) else w
        network = jaxflow.Network(weights, scale * a)
        return jaxflow.simulate(data, network, method, times=times).loss

    for make in (lambda: x, lambda: jaxflow.GramInputs(x @ x.T)):
        expected = losses(make(), 1.0)
        assert_allclose(jax.jit(lambda s, m=make: losses(m(), s))(1.0), expected)
        batch = jax.jit(jax.vmap(lambda s, m=make: losses(m(), s)))(jnp.ones(2))
        assert_allclose(batch[1], expected, rtol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_a_snapshot_shows_the_network_in_the_users_coordinates(name):
    x, y, w, a = problems.without_kinks()
    data, network = jaxflow.Dataset(x, y), jaxflow.Network(w, a)
    assert data.geometry == "gram"
    run = jaxflow.simulate(
        data,
        network,
        METHODS[name],
        times=[0.0, 1.0],
        observe={"w": lambda s: s.network.w},
    )
    assert_allclose(run.observables["w"][0], w, atol=1e-14)
    assert_allclose(run.observables["w"][1], run.final.w, atol=1e-14)


def test_users_observables_see_the_snapshot():
    data, network = problems.small_orthogonal(jax.random.key(5))
    run = jaxflow.simulate(
        data,
        network,
        METHODS["flow"],
        times=TIMES,
        observe={
            "share": lambda s: jnp.mean(s.active),
            "time": lambda s: s.time,
            "any": lambda s: jnp.any(s.active),
            "one": lambda s: 1.0,
            "small": lambda s: jnp.int8(3),
        },
    )
    assert set(run.observables) == {"share", "time", "any", "one", "small"}
    assert np.all(np.asarray(run.observables["any"]) == 1)
    assert np.all(np.asarray(run.observables["one"]) == 1.0)
    assert np.all(np.asarray(run.observables["small"]) == 3)
    assert_allclose(run.observables["time"], TIMES)
    assert_allclose(run.observables["share"][0], np.mean(np.asarray(network.w) > 0))


@pytest.mark.parametrize("name", FLOW_IS_SLOW)
def test_debug_nans_lets_runs_end_early(name):
    data, network = problems.small_orthogonal(jax.random.key(0))
    stop = jaxflow.LossBelow(0.9 * float(jaxflow.loss(data, network)))
    with jax.debug_nans(True):
        sol = jaxflow.simulate(data, network, METHODS[name], times=TIMES, stop=stop)
        assert sol.result == jaxflow.Results.loss_below
        assert np.isnan(np.asarray(sol.loss)[-1])
        if name == "descent":
            # What is done to the missing rows outside is looked at.
            with pytest.raises(FloatingPointError):
                jnp.log(sol.loss)


@pytest.mark.slow
def test_debug_nans_lets_batches_and_bad_times_be():
    data, network = problems.small_orthogonal(jax.random.key(0))
    stop = jaxflow.LossBelow(0.9 * float(jaxflow.loss(data, network)))

    def run(rate):
        method = jaxflow.GradientDescent(rate)
        return jaxflow.simulate(data, network, method, times=TIMES, stop=stop)

    with jax.debug_nans(True):
        batch = jax.vmap(run)(jnp.array([0.5, 0.25, -1.0]))
        codes = np.asarray(batch.result._value)
        known = (jaxflow.Results.loss_below, jaxflow.Results.bad_times)
        assert codes[[0, 2]].tolist() == [int(item._value) for item in known]
        level = {"level": jaxflow.OBSERVABLES["lower_bound"]}
        runs = problems.runs_that_end_early([0.0, 150.0], observe=level)
    assert runs.converged.any()
    assert np.isnan(runs.loss[:, -1]).any()
