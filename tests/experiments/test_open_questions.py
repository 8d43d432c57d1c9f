"""The open questions, at a small size."""

import jax
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import jaxflow
from experiments.common.output import read_records
from experiments.open_questions import common, conjecture, conjecture_runs
from jaxflow import theory

from .again import nothing_is_made_again


def test_runs_are_kept_and_not_made_again(tmp_path):
    made = []

    def run(name):
        made.append(name)
        if name == "bad":
            raise RuntimeError(name)
        return {"x": float(name), "y": np.arange(2) + int(name)}

    with pytest.raises(RuntimeError):
        common.keep(tmp_path / "runs", {"a": 1}, ["3", "1", "bad", "2"], run)
    rows = common.keep(tmp_path / "runs", {"a": 1}, ["1", "2", "3", "1"], run)
    # What was made before the failure is there; the order is that of the names.
    assert made == ["3", "1", "bad", "2"]
    np.testing.assert_array_equal(rows.x, [1, 2, 3, 1])
    np.testing.assert_array_equal(rows.y, [[1, 2], [2, 3], [3, 4], [1, 2]])
    with pytest.raises(ValueError, match="a"):
        common.keep(tmp_path / "runs", {"a": 2}, ["1"], run)


def test_median_interval_by_counting():
    sample = np.random.default_rng(0).permutation(np.arange(101.0))
    median, low, high = common.median_interval(sample)
    assert (median, low, high) == (50, 40, 60)
    # As many as that lie below the median with 95 %.
    assert stats.binom.cdf(60, 101, 0.5) - stats.binom.cdf(40, 101, 0.5) > 0.95
    assert common.median_interval(np.arange(4.0))[1:] == (-np.inf, np.inf)


def test_config_of_the_conjecture():
    config = conjecture.Config(size="full")
    cells = list(config.cells())
    names = [cell.name for cell, _ in cells]
    assert len(set(names)) >= len(names) - 2
    assert {cell.n for cell, _ in cells} == {100, 1000, 10**4, 10**5, 10**6}
    assert min(count for cell, count in cells if cell.n <= 10**4) >= 100
    assert min(count for _, count in cells) >= 10
    assert conjecture_runs.width(1650, 1) == jaxflow.width_rule(1650)
    for wrong in (dict(sizes=(5,)), dict(sizes=(100,), networks=(2,)), dict(c=(-1.0,))):
        with pytest.raises(ValueError, match=list(wrong)[-1]):
            conjecture.Config(**wrong)


@pytest.mark.slow
def test_a_run_of_the_conjecture_against_plain_numpy():
    """2 λ_min of the network that a run in float64 leaves."""
    config = {**conjecture_runs.FOLLOWED, "seed": 0}
    row = conjecture_runs._run("orthogonal-60-25-1", config)
    data, network = jaxflow.sample_problem(
        jaxflow.run_key(jax.random.key(0), 60, 60, 25, 1),
        n=60,
        d=60,
        p=25,
        init=jaxflow.CoveredInitialisation(),
        dtype=np.float64,
    )
    times = [0.0, 3e4]
    flow = jaxflow.GradientFlow(1e-9)
    stop = jaxflow.LossBelow(1e-18)
    sol = jaxflow.simulate(data, network, flow, times=times, stop=stop)
    z = np.asarray(data.inputs.preactivations(sol.final.w))
    squares, norms = np.asarray(sol.final.a) ** 2, np.asarray(data.inputs.norms)
    diagonal = norms**2 * ((z > 0) * squares[:, None]).sum(0)
    kernel = (np.diag(diagonal) + np.maximum(z, 0).T @ np.maximum(z, 0)) / (60 * 25)
    assert row["limit"] == pytest.approx(2 * np.linalg.eigvalsh(kernel)[0], rel=1e-4)
    assert row["least"] == pytest.approx(2 * diagonal.min() / (60 * 25), rel=1e-4)
    assert row["count"] == (z[:, diagonal.argmin()] > 0).sum()
    # It settles to that.
    curvature = row["curvature"][np.isfinite(row["curvature"])]
    assert curvature[-1] == pytest.approx(row["limit"], rel=0.05)


@pytest.mark.slow
def test_conjecture_from_config_to_figure(tmp_path, capsys, monkeypatch):
    config = conjecture.Config(c=(1, 2), sizes=(100,), networks=(8,), output=tmp_path)
    conjecture.main(config)
    table = capsys.readouterr().out
    assert "nan" not in table and "| yes |" in table
    files = {path.name for path in config.folder.iterdir() if path.is_file()}
    records = {"settled.nc", "followed.nc", "predicted.nc"}
    assert files == records | {
        "config.json",
        "table.md",
        "conjecture_1.png",
        "conjecture_1.pdf",
    }
    settled = read_records(config.folder, "settled.nc")
    assert isinstance(settled, xr.Dataset) and settled.sizes["run"] == 3 * 8
    predicted = read_records(config.folder, "predicted.nc")
    law = theory.limiting_curvature_law(100, 27, networks=60)
    assert law.median == pytest.approx(float(predicted.quantiles[0, 2]), rel=1e-12)

    made = [(conjecture_runs, name) for name in ("_run", "_predict")]
    nothing_is_made_again(conjecture, config, table, capsys, monkeypatch, *made)
