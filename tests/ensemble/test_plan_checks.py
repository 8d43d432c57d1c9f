"""What is wrong with a later run is said before the first one is drawn, and before a
folder is made."""

import time
import tracemalloc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow
from jaxflow._ensemble import plan_checks

KEY = jax.random.key(3)


def ensemble(folder, **changes):
    settings = {
        "n": 10,
        "d": 20,
        "p": 4,
        "seeds": 2,
        "method": jaxflow.GradientDescent(0.5),
        "times": [0.0, 2.0],
        "progress": False,
    }
    return jaxflow.simulate_ensemble(KEY, folder=folder, **{**settings, **changes})


def no_more_than_20(key, inputs, dtype):
    n = inputs.num_examples
    if n > 20:
        raise ValueError(f"a law of the user's refuses n = {n}.")
    return jnp.ones(n, dtype)


def too_many(key, inputs, dtype):
    n = inputs.num_examples
    return jnp.ones(n + n // 40, dtype)


def one_target_less(key, inputs, dtype):
    n = inputs.num_examples
    return jnp.ones(n - (n == 41), dtype)


def no_targets_of_11(key, inputs, dtype):
    n = inputs.num_examples
    return np.arange(n) * (n != 11)


LATE: dict[str, tuple[dict[str, Any], str]] = {
    "an odd number of antipodal inputs": (
        {"n": [10, 12, 13], "inputs": "antipodal"},
        "n must be even, got 13",
    ),
    "more pairs than dimensions": (
        {"n": [10, 42], "inputs": "antipodal"},
        "d = 20 holds at most 20 antipodal pairs, but 21",
    ),
    "more inputs than dimensions": (
        {"n": [10, 21]},
        "d = 20 holds at most 20 orthogonal inputs, but 21",
    ),
    "more neurons than dimensions": (
        {"p": [4, 21], "init": "uniform"},
        "p ≤ d, got p = 21, d = 20",
    ),
    "groups": (
        {
            "n": [8, 9],
            "inputs": "orthonormal",
            "targets": jaxflow.group_targets([1, -1, 1, -1]),
            "init": jaxflow.GroupInitialisation(),
        },
        "n = 9 examples do not form p = 4 groups",
    ),
    "a law of the user's": (
        {"n": [10, 30], "d": 40, "targets": no_more_than_20},
        "refuses n = 30",
    ),
    "too many targets": (
        {"n": [10, 40], "d": 40, "targets": too_many},
        r"law targets must return an array of shape \(40,\), got shape \(41,\)",
    ),
    "more orthogonal neurons of a teacher than dimensions": (
        {
            "d": [25, 20],
            "targets": jaxflow.TeacherTargets(21, first_layer="orthogonal"),
        },
        "d = 20 holds at most 20 orthogonal directions, but 21",
    ),
    "memory for data of one's own": (
        {
            "n": None,
            "d": None,
            "inputs": np.random.default_rng(0).normal(size=(300, 200)),
            "p": [4, 8],
            "memory": 2**19,
        },
        r"one run.* takes about .* MiB, but memory = .*\(3\d\d, 3\d\d\)",
    ),
    "a seed that fits in no key": (
        {"seeds": [0, 2**32]},
        "seeds must be integers ≥ 0 and at most 4294967295, got 4294967296",
    ),
    "memory": (
        {"n": [10, 4000], "d": 4000, "memory": 2**20},
        r"one run.* takes about .* MiB, but memory = 1 MiB.*\(4, 4",
    ),
    "memory of another run than that of the largest n": (
        {
            "n": [400, 10],
            "d": 4000,
            "p": [4, 4000],
            "grid": "zip",
            "memory": 2**20,
        },
        r"takes about .* MiB, but memory = 1 MiB. The largest .* \(4.*,",
    ),
    "an odd number among thousands of pairs": (
        {"n": [*range(2, 4000, 2), 4001, 4002], "d": 4002, "inputs": "antipodal"},
        "n must be even, got 4001",
    ),
    "targets at one of thousands of sizes": (
        {"n": range(1, 60), "d": 60, "targets": one_target_less},
        r"shape \(41,\), got shape \(40,\)",
    ),
    "no targets at one size": (
        {"n": [10, 11, 12], "targets": no_targets_of_11},
        "y must not be all zeros",
    ),
    "a method that wants other inputs": (
        {
            "inputs": "sphere",
            "method": {
                "descent": jaxflow.GradientDescent(0.5),
                "flow": jaxflow.RungeKuttaFlow(),
            },
        },
        "orthogonal and antipodal",
    ),
    "an observable of several shapes": (
        {"n": [10, 40], "d": 40, "observe": {"r": lambda s: s.residuals}},
        "'r' must have one shape for all runs",
    ),
    "an observable that fails later": (
        {"p": [4, 8], "observe": {"r": lambda s: s.a.reshape(4)[0]}},
        "reshape",
    ),
    "a name that no file has": (
        {"observe": {"share of pairs": lambda s: s.loss}},
        "observable 'share of pairs' needs a name like",
    ),
    "complex numbers": (
        {"observe": {"z": lambda s: jax.lax.complex(s.loss, s.loss)}},
        "observable 'z' must be a number.*got complex128",
    ),
    "half precision": (
        {"observe": {"half": lambda s: s.loss.astype(jnp.float16)}},
        "observable 'half' must be a number.*got float16",
    ),
    "nothing": (
        {"observe": {"none": lambda s: s.a[:0]}},
        r"observable 'none' must be.*not empty.*shape \(0,\)",
    ),
    "runs in half precision": (
        {"dtype": jnp.float16},
        "dtype must be float32 or float64 where.*got float16",
    ),
}


@pytest.fixture
def _nothing_is_drawn(monkeypatch):
    def drawn(*args, **kwargs):
        raise AssertionError("a problem was drawn")

    path = "jaxflow._ensemble.simulate_ensemble.sample_problem"
    monkeypatch.setattr(path, drawn)


@pytest.mark.usefixtures("_nothing_is_drawn")
@pytest.mark.parametrize("case", LATE)
def test_late_errors_are_told_at_once(tmp_path, case):
    change, message = LATE[case]
    with pytest.raises((ValueError, TypeError), match=message):
        ensemble(tmp_path / "runs", **change)
    assert not (tmp_path / "runs").exists()


def test_nothing_is_computed_before_what_is_missing_is_checked(tmp_path):
    observe = {"r": lambda s: s.residuals}
    ensemble(tmp_path / "runs", observe=observe)
    chunks = sorted((tmp_path / "runs").rglob("chunk-*"))
    # One more run of the size that is there, then some of another size.
    with pytest.raises(ValueError, match="'r' must have one shape for all runs"):
        ensemble(
            tmp_path / "runs",
            observe=observe,
            seeds=3,
            n=[10, 40],
            d=[20, 40],
            grid="zip",
        )
    # None of that size, so that the folder is all that tells.
    with pytest.raises(ValueError, match="'r' must have one shape for all runs"):
        ensemble(tmp_path / "runs", observe=observe, n=40, d=40)
    with pytest.raises(ValueError, match="holds at most 20 orthogonal inputs"):
        ensemble(tmp_path / "runs", observe=observe, n=[10, 30])
    assert sorted((tmp_path / "runs").rglob("chunk-*")) == chunks
    # What is there needs no check.
    assert ensemble(tmp_path / "runs", observe=observe).r.shape[0] == 2


@pytest.mark.slow
def test_half_precision_stays_in_memory():
    with pytest.warns(FutureWarning, match="float16"):
        runs = ensemble(None, dtype=jnp.float16)
    assert runs.loss.dtype == np.float16


@pytest.mark.slow
def test_what_needs_numbers_is_checked_when_it_is_drawn(tmp_path):
    def inputs(key, n, d, dtype):
        generator = np.random.default_rng(int(jax.random.key_data(key)[1]))
        return generator.normal(size=(n, d)).astype(dtype)

    runs = ensemble(
        tmp_path / "runs",
        inputs=inputs,
        init=jaxflow.CoveredInitialisation(max_draws=10_000),
        observe={"covered": lambda s: s.covered},
    )
    assert np.all(runs.covered.isel(time=0) == 1)


@pytest.mark.slow
def test_a_law_of_arrays_may_be_of_any_geometry():
    """Traced, an array shows no geometry: this one is orthogonal once it is drawn."""
    runs = ensemble(
        None,
        inputs=lambda key, n, d, dtype: jnp.eye(n, d, dtype=dtype),
        method=jaxflow.RungeKuttaFlow(1e-3),
        # Dense, n = 10 and d = 4000 would take more.
        d=4000,
        memory=300_000,
    )
    assert np.all(np.isfinite(runs.loss))


class DoneError(Exception):
    pass


def done(*args, **kwargs):
    raise DoneError


def traced_plan(monkeypatch, **settings):
    """How many runs were traced for the checks of a plan, of which none is made."""
    traced = []
    original = plan_checks.PlanChecks._hollow_run

    def hollow_run(self, cell, seed):
        traced.append(cell)
        return original(self, cell, seed)

    monkeypatch.setattr(plan_checks.PlanChecks, "_hollow_run", hollow_run)
    monkeypatch.setattr("jaxflow._ensemble.simulate_ensemble.open_storage", done)
    with pytest.raises(DoneError):
        ensemble(None, **settings)
    return len(traced)


def test_of_many_sizes_the_largest_is_traced(monkeypatch):
    settings = {
        "n": range(11, 1011),
        "d": 300,
        "p": [4, 70],
        "inputs": "sphere",
        "lockstep": True,
    }
    # One that is seen in a basis of its span, and a dense one.
    assert traced_plan(monkeypatch, memory=1e9, **settings) == 2
    # Where it takes much of the memory, the next ones too.
    assert traced_plan(monkeypatch, memory=7e6, **settings) > 20


def test_a_small_run_that_takes_more_memory_than_a_large_one_is_refused(monkeypatch):
    """`GradientFlow` takes another method for it."""
    little = lambda self, inputs, pairs: 225_000
    monkeypatch.setattr(jaxflow.FilippovFlow, "working_numbers", little)
    settings = {
        "d": 20,
        "p": 2,
        "inputs": "sphere",
        "method": jaxflow.GradientFlow(),
        "lockstep": True,
        "memory": 2_200_000,
    }
    assert traced_plan(monkeypatch, n=300, **settings) == 1
    with pytest.raises(ValueError, match="one run takes about"):
        ensemble(None, n=[250, 300], **settings)


@pytest.mark.slow
@pytest.mark.parametrize("sizes, seeds", [(1000, 1000), (1, 10**6)])
def test_a_million_runs_are_planned_in_two_seconds(monkeypatch, sizes, seeds):
    path = "jaxflow._ensemble.simulate_ensemble.sample_problem"
    monkeypatch.setattr(path, done)
    settings = {"n": range(10, 10 + sizes), "d": 2000, "p": 5, "seeds": seeds}

    def plan():
        with pytest.raises(DoneError):
            ensemble(None, **settings)

    start = time.process_time()
    plan()
    # Half as much again for other work on the machine.
    assert time.process_time() - start < 3
    tracemalloc.start()
    try:
        plan()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 100e6
