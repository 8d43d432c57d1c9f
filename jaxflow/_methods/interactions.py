"""How the inputs act on each other: K, and which inputs share one kink."""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._linalg import extend, product
from .._problem.inputs import AbstractInputs, DenseInputs
from .._types import Examples
from .._xla import only_where_needed

T = TypeVar("T")

# Entries of K are looked up where it is formed, and made by inner products otherwise.
# On a CPU the first is the quicker while K stays in the cache, up to so many examples,
# or where inner products are long; K takes 512 MiB in float64 at the most.
_CACHED_GRAM, _FEW_COORDINATES, _LARGEST_GRAM = 1024, 256, 8192
# Collinear inputs agree to so many roundings. Their cosine alone cannot tell: in
# float32 it is within 64 roundings of ±1 at any angle below 0.004.
_ROUNDINGS = 64
# But cosines this close to ±1 make two kinks of a neuron one for all that is computed.
_UNRESOLVED = 2
# Inputs are compared by their inner products with so many random directions, so many
# inputs at a time.
_MARKS, _BLOCK = 8, 256


def forms_gram(inputs: AbstractInputs) -> bool:
    """Whether K is formed."""
    n, d = inputs.num_examples, inputs.num_coordinates
    if not isinstance(inputs, DenseInputs) or n <= _CACHED_GRAM:
        return True
    return d > _FEW_COORDINATES and n <= _LARGEST_GRAM


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
        self.inputs = inputs
        self.gram = inputs.gram() if forms_gram(inputs) else None
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

    def look(block: Array) -> tuple[Array, Array]:
        if gram is None:
            assert isinstance(inputs, DenseInputs)
            inner = product(inputs.x[block], inputs.x.T)
        else:
            inner = gram[block]
        cosines = inner / safe[block, None] / safe[None, :]
        near = jnp.abs(cosines) >= 1 - _ROUNDINGS * eps

        def compared() -> tuple[Array, Array]:
            other = jnp.sign(cosines)[:, :, None] * marks[block, None, :]
            apart = jnp.max(jnp.abs(marks[None, :, :] - other), axis=2)
            same = near & (apart <= least)
            same |= jnp.abs(cosines) >= 1 - _UNRESOLVED * eps
            # Itself, whatever its rounding.
            same |= block[:, None] == slots[None, :]
            found = jnp.argmax(same, axis=1).astype(jnp.int32)
            cosine = jnp.take_along_axis(cosines, found[:, None], axis=1)
            return found, jnp.sign(cosine[:, 0])

        # Most inputs are near none but themselves.
        others = near & (block[:, None] != slots[None, :])
        alone = block, present[block].astype(norms.dtype)
        return only_where_needed(jnp.any(others), compared, alone)

    count = min(len(norms), _BLOCK)
    blocks = extend(slots, 0, -(-len(norms) // count) * count).reshape(-1, count)
    first, sign = (v.reshape(-1)[: len(norms)] for v in jax.lax.map(look, blocks))
    # A padded example is like no other: its row has no entry.
    return jnp.where(present, first, slots), sign
