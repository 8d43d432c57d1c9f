"""The known results, at a small size: what is found, by its numbers."""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from experiments.common.output import read_records
from experiments.known_results import (
    common,
    early_alignment,
    edge_of_stability,
    saddle_to_saddle,
    second_layer_collapse,
    three_points,
    two_neurons,
)


def produced(module, config, folder, capsys):
    """The records, after the whole way from the config to the figure, twice."""
    name = module.__name__.rpartition(".")[2]
    rest = (name, module.simulate, module.findings, module.draw)
    config = dataclasses.replace(config, output=folder / name)
    common.produce(config, *rest)
    summary = capsys.readouterr().out
    files = {"config.json", "records.nc", "summary.md", f"{name}.png", f"{name}.pdf"}
    assert {path.name for path in config.output.iterdir()} == files
    assert "nan" not in summary
    common.produce(dataclasses.replace(config, redraw=True), *rest)
    assert capsys.readouterr().out == summary
    return read_records(config.output)


@pytest.mark.slow
def test_early_alignment_ends_at_least_squares(tmp_path, capsys):
    config = early_alignment.Config(scales=(1e-5, 1.0), seeds=8)
    records = produced(early_alignment, config, tmp_path, capsys)
    x, y = three_points.X, three_points.TARGETS
    small, large = records.isel(scale=0), records.isel(scale=1)
    # Aligned before the loss moves.
    moved = int(np.argmax(small.loss.values < 0.99 * small.loss.values[0]))
    w, a = small.w.values, small.a.values
    growing = (a[0] > 0) & (w[0] @ x.T > 0).any(1)
    assert growing.sum() >= 3
    d = y @ x / np.linalg.norm(y @ x)
    cosines = w[:, growing] @ d / np.linalg.norm(w[:, growing], axis=2)
    assert np.min(cosines[0]) < 0.9
    assert np.min(cosines[moved]) > 1 - 1e-6
    # Those with a < 0 are left with no point.
    assert np.max(w[-1][a[0] < 0] @ x.T) < 1e-12
    # Stuck at the fit by a line, by the normal equations; the large start is not.
    beta = np.linalg.solve(x.T @ x, x.T @ y)
    stuck = np.mean((y - x @ beta) ** 2) / 2
    np.testing.assert_allclose(small.loss.values[-1], stuck, rtol=1e-6)
    assert large.loss.values[-1] < 1e-8
    assert float(small.interpolating) == 0 and float(large.interpolating) >= 0.5
    # The closed form of the angles on the way.
    whole = three_points.groups(small)[0]
    closed = np.radians(three_points.closed_form(small))
    early = small.time.values < 5
    angle = np.arccos(
        np.clip(w[:, whole] @ d / np.linalg.norm(w[:, whole], axis=2), -1, 1)
    )
    assert whole.any()
    np.testing.assert_allclose(np.abs(closed)[early], angle[early], atol=1e-5)


@pytest.mark.slow
def test_saddle_to_saddle_jumps_at_the_predicted_times(tmp_path, capsys):
    config = saddle_to_saddle.Config(scales=(1e-3, 1e-10, 1e-20), p=40)
    records = produced(saddle_to_saddle, config, tmp_path, capsys)
    y, n = saddle_to_saddle.TARGETS, len(saddle_to_saddle.TARGETS)
    logs = np.log(1 / records.scale.values)
    for k, group in enumerate((y > 0, y < 0)):
        predicted = n / np.sqrt(np.sum(y[group] ** 2))
        times = records.jump.values[:, k]
        slope = (times[2] - times[1]) / (logs[2] - logs[1])
        np.testing.assert_allclose(slope, predicted, rtol=1e-3)
        # t/log(1/s) itself comes near it as 1/log(1/s) does.
        away = times / logs - predicted
        np.testing.assert_allclose(away[1] / away[2], 2, rtol=0.02)
    last = records.isel(scale=-1)
    plateau = (last.tau > 2.7) & (last.tau < 3.5)
    between = np.sum(y[y < 0] ** 2) / (2 * n)
    np.testing.assert_allclose(last.loss[plateau], between, rtol=1e-4)


@pytest.mark.slow
def test_descent_stays_at_the_edge_of_stability(tmp_path, capsys):
    config = edge_of_stability.Config(
        learning_rates=(0.4, 1.0), n=60, d=15, p=30, last_time=300, points=101
    )
    records = produced(edge_of_stability, config, tmp_path, capsys)
    _, stable, edge = records.sharpness.values
    along, flow = records.sharpness.values[0], records.beside.values[0]
    # The flow's sharpness goes beyond 2/η of the larger rate only.
    assert flow[0] < 1 and 2.2 < flow[-1] < 4.5
    assert np.all(stable < 2 / 0.4)
    np.testing.assert_allclose(stable[50:], flow[50:], rtol=0.1)
    # Along its slides the flow is less sharp.
    assert np.all(along[50:] < 0.95 * flow[50:])
    np.testing.assert_allclose(np.median(edge[50:]), 2 / 1.0, rtol=0.1)
    rising = records.rising.values
    assert rising[0] == rising[1] == 0 and rising[2] > 0.05
    assert records.loss.values[2, -1] < 0.1 * records.loss.values[2, 0]


@pytest.mark.slow
def test_the_second_layer_collapses_below_the_boundary(tmp_path, capsys):
    config = second_layer_collapse.Config(strengths=(100.0, 1e4))
    records = produced(second_layer_collapse, config, tmp_path, capsys)
    z, ratio = two_neurons.Z[1], records.ratio.values
    d = np.stack([np.ones_like(ratio), -ratio])
    cosine = z @ d / np.linalg.norm(z) / np.linalg.norm(d, axis=0)
    away = np.maximum(cosine, 0) - records.edge.values
    assert np.all(away > -1e-3)
    assert np.max(away[1]) < 0.015
    # As 1/√y₁.
    np.testing.assert_allclose(np.max(away[0]) / np.max(away[1]), 10, rtol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("k", [3, 16])
def test_the_boundary_of_the_collapse_against_scipy(k):
    """Both sides of what bisection found, by an integrator of SciPy's."""
    module = second_layer_collapse
    records = module.simulate(module.Config(strengths=(100.0,)))
    ratio, edge = float(records.ratio[k]), float(records.edge[0, k])
    y = 100 * np.array([1, -ratio])

    def velocity(t, state):
        z, a = state[:4].reshape(2, 2), state[4:]
        r = y - a @ np.maximum(z, 0) / 2
        dz = a[:, None] * r * (z > 0) / 2
        return np.concatenate([dz.ravel(), np.maximum(z, 0) @ r / 2])

    for delta, lost in ((edge - 0.01, True), (edge + 0.01, False)):
        a = delta * np.linalg.norm(two_neurons.Z, axis=1) * [1, -1]
        start = np.concatenate([two_neurons.Z.ravel(), a])
        end = solve_ivp(velocity, (0, 0.5 / ratio), start, rtol=1e-8, atol=1e-10)
        assert bool(np.all(end.y[[1, 3], -1] <= 0)) is lost


def test_bad_configs_are_refused():
    with pytest.raises(ValueError, match="scales must fall"):
        saddle_to_saddle.Config(scales=(1e-5, 1e-3))
    with pytest.raises(ValueError, match="take a larger p"):
        saddle_to_saddle.problem(saddle_to_saddle.Config(p=1), 1e-3)
    with pytest.raises(ValueError, match="learning rate"):
        edge_of_stability.Config(learning_rates=(3.0,))
    with pytest.raises(ValueError, match="positive"):
        edge_of_stability.Config(learning_rates=(0.0, 1.0))
    with pytest.raises(ValueError, match="positive"):
        second_layer_collapse.Config(strengths=(-1.0,))
