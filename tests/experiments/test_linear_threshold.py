"""Question 2, at a small size."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import minimize

from experiments.common.output import read_records
from experiments.open_questions import (
    ends_summary,
    linear_threshold,
    linear_threshold_runs,
    linear_threshold_table,
)
from experiments.open_questions.linear_threshold_runs import statistical_dimension

from .again import nothing_is_made_again

RESULTS = Path(__file__).parents[2] / "results"


def test_statistical_dimension_of_known_cones():
    random = np.random.default_rng(0)
    # A half-space, an orthant, and a plane, which is a cone too.
    for walls, expected in (
        (np.eye(6)[:1], 5.5),
        (np.eye(6), 3.0),
        (np.concatenate([np.eye(6)[:4], -np.eye(6)[:4]]), 2.0),
    ):
        found = statistical_dimension(walls, random, directions=2000)
        # Of 2000 squared norms with a variance of at most 2 × 6.
        assert found == pytest.approx(expected, abs=4 * (12 / 2000) ** 0.5)


def test_statistical_dimension_by_projection():
    """‖Π g‖² of a cone in the plane, by minimising the distance."""
    walls = np.array([[1.0, 0.2], [-0.3, 1.0]])
    squares = []
    for g in np.random.default_rng(3).normal(size=(30, 2)):
        near = minimize(
            lambda u, g=g: ((u - g) ** 2).sum(),
            np.ones(2),
            constraints={"type": "ineq", "fun": lambda u: walls @ u},
        )
        squares.append((near.x**2).sum())
    found = statistical_dimension(walls, np.random.default_rng(3), directions=30)
    assert found == pytest.approx(np.mean(squares), rel=1e-4)


def test_count_of_the_start_is_where_the_lines_cross():
    """δ/d = 0.9 − n/(p d) crosses n/(p d) at 0.45."""
    starts = [
        linear_threshold_table.Group(
            10, 10, 0.0, n, xr.Dataset({"dimension": ("run", [9 - n / 10] * 2)})
        )
        for n in (10, 30, 50, 70)
    ]
    assert linear_threshold_table.capacity(starts) == pytest.approx(0.45)
    assert np.isnan(linear_threshold_table.capacity(starts[:2]))


def test_runs_are_counted_by_how_they_ended():
    runs = xr.Dataset(
        {
            "zero": ("run", [True, False, False, False]),
            "stuck": ("run", [False, False, False, True]),
            "interpolable": ("run", [True, True, False, False]),
        }
    )
    found = ends_summary.outcomes(runs)
    assert [list(some).index(True) for some in found.values()] == [0, 1, 2, 3]
    assert sum(some.sum() for some in found.values()) == 4
    many = xr.concat([runs.isel(run=[0, 0, 0])] * 4, "run")
    none = xr.concat([runs.isel(run=[3, 3, 3])] * 4, "run")
    assert ends_summary.thresholds([1, 2], [many, none]) == ["1.50 [1.00, 2.00]"] * 3


def test_searches_are_those_of_the_figures():
    found = linear_threshold_table.searched(RESULTS)
    by_d, by_p, [(d, p, N)] = found["flow, certificate by 4 t_∞"]
    # Figure 2: 2926 at d = 100, by the width rule.
    assert (d, p, round(N.estimate)) == (100, 39, 2926)
    assert [d for d, *_ in by_d] == [10, 20, 30, 40]
    assert {d for d, *_ in by_p} == {30}
    by_d, *_ = found["descent, certificate by t_∞"]
    assert max(d for d, *_ in by_d) == 200


@pytest.mark.slow
def test_linear_threshold_from_config_to_figure(tmp_path, capsys, monkeypatch):
    for figure in ("figure3", "figure4"):
        for name in ("flow-by4", "paper"):
            folder = Path(figure) / name
            (tmp_path / folder).mkdir(parents=True)
            shutil.copy(RESULTS / folder / "summary.json", tmp_path / folder)
    config = linear_threshold.Config(seeds=2, last=4.0, output=tmp_path)
    linear_threshold.main(config)
    table = capsys.readouterr().out
    assert "flow, certificate by 4 t_∞" in table
    assert "flow, zero loss" not in table
    files = {path.name for path in config.folder.iterdir() if path.is_file()}
    assert files == {
        "config.json",
        "starts.nc",
        "ends.nc",
        "table.md",
        "linear_threshold.png",
        "linear_threshold.pdf",
    }
    ends = read_records(config.folder, "ends.nc")
    assert ends.sizes["run"] == 2 * len(config.cells())
    # What has too few free directions has a singular kernel.
    assert (ends.least[ends.free < ends.n] < linear_threshold_table.SINGULAR).all()
    assert not (ends.stuck & ends.interpolable).any()

    made = [(linear_threshold_runs, name) for name in ("_run", "_start")]
    nothing_is_made_again(linear_threshold, config, table, capsys, monkeypatch, *made)
