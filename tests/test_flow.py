"""The flow against DOP853, closed forms, and its own refinement across kinks."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxflow
from jaxflow import theory

from . import problems, reference

TIMES = np.array([0.5, 1.0, 2.0])


def _cases():
    """(data, network, x, y, w, a): one problem without kinks per geometry."""
    x, y, w, a = problems.without_kinks()
    data, network = jaxflow.Dataset(x, y), jaxflow.Network(w, a)
    gram = jaxflow.Dataset(jaxflow.GramInputs(x @ x.T), y)
    squares = np.sum(w**2, axis=1)
    yield "dense", (problems.dense(data), network, x, y, w, a)
    yield "gram from x", (data, network, x, y, w, a)
    yield "gram", (gram, jaxflow.Network(w @ x.T, a, squares), x, y, w, a)
    norms, x = problems.orthogonal_array(12, 30)
    w = w / 2 + np.sign(w @ x.T) @ x / 4
    yield "orthogonal from x", (jaxflow.Dataset(x, y), network_of(w, a), x, y, w, a)
    u = w @ (x / norms[:, None]).T
    orthogonal = jaxflow.Dataset(jaxflow.OrthogonalInputs(norms), y)
    squares = np.sum(w**2, axis=1)
    yield "orthogonal", (orthogonal, jaxflow.Network(u, a, squares), x, y, w, a)
    plus, minus, x = problems.antipodal_array(6, 30)
    w = w / 2 + np.sign(w @ x[:6].T) @ x[:6] / 2
    u = w @ (x[:6] / plus[:, None]).T
    pairs = jaxflow.Dataset(jaxflow.AntipodalInputs(plus, minus), y)
    squares = np.sum(w**2, axis=1)
    yield "antipodal", (pairs, jaxflow.Network(u, a, squares), x, y, w, a)
    yield "antipodal from x", (jaxflow.Dataset(x, y), network_of(w, a), x, y, w, a)


def network_of(w, a):
    return jaxflow.Network(w, a)


def _smooth_flow(data, rtol):
    """By diffrax on correlated inputs too: these problems keep away from kinks."""
    correlated = data.geometry in ("dense", "gram")
    return jaxflow.GradientFlow(rtol, kinks="literal" if correlated else "auto")


@pytest.mark.parametrize("name, case", list(_cases()), ids=[c[0] for c in _cases()])
def test_agrees_with_dop853(name, case):
    data, network, x, y, w, a = case
    losses, w_end, a_end = reference.flow(x, y, w, a, TIMES)
    run = jaxflow.simulate(data, network, _smooth_flow(data, 1e-9), times=TIMES)
    assert int(run.stats["kink_crossings"]) == 0
    assert_allclose(run.loss, losses, rtol=1e-7)
    assert_allclose(run.final.a, a_end, rtol=1e-7)
    z = data.inputs.preactivations(run.final.w)
    assert_allclose(z, w_end @ x.T, rtol=1e-7, atol=1e-8)
    squares = jaxflow.squared_norms(data, run.final)
    assert_allclose(squares, np.sum(w_end**2, axis=1), rtol=1e-7)
    if run.final.w.shape == w_end.shape and name != "gram":
        assert_allclose(run.final.w, w_end, rtol=1e-7, atol=1e-8)
    assert float(run.stats["balance_drift"]) < 1e-8


def test_orthogonal_inputs_at_the_size_of_figure_5():
    n, p = 2000, 37
    data, network = jaxflow.sample_problem(jax.random.key(0), n=n, d=n, p=p)
    end = 1.5 * float(theory.time_scale(n, p))
    times = np.linspace(0, end, 21)[1:]
    fine = jaxflow.simulate(data, network, jaxflow.GradientFlow(rtol=1e-9), times=times)
    run = jaxflow.simulate(data, network, jaxflow.GradientFlow(rtol=1e-6), times=times)
    assert int(run.stats["velocity_evaluations"]) <= 450
    assert_allclose(run.loss, fine.loss, rtol=1e-5)
    assert int(run.stats["loss_increases"]) == 0
    assert float(fine.stats["balance_drift"]) < 1e-8
    assert int(run.stats["kink_crossings"]) == int(fine.stats["kink_crossings"]) > 1e4
    # Crossings of pairs that were on at the start and off at the end.
    before = np.asarray(network.w > 0)
    after = np.asarray(run.final.w > 0)
    assert int(run.stats["kink_crossings"]) == np.sum(before & ~after)
    assert not np.any(after & ~before)


def test_orthogonal_extension_is_the_literal_flow():
    data, network = problems.small_orthogonal(jax.random.key(1), n=16, p=5)
    times = np.array([5.0, 20.0, 60.0])
    run = jaxflow.simulate(data, network, jaxflow.GradientFlow(rtol=1e-9), times=times)
    # The literal field in tiny Euler steps, with its first-order error extrapolated.
    losses = [
        jaxflow.simulate(
            data, network, jaxflow.GradientDescent(rate), times=times, observe={}
        ).loss
        for rate in (1e-3, 5e-4)
    ]
    assert int(run.stats["kink_crossings"]) > 10
    assert_allclose(run.loss, 2 * losses[1] - losses[0], rtol=1e-5)


def test_a_pair_that_went_off_stays_off_when_its_residual_changes_sign():
    # Neuron 0 grows by example 1 and overshoots y_0, so r_0 turns negative. Neuron 1
    # (a < 0) went off on example 0 before that, and would now be pushed up again.
    data = jaxflow.Dataset(jaxflow.OrthogonalInputs(jnp.ones(2)), jnp.array([1.0, 5.0]))
    network = jaxflow.Network(
        jnp.array([[0.8, 3.0], [0.05, -1.0]]), jnp.array([0.7, -1.5])
    )
    times = np.linspace(0, 12, 49)
    observe = {"u": lambda s: s.weights[1, 0], "r": lambda s: s.residuals[0]}

    def run(method):
        return jaxflow.simulate(data, network, method, times=times, observe=observe)

    flow = run(jaxflow.GradientFlow(rtol=1e-9))
    coarse, fine = (run(jaxflow.GradientDescent(rate)) for rate in (4e-4, 2e-4))
    off = np.asarray(flow.observables["u"]) <= 0
    assert not off[0] and off[-1]
    assert np.all(np.asarray(flow.observables["r"])[off][1:].min() < -0.05)
    assert np.all(off[np.argmax(off) :])
    assert float(flow.final.w[1, 0]) == 0.0
    assert_allclose(flow.loss, 2 * fine.loss - coarse.loss, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("cosine", [0.3, 0.78, 1.0])
def test_group_initialisation_follows_the_closed_form(cosine):
    n, p = 400, 4
    data, network = jaxflow.sample_problem(
        jax.random.key(2),
        n=n,
        d=n,
        p=p,
        inputs="orthonormal",
        targets=jaxflow.group_targets([1, -1, 1, 1]),
        init=jaxflow.GroupInitialisation(cosine=cosine, norm=0.8),
    )
    scale = float(theory.time_scale(n, p))
    tau = np.linspace(0, 1.5, 13)

    def cosines(s):
        own = s.problem.targets.reshape(p, -1)
        w = s.weights.reshape(p, p, -1)[jnp.arange(p), jnp.arange(p)]
        lengths = jnp.linalg.norm(w, axis=1) * jnp.linalg.norm(own, axis=1)
        return jnp.abs(jnp.sum(w * own, axis=1)) / lengths

    run = jaxflow.simulate(
        data,
        network,
        jaxflow.GradientFlow(rtol=1e-9),
        times=tau * scale,
        observe={"cosine": cosines, **jaxflow.OBSERVABLES},
    )
    sizes = jnp.sqrt(jnp.mean(data.targets.reshape(p, -1) ** 2, axis=1))
    exact = theory.GroupFlow(np.log(n * p), sizes, cosine, 0.64)
    q = np.exp(jax.vmap(exact.log_squared_norm)(jnp.asarray(tau)))
    assert_allclose(run.observables["squared_norm"], q, rtol=1e-6)
    c = jax.vmap(exact.cosine_at)(jnp.asarray(tau))
    assert_allclose(run.observables["cosine"], c, rtol=1e-6)
    losses = jnp.mean(jax.vmap(exact.loss)(jnp.asarray(tau)), axis=1)
    assert_allclose(run.loss, losses, rtol=1e-6)


def _antipodal(seed):
    rng = np.random.default_rng(seed)
    m, p = 5, 4
    plus, minus = rng.uniform(1, 2, m), rng.uniform(1, 2, m)
    y = rng.choice([-1.0, 1.0], 2 * m) * rng.uniform(1, 2, 2 * m)
    u = rng.normal(size=(p, m)) * 0.4
    a = rng.choice([-1.0, 1.0], p) * (np.linalg.norm(u, axis=1) + rng.exponential(1, p))
    data = jaxflow.Dataset(jaxflow.AntipodalInputs(plus, minus), y)
    return data, jaxflow.Network(u, a), (plus, minus, y, u, a)


@pytest.mark.parametrize("seed", range(6))
def test_antipodal_crossings_against_event_by_event_integration(seed):
    data, network, arrays = _antipodal(seed)
    end = 6.0
    u, a, reached, released = reference.antipodal_flow(*arrays, end)
    run = jaxflow.simulate(
        data, network, jaxflow.GradientFlow(rtol=1e-9), times=[0.5 * end, end]
    )
    assert int(run.stats["kink_crossings"]) == reached > 0
    # That a pair leaves zero is noticed at the end of a step only.
    tolerance = 1e-4 if released else 1e-6
    assert_allclose(run.final.w, u, atol=tolerance)
    assert_allclose(run.final.a, a, atol=tolerance)


def _order(data, network, end, steps):
    exact = jaxflow.simulate(
        data, network, _smooth_flow(data, 1e-11), times=[end], observe={}
    ).loss[0]
    errors = []
    for count in steps:
        method = jaxflow.GradientFlow(
            solver=diffrax.Heun(),
            controller=diffrax.ConstantStepSize(),
            first_step=end / count,
        )
        run = jaxflow.simulate(data, network, method, times=[end], observe={})
        assert int(run.stats["steps"]) == count
        errors.append(abs(float(run.loss[0] - exact)))
    return np.log2(errors[0] / errors[-1]) / np.log2(steps[-1] / steps[0])


def test_order_on_a_smooth_stretch():
    x, y, w, a = problems.without_kinks()
    data, network = jaxflow.Dataset(x, y), jaxflow.Network(w, a)
    assert _order(data, network, 2.0, (16, 32, 64)) == pytest.approx(2, abs=0.15)


def test_order_across_the_kinks_of_orthogonal_inputs():
    data, network = problems.small_orthogonal(jax.random.key(3))
    order = _order(data, network, 30.0, (64, 128, 256, 512))
    assert order == pytest.approx(2, abs=0.35)


def test_order_across_the_crossings_of_antipodal_inputs():
    data, network, _ = _antipodal(3)
    order = _order(data, network, 6.0, (64, 256, 1024))
    assert order > 1.6


def test_float32_at_n_1e5_stays_within_its_budget():
    n = 100_000
    data, network = jaxflow.sample_problem(
        jax.random.key(0), n=n, d=n, dtype=jnp.float32
    )
    end = 1.5 * float(theory.time_scale(n, network.width))
    run = jaxflow.simulate(
        data,
        network,
        jaxflow.GradientFlow(rtol=1e-5),
        times=[end / 2, end],
        observe={},
    )
    assert run.loss.dtype == jnp.float32
    assert int(run.stats["velocity_evaluations"]) <= 900
    assert run.message == jaxflow.Results[jaxflow.Results.reached_time]
    assert float(run.loss[-1]) < 1e-3 * float(jaxflow.loss(data, network))
