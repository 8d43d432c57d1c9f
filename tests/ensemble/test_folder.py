"""Ensembles that are interrupted, extended, shared by devices and by processes."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import jaxflow
from jaxflow import records

ROOT = Path(__file__).parents[2]


def ensemble(folder, **kwargs):
    seen = []
    settings = {
        "n": [20, 21],
        "d": 40,
        "p": 6,
        "seeds": 3,
        "method": jaxflow.GradientDescent(0.5),
        "times": [0.0, 5.0],
        "progress": lambda progress: seen.append(progress.done),
    }
    key = kwargs.pop("key", jax.random.key(3))
    data = jaxflow.simulate_ensemble(key, folder=folder, **{**settings, **kwargs})
    return data, seen[-1] if seen else 0


@pytest.mark.slow
def test_a_folder_is_extended(tmp_path):
    whole, _ = ensemble(None, n=[20, 21, 33], seeds=5)
    first, computed = ensemble(tmp_path / "runs")
    assert computed == 6
    more, computed = ensemble(tmp_path / "runs", seeds=5)
    assert computed == 4
    wider, computed = ensemble(tmp_path / "runs", n=[20, 21, 33], seeds=5)
    assert computed == 5
    again, computed = ensemble(tmp_path / "runs")
    assert computed == 0
    for name in whole.data_vars:
        assert_array_equal(wider[name], whole[name])
        assert_array_equal(more[name], whole[name].sel(n=[20, 21]))
        some = {"n": [20, 21], "seed": range(3)}
        present = {k: v for k, v in some.items() if k in whole[name].dims}
        for part in (first, again):
            assert_array_equal(part[name], whole[name].sel(present))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"method": jaxflow.GradientDescent(0.25)}, "methods"),
        ({"key": jax.random.key(4)}, "key"),
        ({"stop": jaxflow.LossBelow()}, "stop"),
        ({"init": "uniform"}, "init"),
        ({"dtype": np.float32}, "dtype"),
    ],
)
def test_another_configuration_is_refused(tmp_path, change, key):
    ensemble(tmp_path / "runs", seeds=1)
    with pytest.raises(ValueError, match=rf"runs.*{key}") as raised:
        ensemble(tmp_path / "runs", **change)
    assert "runs" in str(raised.value)


def test_damaged_records_are_refused_by_name(tmp_path):
    ensemble(tmp_path / "runs")
    chunk = next((tmp_path / "runs" / "part-00000").glob("chunk-*.nc"))
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-10])
    with pytest.raises(ValueError, match=chunk.name):
        ensemble(tmp_path / "runs")
    flipped = bytearray(content)
    flipped[len(flipped) // 2] ^= 1
    chunk.write_bytes(flipped)
    with pytest.raises(ValueError, match=chunk.name):
        ensemble(tmp_path / "runs")
    chunk.write_bytes(content)
    assert ensemble(tmp_path / "runs")[1] == 0


def test_large_records_stay_on_disk(tmp_path, monkeypatch):
    loaded, _ = ensemble(tmp_path / "runs")
    monkeypatch.setattr("jaxflow._ensemble.dataset.LOADED", 0)
    lazy, computed = ensemble(tmp_path / "runs")
    assert computed == 0
    assert type(lazy.loss.data).__module__.startswith("dask")
    assert_array_equal(lazy.loss.compute(), loaded.loss)


def start(folder, seeds=4, *cluster, devices=1):
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.ensemble.worker"]
        + [str(x) for x in (folder, seeds, *cluster)],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_ENABLE_X64": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process):
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return dict(re.findall(r"^(\w+) (.*)$", out, re.MULTILINE))


@pytest.mark.slow
def test_a_finished_sweep_of_20000_runs_resumes_in_two_seconds(tmp_path):
    """In a process of its own, where no types are checked."""
    result(start(tmp_path / "runs", 1))
    kept = records.open_records(tmp_path / "runs", lazy=False)
    config, dims = json.loads(kept.config), {k: v.dims for k, v in kept.items()}
    with records.open_folder(tmp_path / "runs", config) as folder:
        # What the other seeds would give is not what matters.
        for run, name in enumerate(kept.id.values):
            for first in range(1, 6667, 16):
                seeds = range(first, min(first + 16, 6667))
                rows = {k: np.stack([v[run]] * len(seeds)) for k, v in kept.items()}
                ids = [name.replace("seed=0", f"seed={seed}") for seed in seeds]
                folder.write(rows, ids, dims)
    told = result(start(tmp_path / "runs", 6667))
    assert told["computed"] == "0 of 20001"
    assert float(told["seconds"]) < 2


@pytest.mark.slow
def test_four_devices_give_the_bits_of_one():
    one, four = start("-"), start("-", devices=4)
    one, four = result(one), result(four)
    assert one["devices"] == "1" and four["devices"] == "4"
    assert one["loss"] == four["loss"]


@pytest.mark.slow
def test_two_processes_share_a_folder(tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    both = [start(tmp_path / "runs", 4, rank, 2, port) for rank in range(2)]
    alone = start("-")
    first, second = (result(process) for process in both)
    assert first["computed"] == second["computed"] == "6 of 12"
    assert first["loss"] == second["loss"] == result(alone)["loss"]
    parts = sorted(path.name for path in (tmp_path / "runs").glob("part-*"))
    assert parts == ["part-00000", "part-00001"]


def _killed_at_random(folder, seeds, times, generator):
    """Starts the worker on one folder and kills it, again and again."""
    killed = 0
    for _ in range(times):
        process = start(folder, seeds)
        # Startup takes most of the time; the moment shall fall among the chunks.
        part = folder / "part-00000"
        before = len(list(part.glob("chunk-*.nc")))
        while process.poll() is None and len(list(part.glob("chunk-*"))) < before + 2:
            time.sleep(0.001)
        time.sleep(generator.uniform(0, 0.05))
        if process.poll() is None:
            killed += 1
            process.send_signal(signal.SIGKILL)
        process.communicate()
    return killed


def _survives(tmp_path, seeds, kills):
    generator = random.Random(1)
    killed = _killed_at_random(tmp_path / "runs", seeds, kills, generator)
    assert killed >= kills // 2
    broken = result(start(tmp_path / "runs", seeds))
    whole = result(start("-", seeds))
    # Each kill kept at least one chunk that was there before.
    assert int(broken["computed"].split()[0]) <= 3 * seeds - killed
    assert broken["loss"] == whole["loss"]


@pytest.mark.slow
def test_a_killed_ensemble_resumes_to_the_same_bits(tmp_path):
    _survives(tmp_path, 60, 2)


@pytest.mark.long
def test_an_ensemble_that_is_killed_twenty_times(tmp_path):
    _survives(tmp_path, 400, 24)
