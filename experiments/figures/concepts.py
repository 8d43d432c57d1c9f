"""A kink that is crossed, and one along which a pair slides: the pictures of the site.

    python -m experiments.figures.concepts

One neuron with a > 0 on two examples in the plane, of which it is active on the first.
The first pulls w to x_1, and with it z_2 = w·x_2, by x_1·x_2. Where that is negative
z_2 falls through zero. Where it is positive and the target y_2 is negative, z_2 rises
to zero and is pushed back there: it slides.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import tyro
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import jaxflow

from ..common.output import STYLE, write_figure

BLUE, ORANGE = "#1b4f8c", "#e08214"

Problem = tuple[jaxflow.Dataset, jaxflow.Network]


@dataclasses.dataclass(frozen=True)
class Config:
    """The pictures of a kink and of a slide."""

    learning_rate: float = 0.2
    """Of gradient descent."""
    last: float = 8.0
    """The last time."""
    output: Path = Path("results/concepts")


def problem(angle: float, second: float, start: float) -> Problem:
    """x_2 at `angle` to x_1, both unit vectors; y = (2, `second`) and z_2(0) = `start`
    at z_1(0) = 0.3."""
    x = np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])
    w = np.linalg.solve(x, np.array([0.3, start]))
    network = jaxflow.Network(w[None], np.array([0.8]))
    return jaxflow.Dataset(x, np.array([2.0, second])), network


# z_2 falls through its kink; z_2 reaches it from below and stays.
CROSSED = problem(2 * np.pi / 3, 0.2, 0.1)
SLIDING = problem(np.pi / 3, -1.0, -0.15)


def second(s: jaxflow.Snapshot) -> jax.Array:
    """z_2, of the one neuron."""
    return s.preactivations[0, 1]


def runs(case: Problem, config: Config) -> tuple[jaxflow.Solution, jaxflow.Solution]:
    """The flow and gradient descent, at its steps."""
    observe = {"z": second}
    steps = config.learning_rate * np.arange(round(config.last / config.learning_rate))
    times = np.linspace(0, steps[-1], 400)
    flow = jaxflow.GradientFlow(rtol=1e-8)
    descent = jaxflow.GradientDescent(config.learning_rate)
    return (
        jaxflow.simulate(*case, flow, times=times, observe=observe),
        jaxflow.simulate(*case, descent, times=steps, observe=observe),
    )


def draw(case: Problem, config: Config) -> Figure:
    flow, descent = runs(case, config)
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.4))
    label = f"gradient descent, learning rate {config.learning_rate:g}"
    left.axhline(0, color="black", lw=0.8)
    left.plot(flow.times, flow.observables["z"], color=BLUE, label="flow")
    dots = {"color": ORANGE, "ms": 3, "lw": 0.6}
    left.plot(descent.times, descent.observables["z"], "o-", label=label, **dots)
    left.set(xlabel="flow time", ylabel="$z_2 = w\\cdot x_2$")
    right.plot(flow.times, flow.loss, color=BLUE, label="flow")
    right.plot(descent.times, descent.loss, "o-", label=label, **dots)
    right.set(xlabel="flow time", ylabel="loss $L(t)$")
    right.legend()
    return figure


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    config.output.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        write_figure(config.output, draw(CROSSED, config), "kink")
        write_figure(config.output, draw(SLIDING, config), "slide")


if __name__ == "__main__":
    main(tyro.cli(Config))
