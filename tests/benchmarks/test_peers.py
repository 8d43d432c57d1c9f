"""What jaxflow is timed against gives the answers of jaxflow."""

import dataclasses
import shutil
import subprocess
import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxflow
from benchmarks import (
    _contenders,
    _machine,
    _peers_descent,
    _peers_flow,
    _timing,
    peers,
)
from benchmarks._engine import Arrays, Case, Load
from benchmarks._peers_flow import PeerRun, at_equal_error
from benchmarks.peers.flow_solvers import (
    scipy_flow,
    torchdiffeq_flow,
    torchdiffeq_projected_flow,
)
from benchmarks.peers.numpy_loop import numpy_loop
from tests import problems

LEARNING_RATE, STEPS = 0.5, 200
# Rounding in 200 steps.
ATOL = 1e-12

CASES = [Case("orthogonal", 40, 60, 6), Case("sphere", 40, 8, 6)]


def problem(inputs, seed=0, dtype=float) -> Arrays:
    """(x, y, w, a) with n = 40, d = 60, p = 8."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 60)) / np.sqrt(60)
    if inputs == "orthogonal":
        _, x = problems.orthogonal_array(40, 60, seed)
    y = rng.choice([-1.0, 1.0], 40) * rng.uniform(1, 2, 40)
    w = rng.normal(size=(8, 60)) / np.sqrt(60)
    a = rng.choice([-1.0, 1.0], 8) * (np.linalg.norm(w, axis=1) + 0.5)
    return x.astype(dtype), y.astype(dtype), w.astype(dtype), a.astype(dtype)


def ours(x, y, w, a, *, steps=STEPS):
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
        return lambda x, y, w, a, lr, steps, **kwargs: torch_loop.Training(
            x, y, w, a, lr
        ).run(steps, **kwargs)

    def run(x, y, w, a, lr, steps, **kwargs):
        norms, w_start = x, w
        if name.startswith("projected"):
            norms, w = torch_batched.project(x, w)
        networks = getattr(torch_batched, f"{name.split('-')[0]}_networks")(
            *(t[None] for t in (norms, y, w, a)),
            lr,
            compiled=name.endswith("-compiled"),
        )
        found = networks.run(steps, check_every=1, **kwargs)
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
    together = getattr(torch_batched, f"{kind}_networks")(
        x, y, w, a, LEARNING_RATE, compiled=compiled
    )
    run = together.run(203, check_every=20, threads=1)
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
    stopped = together.run(203, stop=level, check_every=20)
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
        jaxflow.LiteralFlow(rtol=1e-8),
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


def test_the_flow_told_the_geometry_is_that_in_space():
    pytest.importorskip("torchdiffeq")
    x, y, w, a = problem("orthogonal")
    norms = np.linalg.norm(x, axis=1)
    axes = x / norms[:, None]
    u = w @ axes.T
    time = 2.0
    sol = jaxflow.simulate(
        jaxflow.Dataset(jaxflow.OrthogonalInputs(jnp.asarray(norms)), y),
        jaxflow.Network(u, a),
        jaxflow.GradientFlow(rtol=1e-9),
        times=[time],
        observe={},
    )
    flow = torchdiffeq_projected_flow(norms, y, u, a, time, rtol=1e-9)
    assert flow.finished
    assert flow.time == time
    assert_allclose(flow.w, sol.final.w, rtol=0, atol=1e-6)
    assert_allclose(flow.a, sol.final.a, rtol=0, atol=1e-6)
    assert_allclose(flow.loss, sol.loss[0], rtol=1e-6)
    in_space = torchdiffeq_flow(x, y, w, a, time, rtol=1e-9)
    assert_allclose(in_space.w @ axes.T, flow.w, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["batched", "autograd"])
def test_every_run_begins_at_the_start(kind):
    pytest.importorskip("torch")
    from benchmarks.peers import torch_batched, torch_loop

    given = problem("dense")
    if kind == "autograd":
        runner: Any = torch_loop.Training(*given, LEARNING_RATE)
    else:
        x, y, w, a = (t[None] for t in given)
        runner = torch_batched.dense_networks(x, y, w, a, LEARNING_RATE)
    first, second = runner.run(20), runner.run(20)
    assert np.array_equal(first.w, second.w)
    assert np.array_equal(first.losses, second.losses)
    assert not np.array_equal(first.w, runner.run(21).w)


OURS = [(1e-2, 1.0), (1e-4, 2.0), (1e-6, 5.0)]


@pytest.mark.parametrize(
    ("theirs", "advantage", "told"),
    [
        # Our cheapest that errs no more, not our most accurate.
        ([(1e-3, 100.0)], 50.0, "no larger error"),
        ([(1e-2, 100.0)], 100.0, "no larger error"),
        # More accurate than all of ours: our most accurate.
        ([(1e-8, 100.0)], 20.0, "none of ours reaches"),
        # The rows are met one by one, and the least advantage counts.
        ([(1e-3, 100.0), (1e-1, 30.0)], 30.0, "no larger error"),
        ([(1e-8, 100.0), (1e-1, 30.0)], 20.0, "none of ours reaches"),
        ([(1e-8, 200.0), (1e-1, 30.0)], 30.0, "no larger error"),
        # An unfinished one is held to its bound.
        ([PeerRun(None, 40.0, 1e-3)], 20.0, "unfinished, held to an error of 0.001"),
        ([PeerRun(None, 40.0, 1e-2)], 40.0, "unfinished, held to an error of 0.01"),
        ([PeerRun(None, 40.0, 1e-9)], 8.0, "none of ours reaches"),
        ([PeerRun(None, 40.0)], 40.0, "unfinished"),
        ([PeerRun(None, 400.0, 1e-3), (1e-5, 50.0)], 10.0, "no larger error"),
    ],
)
def test_each_run_of_theirs_is_met_at_its_own_error(theirs, advantage, told):
    found = at_equal_error(theirs, OURS)
    assert found is not None
    assert found[0] == advantage
    assert told in found[1]


@pytest.mark.slow
def test_a_flow_that_ends_early_is_not_timed(monkeypatch):
    _peers_flow.check_reached([jaxflow.Results.reached_time._value] * 2)
    ended = jaxflow.Results.max_steps_reached._value
    with pytest.raises(RuntimeError, match="did not reach the time"):
        _peers_flow.check_reached([jaxflow.Results.reached_time._value, ended])
    monkeypatch.setattr(_peers_flow, "_REFERENCE_STEPS", 2)
    with pytest.raises(RuntimeError, match="did not reach the time"):
        _peers_flow._reference(CASES[0], 0, 20.0)


def test_a_run_of_descent_that_ends_early_is_not_timed(monkeypatch):
    contender = _contenders.engine(CASES[1], 2, 0)
    contender.advance(5)
    whole = Load.advance
    monkeypatch.setattr(Load, "advance", lambda self, time: whole(self, time - 1))
    with pytest.raises(RuntimeError, match="5 steps were asked for"):
        contender.advance(5)


def test_no_call_has_more_steps_than_float32_counts():
    asked: list[int] = []
    free = _timing.Contender(asked.append, granularity=3)
    assert _timing.fitting(free, 1e3) == max(asked) <= 2**22
    assert max(asked) > 2**22 - 3
    assert all(steps % 3 == 0 for steps in asked)


@pytest.mark.parametrize("case", CASES, ids=["orthogonal", "dense"])
def test_peers_give_our_answer_on_different_networks(case):
    gaps = _contenders.check_answers(case, 0, 8, 3)
    assert "NumPy" in gaps
    assert max(gaps.values()) < 1e-11


@pytest.mark.parametrize("case", CASES, ids=["orthogonal", "dense"])
def test_a_peer_that_makes_one_step_more_is_caught(case, monkeypatch):
    def longer(x, y, w, a, lr, steps):
        return numpy_loop(x, y, w, a, lr, steps + 1)

    monkeypatch.setattr("benchmarks.peers.numpy_loop.numpy_loop", longer)
    with pytest.raises(AssertionError, match="NumPy gives another answer"):
        _contenders.check_answers(case, 0, 40, 2)
    with pytest.raises(RuntimeError, match="4 steps were asked for"):
        _contenders.plain(case, 0)["NumPy"].advance(4)


@pytest.mark.parametrize("case", CASES, ids=["orthogonal", "dense"])
@pytest.mark.parametrize("mixed", ["w", "a", "networks"])
def test_a_peer_that_mixes_networks_is_caught(case, mixed, monkeypatch):
    pytest.importorskip("torch")
    from benchmarks.peers import torch_batched

    run = torch_batched.Networks.run

    def wrong(self, steps):
        found = run(self, steps)
        swapped = {
            name: getattr(found, name)[::-1]
            for name in ("w", "a")
            if mixed in (name, "networks")
        }
        return dataclasses.replace(found, **swapped)

    _contenders.check_answers(case, 0, 8, 2)
    monkeypatch.setattr(torch_batched.Networks, "run", wrong)
    with pytest.raises(AssertionError, match="batched gives another answer"):
        _contenders.check_answers(case, 0, 8, 2)


def test_the_loss_is_compared_in_the_precision_that_is_timed(monkeypatch):
    case, dtypes = CASES[1], []

    def longer(x, y, w, a, lr, steps):
        dtypes.append(w.dtype)
        return numpy_loop(x, y, w, a, lr, steps + 1)

    assert max(_contenders.check_losses(case, 0, 8, 2).values()) < 1e-5
    monkeypatch.setattr("benchmarks.peers.numpy_loop.numpy_loop", longer)
    with pytest.raises(AssertionError, match="NumPy gives another answer"):
        _contenders.check_losses(case, 0, 40, 2)
    assert set(dtypes) == {np.dtype(np.float32)}


def test_a_gap_is_that_of_the_worst_part():
    ours = _contenders.Answer(2.0, np.ones((2, 8)), np.ones(4))
    theirs = _contenders.Answer(2.0, ours.w + 1e-3, ours.a * 1.01)
    assert ours.gap(theirs, ("loss",)) == 0
    assert ours.gap(theirs, ("loss", "w")) == pytest.approx(1e-3)
    assert ours.gap(theirs, ("loss", "w", "a")) == pytest.approx(1e-2)


def test_the_name_of_a_batched_peer_says_how_it_computes():
    pytest.importorskip("torch")
    dense, graph, along = _contenders.batched(CASES[0], 0, 2)
    assert dense == "batched, B = 2, eager"
    assert graph == f"batched, graph, B = 2, {engine(True)}"
    assert along.startswith("batched, projected, B = 2, ")
    assert along.endswith(engine(True))


def test_the_bound_of_one_process_per_core_is_the_time_on_one_thread_over_cores():
    cores = _machine.cores()
    alone = _timing.Race({"jaxflow": [1.0, 2.0], "autograd, 1 thread": [6.0, 8.0]})
    timed = _peers_descent.with_bound(alone)
    assert timed.samples[_peers_descent.PER_CORE] == [6.0 / cores, 8.0 / cores]
    without = _timing.Race({"jaxflow": [1.0]})
    assert _peers_descent.with_bound(without) == without


# At the head of a program: torch cannot be imported.
WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("torch", "torchdiffeq"):
            raise ImportError(name)

sys.meta_path.insert(0, Absent())
"""


@pytest.mark.slow
def test_the_peers_are_listed_without_torch():
    """In a process where torch cannot be imported."""
    code = WITHOUT_TORCH + (
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
        "from benchmarks import _contenders, _peers_flow\n"
        "from benchmarks._engine import Case, in_space\n"
        "case = Case('orthogonal', 20, 20, 4)\n"
        "assert _contenders.autograd(case, 0) == {}\n"
        "assert _contenders.batched(case, 0, 2) == {}\n"
        "assert set(_contenders.check_answers(case, 0, 4, 2)) == {'NumPy'}\n"
        "solvers = _peers_flow._solvers(in_space(case, 0, 0), 1.0)\n"
        "assert set(solvers) == {'SciPy DOP853'}, solvers\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.long
def test_the_benchmark_runs_without_torch():
    code = WITHOUT_TORCH + (
        "from benchmarks import _run\n"
        "from benchmarks.peers.__main__ import PARTS\n"
        "found = _run.Findings()\n"
        "for part in PARTS:\n"
        "    part.measure(found, part.tiny(), 0)\n"
        "assert set(found.measured) == {'flow_small', 'flow_large'}, found.measured\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
