"""Where finished runs go: into memory, or chunk by chunk into a folder."""

import abc
import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .. import records
from .dataset import dataset_from_folder, dataset_from_rows, row_dims
from .grid import Grid

if TYPE_CHECKING:
    import xarray


class AbstractStorage(abc.ABC):
    """Takes rows of runs by their names, and gives them back as a dataset."""

    @abc.abstractmethod
    def finished(self) -> set[str]:
        """The names of the runs that need not be computed."""

    @abc.abstractmethod
    def check_writable(self) -> None:
        """Raises an OSError if nothing can be kept."""

    @abc.abstractmethod
    def write(self, names: list[str], rows: dict[str, np.ndarray]) -> None:
        """Keeps the rows of these runs."""

    @abc.abstractmethod
    def dataset(
        self, grid: Grid, seeds: list[int], attributes: dict[str, Any]
    ) -> "xarray.Dataset":
        """All runs of the grid, once everything is written."""


class MemoryStorage(AbstractStorage):
    def __init__(self) -> None:
        self._names: list[str] = []
        self._rows: list[dict[str, np.ndarray]] = []

    def finished(self) -> set[str]:
        return set()

    def check_writable(self) -> None:
        pass

    def write(self, names: list[str], rows: dict[str, np.ndarray]) -> None:
        self._names += names
        self._rows.append(rows)

    def dataset(
        self, grid: Grid, seeds: list[int], attributes: dict[str, Any]
    ) -> "xarray.Dataset":
        first = self._rows[0]
        rows = {k: np.concatenate([r[k] for r in self._rows]) for k in first}
        return dataset_from_rows(grid, seeds, self._names, rows, attributes)


class FolderStorage(AbstractStorage):
    def __init__(self, opened: records.RecordFolder) -> None:
        self._opened = opened

    def finished(self) -> set[str]:
        return self._opened.finished()

    def check_writable(self) -> None:
        self._opened.check_writable()

    def write(self, names: list[str], rows: dict[str, np.ndarray]) -> None:
        dims = {k: ("run", *row_dims(k, v.ndim - 1)) for k, v in rows.items()}
        self._opened.write(rows, names, dims)

    def dataset(
        self, grid: Grid, seeds: list[int], attributes: dict[str, Any]
    ) -> "xarray.Dataset":
        return dataset_from_folder(grid, seeds, self._opened, attributes)


@contextlib.contextmanager
def open_storage(
    folder: str | os.PathLike[str] | None, agreed: Callable[[], dict[str, Any]]
) -> Iterator[AbstractStorage]:
    """Memory, or a folder of the configuration that agreed() returns."""
    if folder is None:
        yield MemoryStorage()
        return
    part, config = jax.process_index(), agreed()
    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(records.open_folder(folder, config, part=part))
        except ValueError:
            # Another process may have made the folder meanwhile, and rounds otherwise.
            again = agreed()
            if again == config:
                raise
            opened = stack.enter_context(records.open_folder(folder, again, part=part))
        yield FolderStorage(opened)
