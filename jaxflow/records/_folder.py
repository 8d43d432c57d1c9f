"""Writing a folder of records, and resuming one."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ._chunk import check_schema, encode, make_chunk
from ._disk import explaining_full_disk, locked, sync_folder, write_at, write_file
from ._manifest import (
    CONFIG,
    MANIFEST,
    Part,
    check_chunk,
    check_config,
    chunk_name,
    claim_config,
    digest,
    manifest_line,
    plain_mapping,
    read_part,
    read_parts,
)
from ._provenance import provenance as collect_provenance


class RecordFolder:
    """One part of a folder, open for writing; `open_folder` makes it.

    Not for several threads at once.

    - `path`: the folder.
    - `part`: which part of it this process writes.
    """

    def __init__(
        self, path: Path, part: int, old: Part, manifest: int, variables: dict | None
    ):
        self.path = path
        self.part = part
        self._folder = old.path
        self._manifest: int | None = manifest
        # What is on disk for sure: lines and bytes of the manifest, and its chunks.
        self._lines = len(old.sessions) + len(old.chunks)
        self._size = old.size
        self._chunks = list(old.chunks)
        self._ids = {name for chunk in old.chunks for name in chunk["ids"]}
        # A chunk is never written again, so that it needs to be checked only once.
        self._checked: set[Path] = set()
        # As every chunk of the folder has them, once there is one.
        self._variables: dict[str, Any] | None = variables

    def finished(self) -> set[str]:
        """The ids of all runs that any part of the folder holds.

        Every chunk that was there before is read and compared with its checksum, once.
        Raises a ValueError that names the file if one is missing, truncated or changed.
        """
        names = set(self._ids)
        for folder, chunk in self._all_chunks():
            file = folder / chunk["file"]
            if file not in self._checked:
                check_chunk(file, chunk, contents=True)
                self._checked.add(file)
            names.update(chunk["ids"])
        return names

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
        the call, and the same call can be made again.
        """
        if self._manifest is None:
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
        entry = {
            "attrs": chunk.attrs,
            "bytes": len(content),
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
                size = self._append(entry)
        except BaseException:
            with contextlib.suppress(OSError):
                self._clear()
            raise
        self._lines, self._size = self._lines + 1, size
        self._chunks.append(entry)
        self._ids.update(chunk.ids)
        self._checked.add(self._folder / name)
        self._variables = self._variables or variables

    def _all_chunks(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        for part in read_parts(self.path):
            for chunk in part.chunks:
                yield part.path, chunk

    def _begin(self, entry: dict[str, Any]) -> None:
        """Repairs what a killed process left, and adds the line of this session."""
        for temporary in self._folder.glob("*.partial"):
            temporary.unlink()
        self._clear()
        self._size = self._append(entry)
        self._lines += 1

    def _append(self, entry: dict[str, Any]) -> int:
        """Adds a line to the manifest and returns its new size, in bytes."""
        assert self._manifest is not None
        line = manifest_line(self._lines, entry)
        write_at(self._manifest, self._size, line)
        os.fsync(self._manifest)
        return self._size + len(line)

    def _clear(self) -> None:
        """Removes an unfinished line and its chunk.

        In this order: a chunk without its line is repaired, a line without its chunk
        is lost data.
        """
        assert self._manifest is not None
        if os.fstat(self._manifest).st_size > self._size:
            os.ftruncate(self._manifest, self._size)
            os.fsync(self._manifest)
        (self._folder / chunk_name(len(self._chunks))).unlink(missing_ok=True)

    def _close(self) -> None:
        if self._manifest is not None:
            os.close(self._manifest)
            self._manifest = None


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
    config, and what a killed process left in this part is removed.

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
    while another process writes the same part; a `DiskFullError` (an OSError).
    """
    if isinstance(part, bool) or not isinstance(part, int) or part < 0:
        raise ValueError(f"part must be an integer, 0 or more, got {part!r}.")
    folder = Path(path).absolute()
    plain = plain_mapping("config", config)
    about = collect_provenance() if provenance is None else provenance
    session = {"kind": "session", "provenance": plain_mapping("provenance", about)}
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} must be a folder, but it is a file.")
    if (folder / CONFIG).exists():
        # Before anything is made, so that a wrong folder is left as it is.
        check_config(folder, plain)
    with contextlib.ExitStack() as stack:
        with explaining_full_disk(folder, "All finished chunks are kept."):
            own = folder / f"part-{part:05d}"
            own.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(own / "lock"))
            claim_config(folder, own, plain)
            old, variables = read_part(own), _variables(folder)
            manifest = os.open(own / MANIFEST, os.O_RDWR | os.O_CREAT, 0o644)
            records = RecordFolder(folder, part, old, manifest, variables)
            stack.callback(records._close)
            records._begin(session)
            for changed in (own, folder, folder.parent):
                sync_folder(changed)
        yield records


def _variables(folder: Path) -> dict[str, Any] | None:
    """The variables of the first chunk in any part."""
    chunks = (chunk for part in read_parts(folder) for chunk in part.chunks)
    return next((chunk["variables"] for chunk in chunks), None)
