"""Where finished runs go: into memory, or chunk by chunk into a folder."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from .dataset import row_dims


@contextlib.contextmanager
def open_storage(folder: Any, config: dict[str, Any]) -> Iterator[Any]:
    if folder is None:
        yield MemoryStorage()
        return
    from .. import records

    with records.open_folder(folder, config, part=jax.process_index()) as opened:
        yield FolderStorage(opened)


class MemoryStorage:
    def __init__(self) -> None:
        self.names: list[str] = []
        self._rows: list[dict[str, np.ndarray]] = []

    def finished(self) -> set[str]:
        return set()

    def write(self, names: list[str], rows: dict[str, np.ndarray]) -> None:
        self.names += names
        self._rows.append(rows)

    def rows(self) -> dict[str, np.ndarray]:
        return {k: np.concatenate([r[k] for r in self._rows]) for k in self._rows[0]}


class FolderStorage:
    def __init__(self, opened: Any) -> None:
        self._opened = opened

    def finished(self) -> set[str]:
        return self._opened.finished()

    def write(self, names: list[str], rows: dict[str, np.ndarray]) -> None:
        dims = {k: ("run", *row_dims(k, v.ndim - 1)) for k, v in rows.items()}
        self._opened.write(rows, names, dims)
