"""Figures 2 to 4 from end to end at tiny sizes."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot as plt

import jaxflow
from experiments.common import published as published
from experiments.common import thresholds as thresholds
from experiments.common.output import read_records, write_config, write_records
from experiments.common.protocols import Name, last_time, protocol
from experiments.figures import figure2, figure3, figure4, scaling
from experiments.figures import scaling_laws as scaling_laws
from experiments.figures.flow_law import PowerOfParameters
from experiments.figures.scaling_plot import draw_scaling
from jaxflow import LossBelow, LossFallen, Stationary, statistics

WRITTEN = {"config.json", "records.nc", "summary.json", "table.md"}
COLUMNS = {
    "quantity", "paper", "released", "ours", "low", "high", "agrees", "target",
    "source", "note",
}  # fmt: skip


def files(folder):
    return {path.name for path in folder.iterdir() if path.is_file()}


def same_numbers(one, other):
    assert read_records(one).identical(read_records(other))
    for name in ("summary.json", "table.md"):
        assert (one / name).read_text() == (other / name).read_text()


def tiny2(folder, **changes):
    config = figure2.Config(
        protocol="released", d=6, sizes=(12, 20, 48), seeds=6, output=folder
    )
    return dataclasses.replace(config, **changes)


@pytest.mark.slow
def test_figure_2_twice_from_one_seed_gives_the_same_numbers(tmp_path, capsys):
    first, second = tiny2(tmp_path / "a"), tiny2(tmp_path / "b")
    figure2.main(first)
    text = capsys.readouterr().out
    # In two goes: a run that was cut off goes on where it stopped.
    figure2.main(dataclasses.replace(second, seeds=2))
    figure2.main(second)
    assert files(first.folder) == WRITTEN | {"figure2.png", "figure2.pdf"}
    same_numbers(first.folder, second.folder)
    assert (first.folder / "table.md").read_text() == text
    (first.folder / "summary.json").unlink()
    figure2.main(dataclasses.replace(first, redraw=True))
    same_numbers(first.folder, second.folder)
    rows = json.loads((first.folder / "summary.json").read_text())
    assert rows and all(set(row) == COLUMNS for row in rows)


def test_a_grid_on_one_side_of_the_threshold_is_summed_up(tmp_path, capsys):
    config = figure2.Config(
        protocol="paper", d=6, sizes=(100, 110, 120, 130, 140), seeds=40,
        output=tmp_path, redraw=True,
    )  # fmt: skip
    runs = Known(protocol("paper"), lambda n, d, seed: False)
    p = thresholds.by_width_rule()
    runs.make([(n, 6, p(n)) for n in config.sizes], 40)
    runs.write(config.folder)
    write_config(config.folder, config, "experiments.figures.figure2")
    figure2.main(config)
    assert "0/40" in capsys.readouterr().out


@pytest.mark.slow
def test_another_seed_gives_other_runs(tmp_path, capsys):
    for name, seed in (("a", 0), ("b", 1)):
        figure2.main(tiny2(tmp_path / name, seed=seed, sizes=(12, 20), seeds=2))
    a, b = (read_records(tiny2(tmp_path / name).folder) for name in "ab")
    assert not np.any(a.initial_loss.values == b.initial_loss.values)


@pytest.mark.long
def test_the_flow_of_figure_2_is_searched_and_found_again(tmp_path, capsys):
    config = tiny2(
        tmp_path, protocol="flow", d=4, low=33, high=36, max_runs=8, given_up=2.0
    )
    figure2.main(config)
    text = capsys.readouterr().out
    assert "by t_∞" in text and "by 2 t_∞" in text
    figure2.main(dataclasses.replace(config, redraw=True))
    assert capsys.readouterr().out == text
    records = read_records(config.folder)
    assert not np.any(records.converged & records.stationary)
    assert np.all(records.final_time <= 2 * (1 + 1e-5))


@pytest.mark.long
@pytest.mark.parametrize("module", [figure3, figure4])
def test_scaling_figures(module, tmp_path, capsys):
    name = module.__name__.split(".")[-1]
    small = {"dimensions": (4, 6, 8), "p": 8} if module is figure3 else {}
    small = small or {"widths": (8, 12, 16), "d": 5}
    configs = [
        module.Config(protocol="paper", output=tmp_path / run, max_runs=16, **small)
        for run in "ab"
    ]
    for config in configs:
        module.main(config)
    folders = [config.output / "quick" / name / "paper" for config in configs]
    assert files(folders[0]) == WRITTEN | {f"{name}.png", f"{name}.pdf"}
    same_numbers(*folders)
    module.main(dataclasses.replace(configs[0], redraw=True))
    same_numbers(*folders)


@pytest.mark.slow
def test_the_flow_stands_beside_descent(tmp_path, capsys):
    protocols: dict[str, Name] = {
        "paper": "paper",
        "paper-by4": "paper",
        "flow-by4": "flow",
    }
    configs = {
        name: figure3.Config(
            protocol=own,
            dimensions=(10, 20, 40),
            p=3,
            max_runs=64,
            given_up=4.0 if name.endswith("-by4") else None,
            output=tmp_path,
            redraw=True,
        )
        for name, own in protocols.items()
    }
    found = {}
    # N = 6 d of descent, 7 d by 4 t_∞, and 9 d of the flow, blurred by ± 10 %.
    for (name, config), factor in zip(configs.items(), (6, 7, 9), strict=True):
        assert config.folder.name == name

        def converges(n, d, seed, factor=factor):
            return n < factor * d * (0.9 + (3 * n + 7 * seed) % 5 / 20)

        runs = Known(protocol(config.protocol, config.given_up), converges)
        config.scaling.search(runs, config.search)
        write_config(config.folder, config, "experiments.figures.figure3")
        runs.write(config.folder)
        figure3.main(config)
        text = capsys.readouterr().out
        assert ("N of descent" in text) == (name == "flow-by4")
        found[name] = config.scaling.search(runs, config.search)
    rows = json.loads((configs["flow-by4"].folder / "summary.json").read_text())
    for beside, when, about in (
        ("paper", "by t_∞", 9 / 6),
        ("paper-by4", "by 4 t_∞", 9 / 7),
    ):
        ratios = [row for row in rows if f"over N of descent {when}" in row["quantity"]]
        assert len(ratios) == 3
        for row, d in zip(ratios, (10, 20, 40), strict=True):
            flow, descent = (found[name][d].threshold for name in ("flow-by4", beside))
            expected = flow.estimate / descent.estimate
            np.testing.assert_allclose(row["ours"], expected, rtol=1e-5)
            assert abs(row["ours"] - about) < 0.15
            assert row["low"] < row["ours"] < row["high"]


def test_a_table_is_drawn_again_as_it_was_made(tmp_path, capsys):
    config = figure3.Config(
        protocol="paper", dimensions=(10, 20, 40), p=3, max_runs=40, output=tmp_path
    )
    runs = Known(
        protocol("paper"), lambda n, d, seed: n < d * (5.5 + (3 * n + 7 * seed) % 5 / 4)
    )
    config.scaling.search(runs, config.search)
    write_config(config.folder, config, "experiments.figures.figure3")
    runs.write(config.folder)
    figure3.main(figure3.Config(protocol="paper", output=tmp_path, redraw=True))
    text = capsys.readouterr().out
    figure3.main(dataclasses.replace(config, redraw=True))
    assert capsys.readouterr().out == text


def test_another_dimension_is_added_to_the_records(tmp_path, capsys, monkeypatch):
    """Nothing that records.nc holds is run again."""
    config = figure3.Config(
        protocol="paper", dimensions=(10, 20), p=3, max_runs=40, output=tmp_path
    )
    made = Known(protocol("paper"), lambda n, d, seed: n < d * (5 + (n + seed) % 3))
    config.scaling.search(made, config.search)
    write_config(config.folder, config, "experiments.figures.figure3")
    made.write(config.folder)
    more = dataclasses.replace(config, dimensions=(10, 20, 40), from_records=True)
    run = []

    def pretended(self, cells, seeds):
        run.extend(cells)
        made.make(cells, seeds.stop)
        self.known |= made.known

    monkeypatch.setattr(thresholds.Runs, "_make", pretended)
    figure3.main(more)
    assert run and {d for _, d, _ in run} == {40}
    assert set(read_records(config.folder).d.values.tolist()) == {10, 20, 40}
    text = capsys.readouterr().out
    figure3.main(dataclasses.replace(more, from_records=False, redraw=True))
    assert capsys.readouterr().out == text
    with pytest.raises(ValueError, match=r"runs at d = \[20, 40\] too"):
        figure3.main(dataclasses.replace(more, dimensions=(10, 80)))
    with pytest.raises(ValueError, match=r"runs of \(seed, p\) = \(0, 3\)"):
        figure3.main(dataclasses.replace(more, seed=1))
    with pytest.raises(ValueError, match="redraw makes no run"):
        dataclasses.replace(more, redraw=True)


def test_a_search_that_goes_another_way_is_drawn_from_what_was_found(tmp_path, capsys):
    """Rounding decides between points that tell equally much: elsewhere a search may
    ask for runs that the records do not hold."""
    config = figure3.Config(
        protocol="paper", dimensions=(10, 20, 40), p=3, max_runs=40, output=tmp_path
    )
    runs = Known(
        protocol("paper"), lambda n, d, seed: n < d * (5.5 + (3 * n + 7 * seed) % 5 / 4)
    )
    made = config.scaling.search(runs, config.search)
    write_config(config.folder, config, "experiments.figures.figure3")
    runs.write(config.folder)
    redraw = dataclasses.replace(config, redraw=True)
    figure3.main(redraw)
    written = [config.folder / name for name in ("summary.json", "table.md")]
    before, text = [path.read_bytes() for path in written], capsys.readouterr().out
    picture = config.folder / "figure3.png"
    whole = picture.read_bytes()
    picture.unlink()
    runs.known.pop(next(name for name in runs.known if name[1] == 20))
    runs.write(config.folder)
    figure3.main(redraw)
    assert capsys.readouterr().out == text
    assert [path.read_bytes() for path in written] == before
    # To six digits the same picture, laws and slope with it.
    assert abs(len(picture.read_bytes()) - len(whole)) < 0.01 * len(whole)
    kept = scaling.searches_in(config.folder, config.scaling)
    before_laws, after = (scaling_laws.scaling_laws(found) for found in (made, kept))
    assert before_laws is not None and after is not None
    assert after.ranked.keys() == before_laws.ranked.keys()
    np.testing.assert_allclose(after.slope, before_laws.slope, rtol=1e-4)


@pytest.mark.parametrize("horizons", [(), (1.0,), (1.0, 4.0)])
def test_the_legend_has_at_most_five_entries(horizons):
    config = figure3.Config(protocol="flow", given_up=4.0, dimensions=(10, 20, 40), p=3)
    runs = Known(
        protocol("flow", 4.0),
        lambda n, d, seed: n < d * (8.5 + (3 * n + 7 * seed) % 5 / 4),
    )
    found = config.scaling.search(runs, config.search)
    beside = {value: search.threshold for value, search in found.items()}
    figure = draw_scaling(config.scaling, runs, found, dict.fromkeys(horizons, beside))
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert len(texts) <= 5
    # Two laws at least, and as many lines as the legend names.
    laws = [text for text in texts if "weight" in text]
    styles = {line.get_linestyle() for line in figure.axes[0].lines} - {"None"}
    assert len(laws) == len(styles) >= 2
    assert sum("descent by" in text.replace("$", "") for text in texts) == (
        len(horizons) > 0
    )
    plt.close(figure)


def test_redraw_without_records_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="without --redraw"):
        figure2.main(tiny2(tmp_path, redraw=True))
    runs = thresholds.Runs(protocol("paper"))
    with pytest.raises(ValueError, match="without --redraw"):
        runs.make([(8, 6, 4)], 1)


class Known(thresholds.Runs):
    """Runs whose outcome is known, in place of any that are made."""

    def __init__(self, protocol, converges):
        super().__init__(protocol)
        self.converges = converges

    def make(self, sizes, seeds):
        for n, d, p in sizes:
            for seed in range(seeds):
                converged = self.converges(n, d, seed)
                met = 1.0 if converged else np.inf
                ended = thresholds.Outcome(1.0, 0.5, 1.0, converged, False, 1, met)
                self.known.setdefault((n, d, p, seed), ended)


def test_every_run_asked_for_is_a_fresh_one():
    """A search that comes back to an n gets another seed there."""
    runs = Known(protocol("paper"), lambda n, d, seed: n < 100)
    how = thresholds.Search(precision=0.02, batch=8, max_runs=200)
    found = runs.search(10, lambda n: 3, 60, 140, how)
    assert found.precise and abs(found.threshold.estimate - 100) < 3
    # A run is made for each that the search used, and no other.
    n, _, made = runs.counts(10, lambda n: 3)
    for size, total in zip(n, made, strict=True):
        assert total == np.sum(found.n == size)
    again = thresholds.Runs(protocol("paper"), runs.known)
    repeated = again.search(10, lambda n: 3, 60, 140, how)
    np.testing.assert_array_equal(repeated.n, found.n)


def test_the_protocols_are_as_stated():
    paper, released, flow = (protocol(name) for name in ("paper", "released", "flow"))
    assert (paper.init, released.init, flow.init) == ("gaussian", "uniform", "gaussian")
    assert paper.times(1650, 100, 37) == [0.0, last_time(1650, 37)]
    pairs = 1650 * 37
    expected = 1.5 * np.sqrt(pairs) / 4 * np.log(pairs)
    np.testing.assert_allclose(last_time(1650, 37), expected, rtol=1e-5)
    early = protocol("flow", 4.0)
    assert early.horizons == (1.0, 2.0, 4.0) and not early.decided
    assert protocol("flow", 2.0).horizons == (1.0, 2.0)
    assert paper.horizons == (1.0,)
    assert protocol("paper", 4.0).horizons == early.horizons
    # Past the certificate, until a run is decided.
    assert flow.decided and flow.dtype == "float64" and early.dtype == "float32"
    assert {1.0, 2.0, 4.0, 8.0, 16.0, 32.0} < set(flow.horizons)
    assert flow.horizons[-1] == 64.0
    assert [type(stop) for stop in flow.stop] == [LossFallen, Stationary]
    assert [type(stop) for stop in early.stop] == [LossBelow, Stationary]
    fallen = protocol("paper", 64.0, decided=True).stop[0]
    assert isinstance(fallen, LossFallen) and fallen.to == 1e-12


def test_the_published_points_scale_as_was_stated():
    """15.2 d − 252 and slope 1.71; 72.4 log p − 42.8 and 0.23: what their authors'
    figures give, of which not every point is here."""
    by_d = scaling_laws.Laws.of(
        *scaling_laws.columns(published.RELEASED_THRESHOLD_BY_D)
    )
    by_p = scaling_laws.Laws.of(
        *scaling_laws.columns(published.RELEASED_THRESHOLD_BY_P)
    )
    assert abs(by_d.slope - 1.71) < 0.02
    assert abs(by_p.slope - 0.23) < 0.05
    assert abs(by_d.ranked["linear"].parameters[1] - 15.2) < 0.5
    assert abs(by_p.ranked["logarithmic"].parameters[1] - 72.4) < 10


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: figure2.Config(sizes=(0,)), "sizes"),
        (lambda: figure2.Config(seeds=0), "seeds"),
        (lambda: figure3.Config(dimensions=(1,)), "dimensions"),
        (lambda: figure4.Config(widths=(0,)), "widths"),
        (lambda: figure2.Config(given_up=0.0), "given_up"),
        (lambda: figure3.Config(given_up=-1.0), "given_up"),
    ],
)
def test_a_bad_config_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_rows_hold_what_json_can():
    row = thresholds.row("N", ours=np.float64(np.inf), low=np.float32(1.5))
    assert row["ours"] is None and row["low"] == 1.5
    json.dumps(row, allow_nan=False)
    fit = statistics.fit_threshold([1, 2, 3], [4, 4, 4], 4)
    assert thresholds.interval(fit) == "> 3"
    failed = statistics.fit_threshold([1, 2, 3], [0, 0, 0], 4)
    assert thresholds.interval(failed) == "< 1"


def test_a_local_fit_leaves_out_what_lies_far():
    n = np.arange(1000, 2001, 50)
    k = np.where(n < 1500, 80, 0)
    k[n == 1500] = 40
    # A tail that no logistic function has.
    k[n == 1000] = 40
    m = np.full(len(n), 80)
    near = np.abs(n - 1500) <= thresholds.LOCAL * 1500
    expected = statistics.fit_threshold(n[near], k[near], m[near])
    assert thresholds.about(n, k, m) == expected
    assert statistics.fit_threshold(n, k, m).estimate < expected.estimate - 20


def test_records_of_runs_that_the_certificate_ended_can_be_read(tmp_path):
    runs = Known(protocol("paper"), lambda n, d, seed: n < 100)
    runs.make([(90, 10, 3), (110, 10, 3)], 2)
    runs.write(tmp_path)
    records = read_records(tmp_path)
    later = ["certified_time", "certified_loss", "proved_time", "proved_loss"]
    write_records(tmp_path, records.drop_vars(later))
    read = thresholds.Runs.read(tmp_path, protocol("paper"))
    for name, run in runs.known.items():
        again = read.known[name]
        assert again.converged == run.converged
        for horizon in (0.5, 1.0, np.inf):
            assert again.certified_by(horizon) == run.certified_by(horizon)
        assert run.certified_by(np.inf) == run.converged
    assert read.known[90, 10, 3, 0].certified_loss == 0.5


@pytest.mark.slow
def test_one_run_says_when_it_is_certified_and_that_it_goes_to_zero(tmp_path):
    flow, n, d, p = protocol("flow"), 12, 4, 8
    runs = thresholds.Runs(flow, folder=tmp_path / "runs")
    runs.make([(n, d, p)], 2)
    times = jnp.array([0.0, 64 * last_time(n, p)])
    for seed, run in enumerate(runs.at(n, d, p)):
        key = jaxflow.run_key(jax.random.key(0), n, d, p, seed)
        data, network = jaxflow.sample_problem(key, n=n, d=d, p=p, inputs="sphere")
        ended = jaxflow.simulate(
            data, network, flow.method, times=times, stop=LossBelow(), observe={}
        )
        met = ended.result == jaxflow.Results.loss_below
        assert bool(met) == run.certified_by(64)
        if met:
            when = float(ended.final_time) / last_time(n, p)
            assert 0.99 * when <= run.certified_time
            assert run.certified_time <= max(1.2 * when, 0.25)
            assert run.certified_loss <= 1.01 * float(ended.final_loss)
        # What is proved comes true, and at a loss that is larger by far.
        if run.proved_time < 60:
            assert run.final_loss < 0.1 * run.proved_loss
        assert run.converged == (
            run.proved_time <= 64 or run.final_loss <= 1e-12 * run.initial_loss
        )


def test_powers_of_the_number_of_parameters():
    pd = np.array([300.0, 420, 600, 840])
    one = PowerOfParameters.of(pd, 0.7 * pd, 0.02 * pd)
    assert abs(one.proportional - 0.7) < 1e-9 and abs(one.b - 1) < 1e-9
    assert one.p_proportional > 0.99 and one.low < 1 < one.high
    other = PowerOfParameters.of(pd, 0.5 * pd**1.2, 0.02 * 0.5 * pd**1.2)
    assert abs(other.b - 1.2) < 1e-9 and other.low > 1.1
    assert other.p_proportional < 1e-4 and other.p_power > 0.99
