"""The benchmarks as commands: processes, limits, and all at their quick size."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import (
    __main__,
    _machine,
    _process,
    _sweep,
    convergence_probability,
    figures,
    report,
    scaling_devices,
    work_precision,
)

ROOT = Path(__file__).parents[2]


def test_processes_compile_afresh(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "somewhere")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    found = _process.environment({"MORE": "1"})
    told = {k: v for k, v in found.items() if "CACHE" in k and k.startswith("JAX_")}
    assert told == {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    assert str(ROOT) in found["PYTHONPATH"].split(os.pathsep)
    assert found["MORE"] == "1"


def test_a_command_over_its_limit_is_ended():
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(subprocess.TimeoutExpired):
        _process.finish(command, 0.2)


def test_a_worker_that_fails_tells_why():
    with pytest.raises(RuntimeError, match="KeyError"):
        _process.call("benchmarks._sweep", {"seed": 0})


@pytest.mark.slow
@pytest.mark.parametrize("stop", [False, True])
def test_only_compiling_counts_as_compiling(stop, monkeypatch, capsys):
    # Restores the method that the worker replaces in its own process.
    monkeypatch.setattr(_sweep.Program, "compile", _sweep.Program.compile)
    options = {"seed": 0, "n": [40], "d": 50, "seeds": 2, "inputs": "orthogonal"}
    _sweep.main({**options, "horizon": 0.1, "stop": stop, "rounds": 2})
    first, second = json.loads(capsys.readouterr().out)
    assert first["compilations"] >= 1
    assert 0 < first["compiling"] < first["seconds"]
    assert (second["compilations"], second["compiling"]) == (0, 0.0)
    assert (first["converged"] is None) == (not stop)


def test_results_are_no_change_of_the_checkout(tmp_path, monkeypatch):
    package = tmp_path / "benchmarks"
    results = tmp_path / "results" / "benchmarks"
    source = package / "__init__.py"
    written = (results / "README.md", results / "cpu" / "ensemble.json")
    for path in (source, *written):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    settings = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*settings, "commit", "-qm", "a"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    monkeypatch.setattr(_machine, "__file__", str(package / "_machine.py"))
    clean = _machine.commit()
    assert len(clean) == 40
    for path in written:
        path.write_text("new")
    assert _machine.commit() == clean
    source.write_text("new")
    assert _machine.commit() == clean + "+"


def test_several_accelerators_are_scaled_over():
    assert "scaling_devices" not in __main__.on_accelerators(1)
    assert __main__.on_accelerators(4)[-1] == "scaling_devices"


def test_figures_share_one_limit():
    parameters = figures.Parameters("quick", limit=0.0)
    found = figures.measure(parameters, 3)
    (table,) = found.tables
    assert [row[0] for row in table.rows] == [
        "Figure 1",
        "Figure 5 --protocol paper",
        "Figure 2 --protocol paper",
        "Figure 2 --protocol released --width 4",
        "Figure 4 --protocol paper",
        "Figure 3 --protocol paper",
    ]
    assert all(row[2] is None and "no time" in row[-1] for row in table.rows)
    assert all("--seed 3" in row[1] for row in table.rows)
    assert not found.measured


@pytest.mark.parametrize("name", ["work_precision", "convergence_probability"])
def test_records_of_older_runs_are_read(name, tmp_path, capsys):
    module = {
        "work_precision": work_precision,
        "convergence_probability": convergence_probability,
    }[name]
    device = tmp_path / _machine.device_folder()
    device.mkdir()
    kept = report.RESULTS / "cpu" / f"{name}.json"
    shutil.copy(kept, device)
    if name == "work_precision":
        # Everything is there, so nothing is run.
        module.main(module.Config(results=tmp_path))
    else:
        module.main(module.Config(results=tmp_path, redraw=True))
    assert (device / kept.name).read_text() == kept.read_text()
    table = kept.with_suffix(".md").read_text()
    assert capsys.readouterr().out == table


def test_the_table_of_devices_grows():
    from benchmarks import _run

    spread = scaling_devices.Spread(2.0, 1.0, 3.0, 3)
    double = scaling_devices.Spread(4.0, 1.0, 5.0, 3)
    found = _run.Findings()
    rows = [["1 devices", spread, spread, "a"]]
    scaling_devices._show(found, scaling_devices.Parameters(), rows)
    rows.append(["2 devices", double, spread, "b"])
    scaling_devices._show(found, scaling_devices.Parameters(), rows)
    (table,) = found.tables
    assert [row[2] for row in table.rows] == [1.0, 2.0]
    assert [row[-1] for row in table.rows] == ["yes", "**no**"]


@pytest.mark.long
def test_every_benchmark_runs_at_its_quick_size(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--size", "quick"]
    done = subprocess.run(
        [*command, "--results", str(tmp_path)],
        cwd=ROOT,
        env=_process.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    folder = tmp_path / _machine.device_folder() / "quick"
    files = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert set(files) == set(report.MODULES)
    for file in files.values():
        assert file["complete"]
        assert file["tables"]
    assert not (tmp_path / "README.md").exists()
