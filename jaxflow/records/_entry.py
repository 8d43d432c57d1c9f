"""What a line of a manifest may say. Anybody can write one whose checksum is right."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._chunk import ID, NUMBERS, RUN, TEXT, is_text

_DIGEST = re.compile("[0-9a-f]{64}")
_SESSION = {"kind", "provenance"}
_CHUNK = {"attrs", "bytes", "file", "ids", "kind", "sha256", "variables"}
_VARIABLE = {"dims", "dtype", "shape"}
# A string in a file is at least a pointer of so many bytes.
_POINTER = 16


def check_entry(entry: Any, file: str) -> None:
    """A ValueError unless this is the line of a session, or that of the chunk `file`,
    which is next."""
    if not isinstance(entry, dict):
        raise ValueError("its entry is no dict")
    fields = _CHUNK if entry.get("kind") == "chunk" else _SESSION
    if entry.get("kind") not in ("chunk", "session"):
        raise ValueError("its kind is neither session nor chunk")
    # Lines of the format before have no config.
    if entry.keys() - {"config"} != fields:
        raise ValueError(f"it has {sorted(entry)} rather than {sorted(fields)}")
    if "config" in entry and not _is_digest(entry["config"]):
        raise ValueError("its config is no checksum")
    if entry["kind"] == "session":
        if not isinstance(entry["provenance"], dict):
            raise ValueError("its provenance is no dict")
        return
    if entry["file"] != file:
        raise ValueError(f"its file is {entry['file']!r} rather than {file!r}")
    if not _is_digest(entry["sha256"]):
        raise ValueError("its sha256 is no checksum")
    if not _is_count(entry["bytes"]):
        raise ValueError("its bytes are no number of bytes")
    _check_attrs(entry["attrs"])
    _check_ids(entry["ids"])
    _check_variables(entry["variables"], len(entry["ids"]), entry["bytes"])


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _check_attrs(attrs: Any) -> None:
    if not isinstance(attrs, dict) or not all(
        is_text(name) and (is_text(value) or type(value) in (int, float))
        for name, value in attrs.items()
    ):
        raise ValueError("its attrs are not a dict of text and numbers")


def _check_ids(ids: Any) -> None:
    if (
        not isinstance(ids, list)
        or not ids
        or not all(map(is_text, ids))
        or len(set(ids)) < len(ids)
    ):
        raise ValueError("its ids are not different strings, at least one")


def _check_variables(variables: Any, runs: int, size: int) -> None:
    if not isinstance(variables, dict) or not variables:
        raise ValueError("its variables are not a dict of at least one")
    sizes = {RUN: runs}
    for name, variable in variables.items():
        if not isinstance(variable, dict) or variable.keys() - {"width"} != _VARIABLE:
            raise ValueError(f"its variable {name!r} has not {sorted(_VARIABLE)}")
        _check_axes(name, variable["dims"], variable["shape"], sizes)
        if _bytes(name, variable) > size:
            raise ValueError(f"its variable {name!r} is larger than its file")
    for name in [*variables, *sizes]:
        if (
            not name.isidentifier()
            or name == ID
            or (name in variables) + (name in sizes) > 1
        ):
            raise ValueError(f"{name!r} is no name of a variable or a dimension")


def _check_axes(name: str, dims: Any, shape: Any, sizes: dict[str, int]) -> None:
    good = (
        isinstance(dims, list)
        and isinstance(shape, list)
        and all(isinstance(dim, str) for dim in dims)
        and all(_is_count(length) and length > 0 for length in shape)
        and dims[:1] == [RUN]
        and len(dims) == len(shape) == len(set(dims))
    )
    if not good or any(
        sizes.setdefault(dim, length) != length
        for dim, length in zip(dims, shape, strict=True)
    ):
        raise ValueError(f"its variable {name!r} has axes that do not fit")


def _bytes(name: str, variable: Mapping[str, Any]) -> int:
    """How much of the file a variable takes at least."""
    count, dtype = math.prod(variable["shape"]), variable["dtype"]
    if dtype == TEXT:
        width: Any = variable.get("width")
        if not _is_count(width) or width < 1:
            raise ValueError(f"its variable {name!r} has no width")
        return max(width, count * _POINTER)
    if not isinstance(dtype, str) or dtype not in NUMBERS or "width" in variable:
        raise ValueError(f"its variable {name!r} has the dtype {dtype!r}")
    return count * np.dtype(dtype).itemsize
