"""What is written down about a folder: its config and the manifest of each part.

Both are JSON whose text is a function of the content alone, so that a checksum of that
text detects every change, of white space too.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._disk import sync_folder, write_and_sync

CONFIG = "config.json"
MANIFEST = "manifest.jsonl"


def canonical(name: str, value: Any) -> str:
    """`value` as JSON: keys sorted, no white space, no NaN (which JSON lacks)."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be JSON (numbers that are finite, strings, booleans, lists, "
            f"dicts with string keys), got {value!r}: {error}."
        ) from error


def plain_mapping(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` as JSON gives it back: tuples are lists."""
    return json.loads(canonical(name, dict(value)))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- config ---------------------------------------------------------------------------


def _config_text(config: dict[str, Any]) -> str:
    checksum = digest(canonical("config", config).encode())
    content = {"config": config, "format": 1, "sha256": checksum}
    return json.dumps(content, sort_keys=True, indent=2) + "\n"


def read_config(folder: Path) -> dict[str, Any]:
    """The config of a folder; a ValueError if it is not what was written."""
    path = folder / CONFIG
    try:
        text = path.read_bytes().decode()
        config = json.loads(text)["config"]
        whole = _config_text(config) == text
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged, it is not the JSON that was written "
            f"({type(error).__name__}: {error}). Restore it from a copy."
        ) from error
    if not whole:
        raise ValueError(
            f"{path} was changed: its content does not match its checksum. Restore it "
            "from a copy; runs of another config need another folder."
        )
    return config


def claim_config(folder: Path, part: Path, config: dict[str, Any]) -> None:
    """Writes the config of a new folder, or checks that an old one has the same.

    The link is made by one of many processes that start at once, and the others find
    its file whole.
    """
    # In this order: another process writes its manifest after the config.
    started = any(folder.glob(f"part-*/{MANIFEST}"))
    if not (folder / CONFIG).exists():
        if started:
            raise ValueError(
                f"{folder} holds records but no {CONFIG}, which says of what. Restore "
                "it from a copy, or choose another folder."
            )
        temporary = part / f"{CONFIG}.partial"
        try:
            write_and_sync(temporary, _config_text(config).encode())
            os.link(temporary, folder / CONFIG)
        except FileExistsError:
            pass
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(folder)
    check_config(folder, config)


def check_config(folder: Path, config: dict[str, Any]) -> None:
    """A ValueError that names every key whose value is another in the folder."""
    old, new = _flat(read_config(folder)), _flat(config)
    differences = [
        f"{key} is {old.get(key, 'absent')} there and {new.get(key, 'absent')} here"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if differences:
        raise ValueError(
            f"{folder} holds runs of another config: {'; '.join(differences)}. What "
            "tells the runs of one sweep apart (n, seeds) may differ, these may not: "
            "choose another folder, or the config that this one was made with."
        )


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Every value as text under its dotted key. Text, since 1 == 1.0 == True."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = canonical(key, value)
    return flat


# --- manifest -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a folder, as its manifest says.

    - `sessions`, `chunks`: the entries of both kinds, oldest first.
    - `size`: bytes of the manifest that are whole lines.
    """

    path: Path
    sessions: tuple[dict[str, Any], ...]
    chunks: tuple[dict[str, Any], ...]
    size: int


def chunk_name(index: int) -> str:
    return f"chunk-{index:06d}.nc"


def manifest_line(index: int, entry: dict[str, Any]) -> bytes:
    """Line `index` (from 0) of a manifest, checksum and line end included.

    The index stands in the line so that a line which is missing shows.
    """
    text = canonical("entry", [index, entry])
    return f'{{"entry":{text},"sha256":"{digest(text.encode())}"}}\n'.encode()


def read_parts(folder: Path) -> list[Part]:
    return [read_part(path) for path in sorted(folder.glob("part-*")) if path.is_dir()]


def read_part(path: Path) -> Part:
    """Reads a manifest, which another process may be appending to.

    A last line without its end is what an append leaves that is under way or was
    killed: it is left out. A ValueError says what else is wrong.
    """
    # Before the manifest: all of these but the last are then listed in it.
    present = {file.name for file in path.glob("chunk-*.nc")}
    manifest = path / MANIFEST
    content = manifest.read_bytes() if manifest.exists() else b""
    size = content.rfind(b"\n") + 1
    entries = [
        _parse_line(manifest, index, line)
        for index, line in enumerate(content[:size].splitlines(keepends=True))
    ]
    chunks = tuple(entry for entry in entries if entry["kind"] == "chunk")
    unlisted = present - {chunk["file"] for chunk in chunks}
    # A process that was killed between a chunk and its line leaves exactly this one.
    if entries:
        unlisted.discard(chunk_name(len(chunks)))
    if unlisted:
        some = ", ".join(sorted(unlisted)[:3])
        raise ValueError(
            f"{path} holds {len(unlisted)} chunk(s) that {MANIFEST} does not list "
            f"({some}): the manifest is gone or has lost lines. Restore it from a "
            f"copy, or delete {path} and its runs are computed again."
        )
    sessions = tuple(entry for entry in entries if entry["kind"] == "session")
    return Part(path, sessions, chunks, size)


def _parse_line(manifest: Path, index: int, line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)["entry"][1]
        if manifest_line(index, entry) == line:
            return entry
    except (ValueError, KeyError, TypeError, IndexError):
        pass
    raise ValueError(
        f"Line {index + 1} of {manifest} is damaged, or a line before it is missing. "
        f"Restore it from a copy, or delete {manifest.parent} and its runs are "
        "computed again."
    )


def check_chunk(file: Path, chunk: dict[str, Any], *, contents: bool) -> None:
    """A ValueError if a chunk is not the file that its line describes: missing, of
    another size or, where `contents` are read, with another checksum."""
    advice = (
        f"Restore it from a copy, or delete {file.parent} and its runs are computed "
        "again."
    )
    try:
        size = file.stat().st_size
    except FileNotFoundError as error:
        raise ValueError(
            f"{file} is missing, but {MANIFEST} lists it. {advice}"
        ) from error
    if size != chunk["bytes"]:
        what = "truncated" if size < chunk["bytes"] else "too long"
        raise ValueError(
            f"{file} is {what}: {size} of {chunk['bytes']} bytes. {advice}"
        )
    if contents and file_digest(file) != chunk["sha256"]:
        raise ValueError(
            f"{file} was changed: its checksum is not the one in {MANIFEST}. {advice}"
        )


def file_digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
