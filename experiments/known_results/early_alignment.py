"""Early alignment of three points in the plane, and where it ends: Boursier and
Flammarion, arXiv 2401.10791, with the three points of their Section 5.

    python -m experiments.known_results.early_alignment

From a small scale s the neurons with a > 0 turn to D = (1/n) Σ y_i x_i long before the
network has grown to order 1, at t ≈ log(1/s)/‖D‖, and those with a < 0 turn away until
no point is active on them (the closed form is in `three_points.py`). What is left is
linear on the three points. It ends at their least-squares fit, which does not
interpolate them, whatever the directions of the start; from s = 1 most networks do.
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

from .common import BLUE, GREY, ORANGE, RESULTS, Finding, produce
from .three_points import (
    BETA,
    LEAST_SQUARES,
    POINTS,
    SPEED,
    TARGETS,
    X,
    angles_to_d,
    closed_form,
    groups,
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Early alignment of three points in the plane."""

    scales: tuple[float, float] = (1e-6, 1.0)
    """s of the small and of the large start, of the same directions."""
    p: int = 30
    """The number of neurons."""
    seed: int = 0
    """Of the two runs that are shown over time."""
    seeds: int = 40
    """How many networks are counted that interpolate, at each scale."""
    output: Path = RESULTS / "early_alignment"
    redraw: bool = False
    """Draw again from the records, without simulating."""


def simulate(config: Config) -> xr.Dataset:
    times = np.concatenate([[0.0], np.geomspace(0.05, 400, 299)])
    key = jax.random.key(config.seed)
    observe = {"w": lambda s: s.network.w, "a": lambda s: s.a}
    runs = []
    for scale in config.scales:
        init = jaxflow.Initialisation(second_layer="balanced", scale=scale)
        problem = jaxflow.sample_problem(
            key, p=config.p, inputs=X, targets=TARGETS, init=init
        )
        flow = jaxflow.EventFlow(rtol=1e-8)
        sol = jaxflow.simulate(*problem, flow, times=times, observe=observe)
        many = jaxflow.simulate_ensemble(
            jax.random.key(config.seed + 1),
            p=config.p,
            seeds=config.seeds,
            inputs=X,
            targets=TARGETS,
            init=init,
            method=jaxflow.EventFlow(rtol=1e-6),
            times=[0.0, 1000.0],
            observe={},
            dtype=jnp.float64,
        )
        run = {
            "interpolating": float(np.mean(many.final_loss.values < 1e-6)),
            "escape": -np.log(scale) / SPEED,
            "loss": ("time", np.asarray(sol.loss)),
            "w": (("time", "neuron", "axis"), np.asarray(sol.observables["w"])),
            "a": (("time", "neuron"), np.asarray(sol.observables["a"])),
        }
        runs.append(xr.Dataset(run, {"time": times}))
    return xr.concat(runs, xr.Variable("scale", list(config.scales)))


def findings(records: xr.Dataset) -> list[Finding]:
    small, loss = records.isel(scale=0), records.loss.values
    small_share, large_share = records.interpolating.values
    angles, (whole, growing, _) = angles_to_d(small.w.values), groups(small)
    early = small.time.values < float(small.escape) / 2
    away = np.abs(angles[:, whole] - closed_form(small))[early].max(initial=0)
    moved = int(np.argmax(loss[0] < 0.99 * loss[0, 0]))
    left = np.abs(angles[moved, growing]).max(initial=0)
    return [
        Finding("largest angle to D, a > 0, L fallen by 1 % (degrees)", 0, left),
        Finding("largest error of the closed form by half of log(1/s)/‖D‖", 0, away),
        Finding("last loss, small start", LEAST_SQUARES, loss[0, -1]),
        Finding("last loss, large start", 0, loss[1, -1]),
        Finding("share of networks that interpolate, small start", 0, small_share),
        Finding("the same, large start", None, large_share),
    ]


def draw(records: xr.Dataset) -> Figure:
    small, escape = records.isel(scale=0), float(records.escape[0])
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8.4, 2.9))
    time, angles = small.time.values, angles_to_d(small.w.values)
    (_, up, down), early = groups(small), time < escape
    lines = [
        left.plot(time, angles[:, up], color=BLUE)[0],
        left.plot(time, angles[:, down], "--", color=ORANGE)[0],
        left.plot(time[early], closed_form(small)[early], ":", color="black")[0],
    ]
    far = angles_to_d(X)
    for edge, end in (far.max() + 90, 180), (far.min() - 90, -180):
        band = left.axhspan(edge, end, color=GREY, alpha=0.3, lw=0)
    law = r"$\tan\frac{\theta}{2}\propto e^{-\|D\|t}$"
    names = ["$a_j>0$", "$a_j<0$", law, "no point active"]
    left.legend([*lines, band], names, loc=(0.02, 0.0), ncols=2)
    left.set(ylabel="angle of $w_j$ to $D$ (degrees)", ylim=(-180, 180))
    left.set(title=f"start at {float(small.scale):g}", yticks=range(-180, 181, 60))
    u = np.linspace(-1, 0.4, 200)
    line = np.stack([u, np.ones_like(u)], axis=1)
    for k, (colour, style) in enumerate(((BLUE, "-"), (ORANGE, "-."))):
        run = records.isel(scale=k)
        label = f"start at {float(run.scale):g}"
        middle.loglog(time, run.loss.values, style, color=colour, label=label)
        final = jaxflow.Network(run.w.values[-1], run.a.values[-1])
        right.plot(u, jaxflow.predict(final, line), style, color=colour, label=label)
    middle.axhline(LEAST_SQUARES, color="black", ls=":", label="least squares")
    right.plot(u, line @ BETA, ":", color="black", label="least squares")
    right.plot(POINTS, TARGETS, "o", color="black", ms=4, label="the three points")
    for axis in (left, middle):
        axis.axvline(escape, color=GREY, lw=1, label=r"$\log(1/s)/\|D\|$")
        axis.set(xlabel="flow time", xscale="log", xlim=(0.05, time[-1]))
    middle.set(ylabel="loss $L(t)$", ylim=(1e-6, 1))
    middle.legend(loc="lower left")
    right.set(xlabel="$u$, with $x=(u,1)$", ylabel="$h(x)$ at the last time")
    right.legend(loc="upper right")
    return figure


if __name__ == "__main__":
    produce(tyro.cli(Config), "early_alignment", simulate, findings, draw)
