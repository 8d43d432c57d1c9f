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
    assert_allclose(jaxflow.predict(data, network), h, rtol=1e-12)
    assert_allclose(jaxflow.residuals(data, network), y - h, rtol=1e-12)


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
