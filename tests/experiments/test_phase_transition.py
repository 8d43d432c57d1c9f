"""The main job, at a small size, from end to end."""

import dataclasses

import numpy as np
import pytest

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
    assert summary == capsys.readouterr().out
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
