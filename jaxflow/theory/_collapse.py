"""Proposition 3: the second layer collapses where Assumption 1 fails (Appendix C.1).

d = n = p = 2, canonical inputs, y₁ y₂ < 0, λ = |y₂/y₁|, both |a_j(0)| ≤ δ, all
z_ji(0) = w_j(0)·x_i > 0. While r₁ ≈ y₁ dominates, both a_j take the sign of y₁, and the
z_j2 die out; if they do so before example 1 is fitted, example 2 is lost for good.

The flow is invariant under (w, a, y, t) → (s w, s a, s² y, t/s²): λ stays, z²/y₁ stays.
Of the lower limits for λ below, only the last is invariant. With z = max_ji z_ji(0):

    (z/y₁)^{1/2} 8/y₁    as eq. 77 prints it;
    (8 z/y₁)^{1/2}       as eq. 85, from which eq. 77 is taken, prints it;
    (8 z²/y₁)^{1/2}      eq. 85 made invariant.

In simulations no lower limit is needed once y₁ ≥ 100 z²; see `results/theory_check.md`.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool

from .._checks import as_float_array
from .._snapshot import Snapshot
from .._types import Number, Pairs, Scalar
from ._domains import check_relu, check_sizes


class CollapseRange(eqx.Module):
    """λ between `lower` and `upper`: where Proposition 3 says that example 2 is lost,
    for δ small enough."""

    lower: Array
    upper: Array

    def contains(self, ratio: Number) -> Bool[Array, ""]:
        """Whether λ = |y₂/y₁| lies in the range."""
        return (self.lower <= ratio) & (ratio <= self.upper)


def collapse_range(preactivations: Pairs, target: Number) -> CollapseRange:
    """(8 z²/y₁)^{1/2} ≤ λ ≤ min z/max z, eq. 85 made invariant.

    **Arguments:**

    - `preactivations`: z_ji(0) > 0, shape (2, 2).
    - `target`: |y₁|.
    """
    preactivations = as_preactivations(preactivations, target)
    largest = jnp.max(preactivations)
    return range_above(preactivations, largest * jnp.sqrt(8 / jnp.asarray(target)))


def as_preactivations(preactivations: Pairs, target: Number) -> Pairs:
    """z_ji(0) of the proposition, beside its |y₁|."""
    preactivations = as_float_array("preactivations", preactivations, 2)
    if preactivations.shape != (2, 2):
        raise ValueError(
            f"preactivations must be (2, 2), got shape {preactivations.shape}."
        )
    check_sizes(preactivations=preactivations)
    check_sizes(target=target)
    return preactivations


def range_above(preactivations: Pairs, lower: Array) -> CollapseRange:
    upper = jnp.min(preactivations) / jnp.max(preactivations)
    return CollapseRange(lower, upper)


def unfitted_loss(s: Snapshot) -> Scalar:
    """(1/2n) Σ y_i² over the examples on which no neuron is active.

    On orthogonal inputs such an example stays lost, so L(t) is at least this from then
    on. Raises a ValueError for a leaky ReLU, which loses none.
    """
    check_relu(s, "that an example without active neurons stays lost")
    lost = ~jnp.any(s.active, axis=0)
    return jnp.sum(jnp.where(lost, s.targets**2, 0)) / (2 * s.n)
