"""Checks of what a user passes in, made before anything is compiled.

Shapes are known even while tracing; values are looked at only when they are concrete,
so that the same constructors serve `jax.jit` and `jax.vmap`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def is_concrete(*arrays: Any) -> bool:
    """Whether the values can be looked at (false inside jit, vmap and grad)."""
    return not any(isinstance(x, jax.core.Tracer) for x in arrays)


def as_float_array(name: str, value: Any, ndim: int) -> Array:
    """`value` as a floating-point array with `ndim` axes, none of them empty."""
    array = jnp.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool:
        array = array.astype(jnp.result_type(float))
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must be real numbers, got dtype {array.dtype}.")
    if array.ndim != ndim:
        raise ValueError(
            f"{name} must have {ndim} axis(es), got shape {array.shape}. "
            f"A single {name} needs a leading axis of length 1."
            if array.ndim < ndim
            else f"{name} must have {ndim} axis(es), got shape {array.shape}. "
            "Batches come from jax.vmap, outside."
        )
    if 0 in array.shape:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}.")
    if is_concrete(array) and not bool(jnp.all(jnp.isfinite(array))):
        where = np.argwhere(~np.isfinite(np.asarray(array)))[0].tolist()
        raise ValueError(
            f"{name} must be finite, got {np.asarray(array)[tuple(where)]} at index "
            f"{where}."
        )
    return array


def check_positive(name: str, value: Any, *, strictly: bool = True) -> None:
    """Every entry of a concrete `value` is a number > 0 (≥ 0 if not `strictly`)."""
    if not is_concrete(value):
        return
    array = np.asarray(value)
    good = array > 0 if strictly else array >= 0
    if not np.all(good):
        raise ValueError(
            f"{name} must be {'positive' if strictly else 'non-negative'}, got "
            f"{array[~good].flat[0] if array.ndim else array}."
        )


def check_count(name: str, value: Any) -> int:
    """`value` as a Python integer that is at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be an integer, got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    return int(value)


def check_choice(name: str, value: str, choices: Any) -> None:
    """`value` is one of the names in `choices`."""
    if value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {known}; got {value!r}.")
