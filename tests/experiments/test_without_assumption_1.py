"""Without Assumption 1, at a small size."""

import dataclasses

import jax
import numpy as np
import pytest

import jaxflow
from experiments.common.output import read_records
from experiments.open_questions import without_assumption_1 as without
from experiments.open_questions import without_assumption_1_plot as plot
from experiments.open_questions import without_assumption_1_runs as runs


def test_early_signs_are_those_of_their_definition():
    rng = np.random.default_rng(0)
    n, p = 6, 40
    norms, y = rng.uniform(1, 2, n), rng.uniform(-2, 2, n)
    x = np.diag(norms)
    w = rng.normal(size=(p, n)) / np.sqrt(n)
    # Large enough for some neurons only.
    a = rng.normal(size=p) / np.sqrt(n)
    # A neuron that is active on nothing keeps its sign.
    w[0] = -np.abs(w[0])
    z = w @ x.T
    literal = []
    for own_w, own_a, own_z in zip(w, a, z, strict=True):
        along = sum(y[i] * x[i] for i in range(n) if own_z[i] > 0) / n
        length = np.linalg.norm(along)
        push = own_w @ along / length if length else 0.0
        literal.append(np.sign(own_a + push))
    found = runs.early_signs(z > 0, z, a, y, norms)
    np.testing.assert_array_equal(found, literal)
    assert 0 < np.sum(found != np.sign(a)) < p


def test_pull_is_the_mean_of_many_neurons():
    rng = np.random.default_rng(1)
    n, d, p, share = 4000, 8000, 400, 0.9
    norms, sizes = rng.uniform(1, 2, n), rng.uniform(1, 2, n)
    y = np.where(np.arange(n) < share * n, sizes, -sizes)
    coordinates = rng.normal(size=(p, n)) / np.sqrt(d)
    active = coordinates > 0
    along = active * coordinates @ (norms * y)
    pushes = along / np.sqrt(active @ (norms * y) ** 2)
    # Five standard errors of the mean, and of the laws of ρ and y at n examples.
    error = 5 * (pushes.std() / np.sqrt(p) + 0.3 * runs.pull(n, d, share) / np.sqrt(n))
    assert abs(pushes.mean() - runs.pull(n, d, share)) < error
    assert runs.pull(n, d, 0.5) == 0
    # With both signs alike they are N(0, 1/d), over problems that share no signs.
    y = sizes * rng.choice([-1, 1], (p, n))
    pushes = np.sum(active * coordinates * norms * y, axis=1)
    pushes /= np.sqrt(active @ (norms * sizes) ** 2)
    expected = plot.sign_changes(np.array(1.0))
    share_below = np.mean(pushes < -1 / np.sqrt(d))
    assert abs(share_below - expected) < 5 * np.sqrt(expected * (1 - expected) / p)


def test_laws_of_the_start():
    data, network = jaxflow.sample_problem(
        jax.random.key(0),
        n=200,
        d=300,
        p=50,
        targets=runs.targets(0.9),
        init=runs.initialisation("0.25", 50),
    )
    y = np.asarray(data.targets)
    assert np.all((np.abs(y) >= 1) & (np.abs(y) <= 2))
    # Five standard deviations.
    assert abs(np.mean(y > 0) - 0.9) < 5 * np.sqrt(0.09 / 200)
    sizes = np.sqrt(np.asarray(jaxflow.squared_norms(data, network)))
    np.testing.assert_allclose(np.abs(network.a), sizes / 4, rtol=1e-5)
    _, network = jaxflow.sample_problem(
        jax.random.key(0), n=20, d=300, p=50, init=runs.initialisation("pytorch", 50)
    )
    # U(±1/√p) and ‖w‖² = 1/3, both times √p.
    assert np.all(np.abs(network.a) <= 1) and np.max(np.abs(network.a)) > 0.8
    assert network.squared_norm is not None
    assert np.mean(np.asarray(network.squared_norm)) == pytest.approx(50 / 3, rel=0.1)


def test_config_without_assumption_1():
    cells = list(without.Config(size="full").cells())
    assert len(set(cells)) == len(cells) == 100
    for wrong in (dict(deltas=(-1.0,)), dict(networks=2), dict(largest=10)):
        with pytest.raises(ValueError, match=list(wrong)[-1]):
            without.Config(**wrong)


@pytest.mark.slow
def test_without_assumption_1_from_config_to_figure(tmp_path, capsys):
    config = without.Config(deltas=(0, 1), networks=8, output=tmp_path)
    without.main(config)
    table = capsys.readouterr().out
    records = read_records(config.folder)
    laws = records.law.values
    # Lemma 1: under Assumption 1 no sign changes, and with |a_j| = ‖w_j‖ none either.
    for law in ("exponential", "1"):
        assert np.all(records.assumed.values[laws == law] == 1)
        assert np.all(records.changed.values[laws == law] == 0)
    assert np.all(records.converged.values ^ records.lost.values)
    # On orthogonal inputs convergence under Assumption 1 is coverage at the start.
    held = laws == "exponential"
    np.testing.assert_array_equal(
        records.converged.values[held], records.covered.values[held]
    )
    # With a second layer of zeros and 90 % positive targets, d = n, examples are lost.
    skewed = (laws == "0") & (records.share.values > 0.5) & (records.d == records.n)
    assert np.mean(records.lost.values[skewed.values]) > 0.5
    without.main(dataclasses.replace(config, redraw=True))
    assert capsys.readouterr().out == table
    files = {path.name for path in config.folder.iterdir() if path.is_file()}
    assert {"without_assumption_1.png", "without_assumption_1.pdf"} <= files
