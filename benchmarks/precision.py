"""What less exact matrix products buy on an accelerator, and what outcomes they give.

    python -m benchmarks.precision [--size quick]

The library multiplies float32 matrices exactly. Here networks of Figure 2 are trained
with the products of other precisions (TF32 on NVIDIA) in its place, and compared with
the exact ones: how many outcomes differ, and how many would if only the initial
weights were off by a rounding, which the dynamics amplify too. Speed is timed
apart from outcomes, in turns, on one of the sizes. On a CPU all of these are the same
product.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

import jaxflow
from jaxflow.theory import time_scale

from . import _run
from ._engine import Case, Fleet, Load
from ._timing import Contender, Race, race

EXACT = "highest"
# Presets are jax.lax.DotAlgorithmPreset names; what a device cannot do is left out.
OTHERS = ("high", "default", "TF32_TF32_F32_X3", "TF32_TF32_F32")


@dataclasses.dataclass(frozen=True)
class Parameters:
    d: int = 100
    sizes: tuple[int, ...] = tuple(range(1300, 2101, 100))
    seeds: int = 16
    horizon: float = 1.5
    batch: int = 8
    """Networks per core, or side by side, where speed is timed."""
    repeats: int = 5
    seconds: float = 0.5


PARAMETERS = {
    "full": Parameters(sizes=(1600,), seeds=8),
    "quick": Parameters(d=10, sizes=(60,), seeds=2, batch=2, repeats=2, seconds=0.02),
    # Two sizes near N and many seeds: each size is compiled anew for each precision.
    "gpu": Parameters(sizes=(1600, 1700), seeds=72, batch=512, repeats=3, seconds=0.3),
}


@contextlib.contextmanager
def products_in(precision: Any) -> Iterator[None]:
    """Within it, exact products are traced at another precision. The library has no
    such option; this is for what has not been compiled yet only."""
    exact = jnp.matmul

    def matmul(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("precision") == jax.lax.Precision.HIGHEST:
            kwargs["precision"] = precision
        return exact(*args, **kwargs)

    with mock.patch.object(jnp, "matmul", matmul):
        yield


def supported(precision: str) -> bool:
    """Whether this device multiplies so. A product alone is asked, lest some other
    error pass for one that it cannot do."""
    x = jnp.ones((8, 8), jnp.float32)
    product = jax.jit(lambda x: jnp.matmul(x, x, precision=_preset(precision)))
    try:
        jax.block_until_ready(product(x))
    except (ValueError, NotImplementedError, jax.errors.JaxRuntimeError):
        return False
    return True


def _preset(precision: str) -> Any:
    if precision.isupper():
        return jax.lax.DotAlgorithmPreset[precision]
    return jax.lax.Precision.HIGHEST if precision == EXACT else precision


def measure(parameters: Parameters, seed: int) -> _run.Findings:
    found = _run.Findings()
    possible = [name for name in OTHERS if supported(name)]
    variants = [("exact", EXACT, 0.0), ("exact, weights off by 1e-7", EXACT, 1e-7)]
    variants += [(name, name, 0.0) for name in possible]
    header = [
        "products",
        "outcomes that differ, %",
        "steps to convergence differ, %",
        "converged, %",
    ]
    count = len(parameters.sizes) * parameters.seeds
    sizes = f"n = {parameters.sizes[0]} … {parameters.sizes[-1]}, d = {parameters.d}"
    absent = ", ".join(name for name in OTHERS if name not in possible)
    note = "Steps: of the networks that converge in both."
    if absent:
        note += f" Not possible on this device: {absent}."
    exact, rows = None, []
    for label, precision, noise in variants:
        outcomes = _outcomes(parameters, seed, precision, noise)
        exact = outcomes if exact is None else exact
        rows.append(_row(label, exact, outcomes))
        found.table(f"Outcomes of {count} networks, {sizes}", header, rows, note)
    timed, case = _speeds(parameters, seed, [EXACT, *possible])
    found.table(
        f"Speed ({case.label()})",
        ["products", "network-steps per second", "time, in exact ones"],
        [
            [
                "exact" if name == EXACT else name,
                timed.spread(name).inverse(),
                timed.ratio(name, EXACT),
            ]
            for name in timed.samples
        ],
        "Median (least–greatest) of turns; without compiling and copying.",
    )
    return found


def _outcomes(parameters: Parameters, seed: int, precision: str, noise: float) -> Any:
    """(converged, steps) of each network."""
    with products_in(_preset(precision)):
        fleet = Fleet(jaxflow.GradientDescent(1.0), stop=jaxflow.LossBelow())
        rows = fleet.run_each(_runs(fleet, parameters, seed, noise))
    below = jaxflow.Results.loss_below._value
    converged = np.array([bool(row["result"] == below) for row in rows])
    return converged, np.array([int(row["steps"]) for row in rows])


def _speeds(parameters: Parameters, seed: int, names: list[str]) -> tuple[Race, Case]:
    middle = parameters.sizes[len(parameters.sizes) // 2]
    case = Case("sphere", middle, parameters.d)
    contenders = {}
    for name in names:
        with products_in(_preset(name)):
            fleet = Fleet(jaxflow.GradientDescent(1.0))
            load = Load(fleet, case, parameters.batch, seed)
            # Compiles here, at this precision; later calls only run what there is.
            load.advance(1.0)
        contenders[name] = Contender(load.advance, networks=load.networks)
    return race(contenders, parameters.repeats, parameters.seconds), case


def _runs(fleet: Fleet, parameters: Parameters, seed: int, noise: float) -> list[Any]:
    runs = []
    for n in parameters.sizes:
        case = Case("sphere", n, parameters.d)
        end = parameters.horizon * float(time_scale(n, case.width))
        for index in range(parameters.seeds):
            data, network = case.draw(seed, index)
            shaken = jaxflow.Network(network.w * (1 + noise), network.a)
            runs.append(fleet.prepared(data, shaken if noise else network, [end]))
    return runs


def _row(label: str, exact: Any, outcomes: Any) -> list[Any]:
    if outcomes is exact:
        return [label, None, None, _share(exact)]
    both = exact[0] & outcomes[0]
    differ = 100 * float(np.mean(exact[0] != outcomes[0]))
    other_step = exact[1][both] != outcomes[1][both]
    later = 100 * float(np.mean(other_step)) if both.any() else None
    return [label, differ, later, _share(outcomes)]


def _share(outcomes: Any) -> float:
    return 100 * float(outcomes[0].mean())


if __name__ == "__main__":
    _run.main("precision", PARAMETERS, measure, __doc__)
