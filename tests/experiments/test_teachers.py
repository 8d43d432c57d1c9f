"""Question 3, at a small size, and what is said of the ends of runs."""

import jax
import numpy as np
import pytest
import xarray as xr
from scipy.optimize import minimize

import jaxflow
from experiments.common.output import read_records
from experiments.common.protocols import TOLERANCE, last_time
from experiments.open_questions import ends, teachers, teachers_runs, teachers_table
from experiments.open_questions.teachers_runs import Cell, matched, problem

from .again import nothing_is_made_again


def test_labels_of_a_teacher_are_those_of_its_formula():
    data, network, teacher = problem(Cell(4, 5, 30, "3"), 1, 0)
    assert teacher is not None
    v, b = teacher
    np.testing.assert_allclose(
        data.y, b @ np.maximum(v @ np.asarray(data.x).T, 0), rtol=1e-6, atol=1e-6
    )
    # Other labels on the same inputs, from the same start.
    for kind in ("random", "3 shuffled", "3+noise", "7"):
        other, start, _ = problem(Cell(4, 5, 30, kind), 1, 0)
        np.testing.assert_array_equal(other.x, data.x)
        np.testing.assert_array_equal(start.w, network.w)
        assert not np.allclose(other.y, data.y)
    shuffled, *_ = problem(Cell(4, 5, 30, "3 shuffled"), 1, 0)
    np.testing.assert_array_equal(np.sort(shuffled.y), np.sort(data.y))
    # One teacher for all n.
    *_, again = problem(Cell(4, 5, 20, "3"), 1, 0)
    assert again is not None
    np.testing.assert_array_equal(again[0], v)


def test_labels_have_the_mean_square_of_the_paper():
    squares = [
        np.mean(np.square(problem(Cell(8, 1, 4000, kind), k, 0)[0].y))
        for kind in ("16", "random")
        for k in range(6)
    ]
    assert np.mean(squares[6:]) == pytest.approx(teachers_runs.MEAN_SQUARE, rel=0.02)
    # Between teachers it varies by a third.
    assert np.mean(squares[:6]) == pytest.approx(teachers_runs.MEAN_SQUARE, rel=0.5)


def test_neurons_are_matched_by_direction_and_sign():
    v, b = np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([1.0, -1.0])
    w = np.array([[1.0, 0.05], [0.0, 2.0], [-1.0, 1.0]])
    # The second one lies on a neuron of the other sign.
    assert matched(v, b, w, np.array([3.0, 1.0, 1.0])) == pytest.approx(
        (0.5, 3 * np.hypot(1, 0.05) / (3 * np.hypot(1, 0.05) + 2 + 2**0.5))
    )
    assert matched(v, b, w, np.array([3.0, -1.0, 1.0]))[0] == 1.0


def test_times_and_exponents_of_known_losses():
    """L = t⁻² beside L = exp(−t)."""
    at = ends.looks(64.0)
    losses = np.array([np.minimum(1, at**-2.0), np.exp(-at)])
    runs = xr.Dataset(
        {
            "losses": (("run", "look"), losses),
            "end": ("run", [64.0, 64.0]),
            "rest": ("run", losses[:, -1]),
        },
        attrs={"last": 64.0},
    )
    times = teachers_table.times_to(runs, 1e-3)
    assert times[0] == pytest.approx(1e3**0.5, rel=0.05)
    assert times[1] == pytest.approx(3 * np.log(10), rel=1e-6)
    assert np.isinf(teachers_table.times_to(runs, 1e-30)).all()
    assert teachers_table.exponents(runs, 4, 16)[0] == pytest.approx(-2)
    np.testing.assert_array_equal(teachers_table.power_is_nearer(runs), [True, False])


def test_wrong_settings_are_refused():
    for wrong in (dict(kinds=("0",)), dict(kinds=("4 noise",)), dict(seeds=1)):
        with pytest.raises(ValueError, match=r"labels|seeds"):
            teachers.Config(**wrong)
    with pytest.raises(ValueError, match="last"):
        teachers.Config(last=0.5)


@pytest.mark.parametrize("slope", [0.0, 0.25])
def test_least_eigenvalue_and_slides_are_those_of_the_tangent_kernel(slope):
    random = np.random.default_rng(5)
    x, w = random.normal(size=(9, 3)), random.normal(size=(4, 3))
    # Neuron 0 is on the kink of example 0, neuron 1 on those of 1 and 2.
    w[0] -= w[0] @ x[0] / (x[0] @ x[0]) * x[0]
    w[1] = np.cross(x[1], x[2])
    a = np.array([1.0, -2.0, 0.5, 1.5])
    with jax.enable_x64(True):
        network = jaxflow.Network(w, a, negative_slope=slope)
        # Residuals that hold the three pairs on their kinks: pushed back by their own,
        # and with a multiplier of 0.6 at rest, by which those of 3 to 8 are found.
        r = -0.3 * np.sign([a[0], a[1], a[1], *([0.0] * 6)])
        gates = np.where(w @ x.T > 0, 1, slope)
        gates[0, 0] = gates[1, 1] = gates[1, 2] = 0.6
        pushes = np.array([gates[j] * (x @ x[i]) for j, i in ((0, 0), (1, 1), (1, 2))])
        r[3:] = np.linalg.lstsq(pushes[:, 3:], -pushes @ r)[0]
        y = np.asarray(jaxflow.predict(network, x)) + r
        kernel = jaxflow.tangent_kernel(jaxflow.Dataset(x, y), network)
        found = ends.reached(x, y, w, a, slope)
        matrix = np.stack([np.asarray(kernel.times(row)) for row in np.eye(9)])
    assert found["sliding"] == np.asarray(kernel.slides).sum() == 3
    values = np.linalg.eigvalsh(matrix)
    assert (values > 1e-9 * values[-1]).sum() <= found["free"] < 12
    assert found["least"] == pytest.approx(9 * values[0], rel=1e-6, abs=1e-12)


def test_a_pattern_holds_the_labels_of_its_own_networks_alone():
    random = np.random.default_rng(1)
    x, w, a = random.normal(size=(12, 3)), random.normal(size=(6, 3)), np.ones(6)
    pattern = w @ x.T > 0
    # Another network of the same pattern: its labels are those of an interpolator.
    other = w + 0.02 * random.normal(size=w.shape)
    assert ((other @ x.T > 0) == pattern).all()
    y = 2 * np.maximum(other @ x.T, 0).sum(0) / 6
    assert ends.holds_interpolator(x, y, w, a)
    # Neurons that are positive all of them have no negative labels.
    assert not ends.holds_interpolator(x, y - 5, w, a)
    assert not ends.holds_interpolator(x, y, w, -a)


@pytest.mark.slow
def test_what_is_stuck_is_at_the_minimum_of_its_cell():
    """The best loss over the cell, by another solver, is the loss that is left."""
    with jax.enable_x64(True):
        for seed in range(12):
            data, network, _ = problem(Cell(3, 4, 24, "random"), seed, 0)
            final, row = ends.run_to_its_end(data, network, 64.0)
            if row["stuck"]:
                break
        x, y, w, a = map(np.asarray, (data.x, data.y, final.w, final.a))
    assert row["stuck"] and not row["interpolable"]
    active = w @ x.T > 0

    def loss(u):
        h = np.sign(a) @ (np.where(active, u.reshape(4, 3) @ x.T, 0)) / 4
        return np.mean((y - h) ** 2) / 2

    walls = {
        "type": "ineq",
        "fun": lambda u: (
            np.where(active, 1, -1).ravel() * (u.reshape(4, 3) @ x.T).ravel()
        ),
    }
    start = (np.abs(a)[:, None] * w).ravel()
    best = minimize(loss, start, constraints=walls, options={"ftol": 1e-12})
    assert best.fun == pytest.approx(loss(start), rel=1e-3)


@pytest.mark.slow
def test_the_slow_end_is_not_one_of_the_tolerance():
    """A hundredth of the tolerance gives the same losses, up to 64 t_∞."""
    times = np.array([0.0, 4.0, 16.0, 64.0]) * last_time(40, 16)
    with jax.enable_x64(True):
        for seed in (1, 2, 3):
            data, network, _ = problem(Cell(5, 16, 40, "1"), seed, 0)
            usual, finer = (
                jaxflow.simulate(
                    data, network, jaxflow.FilippovFlow(tolerance), times=times
                ).loss
                for tolerance in (TOLERANCE, TOLERANCE / 100)
            )
            np.testing.assert_allclose(usual, finer, rtol=0.03)
            assert usual[-1] > 1e-8 * usual[0]


@pytest.mark.slow
def test_teachers_from_config_to_figure(tmp_path, capsys, monkeypatch):
    config = teachers.Config(kinds=("1", "random"), seeds=2, last=4.0, output=tmp_path)
    teachers.main(config)
    table = capsys.readouterr().out
    assert "nan" not in table
    files = {path.name for path in config.folder.iterdir() if path.is_file()}
    assert files == {
        "config.json",
        "records.nc",
        "table.md",
        "teachers.png",
        "teachers.pdf",
    }
    records = read_records(config.folder)
    assert records.sizes["run"] == 3 * 2 * 2
    assert not (records.stuck & records.interpolable).any()

    made = (teachers_runs, "_run")
    nothing_is_made_again(teachers, config, table, capsys, monkeypatch, made)
