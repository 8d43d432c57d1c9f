"""Where the second layer collapses: Proposition 3 (Appendix C.1) of the paper, sharp.

    python -m experiments.known_results.second_layer_collapse

Two orthonormal inputs, y₁ > 0 > y₂ = −λ y₁, two neurons that are active on both, one
with a > 0 and one with a < 0, as each target asks for. While the network is small, a_j
grows to the sign of a_j(0) + w_j(0)·e, with e = D/‖D‖ and D = (y₁, y₂)/2 (the closed
form is in `two_neurons.py`), and a neuron with a > 0 is lost to example 2. If both are,
L ≥ y₂²/4 for good. With |a_j(0)| = δ‖w_j(0)‖ this is so below

    δ = cos(w_2(0), D)     for the neuron with a < 0,

which is below 1: Assumption 1, |a| ≥ ‖w‖, excludes it. The network must be small until
then, so this is the limit of y₁ ≫ ‖w_j(0)‖²; the weights here are about 1. Proposition
3 proves it for δ → 0 and λ ≤ min z/max z, z_ji = w_j(0)·x_i.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
import xarray as xr
from jax import Array
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import jaxflow
from jaxflow import theory

from .common import BLUE, GREY, ORANGE, RESULTS, Finding, produce, shades
from .two_neurons import LENGTHS, Z, boundary, closed_form

# λ and y₁ of the two runs that are shown over time.
RATIO, TARGET = 0.4, 1e4


@dataclasses.dataclass(frozen=True)
class Config:
    """The collapse of the second layer."""

    strengths: tuple[float, ...] = (10.0, 100.0, 1e4)
    """y₁, for each of which the boundary is sought."""
    output: Path = RESULTS / "second_layer_collapse"
    redraw: bool = False
    """Draw again from the records, without simulating."""

    def __post_init__(self) -> None:
        if not min(self.strengths, default=0) > 0:
            raise ValueError(f"strengths must be positive, got {self.strengths}.")


def run(strength: Any, ratio: Any, size: Any, times: Any) -> jaxflow.Solution:
    """y₁ = `strength`, λ = `ratio`, δ = `size`; `times` in units of 1/‖D‖."""
    y = strength * jnp.stack([jnp.ones(()), -jnp.asarray(ratio)])
    data = jaxflow.Dataset(jaxflow.OrthogonalInputs(jnp.ones(2)), y)
    network = jaxflow.Network(Z, size * LENGTHS * np.array([1.0, -1.0]))
    lost = lambda s: ~jnp.any(s.active[:, 1])
    observe = {"lost": lost, "a": lambda s: s.a}
    times, flow = 2 * times / jnp.linalg.norm(y), jaxflow.GradientFlow(rtol=1e-7)
    return jaxflow.simulate(data, network, flow, times=times, observe=observe)


@jax.jit
@jax.vmap
def is_lost(strength: Array, ratio: Array, size: Array) -> Array:
    """Whether no neuron is active on example 2, long after example 1 was fitted."""
    sol = run(strength, ratio, size, jnp.array([20.0, 25.0]) / ratio)
    return sol.observables["lost"][-1] == 1


def simulate(config: Config) -> xr.Dataset:
    ratios = np.geomspace(0.05, 1, 33)
    y, ratio = np.meshgrid(config.strengths, ratios, indexing="ij")
    # The δ below which example 2 is lost, by bisection for all λ and y₁ at once.
    low, high = np.zeros(y.size), np.full(y.size, 1.2)
    for _ in range(12):
        middle = (low + high) / 2
        lost = is_lost(y.ravel(), ratio.ravel(), middle)
        low, high = np.where(lost, middle, low), np.where(lost, high, middle)
    starts, times = boundary(RATIO) + np.array([-0.1, 0.1]), np.linspace(0, 40, 401)
    sol = jax.vmap(lambda size: run(TARGET, RATIO, size, times))(starts)
    return xr.Dataset(
        {
            "edge": (("strength", "ratio"), low.reshape(y.shape)),
            "loss": (("start", "time"), np.asarray(sol.loss)),
            "a": (("start", "time"), np.asarray(sol.observables["a"])[..., 1]),
        },
        {"strength": y[:, 0], "ratio": ratios, "start": starts, "time": times},
    )


def findings(records: xr.Dataset) -> list[Finding]:
    predicted = np.maximum(boundary(records.ratio.values), 0)
    found = []
    for y, edge in zip(records.strength.values, records.edge.values, strict=True):
        name = f"largest distance of δ from cos(w_2(0), D), y₁ = {y:g}"
        found.append(Finding(name, 0, np.abs(edge - predicted).max()))
    last = records.loss.values[:, -1] / (TARGET * RATIO) ** 2
    found.append(Finding("last L/y₂², δ 0.1 below the boundary", 0.25, last[0]))
    return [*found, Finding("last L/y₂², δ 0.1 above", 0, last[1])]


def draw(records: xr.Dataset) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.9))
    time, ratio = records.time.values, records.ratio.values
    law, proved = boundary(ratio), theory.collapse_range(jnp.array(Z), TARGET)
    limits = np.array([proved.lower, proved.upper])
    for k, (colour, style) in enumerate(((ORANGE, "-"), (BLUE, "--"))):
        run, delta = records.isel(start=k), float(records.start[k])
        last = float(run.loss[-1]) / (TARGET * RATIO) ** 2
        label = f"$\\delta={delta:.2f}$, ends at $L={last:.2f}\\,y_2^2$"
        left.plot(time, run.a, style, color=colour, label=label)
        left.plot(time, closed_form(time, RATIO, delta), ":", color="black", lw=2)
    left.get_lines()[-1].set_label("closed form, until a kink")
    left.set(yscale="asinh", yticks=(-100, -10, -1, 0, 1, 10), ylim=(-200, 50))
    left.set(xlim=(0, 20), xlabel=r"flow time × $\|D\|$", ylabel="$a_2(t)$")
    left.legend(loc=(0.26, 0.38), title=f"$\\lambda={RATIO}$, $y_1={TARGET:g}$")
    right.fill_between(ratio, 0, law, color="#e3e3e3", label="predicted: lost")
    right.plot(ratio, law, ":", color="black", label=r"$\delta=\cos(w_2(0),D)$")
    right.plot(limits, 0 * limits, color="black", lw=4, label="Proposition 3")
    colours = shades(len(records.strength))
    for k, strength in enumerate(records.strength.values):
        label, points = f"flow, $y_1={strength:g}$", "osDv^"[k % 5]
        right.plot(ratio, records.edge[k], points, color=colours[k], ms=3, label=label)
    right.axhline(1, color=GREY, lw=1)
    right.text(0.053, 1.02, "Assumption 1: above this line")
    right.set(xscale="log", xlim=(0.05, 1), xlabel=r"$\lambda=|y_2/y_1|$")
    right.set(ylim=(0, 1.2), ylabel=r"$\delta=|a_j(0)|/\|w_j(0)\|$")
    right.legend(loc=(0.0, 0.55), ncols=2)
    return figure


if __name__ == "__main__":
    produce(tyro.cli(Config), "second_layer_collapse", simulate, findings, draw)
