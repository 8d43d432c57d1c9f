"""Many neurons, at a small size."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
import xarray as xr

import jaxflow
from experiments.open_questions import decided, many_neurons, many_neurons_table
from experiments.open_questions.common import fall_time
from experiments.open_questions.many_neurons_runs import LOOKS, problem, start

from .decided_runs import decided_runs


def test_when_a_loss_has_fallen():
    times = np.linspace(0, 10, 11)
    loss = 3 * np.exp(-times)
    assert fall_time(times, loss, 0.1 * loss[0]) == pytest.approx(np.log(10))
    assert fall_time(times, loss, 1e-9 * loss[0]) == np.inf
    assert fall_time(times[1:], loss[1:], loss[0]) == times[1]


def test_groups_count_what_became_of_their_runs():
    rows = decided_runs(
        [
            ("sphere", 4, 2, 3, 1, 0, 0.5),
            ("sphere", 4, 2, 3, 0, 1, 9.0),
            ("sphere", 4, 2, 3, 0, 0, 9.0),
            ("sphere", 4, 2, 5, 1, 0, 0.7),
            ("orthogonal", 4, 2, 3, 1, 0, 0.9),
        ]
    )
    first, second = decided.groups(rows, "sphere")
    assert (first.p, second.p) == (3, 5)
    assert first.share.estimate == pytest.approx(1 / 3)
    assert (first.undecided, second.undecided) == (1, 0)
    assert first.rate[0] == pytest.approx(2 * 0.5)
    (other,) = decided.groups(rows, "orthogonal")
    assert other.rate[0] == pytest.approx(2 * 0.9)


def test_coverage_by_counting_every_case():
    n, p = 3, 3
    coins = np.array(list(itertools.product((False, True), repeat=p * n)))
    active = coins.reshape(-1, p, n)
    signs = np.array(list(itertools.product((False, True), repeat=n)))
    count = 0
    for a in itertools.product((False, True), repeat=p):
        right = np.array(a)[:, None] == signs[:, None, :]
        found = (active[:, None] & right[None]).any(axis=2).all(axis=2)
        count += found.mean()
    assert many_neurons_table.covered(n, p) == pytest.approx(count / 2**p, rel=1e-12)


@pytest.mark.parametrize("inputs, d", [("orthogonal", 6), ("sphere", 5)])
def test_losses_at_the_start_against_drawn_networks(inputs, d):
    data = problem(inputs, 6, d, seed=3)
    known = start(data, d)
    gram, y = np.asarray(data.inputs.gram()), np.asarray(data.targets)
    rng, p, draws = np.random.default_rng(0), 30, 8000
    # Inputs of this Gram matrix in R^d.
    values, vectors = np.linalg.eigh(gram)
    x = (vectors * np.sqrt(np.maximum(values, 0)))[:, -d:]
    w = rng.normal(size=(draws, p, d)) / np.sqrt(d)
    sizes = np.linalg.norm(w, axis=2) + rng.exponential(size=(draws, p))
    a = sizes * rng.choice([-1, 1], size=(draws, p))
    h = np.einsum("kj,kji->ki", a, np.maximum(w @ x.T, 0)) / p
    loss = ((y - h) ** 2).sum(axis=1) / 12
    error = loss.std() / np.sqrt(draws)
    assert loss.mean() == pytest.approx(known.loss + known.bias / p, abs=4 * error)
    # The bias itself is seen, and the spread is that of the limit to O(1/p).
    assert known.bias / p > 8 * error
    assert loss.std() == pytest.approx(known.loss_spread / np.sqrt(p), rel=0.1)


def test_the_exponent_of_the_scatter():
    p, networks = np.array([8, 32, 64, 128, 256]), 200
    noise = np.random.default_rng(0).normal(size=(len(p), networks, len(LOOKS)))
    dims = ("p", "seed", "time")
    falling = np.exp(0.3 * noise / np.sqrt(p)[:, None, None])
    fit = many_neurons_table.exponent(
        xr.Dataset({"loss": (dims, falling)}, coords={"p": p}), 2, 32
    )
    assert fit.low < -1 < fit.high and fit.high < -0.7
    same = xr.Dataset({"loss": (dims, np.exp(noise))}, coords={"p": p})
    fit = many_neurons_table.exponent(same, 2, 32)
    assert fit.low < 0 < fit.high and fit.low > -0.3
    spread = many_neurons_table.spread(same, "loss")
    np.testing.assert_allclose(spread, noise.std(axis=1, ddof=1).T)


def test_thresholds_find_the_least_width():
    n, d = 60, 5
    rows = [
        ("sphere", n, d, p, int(p > 20), int(p <= 10), 1.0)
        for p in (5, 10, 15, 18, 25, 40)
        for _ in range(10)
    ]
    found = decided.groups(decided_runs(rows), "sphere")
    (strict,) = many_neurons_table.thresholds(found)
    (generous,) = many_neurons_table.thresholds(found, True)
    assert 18 < n / (d * strict[2].estimate) < 25
    # p = 15 and 18 are undecided.
    assert 10 < n / (d * generous[2].estimate) < 15


def test_config_of_many_neurons():
    full = many_neurons.Config(size="full")
    cells = full.cells()
    names = [cell.name for cell, _ in cells]
    assert len(set(names)) == len(names)
    orthogonal = [cell for cell, _ in cells if cell.inputs == "orthogonal"]
    n = orthogonal[0].n
    assert min(c.p for c in orthogonal) < jaxflow.width_rule(n) < n
    assert max(c.p for c in orthogonal) > n
    for n in full.sizes.counts:
        widths = [c.p for c, _ in cells if c.inputs == "sphere" and c.n == n]
        assert min(widths) * full.sizes.d < n <= max(widths)


@pytest.mark.slow
def test_decided_runs_against_plain_numpy():
    n, p = 12, 16
    rows = [decided.decided("orthogonal", n, n, p, k) for k in range(6)]
    # On orthogonal inputs what is covered is learned, and nothing else.
    assert [row["zero"] for row in rows] == [row["covered"] for row in rows]
    assert [row["rest"] for row in rows] == [1 - row["covered"] for row in rows]
    k = [row["zero"] for row in rows].index(1)
    data, network = jaxflow.sample_problem(
        jaxflow.run_key(jax.random.key(0), n, n, p, k), n=n, d=n, p=p, dtype="float64"
    )
    # Euler's method on eq. 3, written out.
    z, a = np.array(data.inputs.preactivations(network.w)), np.array(network.a)
    y, lengths = np.asarray(data.targets), np.asarray(data.inputs.norms)
    h, loss = 0.02, []
    for _ in range(60_000):
        r = y - a @ np.maximum(z, 0) / p
        loss.append(r @ r / (2 * n))
        push = h / n * r * (z > 0)
        z, a = z + a[:, None] * push * lengths**2, a + (push * z).sum(axis=1)
    fallen = h * np.argmax(np.array(loss) <= decided.FITTED * loss[0])
    assert rows[k]["fitted"] == pytest.approx(fallen, rel=0.05)
    active = z > 0
    kernel = np.diag(lengths**2 * (active * a[:, None] ** 2).sum(axis=0))
    kernel = (kernel + np.maximum(z, 0).T @ np.maximum(z, 0)) / (n * p)
    least, *_, largest = np.linalg.eigvalsh(kernel)
    assert rows[k]["limit"] == pytest.approx(2 * least, rel=0.03)
    assert rows[k]["largest"] == pytest.approx(largest, rel=0.03)


@pytest.mark.slow
def test_many_neurons_from_config_to_figure(tmp_path, capsys, monkeypatch):
    tiny = dataclasses.replace(
        many_neurons.Config().sizes,
        n=50,
        widths=(16, 32),
        networks=8,
        law=32,
        counts=(8,),
        weights=(2, 4),
        one=(8, 6),
        one_widths=(32, 64),
        one_networks=8,
    )
    monkeypatch.setattr(many_neurons, "_QUICK", tiny)
    config = many_neurons.Config(output=tmp_path)
    many_neurons.main(config)
    table = capsys.readouterr().out
    assert "nan" not in table
    files = {path.name for path in config.folder.iterdir() if path.is_file()}
    assert files == {
        *("decided.nc", "law.nc", "orthogonal.nc", "sphere.nc"),
        *("config.json", "table.md", "many_neurons.png", "many_neurons.pdf"),
    }

    def fail(*arguments, **options):
        raise AssertionError("made again")

    monkeypatch.setattr(decided, "decided", fail)
    many_neurons.main(config)
    assert capsys.readouterr().out == table
    monkeypatch.setattr(many_neurons, "simulate", fail)
    many_neurons.main(dataclasses.replace(config, redraw=True))
    assert capsys.readouterr().out == table
