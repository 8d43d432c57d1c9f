"""Checks of what a user passes in, made before anything is compiled.

Shapes are known even while tracing; values are looked at only when they are concrete,
so that the same constructors serve `jax.jit` and `jax.vmap`.
"""

import functools
import numbers
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def is_concrete(*arrays: Any) -> bool:
    """Whether the values can be looked at (false inside jit, vmap and grad)."""
    return not any(isinstance(x, jax.core.Tracer) for x in arrays)


def untraced(function: Callable[..., Any], *values: Any) -> Any:
    """`function(*values)`, concrete where the values are. Inside jit, whatever passes
    through jax.numpy otherwise turns into a tracer, constants too."""
    result = function(*values)
    if is_concrete(*jax.tree.leaves(result)):
        return result
    if not is_concrete(*jax.tree.leaves(values)):
        return result
    with jax.ensure_compile_time_eval():
        return function(*values)


def as_float_array(name: str, value: Any, ndim: int) -> Array:
    """`value` as a floating-point array with `ndim` axes, none of them empty."""
    try:
        array = untraced(jnp.asarray, value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{name} must be an array of numbers, got {type(value).__name__}."
        ) from error
    if jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool:
        array = untraced(lambda given: given.astype(jnp.result_type(float)), array)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must be real numbers, got dtype {array.dtype}.")
    if array.ndim != ndim:
        hint = (
            f"A single number goes into a list: {name}=[{value}]."
            if ndim == 1 and array.ndim == 0
            else f"A single {name} needs a leading axis of length 1."
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


def check_real(name: str, value: Any, kind: str = "real") -> np.ndarray | None:
    """Concrete `value` as real numbers of NumPy, of any shape; None where it is traced.

    Raises a ValueError for what is no number: booleans, text and None too, which NumPy
    would take for numbers, and complex numbers.
    """
    leaves = jax.tree.leaves(value)
    if not is_concrete(*leaves):
        dtypes = [leaf.dtype for leaf in leaves if isinstance(leaf, jax.Array)]
        for dtype in dtypes:
            if not _is_real(dtype):
                raise ValueError(f"{name} must be a {kind} number, got dtype {dtype}.")
        return None
    try:
        array = np.asarray(value)
        # Integers beyond 64 bits are objects to NumPy.
        real = (
            all(isinstance(one, numbers.Real) for one in array.flat)
            if array.dtype == object
            else _is_real(array.dtype)
        )
        if not real:
            raise TypeError
        return np.asarray(array, float)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be a {kind} number, got {value!r}.") from error


def _is_real(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)


def cast(tree: Any, dtype: Any) -> Any:
    """The floating-point arrays of `tree` as `dtype`; concrete ones stay so."""

    def converted(leaf: Any) -> Any:
        floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return leaf.astype(dtype) if floating else leaf

    return untraced(functools.partial(jax.tree.map, converted), tree)


def check_positive(
    name: str, value: Any, *, strictly: bool = True, finite: bool = True
) -> None:
    """Every entry of a concrete `value` is > 0 (≥ 0 if not `strictly`), and finite
    unless told otherwise."""
    kind = "positive" if strictly else "non-negative"
    array = check_real(name, value, kind)
    if array is None:
        return
    good = array > 0 if strictly else array >= 0
    if finite:
        good &= np.isfinite(array)
    if not np.all(good):
        raise ValueError(
            f"{name} must be {kind}{' and finite' if finite else ''}, got "
            f"{array[~good].flat[0] if array.ndim else array}."
        )


def check_between(
    name: str, value: Any, low: float | int, high: float | int, *, ends: str = ""
) -> None:
    """Every entry of a concrete `value` lies between `low` and `high`; `ends` holds
    "[" and "]" where the lower and the upper end may be taken."""
    array = check_real(name, value)
    if array is None:
        return
    above = array >= low if "[" in ends else array > low
    below = array <= high if "]" in ends else array < high
    bad = ~(above & below)
    if np.any(bad):
        left, right = ("[" if "[" in ends else "("), ("]" if "]" in ends else ")")
        raise ValueError(
            f"{name} must lie between {low:g} and {high:g}, in "
            f"{left}{low:g}, {high:g}{right}, got {array[bad].flat[0]}."
        )


def check_single(name: str, value: Any) -> None:
    """`value` is one number, and known."""
    if not is_concrete(value):
        raise ValueError(f"{name} must be known before jax.jit or jax.vmap.")
    if np.ndim(value) != 0:
        raise ValueError(f"{name} must be one number, got shape {np.shape(value)}.")


def check_broadcast(**named: Any) -> None:
    """The shapes fit together."""
    shapes = {name: jnp.shape(value) for name, value in named.items()}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError as error:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"shapes must fit together, got {told}.") from error


def as_scalar(
    name: str, value: Any, *, strictly: bool = True, finite: bool = True
) -> Array:
    """`value` as an array without axes, > 0 (≥ 0 if not `strictly`), and finite unless
    told otherwise."""
    check_positive(name, value, strictly=strictly, finite=finite)
    try:
        array = untraced(jnp.asarray, value)
    except (TypeError, OverflowError):
        # Fractions, and integers beyond 64 bits.
        array = untraced(jnp.asarray, np.asarray(value, float))
    if array.ndim != 0:
        raise ValueError(
            f"{name} must be one number, got shape {array.shape}. Several come from "
            "jax.vmap, outside."
        )
    if is_concrete(array):
        # A float64 may be beyond float32, in which jax computes unless told otherwise.
        held = float(np.asarray(array))
        given = float(value)
        if np.isfinite(held) != np.isfinite(given) or (held == 0) != (given == 0):
            raise ValueError(
                f"{name} must be a number that {array.dtype} can hold, got {value!r}, "
                f"which is {held} there."
            )
    return array


def check_count(name: str, value: Any, most: int | None = None) -> int:
    """`value` as a Python integer that is at least 1, and at most `most`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be an integer, got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most}, got {value}.")
    return int(value)


def check_size(name: str, value: Any) -> int:
    """n or p: the length of an array."""
    return check_count(name, value, 2**31 - 1)


def check_whole(name: str, value: Any) -> int:
    """An integer of formulas, such as d: up to here floats hold it."""
    return check_count(name, value, 2**53)


def check_flag(name: str, value: Any) -> bool:
    """`value` as True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}.")
    return bool(value)


def check_kind(name: str, value: Any, kind: type, example: str) -> None:
    """`value` is of one of our classes."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise ValueError(
            f"{name} must be {article} {kind.__name__}, such as {example}; got "
            f"{given_as(value, kind)}."
        )


def given_as(value: Any, kind: type) -> str:
    """What `value` is, for a message, where one of `kind` was wanted."""
    if isinstance(value, type) and issubclass(value, kind):
        name = value.__name__
        return f"the class {name}, which wants its brackets: {name}(…)"
    return type(value).__name__


def as_folder(value: Any) -> Path:
    """`value` as a path, with ~ for the home directory."""
    if not isinstance(value, str | os.PathLike) or not isinstance(
        os.fspath(value), str
    ):
        raise ValueError(f"folder must be a path, such as 'records', got {value!r}.")
    if value == "":
        raise ValueError(
            "folder must not be empty: name one, such as 'records', or '.' for the "
            "directory that you are in."
        )
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"folder {value!r} names no home directory.") from error


def check_key(key: Any) -> None:
    """Raises a ValueError unless `key` is one of jax's, of either style."""
    typed = isinstance(key, jax.Array) and jnp.issubdtype(
        key.dtype, jax.dtypes.prng_key
    )
    raw = isinstance(key, jax.Array) and key.dtype == np.uint32 and key.ndim > 0
    if not typed and not raw:
        raise ValueError(
            f"key must be a jax.random.key such as jax.random.key(0), got {key!r}."
        )
    if typed and key.ndim > 0:
        raise ValueError(
            f"key must be one key, got a batch of shape {key.shape}: take one of "
            "them, or jax.vmap outside."
        )
    if raw:
        words = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0))).shape
        if key.shape != words:
            raise ValueError(
                f"key must be one key, of shape {words} in the old style, got shape "
                f"{key.shape}. Take jax.random.key(0), and of a batch one key."
            )


def check_choice(name: str, value: Any, choices: Any) -> None:
    """`value` is one of the names in `choices`."""
    if not isinstance(value, str) or value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {known}; got {value!r}.")


def check_times(times: Any, dtype: Any) -> Float[Array, " T"]:
    """`times` in the precision of a run: finite, ≥ 0 and increasing where concrete."""
    array = as_float_array("times", times, 1)
    cast = untraced(lambda given: given.astype(dtype), array)
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
        if not np.isfinite(np.asarray(cast)[-1]):
            raise ValueError(
                f"times must be numbers that {cast.dtype} can hold, got {values[-1]}."
            )
    return cast


def float_dtype(dtype: Any) -> Any:
    """`dtype`, jax's default if None, as one that jax can compute in."""
    try:
        found = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    except TypeError as error:
        raise ValueError(
            f"dtype must be floating point, such as jnp.float32, got {dtype!r}."
        ) from error
    if not jnp.issubdtype(found, jnp.floating):
        raise ValueError(f"dtype must be floating point, got {found}.")
    held = jax.dtypes.canonicalize_dtype(found)
    if held != found:
        raise ValueError(
            f"dtype {found} wants jax.config.update('jax_enable_x64', True) at the "
            f"start; without it jax would compute in {held}."
        )
    return found
