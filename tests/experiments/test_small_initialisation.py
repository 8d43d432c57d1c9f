"""Small initialisation, at a small size."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow
from experiments.common.output import read_records
from experiments.open_questions import small_initialisation as small
from experiments.open_questions import small_initialisation_large as large
from experiments.open_questions import small_initialisation_runs as runs


def test_cascade_of_three_neurons_by_hand():
    """Neuron 0 is first on examples 0 and 1, neuron 1 then has half of its way left."""
    correct = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]], bool)
    y, norms = np.array([3.0, 4.0, -2.5, 1.0]), np.array([1.0, 1.0, 1.0, 2.0])
    found = runs.cascade(correct, y, norms)
    # g = 5/4 and 2.5/4; after that neuron 2 has nothing left to fit.
    np.testing.assert_allclose(found.times, [4 / 5, 4 / 2.5])
    losses = np.array([9 + 16 + 6.25 + 1, 6.25 + 1, 1]) / 8
    np.testing.assert_allclose(found.losses, losses)
    assert found.squared_norm == pytest.approx(2 * 3 * (5 + 2.5))
    assert found.time_below(1.0) == pytest.approx(4 / 5)
    assert found.time_below(0.1) == np.inf


def test_speeds_change_where_a_neighbour_has_fitted():
    correct = np.array([[1, 1], [1, 0]], bool)
    y, norms = np.array([1.0, 1.0]), np.ones(2)
    # Neuron 0 fits both: neuron 1 never grows.
    assert runs.cascade(correct, y, norms).times == pytest.approx([2 / np.sqrt(2)])
    # With a third example that only neuron 1 has, it goes on at the speed of that one.
    correct = np.array([[1, 1, 0], [1, 0, 1]], bool)
    y, norms = np.array([1.0, 2.0, 1.0]), np.ones(3)
    first = 3 / np.sqrt(5)
    left = 1 - first * np.sqrt(2) / 3
    times = runs.cascade(correct, y, norms).times
    np.testing.assert_allclose(times, [first, first + 3 * left])


def test_config_of_the_small_initialisation():
    cells = list(small.Config(size="full").cells())
    names = [runs.name_of(cell, 0) for cell in cells]
    assert len(set(names)) == len(names) == 63
    for wrong in (
        dict(sizes=(1,)),
        dict(exponents=(200.0, 1.0)),
        dict(exponents=(5.0,)),
        dict(networks=2),
    ):
        with pytest.raises(ValueError, match=list(wrong)[-1]):
            small.Config(**wrong)


def test_large_starts_are_at_the_edge_of_assumption_2():
    for n in (2, 4, 9):
        x = large.inputs(n)
        gram = x @ x.T
        np.testing.assert_allclose(np.diag(gram), 1)
        distance = np.linalg.norm(gram - np.eye(n), 2)
        assert distance == pytest.approx(large.SHARE / np.sqrt(n))


@pytest.mark.slow
def test_two_steps_of_a_tiny_flow_against_the_closed_form(tmp_path, capsys):
    """The loss is halved near log(1/s) times the cascade, and what is not covered at
    the start is what is left; drawn again, the same table."""
    config = small.Config(
        sizes=(12, 20), exponents=(0, 20, 80), networks=8, output=tmp_path
    )
    small.main(config)
    table = capsys.readouterr().out
    records = read_records(config.folder)
    late = records.isel(run=records.exponent.values == 80)
    log_s = 80 * np.log(10)
    ratio = late.time.values[:, 0] / log_s / late.limit.values[:, 0]
    assert np.all(np.abs(ratio[np.isfinite(ratio)] - 1) < 0.05)
    left = records.final.values > 1e-9
    np.testing.assert_array_equal(left, records.uncovered.values > 0)
    np.testing.assert_allclose(
        records.final.values[left], records.floor.values[left], rtol=1e-6
    )
    counts = read_records(config.folder, "large.nc")
    outcomes = counts.converged + counts.rest + counts.undecided
    np.testing.assert_array_equal(outcomes, counts.covered)
    assert np.all(counts.rest > 0)
    # Where they rest, whole examples are left out, each of which costs 1/(2n).
    keys = jax.random.split(jaxflow.run_key(jax.random.key(0), 4, 4, 4, 0), large.BATCH)
    ends = large.outcomes(keys, jnp.array(large.inputs(4)), 4, jnp.array(64.0))
    _, _, end, _, rest, _ = map(np.asarray, ends)
    lost = 2 * 4 * end[rest]
    np.testing.assert_allclose(lost, np.round(lost), rtol=1e-4)
    assert np.all(np.round(lost) >= 1)
    small.main(dataclasses.replace(config, redraw=True))
    assert capsys.readouterr().out == table
    files = {path.name for path in config.folder.iterdir() if path.is_file()}
    assert {"small_initialisation.png", "small_initialisation.pdf"} <= files
