"""The four geometries are one problem in four coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxflow
from jaxflow._problem.inputs import GramCoefficients
from tests import problems


def _geometries():
    norms, x = problems.orthogonal_array(6, 9)
    plus, minus, y = problems.antipodal_array(4, 7)
    rng = np.random.default_rng(3)
    dense = rng.normal(size=(6, 9))
    directions = x / norms[:, None]
    axes = y[:4] / plus[:, None]
    w9, w7 = rng.normal(size=(3, 9)), rng.normal(size=(3, 7))
    coefficients = rng.normal(size=(3, 6))
    return {
        "dense": (jaxflow.DenseInputs(dense), dense, w9, w9),
        "gram": (jaxflow.GramInputs(dense @ dense.T), dense, w9 @ dense.T, w9),
        "orthogonal": (jaxflow.OrthogonalInputs(norms), x, w9 @ directions.T, w9),
        "antipodal": (jaxflow.AntipodalInputs(plus, minus), y, w7 @ axes.T, w7),
        "coefficients": (
            GramCoefficients(jnp.asarray(dense @ dense.T), jnp.asarray(w9 @ dense.T)),
            dense,
            coefficients,
            w9 + coefficients @ dense,
        ),
    }


@pytest.mark.parametrize("name", list(_geometries()))
def test_maps_are_those_of_the_inputs(name):
    inputs, x, stored, w = _geometries()[name]
    n = len(x)
    stored = jnp.asarray(stored)
    assert_allclose(inputs.preactivations(stored), w @ x.T, atol=1e-12)
    assert_allclose(inputs.norms, np.linalg.norm(x, axis=1), rtol=1e-13)
    assert_allclose(inputs.gram(), x @ x.T, atol=1e-12)
    cotangent = np.random.default_rng(5).normal(size=(3, n))
    moved = stored + inputs.adjoint(jnp.asarray(cotangent))
    assert_allclose(inputs.preactivations(moved), (w + cotangent @ x) @ x.T, atol=1e-11)
    assert_allclose(
        inputs.adjoint_squared_norms(jnp.asarray(cotangent)),
        np.sum((cotangent @ x) ** 2, axis=1),
        rtol=1e-12,
    )
    off = x @ x.T - np.diag(np.sum(x**2, axis=1))
    assert_allclose(inputs.interaction(), np.linalg.norm(off, 2), atol=1e-12)


@pytest.mark.parametrize("name", ["gram", "orthogonal", "antipodal", "dense"])
def test_squared_norms_of_weights_in_the_span(name):
    inputs, x, _, w = _geometries()[name]
    inside = w @ np.linalg.pinv(x) @ x
    stored = {
        "gram": inside @ x.T,
        "orthogonal": inside @ (x / np.linalg.norm(x, axis=1)[:, None]).T,
        "antipodal": inside @ (x[:4] / np.linalg.norm(x[:4], axis=1)[:, None]).T,
        "dense": inside,
    }[name]
    assert_allclose(
        inputs.squared_norms(jnp.asarray(stored)), np.sum(inside**2, axis=1), rtol=1e-11
    )


@pytest.mark.slow
def test_interaction_of_many_dense_inputs_needs_no_gram_matrix():
    x = np.random.default_rng(0).normal(size=(1100, 20))
    off = x @ x.T - np.diag(np.sum(x**2, axis=1))
    exact = np.max(np.abs(np.linalg.eigvalsh(off)))
    assert_allclose(jaxflow.DenseInputs(x).interaction(), exact, rtol=1e-6)


@pytest.mark.slow
def test_the_cheapest_exact_geometry_is_chosen():
    rng = np.random.default_rng(1)
    _, orthogonal = problems.orthogonal_array(6, 9)
    *_, antipodal = problems.antipodal_array(4, 7)
    *_, square = problems.antipodal_array(5, 5)
    for x, name in (
        (orthogonal, "orthogonal"),
        (antipodal, "antipodal"),
        (square, "antipodal"),
        (rng.normal(size=(6, 9)), "gram"),
        (rng.normal(size=(9, 6)), "gram"),
        (rng.normal(size=(30, 6)), "dense"),
    ):
        data = jaxflow.Dataset(x, np.ones(len(x)))
        assert data.geometry == name
        assert name in repr(data)


def test_a_small_correlation_is_not_rounded_away():
    _, x = problems.orthogonal_array(6, 9)
    x[1] += 1e-9 * x[0]
    assert jaxflow.Dataset(x, np.ones(6)).geometry == "gram"


def test_a_traced_dataset_stays_dense():
    _, x = problems.orthogonal_array(6, 9)
    seen = []

    @jax.jit
    def build(x):
        seen.append(jaxflow.Dataset(x, jnp.ones(6)).geometry)
        return x

    build(x)
    assert seen == ["dense"]
