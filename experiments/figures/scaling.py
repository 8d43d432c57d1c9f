"""What Figures 3 and 4 are asked for: how the threshold N scales along d or p."""

import abc
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np

from jaxflow import statistics

from ..common.protocols import Name, Size, folder, last_horizon, variant
from ..common.thresholds import Runs, Search, by, descents, of_width


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How N changes along d at fixed p (Figure 3) or along p at fixed d (Figure 4).

    - `along`: "d" or "p", which takes the `values`; the other one is `fixed`.
    - `low`, `high`: where N is thought to lie at the first value.
    - `published`: N by value. They come from runs at n that are `spacing` apart.
    - `stated_law`, `stated_slope`: their own, "name: formula" and in log–log.
    - `slope`: log–log slopes that agree with the text, from and to.
    - `claim`: the text.
    """

    figure: str
    along: str
    values: tuple[int, ...]
    fixed: int
    low: int
    high: int
    published: dict[int, float]
    spacing: Callable[[int], float]
    stated_law: str
    stated_slope: float
    slope: tuple[float, float]
    claim: str

    def size(self, value: int) -> tuple[int, int]:
        """d and p."""
        pair = (value, self.fixed)
        return pair if self.along == "d" else pair[::-1]

    def search(self, runs: Runs, how: Search) -> dict[int, statistics.ThresholdSearch]:
        """N at each value."""
        found: dict[int, statistics.ThresholdSearch] = {}
        low, high = self.low, self.high
        for value in self.values:
            if found:
                low, high = _foreseen(found, value)
            d, p = self.size(value)
            found[value] = runs.search(d, of_width(p), low, high, how)
        return found


def _foreseen(
    found: dict[int, statistics.ThresholdSearch], value: int
) -> tuple[int, int]:
    """A range for the next N, from the last one or two by a power law."""
    known = [
        (at, search.threshold.estimate)
        for at, search in found.items()
        # Of few runs, the estimate may lie far outside of where they were made.
        if search.low <= search.threshold.estimate <= search.high
    ][-2:]
    if not known:
        last = list(found.values())[-1]
        return last.low, last.high
    (at, estimate), power = known[-1], 1.0
    if len(known) == 2:
        power = np.log(estimate / known[0][1]) / np.log(at / known[0][0])
    guess = estimate * (value / at) ** float(np.clip(power, 0, 2))
    low = max(2, round(0.8 * guess))
    return low, max(low + 4, round(1.3 * guess))


def by_when(runs: Runs) -> str:
    """By when a run must have converged to count, where that is not the paper's t_∞."""
    last, flow = runs.protocol.horizons[-1], runs.protocol.name == "flow"
    if last == 1 and not flow:
        return ""
    return f", {by(last)}" + (" (a lower bound)" if flow else "")


@dataclasses.dataclass(frozen=True)
class ScalingConfig(abc.ABC):
    """What Figures 3 and 4 are asked for alike."""

    # At which a search of the flow ends in any case.
    flow_runs: ClassVar[int]

    protocol: Name = "released"
    size: Size = "quick"
    """`quick` takes under two minutes; `full` is the figure."""
    precision: float | None = None
    """At which a search ends: half of the 95 % interval over N."""
    max_runs: int | None = None
    """At which it ends in any case."""
    given_up: float | None = None
    """When a run that is not decided ends, in units of t_∞. Left out, 1 for descent, as
    in the paper, and 4 for the flow."""
    seed: int = 0
    output: Path = Path("results")
    redraw: bool = False
    """Draw again from the records, without running."""

    def __post_init__(self) -> None:
        last_horizon(self.protocol, self.given_up)

    @property
    @abc.abstractmethod
    def scaling(self) -> Scaling:
        """What is searched for."""

    @property
    def folder(self) -> Path:
        name = variant(self.protocol, given_up=self.given_up)
        return folder(self.output, self.scaling.figure, name, self.size)

    @property
    def last(self) -> float:
        """The time by which a run must have converged, in units of t_∞."""
        return last_horizon(self.protocol, self.given_up)

    @property
    def beside_flow(self) -> bool:
        """Whether it is the flow, or descent to be compared with it at equal times."""
        return self.flow or self.last > 1

    @property
    def flow(self) -> bool:
        return self.protocol == "flow"

    @property
    def quick(self) -> bool:
        return self.size == "quick"

    @property
    def search(self) -> Search:
        """How it is searched for."""
        flow, quick = self.flow, self.quick
        return Search(
            precision=self.precision or (0.1 if quick else 0.02 if flow else 0.01),
            batch=8 if quick else 16 if flow else 32,
            max_runs=self.max_runs
            or (16 if quick else self.flow_runs if flow else 384),
            grid=0.1 if quick else 0.02,
        )


# N of gradient descent, by the horizon in units of t_∞ and by d or p.
Descent = dict[float, dict[int, statistics.Threshold]]


def descents_thresholds(config: ScalingConfig) -> Descent:
    """Beside the flow: N of gradient descent at the values up to the flow's or the
    published ones."""
    found: Descent = {}
    for horizon, made, runs in descents(config):
        if made.scaling.fixed != config.scaling.fixed:
            continue
        # The search is repeated on the records, so that N is the one of their table.
        searches = made.scaling.search(runs, made.search)
        last = max(*config.scaling.values, *config.scaling.published)
        found[horizon] = {
            value: search.threshold
            for value, search in searches.items()
            if value <= last and np.isfinite(search.threshold.high)
        }
    return found
