"""How far a long call has got: who is told, and that a run is the same one."""

import io
import sys
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow
from jaxflow._progress import Reporter


class Terminal(io.StringIO):
    def isatty(self):
        return True


def notebook(monkeypatch, config):
    shell = types.SimpleNamespace(config=config)
    module = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", module)


def said(monkeypatch, stderr, target=None):
    monkeypatch.setattr(sys, "stderr", stderr)
    reporter = Reporter(target, 4, 4.0)
    reporter.add(1, 1.0)
    reporter.close()
    return stderr.getvalue()


def test_silent_in_a_file(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert said(monkeypatch, io.StringIO()) == ""
    assert "runs" in said(monkeypatch, io.StringIO(), True)


def test_a_bar_on_a_terminal(monkeypatch):
    told = said(monkeypatch, Terminal())
    assert "1/4 runs" in told and "left" in told
    assert said(monkeypatch, Terminal(), False) == ""


def test_a_bar_in_a_notebook_and_none_in_another_shell(monkeypatch):
    notebook(monkeypatch, {"TerminalIPythonApp": {}})
    assert said(monkeypatch, io.StringIO()) == ""
    notebook(monkeypatch, {"IPKernelApp": {}})
    assert "1/4 runs" in said(monkeypatch, io.StringIO())


RUNS: dict[str, tuple[str, Any]] = {
    "descent": ("sphere", jaxflow.GradientDescent(0.1)),
    "diffrax": ("orthogonal", jaxflow.RungeKuttaFlow(1e-9)),
    "events": ("sphere", jaxflow.EventFlow(1e-9)),
    "stepping": ("sphere", jaxflow.FilippovFlow(1e-5)),
}
# These compile for long.
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in list(RUNS)[1:]]


def given(name: str = "descent", end: float = 30.0) -> tuple[Any, dict[str, Any]]:
    inputs, method = RUNS[name]
    problem = jaxflow.sample_problem(jax.random.key(3), n=6, d=8, p=4, inputs=inputs)
    return (*problem, method), {"times": np.array([0.0, 1.0, end]), "observe": {}}


@pytest.mark.parametrize("name", ["descent", *SLOW])
def test_a_run_that_tells_is_the_same_to_the_bit(name):
    args, kwargs = given(name)
    told: list[jaxflow.Progress] = []
    alone = jaxflow.simulate(*args, **kwargs)
    heard = jaxflow.simulate(*args, **kwargs, progress=told.append)
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(heard), strict=True):
        np.testing.assert_array_equal(a, b)
    steps = int(alone.stats["steps"])
    assert steps > 64
    # One call after each 32 steps, and the last.
    assert len(told) == (steps - 1) // 32 + 1
    done = [each.done for each in told]
    assert done == sorted(done) and done[-1] == float(alone.final_time)
    assert told[-1].total == 30.0 and told[-1].seconds_left == 0
    left = told[0].seconds_left
    assert left is not None and left > 0


def test_each_run_tells_its_own_listener():
    args, kwargs = given()
    first: list[jaxflow.Progress] = []
    second: list[jaxflow.Progress] = []
    jaxflow.simulate(*args, **kwargs, progress=first.append)
    kwargs["times"] = np.array([0.0, 1.0, 15.0])
    jaxflow.simulate(*args, **kwargs, progress=second.append)
    assert {each.total for each in first} == {30.0}
    assert {each.total for each in second} == {15.0}


def test_what_a_listener_raises_ends_the_run():
    args, kwargs = given(end=1e7)

    def stop(progress):
        if progress.done > 20:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match=r"^enough$"):
        jaxflow.simulate(*args, **kwargs, progress=stop)


def test_a_bar_of_a_lone_run(monkeypatch):
    args, kwargs = given()
    for target, seen in ((True, True), (None, False), (False, False)):
        stderr = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stderr)
        jaxflow.simulate(*args, **kwargs, progress=target)
        assert ("30/30 of flow time" in stderr.getvalue()) == seen


def test_a_bar_of_an_ensemble(monkeypatch, tmp_path):
    """It compiles before its time counts, and says what was there."""

    def grown(seeds: int) -> str:
        stderr = Terminal()
        monkeypatch.setattr(sys, "stderr", stderr)
        jaxflow.simulate_ensemble(
            jax.random.key(0), n=6, d=8, p=4, seeds=seeds, times=[0.0, 1.0],
            method=jaxflow.GradientDescent(0.1), folder=tmp_path,
        )  # fmt: skip
        return stderr.getvalue()

    first = grown(2)
    assert "0/2 runs [00:00, compiling]" in first and "there" not in first
    last = grown(5).split("\r")[-1]
    assert "3/3 runs (2 were there)" in last and "0:00 left" in last


def test_no_progress_where_a_run_is_traced():
    (data, network, method), kwargs = given()

    def run(a):
        changed = jaxflow.Network(network.w, a)
        return jaxflow.simulate(data, changed, method, **kwargs, progress=True).loss

    for traced, a in (
        (jax.jit(lambda _: run(network.a)), network.a),
        (jax.vmap(run), jnp.stack([network.a, network.a])),
        (jax.grad(lambda a: run(a).sum()), network.a),
    ):
        with pytest.raises(ValueError, match="called directly"):
            traced(a)
