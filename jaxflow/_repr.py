"""How objects of this package print: their numbers, rather than shapes and dtypes."""

import dataclasses
import inspect
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ._checks import is_concrete

# Arrays of up to so many numbers are printed whole.
_SHOWN = 16


def shown(value: Any) -> str:
    """A setting or a result as text: arrays of few numbers as plain numbers, others,
    and those that are traced, by shape and dtype."""
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        if is_concrete(value) and np.ndim(value) == 0:
            return str(np.asarray(value)[()])
        if is_concrete(value) and np.size(value) <= _SHOWN:
            return np.array2string(np.asarray(value), separator=", ")
    elif callable(getattr(value, "update", None)) and isinstance(value, tuple):
        # Of an optimiser only the addresses of its functions are known.
        return "<optax transformation>"
    return eqx.tree_pformat(value)


def call_of(module: Any) -> str:
    """A module as the call that makes it: `GradientFlow(rtol=1e-05)`. Numbers are
    always there, other settings where they are not the default."""
    defaults = inspect.signature(type(module).__init__).parameters
    told = []
    for field in dataclasses.fields(module):
        value, name = getattr(module, field.name), field.name
        given = defaults[name].default if name in defaults else inspect.Parameter.empty
        array = isinstance(value, jax.Array | np.ndarray)
        # A default may be None and stand for an object, such as a solver.
        if array or (value is not given and value != given):
            told.append(f"{name}={shown(value)}")
    return f"{type(module).__name__}({', '.join(told)})"
