"""Reading a folder of records as one dataset."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._chunk import ID, RUN, check_schema, common_dtype, decode, optional
from ._manifest import CONFIG, Part, canonical, check_chunk, read_config, read_parts


@dataclasses.dataclass(frozen=True)
class _Source:
    """A chunk file and which of its runs count.

    - `rows`: their indices, or None for all of them.
    """

    file: Path
    sha256: str
    ids: list[str]
    rows: list[int] | None

    def read(self, dtypes: dict[str, np.dtype]) -> dict[str, np.ndarray]:
        arrays = decode(self.file, dtypes)
        if self.rows is None:
            return arrays
        return {name: array[self.rows] for name, array in arrays.items()}


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
    - `verify`: reads every chunk once and compares it with its checksum. Otherwise only
        its presence and its size are checked.

    Raises a FileNotFoundError if there is no folder; a ValueError if there are no runs
    in it, or not those of `ids`, if chunks do not fit together, or, with the file's
    name and what is wrong, if the config, a manifest or a chunk is damaged.
    """
    if ids is not None and len(ids) == 0:
        raise ValueError("ids must name at least one run, or be left out for all.")
    folder = Path(path).absolute()
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    if not (folder / CONFIG).exists():
        raise ValueError(
            f"{folder} is not a folder of records: it has no {CONFIG}. "
            "`open_folder` makes one."
        )
    xarray = optional("xarray")
    config = read_config(folder)
    parts = read_parts(folder)
    chunks = [(part, chunk) for part in parts for chunk in part.chunks]
    if not chunks:
        raise ValueError(f"{folder} holds no finished runs yet.")

    first: dict[str, Any] = chunks[0][1]["variables"]
    for part, chunk in chunks:
        file = part.path / chunk["file"]
        check_schema(first, chunk["variables"], str(file))
        check_chunk(file, chunk, contents=verify)
    dtypes = {
        name: common_dtype([chunk["variables"][name] for _, chunk in chunks])
        for name in first
    }
    shapes = {name: tuple(first[name]["shape"][1:]) for name in first}
    sources = _sources(chunks, None if ids is None else set(ids))
    names = [name for source in sources for name in source.ids]
    if ids is not None and (missing := set(ids).difference(names)):
        raise ValueError(
            f"{folder} holds {len(names)} of the {len(set(ids))} runs asked for, and "
            f"not {min(missing)!r}."
        )
    arrays = (_lazy if lazy else _eager)(sources, dtypes, shapes)
    return xarray.Dataset(
        {name: (first[name]["dims"], array) for name, array in arrays.items()},
        coords={ID: (RUN, np.asarray(names, str))},
        attrs={
            **_common_attrs([chunk["attrs"] for _, chunk in chunks]),
            "config": canonical("config", config),
            "provenance": _sessions(parts),
        },
    )


def _sources(
    chunks: Sequence[tuple[Part, dict[str, Any]]], wanted: set[str] | None
) -> list[_Source]:
    """Where the wanted runs are. Two processes may have computed the same run; their
    results are the same, and the first counts."""
    seen: set[str] = set()
    sources = []
    for part, chunk in chunks:
        ids = chunk["ids"]
        rows = [
            row
            for row, name in enumerate(ids)
            if name not in seen and (wanted is None or name in wanted)
        ]
        seen.update(ids)
        if rows:
            sources.append(
                _Source(
                    part.path / chunk["file"],
                    chunk["sha256"],
                    [ids[row] for row in rows],
                    None if len(rows) == len(ids) else rows,
                )
            )
    return sources


def _eager(
    sources: list[_Source],
    dtypes: dict[str, np.dtype],
    shapes: dict[str, tuple[int, ...]],
) -> dict[str, np.ndarray]:
    runs = sum(len(source.ids) for source in sources)
    arrays = {name: np.empty((runs, *shapes[name]), dtypes[name]) for name in dtypes}
    start = 0
    for source in sources:
        stop = start + len(source.ids)
        for name, values in source.read(dtypes).items():
            arrays[name][start:stop] = values
        start = stop
    return arrays


def _lazy(
    sources: list[_Source],
    dtypes: dict[str, np.dtype],
    shapes: dict[str, tuple[int, ...]],
) -> dict[str, Any]:
    """One array by `map_blocks`, whose cost does not grow with the number of chunks as
    that of a concatenation does."""
    dask_array = optional("dask.array")
    runs = tuple(len(source.ids) for source in sources)
    # Equal graphs have equal names: dask takes arrays of the same name for the same.
    token = hashlib.sha256()
    for source in sources:
        token.update(f"{source.file.absolute()} {source.sha256} {source.rows}".encode())
    arrays = {}
    for name, dtype in dtypes.items():
        shape = shapes[name]
        arrays[name] = dask_array.map_blocks(
            functools.partial(_block, sources, name, dtype),
            chunks=(runs, *((size,) for size in shape)),
            dtype=dtype,
            meta=np.empty((0,) * (1 + len(shape)), dtype),
            name=f"{name}-{token.hexdigest()}",
        )
    return arrays


def _block(
    sources: list[_Source],
    name: str,
    dtype: np.dtype,
    block_id: tuple[int, ...] | None = None,
) -> np.ndarray:
    assert block_id is not None
    return sources[block_id[0]].read({name: dtype})[name]


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
