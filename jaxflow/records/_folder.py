"""Writing a folder of records, and resuming one."""

import contextlib
import errno
import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ._canonical import digest, plain_mapping
from ._chunk import check_schema, make_chunk
from ._chunk_file import check_contents
from ._config import CONFIG, Config, check_config, claim_config, has_config, read_config
from ._disk import explaining_full_disk, sync_folder, write_at, write_file
from ._inside import (
    Stamp,
    folder_path,
    open_file,
    read_file,
    remove_file,
    require_directory,
    stamp,
    stamp_of,
)
from ._lock import NO_LOCKS, locked
from ._manifest import (
    MANIFEST,
    Part,
    chunk_name,
    has_manifests,
    manifest_line,
    read_parts,
    unmarked_warning,
)
from ._netcdf import encode
from ._provenance import provenance as collect_provenance

# What a process is told that may read a folder but not write to it.
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM} | NO_LOCKS


class RecordFolder:
    """One part of a folder, open for writing; `open_folder` makes it.

    Not for several threads at once.

    - `path`: the folder.
    - `part`: which part of it this process writes.
    """

    def __init__(self, path: Path, part: int, config: Config, parts: list[Part]):
        self.path = path
        self.part = part
        self._folder = part_path(path, part)
        self._config = config
        # All parts, as they were last read.
        self._parts = parts
        own = [each for each in parts if each.path == self._folder]
        # What is on disk for sure: lines and bytes of the manifest, and its chunks.
        self._chunks = [chunk for each in own for chunk in each.chunks]
        self._lines = sum(len(each.sessions) + len(each.chunks) for each in own)
        content = b"".join(each.content for each in own)
        self._size, self._digest = len(content), hashlib.sha256(content)
        self._ids = {name for chunk in self._chunks for name in chunk["ids"]}
        # As every chunk of the folder has them, once there is one.
        self._variables: dict[str, Any] | None = next(
            (chunk["variables"] for each in parts for chunk in each.chunks), None
        )
        # A chunk is never written again, so that it needs to be checked only once.
        self._checked: set[Path] = set()
        self._writing: _Writing | None = None
        # Why nothing can be written, where that is so.
        self._refusal: OSError | None = None
        self._warning = unmarked_warning(path, parts)

    def finished(self) -> set[str]:
        """The ids of all runs that any part of the folder holds.

        Every chunk that was there before is read and compared with its checksum, once.
        Raises a ValueError that names the file if one is missing, truncated or changed.
        """
        names = set(self._ids)
        for folder, chunk in self._all_chunks():
            file = folder / chunk["file"]
            if file not in self._checked:
                check_contents(file, chunk)
                self._checked.add(file)
            names.update(chunk["ids"])
        return names

    def check_writable(self) -> None:
        """A PermissionError, or another OSError, if the folder was opened where it can
        be read but not written: its finished runs are all that there is."""
        if self._refusal is not None:
            raise OSError(
                self._refusal.errno,
                f"{self.path} can be read, but not written to "
                f"({self._refusal.strerror}). Its finished runs can be had as they "
                "are; to add others, copy it to where you may write",
            ) from self._refusal

    def write(
        self,
        rows: Mapping[str, Any],
        ids: Sequence[str],
        dims: Mapping[str, tuple[str, ...]],
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds one chunk of runs, which is on disk when this returns.

        **Arguments:**

        - `rows`: an array per variable, of shape (run, ...) and of booleans, integers,
            strings, float32 or float64. All chunks of a folder have the same variables
            with the same dtypes and shapes, up to the number of runs.
        - `ids`: a string per run; no run of this part may have the same.
        - `dims`: the names of each variable's axes, of which the first is "run".
        - `attrs`: strings and numbers that are stored with the chunk.

        Raises a ValueError if one of them is not like that, and a `DiskFullError`
        (an OSError) if the disk is full. After any error the folder is as it was before
        the call, and the same call can be made again. An exception is a ValueError
        that says that the folder was moved, replaced or changed by another process
        since it was opened: then nothing more can be written.
        """
        self.check_writable()
        if self._writing is None:
            raise ValueError(
                f"{self._folder} is closed: write inside `with open_folder(...)`."
            )
        chunk = make_chunk(rows, ids, dims, attrs)
        variables = chunk.variables()
        name = chunk_name(len(self._chunks))
        if self._variables is not None:
            check_schema(self._variables, variables, name)
        if again := self._ids.intersection(chunk.ids):
            raise ValueError(
                f"{self._folder} already holds the run {min(again)!r}: leave out the "
                "runs that finished() returns."
            )
        content = encode(chunk)
        self._writing.require_unchanged(self._size, self._digest)
        entry = {
            "attrs": chunk.attrs,
            "bytes": len(content),
            "config": self._config.sha256,
            "file": name,
            "ids": chunk.ids,
            "kind": "chunk",
            "sha256": digest(content),
            "variables": variables,
        }
        kept = (
            f"{len(self._ids)} runs in {len(self._chunks)} chunks of "
            f"{self._folder.name} are kept, the {len(chunk.ids)} runs of this chunk "
            "are not."
        )
        try:
            with explaining_full_disk(self.path, kept):
                self._clear()
                write_file(self._folder / name, content)
                line = self._append(entry)
        except BaseException:
            with contextlib.suppress(OSError):
                self._clear()
            raise
        self._count(line)
        self._chunks.append(entry)
        self._ids.update(chunk.ids)
        self._checked.add(self._folder / name)
        self._variables = self._variables or variables

    @property
    def parts(self) -> list[Part]:
        """The parts as they were last read."""
        return self._parts

    def _all_chunks(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        self._parts = read_parts(self.path, self._config, self._parts)
        for part in self._parts:
            for chunk in part.chunks:
                yield part.path, chunk

    def _begin(self, writing: "_Writing", provenance: dict[str, Any]) -> None:
        """Repairs what a killed process left, and adds the line of this session."""
        self._writing = writing
        for temporary in self._folder.glob("*.partial"):
            remove_file(temporary)
        self._clear()
        config = self._config.sha256
        entry = {"config": config, "kind": "session", "provenance": provenance}
        self._count(self._append(entry))

    def _append(self, entry: dict[str, Any]) -> bytes:
        """Adds a line to the manifest, and returns it."""
        assert self._writing is not None
        line = manifest_line(self._lines, entry)
        self._writing.append(self._size, line)
        return line

    def _count(self, line: bytes) -> None:
        """A line is on disk for sure, and its chunk too."""
        self._lines, self._size = self._lines + 1, self._size + len(line)
        self._digest.update(line)

    def _clear(self) -> None:
        """Removes an unfinished line and its chunk.

        In this order: a chunk without its line is repaired, a line without its chunk
        is lost data.
        """
        assert self._writing is not None
        self._writing.cut(self._size)
        remove_file(self._folder / chunk_name(len(self._chunks)))

    def _close(self) -> None:
        self._writing = None


class _Writing:
    """What a process holds that writes a part, and what it was like when it was last
    touched."""

    def __init__(self, folder: Path, part: Path, config: Config, lock: int):
        self._folder, self._part, self._config = folder, part, config
        self._lock = lock
        self._process = os.getpid()
        self._config_stamp = stamp_of(folder / CONFIG)
        self._manifest = open_file(part / MANIFEST, os.O_RDWR | os.O_CREAT)
        self._stamp: Stamp = stamp(os.fstat(self._manifest))

    def append(self, size: int, line: bytes) -> None:
        write_at(self._manifest, size, line)
        os.fsync(self._manifest)
        self._stamp = stamp(os.fstat(self._manifest))

    def cut(self, size: int) -> None:
        if os.fstat(self._manifest).st_size > size:
            os.ftruncate(self._manifest, size)
            os.fsync(self._manifest)
        self._stamp = stamp(os.fstat(self._manifest))

    def require_unchanged(self, size: int, content: "hashlib._Hash") -> None:
        """A ValueError if the folder is no longer the one that was opened."""
        if os.getpid() != self._process:
            raise ValueError(
                f"{self._part} was opened by process {self._process}, and this is "
                f"process {os.getpid()}, a child of it. Write where it was opened."
            )
        names = {MANIFEST: self._manifest, "lock": self._lock}
        try:
            require_directory(self._part)
            gone = [
                name
                for name, descriptor in names.items()
                if stamp_of(self._part / name)[:2] != stamp(os.fstat(descriptor))[:2]
            ]
            config = stamp_of(self._folder / CONFIG)
        except FileNotFoundError as error:
            raise ValueError(
                f"{error.filename} is gone: it was moved or deleted while its folder "
                f"was being written. {self._advice()}"
            ) from error
        if gone:
            raise ValueError(
                f"{self._part / gone[0]} was replaced while its folder was being "
                f"written. {self._advice()}"
            )
        if stamp_of(self._part / MANIFEST) != self._stamp:
            found, now = read_file(self._part / MANIFEST)
            if len(found) != size or digest(found) != content.hexdigest():
                raise ValueError(
                    f"{self._part / MANIFEST} was changed by another process while it "
                    f"was being written. {self._advice()}"
                )
            self._stamp = now
        if config != self._config_stamp:
            check_config(self._folder, self._config.values)
            self._config_stamp = config

    def _advice(self) -> str:
        return (
            "Nothing more is written there. Put the folder back as it was, or choose "
            "another one, and make the same call again."
        )

    def close(self) -> None:
        os.close(self._manifest)


def part_path(folder: Path, part: int) -> Path:
    return folder / f"part-{part:05d}"


@contextlib.contextmanager
def open_folder(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    *,
    part: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> Iterator[RecordFolder]:
    """Opens a folder of records for writing, as a context manager.

    ```python
    with open_folder("records", config) as folder:
        done = folder.finished()
        for chunk in chunks:  # of runs that are not in done
            folder.write(rows, ids, dims)
    ```

    A new folder is made; an old one is resumed after a check that it has the same
    config, and what a killed process left in this part is removed. A folder that can be
    read but not written to, on read-only storage or without locks, is opened all the
    same: `finished` works there, `write` raises an OSError.

    **Arguments:**

    - `path`: the folder.
    - `config`: what determines the bits of a run, but not which runs there are. JSON:
        strings, finite numbers, booleans, lists and dicts with string keys.

    **Keyword arguments:**

    - `part`: an integer ≥ 0, another one for each process that writes at the same time
        (its process index).
    - `provenance`: JSON, what is to be remembered of this session. Left out, it is
        `jaxflow.records.provenance()`.

    Raises a `ValueError` that names the keys if the folder has another config, and one
    that names the file if the folder is damaged; a `FolderBusyError` (a RuntimeError)
    while another process writes the same part; a `DiskFullError` (an OSError). Warns of
    a folder whose parts do not say to which config they belong (format 1).
    """
    if isinstance(part, bool) or not isinstance(part, int) or part < 0:
        raise ValueError(f"part must be an integer, 0 or more, got {part!r}.")
    folder = folder_path(path)
    plain = plain_mapping("config", config)
    about = collect_provenance() if provenance is None else provenance
    session = plain_mapping("provenance", about)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} must be a folder, but it is a file.")
    there = has_config(folder)
    if there:
        # Before anything is made, so that a wrong folder is left as it is.
        check_config(folder, plain)
    with contextlib.ExitStack() as stack:
        try:
            with explaining_full_disk(folder, "All finished chunks are kept."):
                records = _open_part(stack, folder, part, plain, session)
        except OSError as error:
            if not there or error.errno not in _READ_ONLY:
                raise
            stack.close()
            found = read_config(folder)
            records = RecordFolder(folder, part, found, read_parts(folder, found))
            records._refusal = error
        if records._warning is not None:
            # Where the caller's `with` stands.
            warnings.warn(records._warning, stacklevel=3)
        yield records


def _open_part(
    stack: contextlib.ExitStack,
    folder: Path,
    part: int,
    config: dict[str, Any],
    provenance: dict[str, Any],
) -> RecordFolder:
    """Opens a part for writing; `stack` closes it."""
    own = part_path(folder, part)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        own.mkdir()
    require_directory(own)
    lock = stack.enter_context(locked(own / "lock"))
    claimed = claim_config(folder, own, config, started=has_manifests(folder))
    records = RecordFolder(folder, part, claimed, read_parts(folder, claimed))
    writing = _Writing(folder, own, claimed, lock)
    stack.callback(writing.close)
    stack.callback(records._close)
    records._begin(writing, provenance)
    for changed in (own, folder):
        sync_folder(changed)
    # Which not everybody may read who may write in the folder.
    with contextlib.suppress(PermissionError):
        sync_folder(folder.parent)
    return records
