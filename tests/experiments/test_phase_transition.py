"""The main job, at a small size, from end to end."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

from experiments.common.output import read_records
from experiments.figures import phase_transition, phase_transition_report
from jaxflow import theory


def config(folder, **changes):
    small = phase_transition.Config(
        sizes=(400, 1_000, 4_000),
        cosines=(0.5, 1.0),
        cosine_size=1_000,
        points=120,
        output=folder,
    )
    return dataclasses.replace(small, **changes)


def test_a_first_figure_is_drawn_of_the_small_sizes(tmp_path, monkeypatch):
    """Of three sizes, when others follow; the records are in the order of the plan."""
    made = []

    def run(config, job):
        made.append(job)
        names = {"n": job.n, "method": job.method, "cosine": job.cosine}
        return xr.Dataset({k: ((), v) for k, v in names.items()})

    drawn: list[xr.Dataset] = []
    monkeypatch.setattr(phase_transition, "_run", run)
    settings = config(tmp_path, sizes=(400, 1_000, 4_000, 20_000), points=20)
    records = phase_transition.simulate(settings, drawn.append)
    (first,) = drawn
    assert sorted(set(first.n.values)) == [400, 1_000, 4_000]
    assert first.sizes["run"] == 7
    plan = phase_transition.planned(settings)
    assert set(made) == set(plan)
    found = zip(records.n, records.cosine, records.method, strict=True)
    assert [tuple(x.item() for x in row) for row in found] == plan
    phase_transition.simulate(config(tmp_path), drawn.append)
    assert len(drawn) == 1


@pytest.mark.slow
def test_simulates_writes_and_draws_again(tmp_path, capsys):
    folder = tmp_path / "run"
    phase_transition.main(config(folder))
    names = {path.name for path in folder.iterdir()}
    figures = {
        f"{n}.{s}" for n in ("phase_transition", "closed_form") for s in ("png", "pdf")
    }
    assert names == {"config.json", "records.nc", "summary.md"} | figures
    summary = (folder / "summary.md").read_text()
    told = capsys.readouterr()
    assert summary == told.out
    assert f"written to {folder}" in told.err
    assert "nan" not in summary
    records = read_records(folder)
    measured = phase_transition_report.measure(records)
    flow = measured.isel(run=np.flatnonzero(measured.method == "flow"))
    log_np = np.log(flow.n.values * 2.0)
    exact = theory.window(0.1, 2.0, log_np)
    np.testing.assert_allclose(flow.window.values[:, 1], exact, rtol=1e-4)
    for run in phase_transition_report._cosine_runs(records):
        corrected, printed = phase_transition_report.norm_errors(run, 0)
        assert np.max(np.abs(corrected)) < 1e-6
        if float(run.cosine) < 1:
            assert np.max(np.abs(printed)) > 0.1
    (folder / "summary.md").unlink()
    phase_transition.main(config(folder, redraw=True))
    assert (folder / "summary.md").read_text() == summary


def test_redraw_without_records_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="without --redraw"):
        phase_transition.main(config(tmp_path / "none", redraw=True))


@pytest.mark.parametrize(
    "change", [{"sizes": (101,)}, {"epsilon": 0.7}, {"points": 3}, {"sizes": (2,)}]
)
def test_a_bad_config_is_refused(tmp_path, change):
    with pytest.raises(ValueError):
        config(tmp_path, **change)
