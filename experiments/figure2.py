"""Figure 2: the probability of convergence as the number of examples grows.

    python -m experiments.figure2 --protocol released --size full
    python -m experiments.figure2 --protocol released --width 4

Inputs on the sphere of dimension 100, p by the width rule (or 4 times it, with which
the threshold lies where the paper prints it). Descent runs on a grid of n; the flow,
whose runs are long, where a search places them. Left: how many runs converge, and the
threshold N at which half do. Right: the loss that is left, a run that converged
counting as zero, as in the paper. Runs again with the same `--output` go on where the
last one stopped.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from jaxflow import statistics

from . import _published as published
from ._output import STYLE, markdown_table, write_config, write_figure, write_text
from ._protocols import GIVEN_UP, Name, Protocol, Size, folder, protocol
from ._thresholds import (
    OURS,
    THEIRS,
    Outcome,
    Runs,
    Search,
    by_width_rule,
    interval,
    row,
    standard_error,
    write_summary,
)

SECOND, THIRD = "#4a7c2c", "#7b4ba0"


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
    def grid(self) -> tuple[list[int], int]:
        """n, and how many runs at each."""
        quick = self.size == "quick"
        if self.width == 4:
            n = [2500] if quick else [2500, 2600, 2700, 2800, *range(2850, 3151, 50)]
            seeds = 2 if quick else published.FIRST_RELEASE_RUNS
        else:
            n = [1500, 1600, 1700] if quick else list(range(1300, 2101, 50))
            seeds = 10 if quick else published.RELEASED_RUNS
        return list(self.sizes) or n, self.seeds or seeds

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
    # What converges by a later time has a larger threshold.
    for horizon in (*config.early, None):
        found[horizon] = runs.search(config.dimension, p, low, high, how, horizon)
        estimate = found[horizon].threshold.estimate
        if np.isfinite(estimate):
            step = max(1, round(how.grid * (low + high) / 2))
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


def _meaning(config: Config, horizon: float | None) -> str:
    """By when a run must have converged to count, in words."""
    if horizon is None:
        # Descent ends at t_∞.
        last = config.given_up if config.protocol == "flow" else 1.0
        return _meaning(config, last)
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


def summary(config: Config, runs: Runs, fitted: Fitted) -> list[dict[str, Any]]:
    """The rows for the report."""
    d, beside = config.dimension, theirs(config)
    where = f"d = {d}" + (f", p = {config.width} × rule" if config.width > 1 else "")
    rows = []
    first = config.width == 4
    target = (
        published.RELEASED_THRESHOLD
        if config.protocol == "released" and not first
        else published.PAPER_THRESHOLD
    )
    shown: dict[str, statistics.Threshold] = {
        f"converged {_meaning(config, horizon)}": fit for horizon, fit in fitted.items()
    }
    alike = _alike(config, runs, beside)
    if alike is not None:
        shown["fitted at the published n alone"] = alike
    descent = descents_threshold(config)
    if descent is not None:
        shown["gradient descent, lr 1, converged by t_∞"] = descent
    for meaning, fit in shown.items():
        note = f"s = {fit.scale:.3g} [{fit.scale_low:.3g}, {fit.scale_high:.3g}]"
        if beside:
            note += "; " + _refit(beside, fit)
        if fit is descent:
            ratio = fitted[None].estimate / fit.estimate
            note += f"; the flow {_meaning(config, None)}: {ratio:.2f} times this N"
        rows.append(
            row(
                f"Figure 2: threshold N, {where}, {meaning}",
                paper=published.PAPER_THRESHOLD if beside else None,
                released=published.RELEASED_THRESHOLD if beside and not first else None,
                ours=fit.estimate,
                low=fit.low,
                high=fit.high,
                agrees=bool(fit.low <= target <= fit.high) if beside else None,
                note=note,
            )
        )
    n, converged, made = runs.counts(d, by_width_rule(config.width))
    if config.protocol == "flow":
        undecided = sum(
            not (run.converged or run.stationary) for run in runs.known.values()
        )
        rows.append(
            row(
                f"Figure 2: undecided runs of the flow, {where}",
                ours=undecided,
                note=f"of {made.sum()}, by {runs.protocol.horizons[-1]:g} t_∞",
            )
        )
        return rows
    ours = dict(zip(n.tolist(), zip(converged, made, strict=True), strict=True))
    shared = [size for size in beside if size in ours]
    if not shared:
        return rows
    p_values = statistics.compare_proportions(
        *(np.array(column) for column in zip(*[ours[i] for i in shared], strict=True)),
        *(np.array(col) for col in zip(*[beside[i] for i in shared], strict=True)),
    )
    adjusted = statistics.holm(p_values)
    for size, raw, p_value in zip(shared, p_values, adjusted, strict=True):
        share = statistics.proportion(*ours[size])
        rows.append(
            row(
                f"Figure 2: probability of convergence, {where}, n = {size}",
                released=beside[size][0] / beside[size][1],
                ours=float(share.estimate),
                low=float(share.low),
                high=float(share.high),
                # The released runs drew w(0) from another law than the text has.
                agrees=bool(p_value > 0.05) if config.protocol == "released" else None,
                note=f"{ours[size][0]}/{ours[size][1]} against {beside[size][0]}/"
                f"{beside[size][1]}: p = {raw:.2g}, {p_value:.2g} after Holm over "
                f"{len(shared)} comparisons",
            )
        )
    return rows


def _alike(
    config: Config, runs: Runs, beside: dict[int, tuple[int, int]]
) -> statistics.Threshold | None:
    """Our N from the n that are published alone. The probability does not fall like a
    logistic function, and the N of the one that fits best depends on which n it is
    fitted at: the published ones leave out those where it falls most."""
    n, k, m = runs.counts(config.dimension, by_width_rule(config.width))
    both = np.isin(n, list(beside))
    if both.sum() < max(2, len(beside)) or both.all():
        return None
    return statistics.fit_threshold(n[both], k[both], m[both])


def descents_threshold(config: Config) -> statistics.Threshold | None:
    """N of gradient descent from the flow's w(0), where protocol `paper` has run."""
    if config.protocol != "flow":
        return None
    other = dataclasses.replace(config, protocol="paper")
    if not (other.folder / "records.nc").exists():
        return None
    runs = Runs.read(other.folder, protocol("paper"))
    n, k, m = runs.counts(config.dimension, by_width_rule(config.width))
    return statistics.fit_threshold(n, k, m) if len(n) > 1 else None


def _refit(beside: dict[int, tuple[int, int]], fit: statistics.Threshold) -> str:
    """What the published counts give when they are fitted as ours are."""
    their = statistics.fit_threshold(
        list(beside), *np.array(list(beside.values())).T.astype(int)
    )
    error = np.hypot(standard_error(their), standard_error(fit))
    return (
        f"the published counts, fitted alike: {interval(their)}, "
        f"{abs(their.estimate - fit.estimate) / error:.1f} standard errors away"
    )


def table(
    config: Config,
    runs: Runs,
    fitted: Fitted,
    found: Found,
) -> str:
    """table.md."""
    d, p = config.dimension, by_width_rule(config.width)
    beside = theirs(config)
    times = (*config.early, None) if config.protocol == "flow" else (None,)
    lines = []
    n, _, made = runs.counts(d, p)
    for size, total in zip(n.tolist(), made.tolist(), strict=True):
        cells = []
        for horizon in times:
            k = sum(
                run.converged if horizon is None else run.converged_by(horizon)
                for run in runs.at(size, d, p(size))
            )
            share = statistics.proportion(k, total)
            cells.append(
                f"{k}/{total} = {k / total:.3f} [{share.low:.3f}, {share.high:.3f}]"
            )
        left, _ = remaining(runs.at(size, d, p(size)))
        other = beside.get(size)
        open_runs = [run for run in runs.at(size, d, p(size)) if not run.converged]
        stationary = sum(run.stationary for run in open_runs)
        lines.append(
            [
                str(size),
                str(p(size)),
                *cells,
                f"{stationary}/{len(open_runs)}",
                f"{left:.2e}",
                f"{other[0] / other[1]:.3f}" if other else "",
            ]
        )
    header = ["n", "p", *(f"converged {_meaning(config, time)}" for time in times)]
    header += ["not converged: stationary", "L(end)/L(0)", "published"]
    thresholds = []
    for horizon, fit in fitted.items():
        line = f"- N, converged {_meaning(config, horizon)}: {interval(fit)}, "
        line += f"s = {fit.scale:.3g}"
        if horizon in found:
            search = found[horizon]
            ended = "" if search.precise else ", ended by max_runs"
            line += f" (search of {search.runs} runs{ended})"
        thresholds.append(line + "\n")
    return (
        f"# Figure 2, protocol `{config.protocol}`\n\n"
        f"{runs.protocol.label}; d = {d}, p = "
        + (f"{config.width} × " if config.width > 1 else "")
        + "the width rule, float32. 95 % intervals: Clopper–Pearson for shares, "
        + ("posterior" if found else "profile likelihood")
        + " for N.\n\n"
        + "".join(thresholds)
        + "\n"
        + markdown_table(header, lines)
    )


def remaining(runs: list[Outcome]) -> tuple[float, float]:
    """The mean of L(end)/L(0) over runs, zero where one converged, and the half-width
    of its 95 % interval (normal)."""
    left = np.array(
        [0.0 if run.converged else run.final_loss / run.initial_loss for run in runs]
    )
    if len(left) < 2:
        return float(left.mean()), np.nan
    return float(left.mean()), float(1.96 * left.std(ddof=1) / np.sqrt(len(left)))


def draw(config: Config, runs: Runs, fitted: Fitted) -> Figure:
    """Both panels."""
    d, p, beside = config.dimension, by_width_rule(config.width), theirs(config)
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.1))
    n, _, _ = runs.counts(d, p)
    span = np.linspace(n.min(), n.max(), 400)
    for index, (horizon, fit) in enumerate(fitted.items()):
        colour, marker = _STYLES[index % len(_STYLES)]
        _, k, m = runs.counts(d, p, horizon)
        label = f"ours, {_meaning(config, horizon)}: N = {interval(fit)}"
        # Side by side, so that the intervals of several horizons can be told apart.
        shift = (index - (len(fitted) - 1) / 2) * 0.006 * np.ptp(n)
        _with_bars(left, n + shift, k, m, colour, marker, _math(label))
        left.plot(span, fit.probability(span), color=colour)
        if np.isfinite(fit.high - fit.low):
            left.axvspan(fit.low, fit.high, color=colour, alpha=0.15, lw=0)
    descent = descents_threshold(config)
    if descent is not None:
        label = f"gradient descent, lr 1, by t_∞: N = {interval(descent)}"
        left.axvline(descent.estimate, color=THEIRS, ls="--", label=_math(label))
        left.axvspan(descent.low, descent.high, color=THEIRS, alpha=0.2, lw=0)
    if beside:
        their_n = np.array(list(beside))
        k, m = np.array(list(beside.values())).T
        label = (
            f"released by the authors, N = {published.RELEASED_THRESHOLD:g}"
            if config.width == 1
            else f"the printed figure, N ≈ {published.PAPER_THRESHOLD:g}"
        )
        _with_bars(left, their_n, k, m, THEIRS, "s", label, fill=False)
        if config.width == 1:
            left.axvline(published.RELEASED_THRESHOLD, color=THEIRS, ls=":", lw=1)
        else:
            left.axvline(published.PAPER_THRESHOLD, color=THEIRS, ls=":", lw=1)
    left.set_ylabel("probability of convergence")
    left.set_ylim(-0.04, 1.04)
    losses = [remaining(runs.at(size, d, p(size))) for size in n.tolist()]
    means, halves = np.array(losses).T
    right.errorbar(
        n, means, np.nan_to_num(halves), color=OURS, marker="o", ms=3, capsize=2, lw=1
    )
    right.set_ylabel("remaining loss, $L(t_{end})/L(0)$")
    right.set_ylim(bottom=0)
    for axis in (left, right):
        axis.set_xlabel("number of examples n")
    handles, labels = left.get_legend_handles_labels()
    width = f"{config.width} × " if config.width > 1 else ""
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=2,
        title=f"{runs.protocol.label}; d = {d}, p = {width}the width rule",
        title_fontsize=8,
    )
    return figure


def _math(label: str) -> str:
    return label.replace("t_∞", r"$t_\infty$")


_STYLES = [(OURS, "o"), (SECOND, "^"), (THIRD, "D")]


def _with_bars(
    axis: Any,
    n: np.ndarray,
    k: np.ndarray,
    m: np.ndarray,
    colour: str,
    marker: str,
    label: str | None,
    fill: bool = True,
) -> None:
    share = statistics.proportion(k, m)
    axis.errorbar(
        n,
        share.estimate,
        [share.estimate - share.low, share.high - share.estimate],
        color=colour,
        marker=marker,
        mfc=colour if fill else "none",
        ms=3.5,
        lw=0,
        elinewidth=0.7,
        capsize=1.5,
        label=label,
    )


def main(config: Config) -> None:
    rules: Protocol = protocol(config.protocol, config.given_up)
    where = config.folder
    if not config.redraw:
        write_config(where, config, "experiments.figure2")
        made = Runs(rules, folder=where / "runs", seed=config.seed)
        if config.protocol == "flow":
            searches(made, config)
        else:
            p = by_width_rule(config.width)
            n, seeds = config.grid
            made.make([(size, config.dimension, p(size)) for size in n], seeds)
        made.write(where)
    runs = Runs.read(where, rules)
    # The search is repeated on the records: the same runs, the same numbers.
    found = searches(runs, config) if config.protocol == "flow" else {}
    fitted = fits(runs, config, found)
    with plt.rc_context(STYLE):
        write_figure(where, draw(config, runs, fitted), "figure2")
    write_summary(where, summary(config, runs, fitted))
    text = table(config, runs, fitted, found)
    write_text(where, "table.md", text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
