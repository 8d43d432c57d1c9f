"""The chunks that a dataset is read from: all of one at once, or lazily."""

import collections
import contextlib
import dataclasses
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from ._chunk_file import open_chunk, read_contents
from ._inside import Stamp
from ._netcdf import decode, opened, read_variables

# So many files are kept open at most, in case that dask begins many chunks before it is
# done with any.
_MOST = 32


@dataclasses.dataclass(frozen=True)
class Source:
    """A chunk and which of its runs count.

    - `file`: where it lies.
    - `chunk`: its entry in the manifest.
    - `rows`: the indices of the runs, or None for all of them.
    - `seen`: when its checksum was found right, the stamp of the file.
    """

    file: Path
    chunk: dict[str, Any]
    rows: list[int] | None
    seen: Stamp | None = None

    @property
    def ids(self) -> list[str]:
        ids = self.chunk["ids"]
        return ids if self.rows is None else [ids[row] for row in self.rows]

    def read(self, *, verify: bool) -> dict[str, np.ndarray]:
        """All variables; the file is opened once, and read once."""
        variables = self.chunk["variables"]
        if verify:
            content = read_contents(self.file, self.chunk)
            return self.of_rows(decode(self.file, content, variables))
        with open_chunk(self.file, self.chunk) as (stream, _):
            return self.of_rows(decode(self.file, stream, variables))

    def of_rows(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self.rows is None:
            return arrays
        return {name: array[self.rows] for name, array in arrays.items()}


class Reader:
    """Reads a chunk variable by variable, and opens its file once for all of them.

    The file is opened at the first variable, and closed after the last one or when
    nobody holds the reader any more.
    """

    def __init__(self, source: Source):
        self._source = source
        self._left = set(source.chunk["variables"])
        self._file: Any = None
        self._closing = contextlib.ExitStack()

    def __reduce__(self) -> Any:
        # In another process the file is opened again.
        return Reader, (self._source,)

    def read(self, name: str) -> np.ndarray:
        """A variable, of a file whose checksum was right, unless that was not asked
        for. Where it is not the file that was seen then, it is compared again."""
        source = self._source
        # HDF5 does one thing at a time in any case.
        with _LOCK:
            if self._file is None:
                self._open()
            variables = {name: source.chunk["variables"][name]}
            try:
                arrays = read_variables(source.file, self._file, variables)
            except BaseException:
                self.close()
                raise
            self._left.discard(name)
            if not self._left:
                self.close()
        return source.of_rows(arrays)[name]

    def _open(self) -> None:
        source = self._source
        while len(_OPEN) >= _MOST:
            _, oldest = _OPEN.popitem(last=False)
            if (reader := oldest()) is not None:
                reader.close()
        with contextlib.ExitStack() as stack:
            stream, now = stack.enter_context(open_chunk(source.file, source.chunk))
            content: Any = stream
            if source.seen not in (None, now):
                content = read_contents(source.file, source.chunk)
            self._file = stack.enter_context(opened(source.file, content))
            self._closing = stack.pop_all()
        _OPEN[id(self)] = weakref.ref(self)

    def close(self) -> None:
        with _LOCK:
            _OPEN.pop(id(self), None)
            self._file = None
            self._closing.close()

    def __del__(self) -> None:
        if self._file is not None:
            self.close()


_LOCK = threading.RLock()
# Those whose files are open, by their identity, the first one first.
_OPEN: collections.OrderedDict[int, "weakref.ref[Reader]"] = collections.OrderedDict()
