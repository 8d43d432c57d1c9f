"""Files that survive a killed process and a full disk."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from ._inside import remove_file

_BINARY = getattr(os, "O_BINARY", 0)
# EFBIG is what a limit on the size of a file gives (ulimit -f).
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DiskFullError(OSError):
    """The disk, or a quota on it, is full. What was finished before is kept."""


@contextlib.contextmanager
def explaining_full_disk(folder: Path, kept: str) -> Iterator[None]:
    """Turns a full disk into a `DiskFullError` that says what was `kept`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFullError(
            error.errno,
            f"the disk under {folder} is full ({os.strerror(error.errno)}). {kept} "
            "Free some space and make the same call again: it goes on from there.",
        ) from error


def write_file(path: Path, content: bytes) -> None:
    """`content` as a file named `path`, on disk when this returns: whole or not at all,
    whatever happens in between."""
    temporary = path.with_name(path.name + ".partial")
    try:
        write_and_sync(temporary, content)
        os.replace(temporary, path)
    except BaseException:
        remove_file(temporary)
        raise
    sync_folder(path.parent)


def write_and_sync(path: Path, content: bytes) -> None:
    """`content` as a new file, in the place of any other of that name."""
    # Not into what is there, which may be a link to a file elsewhere.
    remove_file(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o644)
    try:
        write_at(descriptor, 0, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_at(descriptor: int, offset: int, content: bytes) -> None:
    """All of `content`: a single call may write less, on a disk that is nearly full."""
    rest = memoryview(content)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` (of files that were created or renamed) durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
