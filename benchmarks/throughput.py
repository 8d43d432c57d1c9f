"""Network-steps and velocity evaluations per second, by what is simulated.

    python -m benchmarks.throughput [--size quick]

By geometry, n, networks side by side, precision and method; compile times apart.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

import jaxflow
from jaxflow._ensemble.resources import available_bytes, device_mesh

from . import _run
from ._engine import Case, Fleet, Load, total
from ._timing import Contender, Spread, lengths, longer

DESCENT, FLOW = "GradientDescent(1)", "GradientFlow(1e-5)"
# On inputs whose pairs can slide along a kink this is what `GradientFlow` runs.
SLIDING = "FilippovFlow(0.1 √1e-5)"


def methods(case: Case) -> dict[str, Any]:
    """By what they are on these inputs."""
    flow = SLIDING if _slides(case) else FLOW
    return {
        DESCENT: jaxflow.GradientDescent(1.0),
        flow: jaxflow.GradientFlow(1e-5),
    }


# Inputs of n examples, as far as the working memory depends on them.
_GEOMETRY = {
    "orthogonal": lambda n: jaxflow.OrthogonalInputs(np.ones(n)),
    "antipodal": lambda n: jaxflow.AntipodalInputs(np.ones(n // 2), np.ones(n // 2)),
    "sphere": lambda n: jaxflow.DenseInputs(np.ones((n, 1))),
}


def _slides(case: Case) -> bool:
    return case.inputs == "sphere"


@dataclasses.dataclass(frozen=True)
class Parameters:
    geometries: tuple[tuple[str, int, tuple[int, ...]], ...] = (
        ("orthogonal", 0, (1000, 10_000, 100_000)),
        ("antipodal", 0, (1000, 10_000)),
        ("sphere", 100, (500, 2000, 8000)),
        ("sphere", 2000, (500, 2000)),
    )
    """(inputs, d, values of n); d = 0 stands for d = n. Sphere with n < 2d is run
    through its Gram matrix."""
    batches: tuple[int, ...] = (1, 16)
    dtypes: tuple[str, ...] = ("float32", "float64")
    horizon: float = 50.0
    """Of the flow, in units of time."""
    largest: float = 16e9
    """Cells that would take more bytes than this, or than are free, are left out."""
    repeats: int = 3
    seconds: float = 0.3


PARAMETERS = {
    "full": Parameters(),
    "quick": Parameters(
        geometries=(("orthogonal", 0, (200,)), ("sphere", 20, (200,))),
        batches=(2,),
        horizon=5.0,
        repeats=3,
        seconds=0.05,
    ),
    "gpu": Parameters(
        geometries=(
            ("orthogonal", 0, (1000, 10_000, 100_000)),
            ("sphere", 100, (2000, 8000)),
        ),
        batches=(8, 64, 512),
        dtypes=("float32",),
        largest=40e9,
        repeats=3,
        seconds=0.2,
    ),
}


HEADER = (
    "problem",
    "dtype",
    "method",
    "batch",
    "network-steps/s",
    "evaluations/s",
    "pairs/s",
    "compiling, s",
)
NOTE = (
    "Batch: networks per core on a CPU, networks side by side on an accelerator. "
    "Pairs: evaluations times n p. Rates are of what a long call makes more than a "
    "short one (of descent a few steps, of the flow a thousandth of its time), in "
    "what it takes longer: without what any call costs. Median (least–greatest) of "
    "repeats. Left out: what would not fit into the memory."
)


def measure(parameters: Parameters, seed: int) -> _run.Findings:
    found = _run.Findings(dtype=", ".join(parameters.dtypes))
    # jax makes its options attributes at run time.
    before = jax.config.jax_enable_x64  # type: ignore[attr-defined]
    try:
        for dtype in parameters.dtypes:
            # float64 exists in jax only with this switch.
            jax.config.update("jax_enable_x64", before or dtype == "float64")
            for inputs, d, sizes in parameters.geometries:
                rows: list[list[Any]] = []
                dimension = f", d = {d}" if d else ", d = n"
                for n in sizes:
                    case = Case(inputs, n, d or n, dtype=dtype)
                    for batch in parameters.batches:
                        for name, method in methods(case).items():
                            row = _cell(parameters, case, batch, name, method, seed)
                            rows.append(row)
                            title = f"Throughput, {inputs}{dimension}, {dtype}"
                            found.table(title, HEADER, rows, NOTE)
    finally:
        jax.config.update("jax_enable_x64", before)
    return found


def _cell(
    parameters: Parameters, case: Case, batch: int, name: str, method: Any, seed: int
) -> list[Any]:
    label = f"{case.label()}, d = n" if case.d == case.n else case.label()
    start = [label, case.dtype, name, batch]
    fleet = Fleet(method)
    need = batch * fleet.workers * bytes_of(case, method)
    room = min(parameters.largest, available_bytes(device_mesh(jax.devices()[:1])))
    if need > room:
        return [*start, f"left out: {need / 2**30:.3g} GiB", None, None, None]
    load = Load(fleet, case, batch, seed)
    # An adaptive method makes most of its steps early: the later half holds few.
    ends: tuple[float, float] = (1e-3 * parameters.horizon, parameters.horizon)
    if name == DESCENT:
        ends = lengths(Contender(load.advance), parameters.seconds)
    less, more = (load.advance(float(end)) for end in ends)
    taken = longer(load.advance, *ends, parameters.repeats, parameters.seconds)
    steps, evaluations = (
        Spread.of([(total(more, count) - total(less, count)) / t for t in taken])
        for count in ("steps", "velocity_evaluations")
    )
    pairs = evaluations.scaled(float(np.prod([case.n, case.width])))
    return [*start, steps, evaluations, pairs, fleet.compile_seconds]


def bytes_of(case: Case, method: Any) -> int:
    """About what one network takes: its inputs, its weights, and what the method
    works with."""
    n, pairs = case.n, case.n * case.width
    numbers = method.working_numbers(_GEOMETRY[case.inputs](n), pairs)
    inputs = n * min(case.d, n) if _slides(case) else n
    return (numbers + inputs + pairs) * np.dtype(case.dtype).itemsize


if __name__ == "__main__":
    _run.main("throughput", PARAMETERS, measure, __doc__)
