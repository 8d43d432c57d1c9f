"""The library against the minimal implementation, which shares no code with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow
from experiments import minimal

# (n, d, p): the smallest problem, and fewer examples than dimensions.
EDGES = ((1, 1, 1), (3, 8, 2))


def problem(seed, n=7, d=4, p=5):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(n, d)) / np.sqrt(d), rng.normal(size=(p, d))
    return tuple(map(jnp.asarray, (w, rng.normal(size=p), x, rng.normal(size=n))))


def test_the_velocity_is_the_gradient():
    w, a, x, y = problem(0)
    gradient = jax.grad(minimal.loss, argnums=(0, 1))(w, a, x, y)
    for own, theirs in zip(minimal.velocity(w, a, x, y), gradient, strict=True):
        np.testing.assert_allclose(own, -len(a) * theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "shape", [(7, 4, 5), *(pytest.param(s, marks=pytest.mark.slow) for s in EDGES)]
)
def test_descent_is_that_of_the_library(shape):
    w, a, x, y = problem(1, *shape)
    steps = 60
    *end, losses = minimal.run(minimal.euler, w, a, x, y, 0.3, steps)
    sol = jaxflow.simulate(
        jaxflow.Dataset(x, y),
        jaxflow.Network(w, a),
        jaxflow.GradientDescent(0.3),
        times=0.3 * np.arange(steps + 1),
    )
    # Gram inputs add in another order.
    np.testing.assert_allclose(sol.loss[:-1], losses, rtol=1e-9, atol=1e-25)
    for mine, theirs in zip(end, (sol.final.w, sol.final.a), strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_the_flow_is_that_of_the_library():
    """Of orthogonal inputs, where no pair slides: three switch off, each of which costs
    a step of the literal field some error of the size of the step."""
    data, network = jaxflow.sample_problem(
        jax.random.key(2), n=6, d=8, p=5, inputs="orthogonal"
    )
    times = np.array([0.0, 2.5, 10.0])
    sol = jaxflow.simulate(data, network, jaxflow.GradientFlow(1e-8), times=times)
    assert sol.stats["kink_crossings"] > 0
    # In coordinates on unit vectors x is diagonal.
    start = (network.w, network.a, jnp.diag(data.inputs.norms), data.targets)
    h = 0.01
    *_, losses = minimal.run(minimal.runge_kutta, *start, h, round(10 / h) + 1)
    own = losses[np.rint(times / h).astype(int)]
    np.testing.assert_allclose(sol.loss, own, rtol=1e-4)
