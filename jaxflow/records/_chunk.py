"""A chunk of runs: its arrays, and what the manifest says of them."""

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

RUN = "run"
ID = "id"
# What netCDF4 can hold. It lacks booleans, which are stored as int8 in the way that
# xarray does it.
NUMBERS = {"bool", "float32", "float64"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
TEXT = "str"


def optional(module: str) -> Any:
    """A module that only records need."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"Records need {module.split('.')[0]}: pip install 'jaxflow[records]'."
        ) from error


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Runs that are written together.

    - `ids`: their names, without repetition.
    - `arrays`: by variable; the first axis is the run.
    - `dims`: by variable, the names of the axes; the first is "run".
    - `attrs`: strings and numbers about all of these runs.
    """

    ids: list[str]
    arrays: dict[str, np.ndarray]
    dims: dict[str, tuple[str, ...]]
    attrs: dict[str, str | int | float]

    def variables(self) -> dict[str, Any]:
        """What the manifest says of each variable. A string variable has a `width`,
        which may differ from chunk to chunk."""
        described: dict[str, Any] = {}
        for name, array in self.arrays.items():
            text = array.dtype.kind == "U"
            described[name] = {
                "dims": list(self.dims[name]),
                "dtype": TEXT if text else array.dtype.name,
                "shape": list(array.shape),
            }
            if text:
                described[name]["width"] = array.dtype.itemsize // 4
        return described


def make_chunk(
    rows: Mapping[str, Any],
    ids: Sequence[str],
    dims: Mapping[str, tuple[str, ...]],
    attrs: Mapping[str, Any] | None,
) -> Chunk:
    """Checks what a caller passes in; a ValueError says what is wrong."""
    ids = _check_ids(ids)
    if not rows or rows.keys() != dims.keys():
        raise ValueError(
            "rows and dims must name the same variables, at least one, got "
            f"{sorted(rows)} and {sorted(dims)}."
        )
    arrays = {name: _check_array(name, rows[name]) for name in rows}
    sizes = {RUN: len(ids)}
    for name, array in arrays.items():
        _check_dims(name, array, dims[name])
        for dim, size in zip(dims[name], array.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise ValueError(
                    f"rows[{name!r}] has {size} along {dim!r}, where "
                    + (
                        f"ids has {len(ids)}."
                        if dim == RUN
                        else f"others have {sizes[dim]}."
                    )
                )
    for name in [*arrays, *sizes]:
        if not name.isidentifier() or name == ID or (name in arrays and name in sizes):
            raise ValueError(
                f"Variables and dimensions need names like final_loss, different from "
                f"each other and from {ID!r}; got {name!r}."
            )
    return Chunk(
        ids,
        arrays,
        {name: tuple(dims[name]) for name in arrays},
        _check_attrs(attrs or {}),
    )


def _check_ids(ids: Sequence[str]) -> list[str]:
    ids = [] if isinstance(ids, str) else [str(name) for name in ids]
    if not ids:
        raise ValueError("ids must be a list of at least one string, one per run.")
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise ValueError(f"ids must differ from each other, got {twice!r} twice.")
    for name in ids:
        _check_text("ids", name)
    return ids


def _check_text(name: str, text: str) -> None:
    if not is_text(text):
        raise ValueError(
            f"{name} must be strings without NUL and lone surrogates, got {text!r}."
        )


def is_text(value: Any) -> bool:
    """NUL ends a string in HDF5, and a lone surrogate has no UTF-8."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_array(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind in "UTO" and all(isinstance(x, str) for x in array.flat):
        for text in array.flat:
            _check_text(f"rows[{name!r}]", str(text))
        # As wide as it must be, but a width of 0 is not a width in NumPy.
        width = max((len(text) for text in array.flat), default=0)
        return array.astype(f"U{max(1, width)}")
    if array.dtype.name not in NUMBERS:
        raise ValueError(
            f"rows[{name!r}] must be booleans, integers, strings, float32 or float64, "
            f"got dtype {array.dtype}."
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_dims(name: str, array: np.ndarray, dims: Sequence[str]) -> None:
    if isinstance(dims, str) or not dims or dims[0] != RUN:
        raise ValueError(f"dims[{name!r}] must begin with {RUN!r}, got {dims!r}.")
    if len(dims) != array.ndim or len(set(dims)) < len(dims):
        raise ValueError(
            f"dims[{name!r}] must be {array.ndim} different name(s), one per axis of "
            f"the shape {array.shape}, got {dims!r}."
        )
    # netCDF4 takes a dimension of length 0 for one that may grow.
    if 0 in array.shape:
        raise ValueError(f"rows[{name!r}] must not be empty, got shape {array.shape}.")


def _check_attrs(attrs: Mapping[str, Any]) -> dict[str, str | int | float]:
    for name, value in attrs.items():
        good = isinstance(value, str | int | float) and not isinstance(value, bool)
        if not good or (isinstance(value, float) and not np.isfinite(value)):
            raise ValueError(
                f"attrs[{name!r}] must be a string or a finite number, got {value!r}."
            )
        if isinstance(value, str):
            _check_text(f"attrs[{name!r}]", value)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(
                f"attrs[{name!r}] must be an integer of 64 bits, got {value!r}."
            )
        if name.startswith("_") or name in ("config", "coordinates", "provenance"):
            raise ValueError(f"attrs must not use the name {name!r}: it is taken.")
    return dict(attrs)


def check_schema(old: dict[str, Any], new: dict[str, Any], where: str) -> None:
    """A ValueError unless two chunks (each as `Chunk.variables`) differ at most in the
    number of runs and the width of strings."""
    before, after = _schema(old), _schema(new)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            raise ValueError(
                f"All chunks of a folder must have the same variables, but {name!r} is "
                f"{after.get(name, 'absent')} in {where} and "
                f"{before.get(name, 'absent')} in the chunks before."
            )


def _schema(variables: dict[str, Any]) -> dict[str, str]:
    return {
        name: f"{x['dtype']} with dims {x['dims']} and shape (run, *{x['shape'][1:]})"
        for name, x in variables.items()
    }


def common_dtype(described: Sequence[dict[str, Any]]) -> np.dtype:
    """The dtype of a variable over chunks; strings are as wide as the widest."""
    if described[0]["dtype"] != TEXT:
        return np.dtype(described[0]["dtype"])
    return np.dtype(f"U{max(variable['width'] for variable in described)}")
