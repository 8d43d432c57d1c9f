"""What less exact matrix products buy on an accelerator, and what outcomes they give.

    python -m benchmarks.precision [--size quick]

The library multiplies float32 matrices exactly. Here networks of Figure 2 are trained
with the products of other precisions (TF32 on NVIDIA) in its place, and compared with
the exact ones: how many outcomes differ, and how many would if only the initial
weights were off by a rounding, which the dynamics amplify too. On a CPU all of these
are the same product.
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
from ._engine import Case, Fleet
from ._timing import seconds

EXACT = "highest"
# Presets are jax.lax.DotAlgorithmPreset names; what a device cannot do is left out.
OTHERS = ("high", "default", "TF32_TF32_F32_X3", "TF32_TF32_F32")


@dataclasses.dataclass(frozen=True)
class Parameters:
    d: int = 100
    sizes: tuple[int, ...] = tuple(range(1300, 2101, 100))
    seeds: int = 16
    horizon: float = 1.5


PARAMETERS = {
    "full": Parameters(sizes=(1600,), seeds=8),
    "quick": Parameters(d=10, sizes=(60,), seeds=2),
    "gpu": Parameters(),
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


def measure(parameters: Parameters, seed: int) -> _run.Findings:
    found = _run.Findings()
    exact, exact_seconds, speed = _outcomes(parameters, seed, EXACT, 0.0)
    rows = [["exact", exact_seconds, speed, "–", "–", _share(exact), ""]]
    variants = [("exact, weights off by 1e-7", EXACT, 1e-7)]
    variants += [(name, name, 0.0) for name in OTHERS]
    for label, precision, noise in variants:
        try:
            rows.append(
                _row(label, exact, *_outcomes(parameters, seed, precision, noise))
            )
        except Exception as error:
            rows.append([label, "–", "–", "–", "–", "–", type(error).__name__])
    header = [
        "products",
        "s",
        "network-steps/s",
        "outcomes that differ, %",
        "steps to convergence differ, %",
        "converged, %",
        "not possible here",
    ]
    count = len(parameters.sizes) * parameters.seeds
    found.table(
        f"{count} networks of Figure 2, n = {parameters.sizes[0]} … "
        f"{parameters.sizes[-1]}, d = {parameters.d}, by the precision of products",
        header,
        rows,
        "Steps: of the networks that converge in both. Compiling is left out.",
    )
    return found


def _outcomes(
    parameters: Parameters, seed: int, precision: str, noise: float
) -> tuple[Any, float, float]:
    """(converged, steps) of each network, seconds, and network-steps per second."""
    preset: Any = precision
    if precision.isupper():
        preset = jax.lax.DotAlgorithmPreset[precision]
    elif precision == EXACT:
        preset = jax.lax.Precision.HIGHEST
    with products_in(preset):
        fleet = Fleet(jaxflow.GradientDescent(1.0), stop=jaxflow.LossBelow())
        runs = _runs(fleet, parameters, seed, noise)
        rows = fleet.run_each(runs)
        taken = seconds(lambda: fleet.run_each(runs))
    below = jaxflow.Results.loss_below._value
    converged = np.array([bool(row["result"] == below) for row in rows])
    steps = np.array([int(row["steps"]) for row in rows])
    return (converged, steps), taken, steps.sum() / taken


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


def _row(
    label: str, exact: Any, outcomes: Any, taken: float, speed: float
) -> list[Any]:
    both = exact[0] & outcomes[0]
    differ = 100 * float(np.mean(exact[0] != outcomes[0]))
    other_step = exact[1][both] != outcomes[1][both]
    later = 100 * float(np.mean(other_step)) if both.any() else None
    return [label, taken, speed, differ, later, _share(outcomes), ""]


def _share(outcomes: Any) -> float:
    return 100 * float(outcomes[0].mean())


if __name__ == "__main__":
    _run.main("precision", PARAMETERS, measure, __doc__)
