"""JSON whose text is a function of the content alone, so that a checksum of that text
detects every change, of white space too."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# Deeper than any setting. Python's own limit depends on who calls.
_DEEPEST = 100


def canonical(name: str, value: Any) -> str:
    """`value` as JSON: keys sorted, no white space, no NaN (which JSON lacks)."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except RecursionError as error:
        raise ValueError(f"{name} must be JSON, but is nested too deeply.") from error
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be JSON (numbers that are finite, strings, booleans, lists, "
            f"dicts with string keys), got {value!r}: {error}."
        ) from error


def plain_mapping(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` as JSON gives it back: tuples are lists."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be a dict, got {value!r}.")
    # Else Python writes other keys as strings, and two settings become one.
    try:
        _require_string_keys(name, value)
    except RecursionError as error:
        raise ValueError(f"{name} must be JSON, but is nested too deeply.") from error
    try:
        return parse(canonical(name, dict(value)).encode())
    except DepthError as error:
        raise ValueError(f"{name} must be JSON, but {error}.") from error


def _require_string_keys(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(
                    f"{name} must be JSON, whose keys are strings, got {key!r}. Write "
                    f"{str(key)!r}."
                )
    elif not isinstance(value, list | tuple):
        return
    for inner in value.values() if isinstance(value, Mapping) else value:
        _require_string_keys(name, inner)


class DepthError(ValueError):
    def __init__(self) -> None:
        super().__init__("it is nested too deeply")


def parse(content: bytes) -> Any:
    """JSON that anybody may have written; a ValueError if it is none, or of a depth
    that nothing here has."""
    try:
        value = json.loads(content.decode())
    except RecursionError as error:
        raise DepthError from error
    # Mostly there are too few brackets for it.
    if content.count(b"[") + content.count(b"{") > _DEEPEST:
        _require_shallow(value)
    return value


def _require_shallow(value: Any) -> None:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise DepthError


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
