"""The multipliers of the flow at the kinks of the ReLU, averaged over one step.

Where x_i·x_k ≠ 0 a pair (neuron j, example i) can *slide*: seen from above z_ji falls,
seen from below it rises, and the flow keeps z_ji = 0. There the flow is Filippov's (the
limit of gradient descent as its step tends to zero): 1[z_ji > 0] is replaced by the
multiplier λ_ji in [0, 1] that makes d/dt z_ji vanish.

**One pair.** With everything else held, z' = F + s 1[z > 0], where F collects the other
pairs and s = a_j r_i ‖x_i‖²/n is the pair's own push. This flow has a closed form: it
reaches zero at most once within a step, and then crosses, slides (s < 0 < F < −s) or
stays. `mean_mask` is the mean over the step of 1[z > 0], or of λ, along it, so

    z(t + h) = z + h (F + s · mean_mask(z, F, s, h)).

**The pairs of one neuron** push each other: F_ji contains Σ_k K_ik (a_j r_k/n) λ_jk.
`coupled_masks` solves for the pairs that are near their kink together; the others keep
the F of the step before.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._linalg import extend, product
from .._problem.inputs import AbstractInputs, DenseInputs
from .._types import Examples, PairMask, Pairs, Scalar

# Up to this many examples K is formed even where the inputs are dense (512 MiB in
# float64). Its entries are then looked up, several times quicker on a CPU than the
# inner products are computed.
_LARGEST_GRAM = 8192
# Damped Jacobi iterations for the coupled multipliers. They start from the one-pair
# solution; 2 or 16 sweeps instead of 4 change nothing in the error of a run.
_SWEEPS, _DAMPING = 4, 0.7
# In a word of `_first_indices`.
_BITS = 32


def mean_mask(
    z: Float[Array, "p k"],
    drift: Float[Array, "p k"],
    jump: Float[Array, "p k"],
    step: Scalar,
) -> Float[Array, "p k"]:
    """The mean of 1[z > 0] over a step of z' = F + s 1[z > 0], a number in [0, 1].

    `drift` is F, `jump` is s, `step` is the length of the step in units of time.
    """
    above = drift + jump
    attracts = jump < 0
    # The multiplier that ends the step at zero, and the shares of the step that a pair
    # spends above zero when it crosses downwards and upwards.
    slide = -(z / step + drift) / _nonzero(jump)
    down = -z / (step * _nonzero(above))
    up = 1 + z / (step * _nonzero(drift))
    from_above = jnp.where(
        z + step * above >= 0, 1, jnp.where(attracts & (drift > 0), slide, down)
    )
    from_below = jnp.where(
        z + step * drift <= 0, 0, jnp.where(attracts & (above < 0), slide, up)
    )
    return jnp.clip(jnp.where(z > 0, from_above, from_below), 0, 1)


def slides(drift: Pairs, jump: Pairs, masks: Pairs) -> PairMask:
    """Which pairs end the step on their kink, pushed onto it from both sides."""
    onto = (jump < 0) & (drift > 0) & (drift + jump < 0)
    return onto & (masks > 0) & (masks < 1)


class Interactions(eqx.Module):
    """K_ik = x_i·x_k, as far as it is needed: formed, or by inner products."""

    inputs: AbstractInputs
    gram: Float[Array, "n n"] | None
    squares: Examples

    def __init__(self, inputs: AbstractInputs):
        large = inputs.num_examples > _LARGEST_GRAM
        self.inputs = inputs
        self.gram = None if large and isinstance(inputs, DenseInputs) else inputs.gram()
        self.squares = inputs.norms**2

    def image(self, cotangent: Float[Array, "k n"]) -> Float[Array, "k n"]:
        """c K, row by row."""
        if self.gram is None:
            return self.inputs.preactivations(self.inputs.adjoint(cotangent))
        return product(cotangent, self.gram)

    def among(self, index: Int[Array, "p S"]) -> Float[Array, "p S S"]:
        """K restricted to the examples of each row of `index`."""
        if self.gram is None:
            assert isinstance(self.inputs, DenseInputs)
            rows = self.inputs.x[index]
            highest = jax.lax.Precision.HIGHEST
            return jnp.einsum("jad,jbd->jab", rows, rows, precision=highest)
        return self.gram[index[:, :, None], index[:, None, :]]

    def largest_eigenvalue(self) -> Scalar:
        """By power iteration: a few per cent are enough for a bound on the step."""
        n = self.inputs.num_examples
        start = 1 + 0.5 * jnp.cos(1.7 * jnp.arange(n, dtype=self.squares.dtype))

        def iterate(_: Array, v: Float[Array, "1 n"]) -> Float[Array, "1 n"]:
            image = self.image(v)
            return image / jnp.linalg.norm(image)

        v = jax.lax.fori_loop(0, 30, iterate, start[None, :])
        return jnp.linalg.norm(self.image(v))


class Masks(eqx.Module):
    """`values`: the multipliers (p, n). `overflow`: how many pairs of one neuron that
    should have been coupled found no room among the candidates, at most."""

    values: Pairs
    overflow: Int[Array, ""]


def coupled_masks(
    interactions: Interactions,
    z: Pairs,
    velocity: Pairs,
    cotangent: Pairs,
    gain: Pairs,
    step: Scalar,
    candidates: int,
) -> Masks:
    """The mean multipliers of a step, coupled within each neuron.

    **Arguments:**

    - `interactions`: K.
    - `z`: the preactivations where the step starts, (p, n).
    - `velocity`, `cotangent`: a prediction of d/dt z = K c over the step and the
      cotangents c that it is made of, (p, n).
    - `gain`: c per unit of the multiplier, (a_j/n) r_i, (p, n).
    - `step`: h, in units of time.
    - `candidates`: S, how many pairs of a neuron are solved together. The products with
      K then cost p S² per sweep.
    """
    n = z.shape[1]
    squares = interactions.squares
    jump = gain * squares[None, :]
    masks = mean_mask(z, velocity - squares[None, :] * cotangent, jump, step)
    ahead = z + step * velocity
    undecided = ((masks > 0) & (masks < 1)) | (z * ahead < 0)
    close = undecided | (jnp.minimum(jnp.abs(z), jnp.abs(ahead)) < step * jnp.abs(jump))
    room = jnp.sum(close, axis=1, keepdims=True) <= candidates
    chosen = jnp.where(room, close, undecided)
    index = _first_indices(chosen, candidates)
    present = index < n
    where = jnp.minimum(index, n - 1)

    def pick(values: Pairs) -> Float[Array, "p S"]:
        return jnp.take_along_axis(values, where, axis=1)

    inner = interactions.among(where)
    z_c, velocity_c, jump_c, start = (pick(v) for v in (z, velocity, jump, masks))
    gain_c = jnp.where(present, pick(gain), 0)
    cotangent_c = jnp.where(present, pick(cotangent), 0)

    def sweep(_: Array, current: Float[Array, "p S"]) -> Float[Array, "p S"]:
        change = jnp.einsum(
            "jab,jb->ja",
            inner,
            gain_c * current - cotangent_c,
            precision=jax.lax.Precision.HIGHEST,
        )
        drift = velocity_c + change - jump_c * current
        new = mean_mask(z_c, drift, jump_c, step)
        return current + _DAMPING * (new - current)

    solved = jax.lax.fori_loop(0, _SWEEPS, sweep, start)
    values = jax.vmap(lambda row, at, new: row.at[at].set(new, mode="drop"))(
        masks, index, solved
    )
    most = jnp.max(jnp.sum(chosen, axis=1, dtype=jnp.int32))
    return Masks(values, jnp.maximum(most - candidates, 0))


def _first_indices(chosen: Bool[Array, "p n"], count: int) -> Int[Array, "p S"]:
    """Where each row holds its first `count` true entries; n where there are fewer.

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
    ranks = jnp.arange(1, count + 1, dtype=jnp.int32)
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


def _nonzero(x: Array) -> Array:
    return jnp.where(x == 0, 1, x)
