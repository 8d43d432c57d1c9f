"""`simulate_ensemble`: thousands of networks, on every core, device and host."""

import contextlib
import math
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray

from ._batch import (
    AXIS,
    Dynamics,
    Program,
    Run,
    prepare,
    program,
    signature,
    stack,
    working_bytes,
)
from ._checks import check_count, check_positive
from ._fingerprint import describe
from ._gridded import ONCE, RESERVED, gridded, gridded_records, row_dims
from ._ladder import row_rung, rung
from ._machine import available_bytes, check_room, cores, release_programs
from ._methods import AbstractMethod
from ._observables import Observable
from ._plan import (
    Cell,
    Grid,
    batches,
    check_key,
    check_methods,
    check_seeds,
    make_grid,
    run_key,
)
from ._progress import Progress, Reporter
from ._sampling import check_laws, float_dtype, sample_problem
from ._simulate import check_observers, check_stops
from .records._chunk import optional

# On a CPU a batch is what a killed process loses, and its runs follow each other. On
# an accelerator they run side by side, and beyond so many no device gains.
_SERIAL, _LOCKSTEP = 16, 512

_NOTHING: Mapping[str, Observable] = MappingProxyType({})


def simulate_ensemble(
    key: PRNGKeyArray,
    *,
    n: Any,
    d: Any,
    p: Any = None,
    seeds: Any,
    method: Any,
    times: Any,
    stop: Any = (),
    observe: Mapping[str, Observable] = _NOTHING,
    inputs: Any = "orthogonal",
    targets: Any = "uniform",
    init: Any = "gaussian",
    epsilon: float = 0.05,
    dtype: Any = None,
    grid: str = "product",
    folder: str | os.PathLike[str] | None = None,
    memory: float | int | None = None,
    devices: Any = None,
    lockstep: bool | None = None,
    progress: bool | Callable[[Progress], Any] | None = None,
) -> Any:
    """Trains networks for all given n, d, p, methods and seeds.

        runs = jaxflow.simulate_ensemble(
            jax.random.key(0), n=[1000, 1400, 2000], d=2000, seeds=25,
            inputs="orthogonal", method=jaxflow.GradientFlow(rtol=1e-6),
            times=[0, 100, 200], stop=jaxflow.LossBelow(),
        )
        runs.loss.sel(n=1400).mean("seed")                       # (time,)

    Every run is what `simulate` makes of the problem that `sample_problem` draws with
    the key `run_key(key, n, d, p, seed)`: its numbers depend on nothing else, so more
    seeds or more n extend an ensemble. Several methods see the same problems.

    **Which runs:**

    - `key`: a `jax.random.key`.
    - `n`, `d`: examples and dimension, an integer or several.
    - `p`: neurons: an integer, several, or a function of n. Left out, p is
      `width_rule(n, epsilon)`.
    - `seeds`: how many networks for each n, d, p, or which seeds (integers ≥ 0).
    - `grid`: "product" for all combinations of n, d and p, "zip" to take them side by
      side.
    - `method`: a method, or a mapping from labels to methods.
    - `inputs`, `targets`, `init`, `epsilon`, `dtype`: see `sample_problem`.

    **What of each run:**

    - `times`, `stop`: see `simulate`. `times` may be a function of (n, d, p) that
      returns the times of those runs, the same number for all.
    - `observe`: see `simulate`; nothing by default. Here observables see arrays that
      are padded with zero examples and neurons: sum and divide by `s.problem.n` or
      `s.problem.p` rather than take means, and mind `s.present`. Each must have one
      shape for all runs.

    **How:**

    - `folder`: where results are kept, chunk by chunk (`jaxflow.records`). A call with
      the same folder computes only what is missing there; an interrupted one loses at
      most the chunks in flight. Without it they are kept in memory.
    - `memory`: bytes to use on each device; by default three quarters of what is free.
    - `devices`: the jax devices to use; by default all of this process.
    - `lockstep`: whether the runs of a batch are vectorised and take their steps
      together; by default on accelerators only.
    - `progress`: True or False for a bar on stderr (by default where that is a
      terminal), or a function that is called with a `Progress`.

    With `jax.distributed.initialize()` each process computes its share of the runs and
    writes its own part of `folder`; all return the whole.

    On a CPU the bits of a run do not depend on batch, chunk, number of devices or
    resume history, and are those of `simulate`. In lockstep an accelerator may multiply
    matrices of another batch size in another order; results then agree to rounding, as
    far as the trajectory does not amplify it. Measured in float32 at learning rate 1:
    the loss agreed to 1e-6 on orthogonal inputs (n = 1500, t = 900), and to 1 % on
    correlated ones near the threshold of convergence (n = 1650, d = 100, t = 300).

    **Returns:** an `xarray.Dataset` with dims dynamics (if methods are labelled), n, d
    and p (where several; "cell" for a zipped grid), seed, and time. Variables: loss,
    curvature, average_curvature and the observables at `t` (flow time); final_loss,
    final_time, `result` (a code, with its names in the attribute `flag_meanings`),
    `converged` (whether that is `loss_below`), and the counts of `Solution.stats`
    (kink_crossings is −1 for gradient descent, which is quicker without counting
    them). Rows after the end of a run are NaN, or −1 for counts. Beyond a gigabyte,
    records in a folder stay there and are opened lazily.

    **Raises:** a ValueError that says what was given and what would work, before
    anything is compiled; also when one run does not fit into the memory, or the folder
    holds runs of another configuration.
    """
    optional("xarray")
    check_key(key)
    methods, labelled = check_methods(method)
    stops, observers = check_stops(stop), check_observers(observe)
    for name in observers.functions:
        if name in ONCE | RESERVED:
            raise ValueError(
                f"observable {name!r} is a variable of every ensemble; give yours "
                "another name."
            )
    dtype = float_dtype(dtype)
    check_laws(inputs, targets, init)
    plan = make_grid(n, d, p, epsilon, methods, labelled, times, dtype, grid)
    seeds = check_seeds(seeds)
    if memory is not None:
        check_positive("memory", memory)
    mesh = _mesh(devices)
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    lockstep = not on_cpu if lockstep is None else lockstep
    processes = jax.process_count()
    if processes > 1 and folder is None:
        raise ValueError(
            f"{processes} processes share this ensemble and need a folder= that all of "
            "them see."
        )
    laws = {"inputs": inputs, "targets": targets, "init": init, "dtype": dtype}
    config = {
        "key": describe(jax.random.key_data(key)),
        "generator": str(jax.random.key_impl(key)),
        "dtype": str(dtype),
        # jax draws signs from numbers of the default precision.
        "default dtype": str(float_dtype(None)),
        **{name: describe(laws[name]) for name in ("inputs", "targets", "init")},
        "methods": describe({label: one.lean() for label, one in methods.items()}),
        "number of times": plan.cells[0].times.size,
        "stop": describe(stops),
        "observe": describe(dict(observe)),
        "lockstep": lockstep,
    }
    runs = [(cell, seed) for seed in seeds for cell in plan.cells]
    with _sink(folder, config) as sink:
        done = sink.finished()
        mine = runs[jax.process_index() :: processes]
        todo = [(cell, seed) for cell, seed in mine if cell.run_name(seed) not in done]
        engine = _Engine(
            program=program(observers, mesh, lockstep),
            dynamics={k: Dynamics(one.lean(), stops) for k, one in methods.items()},
            draw=lambda cell, seed: sample_problem(
                run_key(key, cell.n, cell.d, cell.p, seed),
                n=cell.n,
                d=cell.d,
                p=cell.p,
                **laws,
            ),
            memory=memory or available_bytes(mesh),
            workers=cores() if on_cpu and mesh.size == 1 and not lockstep else 1,
            lockstep=lockstep,
        )
        reporter = Reporter(progress, len(todo), sum(_work(cell) for cell, _ in todo))
        with (
            contextlib.closing(reporter),
            contextlib.closing(engine.results(todo, reporter)) as results,
        ):
            for names, rows in results:
                sink.write(names, rows)
    if processes > 1:
        from jax.experimental.multihost_utils import sync_global_devices

        sync_global_devices("jaxflow.simulate_ensemble")
    return _assembled(plan, seeds, sink, folder, engine.attributes())


def _assembled(
    plan: Grid, seeds: list[int], sink: Any, folder: Any, attributes: dict[str, Any]
) -> Any:
    if folder is None:
        return gridded(plan, seeds, sink.names, sink.rows(), attributes)
    return gridded_records(plan, seeds, folder, attributes)


def _mesh(devices: Any) -> Mesh:
    chosen = jax.local_devices() if devices is None else list(devices)
    if not chosen:
        raise ValueError("devices must hold at least one jax device, got none.")
    for device in chosen:
        if not isinstance(device, jax.Device):
            raise ValueError(
                "devices must be jax devices such as jax.local_devices()[:2], got "
                f"{type(device).__name__}."
            )
        if device.process_index != jax.process_index():
            raise ValueError(
                f"devices must belong to this process, such as jax.local_devices(); "
                f"{device} belongs to process {device.process_index}."
            )
    return Mesh(np.array(chosen), (AXIS,))


def _work(cell: Cell) -> float:
    """In proportion to the time that a run is expected to take."""
    return float(cell.times[-1] + 1) * cell.n * cell.p


@dataclass
class _Engine:
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
            reporter.add(len(members), sum(_work(cell) for cell, _ in members))

    def _account(
        self, members: list[tuple[Cell, int]], steps: np.ndarray, filled: int
    ) -> None:
        most = steps.max()
        if self.lockstep:
            # Idle runs fill up the batch, and take as long as the others.
            cell = members[0][0]
            idle = filled - len(members)
            self.spent += float(most) * idle * row_rung(cell.n) * rung(cell.p)
        for (cell, _), own in zip(members, steps, strict=True):
            self.useful += float(own) * cell.n * cell.p
            taken = most if self.lockstep else own
            self.spent += float(taken) * row_rung(cell.n) * rung(cell.p)

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
            alike = (cell.method, rung(cell.n), rung(cell.p), cell.d)
            groups.setdefault(alike, []).append((cell, seed))
        for members in groups.values():
            dynamics = self.dynamics[members[0][0].method]
            method = dynamics.method
            # Runs of like cost side by side, since the slowest of a batch decides.
            members.sort(key=lambda member: _work(member[0]))
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


@contextlib.contextmanager
def _sink(folder: Any, config: dict[str, Any]) -> Iterator[Any]:
    if folder is None:
        yield _MemorySink()
        return
    from . import records

    with records.open_folder(folder, config, part=jax.process_index()) as opened:
        yield _FolderSink(opened)


class _MemorySink:
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


class _FolderSink:
    def __init__(self, opened: Any) -> None:
        self._opened = opened

    def finished(self) -> set[str]:
        return self._opened.finished()

    def write(self, names: list[str], rows: dict[str, np.ndarray]) -> None:
        dims = {k: ("run", *row_dims(k, v.ndim - 1)) for k, v in rows.items()}
        self._opened.write(rows, names, dims)
