"""Where within a step a number that is positive before an event becomes zero."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._types import Pairs

# So many halvings and secants, in turn.
_ROUNDS = 16


def cubic_zeros(
    start: Pairs, rise: Pairs, slope: Pairs, slope_end: Pairs
) -> tuple[Pairs, Pairs, Pairs]:
    """Of the cubic through both ends of a step with the given slopes, over the share t
    of the step from 0 to 1: its first zero, if it ends below zero; and its minimum
    within the step and how low that is, inf where it has none there.

    `rise`: from `start` to the end. Slopes are per step.
    """
    # start + t (slope + t (b + t c)).
    b, c = 3 * rise - 2 * slope - slope_end, slope + slope_end - 2 * rise

    def height(t: Pairs) -> Pairs:
        return start + t * (slope + t * (b + t * c))

    # The minimum of the cubic, in the form that does not cancel.
    bottom = b + jnp.sqrt(jnp.maximum(b**2 - 3 * c * slope, 0))
    dip = jnp.clip(-slope / jnp.where(bottom == 0, 1, bottom), 0.01, 0.99)
    dips = (slope < 0) & (slope_end > 0)

    def closer(k: Array, ends: tuple[Pairs, Pairs]) -> tuple[Pairs, Pairs]:
        first, last = ends
        low, high = height(first), height(last)
        secant = first + (last - first) * jnp.clip(
            low / jnp.where(low == high, 1, low - high), 0.01, 0.99
        )
        t = jnp.where(k % 2 == 0, secant, 0.5 * (first + last))
        after = height(t) < 0
        return jnp.where(after, first, t), jnp.where(after, t, last)

    ends = jnp.zeros_like(start), jnp.ones_like(start)
    first, last = jax.lax.fori_loop(0, _ROUNDS, closer, ends)
    return 0.5 * (first + last), dip, jnp.where(dips, height(dip), jnp.inf)
