"""The scheme that users run, at the sizes that they run, against small Euler steps.

    python -m benchmarks.accuracy_at_size [--size quick]

On correlated inputs, float64: `FilippovFlow` at two tolerances against gradient descent
with a small learning rate η, and a quarter of it to tell how far that can be trusted.
Compared are L at several times, and λ_min of the tangent kernel at the last. Descent
chatters where the flow slides: a pair slides if it lies within what one step may move
it, and is held there.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxflow

from . import _run
from ._contenders import float64


@dataclasses.dataclass(frozen=True)
class Parameters:
    sizes: tuple[tuple[int, int], ...] = (
        (200, 50),
        (200, 1000),
        (500, 100),
        (1000, 100),
        (2000, 100),
    )
    """n, d."""
    seeds: int = 8
    rate: float = 1 / 50
    times: tuple[float, ...] = (12.5, 25.0, 50.0, 100.0)
    tolerances: tuple[float, ...] = (1e-3, 1e-4)


PARAMETERS = {
    "full": Parameters(),
    "quick": Parameters(sizes=((60, 20),), seeds=1, times=(5.0, 10.0)),
    "gpu": Parameters(),
}


def measure(parameters: Parameters, seed: int) -> _run.Findings:
    found = _run.Findings(dtype="float64")
    rows: list[list[Any]] = []
    times = jnp.array(parameters.times)
    with float64():
        methods = [
            *(jaxflow.GradientDescent(parameters.rate / k) for k in (4, 1)),
            *(jaxflow.FilippovFlow(tolerance) for tolerance in parameters.tolerances),
        ]
        names = ["descent", *(f"flow, {t:g}" for t in parameters.tolerances)]
        for n, d in parameters.sizes:
            losses, ends = [], []
            for k in range(seed, seed + parameters.seeds):
                data, network = jaxflow.sample_problem(
                    jax.random.key(k), n=n, d=d, inputs="sphere", dtype=float
                )
                runs = [
                    jaxflow.simulate(data, network, method, times=times, observe={})
                    for method in methods
                ]
                losses.append([np.asarray(run.loss) for run in runs])
                ends.append(
                    [
                        _smallest(data, run.final, getattr(method, "learning_rate", 0))
                        for run, method in zip(runs, methods, strict=True)
                    ]
                )
            errors = np.abs(np.array(losses) / np.array(losses)[:, :1] - 1)[:, 1:]
            of_ends = np.abs(np.array(ends) / np.array(ends)[:, :1] - 1)[:, 1:]
            for which, name in enumerate(names):
                worst = np.max(errors[:, which], axis=0)
                shown = [
                    f"{middle:.1g} ({most:.1g})"
                    for middle, most in zip(
                        np.median(errors[:, which], axis=0), worst, strict=True
                    )
                ]
                of_end = of_ends[:, which]
                shown.append(f"{np.median(of_end):.1g} ({np.max(of_end):.1g})")
                rows.append([n, d, name, *shown])
            found.table(
                f"Differences from descent at learning rate {parameters.rate / 4:g}",
                [
                    "n",
                    "d",
                    "run",
                    *(f"L at {time:g}" for time in parameters.times),
                    f"λ_min at {parameters.times[-1]:g}",
                ],
                rows,
                f"Relative; the median of {parameters.seeds} seeds (and the largest). "
                f"Descent: at learning rate {parameters.rate:g}.",
            )
    return found


def _smallest(data: jaxflow.Dataset, network: jaxflow.Network, rate: Any) -> float:
    """λ_min, with what descent at that learning rate leaves near its kinks."""
    if not float(rate):
        return float(jaxflow.tangent_kernel(data, network).smallest)
    r = jaxflow.residuals(data, network)
    push = jnp.abs(network.a) * jnp.max(jnp.abs(r)) * float(rate) / len(r)
    reach = jnp.max(push / jnp.linalg.norm(network.w, axis=1))
    return float(jaxflow.tangent_kernel(data, network, reach).smallest)


if __name__ == "__main__":
    _run.main("accuracy_at_size", PARAMETERS, measure, __doc__)
