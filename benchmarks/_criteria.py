"""What tells whether gradient descent at a learning rate stands in for the flow."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import jaxflow

_ITERATIONS = 30


def top_eigenvalue(s: jaxflow.Snapshot) -> Float[Array, ""]:
    """The largest eigenvalue of the tangent kernel M of r' = −M r, in 1/time:

        M = (1/(n p)) Σ_j (a_j² D_j K D_j + (z_j)_+ (z_j)_+ᵀ),  D_j = diag(1[z_j > 0]).

    By power iteration. One step of gradient descent multiplies r by I − η M while the
    activations stay, so it shrinks r only if η times this number is below 2.
    """
    problem, a = s.problem, s.a
    on = jax.nn.relu(s.preactivations)

    def image(v: Array) -> Array:
        cotangent = jnp.where(on > 0, a[:, None] * v[None, :], 0)
        through = problem.inputs.preactivations(problem.inputs.adjoint(cotangent))
        first = jnp.sum(jnp.where(on > 0, a[:, None] * through, 0), axis=0)
        second = jnp.sum(on * jnp.sum(on * v[None, :], axis=1, keepdims=True), axis=0)
        return (first + second) / (problem.n * problem.p)

    def iterate(_: int, v: Array) -> Array:
        v = image(v)
        return v / jnp.linalg.norm(v)

    start = s.problem.targets / jnp.linalg.norm(s.problem.targets)
    return jnp.linalg.norm(image(jax.lax.fori_loop(0, _ITERATIONS, iterate, start)))
