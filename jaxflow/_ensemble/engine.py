"""Runs batches on every core or device, and hands back their rows by name."""

import contextlib
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeAlias

import numpy as np

from .._problem.size_buckets import bucket_size, row_bucket_size
from .._progress import Reporter
from .batches import Batcher, Member, expected_work
from .grid import Runs
from .interruption import Interruption, StoppedError
from .program import Program

# The names of runs, and for each variable one row per run.
NamedRows: TypeAlias = tuple[list[str], dict[str, np.ndarray]]


class Engine:
    """While `workers` threads compute a batch each, the calling thread draws the next.

    `lockstep`: whether the runs of a batch take their steps together; it only tells
    what share of the arithmetic was useful.
    """

    def __init__(
        self, program: Program, batcher: Batcher, *, workers: int, lockstep: bool
    ):
        self._program, self._batcher = program, batcher
        self._workers, self._lockstep = workers, lockstep
        # Pair-steps that served a run, and all that were made.
        self._useful = self._made = 0.0
        self._compiled_before = program.compilations

    def results(
        self, todo: Runs, reporter: Reporter, interruption: Interruption
    ) -> Generator[NamedRows, None, None]:
        """Names and rows of the runs `todo`, as they are finished; told to stop, of
        those that are."""
        pending: dict[Future[Any], list[Member]] = {}
        pool = ThreadPoolExecutor(self._workers)
        try:
            with contextlib.suppress(StoppedError):
                for batch in self._batcher.batches(todo, interruption):
                    call = self._program.prepare(
                        batch.runs, batch.work, interruption, len(batch.members)
                    )
                    if not (pending or reporter.done):
                        reporter.start()
                    pending[pool.submit(call)] = batch.members
                    while len(pending) > self._workers:
                        yield from self._finished(pending, reporter)
            while pending:
                yield from self._finished(pending, reporter)
        finally:
            # Its threads look for this, and end by themselves.
            interruption.now()
            pool.shutdown(wait=False, cancel_futures=True)

    def attributes(self) -> dict[str, Any]:
        """What of the arithmetic of this call served a run that was still going on,
        and no padding; and how many programs were compiled."""
        return {
            "useful_share": self._useful / self._made if self._made else 1.0,
            "compilations": self._program.compilations - self._compiled_before,
        }

    def _finished(
        self, pending: dict[Future[Any], list[Member]], reporter: Reporter
    ) -> Iterator[NamedRows]:
        ready, _ = wait(pending, return_when=FIRST_COMPLETED)
        for future in ready:
            members = pending.pop(future)
            outputs = future.result()
            if not outputs:
                continue
            filled = len(outputs["steps"])
            # Interrupted, the last runs of a batch are missing.
            members = members[:filled]
            rows = {k: v[: len(members)] for k, v in outputs.items()}
            self._account(members, rows["steps"], filled)
            yield [cell.run_name(seed) for cell, seed in members], rows
            reporter.add(len(members), sum(expected_work(cell) for cell, _ in members))

    def _account(self, members: list[Member], steps: np.ndarray, filled: int) -> None:
        most = steps.max()
        if self._lockstep:
            # Idle runs fill up the batch, and take as long as the others.
            cell = members[0][0]
            idle = float(most) * (filled - len(members))
            self._made += idle * row_bucket_size(cell.n) * bucket_size(cell.p)
        for (cell, _), own in zip(members, steps, strict=True):
            taken = most if self._lockstep else own
            self._useful += float(own) * cell.n * cell.p
            self._made += float(taken) * row_bucket_size(cell.n) * bucket_size(cell.p)
