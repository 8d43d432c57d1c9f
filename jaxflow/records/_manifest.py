"""The manifest of a part: a line for each session and each chunk, with a checksum."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._canonical import canonical, digest, parse
from ._config import UNMARKED, Config
from ._entry import check_entry
from ._inside import chunk_files, part_directories, read_file

MANIFEST = "manifest.jsonl"


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a folder, as its manifest says.

    - `sessions`, `chunks`: the entries of both kinds, oldest first.
    - `content`: the whole lines of the manifest.
    - `marked`: whether every line says to which config it belongs.
    """

    path: Path
    sessions: tuple[dict[str, Any], ...]
    chunks: tuple[dict[str, Any], ...]
    content: bytes
    marked: bool


def chunk_name(index: int) -> str:
    return f"chunk-{index:06d}.nc"


def manifest_line(index: int, entry: dict[str, Any]) -> bytes:
    """Line `index` (from 0) of a manifest, checksum and line end included.

    The index stands in the line so that a line which is missing shows.
    """
    text = canonical("entry", [index, entry])
    return f'{{"entry":{text},"sha256":"{digest(text.encode())}"}}\n'.encode()


def has_manifests(folder: Path) -> bool:
    """Whether any part has one."""
    return any(os.path.lexists(x / MANIFEST) for x in part_directories(folder))


def read_parts(folder: Path, config: Config, known: Sequence[Part] = ()) -> list[Part]:
    """`known`: parts as they were read before, of which only new lines are parsed."""
    before = {part.path: part for part in known}
    return [
        read_part(path, config, before.get(path)) for path in part_directories(folder)
    ]


def read_part(path: Path, config: Config, known: Part | None = None) -> Part:
    """Reads a manifest, which another process may be appending to.

    A last line without its end is what an append leaves that is under way or was
    killed: it is left out. A ValueError says what else is wrong, also where the part
    was written for another config.
    """
    # Before the manifest: all of these but the last are then listed in it.
    present = chunk_files(path)
    manifest = path / MANIFEST
    content = b""
    with contextlib.suppress(FileNotFoundError):
        content, _ = read_file(manifest)
    content = content[: content.rfind(b"\n") + 1]
    sessions: list[dict[str, Any]] = []
    chunks: list[dict[str, Any]] = []
    marked, done = True, b""
    if known is not None and content.startswith(known.content):
        sessions, chunks = [*known.sessions], [*known.chunks]
        marked, done = known.marked, known.content
    lines = content[len(done) :].splitlines(keepends=True)
    for index, line in enumerate(lines, len(sessions) + len(chunks)):
        entry = _parse_line(manifest, index, line)
        try:
            # A name that a chunk does not have might lead out of the folder.
            check_entry(entry, chunk_name(len(chunks)))
        except ValueError as error:
            raise ValueError(
                f"Line {index + 1} of {manifest} is not one that jaxflow writes: "
                f"{error}. Restore it from a copy, or delete {path} and its runs are "
                "computed again."
            ) from error
        marked &= _belongs(manifest, index, entry, config)
        (chunks if entry["kind"] == "chunk" else sessions).append(entry)
    unlisted = present - {chunk["file"] for chunk in chunks}
    # A process that was killed between a chunk and its line leaves exactly this one.
    if content:
        unlisted.discard(chunk_name(len(chunks)))
    if unlisted:
        some = ", ".join(sorted(unlisted)[:3])
        raise ValueError(
            f"{path} holds {len(unlisted)} chunk(s) that {MANIFEST} does not list "
            f"({some}): the manifest is gone or has lost lines. Restore it from a "
            f"copy, or delete {path} and its runs are computed again."
        )
    return Part(path, tuple(sessions), tuple(chunks), content, marked)


def unmarked_warning(folder: Path, parts: list[Part]) -> str | None:
    """What a user should know of a folder of the format before, if this is one."""
    names = ", ".join(part.path.name for part in parts if not part.marked)
    if not names:
        return None
    return (
        f"{folder} was made by a version of jaxflow whose parts did not say to which "
        f"config they belong. Nothing here tells whether {names} was copied from "
        "another folder."
    )


def _parse_line(manifest: Path, index: int, line: bytes) -> Any:
    try:
        entry = parse(line)["entry"][1]
        if manifest_line(index, entry) == line:
            return entry
    except (ValueError, KeyError, TypeError, IndexError):
        pass
    raise ValueError(
        f"Line {index + 1} of {manifest} is damaged, or a line before it is missing. "
        f"Restore it from a copy, or delete {manifest.parent} and its runs are "
        "computed again."
    )


def _belongs(manifest: Path, index: int, entry: dict[str, Any], config: Config) -> bool:
    """Whether a line says that it is of this config; a ValueError if it is of another.
    A folder of the format before has lines that say nothing."""
    if "config" not in entry and config.format == UNMARKED:
        return False
    if entry.get("config") == config.sha256:
        return True
    part = manifest.parent
    raise ValueError(
        f"{part} belongs to another folder: line {index + 1} of {MANIFEST} was written "
        f"for the config {entry.get('config', 'unknown')[:12]}, and {part.parent} is "
        f"of the config {config.sha256[:12]}. Move {part.name} back to where it came "
        "from, or delete it."
    )
