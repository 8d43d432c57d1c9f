"""The three protocols of Figures 2 to 5, by name.

They differ, and so do their results (results/reproduction.md):

- `paper`: what Appendix B says. w(0) ~ N(0, I/d), gradient descent at learning rate 1.
- `released`: what the runs that the authors published with their code did: coordinates
  of w(0) ~ U(±1/√d), a third of the variance; otherwise as above for Figures 2 to 4.
- `flow`: what the theorems are about, the gradient flow itself, from the paper's w(0).

Descent ends at t_∞, as in the paper, and a run whose loss has not met the certificate
by then counts as failed; it can be asked to go on for several t_∞, to be compared with
the flow at equal times.

The certificate proves that no example is left out, not that the loss tends to zero. So
the flow runs until it is decided: L has fallen to 1e-12 L(0), or it is stationary with
L > 0. A run of it that is neither by the last time, 64 t_∞, is undecided and is not
taken for a failure of the flow: a threshold by a last time bounds the flow's own from
below. The time until a run is decided grows without bound as n nears the flow's own
threshold. The same run says whether and when the certificate was met. Asked to end
earlier (`given_up`), the flow ends at the certificate too.
"""

import dataclasses
import math
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
GIVEN_UP = {"paper": 1.0, "released": 1.0, "flow": 64.0}
# A loss that has fallen to this share of L(0) tends to zero. In float32 its residuals
# would be rounding long before that: runs until they are decided are in float64.
ZERO = 1e-12
# A run until it is decided is looked at so many times while t doubles, first at t_∞/4:
# when the certificate was met is known up to that.
LOOKS, FIRST_LOOK = 4, 0.25


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
    - `decided`: whether a run goes on past the certificate until it is decided, so that
      it converges where its loss falls to zero. Else it does where the certificate is
      met.
    """

    name: Name
    init: str
    method: jaxflow.AbstractMethod
    stop: tuple[jaxflow.AbstractStop, ...]
    horizons: tuple[float, ...]
    decided: bool = False

    @property
    def dtype(self) -> str:
        return "float64" if self.decided else "float32"

    @property
    def proved(self) -> bool:
        """Whether a proof that the loss tends to zero decides a run too: it is one
        about the flow."""
        return self.decided and self.name == "flow"

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
    name: Name,
    given_up: float | None = None,
    learning_rate: float = LEARNING_RATE,
    decided: bool | None = None,
) -> Protocol:
    """The protocol of that name; `given_up` as `last_horizon` takes it, `learning_rate`
    of descent. `decided`: whether runs go on past the certificate; left out, those of
    the flow to its usual last time do."""
    last = last_horizon(name, given_up)
    if decided is None:
        decided = name == "flow" and last == GIVEN_UP["flow"]
    horizons = [horizon for horizon in (1.0, 2.0) if horizon < last]
    stop: tuple[jaxflow.AbstractStop, ...] = (jaxflow.LossBelow(),)
    if decided:
        doublings = math.log2(last / FIRST_LOOK)
        looks = range(math.ceil(LOOKS * doublings))
        horizons = [FIRST_LOOK * 2 ** (look / LOOKS) for look in looks]
        stop = (jaxflow.LossFallen(ZERO),)
    method: jaxflow.AbstractMethod = jaxflow.GradientDescent(learning_rate)
    if name == "flow":
        method = jaxflow.FilippovFlow(TOLERANCE)
    if decided or name == "flow":
        stop = (*stop, jaxflow.Stationary(STATIONARY))
    init = "uniform" if name == "released" else "gaussian"
    return Protocol(name, init, method, stop, (*horizons, last), decided)


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
