"""Network-steps and velocity evaluations per second, by what is simulated.

    python -m benchmarks.throughput [--size quick]

By geometry, n, networks side by side, precision and method; compile times apart.
"""

import dataclasses
import functools

import jax
import numpy as np

import jaxflow

from . import _run
from ._engine import Case, Fleet, Load, total
from ._timing import Contender, Spread, fitting, race_calls

METHODS = {
    "descent": lambda: jaxflow.GradientDescent(1.0),
    "flow, rtol 1e-5": lambda: jaxflow.GradientFlow(1e-5),
}


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
    largest: float = 2e9
    """Cells with more numbers to hold than this are left out."""
    repeats: int = 3
    seconds: float = 0.5


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
        largest=5e9,
        repeats=3,
        seconds=0.2,
    ),
}


def measure(parameters: Parameters, seed: int) -> _run.Findings:
    found = _run.Findings(dtype=", ".join(parameters.dtypes))
    rows = []
    before = jax.config.jax_enable_x64
    try:
        for dtype in parameters.dtypes:
            # float64 exists in jax only with this switch.
            jax.config.update("jax_enable_x64", before or dtype == "float64")
            for inputs, d, sizes in parameters.geometries:
                for n in sizes:
                    case = Case(inputs, n, d or n, dtype=dtype)
                    for batch in parameters.batches:
                        rows += _cell(parameters, case, batch, seed)
    finally:
        jax.config.update("jax_enable_x64", before)
    header = [
        "problem",
        "dtype",
        "method",
        "batch",
        "network-steps/s",
        "evaluations/s",
        "pairs/s",
        "compiling, s",
    ]
    note = (
        "Batch: networks per core on a CPU, networks side by side on an accelerator. "
        "Pairs: evaluations times n p. Median (least–greatest) of repeats."
    )
    found.table("Throughput", header, rows, note)
    return found


def _cell(
    parameters: Parameters, case: Case, batch: int, seed: int
) -> list[list[object]]:
    dense = case.inputs == "sphere"
    inputs = case.n * min(case.d, case.n) if dense else case.n
    if batch * (30 * case.n * case.width + inputs) > parameters.largest:
        return []
    rows = []
    for name, build in METHODS.items():
        fleet = Fleet(build())
        load = Load(fleet, case, batch, seed)
        time = parameters.horizon
        if name == "descent":
            mover = Contender(load.advance, networks=load.networks)
            time = float(fitting(mover, parameters.seconds))
        outputs = load.advance(time)
        counts = {k: total(outputs, k) for k in ("steps", "velocity_evaluations")}
        timed = race_calls(
            {name: functools.partial(load.advance, time)}, parameters.repeats
        )
        steps, evaluations = (
            Spread.of([count / t for t in timed.samples[name]])
            for count in counts.values()
        )
        pairs = evaluations.scaled(float(np.prod([case.n, case.width])))
        compiling = fleet.compile_seconds
        label = f"{case.label()}, d = n" if case.d == case.n else case.label()
        row = [label, case.dtype, name, batch, steps, evaluations, pairs, compiling]
        rows.append(row)
    return rows


if __name__ == "__main__":
    _run.main("throughput", PARAMETERS, measure, __doc__)
