"""The compiled program that runs a batch of networks.

A batch is a `Run` whose leaves have a leading axis B: weights (B, p⁺, m⁺), a (B, p⁺),
times (B, T), and so on, at the sizes of a bucket. The program maps the driver of
`simulate` over that axis, and returns rows (B, T, …) and finals (B, …).

- On a CPU by a loop: the runs follow each other. One network fits into the cache, each
  run ends when it is done, and the arithmetic is that of a network alone, to the last
  bit. On one device a call says which runs of the batch it computes, and long runs have
  a call each, so that a batch which is interrupted keeps the runs that are done.
- On an accelerator by `vmap`: the runs take their steps together; the slowest decides.
- On several devices by `shard_map` besides: each device has its share of the runs, and
  none waits for another before all are done.

A program is compiled for each signature (shapes and dtypes of the batch, and the
method), ahead of its first call, and is kept for as long as the process.
"""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from .._methods.base import AbstractMethod
from .._problem.dataset import Dataset
from .._problem.network import Network
from .._problem.rates import Rates
from .._problem.run_problem import counts
from .._simulate import Dynamics, Observers, Run, drive, make_run
from .._stops import AbstractStop
from .._types import Scalar
from .._xla import compiler_options, nans_are_meant
from .interruption import Interruption, computed, heard
from .pace import Pace
from .resources import AXIS


def prepare(data: Dataset, network: Network, method: AbstractMethod, times: Any) -> Run:
    """A run as `simulate` makes it of a user's data and network, on the host.

    Compiled once per size of the data: in run coordinates, padded, as arrays of NumPy.
    """
    # Runs wait here for the rest of their batch, which NumPy stacks.
    return jax.device_get(made_run(data, network, method, times))


def made_run(
    data: Dataset, network: Network, method: AbstractMethod, times: Any
) -> Run:
    """The same where it was computed, or traced."""
    dtype = jnp.result_type(data.targets.dtype, network.w.dtype)
    data, network = jax.tree.map(lambda x: x.astype(dtype), (data, network))
    return _padded_run(
        data, network, method, jnp.asarray(times, dtype), *counts(data, network)
    )


@eqx.filter_jit
def _padded_run(
    data: Dataset,
    network: Network,
    method: AbstractMethod,
    times: Array,
    n: Scalar,
    p: Scalar,
) -> Run:
    return make_run(data, network, method, times, n, p)[0]


def _idle(run: Run) -> Run:
    """A run of no duration, to fill up a batch."""
    return eqx.tree_at(lambda run: run.times, run, np.zeros_like(run.times))


def signature(tree: Any) -> Any:
    """Structure, shapes and dtypes: runs that agree in these share one program."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)


def stack(runs: list[Run], size: int) -> Run:
    """A batch of `size` runs, filled up with idle ones."""
    filled = runs + [_idle(runs[0])] * (size - len(runs))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *filled)


def working_bytes(run: Run, method: AbstractMethod) -> int:
    """About how much memory one run takes while it is computed."""
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(run))
    pairs = run.a.shape[0] * run.problem.inputs.num_examples
    extra = method.working_numbers_on(run.problem, pairs)
    return held + extra * run.a.dtype.itemsize


class Work(eqx.Module):
    """What moves the runs of a batch, and the statistics that others of the ensemble
    have and these may lack: all runs have the same variables."""

    dynamics: Dynamics
    statistics: tuple[tuple[str, type[float] | type[int]], ...] = eqx.field(static=True)

    @classmethod
    def of_methods(
        cls,
        methods: Mapping[str, AbstractMethod],
        stops: tuple[AbstractStop, ...],
        rates: Rates | None = None,
    ) -> dict[str, "Work"]:
        """The work of each of an ensemble's methods."""
        declared: dict[str, type[float] | type[int]] = {}
        for method in methods.values():
            declared.update(method.statistics)
        names = tuple((name, declared[name]) for name in sorted(declared))
        return {
            label: cls(Dynamics(method.lean(), stops, rates), names)
            for label, method in methods.items()
        }


@functools.lru_cache(maxsize=16)
def program(observers: Observers, mesh: Mesh, lockstep: bool) -> "Program":
    """The program of these settings; compiled parts serve later ensembles too."""
    return Program(observers, mesh, lockstep)


class Program:
    """Compiles once for each signature, and runs batches of it.

    - `lockstep`: `vmap` rather than `lax.map`.
    - `mesh`: the devices, along the one axis `AXIS`. Each has its share of a batch and
      none waits for another within it.

    `whole`: whether a batch is one call of the compiled program, rather than one or
    more.
    """

    def __init__(self, observers: Observers, mesh: Mesh, lockstep: bool):
        self.mesh = mesh
        self.whole = lockstep or mesh.size > 1
        self._compiled: dict[Any, Any] = {}
        self._paces: dict[Any, Pace] = {}
        self._shapes: dict[Any, Any] = {}

        # Tracing a run takes up to a second. By this it is traced once for its shapes
        # and for the program, which has it in place, as without `jax.jit`.
        def outputs(run: Run, work: Work) -> dict[str, Array]:
            return _outputs(run, work, observers)

        self._outputs = jax.jit(outputs, inline=True)

        def share(batch: Run, work: Work) -> dict[str, Array]:
            one = lambda run: self._outputs(run, work)
            return jax.vmap(one)(batch) if lockstep else jax.lax.map(one, batch)

        def some(batch: Run, work: Work, start: Array, end: Array) -> dict[str, Array]:
            one = lambda run: self._outputs(run, work)
            return _mapped_from_to(one, batch, start, end)

        program: Any = share if self.whole else some
        if mesh.size > 1:
            split, same = PartitionSpec(AXIS), PartitionSpec()
            program = jax.shard_map(
                share,
                mesh=mesh,
                in_specs=(split, same),
                out_specs=split,
                check_vma=False,
            )
        self._jitted = jax.jit(program, compiler_options=compiler_options())

    @property
    def compilations(self) -> int:
        return len(self._compiled)

    def check_shapes(
        self, run: Run, work: Work, known: dict[str, Any]
    ) -> dict[str, Any]:
        """The shapes of what a run gives; a ValueError where they are not `known`."""
        key = signature(run), signature(work)
        if key not in self._shapes:
            found = jax.eval_shape(self._outputs, run, work)
            for name, shape in found.items():
                if not hasattr(shape, "shape"):
                    raise ValueError(
                        f"observable {name!r} must return one array, got "
                        f"{type(shape).__name__}; give each of its parts a name."
                    )
            self._shapes[key] = found
        shapes = self._shapes[key]
        for name, shape in shapes.items():
            if known and known[name].shape != shape.shape:
                raise ValueError(
                    f"observable {name!r} must have one shape for all runs, got "
                    f"{known[name].shape[1:]} and {shape.shape[1:]}. Reduce it over "
                    "examples and neurons, whose number varies."
                )
        return shapes

    def prepare(
        self,
        batch: Run,
        work: Work,
        interruption: Interruption | None = None,
        members: int | None = None,
    ) -> Callable[[], dict[str, np.ndarray]]:
        """A call that runs a batch and returns its outputs on the host. What depends on
        jax's settings happens here, since those are the thread's own.

        Told to stop, this raises a `StoppedError`, and the call returns the runs that
        are done: the first so many of the batch, or nothing. `members`: how many runs
        of the batch are wanted, the first so many; left out, all. Where the program
        takes a batch as a whole it returns all of them.
        """
        told = Interruption() if interruption is None else interruption
        placed = self._placed(batch, work)
        compiled = self.compile(batch, work, told)
        if self.whole:

            def call() -> dict[str, np.ndarray]:
                with nans_are_meant():
                    outputs = {} if told.asked else compiled(*placed)
                return jax.device_get(outputs) if computed(outputs, told) else {}

            return call
        pace = self._paces.setdefault((signature(batch), signature(work)), Pace())
        lengths = np.asarray(batch.times)[:members, -1] + 1

        def calls() -> dict[str, np.ndarray]:
            done, end = [], 0
            while end < len(lengths) and not told.asked:
                start, end = end, pace.end(end, lengths)
                began = time.monotonic()
                with nans_are_meant():
                    outputs = compiled(*placed, np.int32(start), np.int32(end))
                if not computed(outputs, told):
                    break
                pace.learn(lengths[start:end], time.monotonic() - began)
                rows = jax.device_get(outputs)
                done.append({name: rows[name][start:end] for name in rows})
            names = done[0] if done else {}
            return {k: np.concatenate([rows[k] for rows in done]) for k in names}

        return calls

    def compile(
        self, batch: Run, work: Work, interruption: Interruption | None = None
    ) -> Any:
        """The compiled program for batches of this shape."""
        key = signature(batch), signature(work)
        if key not in self._compiled:
            # Compiling needs the arrays' places only; those in place stay there.
            bounds = () if self.whole else (np.int32(0), np.int32(0))
            lowered = self._jitted.lower(*self._placed(batch, work), *bounds)
            self._compiled[key] = heard(lowered.compile, interruption or Interruption())
        return self._compiled[key]

    def _placed(self, batch: Run, work: Work) -> tuple[Run, Work]:
        if self.mesh.size == 1:
            # On a mesh a run would be of another type than where it was traced before.
            return jax.device_put((batch, work), self.mesh.devices.item())
        split = jax.sharding.NamedSharding(self.mesh, PartitionSpec(AXIS))
        same = jax.sharding.NamedSharding(self.mesh, PartitionSpec())
        return jax.device_put(batch, split), jax.device_put(work, same)


def _mapped_from_to(
    one: Callable[[Run], dict[str, Array]], batch: Run, start: Array, end: Array
) -> dict[str, Array]:
    """What `lax.map` gives for the runs from `start` up to `end`, and zeros for all
    others. The same compiled program serves however many there are."""

    def add(index: Array, rows: dict[str, Array]) -> dict[str, Array]:
        run = jax.tree.map(lambda leaf: leaf[index], batch)
        found = one(run)
        return {name: rows[name].at[index].set(found[name]) for name in rows}

    first = jax.eval_shape(one, jax.tree.map(lambda leaf: leaf[0], batch))
    size = batch.times.shape[0]
    rows = {k: jnp.zeros((size, *x.shape), x.dtype) for k, x in first.items()}
    return jax.lax.fori_loop(start, end, add, rows)


def _outputs(run: Run, work: Work, observers: Observers) -> dict[str, Array]:
    """One run of a batch, as arrays by their names in the ensemble's dataset."""
    outcome = drive(run, work.dynamics, observers)
    dtype = run.a.dtype
    return {
        **outcome.rows,
        **{
            name: jnp.int32(-1) if kind is int else jnp.asarray(jnp.nan, dtype)
            for name, kind in work.statistics
        },
        "t": outcome.times,
        "final_loss": outcome.final_loss,
        "final_time": outcome.final.time,
        "result": outcome.result._value,
        **outcome.stats,
    }
