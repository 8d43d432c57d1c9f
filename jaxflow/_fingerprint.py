"""What a setting is, as plain data: two settings with the same description give the
same runs."""

import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

# Up to this many numbers an array is described by its values, above by a digest.
_SHOWN = 16


def describe(value: Any, depth: int = 0) -> Any:
    """`value` as JSON-able data. Functions are known by their source and by what they
    close over."""
    if depth > 8:
        return type(value).__qualname__
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): describe(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [describe(v, depth + 1) for v in value]
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return _array(np.asarray(value))
    if isinstance(value, eqx.Module) and not callable(getattr(value, "__wrapped__", 0)):
        fields = {
            name: describe(getattr(value, name), depth + 1)
            for name in type(value).__dataclass_fields__
        }
        return {"class": type(value).__qualname__, **fields}
    if callable(value):
        return _function(value, depth)
    return repr(value)


def _array(array: np.ndarray) -> Any:
    if array.size <= _SHOWN:
        return {"dtype": str(array.dtype), "values": array.tolist()}
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "sha256": digest}


def _function(function: Any, depth: int) -> Any:
    name = getattr(function, "__qualname__", type(function).__qualname__)
    where = getattr(function, "__module__", None)
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = ""
    cells = getattr(function, "__closure__", None) or ()
    return {
        "function": f"{where}.{name}",
        "source": hashlib.sha256(source.encode()).hexdigest()[:16],
        "closure": [describe(_contents(cell), depth + 1) for cell in cells],
    }


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None
