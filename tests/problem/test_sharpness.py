"""The sharpness against a dense Hessian of p L in R^d, by automatic differentiation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxflow

from .test_tangent_kernel import KINDS, both, drawn, rounded


def hessian(x, y, w, a):
    """Of p L in (w, a), shape (p d + p,) twice; without jaxflow."""
    p, d = w.shape

    def objective(theta):
        w, a = theta[: p * d].reshape(p, d), theta[p * d :]
        h = jnp.maximum(x @ w.T, 0) @ a / p
        return 0.5 * p * jnp.mean((y - h) ** 2)

    with jax.numpy_dtype_promotion("standard"):
        return jax.jit(jax.hessian(objective))(np.concatenate([w.ravel(), a]))


def largest(x, y, w, a):
    return np.linalg.eigvalsh(hessian(x, y, w, a))[-1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_largest_eigenvalue_of_the_hessian(kind):
    # Far from the targets and near them, where the tangent kernel is nearly all of it.
    for seed, shift in ((0, 5.0), (1, 0.01)):
        x, _, w, a = drawn(kind, seed=seed)
        h = np.maximum(x @ w.T, 0) @ a / len(a)
        y = h + shift * np.random.default_rng(seed).normal(size=len(h))
        data, network = both(x, y, w, a)
        assert data.geometry == kind
        value = jaxflow.sharpness(data, network)
        assert_allclose(value, largest(x, y, w, a), rtol=1e-6)
        kernel = jaxflow.tangent_kernel(data, network).largest
        assert (abs(value / kernel - 1) > 0.05) == (shift > 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_and_networks_that_are_many(kind):
    # More coefficients than the basis holds.
    x, y, w, a = rounded(np.float32, *drawn(kind, n=90, d=8, p=20))
    value = jaxflow.sharpness(*both(x, y, w, a, jnp.float32))
    assert value.dtype == jnp.float32
    assert_allclose(value, largest(x, y, w, a), rtol=3e-6)


def test_single_precision_at_every_scale():
    """Both scalings multiply the Hessian by s²."""
    x, y, w, a = rounded(np.float32, *drawn("dense", n=6, d=3, p=4))
    expected = largest(x, y, w, a)
    for exponent in (-55, -40, -23, 0, 23, 40, 55):
        # Powers of two round nothing.
        s = 2.0**exponent
        for given in ((x, s**2 * y, s * w, s * a), (s * x, s * y, w, a)):
            value = jaxflow.sharpness(*both(*given, jnp.float32))
            assert value.dtype == jnp.float32
            assert_allclose(float(value) / s**2, expected, rtol=3e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 5), (6, 3, 1), (1, 1, 4)])
def test_one_example_and_one_neuron(shape):
    x, y, w, a = drawn("dense", *shape)
    x, w = np.abs(x), np.abs(w)
    for scale in (1.0, 1e-9, 1e9):
        given = (x, y, scale * w, scale * a)
        for inputs in (jaxflow.DenseInputs(x), x):
            data = jaxflow.Dataset(inputs, y)
            value = jaxflow.sharpness(data, jaxflow.Network(scale * w, scale * a))
            assert_allclose(value, largest(*given), rtol=1e-6)


@pytest.mark.slow
def test_nothing_active_and_the_origin():
    data = jaxflow.Dataset(np.eye(3), np.ones(3))
    for w in (-np.ones((2, 3)), np.zeros((2, 3))):
        assert jaxflow.sharpness(data, jaxflow.Network(w, [1.0, 2.0])) == 0
    # At a saddle with a = 0 the residuals alone are left: (1/n) ‖Σ r_i x_i‖.
    w = np.ones((1, 3))
    value = jaxflow.sharpness(data, jaxflow.Network(w, [0.0]))
    assert_allclose(value, largest(np.eye(3), np.ones(3), w, np.zeros(1)), rtol=1e-9)


@pytest.mark.slow
def test_along_a_slide_it_is_the_hessian_of_what_is_left():
    x, y, w, a = drawn("dense", n=12, d=5, p=3)
    # The first neuron slides along the kink of the first input, just below it.
    w[0] -= x[0] * (w[0] @ x[0] + 1e-9) / (x[0] @ x[0])
    onto = np.eye(18)
    onto[:5, :5] -= np.outer(x[0], x[0]) / (x[0] @ x[0])
    expected = np.linalg.eigvalsh(onto @ hessian(x, y, w, a) @ onto)[-1]
    for inputs in (jaxflow.DenseInputs(x), jaxflow.GramInputs(x @ x.T)):
        held = w if isinstance(inputs, jaxflow.DenseInputs) else w @ x.T
        data = jaxflow.Dataset(inputs, y)
        at_rest = jaxflow.Snapshot.of(data, jaxflow.Network(held, a))
        gates = at_rest.active.astype(float).at[0, 0].set(0.5)
        sliding = eqx.tree_at(
            lambda s: s.multipliers, at_rest, gates, is_leaf=lambda leaf: leaf is None
        )
        assert_allclose(jaxflow.sharpness(sliding), expected, rtol=1e-6)


@pytest.mark.slow
def test_as_an_observable_and_padded():
    n, d, p = 21, 50, 5
    runs = jaxflow.simulate_ensemble(
        jax.random.key(0),
        n=n,
        d=d,
        p=p,
        seeds=2,
        method=jaxflow.GradientDescent(0.5),
        times=[0.0, 10.0],
        observe={"sharpness": jaxflow.sharpness},
    )
    key = jaxflow.run_key(jax.random.key(0), n, d, p, 1)
    data, network = jaxflow.sample_problem(key, n=n, d=d, p=p)
    expected = jaxflow.sharpness(data, network)
    assert_allclose(runs.sharpness[1, 0], expected, rtol=1e-6)
    batch = jax.vmap(lambda a: jaxflow.sharpness(data, jaxflow.Network(network.w, a)))
    pair = batch(jnp.stack([network.a, 2 * network.a]))
    assert_allclose(pair[0], expected, rtol=1e-6)
    assert pair[1] > pair[0]


@pytest.mark.slow
def test_descent_is_stable_below_two_over_it():
    x, y, w, a = drawn("gram", n=6, p=30)
    data, network = both(x, y, w, a)

    def descent(network, rate, steps):
        method = jaxflow.GradientDescent(rate)
        return jaxflow.simulate(data, network, method, times=[rate * steps], observe={})

    rest = descent(network, 0.02, 2000)
    sharpness = float(jaxflow.sharpness(data, rest.final))
    # Above it the loss grows, until the run has bounced to where it is less sharp.
    for factor, falls in ((1.9, True), (2.3, False)):
        run = descent(rest.final, factor / sharpness, 100)
        assert (run.loss[-1] < rest.final_loss) == falls
