"""What a setting is, as plain data: two settings with the same description give the
same runs, and a setting has the same description in every process."""

import functools
import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

# Up to this many numbers an array is described by its values, above by a digest.
_SHOWN = 16
# Deeper than any setting: only what contains itself gets there.
_DEEPEST = 64


def describe(value: Any, depth: int = 0) -> Any:
    """`value` as JSON-able data. Functions are known by their source and by everything
    that they hold: what they close over, defaults, the arguments of partials.

    Raises a ValueError for an object that cannot be told from another one.
    """
    if depth > _DEEPEST:
        raise ValueError(f"a setting is nested too deeply: {type(value).__qualname__}.")
    within = functools.partial(describe, depth=depth + 1)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): within(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [within(v) for v in value]
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(
        value.dtype, jax.dtypes.prng_key
    ):
        kind = str(jax.random.key_impl(value))
        return {"key": kind, "data": _array(np.asarray(jax.random.key_data(value)))}
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return _array(np.asarray(value))
    if isinstance(value, np.dtype):
        return str(value)
    if isinstance(value, type):
        return _code(value)
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return {"partial": [within(part) for part in parts]}
    if inspect.ismethod(value):
        return {"method": value.__name__, "of": within(value.__self__)}
    inner = inspect.unwrap(value) if callable(value) else value
    if inspect.isfunction(inner):
        held = (inner.__defaults__, inner.__kwdefaults__, _closure(inner))
        return {**_code(inner), "holds": [within(part) for part in held]}
    if inspect.isbuiltin(inner) or isinstance(inner, np.ufunc):
        return {"function": getattr(inner, "__qualname__", str(inner))}
    if isinstance(value, eqx.Module):
        names = type(value).__dataclass_fields__
        return {
            **_code(type(value)),
            **{n: within(getattr(value, n, None)) for n in names},
        }
    if getattr(value, "__dict__", None):
        return {**_code(type(value)), "holds": within(vars(value))}
    if type(value).__repr__ is not object.__repr__:
        return {"class": type(value).__qualname__, "repr": repr(value)}
    raise ValueError(
        f"a folder of records cannot tell this {type(value).__qualname__} from another "
        "one. Use a function, a dataclass or an equinox.Module."
    )


def _array(array: np.ndarray) -> Any:
    # A width of 4 or 8 bytes is not part of what a number means.
    if array.size <= _SHOWN:
        return array.tolist()
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "sha256": digest}


def _code(thing: Any) -> dict[str, Any]:
    """The name and a digest of the source of a function or a class."""
    name = f"{getattr(thing, '__module__', '')}.{thing.__qualname__}"
    # The package's own code is known by its version, which the records hold, and by
    # its public name, wherever the file lies.
    if name.startswith("jaxflow."):
        public = [part for part in name.split(".") if not part.startswith("_")]
        return {"name": ".".join(public)}
    try:
        source = inspect.getsource(thing).encode()
    except (OSError, TypeError):
        code = getattr(thing, "__code__", None)
        source = b"" if code is None else _bytecode(code)
    return {"name": name, "source": hashlib.sha256(source).hexdigest()[:16]}


def _bytecode(code: Any) -> bytes:
    constants = [
        _bytecode(c) if inspect.iscode(c) else repr(c).encode() for c in code.co_consts
    ]
    return b"|".join([code.co_code, *constants, repr(code.co_names).encode()])


def _closure(function: Any) -> list[Any]:
    contents = []
    for cell in function.__closure__ or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:
            contents.append(None)
    return contents
