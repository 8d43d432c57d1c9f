"""What decides what a run of an ensemble is, as plain data, and whether a folder has
been made with the same.

Settings of the package and of the libraries that it builds on are known by name and by
the plain values that they hold. Functions and classes of the user's are not told apart
by their text: here they are all `YOURS`, and `fingerprint.py` says what they do.
"""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from .._checks import float_dtype
from .._methods.base import AbstractMethod
from .._observables import Observable
from .._problem.dataset import Dataset
from .._problem.network import Network
from .._sampling.initialisation import INITIALISATIONS
from .._sampling.teacher import TARGET_LAWS
from .._stops import AbstractStop
from ..records._config import CONFIG, has_config, read_config
from ..records._inside import folder_path
from ..records._version import version_of
from . import fingerprint
from .grid import Cell

# What stands for a function or a class of the user's.
YOURS = "yours"
# Up to this many numbers an array is described by its values, above by a digest.
_SHOWN = 16
# Deeper than any setting: only what contains itself gets there.
_DEEPEST = 64
# Their code is the same wherever their versions are.
_LIBRARIES = frozenset(
    ["jaxflow", "jax", "jaxlib", "equinox", "optax", "diffrax", "optimistix", "numpy"]
)
# What a setting means is decided by the versions of these.
PACKAGES = ("jax", "jaxlib", "jaxflow")


class Configuration:
    """What decides what a run is, but not which runs there are.

    - `laws`: as `sample_problem` takes them, by its names; with the size of the bias,
      the negative slope, and the rates of the layers.
    - `methods`: as they run here, lean.
    - `cells`, `seeds`, `draw`: the plan, and (cell, seed) -> (data, network).
    """

    def __init__(
        self,
        key: PRNGKeyArray,
        dtype: Any,
        laws: Mapping[str, Any],
        methods: Mapping[str, AbstractMethod],
        stops: tuple[AbstractStop, ...],
        observe: Mapping[str, Observable],
        *,
        lockstep: bool,
        cells: Sequence[Cell],
        seeds: Sequence[int],
        draw: Callable[[Cell, int], tuple[Dataset, Network]],
    ):
        # A name stands for its law.
        known: dict[str, Any] = {
            "inputs": {},
            "targets": TARGET_LAWS,
            "init": INITIALISATIONS,
        }
        named = {
            name: known[name].get(law, law) if isinstance(law, str) else law
            for name, law in laws.items()
            # Folders without a bias, a slope or rates do not mention them.
            if name not in ("bias", "negative_slope", "rates") or law
        }
        self.settings: dict[str, Any] = {
            "key": describe(jax.random.key_data(key)),
            "generator": str(jax.random.key_impl(key)),
            # The setting may go, once there is no other.
            "jax_threefry_partitionable": bool(
                getattr(jax.config, "jax_threefry_partitionable", True)
            ),
            "dtype": str(dtype),
            # jax draws signs from numbers of the default precision.
            "default dtype": str(float_dtype(None)),
            **{name: describe(law) for name, law in named.items()},
            "methods": describe(methods),
            "number of times": cells[0].times.size,
            "stop": describe(stops),
            "observe": describe(observe),
            "lockstep": lockstep,
        }
        self._methods, self._stops, self._observe = methods, stops, observe
        self._draw, self._seeds = draw, seeds
        # The cell whose runs are compared with those of a folder.
        self.compared = fingerprint.cell_of(cells)

    def agreed(
        self, folder: str | os.PathLike[str], accept: tuple[str, ...]
    ) -> dict[str, Any]:
        """The config of `folder`, or for a new one what it shall be.

        Raises a ValueError that says what is another setting, and how to go on. Other
        versions of the packages in `accept` are none.
        """
        old, now = config_of(folder), versions()
        if old is None:
            found = self._fingerprint(self.compared, self._seeds)
            return {**self.settings, "versions": now, "fingerprint": found}
        path = folder_path(folder)
        if "fingerprint" not in old:
            raise ValueError(
                f"{path} was made by an earlier jaxflow, which knew laws, observables "
                "and methods by their text. Whether those of now do the same cannot be "
                "told: give another folder=. What it holds can still be read, by "
                "jaxflow.records.open_records."
            )
        with _reading(path):
            was, known = dict(old["versions"]), dict(old["fingerprint"])
            others = [name for name in PACKAGES if was.get(name) != now[name]]
        if refused := [name for name in others if name not in accept]:
            told = [f"{k} was {was.get(k)} and is {now[k]}" for k in refused]
            raise ValueError(
                f"{path} holds runs that were made with other versions: "
                f"{'; '.join(told)}. Numbers may differ from theirs by more than "
                "rounding. To go on there all the same pass "
                f"accept={(*accept, *refused)!r}; otherwise give another folder=, or "
                "install those versions."
            )
        plain = {k: v for k, v in old.items() if k not in ("versions", "fingerprint")}
        # Where a setting is another one, so is what it does.
        with _reading(path):
            told = [*differences(plain, self.settings)]
        if not told:
            told = self._done_otherwise(path, known, programs=not others)
        if told:
            raise ValueError(
                f"{path} holds runs of other settings: {'; '.join(told)}. Which runs "
                "there are (n, d, p, seeds, times) may differ within a folder, what "
                "they are may not. Go on with the settings of that folder, or give "
                "another folder=."
            )
        return old

    def _done_otherwise(
        self, folder: Path, old: Mapping[str, Any], *, programs: bool
    ) -> list[str]:
        with _reading(folder):
            cell, seeds = fingerprint.same_place(self.compared, old["of"])
        try:
            new = self._fingerprint(cell, seeds)
        except Exception as error:
            raise ValueError(
                f"{folder} holds runs at n = {cell.n}, d = {cell.d}, p = {cell.p}, "
                "which the laws, observables and stops of now cannot have made, they "
                f"fail there: {error} Give another folder=."
            ) from error
        self.compared = cell
        with _reading(folder):
            return [*fingerprint.differences(old, new, programs=programs)]

    def _fingerprint(self, cell: Cell, seeds: Sequence[int]) -> dict[str, Any]:
        described = self.settings["methods"]
        own = {label for label in self._methods if holds_yours(described[label])}
        return fingerprint.take(
            cell, seeds, self._draw, self._methods, own, self._stops, self._observe
        )


def config_of(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What a folder was made with; None where there is none yet."""
    path = folder_path(folder)
    return read_config(path).values if has_config(path) else None


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Of a config that anybody may have written, checksum included."""
    try:
        yield
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(
            f"{folder / CONFIG} is not one that simulate_ensemble writes "
            f"({type(error).__name__}: {error}). Give another folder=."
        ) from error


def check_accept(accept: Any) -> tuple[str, ...]:
    """`accept` as names of packages."""
    names = (accept,) if isinstance(accept, str) else accept
    good = isinstance(names, Sequence | set | frozenset)
    if not good or any(name not in PACKAGES for name in names):
        raise ValueError(
            "accept must hold names of packages whose versions may differ from those "
            f"that the folder was made with, out of {', '.join(map(repr, PACKAGES))}; "
            f"got {accept!r}."
        )
    return tuple(sorted(names))


def versions() -> dict[str, str]:
    """Of the packages that decide what a setting means."""
    return {package: version_of(package) or "unknown" for package in PACKAGES}


def describe(value: Any, depth: int = 0) -> Any:
    """`value` as JSON-able data, the same in every process."""
    within = functools.partial(describe, depth=depth + 1)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if depth > _DEEPEST:
        return {"name": YOURS}
    if isinstance(value, Mapping):
        return {str(k): within(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [within(v) for v in value]
    if isinstance(value, set | frozenset):
        # Their order is another one in each process.
        return sorted((within(v) for v in value), key=_text)
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(
        value.dtype, jax.dtypes.prng_key
    ):
        kind = str(jax.random.key_impl(value))
        return {"key": kind, "data": _array(np.asarray(jax.random.key_data(value)))}
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return _array(np.asarray(value))
    if isinstance(value, np.dtype):
        return str(value)
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return {"name": "partial", "holds": [within(part) for part in parts]}
    if inspect.ismethod(value):
        held = within(value.__self__)
        return {"name": f"method {value.__name__}", "holds": [held]}
    if inspect.isfunction(value):
        return _function(value, within)
    if isinstance(value, type):
        return {"name": _name(value.__module__, value.__qualname__)}
    if hasattr(value, "__wrapped__") and _root(type(value).__module__) in _LIBRARIES:
        # Compiled by jax.jit, which changes nothing.
        return within(value.__wrapped__)
    if inspect.isbuiltin(value) or isinstance(value, np.ufunc):
        return {"name": getattr(value, "__qualname__", str(value))}
    return _object(value, within)


def _function(function: Any, within: Any) -> dict[str, Any]:
    # Where it was written, not what functools.wraps has it say.
    name = _name(
        function.__globals__.get("__name__", ""), function.__code__.co_qualname
    )
    if name == YOURS:
        return {"name": name}
    held = [*(function.__defaults__ or ()), *_closure(function)]
    held += (function.__kwdefaults__ or {}).values()
    return {
        "name": name,
        **({"holds": [within(part) for part in held]} if held else {}),
    }


def _object(value: Any, within: Any) -> dict[str, Any]:
    """An object by its class and fields. Of an object of the user's, the fields that
    hold plain values: those are settings, the rest is part of what it does."""
    kind = type(value)
    name = _name(kind.__module__, kind.__qualname__)
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        held = {n: within(getattr(value, n, None)) for n in names}
    elif name != YOURS and getattr(value, "__dict__", None):
        held = {n: within(v) for n, v in vars(value).items()}
    else:
        # Nothing is known but what it shows, which may be where it lies in memory.
        shown = repr(value)
        opaque = name == YOURS or " at 0x" in shown
        return {"name": YOURS} if opaque else {"name": name, "shows": shown}
    if name == YOURS:
        held = {n: v for n, v in held.items() if not holds_yours(v)}
    return {"name": name, "fields": held}


def _name(module: str, qualname: str) -> str:
    """The public name of what a library has written, or `YOURS`."""
    if _root(module) not in _LIBRARIES:
        return YOURS
    # The package's own code is known by its public name, wherever the file lies.
    parts = module.split(".")
    if parts[0] == "jaxflow":
        parts = list(itertools.takewhile(lambda part: part[0] != "_", parts))
    return ".".join([*parts, qualname])


def _root(module: str) -> str:
    return module.partition(".")[0]


def _array(array: np.ndarray) -> Any:
    # A width of 4 or 8 bytes is not part of what a number means.
    if array.size <= _SHOWN:
        return array.tolist()
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "sha256": digest}


def _closure(function: Any) -> list[Any]:
    contents = []
    for cell in function.__closure__ or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:
            contents.append(None)
    return contents


def holds_yours(described: Any) -> bool:
    """Whether something of the user's is part of a description."""
    inner = described.values() if isinstance(described, dict) else described
    if not isinstance(described, dict | list):
        return False
    return _is_yours(described) or any(holds_yours(v) for v in inner)


def _is_yours(described: Any) -> bool:
    return isinstance(described, dict) and described.get("name") == YOURS


# --- how two configurations differ ----------------------------------------------------


def differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """What is another setting in `new`, in words. What is the user's on either side is
    left to the fingerprint, which all but the methods have in any case."""
    for key in sorted(old.keys() | new.keys()):
        strict = key == "methods"
        yield from _differ(key, old.get(key, _ABSENT), new.get(key, _ABSENT), strict)


_ABSENT = "nothing"


def _differ(path: str, old: Any, new: Any, strict: bool) -> Iterator[str]:
    both = isinstance(old, dict) and isinstance(new, dict)
    if both and "sha256" in old and "sha256" in new:
        if old != new:
            same = _words(old) == _words(new)
            told = "with other numbers" if same else f"and was {_words(old)}"
            yield f"{path} is {_words(new)} {told}"
    elif both and old.get("name") == new.get("name"):
        keys = old.keys() | new.keys()
        if _is_yours(old):
            # A field more or less changes nothing by itself.
            old, new = old.get("fields", {}), new.get("fields", {})
            keys = old.keys() & new.keys()
        for key in sorted(keys):
            inner = f"{path}.{key}" if key not in ("", "fields", "holds") else path
            was, now = old.get(key, _ABSENT), new.get(key, _ABSENT)
            yield from _differ(inner, was, now, strict)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (was, now) in enumerate(zip(old, new, strict=True)):
            yield from _differ(f"{path}[{index}]", was, now, strict)
    elif _text(old) != _text(new):
        # Texts, since 1 == 1.0 == True.
        yours = _is_yours(old) or _is_yours(new)
        if strict or not yours or _ABSENT in (old, new):
            yield f"{path} was {_words(old)} and is {_words(new)}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _words(value: Any) -> str:
    if value is None:
        return "left out"
    if isinstance(value, dict) and "sha256" in value:
        shape = "×".join(map(str, value["shape"]))
        return f"an array of {shape} {value['dtype']}"
    if isinstance(value, dict) and "name" in value:
        held = [f"{k}={_words(v)}" for k, v in value.get("fields", {}).items()]
        held += [_words(v) for v in value.get("holds", ())]
        return f"{value['name']}({', '.join(held)})" if held else str(value["name"])
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_words(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_words(v) for v in value) + "]" if value else "none"
    return str(value)
