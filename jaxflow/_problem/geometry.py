"""The choice of the geometry: which gives the same flow of given x at least cost."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._linalg import product
from .inputs import (
    AbstractInputs,
    AntipodalInputs,
    DenseInputs,
    GramInputs,
    OrthogonalInputs,
)

# The norm of what is left out is at most so many times √n ε; it is found by as many
# power iterations.
_ROUNDINGS, _ITERATIONS = 3, 20


def cheapest_geometry(
    inputs: DenseInputs,
) -> tuple[AbstractInputs, Float[Array, "m d"] | None]:
    """The geometry that gives the same flow at the least cost, and its unit vectors."""
    x = inputs.x
    n, d = x.shape
    # Beyond 2d examples not even antipodal pairs fit, and Gram costs more than dense.
    if n > 2 * d:
        return inputs, None
    lengths = inputs.norms
    gram = inputs.gram()
    if not bool(jnp.all(jnp.isfinite(gram)) & jnp.all(jnp.diag(gram) > 0)):
        # Squares over- or underflow.
        return inputs, None
    cosines = gram / lengths[:, None] / lengths[None, :]
    rest = cosines - jnp.diag(jnp.diag(cosines))
    if _is_rounding(rest):
        return OrthogonalInputs(lengths), x / lengths[:, None]
    if n % 2 == 0:
        m = n // 2
        rest = rest.at[jnp.arange(m), jnp.arange(m, n)].add(1.0)
        rest = rest.at[jnp.arange(m, n), jnp.arange(m)].add(1.0)
        if _is_rounding(rest):
            return (
                AntipodalInputs(lengths[:m], lengths[m:]),
                x[:m] / lengths[:m, None],
            )
    if n < 2 * d:
        return GramInputs(0.5 * (gram + gram.T)), None
    return inputs, None


def _is_rounding(rest: Float[Array, "n n"]) -> bool:
    """Whether what a geometry leaves out of the cosines is only their rounding.

    It acts on the flow by its operator norm. Rounding of n unit vectors that are
    orthogonal gives up to √n ε, each entry by itself; a cosine that all of them have in
    common would give n times itself, and moves a run by per cent while it is a few ε.
    """
    n, eps = len(rest), float(jnp.finfo(rest.dtype).eps)
    bound = _ROUNDINGS * math.sqrt(n) * eps
    # Most inputs are not near it, and need no iteration.
    if not float(jnp.max(jnp.abs(rest))) <= bound:
        return False
    v = 1 + 0.5 * jnp.cos(1.7 * jnp.arange(n, dtype=rest.dtype))
    for _ in range(_ITERATIONS):
        v = product(rest, v / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(v.dtype).tiny))
    return float(jnp.linalg.norm(v)) <= bound
