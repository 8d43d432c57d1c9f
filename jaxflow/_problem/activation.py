"""The activation σ and its derivative: ReLU, or leaky ReLU.

σ(z) = z for z > 0 and s z elsewhere, with the slope s in [0, 1). σ'(0) = s, the
derivative from below: 0 for a ReLU. A ReLU has the slope None, so that it costs what it
has always cost.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from .._types import PairMask, Pairs, Scalar


def activate(z: Pairs, slope: Scalar | None) -> Pairs:
    """σ(z)."""
    if slope is None:
        return jax.nn.relu(z)
    return jnp.where(z > 0, z, slope * z)


def derivative(active: PairMask, slope: Scalar | None) -> PairMask | Pairs:
    """σ' where the pairs with z > 0 are `active`: 1 there, and the slope elsewhere. For
    a ReLU the mask itself."""
    if slope is None:
        return active
    return jnp.where(active, jnp.ones_like(slope), slope)


def gated(values: Array, active: Bool[Array, "..."], slope: Scalar | None) -> Array:
    """σ' `values`, with `values` of a shape that fits."""
    return jnp.where(active, values, 0 if slope is None else slope * values)


def absolute(activations: Pairs, slope: Scalar | None) -> Pairs:
    """|σ|; a ReLU is its own."""
    return activations if slope is None else jnp.abs(activations)


def between(multipliers: Pairs, slope: Scalar | None) -> PairMask:
    """Whether what stands for σ' at a kink is neither of its two sides."""
    return (multipliers > (0 if slope is None else slope)) & (multipliers < 1)
