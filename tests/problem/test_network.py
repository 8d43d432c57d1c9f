"""The velocity is −p∇L, for every geometry, and the loss is the paper's."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose

import jaxflow
from tests import problems, reference


def test_loss_and_velocity_are_the_textbook_ones():
    x, y, w, a = problems.without_kinks()
    data, network = jaxflow.Dataset(x, y), jaxflow.Network(w, a)
    assert_allclose(jaxflow.loss(data, network), reference.loss(x, y, w, a), rtol=1e-13)
    dw, da = reference.velocity(x, y, w, a)
    for ours, theirs in zip(jaxflow.velocity(data, network), (dw, da), strict=True):
        assert_allclose(ours, theirs, atol=1e-14)
    h = (a[:, None] * np.maximum(w @ x.T, 0)).mean(0)
    assert_allclose(jaxflow.predict(network, data), h, rtol=1e-12)
    assert_allclose(jaxflow.residuals(data, network), y - h, rtol=1e-12)


def test_predictions_on_new_inputs():
    x, _, w, a = problems.without_kinks()
    new = np.random.default_rng(1).normal(size=(7, x.shape[1]))
    h = (a[:, None] * np.maximum(w @ new.T, 0)).mean(0)
    network = jaxflow.Network(w, a)
    assert_allclose(jaxflow.predict(network, new), h, rtol=1e-12)
    assert_allclose(jaxflow.predict(network, jaxflow.DenseInputs(new)), h, rtol=1e-12)
    one = jax.vmap(lambda row: jaxflow.predict(network, row[None])[0])(jnp.array(new))
    assert_allclose(one, h, rtol=1e-12)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), network)
    single = jaxflow.predict(half, new.astype(np.float32))
    assert single.dtype == jnp.float32
    assert_allclose(single, h, rtol=1e-4)
    # No example of a dataset, but a point like any other.
    zero = np.zeros((1, x.shape[1]), int)
    assert_allclose(jaxflow.predict(network, zero), [0.0])


def test_predictions_of_networks_that_store_projections():
    x, _, w, a = problems.without_kinks()
    c = np.random.default_rng(2).normal(size=(7, len(x)))
    h = (a[:, None] * np.maximum(w @ (c @ x).T, 0)).mean(0)
    gram = jaxflow.Network(w @ x.T, a, np.sum(w**2, axis=1))
    assert_allclose(jaxflow.predict(gram, c), h, rtol=1e-12)
    norms, x = problems.orthogonal_array(5, 30)
    unit = x / norms[:, None]
    h = (a[:, None] * np.maximum(w @ (c[:, :5] @ unit).T, 0)).mean(0)
    orthogonal = jaxflow.Network(w @ unit.T, a)
    assert_allclose(jaxflow.predict(orthogonal, c[:, :5]), h, rtol=1e-12)


def test_velocity_is_minus_p_times_the_gradient():
    x, y, w, a = problems.without_kinks(seed=4)
    data = jaxflow.Dataset(x, y)

    def loss(w, a):
        return jaxflow.loss(data, jaxflow.Network(w, a))

    gradient = jax.grad(loss, argnums=(0, 1))(jnp.asarray(w), jnp.asarray(a))
    velocity = jaxflow.velocity(data, jaxflow.Network(w, a))
    for part, slope in zip(velocity, gradient, strict=True):
        assert_allclose(part, -len(a) * slope, atol=1e-13)


def test_a_pair_at_its_kink_has_derivative_zero():
    data = jaxflow.Dataset(jaxflow.OrthogonalInputs(jnp.ones(1)), jnp.ones(1))
    dw, da = jaxflow.velocity(data, jaxflow.Network(jnp.zeros((1, 1)), jnp.ones(1)))
    assert float(dw[0, 0]) == 0.0
    assert float(da[0]) == 0.0


def test_squared_norms_count_what_lies_outside_the_span():
    x, y, w, a = problems.without_kinks()
    gram = jaxflow.Dataset(jaxflow.GramInputs(x @ x.T), y)
    squares = np.sum(w**2, axis=1)
    known = jaxflow.Network(w @ x.T, a, squares)
    assert_allclose(jaxflow.squared_norms(gram, known), squares)
    inside = np.sum((w @ np.linalg.pinv(x) @ x) ** 2, axis=1)
    assert_allclose(
        jaxflow.squared_norms(gram, jaxflow.Network(w @ x.T, a)), inside, rtol=1e-10
    )
