"""Opening what lies in a folder that somebody else may have made.

A folder of records holds plain files and directories of its own. Whatever else stands
under one of their names (a symbolic link, a named pipe, a device) is refused, by a
ValueError that names it, before anything is read from it or written to it.
"""

import contextlib
import errno
import os
import re
import stat
from pathlib import Path
from typing import TypeAlias

# Absent on Windows, which has no such files in the first place.
_SAFELY = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)
_PART = re.compile(r"part-[0-9]{5,}")
_CHUNK = re.compile(r"chunk-.*\.nc", re.DOTALL)
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISREG, "a file"),
    (stat.S_ISFIFO, "a named pipe"),
)

# What tells whether a file is the one that was seen before: where it lies, its size and
# when it was written.
Stamp: TypeAlias = tuple[int, int, int, int]


def folder_path(path: str | os.PathLike[str]) -> Path:
    """Where a folder lies, once and for all: it does not move with the working
    directory, nor with a link on the way to it."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError(
            "The folder of records must be a path such as 'runs', or '.' for the "
            f"directory that you are in; got {path!r}."
        )
    try:
        return Path(os.path.realpath(Path(text).expanduser()))
    except RuntimeError as error:
        raise ValueError(f"The folder {text!r} names no home directory.") from error


def stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def open_file(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of the plain file `path`. A FileNotFoundError if nothing is there,
    unless `flags` make it; a ValueError if it is anything else."""
    # Before it is opened, since opening a device may set something off; and after, in
    # case that it was exchanged in between.
    with contextlib.suppress(FileNotFoundError):
        _require("a file", path, os.lstat(path).st_mode)
    try:
        descriptor = os.open(path, flags | _SAFELY, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            _require("a file", path, os.lstat(path).st_mode)
        raise
    try:
        status = os.fstat(descriptor)
        _require("a file", path, status.st_mode)
        if flags & (os.O_WRONLY | os.O_RDWR) and status.st_nlink > 1:
            raise ValueError(
                f"{path} has another name (a hard link), under which what is written "
                "to it would show as well. Put a copy in its place."
            )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_file(path: Path) -> tuple[bytes, Stamp]:
    """All of the plain file `path`; raises as `open_file` does."""
    with open(open_file(path), "rb") as stream:
        return stream.read(), stamp(os.fstat(stream.fileno()))


def stamp_of(path: Path) -> Stamp:
    """Of a plain file, which is not opened; raises as `open_file` does."""
    status = os.lstat(path)
    _require("a file", path, status.st_mode)
    return stamp(status)


def require_directory(path: Path) -> None:
    _require("a directory", path, os.lstat(path).st_mode)


def remove_file(path: Path) -> None:
    """Removes a name; what a link points to stays as it is."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            _require("a file", path, stat.S_IFDIR)
        os.unlink(path)


def part_directories(folder: Path) -> list[Path]:
    """The parts of a folder, in order. What looks like one and is none is refused."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("part-"):
                path = folder / entry.name
                require_directory(path)
                if not _PART.fullmatch(entry.name):
                    raise ValueError(
                        f"{path} is not a part of a folder of records, which has a "
                        "name like part-00000. Move it elsewhere, or give it back the "
                        "name that it had."
                    )
                found.append(path)
    return sorted(found)


def chunk_files(part: Path) -> set[str]:
    """The names of all that looks like a chunk."""
    with os.scandir(part) as entries:
        return {entry.name for entry in entries if _CHUNK.fullmatch(entry.name)}


def _kind(mode: int) -> str:
    return next((name for test, name in _KINDS if test(mode)), "a device or a socket")


def _require(wanted: str, path: Path, mode: int) -> None:
    if (kind := _kind(mode)) != wanted:
        raise ValueError(
            f"{path} must be {wanted}, but it is {kind}. A folder of records holds "
            "files and directories of its own, and nothing outside it is read or "
            "written. Put a copy of what is meant in its place, or remove it."
        )
