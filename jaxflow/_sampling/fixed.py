"""Inputs and targets that are given as arrays: a data set of the user's."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from .._checks import as_float_array, cast
from .._problem.inputs import AbstractInputs, DenseInputs
from .._types import Examples


class FixedInputs(eqx.Module):
    """The law of inputs that are always the same: an array (n, d), for which `Dataset`
    chooses the geometry, or a geometry."""

    x: Array | AbstractInputs

    def __init__(self, x: Any):
        if isinstance(x, AbstractInputs):
            self.x = x
        else:
            # Refuses what is no array of inputs.
            self.x = DenseInputs(x).x

    def __call__(
        self, key: PRNGKeyArray, n: int, d: int, dtype: Any
    ) -> Array | AbstractInputs:
        return cast(self.x, dtype)

    @property
    def sizes(self) -> tuple[int, int | None]:
        """n, and d where it is known."""
        if isinstance(self.x, AbstractInputs):
            return self.x.num_examples, self.x.dimension
        return self.x.shape[0], self.x.shape[1]


class FixedTargets(eqx.Module):
    """The law of targets that are always the same, shape (n,)."""

    y: Examples

    def __init__(self, y: Any):
        self.y = as_float_array("targets", y, 1)

    def __call__(
        self, key: PRNGKeyArray, inputs: AbstractInputs, dtype: Any
    ) -> Examples:
        return cast(self.y, dtype)


def fixed_inputs(inputs: Any) -> Any:
    """`inputs` as a law, if they are given as arrays; else as they are."""
    given = isinstance(inputs, AbstractInputs) or _is_array(inputs)
    return FixedInputs(inputs) if given else inputs


def fixed_targets(targets: Any) -> Any:
    """The same of targets."""
    return FixedTargets(targets) if _is_array(targets) else targets


def cast_fixed(law: Any, dtype: Any) -> Any:
    """A law in this precision, if it is a fixed one."""
    fixed = isinstance(law, FixedInputs | FixedTargets)
    return cast(law, dtype) if fixed else law


def _is_array(value: Any) -> bool:
    # Also a data frame, or a tensor of another library.
    # A name may be a string of NumPy, which has an array too.
    several = isinstance(value, list | tuple) or hasattr(value, "__array__")
    return several and not isinstance(value, str)


def given_dtype(inputs: Any, targets: Any) -> Any:
    """The precision of fixed inputs and targets, None where neither is fixed."""
    dtypes = []
    if isinstance(inputs, FixedInputs):
        dtypes.append(inputs.x.dtype)
    if isinstance(targets, FixedTargets):
        dtypes.append(targets.y.dtype)
    return jnp.result_type(*dtypes) if dtypes else None


def sizes_of(inputs: Any, targets: Any, n: Any, d: Any) -> tuple[Any, Any]:
    """n and d as they were given, or as fixed inputs and targets have them.

    Raises a ValueError where these contradict each other, or say too little.
    """
    held: dict[str, int] = {}
    dimension = None
    if isinstance(inputs, FixedInputs):
        held["inputs"], dimension = inputs.sizes
    if isinstance(targets, FixedTargets):
        held["targets"] = targets.y.shape[0]
    if len(set(held.values())) > 1:
        raise ValueError(
            f"inputs holds {held['inputs']} examples but targets holds "
            f"{held['targets']}. inputs must be (n, d) and targets (n,)."
        )
    for name, count in held.items():
        n = _agreed("n", n, count, f"{name} holds {count} examples")
    if dimension is not None:
        d = _agreed("d", d, dimension, f"inputs lies in dimension {dimension}")
    if n is None:
        raise ValueError("n must be given, unless inputs or targets is an array.")
    if d is None:
        raise ValueError(
            "d must be given, unless inputs is an array (n, d): the law of the weights "
            "depends on it."
        )
    return n, d


def _agreed(name: str, given: Any, held: int, what: str) -> Any:
    if given is None:
        return held
    if any(value != held for value in np.ravel(given)):
        raise ValueError(f"{what}, but {name} = {given} was given. Leave {name} out.")
    return given
