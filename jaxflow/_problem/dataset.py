"""The examples (x_i, y_i)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._checks import as_float_array, cast, is_concrete
from .._types import ArrayLike, Examples
from .geometry import cheapest_geometry
from .inputs import AbstractInputs, DenseInputs


class Dataset(eqx.Module):
    """n examples (x_i, y_i).

    **Arguments:**

    - `x`: the inputs: an array of shape (n, d), or one of the geometries
      (`DenseInputs`, `GramInputs`, `OrthogonalInputs`, `AntipodalInputs`).
    - `y`: the targets, shape (n,).

    From a concrete array the cheapest exact geometry for a run is chosen: orthogonal
    when XᵀX is diagonal to rounding, antipodal when the second half of the inputs is
    opposite to an orthogonal first half, Gram when n < 2d, dense otherwise.
    `data.geometry` says which. The networks that go with it keep their w in R^d all
    the same. `Dataset(DenseInputs(x), y)`, and an array that is traced (inside jit or
    vmap), stay dense. `data.x`, `data.y`, `data.n` and `data.d` are what was passed in,
    where it has them.

    Raises a ValueError when shapes disagree, numbers are not finite, or an input is the
    zero vector.
    """

    inputs: AbstractInputs
    targets: Examples
    # What a run uses in place of `inputs`, and the unit vectors of its coordinates
    # where it stores projections on them.
    reduced: AbstractInputs
    directions: Float[Array, "m d"] | None

    def __init__(self, x: ArrayLike | AbstractInputs, y: ArrayLike):
        given_as_array = not isinstance(x, AbstractInputs)
        inputs: Any = x.bare() if isinstance(x, AbstractInputs) else DenseInputs(x)
        targets = as_float_array("y", y, 1)
        if targets.shape[0] != inputs.num_examples:
            raise ValueError(
                f"x holds {inputs.num_examples} examples but y holds "
                f"{targets.shape[0]}. x must be (n, d) and y (n,)."
            )
        dtype = jnp.result_type(inputs.dtype, targets.dtype)
        if is_concrete(targets) and not np.any(np.asarray(targets)):
            raise ValueError("y must not be all zeros: there is nothing to learn.")
        self.targets = targets.astype(dtype)
        self.inputs = inputs = cast(inputs, dtype)
        self.reduced, self.directions = inputs, None
        if given_as_array and is_concrete(inputs.x):
            # Also inside jit, where jax.numpy would otherwise trace a constant.
            with jax.ensure_compile_time_eval():
                self.reduced, self.directions = cheapest_geometry(inputs)

    @property
    def num_examples(self) -> int:
        """n."""
        return self.inputs.num_examples

    @property
    def n(self) -> int:
        """The number of examples."""
        return self.inputs.num_examples

    @property
    def y(self) -> Examples:
        """The targets, shape (n,)."""
        return self.targets

    @property
    def x(self) -> Float[Array, "n d"]:
        """The inputs, shape (n, d), where they were given by their coordinates; else an
        AttributeError."""
        if isinstance(self.inputs, DenseInputs):
            return self.inputs.x
        raise AttributeError(self._unknown("x"))

    @property
    def d(self) -> int:
        """The dimension, where the inputs were given by their coordinates; else an
        AttributeError."""
        if isinstance(self.inputs, DenseInputs):
            return self.inputs.num_coordinates
        raise AttributeError(self._unknown("d"))

    def _unknown(self, name: str) -> str:
        return (
            f"a Dataset of {type(self.inputs).__name__} has no {name}: these inputs "
            "are given up to a rotation, in any dimension that has room for them. "
            "data.inputs.gram() is their Gram matrix; Dataset(x, y) of an array (n, d) "
            f"has a {name}."
        )

    @property
    def geometry(self) -> str:
        """The geometry that a run uses: dense, gram, orthogonal or antipodal."""
        return type(self.reduced).__name__.removesuffix("Inputs").lower()

    def __repr__(self) -> str:
        return (
            f"Dataset(n={self.num_examples}, inputs={type(self.inputs).__name__}, "
            f"geometry={self.geometry!r}, dtype={self.targets.dtype})"
        )
