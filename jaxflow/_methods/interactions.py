"""How the inputs act on each other: K, and which inputs share one kink."""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._linalg import product
from .._problem.inputs import AbstractInputs, DenseInputs
from .._types import Examples

T = TypeVar("T")

# Up to this many examples K is formed even where the inputs are dense (512 MiB in
# float64). Its entries are then looked up, several times quicker on a CPU than the
# inner products are computed.
_LARGEST_GRAM = 8192
# Collinear inputs agree to so many roundings. Their cosine alone cannot tell: in
# float32 it is within 64 roundings of ±1 at any angle below 0.004.
_ROUNDINGS = 64
# But cosines this close to ±1 make two kinks of a neuron one for all that is computed.
_UNRESOLVED = 2
# Inputs are compared by their inner products with so many random directions.
_MARKS = 8


class Interactions(eqx.Module):
    """K_ik = x_i·x_k, as far as it is needed: formed, or by inner products. And which
    examples are collinear, which share one kink: x_k = c_k (the first of them).

    - `squares`: K_ii, (n,).
    - `first`: whether an example is the first of its direction, (n,).
    - `ratios`: c_k, (n,): 1 for the first, negative for opposite inputs.
    - `following`: the next example of the same direction, (n,); n where there is none.
    """

    inputs: AbstractInputs
    gram: Float[Array, "n n"] | None
    squares: Examples
    first: Bool[Array, " n"]
    ratios: Examples
    following: Int[Array, " n"]

    def __init__(self, inputs: AbstractInputs):
        large = inputs.num_examples > _LARGEST_GRAM
        self.inputs = inputs
        self.gram = None if large and isinstance(inputs, DenseInputs) else inputs.gram()
        self.squares = inputs.norms**2
        self.first, self.ratios, self.following = self._directions()

    def _directions(self) -> tuple[Array, Array, Array]:
        n, norms = self.inputs.num_examples, self.inputs.norms
        leader, sign = directions(self.inputs, self.gram)
        length = norms[leader]
        ratios = jnp.where(
            norms > 0, sign * norms / jnp.where(length > 0, length, 1), 1
        )
        order = jnp.argsort(leader, stable=True).astype(jnp.int32)
        sorted_leader = leader[order]
        alike = sorted_leader[1:] == sorted_leader[:-1]
        following = jnp.full(n, n, jnp.int32)
        following = following.at[order[:-1]].set(jnp.where(alike, order[1:], n))
        return leader == jnp.arange(n, dtype=jnp.int32), ratios, following

    def over_directions(
        self,
        index: Int[Array, "..."],
        state: T,
        use: Callable[[Array, Array, T], T],
    ) -> T:
        """`use(i, there, state)` for the second example of each direction in `index`,
        then for the third, and so on; `there` where a direction has so many. n in
        `index` stands for none. Without collinear inputs this costs nothing."""
        n = self.inputs.num_examples

        def after(index: Array) -> Array:
            follows = self.following[jnp.minimum(index, n - 1)]
            return jnp.where(index < n, follows, n)

        def each(carry: tuple[Array, T]) -> tuple[Array, T]:
            index, state = carry
            there = index < n
            return after(index), use(jnp.minimum(index, n - 1), there, state)

        return jax.lax.while_loop(
            lambda carry: jnp.any(carry[0] < n), each, (after(index), state)
        )[1]

    def image(self, cotangent: Float[Array, "k n"]) -> Float[Array, "k n"]:
        """c K, row by row."""
        return self.inputs.preactivations_of_change(self.inputs.adjoint(cotangent))

    def among(self, index: Int[Array, "p S"]) -> Float[Array, "p S S"]:
        """K restricted to the examples of each row of `index`."""
        if self.gram is None:
            assert isinstance(self.inputs, DenseInputs)
            rows = self.inputs.x[index]
            highest = jax.lax.Precision.HIGHEST
            return jnp.einsum("jad,jbd->jab", rows, rows, precision=highest)
        return self.gram[index[:, :, None], index[:, None, :]]


def directions(
    inputs: AbstractInputs, gram: Float[Array, "n n"] | None
) -> tuple[Int[Array, " n"], Examples]:
    """The first example that each one is collinear with, itself if there is none, and
    the sign of their cosine, (n,) each. `gram`: K, where it is formed."""
    norms = inputs.norms
    present = norms > 0
    safe = jnp.where(present, norms, 1)
    eps = jnp.finfo(norms.dtype).eps
    slots = jnp.arange(len(norms), dtype=jnp.int32)
    # Inputs without coordinates are what their inner products with all the others are.
    rows = inputs.x if isinstance(inputs, DenseInputs) else gram
    assert rows is not None
    lengths = 1 if isinstance(inputs, DenseInputs) else safe[None, :]
    rows = rows / safe[:, None] / lengths
    many = (rows.shape[1], _MARKS)
    marks = product(rows, jax.random.normal(jax.random.key(0), many, rows.dtype))
    least = _ROUNDINGS * eps * jnp.sqrt(jnp.asarray(rows.shape[1], rows.dtype))

    def look(slot: Array) -> tuple[Array, Array]:
        if gram is None:
            assert isinstance(inputs, DenseInputs)
            row = product(inputs.x, inputs.x[slot])
        else:
            row = gram[slot]
        cosines = row / safe[slot] / safe
        other = jnp.sign(cosines)[:, None] * marks[slot][None, :]
        same = jnp.max(jnp.abs(marks - other), axis=1) <= least
        same &= jnp.abs(cosines) >= 1 - _ROUNDINGS * eps
        same |= jnp.abs(cosines) >= 1 - _UNRESOLVED * eps
        # Itself, whatever its rounding.
        found = jnp.argmax(same | (slots == slot)).astype(jnp.int32)
        return found, jnp.sign(cosines[found])

    first, sign = jax.lax.map(look, slots, batch_size=min(len(norms), 256))
    # A padded example is like no other: its row has no entry.
    return jnp.where(present, first, slots), sign
