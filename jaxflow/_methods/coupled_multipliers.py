"""The multipliers of a step that belong to one neuron, solved together.

A pair's drift F_i contains the pushes of the others, Σ_k K_ik (a_j r_k/n) λ_k. Of the
pairs that attract, g_k = a_j r_k/n < 0, let ν_k = |g_k| λ_k. With the velocities
v = b − K ν, the rule of one pair makes λ a monotone function of v, so that these are
the optimality conditions of a convex problem in ν on the box [0, |g|] with quadratic
part ½ ν·Kν. K may be singular; Kν and with it the velocity are unique.

**The iteration.** K is replaced by a larger diagonal matrix, the sums of its rows'
|cosines|, which leaves the rule of one pair with a drift that falls as λ rises
(`damped_mask`), and the result is extrapolated (Nesterov's, restarted where it goes
uphill). It ends by its residual. A pair that repels has no part in the convex problem:
it follows the others. Next to one that slides, almost collinear with it, which side it
is on may hang on less than the residual: `doubt` says how much is at stake.

**Collinear inputs** share one kink, x_k = c_k x_i: with λ for x_i those along it have
the multiplier λ, opposite ones 1 − λ. Together they push with

    Σ_k g_k c_k λ_k = G λ − B,   G = Σ_k g_k |c_k|,   B = Σ_{c_k < 0} g_k |c_k|,

so that they attract where G < 0, whatever the single signs.
"""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._linalg import extend, inverse, nonzero
from .._types import Neurons, PairMask, Pairs, Scalar
from .._xla import only_where_needed
from .interactions import Interactions
from .multipliers import damped_mask, mean_mask, slides

# Iterations at most. A pair that repels is moved by less than a full step, and in the
# first ones only: nothing makes it converge.
_ITERATIONS = 400
_DAMPING, _FOLLOWING = 0.7, 8
# Kinks beyond those that there is room for are solved in further blocks, and all blocks
# again and again, at most so often.
_SWEEPS = 200
# Most steps need few of the slots for kinks: so many sixteenths of them, where that is
# not less than _LEAST.
_SHARES, _LEAST = (8, 4, 3, 2), 16
# A pair lies on its kink when its own push moves it so many times as far in a step.
_ON_KINK = 1e-3
# Roundings that the residual cannot go below.
_ROUNDINGS = 64
# In a word of `_indices`.
_BITS = 32


class Masks(eqx.Module):
    """`values`: the multipliers, (p, n). `sliding`: which pairs end the step on their
    kink, (p, n). `overflow`: by how many pairs of one neuron there were more to be
    coupled than there is room for, at most; where they are worth the time they are
    solved block by block, which is slow. `residual`: what the multipliers are solved
    to, as a share of the largest push of a neuron. `doubt`: how far the pushes of the
    pairs that repel would take each neuron in the step, where the residual leaves open
    which way, (p,)."""

    values: Pairs
    sliding: PairMask
    overflow: Int[Array, ""]
    residual: Scalar
    doubt: Neurons


class _Kinks(eqx.Module):
    """The kinks that are solved together: S of each neuron, (p, S) each. n in `index`
    stands for none.

    `velocity` is v where the multipliers' pushes are `pushed`; `gain` is G, and
    `opposite` B."""

    index: Int[Array, "p S"]
    present: Bool[Array, "p S"]
    z: Float[Array, "p S"]
    velocity: Float[Array, "p S"]
    pushed: Float[Array, "p S"]
    gain: Float[Array, "p S"]
    opposite: Float[Array, "p S"]
    squares: Float[Array, "p S"]

    @property
    def jump(self) -> Float[Array, "p S"]:
        """The own push s of each kink."""
        return self.gain * self.squares

    @property
    def attracts(self) -> Bool[Array, "p S"]:
        return self.present & (self.jump < 0)


def coupled_masks(
    interactions: Interactions,
    z: Pairs,
    velocity: Pairs,
    cotangent: Pairs,
    gain: Pairs,
    step: Scalar,
    candidates: int,
    accuracy: Scalar,
    crowds: Bool[Array, ""],
) -> Masks:
    """The mean multipliers of a step, coupled within each neuron.

    **Arguments:**

    - `interactions`: K.
    - `z`: the preactivations where the step starts, (p, n).
    - `velocity`, `cotangent`: a prediction of d/dt z = K c over the step and the
      cotangents c that it is made of, (p, n).
    - `gain`: c per unit of the multiplier, (a_j/n) r_i, (p, n).
    - `step`: h, in units of time.
    - `candidates`: S, how many kinks of a neuron are solved at a time. The products
      with K then cost p S² per iteration.
    - `accuracy`: the residual that is asked for.
    - `crowds`: whether kinks for which there is no room are worth the time. Without
      that they are left alone.
    """
    squares = interactions.squares
    jump = gain * squares[None, :]
    masks = mean_mask(z, velocity - squares[None, :] * cotangent, jump, step)
    ahead = z + step * velocity
    reach = step * jnp.abs(jump)
    crosses = ((z > 0) & (ahead < 0)) | ((z < 0) & (ahead > 0))
    undecided = ((masks > 0) & (masks < 1)) | crosses
    undecided |= jnp.abs(z) < _ON_KINK * reach
    close = undecided | (jnp.minimum(jnp.abs(z), jnp.abs(ahead)) < reach)
    undecided, close = (_by_direction(interactions, m) for m in (undecided, close))
    most = jnp.max(jnp.sum(undecided, axis=1, dtype=jnp.int32))
    # What is only close takes part where that does not make a step longer.
    fits = jnp.sum(close, axis=1, dtype=jnp.int32) <= _part(candidates, _SHARES[-1])
    chosen = jnp.where(fits[:, None], close, undecided)
    blocks = jnp.where(crowds, jnp.maximum(-(-most // candidates), 1), 1)
    accuracy = jnp.maximum(accuracy, _ROUNDINGS * jnp.finfo(z.dtype).eps)

    def solved(
        number: Array | int,
        shares: tuple[int, ...],
        pairs: tuple[Pairs, PairMask],
        velocity: Pairs,
        cotangent: Pairs,
    ) -> _Solution:
        """The kinks of one block, where all pairs push by `cotangent`; the others stay
        what `pairs` has."""
        index = _indices(chosen, candidates * number, candidates)
        kinks = _picked(interactions, index, z, velocity, cotangent, gain)
        values, slides, *others = _solve(interactions, kinks, step, accuracy, shares)
        return _Solution(*_spread(interactions, kinks, values, slides, pairs), *others)

    nothing = jnp.zeros(z.shape, bool)
    first = solved(0, _SHARES, (masks, nothing), velocity, cotangent)

    def swept() -> _Solution:
        """Block by block, each of which sees what the ones before it do."""

        def unfinished(state: tuple[_Solution, Pairs, Array]) -> Bool[Array, ""]:
            found, _, count = state
            settled = (count % blocks == 0) & (found.moved <= accuracy)
            return ~settled & (count < _SWEEPS * blocks)

        def block(
            state: tuple[_Solution, Pairs, Array],
        ) -> tuple[_Solution, Pairs, Array]:
            found, speed, count = state
            number, pushes = count % blocks, gain * found.values
            pairs = found.values, found.sliding
            new = solved(number, (), pairs, speed, pushes)
            speed = speed + interactions.image(gain * new.values - pushes)
            # Of this sweep; all three are at least 0.
            residual, moved, doubt = (
                jnp.where(number > 0, old, 0)
                for old in (found.residual, found.moved, found.doubt)
            )
            new = _Solution(
                new.values,
                new.sliding,
                residual=jnp.maximum(residual, new.residual),
                moved=jnp.maximum(moved, new.moved),
                doubt=doubt + new.doubt,
            )
            return new, speed, count + 1

        speed = velocity + interactions.image(gain * first.values - cotangent)
        end, _, _ = jax.lax.while_loop(unfinished, block, (first, speed, jnp.int32(1)))
        residual = jnp.maximum(end.residual, end.moved)
        return eqx.tree_at(lambda found: found.residual, end, residual)

    # The loop would copy all pairs several times, and most steps need one block.
    end = only_where_needed(blocks > 1, swept, first)
    overflow = jnp.maximum(most - candidates, 0)
    return Masks(end.values, end.sliding, overflow, end.residual, end.doubt)


class _Solution(eqx.Module):
    """`moved`: by how much the pushes that attract changed since the block was solved
    the last time, as a residual; of all blocks since the last sweep."""

    values: Pairs
    sliding: PairMask
    residual: Scalar
    moved: Scalar
    doubt: Neurons


def _by_direction(interactions: Interactions, chosen: PairMask) -> PairMask:
    """The first examples of each direction of which any example is chosen."""
    slots = jnp.arange(chosen.shape[1], dtype=jnp.int32)
    joined = interactions.over_directions(
        slots, chosen, lambda i, there, all: all | (chosen[:, i] & there[None, :])
    )
    return joined & interactions.first[None, :]


Sums = tuple[Array, Array, Array]


def _picked(
    interactions: Interactions,
    index: Int[Array, "p S"],
    z: Pairs,
    velocity: Pairs,
    cotangent: Pairs,
    gain: Pairs,
) -> _Kinks:
    n = z.shape[1]
    present, where = index < n, jnp.minimum(index, n - 1)

    def pick(values: Pairs, at: Array = where) -> Float[Array, "p S"]:
        return jnp.take_along_axis(values, at, axis=1)

    def collect(i: Array, there: Array, sums: Sums) -> Sums:
        ratio = jnp.where(there, interactions.ratios[i], 0)
        total, opposite, pushed = sums
        own = pick(gain, i) * jnp.abs(ratio)
        opposite = opposite + jnp.where(ratio < 0, own, 0)
        return total + own, opposite, pushed + ratio * pick(cotangent, i)

    own = (pick(gain), jnp.zeros_like(pick(gain)), pick(cotangent))
    gains, opposite, pushed = (
        jnp.where(present, v, 0)
        for v in interactions.over_directions(index, own, collect)
    )
    return _Kinks(
        index=index,
        present=present,
        z=pick(z),
        velocity=pick(velocity),
        pushed=pushed,
        gain=gains,
        opposite=opposite,
        squares=interactions.squares[where],
    )


Solved = tuple[Float[Array, "p S"], Bool[Array, "p S"], Scalar, Scalar, Neurons]
# λ, the velocities v there, and the residuals, (p, 1).
Iterated = tuple[Float[Array, "p S"], Float[Array, "p S"], Float[Array, "p 1"]]


def _solve(
    interactions: Interactions,
    kinks: _Kinks,
    step: Scalar,
    accuracy: Scalar,
    shares: tuple[int, ...],
) -> Solved:
    """λ of each kink, which slide, the residual, by how much λ has moved, and the
    doubt. `shares`: parts of the slots, in sixteenths, that are taken where they are
    enough."""
    z, jump, attracts = kinks.z, kinks.jump, kinks.attracts
    largest = jnp.max(jnp.abs(jump), axis=1, keepdims=True)
    # Those that slid in the step before start from there.
    own = kinks.velocity - kinks.squares * (kinks.pushed + kinks.opposite)
    alone = mean_mask(z, own, jump, step)
    before = (kinks.pushed + kinks.opposite) / nonzero(kinks.gain)
    start = jnp.where(attracts & (before > 0) & (before < 1), before, alone)
    masks, velocity, residual = _iterated(
        interactions, kinks, start, largest, step, accuracy, shares
    )
    drift = velocity - jump * masks
    # The one kink that a neuron meets is met to rounding: beyond it the neuron may be
    # dead, and a preactivation a little above it would come to life again.
    between = kinks.present & (masks > 0) & (masks < 1)
    only = between & (jnp.sum(between, axis=1, keepdims=True, dtype=jnp.int32) == 1)
    masks = jnp.where(only, mean_mask(z, drift, jump, step), masks)
    sliding = kinks.present & slides(drift, jump, masks)
    moved = jnp.abs(kinks.gain * masks - kinks.opposite - kinks.pushed) * kinks.squares
    moved = jnp.max(jnp.where(attracts, moved, 0) * inverse(largest))
    # What a pair that repels does with velocities that differ by the residual.
    slack = residual * largest
    either = [mean_mask(z, drift + s, jump, step) - masks for s in (-slack, slack)]
    open_share = jnp.maximum(jnp.abs(either[0]), jnp.abs(either[1]))
    open_share = jnp.where(kinks.present & ~attracts, open_share, 0)
    doubt = step * jnp.sum(open_share * jnp.abs(jump) * _inverse_roots(kinks), axis=1)
    return masks, sliding, jnp.max(residual), moved, doubt


def _iterated(
    interactions: Interactions,
    kinks: _Kinks,
    start: Float[Array, "p S"],
    largest: Float[Array, "p 1"],
    step: Scalar,
    accuracy: Scalar,
    shares: tuple[int, ...],
) -> Iterated:
    """The iteration from `start`, in as many slots as the kinks need."""
    room = kinks.index.shape[1]
    most = jnp.max(jnp.sum(kinks.present, axis=1, dtype=jnp.int32))
    # Those at the front are filled first. Fewer than so many are not worth a program.
    sizes = [room] + [size for k in shares if (size := _part(room, k)) >= _LEAST]
    fitting = jnp.sum(jnp.stack([most <= size for size in sizes]), dtype=jnp.int32)

    def iterated(number: int, size: int) -> Iterated:
        part, from_there = jax.tree.map(lambda v: v[:, :size], (kinks, start))
        masks, velocity, residual = _iterate(
            interactions, part, from_there, largest, step, accuracy, fitting == number
        )
        return extend(masks, 1, room), extend(velocity, 1, room), residual

    found: Iterated = jax.lax.switch(
        fitting - 1, [partial(iterated, *of) for of in enumerate(sizes, 1)]
    )
    return found


def _part(room: int, sixteenths: int) -> int:
    return -(-room * sixteenths // 16)


def _inverse_roots(kinks: _Kinks) -> Float[Array, "p S"]:
    """1/‖x_i‖, 0 where there is no kink."""
    return inverse(jnp.where(kinks.present, jnp.sqrt(kinks.squares), 0))


def _iterate(
    interactions: Interactions,
    kinks: _Kinks,
    start: Float[Array, "p S"],
    largest: Float[Array, "p 1"],
    step: Scalar,
    accuracy: Scalar,
    needed: Bool[Array, ""],
) -> Iterated:
    n = interactions.inputs.num_examples
    size = kinks.index.shape[1]
    # Where it is not needed it costs nothing; and once made it is kept. XLA would look
    # it up anew for each use.
    inner = only_where_needed(
        needed,
        lambda: interactions.among(jnp.minimum(kinks.index, n - 1)),
        jnp.zeros((len(kinks.index), size, size), kinks.z.dtype),
    )
    # Row sums of |cosines|, of kinks that are present.
    lengths = _inverse_roots(kinks)
    rows = jnp.maximum(jnp.einsum("jab,jb->ja", jnp.abs(inner), lengths) * lengths, 1)
    z, jump, attracts = kinks.z, kinks.jump, kinks.attracts
    pull = jnp.where(attracts, -jump, 0)
    # What the diagonal matrix has more than K.
    extra = pull * (rows - 1)
    inverse_push = inverse(largest)

    def velocity(masks: Array) -> Array:
        change = kinks.gain * masks - kinks.opposite - kinks.pushed
        change = jnp.where(kinks.present, change, 0)
        highest = jax.lax.Precision.HIGHEST
        return kinks.velocity + jnp.einsum(
            "jab,jb->ja", inner, change, precision=highest
        )

    def unfinished(state: Any) -> Array:
        *_, count, residual = state
        return needed & (count < _ITERATIONS) & jnp.any(residual > accuracy)

    def iterate(state: Any) -> Any:
        masks, ahead, momentum, count, _ = state
        speed = velocity(ahead)
        held = damped_mask(z, speed + (pull + extra) * ahead, pull, extra, step)
        follows = mean_mask(z, speed - jump * ahead, jump, step)
        share = jnp.where(count < _FOLLOWING, _DAMPING, 0)
        new = jnp.where(attracts, held, masks + share * (follows - masks))
        new = jnp.where(kinks.present, new, masks)
        change, moved = new - ahead, new - masks
        missed = jnp.abs(jump * change) * jnp.where(attracts, rows, share)
        missed = jnp.where(kinks.present, missed, 0) * inverse_push
        residual = jnp.max(missed, axis=1, keepdims=True)
        uphill = jnp.sum(pull * change * moved * rows, axis=1, keepdims=True) < 0
        momentum = jnp.where(uphill, 1, momentum)
        later = 0.5 * (1 + jnp.sqrt(1 + 4 * momentum**2))
        beyond = jnp.where(uphill, 0, (momentum - 1) / later)
        ahead = new + jnp.where(attracts, beyond * moved, 0)
        return new, ahead, later, count + 1, residual

    ones = jnp.ones_like(largest)
    state = (start, start, ones, jnp.int32(0), jnp.full_like(largest, jnp.inf))
    masks, _, _, _, residual = jax.lax.while_loop(unfinished, iterate, state)
    return masks, velocity(masks), residual


def _spread(
    interactions: Interactions,
    kinks: _Kinks,
    solved: Float[Array, "p S"],
    sliding: Bool[Array, "p S"],
    pairs: tuple[Pairs, PairMask],
) -> tuple[Pairs, PairMask]:
    """`pairs`, (p, n) each, with what has been solved put in its place."""
    n = pairs[0].shape[1]
    put = jax.vmap(lambda row, at, new: row.at[at].set(new, mode="drop"))

    def place(i: Array, there: Array, pairs: tuple[Array, Array]) -> tuple[Any, Any]:
        at = jnp.where(there, i, n)
        own = jnp.where(interactions.ratios[i] < 0, 1 - solved, solved)
        return put(pairs[0], at, own), put(pairs[1], at, sliding)

    first = put(pairs[0], kinks.index, solved), put(pairs[1], kinks.index, sliding)
    return interactions.over_directions(kinks.index, first, place)


def _indices(
    chosen: Bool[Array, "p n"], first: Int[Array, ""] | int, count: int
) -> Int[Array, "p S"]:
    """Where each row holds `count` of its true entries, without the `first` ones; n
    where there are fewer.

    A row is packed into words of 32 bits, and only words are counted and searched: on a
    CPU a running sum over all entries takes a tenth of a whole step and more.
    """
    n = chosen.shape[1]
    padded = extend(chosen, 1, -(-n // _BITS) * _BITS)
    bits = padded.reshape(len(chosen), -1, _BITS).astype(jnp.uint32)
    shifts = jnp.arange(_BITS, dtype=jnp.uint32)[None, None, :]
    words = jnp.sum(bits << shifts, axis=2, dtype=jnp.uint32)
    filled = jax.lax.population_count(words).astype(jnp.int32)
    running = jnp.cumsum(filled, axis=1)
    ranks = first + jnp.arange(1, count + 1, dtype=jnp.int32)
    word = jax.vmap(lambda row: jnp.searchsorted(row, ranks))(running)
    there = jnp.minimum(word, words.shape[1] - 1)
    # Before the bit that is sought lie those up to which the word has fewer set bits
    # than its rank: as many as its place in the word.
    left = ranks[None, :] - jnp.take_along_axis(running - filled, there, axis=1)
    found = jnp.take_along_axis(words, there, axis=1)
    up_to = (jnp.uint32(2) << shifts) - 1
    below = jax.lax.population_count(found[:, :, None] & up_to).astype(jnp.int32)
    place = _BITS * there + jnp.sum(below < left[:, :, None], axis=2, dtype=jnp.int32)
    return jnp.where(word < words.shape[1], place, n).astype(jnp.int32)
