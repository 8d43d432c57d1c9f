"""`simulate_ensemble`: thousands of networks, on every core, device and host."""

import contextlib
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jax
from jaxtyping import PRNGKeyArray

from .._checks import as_folder, check_flag, check_positive, check_single
from .._methods.base import Methods
from .._observables import Observable
from .._problem.dataset import Dataset
from .._problem.inputs import AbstractInputs
from .._problem.network import Network
from .._problem.rates import check_rates
from .._progress import Progress, Reporter, check_progress
from .._sampling.fixed import (
    cast_fixed,
    sizes_of,
)
from .._sampling.initialisation import InitLaw
from .._sampling.inputs import InputLaw
from .._sampling.problem import check_slope, checked_laws, dtype_of, sample_problem
from .._sampling.targets import TargetLaw
from .._simulate import check_observers, check_stops
from .._stops import Stops
from .._types import ArrayLike, Counts, Devices, DTypeLike, LayerRates, Names, Number
from ..records._chunk import optional
from .batches import Batcher, total_work
from .config import Configuration, check_accept, config_of
from .dataset import check_names
from .engine import Engine
from .grid import (
    Cell,
    Runs,
    check_key,
    check_known,
    check_methods,
    check_seeds,
    make_grid,
    run_key,
)
from .interruption import Interruption
from .plan_checks import PlanChecks
from .program import Work, program
from .resources import available_bytes, cores, device_mesh
from .storage import open_storage

if TYPE_CHECKING:
    import xarray

_NOTHING: Mapping[str, Observable] = MappingProxyType({})


def simulate_ensemble(
    key: PRNGKeyArray,
    *,
    n: Counts | None = None,
    d: Counts | None = None,
    p: Counts | Callable[[int], int] | None = None,
    seeds: Counts,
    method: Methods,
    times: ArrayLike | Callable[[int, int, int], ArrayLike],
    stop: Stops = (),
    observe: Mapping[str, Observable] = _NOTHING,
    inputs: str | InputLaw | ArrayLike | AbstractInputs = "orthogonal",
    targets: str | TargetLaw | ArrayLike = "uniform",
    init: str | InitLaw = "gaussian",
    bias: float = 0.0,
    negative_slope: Number = 0.0,
    rates: LayerRates = (1.0, 1.0),
    epsilon: float = 0.05,
    dtype: DTypeLike | None = None,
    grid: str = "product",
    folder: str | os.PathLike[str] | None = None,
    accept: Names = (),
    memory: float | int | None = None,
    devices: Devices | None = None,
    lockstep: bool | None = None,
    progress: bool | Callable[[Progress], Any] | None = None,
) -> "xarray.Dataset":
    """Trains networks for all given n, d, p, methods and seeds.

        runs = jaxflow.simulate_ensemble(
            jax.random.key(0), n=[1000, 1400, 2000], d=2000, seeds=25,
            inputs="orthogonal", method=jaxflow.GradientFlow(rtol=1e-6),
            times=[0, 100, 200], stop=jaxflow.LossBelow(),
        )
        runs.converged.mean("seed")                              # (n,)
        jaxflow.carry_final(runs).loss.sel(n=1400).mean("seed")  # (time,)

    Of a data set of one's own, with networks that are random:

        runs = jaxflow.simulate_ensemble(
            jax.random.key(0), inputs=x, targets=y, p=[20, 40], seeds=25,
            init="small", method=jaxflow.GradientFlow(rtol=1e-6), times=[0, 100, 200],
        )

    Every run is what `simulate` makes of the problem that `sample_problem` draws with
    the key `run_key(key, n, d, p, seed)`: its numbers depend on nothing else, so more
    seeds or more n extend an ensemble. Several methods see the same problems.

    **Which runs:**

    - `key`: a `jax.random.key`.
    - `n`, `d`: examples and dimension, an integer or several. Inputs and targets that
      are given as arrays bring them along.
    - `p`: neurons: an integer, several, or a function of n. Left out, p is
      `width_rule(n, epsilon)`.
    - `seeds`: how many networks for each n, d, p, or which seeds (integers ≥ 0).
    - `grid`: "product" for all combinations of n, d and p, "zip" to take them side by
      side.
    - `method`: a method, or a mapping from labels to methods.
    - `inputs`, `targets`, `init`, `bias`, `negative_slope`, `epsilon`, `dtype`: see
      `sample_problem`, which has the signatures of the laws. Laws see the sizes of the
      run, without the zeros that it is padded with. Laws of your own are traced for
      their shapes before anything is drawn, so they must not keep arrays of jax from
      one call to the next.

    **What of each run:**

    - `times`, `stop`, `rates`: see `simulate`. `times` may be a function of (n, d, p)
      that returns the times of those runs, the same number for all.
    - `observe`: see `simulate`; nothing by default. Here observables see arrays that
      are padded with zero examples and neurons: sum and divide by `s.problem.n` or
      `s.problem.p` rather than take means, and mind `s.present`. Each must have one
      shape for all runs.

    **How:**

    - `folder`: where results are kept, chunk by chunk (`jaxflow.records`). A call with
      the same folder computes only what is missing there; an interrupted one loses at
      most the chunks in flight. Without it they are kept in memory. The other settings
      must be those that the folder was made with: laws, observables, stops and methods
      of your own count as the same where they do the same on some of its runs.
    - `accept`: names out of "jax", "jaxlib" and "jaxflow". A folder that was made with
      other versions of these is refused, unless they are named here.
    - `memory`: bytes to use on each device; by default three quarters of what is free.
    - `devices`: the jax devices to use; by default all of this process.
    - `lockstep`: whether the runs of a batch are vectorised and take their steps
      together; by default on accelerators only.
    - `progress`: True or False for a bar on stderr (by default where that is a terminal
      or a notebook), or a function that is called with a `Progress`.

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
    them). Rows after the end of a run are NaN, or −1 for counts: a mean over seeds is
    that of the runs that still go on, unless `carry_final` fills these rows. Beyond a
    gigabyte, records in a folder stay there and are opened lazily. `open_ensemble`
    reads a folder without this call.

    **Raises:** a ValueError that says what was given and what would work, before
    anything is drawn or compiled and before a folder is made, also of the last run of
    the plan: when it does not fit into the memory, say. What needs the numbers of a run
    is found when it is drawn. So is a folder that holds runs of other settings, and
    which.

    A KeyboardInterrupt at Ctrl-C, within about two seconds: what is finished by then is
    written, the message says how much that is, and the same call goes on from there.
    SIGTERM ends the process in the same way. A second signal ends it at once, and what
    `folder` held before is kept. What a compiled program was computing goes on unheard,
    to its end or that of the process; where that is long, restart a notebook's kernel.
    """
    optional("xarray")
    check_key(key)
    check_known(key)
    methods, labelled = check_methods(method)
    stops, observers = check_stops(stop), check_observers(observe)
    check_names(observers.functions, methods.values())
    inputs, targets = checked_laws(inputs, targets, init, bias)
    own_rates = check_rates(rates)
    n, d = sizes_of(inputs, targets, n, d)
    dtype = dtype_of(inputs, targets, dtype)
    check_slope(negative_slope, dtype)
    # Compared and drawn in the precision of the runs.
    inputs, targets = cast_fixed(inputs, dtype), cast_fixed(targets, dtype)
    accepted = check_accept(accept)
    plan = make_grid(n, d, p, epsilon, methods, labelled, times, dtype, grid)
    seeds = check_seeds(seeds)
    if memory is not None:
        check_single("memory", memory)
        check_positive("memory", memory)
    check_progress(progress)
    folder = None if folder is None else as_folder(folder)
    mesh = device_mesh(devices)
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    lockstep = not on_cpu if lockstep is None else check_flag("lockstep", lockstep)
    processes = jax.process_count()
    if processes > 1 and folder is None:
        raise ValueError(
            f"{processes} processes share this ensemble and need a folder= that all of "
            "them see."
        )
    laws = {
        "inputs": inputs,
        "targets": targets,
        "init": init,
        "bias": float(bias),
        "negative_slope": float(negative_slope),
    }

    def draw(cell: Cell, seed: int) -> tuple[Dataset, Network]:
        own = run_key(key, cell.n, cell.d, cell.p, seed)
        sizes = {"n": cell.n, "d": cell.d, "p": cell.p}
        return sample_problem(own, **sizes, **laws, dtype=dtype)  # type: ignore[arg-type]

    compiled = program(observers, mesh, lockstep)
    works = Work.of_methods(methods, stops, own_rates)
    memory = memory or available_bytes(mesh)
    workers = cores() if on_cpu and mesh.size == 1 and not lockstep else 1
    checks = PlanChecks(
        key,
        laws,
        dtype,
        program=compiled,
        works=works,
        observed=bool(observe),
        memory=memory,
        workers=workers,
        in_folder=folder is not None,
    )
    configuration = Configuration(
        key,
        dtype,
        {**laws, "rates": None if own_rates is None else [own_rates.w, own_rates.a]},
        {label: one.lean() for label, one in methods.items()},
        stops,
        dict(observe),
        lockstep=lockstep,
        cells=plan.cells,
        seeds=seeds,
        draw=draw,
    )
    checks.check_numbers(plan.cells, seeds)
    # Of a folder that is there, only what is missing is checked.
    goes_on = folder is not None and config_of(folder) is not None

    def agreed() -> dict[str, Any]:
        assert folder is not None
        return configuration.agreed(folder, accepted)

    if not goes_on:
        checks.check(plan.cells, seeds[0])
    runs = Runs(plan.cells, seeds)
    with open_storage(folder, agreed) as storage:
        done = storage.finished()
        mine = runs[jax.process_index() :: processes]
        todo = mine.missing(done)
        if goes_on:
            checks.check_missing(configuration.compared, runs.missing(done))
        if todo:
            storage.check_writable()
        batcher = Batcher(
            compiled,
            works,
            draw=draw,
            memory=memory,
            workers=workers,
            lockstep=lockstep,
        )
        engine = Engine(compiled, batcher, workers=workers, lockstep=lockstep)
        kept = len(mine) - len(todo)
        unit = f"runs ({kept} were there)" if kept else "runs"
        reporter = Reporter(progress, len(todo), total_work(todo), unit)
        with (
            Interruption() as interruption,
            contextlib.closing(reporter),
            contextlib.closing(engine.results(todo, reporter, interruption)) as results,
        ):
            for names, rows in results:
                storage.write(names, rows)
    if interruption.signal is not None:
        finished = kept + int(reporter.done)
        interruption.leave(_told(finished, len(mine), folder))
    if processes > 1:
        from jax.experimental.multihost_utils import sync_global_devices

        sync_global_devices("jaxflow.simulate_ensemble")
    return storage.dataset(plan, seeds, engine.attributes())


def _told(finished: int, runs: int, folder: str | os.PathLike[str] | None) -> str:
    """What is left of an interrupted call."""
    if folder is None:
        return (
            f"{finished} of {runs} runs were finished, and are lost with this call. "
            "With folder= the same call would go on from there."
        )
    return (
        f"{finished} of {runs} runs are kept in {os.fspath(folder)!r}. The same call "
        "goes on from there."
    )
