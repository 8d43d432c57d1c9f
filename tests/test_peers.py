"""What jaxflow is timed against gives the answers of jaxflow."""

import shutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxflow
from benchmarks import peers
from benchmarks.peers.flow_solvers import scipy_flow, torchdiffeq_flow
from benchmarks.peers.numpy_loop import numpy_loop

from . import problems

LEARNING_RATE, STEPS = 0.5, 200
# Rounding in 200 steps.
ATOL = 1e-12


def problem(inputs, seed=0, dtype=float):
    """(x, y, w, a) with n = 40, d = 60, p = 8."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 60)) / np.sqrt(60)
    if inputs == "orthogonal":
        _, x = problems.orthogonal_array(40, 60, seed)
    y = rng.choice([-1.0, 1.0], 40) * rng.uniform(1, 2, 40)
    w = rng.normal(size=(8, 60)) / np.sqrt(60)
    a = rng.choice([-1.0, 1.0], 8) * (np.linalg.norm(w, axis=1) + 0.5)
    return tuple(t.astype(dtype) for t in (x, y, w, a))


def ours(x, y, w, a, steps=STEPS):
    return jaxflow.simulate(
        jaxflow.Dataset(x, y),
        jaxflow.Network(w, a),
        jaxflow.GradientDescent(LEARNING_RATE),
        times=[steps * LEARNING_RATE],
        observe={},
    )


def one_network(name):
    """(x, y, w, a, lr, steps, stop) -> Descent, for every peer that descends."""
    if name == "numpy_loop":
        return numpy_loop
    pytest.importorskip("torch")
    from benchmarks.peers import torch_batched, torch_loop

    if name == "torch_loop":
        return torch_loop.torch_loop

    def run(x, y, w, a, *args, **kwargs):
        norms, w_start = x, w
        if name.startswith("projected"):
            norms, w = torch_batched.project(x, w)
        peer = getattr(torch_batched, name.split("-")[0])
        found = peer(
            *(t[None] for t in (norms, y, w, a)),
            *args,
            compiled=name.endswith("-compiled"),
            check_every=1,
            **kwargs,
        )
        assert found.engine == engine(name.endswith("-compiled"))
        w_end = found.w[0]
        if name.startswith("projected"):
            # Along the inputs by u, across them as at the start.
            w_end = w_start + (w_end - w) @ (x / norms[:, None])
        return peers.Descent(
            w_end, found.a[0], found.losses[:, 0], found.steps, found.engine
        )

    return run


def engine(compiled):
    if not compiled:
        return "eager"
    if shutil.which("g++") or shutil.which("clang++"):
        return "torch.compile"
    pytest.skip("torch.compile needs a C++ compiler")


DENSE = ["numpy_loop", "torch_loop", "dense", "dense-compiled"]
PROJECTED = ["projected", "projected-compiled"]


@pytest.mark.parametrize(
    ("name", "inputs"),
    [(name, inputs) for name in DENSE for inputs in ("dense", "orthogonal")]
    + [(name, "orthogonal") for name in PROJECTED],
)
def test_descends_as_jaxflow_does(name, inputs):
    x, y, w, a = given = problem(inputs)
    copies = [t.copy() for t in given]
    sol = ours(*given)
    # One step more, to read the loss that jaxflow gives at the end.
    run = one_network(name)(x, y, w, a, LEARNING_RATE, STEPS)
    longer = one_network(name)(x, y, w, a, LEARNING_RATE, STEPS + 1)
    assert run.steps == len(run.losses) == STEPS
    assert run.w.dtype == run.a.dtype == np.float64
    assert_allclose(run.w, sol.final.w, rtol=0, atol=ATOL)
    assert_allclose(run.a, sol.final.a, rtol=0, atol=ATOL)
    assert_allclose(longer.losses[-1], sol.loss[0], rtol=1e-11)
    assert sol.loss[0] < 0.5 * run.losses[0]
    for t, copy in zip(given, copies, strict=True):
        assert np.array_equal(t, copy)


@pytest.mark.parametrize("name", [*DENSE, *PROJECTED])
def test_keeps_float32(name):
    given = problem("orthogonal", dtype=np.float32)
    run = one_network(name)(*given, LEARNING_RATE, 50)
    assert run.w.dtype == run.a.dtype == np.float32
    assert_allclose(run.w, ours(*given, steps=50).final.w, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [*DENSE, *PROJECTED])
def test_stops_where_the_loss_is_below_the_level(name):
    given = problem("orthogonal")
    whole = one_network(name)(*given, LEARNING_RATE, STEPS)
    level = whole.losses[19:21].mean()
    run = one_network(name)(*given, LEARNING_RATE, STEPS, stop=level)
    assert_allclose(run.losses, whole.losses[:21], rtol=1e-11)
    # The batched ones stop after the step that began with the reading.
    assert run.steps == (20 if name in ("numpy_loop", "torch_loop") else 21)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", ["dense", "projected"])
def test_a_batch_is_its_networks(kind, compiled):
    pytest.importorskip("torch")
    from benchmarks.peers import torch_batched

    networks = [problem("orthogonal", seed) for seed in range(3)]
    x, y, w, a = (np.stack(t) for t in zip(*networks, strict=True))
    if kind == "projected":
        x, w = torch_batched.project(x, w)
    run = getattr(torch_batched, kind)(
        x, y, w, a, LEARNING_RATE, 203, check_every=20, compiled=compiled, threads=1
    )
    assert run.steps == 203
    assert run.losses.shape == (11, 3)
    for i, network in enumerate(networks):
        alone = numpy_loop(*network, LEARNING_RATE, 203)
        end = alone.w
        if kind == "projected":
            _, end = torch_batched.project(network[0], alone.w)
        assert_allclose(run.w[i], end, rtol=0, atol=ATOL)
        assert_allclose(run.a[i], alone.a, rtol=0, atol=ATOL)
        assert_allclose(run.losses[:, i], alone.losses[::20], rtol=1e-11)
    level = run.losses[1:3].max(axis=1).mean()
    stopped = getattr(torch_batched, kind)(
        x, y, w, a, LEARNING_RATE, 203, stop=level, check_every=20, compiled=compiled
    )
    assert_allclose(stopped.losses, run.losses[:3], rtol=1e-11)
    assert stopped.engine == engine(compiled)
    assert stopped.steps == (44 if compiled else 41)


def flow_peers():
    yield "DOP853", lambda *args, **kw: scipy_flow(*args, **kw)
    yield "RK45", lambda *args, **kw: scipy_flow(*args, method="RK45", **kw)
    yield "dopri5", _dopri5


def _dopri5(*args, **kwargs):
    pytest.importorskip("torchdiffeq")
    return torchdiffeq_flow(*args, **kwargs)


@pytest.mark.parametrize("peer", [pytest.param(f, id=name) for name, f in flow_peers()])
def test_flows_as_jaxflow_does(peer):
    x, y, w, a = problems.without_kinks()
    time = 2.0
    sol = jaxflow.simulate(
        jaxflow.Dataset(jaxflow.DenseInputs(jnp.asarray(x)), y),
        jaxflow.Network(w, a),
        jaxflow.GradientFlow(rtol=1e-8, kinks="literal"),
        times=[time],
        observe={},
    )
    flow = peer(x, y, w, a, time, rtol=1e-8)
    assert flow.finished
    assert flow.time == time
    assert flow.evaluations > 10
    assert_allclose(flow.w, sol.final.w, rtol=0, atol=1e-7)
    assert_allclose(flow.a, sol.final.a, rtol=0, atol=1e-7)
    assert_allclose(flow.loss, sol.loss[0], rtol=1e-7)


@pytest.mark.parametrize("peer", [pytest.param(f, id=name) for name, f in flow_peers()])
def test_gives_up_after_so_many_evaluations(peer):
    flow = peer(*problem("dense"), 1000.0, rtol=1e-8, max_evaluations=50)
    assert not flow.finished
    assert flow.evaluations == 50
    assert 0 < flow.time < 1000
    assert np.isfinite(flow.loss)


def test_the_peers_are_listed_without_torch():
    """In a process where torch cannot be imported."""
    code = (
        "import sys; sys.modules['torch'] = sys.modules['torchdiffeq'] = None\n"
        "from benchmarks import peers\n"
        "from benchmarks.peers import flow_solvers, numpy_loop\n"
        "versions = peers.available()\n"
        "assert versions['numpy'] and 'torch' in versions, versions\n"
        "try:\n"
        "    flow_solvers.torchdiffeq_flow(None, None, None, None, 1, rtol=1)\n"
        "except ImportError as error:\n"
        "    assert 'pip install torchdiffeq' in str(error)\n"
        "else:\n"
        "    raise AssertionError('no ImportError')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
