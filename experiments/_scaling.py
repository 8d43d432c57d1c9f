"""How the threshold N scales, along d (Figure 3) or along p (Figure 4).

Adaptive searches, laws fitted to their results beside the published points, and the
config, records, table and figure that both figures have in common.
"""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import linregress, norm
from scipy.stats import t as student

from jaxflow import statistics

from ._output import STYLE, markdown_table, write_config, write_figure, write_text
from ._protocols import GIVEN_UP, Name, Size, folder, protocol
from ._thresholds import (
    OURS,
    THEIRS,
    Runs,
    Search,
    interval,
    row,
    standard_error,
    write_summary,
)


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How N changes along d at fixed p (Figure 3) or along p at fixed d (Figure 4).

    - `along`: "d" or "p", which takes the `values`; the other one is `fixed`.
    - `low`, `high`: where N is thought to lie at the first value.
    - `published`: N by value. They come from runs at n that are `spacing` apart.
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
            found[value] = runs.search(d, lambda n, p=p: p, low, high, how)
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


@dataclasses.dataclass(frozen=True)
class Laws:
    """How some points (x, N) scale: laws ranked, and the slope of log N on log x with
    its 95 % interval from the scatter about the line (Student's t)."""

    ranked: dict[str, statistics.LawFit]
    slope: float
    low: float
    high: float

    @classmethod
    def of(cls, x: Sequence[float], N: Sequence[float], sigma: Any = None) -> "Laws":
        line = linregress(np.log(x), np.log(N))
        half = float(student.ppf(0.975, len(x) - 2)) * float(line.stderr)
        slope = float(line.slope)
        ranked = statistics.compare_laws(x, N, sigma)
        return cls(ranked, slope, slope - half, slope + half)

    @property
    def best(self) -> statistics.LawFit:
        return next(iter(self.ranked.values()))

    def formula(self, name: str, x: str) -> str:
        """The law with its numbers."""
        first, second = self.ranked[name].parameters
        if name == "power":
            return f"{first:.3g} {x}^{second:.2f}"
        sign = "+" if first >= 0 else "−"
        what = x if name == "linear" else f"log {x}"
        return f"{second:.3g} {what} {sign} {abs(first):.3g}"


Results = dict[int, statistics.ThresholdSearch]


def scaling_laws(found: Results) -> Laws | None:
    """Of the thresholds that are known with an error; None if they are too few."""
    known = {
        value: search.threshold
        for value, search in found.items()
        if np.isfinite(search.threshold.relative_half_width)
        and search.threshold.estimate > 0
    }
    if len(known) < 3:
        return None
    return Laws.of(
        list(known),
        [fit.estimate for fit in known.values()],
        [standard_error(fit) for fit in known.values()],
    )


def scaling_summary(
    scaling: Scaling, runs: Runs, found: Results
) -> list[dict[str, Any]]:
    """The rows for the report."""
    figure = scaling.figure.replace("figure", "Figure ")
    x, released = scaling.along, runs.protocol.name == "released"
    their, ours = Laws.of(*_columns(scaling.published)), scaling_laws(found)
    rows = []
    if ours is not None:
        low, high = scaling.slope
        rows.append(
            row(
                f"{figure}: slope of log N on log {x}",
                paper=scaling.claim,
                released=their.slope,
                ours=ours.slope,
                low=ours.low,
                high=ours.high,
                agrees=bool(ours.low <= high and ours.high >= low),
                note="agrees: with the text; the published points, fitted alike: "
                f"{their.slope:.2f} [{their.low:.2f}, {their.high:.2f}]",
            )
        )
        best = ours.best
        rows.append(
            row(
                f"{figure}: law of N({x})",
                paper=scaling.claim,
                released=f"{their.best.name}: {their.formula(their.best.name, x)}",
                ours=f"{best.name}: {ours.formula(best.name, x)}",
                agrees=best.name == their.best.name if released else None,
                note="Akaike weights "
                + ", ".join(f"{n} {fit.weight:.2g}" for n, fit in ours.ranked.items())
                + f"; χ² of the best has p = {best.p_value:.2g}",
            )
        )
    shared = [value for value in found if value in scaling.published]
    for value, search in found.items():
        fit = search.threshold
        if np.isfinite(fit.high - fit.low) and value in scaling.published:
            theirs = scaling.published[value]
            # Jointly at 95 % over the values compared, and half of their spacing.
            joint = norm.ppf(1 - 0.025 / len(shared)) * standard_error(fit)
            allowed = joint + scaling.spacing(value) / 2
            agrees = bool(abs(theirs - fit.estimate) <= allowed) if released else None
            note = (
                f"allowed: ± {allowed:.3g} (joint 95 % over {len(shared)} comparisons, "
                f"{joint:.3g}, and half the spacing {scaling.spacing(value):g} of the "
                f"published runs)"
            )
        else:
            theirs, agrees, note = None, None, ""
        rows.append(
            row(
                f"{figure}: N at d = {scaling.size(value)[0]}, "
                f"p = {scaling.size(value)[1]}",
                released=theirs,
                ours=fit.estimate,
                low=fit.low,
                high=fit.high,
                agrees=agrees,
                note=note,
            )
        )
    undecided = sum(
        not (run.converged or run.stationary) for run in runs.known.values()
    )
    if runs.protocol.name == "flow":
        rows.append(
            row(
                f"{figure}: undecided runs of the flow",
                ours=undecided,
                note=f"of {len(runs.known)}, by {runs.protocol.horizons[-1]:g} t_∞",
            )
        )
    return rows


def scaling_table(scaling: Scaling, runs: Runs, found: Results) -> str:
    """table.md."""
    x = scaling.along
    other = "p" if x == "d" else "d"
    lines = []
    for value, search in found.items():
        fit, theirs = search.threshold, scaling.published.get(value)
        d, p = scaling.size(value)
        here = [run for name, run in runs.known.items() if name[1:3] == (d, p)]
        by_t = sum(run.converged_by(1) for run in here)
        lines.append(
            [
                str(value),
                interval(fit, 1),
                f"{fit.scale:.3g}",
                f"{fit.estimate / value:.2f}",
                f"{search.runs}" + ("" if search.precise else " (max_runs)"),
                f"{by_t}, {sum(run.converged for run in here)}, "
                f"{sum(run.stationary for run in here)} of {len(here)}",
                "" if theirs is None else f"{theirs:g}",
            ]
        )
    laws = [("published", Laws.of(*_columns(scaling.published)))]
    ours = scaling_laws(found)
    if ours is not None:
        laws.insert(0, ("ours", ours))
    fits = [
        [
            whose,
            name,
            law.formula(name, x),
            f"{fit.weight:.2g}",
            f"{fit.p_value:.2g}" if np.isfinite(fit.p_value) else "",
        ]
        for whose, law in laws
        for name, fit in law.ranked.items()
    ]
    slopes = "".join(
        f"- slope of log N on log {x}, {whose}: {law.slope:.2f} "
        f"[{law.low:.2f}, {law.high:.2f}]\n"
        for whose, law in laws
    )
    return (
        f"# {scaling.figure.replace('figure', 'Figure ')}, protocol "
        f"`{runs.protocol.name}`\n\n{runs.protocol.label}; {other} = {scaling.fixed}, "
        "float32. N: posterior median and 95 % interval of an adaptive search.\n\n"
        + slopes
        + "\n"
        + markdown_table(
            [
                x,
                "N",
                "s",
                f"N/{x}",
                "runs of the search",
                "converged by t_∞, at the end, stationary",
                "published N",
            ],
            lines,
        )
        + "\n"
        + markdown_table(["points", "law", "fit", "Akaike weight", "p of χ²"], fits)
    )


def draw_scaling(scaling: Scaling, runs: Runs, found: Results) -> Figure:
    """N against the values, linear and in logarithms."""
    x = scaling.along
    other = "p" if x == "d" else "d"
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 3.5))
    fits = {
        value: search.threshold
        for value, search in found.items()
        if search.threshold.estimate > 0
    }
    values, ours = np.array(list(fits)), scaling_laws(found)
    N, low, high = (
        np.array([getattr(fit, name) for fit in fits.values()])
        for name in ("estimate", "low", "high")
    )
    their_x, their_N = _columns(scaling.published)
    span = np.geomspace(min(*values, *their_x), max(*values, *their_x), 200)
    for axis in axes:
        bars = np.nan_to_num([N - low, high - N], posinf=0)
        axis.errorbar(
            values, N, bars, color=OURS, marker="o", ms=4, lw=0, elinewidth=1, capsize=2
        )
        axis.plot(their_x, their_N, "s", color=THEIRS, mfc="none", ms=4.5)
        if ours is not None:
            for (name, fit), style in zip(
                ours.ranked.items(), ("-", "--", ":"), strict=True
            ):
                label = f"{name}: {ours.formula(name, x)} (weight {fit.weight:.2f})"
                line = fit.predict(span)
                positive = line > 0
                axis.plot(
                    span[positive],
                    line[positive],
                    style,
                    color=OURS,
                    lw=1,
                    label=label if axis is axes[0] else None,
                )
        axis.set_xlabel({"d": "dimension d", "p": "number of neurons p"}[x])
        axis.set_ylabel("convergence threshold N")
    axes[0].set_ylim(bottom=0)
    axes[1].set(xscale="log", yscale="log")
    smallest, largest = min(*N, *their_N), max(*N, *their_N)
    axes[1].set_ylim(smallest / 1.3, largest * 1.3)
    ticks = _few(sorted({*values.tolist(), *their_x}))
    axes[1].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[1].minorticks_off()
    marks = [m for m in _ROUND if smallest / 1.3 <= m <= largest * 1.3]
    axes[1].set_yticks(marks, [f"{mark:g}" for mark in marks])
    points = [
        Line2D([], [], color=OURS, marker="o", ms=4, lw=0, label="ours, 95 % interval"),
        Line2D(
            [],
            [],
            color=THEIRS,
            marker="s",
            mfc="none",
            ms=4.5,
            lw=0,
            label="published (descent)",
        ),
    ]
    slopes = [f"published slope {Laws.of(their_x, their_N).slope:.2f}"]
    if ours is not None:
        slopes.insert(
            0, f"log–log slope {ours.slope:.2f} [{ours.low:.2f}, {ours.high:.2f}]"
        )
    axes[1].set_title("\n".join(slopes), fontsize=7.5)
    handles, _ = axes[0].get_legend_handles_labels()
    figure.legend(
        handles=points + handles,
        loc="outside lower center",
        ncols=2,
        title=f"{runs.protocol.label}; {other} = {scaling.fixed}",
        title_fontsize=8,
    )
    return figure


# Marks of a logarithmic axis.
_ROUND = [a * 10**k for k in range(1, 5) for a in (1, 2, 5)]


def _few(values: Sequence[float]) -> list[float]:
    """Those that are at least a factor 1.25 apart."""
    kept: list[float] = []
    for value in values:
        if not kept or value >= 1.25 * kept[-1]:
            kept.append(value)
    return kept


def _columns(points: dict[int, float]) -> tuple[list[float], list[float]]:
    return [float(x) for x in points], list(points.values())


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
    given_up: float = GIVEN_UP
    """When a run of the flow that is not decided ends, in units of t_∞."""
    seed: int = 0
    output: Path = Path("results")
    redraw: bool = False
    """Draw again from the records, without running."""

    @property
    @abc.abstractmethod
    def scaling(self) -> Scaling:
        """What is searched for."""

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


def scaling_figure(config: ScalingConfig) -> str:
    """Runs, unless `redraw`, and writes everything into its folder; returns the
    table."""
    scaling, how = config.scaling, config.search
    rules = protocol(config.protocol, config.given_up)
    where = folder(config.output, scaling.figure, config.protocol, config.size)
    if not config.redraw:
        write_config(where, config, f"experiments.{scaling.figure}")
        made = Runs(rules, folder=where / "runs", seed=config.seed)
        scaling.search(made, how)
        made.write(where)
    runs = Runs.read(where, rules)
    # The search is repeated on the records: the same runs, the same numbers.
    found = scaling.search(runs, how)
    with plt.rc_context(STYLE):
        write_figure(where, draw_scaling(scaling, runs, found), scaling.figure)
    write_summary(where, scaling_summary(scaling, runs, found))
    text = scaling_table(scaling, runs, found)
    write_text(where, "table.md", text)
    return text
