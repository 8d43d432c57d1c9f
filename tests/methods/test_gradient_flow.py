"""The flow against DOP853, closed forms, and its own refinement across kinks."""

import subprocess
import sys

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxflow
from jaxflow import theory
from tests import problems, reference

TIMES = np.array([0.5, 1.0, 2.0])


def _cases():
    """(data, network, x, y, w, a): one problem without kinks per geometry."""
    x, y, w, a = problems.without_kinks()
    data, network = jaxflow.Dataset(x, y), jaxflow.Network(w, a)
    gram = jaxflow.Dataset(jaxflow.GramInputs(x @ x.T), y)
    squares = np.sum(w**2, axis=1)
    yield "dense", (jaxflow.Dataset(jaxflow.DenseInputs(x), y), network, x, y, w, a)
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
    return jaxflow.LiteralFlow(rtol) if correlated else jaxflow.GradientFlow(rtol)


@pytest.mark.parametrize(
    "name, case",
    [
        pytest.param(
            *one, id=one[0], marks=[pytest.mark.slow] if "from" in one[0] else []
        )
        for one in _cases()
    ],
)
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "cosine",
    [
        pytest.param(0.3, marks=pytest.mark.slow),
        pytest.param(0.78, marks=pytest.mark.slow),
        pytest.param(1.0, marks=pytest.mark.slow),
    ],
)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 6))]
)
def test_antipodal_crossings_against_event_by_event_integration(seed):
    data, network, arrays = _antipodal(seed)
    end = 6.0
    u, a, reached, _ = reference.antipodal_flow(*arrays, end=end)
    run = jaxflow.simulate(
        data, network, jaxflow.RungeKuttaFlow(rtol=1e-9), times=[0.5 * end, end]
    )
    assert int(run.stats["kink_crossings"]) == reached > 0
    # Where a step ends relative to a crossing is chance: initial weights that differ by
    # 1e-13 give errors between 5e-8 and 5e-6.
    assert_allclose(run.final.w, u, atol=1e-5)
    assert_allclose(run.final.a, a, atol=1e-6)
    loose = jaxflow.simulate(
        data, network, jaxflow.RungeKuttaFlow(rtol=1e-6), times=[end]
    )
    assert_allclose(loose.final.w, u, atol=5e-4)
    # A problem of this size is GradientFlow's to locate every crossing of.
    exact = jaxflow.simulate(
        data, network, jaxflow.GradientFlow(rtol=1e-9), times=[end]
    )
    assert_allclose(exact.final.w, u, atol=1e-8)
    assert_allclose(exact.final.a, a, atol=1e-8)


def test_the_antipodal_cases_hold_pairs_that_leave_zero_again():
    counts = [
        reference.antipodal_flow(*_antipodal(seed)[2], end=6.0) for seed in range(6)
    ]
    assert sum(released for *_, released in counts) >= 2


def _order(data, network, end, steps, flow=jaxflow.RungeKuttaFlow):
    exact = jaxflow.simulate(
        data, network, _smooth_flow(data, 1e-11), times=[end], observe={}
    ).loss[0]
    errors = []
    for count in steps:
        method = flow(
            solver=diffrax.Heun(),
            controller=diffrax.ConstantStepSize(),
            first_step=end / count,
        )
        run = jaxflow.simulate(data, network, method, times=[end], observe={})
        assert int(run.stats["steps"]) == count
        errors.append(abs(float(run.loss[0] - exact)))
    return np.log2(errors[0] / errors[-1]) / np.log2(steps[-1] / steps[0])


@pytest.mark.slow
def test_order_on_a_smooth_stretch():
    x, y, w, a = problems.without_kinks()
    data, network = jaxflow.Dataset(x, y), jaxflow.Network(w, a)
    order = _order(data, network, 2.0, (16, 32, 64), jaxflow.LiteralFlow)
    assert order == pytest.approx(2, abs=0.15)


@pytest.mark.slow
def test_order_across_the_kinks_of_orthogonal_inputs():
    data, network = problems.small_orthogonal(jax.random.key(3))
    order = _order(data, network, 30.0, (64, 128, 256, 512))
    assert order == pytest.approx(2, abs=0.35)


@pytest.mark.slow
def test_order_across_the_crossings_of_antipodal_inputs():
    data, network, _ = _antipodal(3)
    order = _order(data, network, 6.0, (64, 256, 1024))
    assert order > 1.6


@pytest.mark.slow
def test_a_pair_that_starts_at_its_kink_stays_there():
    # σ'(0) = 0, for the flow as for gradient descent.
    data = jaxflow.Dataset(jaxflow.AntipodalInputs([1.0], [1.0]), [1.0, -1.0])
    network = jaxflow.Network([[0.0], [0.9]], [1.0, 2.0])
    for method in (
        jaxflow.GradientFlow(),
        jaxflow.RungeKuttaFlow(
            solver=diffrax.Heun(),
            controller=diffrax.ConstantStepSize(),
            first_step=4.0,
        ),
        jaxflow.GradientDescent(0.01),
    ):
        run = jaxflow.simulate(data, network, method, times=[16.0])
        assert float(run.final.w[0, 0]) == 0.0
        assert np.isfinite(run.final_loss)


SOLVERS = {
    "Tsit5": (diffrax.Tsit5(), None),
    "Dopri8": (diffrax.Dopri8(), None),
    "Heun": (diffrax.Heun(), None),
    "Kvaerno5": (diffrax.Kvaerno5(), None),
    "HalfSolver": (diffrax.HalfSolver(diffrax.Heun()), None),
    "Constant": (diffrax.Dopri5(), diffrax.ConstantStepSize()),
    "StepTo": (diffrax.Dopri5(), diffrax.StepTo(ts=jnp.linspace(0, 20.0, 101))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SOLVERS)
def test_any_diffrax_solver_and_controller(name):
    solver, controller = SOLVERS[name]
    data, network = problems.small_orthogonal(jax.random.key(1), n=10, p=4)
    exact = jaxflow.simulate(
        data, network, jaxflow.GradientFlow(rtol=1e-10), times=[10.0, 20.0]
    )
    method = jaxflow.RungeKuttaFlow(
        rtol=1e-7,
        solver=solver,
        controller=controller,
        first_step=0.1 if name == "Constant" else None,
    )
    run = jaxflow.simulate(data, network, method, times=[10.0, 20.0])
    assert run.result == jaxflow.Results.reached_time
    assert_allclose(run.loss, exact.loss, rtol=2e-4)
    known = name not in ("Kvaerno5", "HalfSolver")
    assert (int(run.stats["velocity_evaluations"]) > 0) == known


@pytest.mark.slow
def test_one_problem_with_kinks_in_all_geometries():
    norms, x = problems.orthogonal_array(10, 14, seed=5)
    rng = np.random.default_rng(6)
    y = rng.choice([-1.0, 1.0], 10) * rng.uniform(1, 2, 10)
    w = rng.normal(size=(4, 14)) / np.sqrt(14)
    a = rng.choice([-1.0, 1.0], 4) * (np.linalg.norm(w, axis=1) + 0.5)
    squares = np.sum(w**2, axis=1)
    u = w @ (x / norms[:, None]).T
    cases = {
        "dense": (jaxflow.DenseInputs(x), jaxflow.Network(w, a)),
        "gram": (jaxflow.GramInputs(x @ x.T), jaxflow.Network(w @ x.T, a, squares)),
        "orthogonal": (
            jaxflow.OrthogonalInputs(norms),
            jaxflow.Network(u, a, squares),
        ),
    }
    times = np.array([2.0, 10.0, 30.0])
    losses, descents = {}, {}
    for name, (inputs, network) in cases.items():
        data = jaxflow.Dataset(inputs, y)
        assert data.geometry == name
        flow = jaxflow.GradientFlow(rtol=1e-8 if name == "orthogonal" else 1e-10)
        run = jaxflow.simulate(data, network, flow, times=times)
        assert int(run.stats["kink_crossings"]) >= 3
        losses[name] = run.loss
        descent = jaxflow.GradientDescent(0.1)
        descents[name] = jaxflow.simulate(data, network, descent, times=times).loss
    for name in ("dense", "gram"):
        assert_allclose(descents[name], descents["orthogonal"], rtol=1e-10)
        assert_allclose(losses[name], losses["orthogonal"], rtol=1e-4)


@pytest.mark.slow
def test_float32_at_n_1e5_stays_within_its_budget():
    # In a process of its own, whose memory is that of this run.
    done = subprocess.run(
        [sys.executable, "-c", _LARGE_RUN], capture_output=True, text=True, check=True
    )
    evaluations, first, last, gigabytes, message = done.stdout.strip().split("|")
    assert int(evaluations) <= 900
    assert float(last) < 1e-3 * float(first)
    assert float(gigabytes) < 4
    assert message == "The run reached the last requested time."


_LARGE_RUN = """
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxflow

n = 100_000
data, network = jaxflow.sample_problem(jax.random.key(0), n=n, d=n)
assert network.w.dtype == jnp.float32
end = 1.5 * float(jaxflow.theory.time_scale(n, network.width))
method = jaxflow.GradientFlow(rtol=1e-5)
run = jaxflow.simulate(data, network, method, times=[end / 2, end], observe={})
# Of this program; what the system counts for the process begins with its parent.
status = Path("/proc/self/status").read_text()
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status).group(1)) / 2**20
first = float(jaxflow.loss(data, network))
evaluations = int(run.stats["velocity_evaluations"])
print(evaluations, first, float(run.loss[-1]), peak, run.message, sep="|")
"""
