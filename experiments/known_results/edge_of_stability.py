"""The edge of stability of gradient descent: Cohen, Kaur, Li, Kolter and Talwalkar,
"Gradient descent on neural networks typically occurs at the edge of stability", 2021.

    python -m experiments.known_results.edge_of_stability

A step of descent with learning rate η is stable along an eigenvector of the Hessian
with eigenvalue S where S < 2/η. The sharpness, the largest S, grows along the flow.
Descent follows the flow while its sharpness is below 2/η. Where the flow's goes beyond,
that of descent stays at 2/η, and its loss no longer falls on every step, but still in
the long run.

Everything is in the units of the flow, in which a step is −η p∇L and takes the time η.
Where pairs slide along their kinks, the flow's sharpness is along the slide. Descent
jumps across these kinks instead, so what it has to be compared with is the sharpness
beside the kinks: that of the flow's network with its weights moved by 1e-7.
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

from .common import BLUE, GREY, ORANGE, RESULTS, Finding, produce

COLOURS = ("#000000", GREY, BLUE, ORANGE, "#7b4ba0")
STYLES = ("-", "-", "--", "-.", ":")


@dataclasses.dataclass(frozen=True)
class Config:
    """The edge of stability of gradient descent."""

    learning_rates: tuple[float, ...] = (0.1, 0.6, 0.9, 1.2)
    """η of descent, in the units of the flow."""
    n: int = 100
    d: int = 20
    p: int = 40
    scale: float = 0.3
    """Of the weights at the start."""
    last_time: float = 400.0
    points: int = 201
    """The number of recorded times; descent is recorded at its nearest steps."""
    seed: int = 0
    output: Path = RESULTS / "edge_of_stability"
    redraw: bool = False
    """Draw again from the records, without simulating."""

    def __post_init__(self) -> None:
        if not min(self.learning_rates, default=0) > 0:
            raise ValueError(
                f"learning_rates must be positive, got {self.learning_rates}."
            )
        apart = self.last_time / (self.points - 1)
        if max(self.learning_rates) > apart:
            raise ValueError(
                f"recorded times are {apart:g} apart, and must not be nearer than the "
                f"largest learning rate, {max(self.learning_rates):g}: record fewer."
            )


def simulate(config: Config) -> xr.Dataset:
    data, network = jaxflow.sample_problem(
        jax.random.key(config.seed),
        n=config.n,
        d=config.d,
        p=config.p,
        inputs="sphere",
        init=jaxflow.Initialisation(second_layer="balanced", scale=config.scale),
    )
    aside = 1e-7 * np.random.default_rng(0).standard_normal(network.w.shape)

    def beside(s: jaxflow.Snapshot) -> jax.Array:
        moved = jaxflow.Network(s.network.w + aside, s.a)
        return jaxflow.sharpness(data, moved)

    times = np.linspace(0, config.last_time, config.points)
    runs = []
    # Learning rate 0 is the flow.
    for rate in (0.0, *config.learning_rates):
        method = jaxflow.GradientDescent(rate) if rate else jaxflow.GradientFlow(1e-6)
        sol = jaxflow.simulate(
            data,
            network,
            method,
            times=times,
            observe={"sharpness": jaxflow.sharpness, "beside": beside},
        )
        run = {
            "time": ("step", np.asarray(sol.times)),
            "loss": ("step", np.asarray(sol.loss)),
            "sharpness": ("step", np.asarray(sol.observables["sharpness"])),
            "beside": ("step", np.asarray(sol.observables["beside"])),
            "rising": int(sol.stats["loss_increases"]) / int(sol.stats["steps"]),
        }
        runs.append(xr.Dataset(run))
    rates = xr.Variable("learning_rate", [0.0, *config.learning_rates])
    return xr.concat(runs, rates)


def findings(records: xr.Dataset) -> list[Finding]:
    half = records.sizes["step"] // 2
    flow = float(np.median(records.beside.values[0, half:]))
    found = []
    for k in range(1, records.sizes["learning_rate"]):
        rate = float(records.learning_rate[k])
        # Where the flow's sharpness stays below 2/η, descent has that of the flow.
        predicted = min(2 / rate, flow)
        measured = float(np.median(records.sharpness.values[k, half:]))
        name = f"sharpness in the second half, η = {rate:g} (2/η = {2 / rate:.4g})"
        found.append(Finding(name, predicted, measured))
    along = float(np.median(records.sharpness.values[0, half:]))
    name = "the flow's sharpness along its slides over that beside its kinks"
    return [*found, Finding(name, None, along / flow)]


def draw(records: xr.Dataset) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.9), sharex=True)
    last, top = float(records.time[0, -1]), 1.3 * float(records.sharpness.max())
    for k, rate in enumerate(records.learning_rate.values):
        run = records.isel(learning_rate=k)
        style = {"color": COLOURS[k % 5], "ls": STYLES[k % 5]}
        label = f"descent, $\\eta={rate:g}$" if rate else "flow"
        left.plot(run.time, run.sharpness, label=label, **style)
        name = f"$\\eta={rate:g}$, rises on {100 * float(run.rising):.2g} % of steps"
        right.semilogy(run.time, run.loss, label=name if rate else label, **style)
        if rate and 2 / rate < top:
            left.axhline(2 / rate, color=style["color"], lw=0.7)
            name = f"$2/\\eta=2/{rate:g}$"
            left.text(last, 2 / rate, name, ha="right", va="bottom")
    flow, dots = records.isel(learning_rate=0), {"color": "black", "ls": (0, (1, 3))}
    left.plot(flow.time, flow.beside, label="flow, beside its kinks", **dots)
    left.set(ylabel="sharpness (1/time)", xlim=(0, last), ylim=(0, top))
    right.set(ylabel="loss $L(t)$", ylim=(1e-9, 3))
    for axis in (left, right):
        axis.set(xlabel="flow time (descent: $\\eta$ × steps)")
    left.legend(loc="lower right")
    right.legend(loc="lower left")
    return figure


if __name__ == "__main__":
    produce(tyro.cli(Config), "edge_of_stability", simulate, findings, draw)
