"""The flow of correlated inputs between two events, and what an event does.

**Kinks.** Inputs of one direction share a kink. With u_k the unit vectors of the n
inputs' directions (an opposite direction is the same kink), x_i = c_i u_k, and
s_jk = w_j·u_k, the examples of kink k push neuron j along u_k with the force

    above  (s_jk > 0):   F⁺_jk = (a_j/n) Σ_{i in k, c_i > 0} r_i c_i
    below  (s_jk < 0):   F⁻_jk = (a_j/n) Σ_{i in k, c_i < 0} r_i c_i,

and w_j' = Σ_k φ_jk u_k, where φ is F⁺ or F⁻. With a leaky ReLU, of slope s below zero,
each has s times the other sum besides. On its kink, s_jk = 0, a neuron *slides*
where both sides push onto it. Then φ lies between the two, and is what keeps s_jk' = 0:
the φ of the neuron's sliding kinks S solve

    K_SS φ_S = −K_S,rest φ_rest,    K_kl = u_k·u_l,    λ = (φ − F⁻)/(F⁺ − F⁻) in [0, 1].

**Between events** every kink keeps its side (above, below, sliding), and the field is
smooth. **Events** end that: a kink is reached; a sliding one is released, as λ reaches
0 or 1 or as F⁺ − F⁻ is no longer negative.

**At an event** each kink of the neuron that lies at zero finds its side anew. Those
that are pushed apart (F⁺ > F⁻) go through. The others solve a linear complementarity
problem: λ = 1 and s' ≥ 0, or λ = 0 and s' ≤ 0, or λ between and s' = 0. With K_SS
positive definite it has one solution, the minimum of a convex function on a box.

A run stores B_jk = ∫ φ_jk dt, (p, n): s = s(0) + B K, and w_j = w_j(0) + Σ_k B_jk u_k.
So this file knows no geometry but K.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from .._linalg import product
from .._problem.activation import gated
from .._problem.run_problem import Problem
from .._types import Examples, Neurons, PairMask, Pairs, Scalar, Weights
from .interactions import directions

# All kinks of a neuron that is held at the origin are at the last of these.
ABOVE, SLIDING, BELOW, ORIGIN = 1, 0, -1, 2
Sides = Int[Array, "p n"]

# Systems up to this size are solved by our own elimination.
_SMALL = 48
# Of two forces that decide at a kink, so many roundings are nothing.
_ROUNDINGS = 64


class Kinks(eqx.Module):
    """The directions of the inputs. Of n slots for kinks, those of examples that are
    not the first of their direction are empty.

    - `cosines`: K, (n, n); 0 in empty slots but for a unit diagonal.
    - `lengths`: c_i, (n,), with its sign. `first`: the slot of each example, (n,).
    - `used`: which slots hold a kink, (n,). `slope`: that of σ below zero.
    """

    cosines: Float[Array, "n n"]
    lengths: Examples
    first: Int[Array, " n"]
    used: Bool[Array, " n"]
    slope: Scalar | None = None

    @classmethod
    def of(cls, problem: Problem) -> "Kinks":
        gram, norms = problem.inputs.gram(), problem.inputs.norms
        present = norms > 0
        safe = jnp.where(present, norms, 1)
        cosines = gram / safe[:, None] / safe[None, :]
        first, sign = directions(problem.inputs, gram)
        # The slot of an example that is padded, or not the first, is empty.
        used = (first == jnp.arange(len(norms), dtype=jnp.int32)) & present
        both = used[:, None] & used[None, :]
        unit = jnp.eye(len(norms), dtype=gram.dtype)
        off = jnp.where(both, cosines, 0) * (1 - unit)
        lengths = jnp.where(present, sign * norms, 0)
        return cls(off + unit, lengths, first, used, problem.slope)

    def collected(self, values: Pairs) -> Pairs:
        """Sums over the examples of each kink: (p, n) by example → (p, n) by slot."""
        return jnp.zeros_like(values).at[:, self.first].add(values)

    def spread(self, values: Shaped[Array, "p n"]) -> Shaped[Array, "p n"]:
        """(p, n) by slot → (p, n) by example."""
        return values[:, self.first]

    def activations(self, s: Pairs, sides: Sides) -> Pairs:
        """σ(z_ji) by the sides that the kinks keep, (p, n): smooth between events."""
        z = self.spread(s) * self.lengths[None, :]
        return gated(z, self.active(sides), self.slope)

    def active(self, sides: Sides) -> PairMask:
        """1[z_ji > 0] by the sides; no sliding pair is active."""
        upward = self.lengths[None, :] > 0
        side = self.spread(sides)
        return jnp.where(upward, side == ABOVE, side == BELOW) & (
            self.lengths[None, :] != 0
        )


class Point(eqx.Module):
    """The field at one point: r (n,), φ and s' (p, n), a' (p,); λ and F⁺ − F⁻ (p, n),
    which say when a sliding kink is released."""

    residuals: Examples
    forces: Pairs
    speeds: Pairs
    a_velocity: Neurons
    multipliers: Pairs
    jumps: Pairs


def two_forces(
    problem: Problem, kinks: Kinks, a: Neurons, r: Examples
) -> tuple[Pairs, Pairs]:
    """F⁺ and F⁻, (p, n) by slot."""
    pushes = r * kinks.lengths

    def force(mask: Bool[Array, " n"]) -> Pairs:
        active = gated(pushes, mask, kinks.slope)
        total = jnp.zeros_like(pushes).at[kinks.first].add(active)
        return (problem.at_rate_w(a) / problem.n)[:, None] * total[None, :]

    return force(kinks.lengths > 0), force(kinks.lengths < 0)


def left_of(kinks: Kinks, r: Examples, terms: Examples) -> Examples:
    """|F⁺ − F⁻| over the sum of the terms that make it up, (n,) by slot; `terms`: those
    of the residuals. Of the size of rounding where the residuals are."""
    pushes = jnp.stack([r, terms]) * jnp.abs(kinks.lengths)[None, :]
    left, whole = jnp.abs(kinks.collected(pushes))
    return left / jnp.where(whole > 0, whole, 1)


def field(
    problem: Problem, kinks: Kinks, s: Pairs, a: Neurons, sides: Sides, room: int
) -> Point:
    """The smooth field that belongs to the sides; `room` for so many sliding kinks of a
    neuron."""
    on = kinks.activations(s, sides)
    r = problem.residuals(on, a)
    above, below = two_forces(problem, kinks, a, r)
    known = jnp.where(sides == ABOVE, above, jnp.where(sides == BELOW, below, 0))
    push = product(known, kinks.cosines)
    forces = known + holding(kinks, sides == SLIDING, push, room)
    jumps = above - below
    safe = jnp.where(jumps == 0, 1, jumps)
    return Point(
        residuals=r,
        forces=forces,
        speeds=product(forces, kinks.cosines),
        a_velocity=problem.at_rate_a(product(on, r)) / problem.n,
        multipliers=jnp.where(jumps == 0, 0, (forces - below) / safe),
        jumps=jumps,
    )


def holding(kinks: Kinks, held: PairMask, push: Pairs, room: int) -> Pairs:
    """φ of the kinks that are held at zero, against what pushes them, 0 elsewhere:
    K_SS φ_S = −push_S."""

    def one(held: Bool[Array, " n"], push: Examples) -> Examples:
        index = jnp.nonzero(held, size=room, fill_value=held.shape[0])[0]
        there = index < held.shape[0]
        where = jnp.minimum(index, held.shape[0] - 1)
        among = kinks.cosines[where[:, None], where[None, :]]
        pairs = there[:, None] & there[None, :]
        unit = jnp.eye(room, dtype=push.dtype)
        # Empty places hold a unit matrix, which leaves the others as they are.
        matrix = jnp.where(pairs, among, unit)
        found = _solve(matrix, jnp.where(there, -push[where], 0))
        return jnp.zeros_like(push).at[index].set(found, mode="drop")

    return jax.lax.cond(
        jnp.any(held),
        lambda: jax.vmap(one)(held, push),
        lambda: jnp.zeros_like(push),
    )


def _solve(matrix: Float[Array, "S S"], b: Float[Array, " S"]) -> Float[Array, " S"]:
    """The solution x of a positive definite system.

    By elimination without pivoting, which such a matrix does not need: a call of LAPACK
    for each of many small matrices takes some thirty times as long on a CPU.
    """
    if len(b) > _SMALL:
        return jnp.linalg.solve(matrix, b)
    rows = jnp.concatenate([matrix, b[:, None]], axis=1)

    def eliminate(k: Array, rows: Float[Array, "S T"]) -> Float[Array, "S T"]:
        pivot = rows[k] / rows[k, k]
        return (rows - rows[:, k][:, None] * pivot[None, :]).at[k].set(pivot)

    return jax.lax.fori_loop(0, len(b), eliminate, rows)[:, -1]


def new_sides(
    problem: Problem,
    kinks: Kinks,
    s: Pairs,
    a: Neurons,
    sides: Sides,
    at_zero: PairMask,
    most: int,
) -> tuple[Sides, Bool[Array, ""]]:
    """The sides of the kinks `at_zero`, the others' as they are, and whether they were
    found within `most` changes of a side."""
    above, below = forces_at(problem, kinks, s, a, sides, at_zero)
    attracts = above < below
    # Pushed apart, a kink goes through to the side that it was heading for.
    through = jnp.where(sides == ABOVE, BELOW, ABOVE)
    fixed = jnp.where(at_zero & ~attracts, through, sides)
    open_ = at_zero & attracts
    start = jnp.where(open_, SLIDING, fixed)
    flat = jnp.zeros_like(s)
    found, _, good = complementary(kinks, above, below, flat, start, open_, most)
    return found, good


def forces_at(
    problem: Problem, kinks: Kinks, s: Pairs, a: Neurons, sides: Sides, zero: PairMask
) -> tuple[Pairs, Pairs]:
    """F⁺ and F⁻ where the kinks `zero` lie at zero."""
    on = kinks.activations(s, jnp.where(zero, SLIDING, sides))
    return two_forces(problem, kinks, a, problem.residuals(on, a))


def complementary(
    kinks: Kinks,
    above: Pairs,
    below: Pairs,
    heights: Pairs,
    start: Sides,
    open_: PairMask,
    most: int,
) -> tuple[Sides, Pairs, Bool[Array, ""]]:
    """The sides of the kinks `open_` such that each has the force of the side on which
    heights + s' lies, or lies at zero; s', and whether they were found.

    The forces of neighbouring examples change when a side does, so the sides are found
    by principal pivoting: solve for the sliding ones, move the first kink that
    contradicts its side, and again, at most `most` times (finite for K_SS positive
    definite).
    """
    rounding = _ROUNDINGS * jnp.finfo(above.dtype).eps
    room = above.shape[1]

    def field_of(sides: Sides) -> tuple[Pairs, Pairs]:
        known = jnp.where(sides == ABOVE, above, jnp.where(sides == BELOW, below, 0))
        push = product(known, kinks.cosines) + jnp.where(open_, heights, 0)
        forces = known + holding(kinks, sides == SLIDING, push, room)
        return forces, product(forces, kinks.cosines)

    def look(sides: Sides) -> tuple[Sides, PairMask]:
        """Where each open kink would rather be."""
        forces, speeds = field_of(sides)
        size = rounding * jnp.max(jnp.abs(forces), axis=1, keepdims=True)
        wanted = jnp.where(forces > below + size, BELOW, SLIDING)
        wanted = jnp.where(forces < above - size, ABOVE, wanted)
        wanted = jnp.where(sides != SLIDING, sides, wanted)
        # Above, it must not fall; below, it must not rise.
        ahead = heights + speeds
        wanted = jnp.where((sides == ABOVE) & (ahead < -size), SLIDING, wanted)
        wanted = jnp.where((sides == BELOW) & (ahead > size), SLIDING, wanted)
        return wanted, open_ & (wanted != sides)

    def pivot(state: tuple[Sides, Array, Array]) -> tuple[Sides, Array, Array]:
        sides, count, _ = state
        wanted, wrong = look(sides)
        slots = jnp.arange(wrong.shape[1], dtype=jnp.int32)[None, :]
        least = jnp.argmax(wrong, axis=1).astype(jnp.int32)[:, None]
        chosen = wrong & (slots == least)
        return jnp.where(chosen, wanted, sides), count + 1, jnp.any(wrong)

    sides, _, wrong = jax.lax.while_loop(
        lambda state: (state[1] < most) & state[2],
        pivot,
        (start, jnp.int32(0), jnp.array(True)),
    )
    return sides, field_of(sides)[1], ~wrong


def moved(kinks: Kinks, problem: Problem, integrals: Pairs) -> Weights:
    """Σ_k B_jk u_k in the coordinates of the run, (p, m)."""
    safe = jnp.where(kinks.lengths == 0, 1, kinks.lengths)
    shares = jnp.where(kinks.used[None, :], integrals / safe[None, :], 0)
    return problem.inputs.adjoint(shares)


def squares(kinks: Kinks, integrals: Pairs, start: Pairs) -> Neurons:
    """‖w_j‖² − ‖w_j(0)‖², (p,)."""
    return jnp.sum(integrals * (2 * start + product(integrals, kinks.cosines)), axis=1)


def size_of(integrals: Pairs, kinks: Kinks) -> Neurons:
    """‖Σ_k B_jk u_k‖, (p,). Scaled first: squares of 1e-20 underflow in float32."""
    largest = jnp.max(jnp.abs(integrals), axis=1)
    unit = integrals / jnp.where(largest > 0, largest, 1)[:, None]
    square = jnp.sum(unit * product(unit, kinks.cosines), axis=1)
    return largest * jnp.sqrt(jnp.maximum(square, 0))
