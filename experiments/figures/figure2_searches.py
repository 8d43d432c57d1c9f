"""What Figure 2 is asked for, its thresholds, and what is published beside them."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from jaxflow import statistics

from ..common import published as published
from ..common.protocols import (
    GIVEN_UP,
    LEARNING_RATE,
    Name,
    Size,
    folder,
    last_horizon,
    protocol,
    variant,
)
from ..common.thresholds import (
    Outcome,
    Runs,
    Search,
    about,
    by,
    by_width_rule,
    descents,
)


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
    """The threshold is also found for runs that converge by these, in units of t_∞.
    Left out, 1 and 2, and only 1 for the quick size."""
    given_up: float | None = None
    """When a run ends at the latest, in units of t_∞. Left out, 1 for descent, as in
    the paper, and 64 for the flow, whose runs go on past the certificate until they are
    decided: those to an earlier time end at the certificate."""
    learning_rate: float = LEARNING_RATE
    """Of descent."""
    seed: int = 0
    output: Path = Path("results")
    redraw: bool = False
    """Draw again from the records, without running."""

    def __post_init__(self) -> None:
        last_horizon(self.protocol, self.given_up)
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(
                f"learning_rate must be a positive number, got {self.learning_rate}."
            )
        if any(n < 1 for n in self.sizes):
            raise ValueError(f"sizes must be positive, got {self.sizes}.")
        if self.seeds is not None and self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}.")

    @property
    def dimension(self) -> int:
        small = self.protocol == "flow" and self.size == "quick"
        return self.d or (10 if small else 100)

    @property
    def last(self) -> float:
        """The time by which a run must have converged, in units of t_∞."""
        return last_horizon(self.protocol, self.given_up)

    @property
    def decided(self) -> bool:
        """Whether runs go on past the certificate until they are decided."""
        return protocol(self.protocol, self.given_up).decided

    @property
    def plain(self) -> bool:
        """Whether runs end and take steps as the protocol says."""
        usual = GIVEN_UP[self.protocol], LEARNING_RATE
        return (self.last, self.learning_rate) == usual

    @property
    def early(self) -> tuple[float, ...]:
        """The horizons at which a threshold is wanted, but for the last."""
        wanted: tuple[float, ...] = (1.0,) if self.size == "quick" else (1.0, 2.0)
        wanted = wanted if self.horizons is None else self.horizons
        return tuple(h for h in sorted(wanted) if h < self.last)

    @property
    def grid(self) -> dict[int, int]:
        """How many runs of descent at each n."""
        quick = self.size == "quick"
        if self.width == 4:
            n = [2800, 3100] if quick else [2500, 2600, 2700, 2800]
            n += [] if quick else range(2850, 3151, 50)
            seeds = 2 if quick else published.FIRST_RELEASE_RUNS
            if self.learning_rate < LEARNING_RATE and not quick:
                # Some n at which none converges at learning rate 1.
                n, seeds = [3150, 3365, 4175], 8
        else:
            n = [1500, 1600, 1700] if quick else list(range(1300, 2101, 50))
            seeds = 10 if quick else published.RELEASED_RUNS
            if self.last > 1 and not quick:
                # Each takes longer, and the threshold lies higher.
                n, seeds = list(range(1600, 2201, 50)), seeds // 2
        found = dict.fromkeys(self.sizes or n, self.seeds or seeds)
        text = self.protocol == "paper" and self.width == 1 and self.plain
        if text and not (quick or self.sizes):
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
        if self.width == 4 and not quick:
            low, high = 2600, 3400 if self.last == 1 else 5200
        how = Search(
            precision=self.precision or (0.1 if quick else 0.01),
            batch=8 if quick else 16,
            max_runs=self.max_runs or (16 if quick else 64),
            grid=0.1 if quick else 0.015,
        )
        return self.low or low, self.high or high, how

    @property
    def folder(self) -> Path:
        name = variant(self.protocol, self.width, self.given_up, self.learning_rate)
        return folder(self.output, "figure2", name, self.size)


# By horizon, in units of t_∞; None is the end of the run.
Found = dict[float | None, statistics.ThresholdSearch]
Fitted = dict[float | None, statistics.Threshold]
Descent = dict[float, statistics.Threshold]


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
    fitted: Fitted = {}
    p = by_width_rule(config.width)
    for horizon in (*config.early, None):
        n, converged, made = runs.counts(config.dimension, p, horizon)
        if len(n) > 1:
            fitted[horizon] = statistics.fit_threshold(n, converged, made)
    return fitted


def meaning(config: Config, horizon: float | None) -> str:
    """By when a run must have converged to count, in words."""
    if horizon is None and config.decided:
        return f"to zero loss {by(config.last)}"
    return by(config.last if horizon is None else horizon)


def theirs(config: Config) -> dict[int, tuple[int, int]]:
    """The published counts that belong beside: n → converged, of how many."""
    if config.dimension != 100 or config.protocol == "flow" or not config.plain:
        return {}
    if config.width == 4:
        shares, runs = published.FIRST_RELEASE_PROBABILITY, published.FIRST_RELEASE_RUNS
    else:
        shares, runs = published.RELEASED_PROBABILITY, published.RELEASED_RUNS
    return {n: (round(share * runs), runs) for n, share in shares.items()}


def descents_thresholds(config: Config) -> Descent:
    """Beside the flow: N of gradient descent, of the n within 5 % of it, as it is
    compared with a search."""
    found: Descent = {}
    p = by_width_rule(config.width)
    for last, made, runs in descents(config):
        if made.dimension != config.dimension:
            continue
        for horizon in (1.0, *config.early, last):
            n, k, m = runs.counts(config.dimension, p, horizon)
            # Of t_∞ the paper's own runs, which are more, come first.
            if horizon <= last and horizon not in found and len(n) > 1:
                found[horizon] = about(n, k, m)
    return found


def remaining(runs: list[Outcome]) -> tuple[float, float]:
    """The mean of L(end)/L(0) over runs, zero where one converged, and the half-width
    of its 95 % interval (normal)."""
    left = np.array(
        [0.0 if run.converged else run.final_loss / run.initial_loss for run in runs]
    )
    if len(left) < 2:
        return float(left.mean()), np.nan
    return float(left.mean()), float(1.96 * left.std(ddof=1) / np.sqrt(len(left)))
