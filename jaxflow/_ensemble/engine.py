"""Draws problems, puts them into batches, and runs these on every core or device."""

import math
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from .._checks import check_count
from .._methods.base import AbstractMethod
from .._problem.size_buckets import bucket_size, row_bucket_size
from .grid import (
    Cell,
    batches,
)
from .program import Dynamics, Program, Run, prepare, signature, stack, working_bytes
from .progress import Reporter
from .resources import check_room, release_programs

# On a CPU a batch is what a killed process loses, and its runs follow each other. On
# an accelerator they run side by side, and beyond so many no device gains.
_SERIAL, _LOCKSTEP = 16, 512


def expected_work(cell: Cell) -> float:
    """In proportion to the time that a run is expected to take."""
    return float(cell.times[-1] + 1) * cell.n * cell.p


@dataclass
class Engine:
    """Draws problems, runs them batch by batch, and hands back named rows."""

    program: Program
    dynamics: dict[str, Dynamics]
    draw: Callable[[Cell, int], Any]
    memory: float | int
    workers: int
    lockstep: bool
    useful: float = 0.0
    spent: float = 0.0
    shapes: dict[str, Any] = field(default_factory=dict)
    compiled_before: int = 0

    def __post_init__(self) -> None:
        self.compiled_before = self.program.compilations

    def results(
        self, todo: list[tuple[Cell, int]], reporter: Reporter
    ) -> Generator[tuple[list[str], dict[str, np.ndarray]], None, None]:
        """Pairs of names and rows, as they are finished. While the workers compute,
        this thread draws the next batch."""
        pending: dict[Future[Any], list[tuple[Cell, int]]] = {}
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                for members, batch, dynamics in self._batches(todo):
                    call = self.program.prepare(batch, dynamics)
                    pending[pool.submit(call)] = members
                    while len(pending) > self.workers:
                        yield from self._finished(pending, reporter)
                while pending:
                    yield from self._finished(pending, reporter)
            finally:
                for future in pending:
                    future.cancel()

    def _finished(
        self, pending: dict[Future[Any], list[tuple[Cell, int]]], reporter: Reporter
    ) -> Iterator[tuple[list[str], dict[str, np.ndarray]]]:
        ready, _ = wait(pending, return_when=FIRST_COMPLETED)
        for future in ready:
            members = pending.pop(future)
            batch = future.result()
            rows = {k: v[: len(members)] for k, v in batch.items()}
            self._account(members, rows["steps"], len(batch["steps"]))
            yield [cell.run_name(seed) for cell, seed in members], rows
            reporter.add(len(members), sum(expected_work(cell) for cell, _ in members))

    def _account(
        self, members: list[tuple[Cell, int]], steps: np.ndarray, filled: int
    ) -> None:
        most = steps.max()
        if self.lockstep:
            # Idle runs fill up the batch, and take as long as the others.
            cell = members[0][0]
            idle = filled - len(members)
            self.spent += (
                float(most) * idle * row_bucket_size(cell.n) * bucket_size(cell.p)
            )
        for (cell, _), own in zip(members, steps, strict=True):
            self.useful += float(own) * cell.n * cell.p
            taken = most if self.lockstep else own
            self.spent += float(taken) * row_bucket_size(cell.n) * bucket_size(cell.p)

    def attributes(self) -> dict[str, Any]:
        """What of the arithmetic of this call served a run that was still going on,
        and no padding; and how many programs were compiled."""
        return {
            "useful_share": self.useful / self.spent if self.spent else 1.0,
            "compilations": self.program.compilations - self.compiled_before,
        }

    def _batches(
        self, todo: list[tuple[Cell, int]]
    ) -> Iterator[tuple[list[tuple[Cell, int]], Run, Dynamics]]:
        groups: dict[Any, list[tuple[Cell, int]]] = {}
        for cell, seed in todo:
            alike = (cell.method, bucket_size(cell.n), bucket_size(cell.p), cell.d)
            groups.setdefault(alike, []).append((cell, seed))
        for members in groups.values():
            dynamics = self.dynamics[members[0][0].method]
            method = dynamics.method
            # Runs of like cost side by side, since the slowest of a batch decides.
            members.sort(key=lambda member: expected_work(member[0]))
            ready = [self._prepared(members[0], method)]
            self.shapes = self.program.check_shapes(ready[0], dynamics, self.shapes)
            size = self._size(len(members), ready[0], method)
            for part in batches(members, size):
                runs = ready + [
                    self._prepared(member, method) for member in part[len(ready) :]
                ]
                ready = []
                release_programs()
                by_shape: dict[Any, list[int]] = {}
                for index, run in enumerate(runs):
                    by_shape.setdefault(signature(run), []).append(index)
                for alike_runs in by_shape.values():
                    self.shapes = self.program.check_shapes(
                        runs[alike_runs[0]], dynamics, self.shapes
                    )
                    yield (
                        [part[i] for i in alike_runs],
                        stack([runs[i] for i in alike_runs], size),
                        dynamics,
                    )

    def _prepared(self, member: tuple[Cell, int], method: AbstractMethod) -> Run:
        cell, seed = member
        data, network = self.draw(cell, seed)
        return prepare(data, network, method, cell.times)

    def _size(self, count: int, run: Run, method: AbstractMethod) -> int:
        """How many runs a batch holds, on all devices together."""
        across = self.program.mesh.size
        rows = sum(
            math.prod(shape.shape) * shape.dtype.itemsize
            for shape in self.shapes.values()
        )
        held = rows + sum(leaf.nbytes for leaf in jax.tree.leaves(run))
        need = rows + working_bytes(run, method)
        check_room(need * self.workers, self.memory, run, self.workers)
        if self.lockstep:
            # The inputs of the next batch are there while one is computed.
            fit = min(_LOCKSTEP, max(1, int(self.memory // (need + held))))
        else:
            # Batches that wait their turn only hold their inputs.
            spare = self.memory / (2 * self.workers + 1) - need
            fit = min(_SERIAL, max(1, int(spare // held)))
        wanted = -(-count // (across * self.workers))
        rounds = -(-wanted // fit)
        return across * check_count("batch", -(-wanted // rounds))
