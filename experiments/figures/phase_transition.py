"""The phase transition of Theorem 2 and Figure 1, simulated and in closed form.

    python -m experiments.figures.phase_transition

into output/phase_transition/, which is not committed (`make results` makes what is).
Two groups of orthonormal inputs with ‖D_j‖ = 1 and 2. The flow and gradient descent are
simulated for n = 10² … 10⁶ and laid over the exact solution, which is then followed to
n = 10³⁰ in logarithms, where the transitions become steep.
"""

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
import xarray as xr

import jaxflow
from jaxflow import theory

from ..common.output import progress, read_records, say, write_config, write_records
from . import phase_transition_report

# A first figure is drawn of the runs up to this n, which take seconds.
FIRST = 10_000


@dataclasses.dataclass(frozen=True)
class Config:
    """The phase transition of Theorem 2 (Figure 1)."""

    sizes: tuple[int, ...] = (100, 1_000, 10_000, 100_000, 1_000_000)
    """n, the numbers of examples that are simulated."""
    target_norms: tuple[float, ...] = (1.0, 2.0)
    """‖D_j‖, the size of the targets in each group; their number is p."""
    cosines: tuple[float, ...] = (0.3, 0.78, 1.0)
    """c₀, the cosines at the start for the comparison with eq. 55."""
    cosine_size: int = 10_000
    """n for that comparison."""
    horizon: float = 1.75
    """The last time, in units of t_n."""
    points: int = 400
    """The number of recorded times."""
    rtol: float = 1e-8
    """Relative tolerance of the flow."""
    descent_steps: int = 1_500
    """Gradient descent uses learning rate 1, the paper's, or where that would take
    more than this many steps to t_n, the rate that takes this many."""
    epsilon: float = 0.1
    """The window runs from where a group's loss is 1 − ε of its first value to ε."""
    seed: int = 0
    output: Path = Path("output/phase_transition")
    redraw: bool = False
    """Draw again from the records, without simulating."""

    def __post_init__(self) -> None:
        p = len(self.target_norms)
        for n in (*self.sizes, self.cosine_size):
            if n < 2 * p or n % p:
                raise ValueError(
                    f"each n must be a multiple of the {p} groups and at least "
                    f"{2 * p}; got {n}."
                )
        if not 0 < self.epsilon < 0.5:
            raise ValueError(f"epsilon must lie in (0, 1/2), got {self.epsilon}.")
        if self.points < 20:
            raise ValueError(f"points must be at least 20, got {self.points}.")


def group_loss(groups: int) -> jaxflow.Observable:
    """L_j = (1/2k) Σ r_i² over each group, shape (p,)."""

    def observe(s: jaxflow.Snapshot) -> jax.Array:
        return 0.5 * jnp.mean(s.residuals.reshape(groups, -1) ** 2, axis=1)

    return observe


def group_cosine(groups: int) -> jaxflow.Observable:
    """cos(w_j, s_j y) over each group, shape (p,)."""

    def observe(s: jaxflow.Snapshot) -> jax.Array:
        own = jnp.abs(s.problem.targets.reshape(groups, -1))
        blocks = s.weights.reshape(groups, groups, -1)
        w = blocks[jnp.arange(groups), jnp.arange(groups)]
        lengths = jnp.linalg.norm(w, axis=1) * jnp.linalg.norm(own, axis=1)
        return jnp.sum(w * own, axis=1) / lengths

    return observe


class Job(NamedTuple):
    """One run."""

    n: int
    cosine: float
    method: str


def planned(config: Config) -> list[Job]:
    """Every run, in the order of the records."""
    jobs = [Job(n, 1.0, method) for n in config.sizes for method in ("flow", "descent")]
    compared = [Job(config.cosine_size, cosine, "flow") for cosine in config.cosines]
    return jobs + [job for job in compared if job not in jobs]


def simulate(config: Config, first: Callable[[xr.Dataset], None]) -> xr.Dataset:
    """Every run, as one dataset of records. `first` is called with those up to `FIRST`
    before the others, if they have three sizes and there are others."""
    jobs = planned(config)
    # No n twice at a time: its sampling would be compiled twice.
    in_turn = sorted(jobs, key=lambda job: (job.n > FIRST, job.method != "flow", job.n))
    soon = sum(job.n <= FIRST for job in jobs)
    if sum(n <= FIRST for n in config.sizes) < 3 or soon == len(jobs):
        soon = 0
    found: dict[Job, xr.Dataset] = {}

    def made(pool: ThreadPoolExecutor) -> Iterator[xr.Dataset]:
        run = functools.partial(_run, config)
        yield from pool.map(run, in_turn[:soon])
        if soon:
            first(_together(config, found))
        yield from pool.map(run, in_turn[soon:])

    # Compiling takes most of the time, and one core each.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        records = progress(made(pool), len(jobs), "runs")
        for job, record in zip(in_turn, records, strict=True):
            found[job] = record
    return _together(config, {job: found[job] for job in jobs})


def _together(config: Config, found: dict[Job, xr.Dataset]) -> xr.Dataset:
    records = xr.concat(list(found.values()), dim="run")
    return records.assign_coords(
        step=np.arange(config.points), group=("group", list(config.target_norms))
    ).assign_attrs(epsilon=config.epsilon, cosine_size=config.cosine_size)


def _run(config: Config, job: Job) -> xr.Dataset:
    n, p = job.n, len(config.target_norms)
    scale = float(theory.time_scale(n, p))
    rate = max(1.0, scale / config.descent_steps)
    method = (
        jaxflow.GradientFlow(rtol=config.rtol)
        if job.method == "flow"
        else jaxflow.GradientDescent(rate)
    )
    data, network = jaxflow.sample_problem(
        jax.random.key(config.seed),
        n=n,
        d=n,
        p=p,
        inputs="orthonormal",
        targets=jaxflow.group_targets(np.ones(p), np.array(config.target_norms)),
        init=jaxflow.GroupInitialisation(cosine=job.cosine),
    )
    observe = {
        "group_loss": group_loss(p),
        "group_cosine": group_cosine(p),
        "squared_norm": jaxflow.OBSERVABLES["squared_norm"],
        "balance_drift": jaxflow.OBSERVABLES["balance_drift"],
    }
    times = np.linspace(0, config.horizon, config.points) * scale
    run = jaxflow.simulate(data, network, method, times=times, observe=observe)
    return _as_records(run, job, p, scale, rate)


def _as_records(
    run: jaxflow.Solution, job: Job, p: int, scale: float, rate: float
) -> xr.Dataset:
    groups = ("step", "group")
    return xr.Dataset(
        {
            "n": job.n,
            "p": p,
            "cosine": job.cosine,
            "method": job.method,
            "learning_rate": rate if job.method == "descent" else np.nan,
            "time_scale": scale,
            "tau": ("step", np.asarray(run.times) / scale),
            "loss": ("step", np.asarray(run.loss)),
            "curvature": ("step", np.asarray(run.curvature)),
            "group_loss": (groups, np.asarray(run.observables["group_loss"])),
            "group_cosine": (groups, np.asarray(run.observables["group_cosine"])),
            "squared_norm": (groups, np.asarray(run.observables["squared_norm"])),
            "balance_drift": ("step", np.asarray(run.observables["balance_drift"])),
            "velocity_evaluations": int(run.stats["velocity_evaluations"]),
            "loss_increases": int(run.stats["loss_increases"]),
        }
    )


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    if not config.redraw:

        def first(records: xr.Dataset) -> None:
            phase_transition_report.sketch(config.output, records)
            path = config.output / "phase_transition.png"
            say(f"first figure, for n to {FIRST}: {path}")

        write_config(config.output, config, "experiments.figures.phase_transition")
        write_records(config.output, simulate(config, first))
    summary = phase_transition_report.write(config.output, read_records(config.output))
    sys.stdout.write(summary)
    say(f"written to {config.output}")


if __name__ == "__main__":
    main(tyro.cli(Config))
