"""What Figures 3 and 4 are asked for: how the threshold N scales along d or p."""

import abc
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxflow import statistics

from ..common.protocols import Name, Size, folder, last_horizon, protocol, variant
from ..common.thresholds import Runs, Search, by, descents, of_width


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How N changes along d at fixed p (Figure 3) or along p at fixed d (Figure 4).

    - `along`: "d" or "p", which takes the `values`; the other one is `fixed`.
    - `low`, `high`: where N is thought to lie at the first value.
    - `share`: where it is thought to lie at every value, in units of p d. Left out, the
      values before tell.
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
    share: tuple[float, float] | None = None

    def size(self, value: int) -> tuple[int, int]:
        """d and p."""
        pair = (value, self.fixed)
        return pair if self.along == "d" else pair[::-1]

    def search(self, runs: Runs, how: Search) -> dict[int, statistics.ThresholdSearch]:
        """N at each value."""
        found: dict[int, statistics.ThresholdSearch] = {}
        low, high = self.low, self.high
        for value in self.values:
            d, p = self.size(value)
            if self.share is not None:
                low, high = (round(share * p * d) for share in self.share)
            elif found:
                low, high = _foreseen(found, value)
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
    what = "zero loss " if runs.protocol.decided else ""
    return f", {what}{by(last)}" + (" (a lower bound)" if flow else "")


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
    """When a run ends at the latest, in units of t_∞. Left out, 1 for descent, as in
    the paper, and 64 for the flow, whose runs go on past the certificate until they are
    decided: those to an earlier time end at the certificate."""
    seed: int = 0
    output: Path = Path("results")
    redraw: bool = False
    """Draw again from the records, without running."""
    from_records: bool = False
    """Runs that records.nc of the same figure holds already are taken from there,
    whatever version made them, so that another d or p costs no more than its own."""

    def __post_init__(self) -> None:
        last_horizon(self.protocol, self.given_up)
        if self.redraw and self.from_records:
            raise ValueError("redraw makes no run: leave from_records out.")

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
    def decided(self) -> bool:
        """Whether runs go on past the certificate until they are decided."""
        return protocol(self.protocol, self.given_up).decided

    @property
    def share(self) -> tuple[float, float] | None:
        """Where N of decided runs is thought to lie, in units of p d."""
        return (0.6, 0.95) if self.decided else None

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
        usual = 0.05 if self.decided else 0.02 if flow else 0.01
        return Search(
            precision=self.precision or (0.1 if quick else usual),
            batch=8 if quick else 16 if flow else 32,
            max_runs=self.max_runs
            or (16 if quick else self.flow_runs if flow else 384),
            grid=0.1 if quick else 0.02,
        )


# N of gradient descent, by the horizon in units of t_∞ and by d or p.
Descent = dict[float, dict[int, statistics.Threshold]]


def thresholds_in(folder: Path) -> dict[tuple[int, int], statistics.Threshold]:
    """N by (d, p) as summary.json of a figure has it, where runs on both sides of it
    have placed it. (A search that is repeated on its records may go another way on
    another machine: where points tell equally much, rounding decides.)"""
    found = {}
    for one in json.loads((folder / "summary.json").read_text()):
        size = re.search(r": N at d = (\d+), p = (\d+)", one["quantity"])
        if size and None not in [one[name] for name in ("ours", "low", "high")]:
            d, p = map(int, size.groups())
            found[d, p] = as_threshold(one)
    return found


def as_threshold(row: dict[str, Any]) -> statistics.Threshold:
    """N of a row of summary.json, which does not keep its scale and likelihood."""
    estimate, low, high = (row[name] for name in ("ours", "low", "high"))
    scale = likelihood = np.nan
    return statistics.Threshold(
        estimate, low, high, scale, scale, scale, likelihood, 0.95, False, "posterior"
    )


def searches_in(
    folder: Path, scaling: Scaling
) -> dict[int, statistics.ThresholdSearch]:
    """N by value as summary.json has it, of searches whose runs are not told again."""
    kept, none = thresholds_in(folder), np.zeros(0, int)
    found = {}
    for value in scaling.values:
        fit = kept.get(scaling.size(value))
        if fit is not None:
            # Runs on both sides have placed N: it lay within the range of the search.
            span = int(fit.low), int(np.ceil(fit.high))
            found[value] = statistics.ThresholdSearch(fit, False, none, none > 0, *span)
    return found


def descents_thresholds(config: ScalingConfig) -> Descent:
    """Beside the flow: N of gradient descent at the values up to the flow's or the
    published ones."""
    found: Descent = {}
    scaling = config.scaling
    last = max(*scaling.values, *scaling.published)
    for horizon, made, _ in descents(config):
        for size, threshold in thresholds_in(made.folder).items():
            value, fixed = size if scaling.along == "d" else size[::-1]
            if fixed == scaling.fixed and value <= last:
                found.setdefault(horizon, {})[value] = threshold
    return found
