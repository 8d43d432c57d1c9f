"""The file of a chunk, compared with what the manifest says of it."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from ._canonical import digest
from ._inside import Stamp, open_file, stamp, stamp_of
from ._manifest import MANIFEST


def check_size(file: Path, chunk: dict[str, Any]) -> None:
    """A ValueError if the file is missing or of another size. It is not opened."""
    with _explaining_absence(file):
        _require_size(file, stamp_of(file), chunk)


def check_contents(file: Path, chunk: dict[str, Any]) -> Stamp:
    """A ValueError if the file is missing, of another size or has another checksum. It
    is read in pieces."""
    with open_chunk(file, chunk) as (stream, seen):
        _require_digest(file, hashlib.file_digest(stream, "sha256").hexdigest(), chunk)
        return seen


def read_contents(file: Path, chunk: dict[str, Any]) -> bytes:
    """All of the file; raises as `check_contents` does."""
    with open_chunk(file, chunk) as (stream, _):
        content = stream.read()
    _require_digest(file, digest(content), chunk)
    return content


@contextlib.contextmanager
def open_chunk(
    file: Path, chunk: dict[str, Any]
) -> Iterator[tuple[BufferedReader, Stamp]]:
    """The file, opened; a ValueError if it is missing or of another size."""
    with _explaining_absence(file):
        descriptor = open_file(file)
    with open(descriptor, "rb") as stream:
        seen = stamp(os.fstat(descriptor))
        _require_size(file, seen, chunk)
        yield stream, seen


@contextlib.contextmanager
def _explaining_absence(file: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MissingChunkError(
            f"{file} is missing, but {MANIFEST} lists it. {_advice(file)}"
        ) from error


class MissingChunkError(ValueError, FileNotFoundError):
    """A chunk is gone."""


def _require_size(file: Path, seen: Stamp, chunk: dict[str, Any]) -> None:
    size = seen[2]
    if size != chunk["bytes"]:
        what = "truncated" if size < chunk["bytes"] else "too long"
        raise ValueError(
            f"{file} is {what}: {size} of {chunk['bytes']} bytes. {_advice(file)}"
        )


def _require_digest(file: Path, found: str, chunk: dict[str, Any]) -> None:
    if found != chunk["sha256"]:
        raise ValueError(
            f"{file} was changed: its checksum is not the one in {MANIFEST}. "
            f"{_advice(file)}"
        )


def _advice(file: Path) -> str:
    return (
        f"Restore it from a copy, or delete {file.parent} and its runs are computed "
        "again."
    )
