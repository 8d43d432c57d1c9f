"""The three protocols of Figures 2 to 5, by name.

They differ, and so do their results (results/reproduction.md):

- `paper`: what Appendix B says. w(0) ~ N(0, I/d), gradient descent at learning rate 1.
- `released`: what the runs that the authors published with their code did: coordinates
  of w(0) ~ U(±1/√d), a third of the variance; otherwise as above for Figures 2 to 4.
- `flow`: what the theorems are about, the gradient flow itself, from the paper's w(0).

Descent ends at t_∞, as in the paper, and a run that has not converged by then counts
as failed; it can be asked to go on for several t_∞, to be compared with the flow at
equal times. The flow runs until it is decided: its loss certifies convergence, or it
is stationary. A run of it that is neither by a last time, several t_∞, is undecided and
is not taken for a failure of the flow: a threshold by a last time bounds the flow's own
from below. The time until it is decided grows without bound as n nears the flow's own
threshold.
"""

import dataclasses
from pathlib import Path
from typing import Literal

import jaxflow
from jaxflow import theory

Name = Literal["paper", "released", "flow"]
Size = Literal["quick", "full"]

LEARNING_RATE = 1.0
# t_∞ = 1.5 t_n: where the paper ends a run.
LAST_TIME = 1.5
# Of the width rule, Lemma 5.
EPSILON = 0.05
# The flow's tolerance: outcomes are those of a tenth of it
# (results/benchmarks/cpu/convergence_probability.md).
TOLERANCE = 1e-3
# μ ≤ this/n is stationary: the loss would take 1000 n units of time to fall by e.
STATIONARY = 1e-3
# Where a run is given up, in units of t_∞: the paper's runs, and those of the flow.
GIVEN_UP = {"paper": 1.0, "released": 1.0, "flow": 4.0}


def last_time(n: int, p: int) -> float:
    """t_∞ = 1.5 t_n = 1.5 (√(np)/4) log(np), in units of flow time."""
    return LAST_TIME * float(theory.time_scale(n, p))


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a network is drawn and trained on correlated inputs.

    - `init`: the law of w(0), as `jaxflow.sample_problem` names it.
    - `method`, `stop`: as `jaxflow.simulate` takes them.
    - `horizons`: the times at which a run is looked at, in units of t_∞; a run ends at
      the last at the latest.
    """

    name: Name
    init: str
    method: jaxflow.AbstractMethod
    stop: tuple[jaxflow.AbstractStop, ...]
    horizons: tuple[float, ...]

    @property
    def label(self) -> str:
        """For legends."""
        kind = "gradient flow"
        if isinstance(self.method, jaxflow.GradientDescent):
            kind = f"gradient descent, lr {float(self.method.learning_rate):g}"
        law = "U(±1/√d)" if self.init == "uniform" else "N(0, I/d)"
        return f"{kind}, w(0) ~ {law}"

    def times(self, n: int, d: int, p: int) -> list[float]:
        """The requested times of a run of these sizes."""
        unit = last_time(n, p)
        return [0.0, *(horizon * unit for horizon in self.horizons)]


def last_horizon(name: Name, given_up: float | None = None) -> float:
    """When runs of a protocol end, in units of t_∞: where GIVEN_UP says, or at
    `given_up`, which must be positive and finite (else a ValueError)."""
    if given_up is None:
        return GIVEN_UP[name]
    if not 0 < given_up < float("inf"):
        raise ValueError(f"given_up must be a positive number, got {given_up}.")
    return given_up


def protocol(
    name: Name, given_up: float | None = None, learning_rate: float = LEARNING_RATE
) -> Protocol:
    """The protocol of that name; `given_up` as `last_horizon` takes it, `learning_rate`
    of descent."""
    last = last_horizon(name, given_up)
    horizons = (*(horizon for horizon in (1.0, 2.0) if horizon < last), last)
    if name == "flow":
        return Protocol(
            name,
            "gaussian",
            jaxflow.FilippovFlow(TOLERANCE),
            (jaxflow.LossBelow(), jaxflow.Stationary(STATIONARY)),
            horizons,
        )
    return Protocol(
        name,
        "uniform" if name == "released" else "gaussian",
        jaxflow.GradientDescent(learning_rate),
        (jaxflow.LossBelow(),),
        horizons,
    )


def variant(
    name: Name,
    width: int = 1,
    given_up: float | None = None,
    learning_rate: float = LEARNING_RATE,
) -> str:
    """What a protocol with another width, last time or learning rate is called."""
    called = name + (f"-width{width}" if width != 1 else "")
    if (last := last_horizon(name, given_up)) != GIVEN_UP[name]:
        called += f"-by{last:g}"
    if learning_rate != LEARNING_RATE:
        called += f"-lr{learning_rate:g}"
    return called


def folder(output: Path, figure: str, name: str, size: Size) -> Path:
    """Where an experiment writes: results of the quick size stay apart."""
    return output / ("quick" if size == "quick" else ".") / figure / name
