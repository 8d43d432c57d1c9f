"""Which runs of a sweep are computed together, and how many at a time."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from .._checks import check_count
from .._methods.base import AbstractMethod
from .._problem.dataset import Dataset
from .._problem.network import Network
from .._problem.size_buckets import bucket_size
from .._simulate import Run
from .grid import Cell, Runs
from .interruption import Interruption
from .program import Program, Work, prepare, signature, stack, working_bytes
from .resources import check_room, release_programs

# On a CPU a batch is what a killed process loses, and its runs follow each other. On
# an accelerator they run side by side, and beyond so many no device gains.
_SERIAL, _LOCKSTEP = 16, 512

# A run of the grid: its cell and its seed.
Member: TypeAlias = tuple[Cell, int]


class Batch(NamedTuple):
    """Runs of one shape, stacked on a leading axis. After its `members`, runs of no
    duration fill it up."""

    members: list[Member]
    runs: Run
    work: Work


class Batcher:
    """Draws the problems of an ensemble, batch by batch.

    - `draw`: (cell, seed) -> (data, network).
    - `memory`: bytes that may be used on each device.
    - `workers`: how many batches are computed at a time.
    - `lockstep`: whether the runs of a batch take their steps together.
    """

    def __init__(
        self,
        program: Program,
        works: dict[str, Work],
        draw: Callable[[Cell, int], tuple[Dataset, Network]],
        memory: float | int,
        workers: int,
        lockstep: bool,
    ):
        self._program, self._works, self._draw = program, works, draw
        self._memory, self._workers, self._lockstep = memory, workers, lockstep
        # Of the outputs of a run: the same for all, or the user is told.
        self._shapes: dict[str, Any] = {}

    def batches(self, todo: Runs, interruption: Interruption) -> Iterator[Batch]:
        """The runs `todo`, those of like shape and cost together; told to stop, raises
        a `StoppedError` before it draws another."""
        for members in _alike(todo):
            first = next(iter(members))
            work = self._works[first[0].method]
            method = work.dynamics.method
            # The size of a batch follows from its first run, which is not drawn twice.
            ready = [self._drawn(first, method, interruption)]
            self._check_shapes(ready[0], work)
            size = self._size(len(members), ready[0], method)
            for part in equal_parts(members, size):
                runs = ready + [
                    self._drawn(member, method, interruption)
                    for member in part[len(ready) :]
                ]
                ready = []
                release_programs()
                yield from self._stacked(part, runs, work, size)

    def _drawn(
        self, member: Member, method: AbstractMethod, interruption: Interruption
    ) -> Run:
        interruption.check()
        cell, seed = member
        data, network = self._draw(cell, seed)
        return prepare(data, network, method, cell.times)

    def _stacked(
        self, members: list[Member], runs: list[Run], work: Work, size: int
    ) -> Iterator[Batch]:
        # A law of the user's may give another geometry to each seed.
        by_shape: dict[Any, list[int]] = {}
        for index, run in enumerate(runs):
            by_shape.setdefault(signature(run), []).append(index)
        for indices in by_shape.values():
            self._check_shapes(runs[indices[0]], work)
            yield Batch(
                [members[i] for i in indices],
                stack([runs[i] for i in indices], size),
                work,
            )

    def _check_shapes(self, run: Run, work: Work) -> None:
        self._shapes = self._program.check_shapes(run, work, self._shapes)

    def _size(self, count: int, run: Run, method: AbstractMethod) -> int:
        """How many runs a batch holds, on all devices together."""
        across = self._program.mesh.size
        rows = sum(
            math.prod(shape.shape) * shape.dtype.itemsize
            for shape in self._shapes.values()
        )
        held = rows + sum(leaf.nbytes for leaf in jax.tree.leaves(run))
        need = rows + working_bytes(run, method)
        check_room(need * self._workers, self._memory, run, self._workers)
        if self._lockstep:
            # The inputs of the next batch are there while one is computed.
            fit = min(_LOCKSTEP, max(1, int(self._memory // (need + held))))
        else:
            # Batches that wait their turn only hold their inputs.
            spare = self._memory / (2 * self._workers + 1) - need
            fit = min(_SERIAL, max(1, int(spare // held)))
        wanted = -(-count // (across * self._workers))
        rounds = -(-wanted // fit)
        return across * check_count("batch", -(-wanted // rounds))


def expected_work(cell: Cell) -> float:
    """In proportion to the time that a run is expected to take."""
    return float(cell.times[-1] + 1) * cell.n * cell.p


def total_work(runs: Runs) -> float:
    """The expected work of all these runs."""
    return float(runs.of_cells(_works_of(runs.cells)).sum())


def equal_parts(runs: Runs, size: int) -> Iterator[list[Member]]:
    """Equal parts of at most `size`, the last one shorter where it must be."""
    count = -(-len(runs) // size)
    step = -(-len(runs) // count)
    for start in range(0, len(runs), step):
        yield list(runs[start : start + step])


def _works_of(cells: list[Cell]) -> np.ndarray:
    return np.fromiter(map(expected_work, cells), float, len(cells))


def _alike(todo: Runs) -> Iterator[Runs]:
    """Groups of runs that one compiled program serves, as far as sizes tell. In each
    runs of like cost stand side by side, since the slowest of a batch decides."""
    numbers: dict[Any, int] = {}
    kinds = np.empty(len(todo.cells), int)
    for index, cell in enumerate(todo.cells):
        sizes = (cell.method, bucket_size(cell.n), bucket_size(cell.p), cell.d)
        kinds[index] = numbers.setdefault(sizes, len(numbers))
    kind = todo.of_cells(kinds)
    order = np.lexsort((todo.of_cells(_works_of(todo.cells)), kind))
    for group in np.split(order, np.flatnonzero(np.diff(kind[order])) + 1):
        if len(group):
            yield todo[group]
