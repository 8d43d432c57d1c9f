"""The engine of `simulate_ensemble` without sampling and compiling: what it sustains.

`simulate_ensemble` draws problems in one thread while the others compute, and compiles
when it meets a new shape. Over thousands of runs neither matters, over a benchmark's
few both would. `Fleet` therefore holds the same compiled program (its engine) and
feeds it from the same number of threads.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxflow
from jaxflow._ensemble.program import Program, Work, prepare, signature, stack
from jaxflow._ensemble.resources import device_mesh
from jaxflow._simulate import Run, check_observers, check_stops

from . import _machine
from ._timing import seconds

# (x, y, w, a) of one network, as a peer takes them.
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Case:
    """A kind of problem: the arguments of `sample_problem`."""

    inputs: str
    n: int
    d: int
    p: int | None = None
    init: str = "gaussian"
    dtype: str = "float32"

    @property
    def width(self) -> int:
        return jaxflow.width_rule(self.n) if self.p is None else self.p

    def draw(self, seed: int, index: int) -> tuple[Any, Any]:
        key = jaxflow.run_key(jax.random.key(seed), self.n, self.d, self.width, index)
        return jaxflow.sample_problem(
            key,
            n=self.n,
            d=self.d,
            p=self.width,
            inputs=self.inputs,
            init=self.init,
            dtype=jnp.dtype(self.dtype),
        )

    def label(self) -> str:
        d = f", d = {self.d}" if self.inputs != "orthogonal" else ""
        return f"{self.inputs}, n = {self.n}{d}, p = {self.width}"


# The two problems that the targets name.
ORTHOGONAL = Case("orthogonal", 1500, 2000, 36)
DENSE = Case("sphere", 2500, 100, 38)


class Fleet:
    """Compiled programs, and as many threads as the engine has on this machine."""

    def __init__(
        self,
        method: Any,
        *,
        stop: Any = (),
        workers: int | None = None,
        lockstep: bool | None = None,
    ):
        cpu = _machine.on_cpu()
        self.lockstep = not cpu if lockstep is None else lockstep
        most = _machine.cores() if cpu and not self.lockstep else 1
        self.workers = workers or most
        self.method = method.lean()
        mesh = device_mesh(jax.devices()[:1])
        self.work = Work.of_methods({"": self.method}, check_stops(stop))[""]
        self.program = Program(check_observers({}), mesh, self.lockstep)
        self.compile_seconds = 0.0

    def prepared(self, data: Any, network: Any, times: Any) -> Run:
        return prepare(data, network, self.method, times)

    def run(self, batches: list[Run]) -> list[dict[str, np.ndarray]]:
        """The outputs of each batch."""
        calls = [self.call(batch) for batch in batches]
        if len(calls) == 1:
            return [calls[0]()]
        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(lambda call: call(), calls))

    def compiled(self, batch: Run) -> Any:
        """The compiled program for a batch of this shape."""
        self.call(batch)
        return self.program.compile(batch, self.work)

    def call(self, batch: Run) -> Any:
        before = self.program.compilations
        taken = seconds(lambda: self.program.compile(batch, self.work))
        # Without what it takes to look up a program that is there.
        if self.program.compilations > before:
            self.compile_seconds += taken
        return self.program.prepare(batch, self.work)

    def run_each(self, runs: list[Run], size: int = 16) -> list[dict[str, np.ndarray]]:
        """The outputs of each run, in their order, whatever their shapes."""
        if self.lockstep:
            size = len(runs)
        alike: dict[Any, list[int]] = {}
        for index, run in enumerate(runs):
            alike.setdefault(signature(run), []).append(index)
        parts, stacked = [], []
        for members in alike.values():
            # One size for all batches of a shape, so that each is compiled once.
            count = min(size, -(-len(members) // self.workers))
            for i in range(0, len(members), count):
                parts.append(members[i : i + count])
                stacked.append(stack([runs[k] for k in parts[-1]], count))
        found: list[Any] = [None] * len(runs)
        for part, rows in zip(parts, self.run(stacked), strict=True):
            for place, index in enumerate(part):
                found[index] = {name: value[place] for name, value in rows.items()}
        return found


# So many different problems are drawn; in larger batches they repeat.
_DISTINCT = 16


class Load:
    """`networks` runs of one kind on all workers, to be advanced by any time."""

    def __init__(self, fleet: Fleet, case: Case, batch: int, seed: int):
        self.fleet = fleet
        self.networks = batch * fleet.workers
        runs = [
            fleet.prepared(*case.draw(seed, index), [1.0])
            for index in range(min(self.networks, _DISTINCT))
        ]
        # On the device once and for all: copying there is not what is timed.
        self.batches = [
            jax.device_put(
                stack([runs[(first + i) % len(runs)] for i in range(batch)], batch)
            )
            for first in range(0, self.networks, batch)
        ]

    def advance(self, time: float) -> list[dict[str, np.ndarray]]:
        """Every run from its start to `time`; steps of length 1 are what it says."""
        return self.fleet.run(
            [
                eqx.tree_at(lambda b: b.times, one, np.full_like(one.times, time))
                for one in self.batches
            ]
        )


def total(outputs: list[dict[str, np.ndarray]], name: str) -> int:
    return int(sum(int(rows[name].sum()) for rows in outputs))


def in_space(case: Case, seed: int, index: int) -> Arrays:
    """(x, y, w, a) of a problem in R^d, as a peer takes it: w within the span of the
    inputs where those are orthogonal, since the rest of it never moves."""
    data, network = case.draw(seed, index)
    y, w, a = (np.asarray(t) for t in (data.targets, network.w, network.a))
    if case.inputs != "orthogonal":
        return np.asarray(data.inputs.x), y, w, a
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(case.d, case.n)))[0].T.astype(y.dtype)
    return np.asarray(data.inputs.norms)[:, None] * axes, y, w @ axes, a
