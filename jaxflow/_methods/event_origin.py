"""What becomes of a neuron whose w_j comes to zero while a_j does not."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from .._linalg import product
from .._problem.run_problem import Problem
from .._types import Examples, Neurons, Pairs
from .event_field import (
    ABOVE,
    BELOW,
    ORIGIN,
    SLIDING,
    Kinks,
    Sides,
    complementary,
    forces_at,
    two_forces,
)

# The flow from the origin is followed for so many steps, of growing length in units of
# the time in which the neuron would get as far as it has been put.
_STEPS, _FIRST_STEP, _STEP_GROWTH = 40, 0.2, 1.3
# A speed of less than this share of the forces is none.
_NOTHING = 1e-6


def ascent(
    problem: Problem, kinks: Kinks, a: Neurons, r: Examples
) -> tuple[Neurons, Pairs]:
    """Of the directions ±u_k, which has the largest G/Σ_k |F_k|, see
    `sides_beyond_origin`: that number, (p,), and the u_l· of the direction, (p, n)."""
    above, below = two_forces(problem, kinks, a, r)
    above, below = (jnp.where(kinks.used[None, :], f, 0) for f in (above, below))
    up, down = jax.nn.relu(kinks.cosines), jax.nn.relu(-kinks.cosines)
    along = product(above, up) - product(below, down)
    against = product(above, down) - product(below, up)
    both = jnp.where(kinks.used[None, :], jnp.maximum(along, against), -jnp.inf)
    best = jnp.argmax(both, axis=1)
    rows = jnp.arange(len(best))
    sign = jnp.where(along[rows, best] >= against[rows, best], 1.0, -1.0)
    sign = sign.astype(a.dtype)
    total = jnp.sum(jnp.abs(above) + jnp.abs(below), axis=1)
    height = both[rows, best] / jnp.where(total > 0, total, 1)
    return height, sign[:, None] * kinks.cosines[best]


def sides_beyond_origin(
    problem: Problem,
    kinks: Kinks,
    s: Pairs,
    a: Neurons,
    sides: Sides,
    there: Bool[Array, " p"],
    heading: Pairs,
    most: int,
) -> tuple[Sides, Bool[Array, ""]]:
    """The sides of all kinks of the neurons that are `there`, at the origin, and
    whether they were found. `heading`: s' as they arrived, (p, n).

    Near the origin w_j' = ∇G(w_j) with G(w) = (1/n) Σ_i a_j r_i (w·x_i)_+, which is
    homogeneous. Solutions that start there are not unique where G > 0 somewhere: each
    v = ∇G(v) is one, and w = 0 another. The neuron takes the way of those that pass the
    origin straight on, as descent does: the direction to which ∇G leads from that of
    its arrival, or, if it leads back, from the best of ±u_k. So the flow of G is
    followed in growing steps, implicit at the kinks where both sides push onto it.
    Where that finds no way out the neuron is held at the origin.
    """
    at_zero = there[:, None] & kinks.used[None, :]
    above, below = forces_at(problem, kinks, s, a, sides, at_zero)
    open_ = at_zero & (above < below)
    pushed_apart = at_zero & ~open_
    size = jnp.max(jnp.abs(above) + jnp.abs(below), axis=1, keepdims=True)
    flat = jnp.zeros_like(s)

    def side_of(heights: Pairs) -> Sides:
        return jnp.where(heights >= 0, ABOVE, BELOW).astype(sides.dtype)

    def further(
        k: Array, state: tuple[Pairs, Sides, Pairs, Array]
    ) -> tuple[Pairs, Sides, Pairs, Array]:
        heights, now, _, _ = state
        now = jnp.where(pushed_apart, side_of(heights), now)
        length = _FIRST_STEP * _STEP_GROWTH ** k.astype(heights.dtype)
        # The last of all steps is endless: only the direction is left.
        start = jnp.where(k < _STEPS, heights / length, 0)
        now, speeds, good = complementary(kinks, above, below, start, now, open_, most)
        return heights + length * speeds, now, speeds, good

    def lead(
        _: Array, state: tuple[Pairs, Sides, Pairs, Array]
    ) -> tuple[Pairs, Sides, Pairs, Array]:
        """From where a neuron is put: where it leads, if it has not left already."""
        heights, before, speeds_before, good_before = state
        toward = jnp.sign(heights).astype(sides.dtype)
        begin = jnp.where(at_zero, toward, sides)
        put = (heights, begin, flat, jnp.array(True))
        _, found, speeds, good = jax.lax.fori_loop(0, _STEPS + 1, further, put)
        # Those that are pushed apart must lie where they go.
        toward = speeds * found.astype(speeds.dtype)
        good &= ~jnp.any(pushed_apart & (toward < -_NOTHING * size))
        left = jnp.any(jnp.abs(speeds_before) > _NOTHING * size, axis=1, keepdims=True)
        return (
            otherwise,
            jnp.where(left, before, found).astype(sides.dtype),
            jnp.where(left, speeds_before, speeds),
            good_before & good,
        )

    on = kinks.activations(s, jnp.where(at_zero, SLIDING, sides))
    _, best = ascent(problem, kinks, a, problem.residuals(on, a))
    otherwise = jnp.where(at_zero, best, 0)
    came = jnp.any(heading != 0, axis=1, keepdims=True)
    heights = jnp.where(at_zero & came, heading, otherwise)
    start = (heights, sides, flat, jnp.array(True))
    # Runs in lockstep all come here at every step: nothing to do must cost nothing.
    rounds = jnp.where(jnp.any(there), 2, 0)
    _, found, speeds, good = jax.lax.fori_loop(0, rounds, lead, start)
    left = jnp.any(jnp.abs(speeds) > _NOTHING * size, axis=1, keepdims=True)
    return jnp.where(at_zero & ~left, ORIGIN, found), good
