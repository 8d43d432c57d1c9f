"""Error against work on correlated inputs, where pairs slide along their kinks.

    python -m benchmarks.work_precision [--size quick]

For each n and seed one problem of Figure 2's kind (d = 100, p by the width rule) is
solved by gradient descent, by Heun and Tsit5 on the field as it stands, and by
`FilippovFlow`. The reference is `FilippovFlow` at a tolerance below all that are
compared. How far it can be trusted is measured beside it: against the next looser
tolerance, against an independent scheme in small steps (Heun), and against itself from
weights perturbed by 1e-6. Records are kept after every problem; a run that was cut off
goes on where it stopped, and `--redraw` only writes figure and table again. All of it
takes about 40 minutes on two cores.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import tyro

import jaxflow
from experiments.common.output import progress, write_text

from . import _machine, _work_precision_report
from ._run import RESULTS, folder_of


@dataclasses.dataclass(frozen=True)
class Config:
    """Error against velocity evaluations, d = 100."""

    size: Literal["full", "quick"] = "full"
    """`quick` runs n = 500 with one seed, to see that everything works."""
    sizes: tuple[int, ...] = (500, 1000, 1650, 2500)
    """n, the numbers of examples; p follows by the width rule."""
    d: int = 100
    seeds: int = 8
    horizons: tuple[float, ...] = (50.0, 150.0)
    """Where errors are taken, in flow time; multiples of each learning rate."""
    tolerances: tuple[float, ...] = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
    """Of `FilippovFlow`."""
    reference_tolerance: float = 1e-6
    refined_from: float = 3e-6
    """The reference is compared with this tolerance."""
    check_step: float = 0.01
    """Step of the independent scheme, Heun on the field as it stands."""
    perturbation: float = 1e-6
    """Relative size of the perturbation of the initial weights."""
    inverse_rates: tuple[int, ...] = (1, 3, 10, 30)
    """Gradient descent uses learning rates 1/k for these k."""
    heun_inverse_steps: tuple[int, ...] = (3, 10)
    tsit5_rtols: tuple[float, ...] = (1e-3, 1e-4)
    tsit5_max_steps: int = 2_000
    """Where the jumps stall Tsit5, its run is given up here."""
    seed: int = 0
    """The first of the seeds."""
    results: Path = RESULTS
    redraw: bool = False
    """Write figure and table again from the records, without running."""


def state(s: jaxflow.Snapshot) -> jax.Array:
    """(w, a) as one vector."""
    return jnp.concatenate([s.weights.ravel(), s.a])


STATE = {"state": state}
STATE_AND_RATE = {"state": state, "top": jaxflow.largest_kernel_eigenvalue}


def methods(config: Config) -> Iterator[tuple[str, str, Any]]:
    """(family, label, method), the methods to compare."""
    for k in config.inverse_rates:
        rate = "1" if k == 1 else f"1/{k}"
        yield "descent", rate, jaxflow.GradientDescent(1 / k)
    for k in config.heun_inverse_steps:
        yield "heun", f"1/{k}", _heun(1 / k)
    for rtol in config.tsit5_rtols:
        flow = jaxflow.LiteralFlow(
            rtol, solver=diffrax.Tsit5(), max_steps=config.tsit5_max_steps
        )
        yield "tsit5", f"{rtol:g}", flow
    for tolerance in config.tolerances:
        yield "filippov", f"{tolerance:g}", jaxflow.FilippovFlow(tolerance)


def _heun(step: float) -> jaxflow.LiteralFlow:
    return jaxflow.LiteralFlow(
        solver=diffrax.Heun(),
        controller=diffrax.ConstantStepSize(),
        first_step=step,
        max_steps=1_000_000,
    )


def measure(config: Config, n: int, seed: int) -> dict[str, Any]:
    """Every error of one problem."""
    data, network = jaxflow.sample_problem(
        jax.random.key(seed), n=n, d=config.d, inputs="sphere", dtype=jnp.float64
    )
    times = np.array(config.horizons)

    def run(method: Any, net: Any = network, at: Any = times, observe: Any = STATE):
        return jaxflow.simulate(data, net, method, times=at, observe=observe)

    reference = run(
        jaxflow.FilippovFlow(config.reference_tolerance), observe=STATE_AND_RATE
    )

    def errors(sol: Any, rows: slice = slice(None)) -> dict[str, list[float]]:
        here, there = (x.observables["state"] for x in (sol, reference))
        gap = jnp.linalg.norm(here - there[rows], axis=1)
        return {
            "log_loss": np.log(sol.loss / reference.loss[rows]).tolist(),
            "parameters": (gap / jnp.linalg.norm(there[rows], axis=1)).tolist(),
        }

    noise = jax.random.normal(jax.random.key(10_000 + seed), network.w.shape, float)
    shaken = jaxflow.Network(network.w * (1 + config.perturbation * noise), network.a)
    finest = jaxflow.FilippovFlow(config.reference_tolerance)
    checks = {
        "refinement": errors(run(jaxflow.FilippovFlow(config.refined_from))),
        "independent": errors(run(_heun(config.check_step))),
        "perturbed": errors(run(finest, shaken)),
    }
    record: dict[str, Any] = {
        "n": n,
        "p": network.width,
        "seed": seed,
        "loss": reference.loss.tolist(),
        "top_eigenvalue": reference.observables["top"].tolist(),
        "reference": _numbers(reference.stats),
        "checks": checks,
        "runs": [],
    }
    for family, label, method in methods(config):
        # One run per horizon, so that each has its own count of evaluations.
        for index, horizon in enumerate(config.horizons):
            sol = run(method, at=times[index : index + 1])
            done = bool(sol.result == jaxflow.Results.reached_time)
            found = errors(sol, slice(index, index + 1)) if done else {}
            record["runs"].append(
                {
                    "family": family,
                    "label": label,
                    "horizon": horizon,
                    "finished": done,
                    "time": float(sol.final_time),
                    **{name: value[0] for name, value in found.items()},
                    **_numbers(sol.stats),
                }
            )
    return record


def _numbers(stats: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in stats.items()}


def main(config: Config) -> None:
    if config.size == "quick":
        # Its records stay apart from those of the full run.
        config = dataclasses.replace(config, sizes=(500,), seeds=1)
    folder = folder_of(config.results, config.size)
    path = folder / "work_precision.json"
    made_on = {**_machine.provenance(), "dtype": "float64"}
    settings = dataclasses.asdict(config)
    # More sizes or seeds add to the records; anything else starts them anew.
    # Files that are older name their folder "output".
    added = ("redraw", "output", "results", "size", "sizes", "seeds", "seed")
    settings = {k: v for k, v in settings.items() if k not in added}
    settings = json.loads(json.dumps(settings))
    content: dict[str, Any] = {"config": settings, "jax": jax.__version__, "cells": []}
    if path.exists():
        old = json.loads(path.read_text())
        kept = {k: v for k, v in old["config"].items() if k not in added}
        if config.redraw or kept == settings:
            content = old
    if not config.redraw:
        done = {(cell["n"], cell["seed"]) for cell in content["cells"]}
        todo = [
            (n, seed)
            for n in config.sizes
            for seed in range(config.seed, config.seed + config.seeds)
            if (n, seed) not in done
        ]
        for n, seed in progress(todo, len(todo), "problems"):
            start = time.perf_counter()
            cell = measure(config, n, seed)
            cell["seconds"] = round(time.perf_counter() - start, 1)
            # Each with its commit, since a later run may add to the file.
            cell["commit"] = made_on["commit"]
            content["cells"].append(cell)
            content |= made_on
            write_text(folder, path.name, json.dumps(content, indent=1) + "\n")
    sys.stdout.write(_work_precision_report.write(folder, content))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main(tyro.cli(Config, description=__doc__))
