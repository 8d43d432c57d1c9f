"""What Figure 2 is asked for, its thresholds, and what is published beside them."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from jaxflow import statistics

from . import _published as published
from ._protocols import GIVEN_UP, Name, Size, folder, protocol
from ._thresholds import Outcome, Runs, Search, about, by_width_rule


@dataclasses.dataclass(frozen=True)
class Config:
    """The probability of convergence against n (Figure 2)."""

    protocol: Name = "released"
    size: Size = "quick"
    """`quick` takes under two minutes; `full` has the published counts."""
    width: Literal[1, 4] = 1
    """p in units of the width rule."""
    d: int | None = None
    """The dimension. Left out, 100; 10 for the quick flow."""
    sizes: tuple[int, ...] = ()
    """n, the numbers of examples, of descent. Left out, those of `size`."""
    seeds: int | None = None
    """Runs of descent at each n. Left out, those of `size`."""
    low: int | None = None
    high: int | None = None
    """Where the flow's threshold is thought to lie when the search begins."""
    precision: float | None = None
    """At which the search ends: half of the 95 % interval over N."""
    max_runs: int | None = None
    """At which it ends in any case."""
    horizons: tuple[float, ...] | None = None
    """The flow's threshold is also searched for runs that converge by these, in units
    of t_∞. Left out, 1 and 2, and only 1 for the quick size."""
    given_up: float = GIVEN_UP
    """When a run of the flow that is not decided ends, in units of t_∞."""
    seed: int = 0
    output: Path = Path("results")
    redraw: bool = False
    """Draw again from the records, without running."""

    def __post_init__(self) -> None:
        if any(n < 1 for n in self.sizes):
            raise ValueError(f"sizes must be positive, got {self.sizes}.")
        if self.seeds is not None and self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}.")

    @property
    def dimension(self) -> int:
        small = self.protocol == "flow" and self.size == "quick"
        return self.d or (10 if small else 100)

    @property
    def early(self) -> tuple[float, ...]:
        """The horizons at which a threshold is wanted, but for the last."""
        wanted = (1.0,) if self.size == "quick" else (1.0, 2.0)
        wanted = wanted if self.horizons is None else self.horizons
        return tuple(h for h in sorted(wanted) if h < self.given_up)

    @property
    def grid(self) -> dict[int, int]:
        """How many runs of descent at each n."""
        quick = self.size == "quick"
        if self.width == 4:
            n = [2800, 3100] if quick else [2500, 2600, 2700, 2800]
            n += [] if quick else range(2850, 3151, 50)
            seeds = 2 if quick else published.FIRST_RELEASE_RUNS
        else:
            n = [1500, 1600, 1700] if quick else list(range(1300, 2101, 50))
            seeds = 10 if quick else published.RELEASED_RUNS
        found = dict.fromkeys(self.sizes or n, self.seeds or seeds)
        if self.protocol == "paper" and self.width == 1 and not (quick or self.sizes):
            # Where the text has its threshold.
            few = self.seeds or published.PAPER_RUNS
            found |= dict.fromkeys((2500, 3000, 3500), few)
        return found

    @property
    def search(self) -> tuple[int, int, Search]:
        """The first range, and how to search."""
        quick = self.size == "quick"
        # Where the flow converges by t_∞ most of the time at one end, and hardly ever
        # by 2 t_∞ at the other; a search goes beyond where it has to.
        low, high = (60, 140) if quick else (1500, 3000)
        how = Search(
            precision=self.precision or (0.1 if quick else 0.01),
            batch=8 if quick else 16,
            max_runs=self.max_runs or (16 if quick else 160),
            grid=0.1 if quick else 0.015,
        )
        return self.low or low, self.high or high, how

    @property
    def folder(self) -> Path:
        name = self.protocol + ("" if self.width == 1 else f"-width{self.width}")
        return folder(self.output, "figure2", name, self.size)


# By horizon, in units of t_∞; None is the end of the run.
Found = dict[float | None, statistics.ThresholdSearch]
Fitted = dict[float | None, statistics.Threshold]


def searches(runs: Runs, config: Config) -> Found:
    """The flow's threshold for convergence by each horizon, and (None) at all."""
    low, high, how = config.search
    p = by_width_rule(config.width)
    found: Found = {}
    # One lattice for all, so that a run serves every horizon.
    step = how.step(low, high)
    # What converges by a later time has a larger threshold.
    for horizon in (*config.early, None):
        found[horizon] = runs.search(config.dimension, p, low, high, how, horizon, step)
        estimate = found[horizon].threshold.estimate
        if np.isfinite(estimate):
            low = max(low, low + int((estimate - low) / step) * step)
            high = max(high, low + 4 * step)
    return found


def fits(runs: Runs, config: Config, found: Found) -> Fitted:
    """N for convergence by each horizon."""
    if found:
        return {horizon: search.threshold for horizon, search in found.items()}
    n, converged, made = runs.counts(config.dimension, by_width_rule(config.width))
    if len(n) < 2:
        return {}
    return {None: statistics.fit_threshold(n, converged, made)}


def meaning(config: Config, horizon: float | None) -> str:
    """By when a run must have converged to count, in words."""
    if horizon is None:
        # Descent ends at t_∞.
        last = config.given_up if config.protocol == "flow" else 1.0
        return meaning(config, last)
    return "by t_∞" if horizon == 1 else f"by {horizon:g} t_∞"


def theirs(config: Config) -> dict[int, tuple[int, int]]:
    """The published counts that belong beside: n → converged, of how many."""
    if config.dimension != 100 or config.protocol == "flow":
        return {}
    if config.width == 4:
        shares, runs = published.FIRST_RELEASE_PROBABILITY, published.FIRST_RELEASE_RUNS
    else:
        shares, runs = published.RELEASED_PROBABILITY, published.RELEASED_RUNS
    return {n: (round(share * runs), runs) for n, share in shares.items()}


def descents_threshold(config: Config) -> statistics.Threshold | None:
    """N of gradient descent from the flow's w(0), where protocol `paper` has run."""
    if config.protocol != "flow":
        return None
    other = dataclasses.replace(config, protocol="paper")
    if not (other.folder / "records.nc").exists():
        return None
    runs = Runs.read(other.folder, protocol("paper"))
    n, k, m = runs.counts(config.dimension, by_width_rule(config.width))
    return about(n, k, m) if len(n) > 1 else None


def remaining(runs: list[Outcome]) -> tuple[float, float]:
    """The mean of L(end)/L(0) over runs, zero where one converged, and the half-width
    of its 95 % interval (normal)."""
    left = np.array(
        [0.0 if run.converged else run.final_loss / run.initial_loss for run in runs]
    )
    if len(left) < 2:
        return float(left.mean()), np.nan
    return float(left.mean()), float(1.96 * left.std(ddof=1) / np.sqrt(len(left)))
