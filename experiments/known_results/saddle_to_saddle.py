"""From saddle to saddle on orthogonal inputs, from scales down to 1e-20: Boursier,
Pillaud-Vivien and Flammarion, NeurIPS 2022.

    python -m experiments.known_results.saddle_to_saddle

With orthonormal inputs and a network at the scale s, r = y, and a balanced neuron with
a > 0 that is active on all examples with y_i > 0 loses the others and turns to
D₊ = (1/n) Σ_{y_i>0} y_i x_i, as one with a < 0 does to −D₋, the same sum over y_i < 0.
From then on ‖w‖ = |a| grows as s exp(‖D_±‖ t), faster than that of any neuron that is
active on fewer. Along D₊ it fits all y_i > 0 at once and does not see the others. So

    the loss jumps at t = log(1/s)/‖D_±‖ + a constant, from one saddle to the next,

and stands between the jumps at (1/2n) Σ y_i² over the examples that are not yet fitted.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import tyro
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import jaxflow

from .common import BLUE, ORANGE, RESULTS, Finding, produce, shades

TARGETS = np.array([1.8, 1.2, 1.5, -0.9, -1.1, -0.7])
N = len(TARGETS)
# Of the examples with y_i > 0, whose ‖D‖ is the larger, and of those with y_i < 0.
GROUPS = (TARGETS > 0, TARGETS < 0)
SPEEDS = np.array([np.linalg.norm(TARGETS[group]) / N for group in GROUPS])
# L at the saddles: at the origin, after the first jump, after the second.
SADDLES = np.array([np.sum(TARGETS**2), np.sum(TARGETS[GROUPS[1]] ** 2), 0]) / (2 * N)


@dataclasses.dataclass(frozen=True)
class Config:
    """Saddle to saddle on orthonormal inputs."""

    scales: tuple[float, ...] = (1e-3, 1e-5, 1e-10, 1e-15, 1e-20)
    """s, of decreasing size; the neurons have the same directions."""
    p: int = 60
    rtol: float = 1e-8
    """Relative tolerance of the flow."""
    seed: int = 0
    output: Path = RESULTS / "saddle_to_saddle"
    redraw: bool = False
    """Draw again from the records, without simulating."""

    def __post_init__(self) -> None:
        s = np.array(self.scales)
        if s.size < 2 or np.any(np.diff(s) >= 0) or not (s[0] < 1 and s[-1] > 0):
            raise ValueError(
                f"scales must fall, at least two, from below 1; got {self.scales}."
            )


def problem(config: Config, scale: float) -> tuple[jaxflow.Dataset, jaxflow.Network]:
    """Raises a ValueError where a group has no neuron that is active on all of it."""
    key, p = jax.random.key(config.seed), config.p
    init = jaxflow.Initialisation(second_layer="balanced", scale=scale)
    data, network = jaxflow.sample_problem(
        key, d=N, p=p, inputs="orthonormal", targets=TARGETS, init=init
    )
    for sign, group in zip((1, -1), GROUPS, strict=True):
        if not np.any((sign * network.a > 0) & (network.w[:, group] > 0).all(1)):
            raise ValueError(
                f"seed {config.seed} with p = {p} has no neuron of sign {sign} that is "
                "active on all examples of that sign: take a larger p."
            )
    return data, network


def simulate(config: Config) -> xr.Dataset:
    flow, runs = jaxflow.GradientFlow(config.rtol), []
    # In units of log(1/s).
    tau = np.linspace(0, 1.5 / SPEEDS[1], 500)
    for scale in config.scales:
        drawn, times = problem(config, scale), tau * np.log(1 / scale)
        sol = jaxflow.simulate(*drawn, flow, times=times, observe={})
        # Where the loss is rounding the run ends, and the rows after it are missing.
        loss = np.where(np.isnan(sol.loss), 0, sol.loss)
        jumps = []
        for level in (SADDLES[:-1] + SADDLES[1:]) / 2:
            stop = jaxflow.LossBelow(level)
            sol = jaxflow.simulate(*drawn, flow, times=times, observe={}, stop=stop)
            jumped = bool(sol.result == jaxflow.Results.loss_below)
            jumps.append(float(sol.final_time) if jumped else np.nan)
        run = {"loss": ("tau", loss), "jump": ("group", jumps)}
        runs.append(xr.Dataset(run, {"tau": tau}))
    return xr.concat(runs, xr.Variable("scale", list(config.scales)))


def findings(records: xr.Dataset) -> list[Finding]:
    logs, jumps = -np.log(records.scale.values), records.jump.values
    slopes = np.diff(jumps[-2:], axis=0)[0] / np.diff(logs[-2:])
    found = []
    for k, name in enumerate(("first", "second")):
        predicted, constant = 1 / SPEEDS[k], jumps[-1, k] / logs[-1]
        found += [
            Finding(f"t/log(1/s), {name} jump, smallest s", predicted, constant),
            Finding(
                f"dt/d log(1/s), {name} jump, smallest two s", predicted, slopes[k]
            ),
        ]
    last = records.isel(scale=-1)
    between = float(np.interp(np.mean(1 / SPEEDS), last.tau, last.loss))
    return [*found, Finding("L between the jumps, smallest s", SADDLES[1], between)]


def draw(records: xr.Dataset) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.9))
    for k, shade in enumerate(shades(records.sizes["scale"])):
        run = records.isel(scale=k)
        left.plot(run.tau, run.loss, color=shade, label=f"$s$ = {float(run.scale):g}")
    for level in SADDLES:
        left.axhline(level, color="black", ls=":", lw=1)
    for speed in SPEEDS:
        left.axvline(1 / speed, color="black", ls="--", lw=1)
    left.plot([], [], "k--", lw=1, label=r"jumps, $1/\|D_\pm\|$")
    left.plot([], [], "k:", lw=1, label="saddles")
    left.set(xlabel=r"flow time over $\log(1/s)$", ylabel="loss $L(t)$")
    left.set(xlim=(0, 6.6))
    left.legend(loc=(0.6, 0.37))
    logs, x = -np.log(records.scale.values), np.linspace(0, 0.15, 2)
    signs, colours, markers = "+-", (BLUE, ORANGE), "os"
    for k, (sign, colour, marker) in enumerate(
        zip(signs, colours, markers, strict=True)
    ):
        jumps, predicted = records.jump.values[:, k], 1 / SPEEDS[k]
        label = f"jump along $D_{sign}$"
        right.plot(1 / logs, jumps / logs, marker, color=colour, label=label)
        offset = jumps[-1] - logs[-1] * predicted
        right.plot(x, predicted + offset * x, "-", color=colour, lw=0.8)
        right.axhline(predicted, color="black", ls="--", lw=1)
    right.plot([], [], "k--", lw=1, label=r"predicted limit, $1/\|D_\pm\|$")
    right.plot([], [], "-", color="grey", lw=0.8, label="limit + offset/log(1/s)")
    right.set(xlabel=r"$1/\log(1/s)$", ylabel=r"time of the jump over $\log(1/s)$")
    right.set(xlim=(0, 0.15), ylim=(2, 5.6))
    right.legend(loc="upper left", ncols=2)
    return figure


if __name__ == "__main__":
    produce(tyro.cli(Config), "saddle_to_saddle", simulate, findings, draw)
