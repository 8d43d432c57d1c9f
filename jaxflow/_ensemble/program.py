"""The compiled program that runs several networks.

On a CPU the runs of a batch follow each other (`lax.map`): one network fits into the
cache, each ends when it is done, and the arithmetic is that of a network alone. On an
accelerator they run in lockstep (`vmap`), where the slowest decides.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from .._methods.base import AbstractMethod
from .._observables import Snapshot, Start
from .._problem.dataset import Dataset
from .._problem.network import Network
from .._problem.padding import pad
from .._problem.run_problem import Problem, counts, to_run_coordinates
from .._simulate import Observers, Recorder, integrate
from .._stops import AbstractStop
from .._types import Neurons, Scalar, Weights
from .._xla import compiled_separately, compiler_options

AXIS = "run"

# Statistics that one method alone has; others have NaN there, so that all runs of an
# ensemble have the same variables.
_OF_FILIPPOV = ("sliding_share", "multiplier_residual", "estimated_error")


class Run(eqx.Module):
    """One run at the sizes of the ladder; or a batch of them, on a leading axis."""

    problem: Problem
    weights: Weights
    a: Neurons
    times: Float[Array, " T"]

    def idle(self) -> "Run":
        """A run of no duration, to fill up a batch."""
        return eqx.tree_at(lambda run: run.times, self, np.zeros_like(self.times))


def prepare(data: Dataset, network: Network, method: AbstractMethod, times: Any) -> Run:
    """A run as `simulate` makes it of a user's data and network."""
    alike = method.rotation_invariant
    dtype = jnp.result_type(data.targets.dtype, network.w.dtype)
    data, network = jax.tree.map(lambda x: x.astype(dtype), (data, network))
    problem, weights, a = _padded_start(data, network, *counts(data, network), alike)
    # On the host, where runs wait for the rest of their batch.
    return jax.device_get(Run(problem, weights, a, jnp.asarray(times, dtype)))


@eqx.filter_jit
def _padded_start(
    data: Dataset, network: Network, n: Scalar, p: Scalar, alike: bool
) -> tuple[Problem, Array, Array]:
    state = to_run_coordinates(data, network, n, p, reduce=alike)
    return pad(*state) if alike else state


def signature(tree: Any) -> Any:
    """Runs with equal signatures are served by one program."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)


def stack(runs: list[Run], size: int) -> Run:
    """A batch of `size` runs, filled up with idle ones."""
    filled = runs + [runs[0].idle()] * (size - len(runs))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *filled)


def working_bytes(run: Run, method: AbstractMethod) -> int:
    """About how much memory one run takes while it is computed."""
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(run))
    inputs = run.problem.inputs
    pairs = run.a.shape[0] * inputs.num_examples
    extra = method.working_numbers(inputs, pairs)
    return held + extra * run.a.dtype.itemsize


class Dynamics(eqx.Module):
    """What moves a run, and what ends it."""

    method: AbstractMethod
    stops: tuple[AbstractStop, ...]


@functools.lru_cache(maxsize=16)
def program(observers: Observers, mesh: Mesh, lockstep: bool) -> "Program":
    """The program of these settings; compiled parts serve later ensembles too."""
    return Program(observers, mesh, lockstep)


class Program:
    """Compiles once for each signature, and runs batches of it.

    - `lockstep`: `vmap` rather than `lax.map`.
    - `mesh`: the devices, along the one axis `AXIS`. Each has its share of a batch and
      none waits for another within it.
    """

    def __init__(self, observers: Observers, mesh: Mesh, lockstep: bool):
        self.mesh = mesh
        self._compiled: dict[Any, Any] = {}
        self._shapes: dict[Any, Any] = {}
        self._observers = observers

        def share(batch: Run, dynamics: Dynamics) -> dict[str, Array]:
            one = functools.partial(_outputs, dynamics=dynamics, observers=observers)
            return jax.vmap(one)(batch) if lockstep else jax.lax.map(one, batch)

        whole: Any = share
        if math.prod(mesh.devices.shape) > 1:
            split, same = PartitionSpec(AXIS), PartitionSpec()
            whole = jax.shard_map(
                share,
                mesh=mesh,
                in_specs=(split, same),
                out_specs=split,
                check_vma=False,
            )
        self._jitted = jax.jit(whole, compiler_options=compiler_options())

    @property
    def compilations(self) -> int:
        return len(self._compiled)

    def check_shapes(
        self, run: Run, dynamics: Dynamics, known: dict[str, Any]
    ) -> dict[str, Any]:
        """The shapes of what a run gives; a ValueError where they are not `known`."""
        key = signature(run), signature(dynamics)
        if key not in self._shapes:
            one = functools.partial(
                _outputs, dynamics=dynamics, observers=self._observers
            )
            found = jax.eval_shape(one, run)
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
        self, batch: Run, dynamics: Dynamics
    ) -> Callable[[], dict[str, np.ndarray]]:
        """A call that runs a batch and returns its outputs on the host. What depends on
        jax's settings happens here, since those are the thread's own."""
        placed = self._placed(batch, dynamics)
        compiled = self.compile(*placed)
        return lambda: jax.device_get(compiled(*placed))

    def compile(self, batch: Run, dynamics: Dynamics) -> Any:
        """The compiled program for batches of this shape."""
        key = signature(batch), signature(dynamics)
        if key not in self._compiled:
            # Arrays that are in their place already stay there.
            lowered = self._jitted.lower(*self._placed(batch, dynamics))
            self._compiled[key] = lowered.compile()
        return self._compiled[key]

    def _placed(self, batch: Run, dynamics: Dynamics) -> tuple[Run, Any]:
        split = jax.sharding.NamedSharding(self.mesh, PartitionSpec(AXIS))
        same = jax.sharding.NamedSharding(self.mesh, PartitionSpec())
        return jax.device_put(batch, split), jax.device_put(dynamics, same)


def _outputs(run: Run, dynamics: Dynamics, observers: Observers) -> dict[str, Array]:
    loss = compiled_separately(Problem.loss_at, run.problem, run.weights, run.a)
    start = Start.of(None, None, run.problem, run.weights, run.a, loss)
    recorder = Recorder(run.problem, start, observers, None)
    end = integrate(
        dynamics.method,
        run.problem,
        run.weights,
        run.a,
        run.times,
        dynamics.stops,
        recorder,
    )
    final = Snapshot(run.problem, start, end.time, end.weights, end.a)
    absent = jnp.asarray(jnp.nan, run.a.dtype)
    return {
        **end.rows,
        **{name: absent for name in _OF_FILIPPOV},
        "overflow": jnp.int32(-1),
        "t": end.times,
        "final_loss": compiled_separately(
            Problem.loss_at, run.problem, end.weights, end.a
        ),
        "final_time": end.time,
        "result": end.result._value,
        **end.stats,
        "balance_drift": final.balance_drift,
    }
