"""Ensembles on a data set of the user's, where only the networks are random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import jaxflow

KEY = jax.random.key(3)
X = np.random.default_rng(0).normal(size=(11, 5))
Y = np.sin(X[:, 0])
DESCENT, TIMES = jaxflow.GradientDescent(0.1), [0.0, 4.0]


def ensemble(folder=None, **changes):
    settings = {"inputs": X, "targets": Y, "p": [3, 5], "seeds": 2}
    return jaxflow.simulate_ensemble(
        KEY, method=DESCENT, times=TIMES, folder=folder, **{**settings, **changes}
    )


def loss_of(seed, sizes, **problem):
    n, d, p = sizes
    key = jaxflow.run_key(KEY, n, d, p, seed)
    data, network = jaxflow.sample_problem(key, p=p, **problem)
    return jaxflow.simulate(data, network, DESCENT, times=TIMES, observe={}).loss


def test_only_the_networks_are_random():
    runs = ensemble(p=3)
    assert (int(runs.n), int(runs.d)) == (11, 5)
    for seed in range(2):
        key = jaxflow.run_key(KEY, 11, 5, 3, seed)
        data, network = jaxflow.sample_problem(key, p=3, inputs=X, targets=Y)
        assert_array_equal(data.inputs.preactivations(jnp.eye(5)), X.T)
        assert_array_equal(data.targets, Y)
        own = jaxflow.Dataset(X, Y)
        assert data.geometry == own.geometry
        loss = jaxflow.simulate(own, network, DESCENT, times=TIMES, observe={}).loss
        assert_array_equal(runs.loss.sel(seed=seed), loss)
    assert len(np.unique(runs.final_loss)) == runs.final_loss.size


@pytest.mark.slow
def test_a_folder_of_other_data_is_refused(tmp_path):
    whole = ensemble(seeds=3)
    ensemble(tmp_path / "runs")
    for changes, told in (
        ({"targets": Y + 1e-14}, r"targets.y\[10\] was|targets.y\[0\] was"),
        ({"inputs": X + 1e-14}, "inputs.x is an array of 11×5 float64 with other num"),
        ({"inputs": X[:, :4]}, "array of 11×4 float64 and was an array of 11×5 fl"),
        ({"bias": 0.1}, "bias was nothing and is 0.1"),
        ({"targets": "teacher"}, r"FixedTargets.*TeacherTargets\(width=8"),
    ):
        with pytest.raises(ValueError, match=told):
            ensemble(tmp_path / "runs", **changes)
    # The same numbers, however they are given, go on.
    again = ensemble(
        tmp_path / "runs", inputs=jnp.asarray(X), targets=list(Y), seeds=3, n=[11], d=5
    )
    for name in whole.data_vars:
        assert_array_equal(np.squeeze(again[name].values), whole[name].values)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"inputs": X.astype("f4"), "targets": Y.astype("f4")}, np.float32),
        ({"inputs": X, "targets": Y, "dtype": "float32"}, np.float32),
        pytest.param(
            {"inputs": X.astype("f4"), "targets": "teacher"},
            np.float32,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"inputs": [[1, 2], [3, 4]], "targets": [1, -1]},
            np.float64,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_precision_follows_the_data(given, expected):
    data, network = jaxflow.sample_problem(KEY, p=2, **given)
    assert data.targets.dtype == network.w.dtype == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "n", "d"),
    [
        ({"inputs": jaxflow.DenseInputs(X), "targets": Y}, 11, 5),
        ({"inputs": jaxflow.GramInputs(X @ X.T), "targets": Y, "d": 5}, 11, 5),
        ({"inputs": jaxflow.OrthogonalInputs([1.0, 2.0]), "d": 9}, 2, 9),
        ({"inputs": jaxflow.OrthogonalInputs([1.0, 2.0], 9)}, 2, 9),
        ({"inputs": X, "targets": "teacher"}, 11, 5),
        ({"inputs": X[:1], "targets": Y[:1]}, 1, 5),
        ({"inputs": X[:, :1], "targets": Y}, 11, 1),
        ({"inputs": np.eye(4), "targets": Y[:4], "bias": 0.3}, 4, 4),
        ({"inputs": "sphere", "d": 7, "targets": Y}, 11, 7),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_data_in_every_form(problem, n, d, dtype):
    problem = {**problem, "dtype": dtype}
    runs = ensemble(**{"targets": "uniform", **problem, "p": 1})
    assert (int(runs.n), int(runs.d)) == (n, d)
    for seed in range(2):
        own = loss_of(seed, (n, d, 1), **{"targets": "uniform", **problem})
        assert_array_equal(runs.loss.sel(seed=seed), own)


@pytest.mark.slow
def test_a_teacher_does_not_see_the_padding():
    """At a size that is padded, in a batch and alone."""
    problem = {"n": 33, "d": 20, "inputs": "sphere", "targets": "teacher"}
    runs = ensemble(**problem, p=3)
    assert runs.attrs["useful_share"] < 1
    for seed in range(2):
        own = loss_of(seed, (33, 20, 3), **problem)
        assert_array_equal(runs.loss.sel(seed=seed), own)
