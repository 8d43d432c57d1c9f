"""The choice of the geometry: which gives the same flow of given x at least cost."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from .inputs import (
    AbstractInputs,
    AntipodalInputs,
    DenseInputs,
    GramInputs,
    OrthogonalInputs,
)


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
    # Rounding in an inner product of d terms; anything above it is a correlation.
    rounding = 8 * math.sqrt(d) * float(jnp.finfo(x.dtype).eps)
    if _is_diagonal(cosines, rounding):
        return OrthogonalInputs(lengths), x / lengths[:, None]
    if n % 2 == 0:
        m = n // 2
        rest = cosines.at[jnp.arange(m), jnp.arange(m, n)].add(1.0)
        rest = rest.at[jnp.arange(m, n), jnp.arange(m)].add(1.0)
        if _is_diagonal(rest, rounding):
            return (
                AntipodalInputs(lengths[:m], lengths[m:]),
                x[:m] / lengths[:m, None],
            )
    if n < 2 * d:
        return GramInputs(0.5 * (gram + gram.T)), None
    return inputs, None


def _is_diagonal(cosines: Float[Array, "n n"], rounding: float) -> bool:
    off_diagonal = cosines - jnp.diag(jnp.diag(cosines))
    return bool(jnp.max(jnp.abs(off_diagonal)) <= rounding)
