"""Figure 5 at a small size from end to end."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
import xarray as xr

import jaxflow
from experiments.common.output import read_records
from experiments.figures import figure5
from experiments.figures import figure5_plot as _figure5_plot
from jaxflow._sampling.covered_initialisation import CoveredInitialisation

# One width and one padded size, so that each protocol compiles one program.
SMALL = figure5.Config(
    sizes=(59, 60), seeds=3, dimension=100, window=4, horizons=(0.5, 1.0), rows=60
)
FILES = {
    "records.nc", "config.json", "table.md", "summary.json", "figure5.png",
    "figure5.pdf", "runs",
}  # fmt: skip


def config(folder, **changes):
    return dataclasses.replace(SMALL, output=folder, **changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of each protocol, made when it is first asked for."""

    @functools.cache
    def make(protocol):
        here = config(tmp_path_factory.mktemp(protocol), protocol=protocol)
        figure5.main(here)
        return here

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    "protocol",
    ["released", *(pytest.param(p, marks=pytest.mark.slow) for p in ("paper", "flow"))],
)
def test_writes_everything_and_draws_it_again(made, protocol):
    here = made(protocol)
    assert {path.name for path in here.folder.iterdir()} == FILES
    for row in json.loads((here.folder / "summary.json").read_text()):
        assert set(row) == {
            "quantity", "paper", "released", "ours", "low", "high", "agrees", "target",
            "source", "note",
        }  # fmt: skip
        assert row["low"] <= row["high"]
    table = (here.folder / "table.md").read_text()
    (here.folder / "table.md").unlink()
    figure5.main(dataclasses.replace(here, redraw=True))
    assert (here.folder / "table.md").read_text() == table


@pytest.mark.slow
def test_the_same_numbers_from_the_same_seed(made, tmp_path):
    one, two = made("released"), config(tmp_path, protocol="released")
    figure5.main(two)
    xr.testing.assert_identical(read_records(one.folder), read_records(two.folder))
    for name in FILES - {"runs", "config.json", "records.nc"}:
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()


@pytest.mark.slow
def test_the_flow_has_nearly_the_measures_of_descent(made):
    flow, descent = (read_records(made(name).folder) for name in ("flow", "paper"))
    for name in _figure5_plot.MEASURES:
        np.testing.assert_allclose(flow[name], descent[name], rtol=0.15)


def one_run(here, n, seed, times, method, init):
    p = jaxflow.width_rule(n)
    key = jaxflow.run_key(jax.random.key(here.seed), n, here.dimension, p, seed)
    problem = jaxflow.sample_problem(key, n=n, d=here.dimension, init=init)
    return jaxflow.simulate(*problem, method, times=times), problem


@pytest.mark.slow
def test_the_measures_of_the_paper_are_those_of_its_text(made):
    here = made("paper")
    records = _figure5_plot.at_end(read_records(here.folder))
    n, seed = 60, 2
    steps = np.arange(here.times(n, 0, jaxflow.width_rule(n))[-1] + 1)
    method = jaxflow.GradientDescent(1.0)
    run, (data, _) = one_run(here, n, seed, steps, method, "gaussian")
    loss = np.asarray(run.loss)
    active = np.asarray(data.inputs.preactivations(run.final.w)) > 0
    covered = np.mean(np.asarray(run.final.a)[:, None] ** 2 * active, axis=0)
    mine = records.sel(n=n, seed=seed)
    for name, expected in {
        "mu": np.log(loss[-2] / loss[-1]),
        "average_mu": np.log(loss[0] / loss[-1]) / steps[-1],
        "lower": 2 / n * covered.min(),
        "upper": 16 / n * covered.max(),
        "mu_window": np.log(loss[-1 - here.window] / loss[-1]) / here.window,
    }.items():
        assert mine[name].item() == pytest.approx(expected, rel=1e-9), name


@pytest.mark.slow
def test_the_measures_of_the_release_are_windowed_and_end_at_a_small_loss(made):
    here = made("released")
    records = _figure5_plot.at_end(read_records(here.folder))
    assert np.all(records.uncovered == 0)
    n, seed = 60, 2
    mine = records.sel(n=n, seed=seed)
    assert mine.loss < figure5.SMALL_LOSS / (2 * n)
    steps = np.arange(mine.time.item() + 1)
    law = CoveredInitialisation(
        jaxflow.Initialisation(first_layer="uniform", first_layer_scale=0.01)
    )
    method = jaxflow.GradientDescent(1.0)
    loss = np.asarray(one_run(here, n, seed, steps, method, law)[0].loss)
    assert loss[-2] > figure5.SMALL_LOSS / (2 * n)
    last = loss[-1 - here.window :]
    expected = np.mean(2 * (last[:-1] - last[1:]) / (last[:-1] + last[1:]))
    # The window of the records may end a few steps before the run.
    assert mine.mu.item() == pytest.approx(expected, rel=5e-2)
    average = np.log(loss[0] / loss[-1]) / steps[-1]
    assert mine.average_mu.item() == pytest.approx(average, rel=1e-9)


def test_runs_that_lose_an_example_are_left_out_of_the_slopes():
    n = np.array([100, 200, 400])
    values = np.tile(n[:, None, None] ** -0.5, (1, 5, 1))
    names = ("mu", "average_mu", "upper", "mu_exact", "proved_lower", "proved_upper")
    records = xr.Dataset({name: (("n", "seed", "horizon"), values) for name in names})
    lower, loss = values.copy(), 1e-9 * values
    lower[1, 3], loss[1, 3] = 0, 1
    records["lower"] = (("n", "seed", "horizon"), lower)
    records["loss"] = (("n", "seed", "horizon"), loss)
    records["time"] = (("n", "seed", "horizon"), 1e3 * values)
    records = records.assign_coords(n=n, horizon=[1.0])
    records.attrs = {"protocol": "flow", "dimension": 500, "main_horizon": 1.0}
    end = _figure5_plot.at_end(records)
    kept = _figure5_plot.converged(end)
    assert _figure5_plot.fit(end, "lower", "mean-of-log") is None
    for name in _figure5_plot.MEASURES:
        law = _figure5_plot.fit(end, name, "log-of-mean", kept)
        assert law.exponent == pytest.approx(-0.5)
    table = _figure5_plot.make_table(records)
    assert "1 of them left an example unfitted" in table
    for row in _figure5_plot.summary(records):
        assert row["ours"] == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizons": (0.5,)}, "horizons must include 1"),
        ({"sizes": (40,)}, "at least two different"),
        ({"sizes": (40, 200)}, "at least two different"),
        ({"seeds": 1}, "seeds must be"),
        ({"window": 1}, "window must be"),
    ],
)
def test_a_bad_config_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        config(tmp_path, **change)


def test_horizons_within_one_window_are_refused(tmp_path):
    with pytest.raises(ValueError, match="closer than window"):
        figure5.simulate(config(tmp_path, protocol="paper", window=60))
