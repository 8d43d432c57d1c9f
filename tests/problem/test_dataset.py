"""A Dataset that is built while something is traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jaxflow

from .. import problems

_RNG = np.random.default_rng(5)
INPUTS = {
    "orthogonal": problems.orthogonal_array(5, 7)[1],
    "antipodal": problems.antipodal_array(4, 7)[-1],
    "gram": _RNG.normal(size=(6, 4)),
    "dense": _RNG.normal(size=(9, 4)),
}


@pytest.fixture(params=INPUTS)
def problem(request):
    """The geometry that is to be chosen, y, a number that follows from y by way of the
    geometry that is chosen, p‖∇L‖², and a list of those that were."""
    x = INPUTS[request.param]
    n, d = x.shape
    w, a = _RNG.normal(size=(3, d)), np.array([1.0, -2.0, 1.5])
    seen = []

    def measure(y):
        data = jaxflow.Dataset(x, y)
        seen.append(data.geometry)
        at_rest = jaxflow.Snapshot.of(data, jaxflow.Network(w, a))
        return at_rest.curvature * at_rest.loss

    return request.param, np.linspace(1.0, 2.0, n), measure, seen


@pytest.mark.slow
def test_targets_may_be_traced_where_the_inputs_are_not(problem):
    name, y, measure, seen = problem
    expected = measure(y)
    batch = jnp.stack([y, 2 * y])
    assert_allclose(jax.jit(measure)(y), expected, rtol=1e-12)
    assert_allclose(jax.vmap(measure)(batch)[0], expected, rtol=1e-12)
    assert_allclose(jax.jit(jax.vmap(measure))(batch)[0], expected, rtol=1e-12)
    # Of second degree in y, for which central differences are exact to rounding.
    step = 1e-6 * np.ones_like(y)
    slope = (measure(y + step) - measure(y - step)) / 2e-6
    for gradient in (jax.grad(measure), jax.jit(jax.grad(measure))):
        assert_allclose(jnp.sum(gradient(jnp.asarray(y))), slope, rtol=1e-7)
    assert set(seen) == {name}


@pytest.mark.slow
def test_a_run_within_jit_has_the_geometry_and_the_numbers_of_one_without(problem):
    name, y, _, _ = problem
    x = INPUTS[name]
    network = jaxflow.Network(np.ones((2, x.shape[1])), [1.0, -1.0])
    method = jaxflow.GradientDescent(0.1)

    def loss(y):
        data = jaxflow.Dataset(x, y)
        return jaxflow.simulate(data, network, method, times=[1.0, 2.0]).loss

    expected = loss(y)
    assert_allclose(jax.jit(loss)(y), expected, rtol=1e-12)
    assert_allclose(jax.vmap(loss)(jnp.stack([y, 2 * y]))[0], expected, rtol=1e-12)


def test_bad_constants_are_refused_within_jit():
    @jax.jit
    def build(y):
        return jaxflow.Dataset(np.zeros((2, 2)), y).targets

    with pytest.raises(ValueError, match=r"x\[0\] is the zero vector"):
        build(jnp.ones(2))


def test_numbers_of_a_list_may_be_traced():
    @jax.jit
    def targets(y):
        return jaxflow.Dataset(np.eye(2), [y, 2 * y]).targets

    assert_array_equal(targets(3.0), [3.0, 6.0])


def test_a_dataset_shows_what_it_was_made_of():
    for x in (INPUTS["dense"], INPUTS["gram"]):
        y = np.arange(1.0, len(x) + 1)
        data = jaxflow.Dataset(x, y)
        assert_array_equal(data.x, x)
        assert_array_equal(data.y, y)
        assert (data.n, data.d) == x.shape
    data = jaxflow.Dataset(jaxflow.GramInputs(np.eye(3)), np.ones(3))
    assert data.n == 3 and data.y.shape == (3,)
    for name in ("x", "d"):
        assert not hasattr(data, name)
        with pytest.raises(AttributeError, match=f"GramInputs has no {name}: .*gram"):
            getattr(data, name)
