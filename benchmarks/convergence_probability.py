"""The probability of convergence of gradient descent and of the flow, side by side.

    python -m benchmarks.convergence_probability [--size quick]

Figure 2's regime: d = 100, p by the width rule, n around the threshold. A run has
converged once its loss certifies that every example is fitted, `LossBelow()`. The time
at which it does is kept, so that the probability is known at each horizon: the paper's
t_∞ = 1.5 t_n and multiples of it. Both methods run on the same problems, in float32.
Records are kept after each batch of seeds; a run that was cut off goes on where it
stopped, and `--redraw` only writes figure and table again. All of it takes hours.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import tyro

import jaxflow
from experiments.common.output import progress, write_text
from jaxflow import theory

from . import _convergence_report, _machine
from ._run import RESULTS, folder_of


@dataclasses.dataclass(frozen=True)
class Config:
    """The probability of convergence, gradient descent and flow."""

    size: Literal["full", "quick"] = "full"
    """`quick` runs n = 1000 with two seeds, to see that everything works."""
    sizes: tuple[int, ...] = (1650, 1800, 2000, 2200, 2450, 2700)
    """n, the numbers of examples; p follows by the width rule."""
    d: int = 100
    seeds: int = 80
    batch: int = 8
    """Seeds between two saves."""
    learning_rate: float = 1.0
    tolerance: float = 1e-3
    """Of `FilippovFlow`."""
    check_tolerance: float = 1e-4
    """The first seeds are run again at this one, to see whether outcomes change."""
    check_seeds: int = 8
    horizons: tuple[float, ...] = (1.0, 2.0)
    """Horizons, in units of t_∞."""
    seed: int = 0
    """The first of the seeds."""
    results: Path = RESULTS
    redraw: bool = False
    """Write figure and table again from the records, without running."""


OBSERVE = {"top": jaxflow.largest_kernel_eigenvalue}


def measure(config: Config, n: int, seed: int) -> list[dict[str, Any]]:
    """One record per method for one problem."""
    methods: dict[str, jaxflow.AbstractMethod] = {
        "descent": jaxflow.GradientDescent(config.learning_rate),
        "flow": jaxflow.FilippovFlow(config.tolerance),
    }
    if seed < config.check_seeds:
        methods["check"] = jaxflow.FilippovFlow(config.check_tolerance)
    data, network = jaxflow.sample_problem(
        jax.random.key(seed), n=n, d=config.d, inputs="sphere", dtype=jnp.float32
    )
    unit = 1.5 * float(theory.time_scale(n, network.width))
    times = [0.0] + [unit * horizon for horizon in config.horizons]
    records = []
    for name, method in methods.items():
        sol = jaxflow.simulate(
            data,
            network,
            method,
            times=times,
            stop=jaxflow.LossBelow(),
            observe=OBSERVE,
        )
        converged = bool(sol.result == jaxflow.Results.loss_below)
        records.append(
            {
                "n": n,
                "p": network.width,
                "seed": seed,
                "method": name,
                "unit": unit,
                "converged": converged,
                "message": sol.message,
                "time": float(sol.final_time),
                "final_loss": float(sol.final_loss),
                "loss": [float(x) for x in sol.loss if jnp.isfinite(x)],
                "top": [float(x) for x in sol.observables["top"] if jnp.isfinite(x)],
                "stats": {k: float(v) for k, v in sol.stats.items()},
            }
        )
    return records


def main(config: Config) -> None:
    if config.size == "quick":
        # Its records stay apart from those of the full run.
        config = dataclasses.replace(config, sizes=(1000,), seeds=2)
    folder = folder_of(config.results, config.size)
    path = folder / "convergence_probability.json"
    made_on = {**_machine.provenance(), "dtype": "float32"}
    # More sizes or seeds add to the records; anything else starts them anew.
    # Files that are older name their folder "output".
    added = ("redraw", "output", "results", "size", "sizes", "seeds", "seed", "batch")
    settings = dataclasses.asdict(config)
    settings = {k: v for k, v in settings.items() if k not in added}
    settings = json.loads(json.dumps(settings))
    content: dict[str, Any] = {"config": settings, "jax": jax.__version__, "runs": []}
    if path.exists():
        old = json.loads(path.read_text())
        if config.redraw or old["config"] == settings:
            content = old
    if not config.redraw:
        done = {(run["n"], run["seed"]) for run in content["runs"]}
        last = config.seed + config.seeds
        # All sizes for one batch of seeds before the next, so that a run that is cut
        # off has as many seeds at each.
        todo = [
            [(n, seed) for seed in range(first, min(first + config.batch, last))]
            for first in range(config.seed, last, config.batch)
            for n in config.sizes
        ]
        for cells in progress(todo, len(todo), "batches"):
            missing = [cell for cell in cells if cell not in done]
            for n, seed in missing:
                # Each with its commit, since a later run may add to the file.
                content["runs"] += [
                    {**record, "commit": made_on["commit"]}
                    for record in measure(config, n, seed)
                ]
            if missing:
                content |= made_on
                text = json.dumps(content, indent=1) + "\n"
                write_text(folder, path.name, text)
    sys.stdout.write(_convergence_report.write(folder, content))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
