"""The proof that a loss tends to zero, against closed forms and runs."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow
from experiments.common.contraction import contraction_level


def test_one_example_is_proved_up_to_its_closed_form():
    """n = p = d = 1, x = 1, w = a = s: M(R) = (s − R)², so that max R²(s − R)²/2 is
    s⁴/32 at R = s/2; some of the values of R are near it."""
    for s in (0.01, 1.0, 30.0):
        level = contraction_level(np.ones((1, 1)), np.full((1, 1), s), np.full(1, s))
        assert 0.7 * s**4 / 32 < level <= s**4 / 32


def test_nothing_is_proved_of_an_example_that_is_left_out():
    x = np.eye(2)
    w, a = np.array([[1.0, -1.0]]), np.array([1.0])
    assert contraction_level(x, w, a) == 0
    # Nor where a pair on its kink is all that covers an example.
    assert contraction_level(x, np.array([[1.0, 0.0]]), a) == 0
    assert contraction_level(x, np.array([[1.0, 1.0]]), a) > 0


def test_a_network_of_zeros_proves_nothing():
    assert contraction_level(np.ones((3, 2)), np.zeros((4, 2)), np.zeros(4)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_residuals_a_loss_below_the_level_goes_to_zero(seed):
    rng = np.random.default_rng(seed)
    n, d, p = 4, 4, 16
    x = rng.normal(size=(n, d))
    w, a = rng.normal(size=(p, d)), rng.normal(size=p)
    # A pair that starts on its kink, and may slide.
    w[0] -= (w[0] @ x[0]) / (x[0] @ x[0]) * x[0]
    level = contraction_level(x, w, a)
    assert level > 1e-6
    residuals = rng.normal(size=n)
    residuals *= np.sqrt(2 * n * level) / np.linalg.norm(residuals)
    y = a @ np.maximum(w @ x.T, 0) / p + residuals
    sol = jaxflow.simulate(
        jaxflow.Dataset(jnp.asarray(x), jnp.asarray(y)),
        jaxflow.Network(jnp.asarray(w), jnp.asarray(a)),
        jaxflow.FilippovFlow(1e-5),
        times=[0.0, 1e4],
        stop=jaxflow.LossFallen(1e-6),
        observe={},
    )
    np.testing.assert_allclose(sol.loss[0], level, rtol=1e-9)
    assert sol.result == jaxflow.Results.loss_below
