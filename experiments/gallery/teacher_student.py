"""A student that learns from a teacher: how many examples it takes to find its neurons.

    python -m experiments.gallery.teacher_student

The targets are those of a teacher of three orthogonal neurons, two with a > 0 and one
with a < 0. A student of many more neurons starts near the origin and follows the flow.
Whether it has found the teacher is asked in two ways: by its loss on examples that it
has not seen, and by the directions in which its weight lies.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import jaxflow

from ..known_results.common import BLUE, GREY, ORANGE, Finding, produce, shades

# The teacher's second layer. The directions of its neurons are the first axes.
SIGNS = np.array([1.0, 1.0, -1.0])


@dataclasses.dataclass(frozen=True)
class Config:
    """A student of a teacher of three neurons."""

    d: int = 20
    """The dimension."""
    p: int = 40
    """The number of neurons of the student."""
    sizes: tuple[int, ...] = (40, 80, 160, 320)
    """The numbers of examples, at least 2 d."""
    seeds: int = 8
    """Students, and sets of examples, at each of them."""
    scale: float = 1e-2
    """Of the student's weights at the start."""
    near: float = 10.0
    """A neuron has found one of the teacher's within so many degrees."""
    unseen: int = 2000
    """The number of examples that are not learned from."""
    last: float = 1000.0
    """The last time."""
    seed: int = 0
    output: Path = Path("results/gallery/teacher_student")
    redraw: bool = False
    """Draw again from the records, without simulating."""

    def __post_init__(self) -> None:
        if self.d < len(SIGNS):
            raise ValueError(
                f"d must be at least {len(SIGNS)}, a direction for each neuron of the "
                f"teacher, got {self.d}."
            )
        # Fewer are seen through their Gram matrix, in which the axes are not seen.
        if not self.sizes or min(self.sizes) < 2 * self.d:
            raise ValueError(
                f"sizes must be numbers from 2 d = {2 * self.d} on, got {self.sizes}."
            )


def simulate(config: Config) -> xr.Dataset:
    key, unseen_key = jax.random.split(jax.random.key(config.seed))
    # Of norm √d, which makes v·x of order 1 where ‖x‖ = 1.
    teacher = np.sqrt(config.d) * np.eye(len(SIGNS), config.d)
    x = jax.random.normal(unseen_key, (config.unseen, config.d))
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    y = jnp.maximum(x @ teacher.T, 0) @ SIGNS / len(SIGNS)

    def unseen(s: jaxflow.Snapshot) -> jax.Array:
        said = jnp.maximum(x @ s.weights.T, 0) @ s.a / s.p
        return jnp.mean((said - y) ** 2) / 2

    def found(s: jaxflow.Snapshot) -> jax.Array:
        """The share of Σ_j |a_j| ‖w_j‖ that lies near a neuron of the teacher."""
        w, a = s.weights, s.a
        norms = jnp.linalg.norm(w, axis=1)
        near = w[:, : len(SIGNS)] > np.cos(np.radians(config.near)) * norms[:, None]
        same = jnp.sign(a)[:, None] == SIGNS[None, :]
        weight = jnp.abs(a) * norms
        there = jnp.any(near & same, axis=1)
        return jnp.sum(jnp.where(there, weight, 0)) / jnp.sum(weight)

    times = np.linspace(0, config.last, 101)
    # --8<-- [start:run]
    runs = jaxflow.simulate_ensemble(
        key,
        n=list(config.sizes),
        d=config.d,
        p=config.p,
        seeds=config.seeds,
        inputs="sphere",
        targets=jaxflow.TeacherTargets(
            len(SIGNS), first_layer=teacher, second_layer=SIGNS
        ),
        init=jaxflow.Initialisation(second_layer="balanced", scale=config.scale),
        method=jaxflow.GradientFlow(rtol=1e-4),
        times=times,
        observe={"unseen": unseen, "found": found},
        dtype=jnp.float64,
    )
    # --8<-- [end:run]
    columns = {}
    for name in ("loss", "unseen", "found"):
        values = runs[name].transpose("n", "seed", "time").values
        columns[name] = (("n", "seed", "time"), values)
    return xr.Dataset(columns, {"n": list(config.sizes), "time": times})


def medians(records: xr.Dataset) -> xr.Dataset:
    """Over the students, by n and time; unseen as a share of what it was at first."""
    unseen = records.unseen / records.unseen.isel(time=0)
    return records.assign(unseen=unseen).median("seed")


def findings(records: xr.Dataset) -> list[Finding]:
    last = medians(records).isel(time=-1)
    rows = []
    for n in records.n.values:
        here = last.sel(n=n)
        rows += [
            Finding(f"loss at the end, n = {n}, median", 0, float(here.loss)),
            Finding(f"unseen loss over that at first, n = {n}", 0, float(here.unseen)),
            Finding(f"share of the weight near it, n = {n}", 1, float(here.found)),
        ]
    return rows


def draw(records: xr.Dataset) -> Figure:
    middle_run = medians(records)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8.4, 2.9))
    time = records.time.values
    for n, colour in zip(records.n.values, shades(len(records.n)), strict=True):
        here = middle_run.sel(n=n)
        left.semilogy(time, here.loss, ":", color=colour)
        unseen = records.unseen.sel(n=n).median("seed")
        left.semilogy(time, unseen, color=colour)
        middle.plot(time, here.found, color=colour, label=f"$n={n}$")
    left.plot([], [], color=GREY, label="unseen examples")
    left.plot([], [], ":", color=GREY, label="its own examples")
    left.legend()
    left.set(xlabel="flow time", ylabel="loss, median")
    middle.set(xlabel="flow time", ylabel="share of the weight near the teacher")
    middle.set(ylim=(-0.03, 1.03))
    middle.legend()
    last = records.isel(time=-1)
    start = records.unseen.isel(time=0)
    unseen = (last.unseen / start).values
    right.loglog(records.n, unseen, "o", color=BLUE, ms=3)
    right.loglog(records.n, np.median(unseen, axis=1), color=ORANGE, label="median")
    right.set(xlabel="examples $n$", ylabel="unseen loss, end over start")
    right.set_xticks(records.n.values, [str(n) for n in records.n.values])
    right.minorticks_off()
    right.legend()
    return figure


if __name__ == "__main__":
    config = tyro.cli(Config)
    produce(config, "teacher_student", simulate, findings, draw, "gallery")
