"""Flow and descent of a one-hidden-layer ReLU network, in plain JAX.

The whole of the mathematics, without what makes it quick and exact across kinks. It
shares no code with jaxflow, whose tests compare the two; docs/minimal.md explains it
line by line.
"""

from functools import partial

import jax
import jax.numpy as jnp


# --8<-- [start:network]
def predict(w, a, x):
    """h(x) = (1/p) Σ_j a_j (w_j·x)_+ for all inputs: x (n, d), w (p, d), a (p,)."""
    return jnp.maximum(x @ w.T, 0) @ a / len(a)


def loss(w, a, x, y):
    """L = (1/2n) Σ_i (y_i − h(x_i))²."""
    return jnp.mean((y - predict(w, a, x)) ** 2) / 2


# --8<-- [end:network]
# --8<-- [start:velocity]
def velocity(w, a, x, y):
    """−p ∇L, by the chain rule: the velocity of (w, a) along the flow."""
    z = x @ w.T  # (n, p), preactivations
    r = y - predict(w, a, x)  # (n,), residuals
    felt = jnp.where(z > 0, r[:, None], 0.0)  # (n, p); at z = 0 the slope is 0
    w_dot = a[:, None] * (felt.T @ x) / len(y)  # (p, d)
    a_dot = r @ jnp.maximum(z, 0) / len(y)  # (p,)
    return w_dot, a_dot


# --8<-- [end:velocity]
# --8<-- [start:steps]
def euler(w, a, x, y, h):
    """One step of gradient descent with learning rate h."""
    w_dot, a_dot = velocity(w, a, x, y)
    return w + h * w_dot, a + h * a_dot


def runge_kutta(w, a, x, y, h):
    """One step of length h of the classical fourth-order scheme, along the flow."""
    at = lambda k, c: velocity(w + c * h * k[0], a + c * h * k[1], x, y)
    k1 = velocity(w, a, x, y)
    k2 = at(k1, 0.5)
    k3 = at(k2, 0.5)
    k4 = at(k3, 1.0)
    mean = lambda i: (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]) / 6
    return w + h * mean(0), a + h * mean(1)


# --8<-- [end:steps]
# --8<-- [start:run]
@partial(jax.jit, static_argnames=("step", "steps"))
def run(step, w, a, x, y, h, steps):
    """`steps` steps of length h: the last (w, a), and the loss before each, (steps,).

    `step` is `euler` for descent at learning rate h, `runge_kutta` for the flow. Step k
    is at flow time k h in both.
    """

    def body(state, _):
        w, a = state
        return step(w, a, x, y, h), loss(w, a, x, y)

    (w, a), losses = jax.lax.scan(body, (w, a), length=steps)
    return w, a, losses


# --8<-- [end:run]
