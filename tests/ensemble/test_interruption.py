"""Ensembles that are interrupted by Ctrl-C, SIGTERM and SIGKILL."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from numpy.testing import assert_array_equal

import jaxflow
from jaxflow import records
from jaxflow._ensemble import program as programs
from jaxflow._ensemble.interruption import Interruption, StoppedError, heard
from jaxflow._ensemble.program import Program, Work, prepare, stack
from jaxflow._simulate import check_observers

ROOT = Path(__file__).parents[2]
DESCENT = jaxflow.GradientDescent(0.5)
# How many processes `make test-long` ends by each signal, over three sweeps.
INTERRUPTIONS = int(os.environ.get("JAXFLOW_TEST_INTERRUPTIONS", "51"))


def ensemble(**kwargs):
    settings = {"n": [20, 21, 33], "d": 40, "p": 6, "seeds": 20, "method": DESCENT}
    return jaxflow.simulate_ensemble(
        jax.random.key(3), times=[0.0, 5.0], **{**settings, **kwargs}
    )


def once(number):
    """A callback by which the first finished batch brings a signal along."""
    pending = [number]

    def interrupt(progress):
        if pending:
            signal.raise_signal(pending.pop())

    return interrupt


@pytest.fixture(autouse=True)
def _handlers_of_python():
    """Those of a process that is started in the foreground: in the background Ctrl-C is
    ignored, and a handler that is not Python's is left alone."""
    before = (
        signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.signal(signal.SIGTERM, signal.SIG_DFL),
    )
    yield
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGTERM, before[1])


def handlers():
    return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("lockstep", [False, True])
def test_ctrl_c_keeps_what_is_finished_and_a_later_call_goes_on(tmp_path, lockstep):
    """As in a notebook, where the process lives on."""
    whole, before = ensemble(lockstep=lockstep), handlers()
    interrupt = once(signal.SIGINT)
    folder = tmp_path / "runs"
    with pytest.raises(KeyboardInterrupt, match=r"The same call goes on") as told:
        ensemble(lockstep=lockstep, folder=folder, progress=interrupt)
    assert handlers() == before
    kept = records.open_records(folder).sizes["run"]
    assert 1 <= kept < 60
    assert str(told.value).startswith(f"{kept} of 60 runs are kept in {str(folder)!r}")
    done: list[jaxflow.Progress] = []
    again = ensemble(lockstep=lockstep, folder=folder, progress=done.append)
    assert done[-1].done == 60 - kept
    for name in whole.data_vars:
        assert_array_equal(again[name], whole[name])


def test_without_a_folder_what_is_lost_is_told():
    with pytest.raises(KeyboardInterrupt, match=r"of 60 runs were finished.*folder="):
        ensemble(progress=once(signal.SIGINT))


def test_the_second_ctrl_c_is_python_s(tmp_path):
    before, calls = handlers(), []

    def interrupt(progress):
        calls.append(progress)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as told:
        ensemble(folder=tmp_path / "runs", progress=interrupt)
    assert not told.value.args and len(calls) == 1
    assert handlers() == before
    # The folder is closed, and what was written before is kept.
    assert ensemble(folder=tmp_path / "runs").sizes["seed"] == 20


def test_handlers_of_others_are_left_alone():
    seen = []
    theirs = signal.signal(signal.SIGTERM, lambda *_: seen.append("theirs"))
    try:
        ensemble(progress=lambda progress: signal.raise_signal(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, theirs)
    assert seen


def test_handlers_are_left_alone_outside_the_main_thread():
    before, seen = handlers(), []
    thread = threading.Thread(
        target=ensemble, kwargs={"progress": lambda progress: seen.append(handlers())}
    )
    thread.start()
    thread.join()
    assert seen and set(seen) == {before}


def test_finished_runs_of_a_running_batch_are_kept(monkeypatch):
    data, network = jaxflow.sample_problem(jax.random.key(0), n=20, d=40, p=6)
    runs = [
        prepare(data, network, DESCENT.lean(), [0.0, end]) for end in (5.0, 7.0, 1e5)
    ]
    mesh = Mesh(np.array(jax.devices()[:1]), ("run",))
    program = Program(check_observers({}), mesh, lockstep=False)
    work = Work.of_methods({"": DESCENT}, ())[""]
    interruption, waits = Interruption(), []
    original = programs.computed

    def computed(outputs, told):
        waits.append(outputs)
        if len(waits) == 3:
            interruption.now()
        return original(outputs, told)

    monkeypatch.setattr(programs, "computed", computed)
    # A thread of its own, since what one thread began it also waits for.
    with ThreadPoolExecutor(1) as pool:
        rows = pool.submit(program.prepare(stack(runs, 3), work, interruption)).result()
    assert rows["final_time"].tolist() == [5.0, 7.0]
    assert rows["loss"].shape == (2, 2)


def test_the_compiler_is_not_waited_for():
    release, interruption = threading.Event(), Interruption()
    interruption.now()
    with pytest.raises(StoppedError):
        heard(release.wait, interruption)
    release.set()
    assert heard(lambda: 3, Interruption()) == 3
    with pytest.raises(TimeoutError, match="of the function"):
        heard(lambda: _raise(TimeoutError("of the function")), Interruption())


def _raise(error):
    raise error


def start(sweep, folder):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.ensemble.interrupted_worker", sweep, str(folder)],
        cwd=ROOT,
        env={**os.environ, "JAX_ENABLE_X64": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return dict(re.findall(r"^(\w+) (.*)$", out, re.MULTILINE))


def check_end(process, number, folder):
    """The process ended as by this signal, and said what is in the folder."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == -number, (out, err)
    if number != signal.SIGKILL:
        kept = records.open_records(folder).sizes["run"]
        last = err.rstrip().splitlines()[-1]
        name = "KeyboardInterrupt" if number == signal.SIGINT else "Terminated"
        assert re.fullmatch(
            rf"{name}: {kept} of \d+ runs are kept in '.*'. The same call goes on from "
            r"there\.",
            last,
        ), err
    # Nothing else is said, such as by C++ about its threads.
    assert "terminate" not in err and "FATAL" not in err and "Ignored" not in err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("sweep", ["endless", "endless in lockstep"])
def test_a_run_of_hours_ends_within_seconds(tmp_path, sweep, number):
    process = start(sweep, tmp_path / "runs")
    assert process.stdout.readline() == "interruptible\n"
    # By then a run that does not end is compiled, or being computed.
    time.sleep(3)
    sent = time.monotonic()
    process.send_signal(number)
    check_end(process, number, tmp_path / "runs")
    # Two seconds, on a machine that may be busy with other tests.
    assert time.monotonic() - sent < 10
    assert records.open_records(tmp_path / "runs").sizes["run"] == 2


@pytest.mark.slow
def test_the_second_ctrl_c_ends_at_once(tmp_path):
    process = start("endless", tmp_path / "runs")
    assert process.stdout.readline() == "interruptible\n"
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGINT, err


@pytest.mark.slow
@pytest.mark.parametrize("sweep", ["teacher", "own data"])
def test_problems_of_ones_own_go_on_with_the_same_bits(tmp_path, sweep):
    folder = tmp_path / "runs"
    process = start(sweep, folder)
    process.stdout.readline()
    process.kill()
    check_end(process, signal.SIGKILL, folder)
    broken, whole = told(start(sweep, folder)), told(start(sweep, "-"))
    computed, of = map(int, broken["computed"].split(" of "))
    assert 0 < computed < of
    assert broken["bits"] == whole["bits"]


@pytest.mark.long
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name
)
@pytest.mark.parametrize("sweep", ["descent", "flow", "lockstep"])
def test_an_ensemble_that_is_ended_again_and_again(tmp_path, sweep, number):
    generator, folder = random.Random(int(number)), tmp_path / "runs"
    ended, times = 0, -(-INTERRUPTIONS // 3)
    for _ in range(times):
        process = start(sweep, folder)
        # Most of a process is its startup; the moment shall fall among the chunks.
        process.stdout.readline()
        time.sleep(generator.uniform(0, 0.2))
        process.send_signal(number)
        check_end(process, number, folder)
        ended += 1
    assert ended == times
    broken, whole = told(start(sweep, folder)), told(start(sweep, "-"))
    computed, of = map(int, broken["computed"].split(" of "))
    assert 0 < computed <= of - ended
    assert broken["bits"] == whole["bits"]
