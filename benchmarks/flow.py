"""What the flow of correlated inputs costs, beside gradient descent.

    python -m benchmarks.flow [--size quick]

Descent at learning rate 1 and `FilippovFlow`, in turns, on inputs on the sphere of
dimension 100 with the width of the rule, to t_∞ and to 4 t_∞: wall time without
compiling, steps, and the error in log L and (w, a) at t_n/4 against the refined flow,
up to which two refinements agree. On orthogonal inputs the steps of `RungeKuttaFlow`
late in a run, in float64.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxflow
from jaxflow.theory import time_scale

from . import _run
from ._contenders import float64
from ._timing import Contender, race


@dataclasses.dataclass(frozen=True)
class Parameters:
    sizes: tuple[int, ...] = (500, 1000, 2000)
    d: int = 100
    horizons: tuple[float, ...] = (1.5, 6.0)
    """Of the runs that are timed, in units of t_n: t_∞ and 4 t_∞."""
    tolerances: tuple[float, ...] = (2e-2, 1e-2, 3e-3, 1e-3)
    seeds: int = 4
    """For errors."""
    early: float = 0.25
    """Where errors are taken, in units of t_n."""
    refined: tuple[float, float] = (1e-5, 3e-5)
    repeats: int = 5
    seconds: float = 0.5
    orthogonal: tuple[int, ...] = (1000, 10_000)


PARAMETERS = {
    "full": Parameters(),
    "quick": Parameters(
        sizes=(60,),
        d=10,
        horizons=(1.5,),
        tolerances=(1e-2,),
        seeds=1,
        refined=(1e-4, 3e-4),
        repeats=2,
        seconds=0.02,
        orthogonal=(60,),
    ),
    "gpu": Parameters(),
}


def measure(parameters: Parameters, seed: int) -> _run.Findings:
    found = _run.Findings()
    for horizon in parameters.horizons:
        rows: list[list[Any]] = []
        for n in parameters.sizes:
            rows += _times(parameters, n, horizon, seed)
            found.table(
                f"Wall time to {horizon:g} t_n, d = {parameters.d}",
                ["n", "p", "method", "steps", "rejected", "time, in descent's", "L"],
                rows,
                "One network, float32. Median (least–greatest) of turns.",
            )
    rows = []
    for n in parameters.sizes:
        rows += _errors(parameters, n, seed)
        found.table(
            f"Error at {parameters.early:g} t_n, medians of {parameters.seeds} seeds",
            ["n", "method", "evaluations", "error of log L", "error of (w, a)"],
            rows,
            "Against FilippovFlow at tolerance "
            f"{parameters.refined[0]:g}; the next row is how far "
            f"{parameters.refined[1]:g} is from it.",
        )
    found.table(
        "Steps on orthogonal inputs, every example covered",
        ["n", "p", "rtol", "to t_∞", "to 2 t_∞", "to 1e-12 L(0)", "λ_max/λ_min there"],
        [_late(n, rtol, seed) for n in parameters.orthogonal for rtol in (1e-4, 1e-6)],
        "One network, float64. λ of the tangent kernel.",
    )
    return found


def _methods(parameters: Parameters) -> dict[str, Any]:
    flows = {f"flow, {t:g}": jaxflow.FilippovFlow(t) for t in parameters.tolerances}
    return {"descent": jaxflow.GradientDescent(1.0), **flows}


def _problem(parameters: Parameters, n: int, seed: int) -> Any:
    key = jax.random.key(seed)
    return jaxflow.sample_problem(key, n=n, d=parameters.d, inputs="sphere")


def _times(parameters: Parameters, n: int, horizon: float, seed: int) -> Any:
    data, network = _problem(parameters, n, seed)
    end = float(round(horizon * time_scale(n, network.width)))
    methods = _methods(parameters)

    def run(method: Any) -> jaxflow.Solution:
        return jaxflow.simulate(data, network, method, times=[end], observe={})

    solutions = {name: run(method) for name, method in methods.items()}
    timed = race(
        {
            name: Contender(partial(_repeat, partial(run, method)))
            for name, method in methods.items()
        },
        parameters.repeats,
        parameters.seconds,
    )
    return [
        [
            n,
            network.width,
            name,
            int(sol.stats["steps"]),
            int(sol.stats["rejected_steps"]),
            timed.ratio(name, "descent"),
            float(sol.final_loss),
        ]
        for name, sol in solutions.items()
    ]


def _repeat(run: Callable[[], jaxflow.Solution], times: int) -> None:
    for _ in range(times):
        jax.block_until_ready(run().final_loss)


def _errors(parameters: Parameters, n: int, seed: int) -> list[list[Any]]:
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for index in range(parameters.seeds):
        data, network = _problem(parameters, n, seed + index)
        end = float(round(parameters.early * time_scale(n, network.width)))

        def run(method: Any, end: float = end, data: Any = data, net: Any = network):
            return jaxflow.simulate(data, net, method, times=[end], observe={})

        finest, finer = (run(jaxflow.FilippovFlow(t)) for t in parameters.refined)
        others = {name: run(method) for name, method in _methods(parameters).items()}
        for name, sol in {"refinement": finer, **others}.items():
            gap = _state(sol.final) - _state(finest.final)
            rows.setdefault(name, []).append(
                (
                    float(sol.stats["velocity_evaluations"]),
                    abs(float(jnp.log(sol.final_loss / finest.final_loss))),
                    float(np.linalg.norm(gap) / np.linalg.norm(_state(finest.final))),
                )
            )
    return [
        [n, name, *(float(v) for v in np.median(values, axis=0))]
        for name, values in rows.items()
    ]


def _late(n: int, rtol: float, seed: int) -> list[Any]:
    with float64():
        data, network = jaxflow.sample_problem(
            jax.random.key(seed), n=n, d=n, init=jaxflow.CoveredInitialisation()
        )
        unit = 1.5 * float(time_scale(n, network.width))

        def run(end: float, stop: Any = None) -> jaxflow.Solution:
            method = jaxflow.RungeKuttaFlow(rtol)
            return jaxflow.simulate(
                data, network, method, times=[end], observe={}, stop=stop
            )

        runs = [run(unit), run(2 * unit), run(64 * unit, jaxflow.LossFallen(1e-12))]
        kernel = jaxflow.tangent_kernel(data, runs[-1].final)
        steps = [int(sol.stats["steps"]) for sol in runs]
        ratio = float(kernel.largest / kernel.smallest)
        return [n, network.width, rtol, *steps, ratio]


def _state(network: jaxflow.Network) -> Any:
    return np.concatenate([np.ravel(network.w), network.a]).astype(float)


if __name__ == "__main__":
    _run.main("flow", PARAMETERS, measure, __doc__)
