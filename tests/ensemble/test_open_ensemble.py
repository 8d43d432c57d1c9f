"""Folders of ensembles, opened without the call that made them."""

import os
import stat

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import jaxflow
from jaxflow import records
from jaxflow._ensemble.dataset import result_code

TIMES = np.array([0.0, 1.0, 3.0])


def name(n, d, p, seed, method="", times="0" * 12):
    return f"n={n} d={d} p={p} method={method} times={times} seed={seed}"


def rows_of(names, times=TIMES):
    """Numbers that tell the run."""
    number = np.array([float(sum(map(ord, each))) for each in names])
    return {
        "t": np.tile(times, (len(names), 1)),
        "loss": number[:, None] + times,
        "curvature": np.full((len(names), 3), np.nan),
        "average_curvature": number[:, None] * times,
        "final_loss": number,
        "final_time": np.full(len(names), 3.0),
        "result": np.full(len(names), result_code("loss_below"), np.int32),
        "kink_crossings": np.full(len(names), -1, np.int32),
        "steps": np.arange(len(names), dtype=np.int32),
    }


def write(folder, names, times=TIMES, part=0):
    rows = rows_of(names, times)
    dims = {k: ("run", "time")[: v.ndim] for k, v in rows.items()}
    with records.open_folder(folder, {}, part=part, provenance={}) as opened:
        opened.write(rows, names, dims)


def number_of(*args, **kwargs):
    return float(sum(map(ord, name(*args, **kwargs))))


@pytest.mark.slow
def test_it_is_the_dataset_of_the_call(tmp_path):
    runs = jaxflow.simulate_ensemble(
        jax.random.key(0),
        n=[20, 21],
        d=40,
        p=lambda n: 2 * n - 35,
        seeds=3,
        method=jaxflow.GradientDescent(0.5),
        times=lambda n, d, p: [0.0, n / 2],
        stop=None,
        observe={"norms": lambda s: s.squared_norms[:2]},
        folder=tmp_path / "runs",
    )
    found = jaxflow.open_ensemble(tmp_path / "runs")
    left_out = {k for k in runs.data_vars if k not in found}
    # Descent in an ensemble counts no crossings, and knows nothing of slides.
    assert left_out == {"kink_crossings"}
    for variable in found.variables:
        assert found[variable].dims == runs[variable].dims
        assert found[variable].dtype == runs[variable].dtype
        assert_array_equal(found[variable], runs[variable])
    assert found.result.attrs == runs.result.attrs
    assert "fingerprint" in found.attrs["config"]


def test_labels_widths_and_common_times(tmp_path):
    # A label may look like the rest of a name.
    labels = ["descent", "flow seed=7 d=3"]
    names = [
        name(n, 50, n // 10, seed, label)
        for seed in (0, 4)
        for n in (30, 10, 20)
        for label in labels
    ]
    write(tmp_path / "runs", names)
    runs = jaxflow.open_ensemble(tmp_path / "runs")
    assert runs.loss.dims == ("dynamics", "n", "seed", "time")
    assert runs.t.dims == ("dynamics", "n", "time")
    assert_array_equal(runs.time, TIMES)
    assert_array_equal(runs.n, [10, 20, 30])
    assert_array_equal(runs.seed, [0, 4])
    assert runs.p.dims == ("n",)
    assert_array_equal(runs.p, [1, 2, 3])
    assert runs.d.item() == 50
    assert runs.converged.dtype == bool and runs.converged.all()
    assert "curvature" not in runs and "kink_crossings" not in runs
    for label in labels:
        for n in (10, 20, 30):
            one = runs.final_loss.sel(dynamics=label, n=n, seed=4)
            assert one.item() == number_of(n, 50, n // 10, 4, label)


def test_missing_runs_are_in_no_mean(tmp_path):
    names = [name(n, d, 3, seed) for n in (5, 6) for d in (7, 8) for seed in (0, 1)]
    write(tmp_path / "runs", names[:-1])
    runs = jaxflow.open_ensemble(tmp_path / "runs")
    assert runs.loss.dims == ("n", "d", "seed", "time")
    gone = runs.sel(n=6, d=8, seed=1)
    for variable in runs.data_vars:
        if variable != "t":
            assert np.all(np.isnan(gone[variable]))
    assert_array_equal(gone.t, TIMES)
    assert_array_equal(runs.converged.mean("seed"), np.ones((2, 2)))
    there = runs.final_loss.sel(n=6, d=8).mean("seed")
    assert there == number_of(6, 8, 3, 0)


def test_a_zipped_grid_has_cells(tmp_path):
    sizes = [(10, 5, 3), (20, 5, 4), (10, 7, 5), (30, 9, 6), (40, 8, 6)]
    write(tmp_path / "runs", [name(*size, seed) for size in sizes for seed in (0, 1)])
    runs = jaxflow.open_ensemble(tmp_path / "runs")
    assert runs.loss.dims == ("cell", "seed", "time")
    found = {tuple(int(runs[k][i]) for k in "ndp") for i in range(5)}
    assert found == set(sizes)
    for cell in range(5):
        size = [int(runs[k][cell]) for k in "ndp"]
        assert runs.final_loss[cell, 1] == number_of(*size, 1)


def test_several_schedules(tmp_path):
    sizes = [(10, 5, 3), (20, 5, 4)]
    for part, (times, tag) in enumerate([(2 * TIMES, "a"), (TIMES, "b")]):
        names = [name(*size, 0, times=tag * 12) for size in sizes]
        write(tmp_path / "runs", names, times, part)
    runs = jaxflow.open_ensemble(tmp_path / "runs")
    assert runs.loss.dims == ("schedule", "n", "seed", "time")
    assert_array_equal(runs.t.sel(n=10), [TIMES, 2 * TIMES])
    assert "time" not in runs.coords
    assert runs.final_loss.sel(schedule=1, n=20, seed=0) == number_of(
        *sizes[1], 0, times="a" * 12
    )


def test_one_run_alone(tmp_path):
    write(tmp_path / "runs", [name(1, 1, 1, 0)])
    runs = jaxflow.open_ensemble(tmp_path / "runs")
    assert runs.loss.dims == ("seed", "time")
    assert [runs[k].item() for k in "ndp"] == [1, 1, 1]


def test_large_records_stay_on_disk(tmp_path, monkeypatch):
    names = [name(n, 5, 3, seed) for n in (10, 20) for seed in (0, 1)]
    write(tmp_path / "runs", names[:3])
    loaded = jaxflow.open_ensemble(tmp_path / "runs")
    monkeypatch.setattr("jaxflow._ensemble.dataset.LOADED", 0)
    lazy = jaxflow.open_ensemble(tmp_path / "runs")
    assert type(lazy.loss.data).__module__.startswith("dask")
    assert_array_equal(lazy.loss.compute(), loaded.loss)
    carried = jaxflow.carry_final(lazy).loss
    assert_array_equal(carried.compute(), jaxflow.carry_final(loaded).loss)


def test_read_only_storage(tmp_path):
    folder = tmp_path / "runs"
    write(folder, [name(10, 5, 3, 0)])
    paths = [folder, *folder.rglob("*")]
    before = {path: path.stat().st_mtime_ns for path in paths}
    for path in paths:
        path.chmod(stat.S_IREAD | (stat.S_IEXEC if path.is_dir() else 0))
    try:
        assert jaxflow.open_ensemble(os.fspath(folder)).sizes["seed"] == 1
        # Root may write all the same: nothing has been.
        assert {path: path.stat().st_mtime_ns for path in paths} == before
    finally:
        for path in paths:
            path.chmod(stat.S_IRWXU)


def test_what_is_no_ensemble_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        jaxflow.open_ensemble(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="folder must not be empty"):
        jaxflow.open_ensemble("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty.*config\.json"):
        jaxflow.open_ensemble(tmp_path / "empty")
    write(tmp_path / "other", ["a run"])
    with pytest.raises(ValueError, match=r"other.*not those of simulate_ensemble"):
        jaxflow.open_ensemble(tmp_path / "other")
    write(tmp_path / "damaged", [name(10, 5, 3, 0)])
    chunk = next((tmp_path / "damaged").rglob("chunk-*.nc"))
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(ValueError, match=chunk.name):
        jaxflow.open_ensemble(tmp_path / "damaged")
