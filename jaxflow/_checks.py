"""Checks of what a user passes in, made before anything is compiled.

Shapes are known even while tracing; values are looked at only when they are concrete,
so that the same constructors serve `jax.jit` and `jax.vmap`.
"""

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def is_concrete(*arrays: Any) -> bool:
    """Whether the values can be looked at (false inside jit, vmap and grad)."""
    return not any(isinstance(x, jax.core.Tracer) for x in arrays)


def untraced(*values: Any) -> AbstractContextManager[Any]:
    """A context in which concrete `values` stay concrete. Inside jit, whatever passes
    through jax.numpy otherwise turns into a tracer, constants too."""
    if is_concrete(*jax.tree.leaves(values)):
        return jax.ensure_compile_time_eval()
    return contextlib.nullcontext()


def as_float_array(name: str, value: Any, ndim: int) -> Array:
    """`value` as a floating-point array with `ndim` axes, none of them empty."""
    with untraced(value):
        try:
            array = jnp.asarray(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{name} must be an array of numbers, got {type(value).__name__}."
            ) from error
        if jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool:
            array = array.astype(jnp.result_type(float))
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must be real numbers, got dtype {array.dtype}.")
    if array.ndim != ndim:
        hint = (
            f"A single {name} needs a leading axis of length 1."
            if array.ndim < ndim
            else f"{name}[:, 0] has {ndim} axis(es)."
            if array.ndim == 2 and array.shape[1] == 1
            else "Batches come from jax.vmap, outside."
        )
        raise ValueError(
            f"{name} must have {ndim} axis(es), got shape {array.shape}. {hint}"
        )
    if 0 in array.shape:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}.")
    if is_concrete(array):
        # In NumPy: inside jit even a concrete array that is touched by jax.numpy turns
        # into a tracer.
        values = np.asarray(array)
        if not np.all(np.isfinite(values)):
            where = np.argwhere(~np.isfinite(values))[0].tolist()
            raise ValueError(
                f"{name} must be finite, got {values[tuple(where)]} at index {where}."
            )
    return array


def check_positive(
    name: str, value: Any, *, strictly: bool = True, finite: bool = True
) -> None:
    """Every entry of a concrete `value` is > 0 (≥ 0 if not `strictly`), and finite
    unless told otherwise."""
    if not is_concrete(value):
        return
    kind = "positive" if strictly else "non-negative"
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a {kind} number, got {value!r}.") from error
    good = array > 0 if strictly else array >= 0
    if finite:
        good &= np.isfinite(array)
    if not np.all(good):
        raise ValueError(
            f"{name} must be {kind}{' and finite' if finite else ''}, got "
            f"{array[~good].flat[0] if array.ndim else array}."
        )


def as_scalar(name: str, value: Any, *, strictly: bool = True) -> Array:
    """`value` as an array without axes, > 0 (≥ 0 if not `strictly`)."""
    check_positive(name, value, strictly=strictly)
    array = jnp.asarray(value)
    if array.ndim != 0:
        raise ValueError(
            f"{name} must be one number, got shape {array.shape}. Several come from "
            "jax.vmap, outside."
        )
    return array


def check_count(name: str, value: Any) -> int:
    """`value` as a Python integer that is at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be an integer, got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    return int(value)


def check_choice(name: str, value: Any, choices: Any) -> None:
    """`value` is one of the names in `choices`."""
    if not isinstance(value, str) or value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {known}; got {value!r}.")


def check_times(times: Any) -> Float[Array, " T"]:
    array = as_float_array("times", times, 1)
    if is_concrete(array):
        values = np.asarray(array)
        if values[0] < 0:
            raise ValueError(f"times must be ≥ 0, got {values[0]}.")
        if np.any(np.diff(values) <= 0):
            raise ValueError(
                "times must increase strictly, got "
                f"{values[:-1][np.diff(values) <= 0][0]} before "
                f"{values[1:][np.diff(values) <= 0][0]}."
            )
    return array


def float_dtype(dtype: Any) -> Any:
    dtype = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype must be floating point, got {dtype}.")
    return dtype
