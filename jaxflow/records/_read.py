"""Reading a folder of records as one dataset."""

import dataclasses
import functools
import hashlib
import math
import os
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._canonical import canonical
from ._chunk import ID, RUN, check_schema, common_dtype, optional
from ._chunk_file import check_contents, check_size
from ._config import CONFIG, has_config, read_config
from ._inside import folder_path
from ._manifest import Part, read_parts, unmarked_warning
from ._source import Reader, Source


def open_records(
    path: str | os.PathLike[str],
    *,
    ids: Collection[str] | None = None,
    lazy: bool = True,
    verify: bool = True,
) -> Any:
    """The finished runs of a folder, over its parts, as an `xarray.Dataset`.

    Its dimension is "run" (parts in order, each in the order it was written), with the
    coordinate `id` (run,), and those of the variables. A run that several parts hold
    counts once, as the first of them has it. Its attributes are `config` and
    `provenance` (JSON: of every session, with its part) and those that all chunks have
    with the same value. The folder may be written at the same time.

    **Arguments:**

    - `path`: the folder.

    **Keyword arguments:**

    - `ids`: of the runs that are wanted, at least one; left out, all. Only chunks that
        hold one of them are decoded.
    - `lazy`: variables are dask arrays with a block per chunk, and no chunk is opened
        before its values are needed. Otherwise they are read now, into NumPy arrays.
        Either way a chunk is opened once for all variables that are read together.
    - `verify`: reads every chunk once and compares it with its checksum. Otherwise only
        its presence and its size are checked.

    Raises a FileNotFoundError if there is no folder; a ValueError if there are no runs
    in it, or not those of `ids`, if chunks do not fit together, or, with the file's
    name and what is wrong, if the config, a manifest or a chunk is damaged, belongs to
    another folder, or leads out of this one. Warns of a folder whose parts do not say
    to which config they belong (format 1).
    """
    return read_folder(path, ids=ids, load=0 if lazy else math.inf, verify=verify)


def read_folder(
    path: str | os.PathLike[str],
    *,
    ids: Collection[str] | None,
    load: int | float,
    verify: bool,
    known: Sequence[Part] = (),
) -> Any:
    """What `open_records` returns: in memory where it takes at most `load` bytes there,
    lazily where it takes more. `known`: its parts as they were read before."""
    if ids is not None and len(ids) == 0:
        raise ValueError("ids must name at least one run, or be left out for all.")
    folder = folder_path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    if not has_config(folder):
        raise ValueError(
            f"{folder} is not a folder of records: it has no {CONFIG}. "
            "`open_folder` makes one."
        )
    xarray = optional("xarray")
    config = read_config(folder)
    parts = read_parts(folder, config, known)
    if warning := unmarked_warning(folder, parts):
        warnings.warn(warning, stacklevel=3)
    chunks = [
        (part.path / chunk["file"], chunk) for part in parts for chunk in part.chunks
    ]
    if not chunks:
        raise ValueError(f"{folder} holds no finished runs yet.")

    first: dict[str, Any] = chunks[0][1]["variables"]
    for file, chunk in chunks:
        check_schema(first, chunk["variables"], str(file))
        check_size(file, chunk)
    sources = _sources(chunks, None if ids is None else set(ids))
    names = [name for source in sources for name in source.ids]
    if ids is not None and (missing := set(ids).difference(names)):
        raise ValueError(
            f"{folder} holds {len(names)} of the {len(set(ids))} runs asked for, and "
            f"not {min(missing)!r}."
        )
    layout = _Layout.of([chunk["variables"] for _, chunk in chunks])
    eager = layout.bytes_of(len(names)) <= load
    if verify:
        # What is decoded now is compared then.
        apart = {source.file for source in sources} if eager else set()
        seen = {
            file: check_contents(file, chunk)
            for file, chunk in chunks
            if file not in apart
        }
        sources = [dataclasses.replace(x, seen=seen.get(x.file)) for x in sources]
    arrays = _eager(sources, layout, verify=verify) if eager else _lazy(sources, layout)
    return xarray.Dataset(
        {name: (first[name]["dims"], array) for name, array in arrays.items()},
        coords={ID: (RUN, np.asarray(names, str))},
        attrs={
            **_common_attrs([chunk["attrs"] for _, chunk in chunks]),
            "config": canonical("config", config.values),
            "provenance": _sessions(parts),
        },
    )


@dataclasses.dataclass(frozen=True)
class _Layout:
    """What the variables of all chunks are together.

    - `dtypes`: by variable; strings are as wide as the widest.
    - `shapes`: by variable, after the axis of the runs.
    """

    dtypes: dict[str, np.dtype]
    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, variables: Sequence[dict[str, Any]]) -> "_Layout":
        first = variables[0]
        return cls(
            {name: common_dtype([x[name] for x in variables]) for name in first},
            {name: tuple(first[name]["shape"][1:]) for name in first},
        )

    def bytes_of(self, runs: int) -> int:
        return runs * sum(
            dtype.itemsize * math.prod(self.shapes[name])
            for name, dtype in self.dtypes.items()
        )


def _sources(
    chunks: Sequence[tuple[Path, dict[str, Any]]], wanted: set[str] | None
) -> list[Source]:
    """Where the wanted runs are. Two processes may have computed the same run; their
    results are the same, and the first counts."""
    seen: set[str] = set()
    sources = []
    for file, chunk in chunks:
        ids = chunk["ids"]
        rows = [
            row
            for row, name in enumerate(ids)
            if name not in seen and (wanted is None or name in wanted)
        ]
        seen.update(ids)
        if rows:
            sources.append(Source(file, chunk, None if len(rows) == len(ids) else rows))
    return sources


def _eager(
    sources: list[Source], layout: _Layout, *, verify: bool
) -> dict[str, np.ndarray]:
    runs = sum(len(source.ids) for source in sources)
    arrays = {
        name: np.empty((runs, *layout.shapes[name]), dtype)
        for name, dtype in layout.dtypes.items()
    }
    start = 0
    for source in sources:
        stop = start + len(source.ids)
        for name, values in source.read(verify=verify).items():
            arrays[name][start:stop] = values
        start = stop
    return arrays


def _lazy(sources: list[Source], layout: _Layout) -> dict[str, Any]:
    """Arrays by `map_blocks`, whose cost does not grow with the number of chunks as
    that of a concatenation does. All read from one array of readers, a block per chunk,
    so that dask takes the variables of a chunk one after the other."""
    dask_array = optional("dask.array")
    runs = tuple(len(source.ids) for source in sources)
    # Equal graphs have equal names: dask takes arrays of the same name for the same.
    token = hashlib.sha256()
    for source in sources:
        sha256 = source.chunk["sha256"]
        token.update(f"{source.file} {sha256} {source.rows}".encode())
    readers = dask_array.map_blocks(
        functools.partial(_reader, sources),
        chunks=((1,) * len(sources),),
        dtype=object,
        meta=np.empty(0, object),
        name=f"chunk-{token.hexdigest()}",
    )
    arrays = {}
    for name, dtype in layout.dtypes.items():
        shape = layout.shapes[name]
        arrays[name] = dask_array.map_blocks(
            functools.partial(_block, name=name, dtype=dtype),
            readers,
            chunks=(runs, *((size,) for size in shape)),
            new_axis=[*range(1, 1 + len(shape))] or None,
            dtype=dtype,
            meta=np.empty((0,) * (1 + len(shape)), dtype),
            name=f"{name}-{token.hexdigest()}",
        )
    return arrays


def _reader(
    sources: list[Source], block_id: tuple[int, ...] | None = None
) -> np.ndarray:
    assert block_id is not None
    block = np.empty(1, object)
    block[0] = Reader(sources[block_id[0]])
    return block


def _block(readers: np.ndarray, name: str, dtype: np.dtype) -> np.ndarray:
    return readers[0].read(name).astype(dtype, copy=False)


def _common_attrs(attrs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Those that all chunks have with the same value."""
    return {
        key: value
        for key, value in attrs[0].items()
        if all(key in other and other[key] == value for other in attrs)
    }


def _sessions(parts: Sequence[Part]) -> str:
    sessions = [
        {**session["provenance"], "part": part.path.name}
        for part in parts
        for session in part.sessions
    ]
    return canonical("provenance", sessions)
