"""The table and both panels of Figures 3 and 4."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D

from jaxflow import statistics

from ..common.output import markdown_table
from ..common.thresholds import OURS, THEIRS, Outcome, Runs, by, interval, math
from .scaling import Descent, Scaling, by_when
from .scaling_laws import Laws, Results, columns, scaling_laws


def scaling_table(
    scaling: Scaling, runs: Runs, found: Results, descent: Descent
) -> str:
    """table.md; `descent` has thresholds to set beside the flow's."""
    x = scaling.along
    other = "p" if x == "d" else "d"
    beside = {by(h): N for h, N in descent.items() if found.keys() & N.keys()}
    lines = []
    for value, search in found.items():
        fit, theirs = search.threshold, scaling.published.get(value)
        d, p = scaling.size(value)
        here = [run for name, run in runs.known.items() if name[1:3] == (d, p)]
        lines.append(
            [
                str(value),
                interval(fit, 1),
                f"{fit.scale:.3g}",
                f"{fit.estimate / value:.2f}",
                f"{search.runs}" + ("" if search.precise else " (max_runs)"),
                f"{_ends(runs, here)} of {len(here)}",
                *([_most(runs, d, p)] if runs.protocol.decided else []),
                *(interval(N[value], 1) if value in N else "" for N in beside.values()),
                "" if theirs is None else f"{theirs:g}",
            ]
        )
    laws = [("published", Laws.of(*columns(scaling.published)))]
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
        f"{runs.protocol.dtype}. N"
        + by_when(runs)
        + ": posterior median and 95 % interval of an adaptive "
        "search.\n\n"
        + slopes
        + "\n"
        + markdown_table(
            [
                x,
                "N",
                "s",
                f"N/{x}",
                "runs of the search",
                f"{_ends_header(runs)}, of all made",
                *(["N if the undecided go to zero"] if runs.protocol.decided else []),
                *(f"N of descent {when}" for when in beside),
                "published N",
            ],
            lines,
        )
        + "\n"
        + markdown_table(["points", "law", "fit", "Akaike weight", "p of χ²"], fits)
    )


def _ends_header(runs: Runs) -> str:
    """What `_ends` counts."""
    flow = runs.protocol.name == "flow"
    if runs.protocol.decided:
        return "certified by t_∞, by 4 t_∞, at all; zero loss, stationary, undecided"
    by_when_ended = " by t_∞, at the end" if by_when(runs) else ""
    return "converged" + by_when_ended + ", stationary" * flow


def _ends(runs: Runs, here: list[Outcome]) -> str:
    """How some runs ended, in numbers."""
    zero, rests = (
        sum(getattr(run, name) for run in here) for name in ("converged", "stationary")
    )
    certified = [sum(run.certified_by(time) for run in here) for time in (1, 4, np.inf)]
    if runs.protocol.decided:
        early, later, whenever = certified
        left = len(here) - zero - rests
        return f"{early}, {later}, {whenever}; {zero}, {rests}, {left}"
    ends = f"{certified[0]}, {zero}" if by_when(runs) else f"{zero}"
    return f"{ends}, {rests}" if runs.protocol.name == "flow" else ends


def _most(runs: Runs, d: int, p: int) -> str:
    """N where runs that are undecided count as zero loss."""
    made: dict[int, list[bool]] = {}
    for (n, own_d, own_p, _), run in runs.known.items():
        if (own_d, own_p) == (d, p):
            made.setdefault(n, []).append(not run.stationary)
    sizes = sorted(made)
    fit = statistics.fit_threshold(
        sizes, [sum(made[n]) for n in sizes], [len(made[n]) for n in sizes]
    )
    return interval(fit, 1)


def draw_scaling(
    scaling: Scaling, runs: Runs, found: Results, descent: Descent
) -> Figure:
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
    their_x, their_N = columns(scaling.published)
    lines = {
        horizon: columns({x: fit.estimate for x, fit in thresholds.items()})
        for horizon, thresholds in descent.items()
    }
    descent_x, descent_N = (
        [point for line in lines.values() for point in line[i]] for i in (0, 1)
    )
    # Laws are drawn where they are fitted.
    span = np.geomspace(min(values), max(values), 200)
    # Where a search found no more than a bound, N is infinite: ∞ − ∞ is no bar.
    with np.errstate(invalid="ignore"):
        bars = np.nan_to_num([N - low, high - N], posinf=0)
    for axis in axes:
        axis.errorbar(
            values, N, bars, color=OURS, marker="o", ms=4, lw=0, elinewidth=1, capsize=2
        )
        axis.plot(their_x, their_N, "s", color=THEIRS, mfc="none", ms=4.5)
        for (line_x, line_N), marker in zip(lines.values(), _MARKERS, strict=False):
            axis.plot(line_x, line_N, marker, color=OURS, mfc="none", ms=4.5)
        if ours is not None:
            # The best first. Beside descent the last one has no place in the legend.
            styles = ("-", "--") if lines else ("-", "--", ":")
            for (name, fit), style in zip(ours.ranked.items(), styles, strict=False):
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
    every = [one for one in (*N, *their_N, *descent_N) if np.isfinite(one)]
    smallest, largest = min(every), max(every)
    axes[1].set_ylim(smallest / 1.3, largest * 1.3)
    ticks = _few(sorted({*values.tolist(), *their_x, *descent_x}))
    axes[1].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[1].minorticks_off()
    marks = _marks(smallest / 1.3, largest * 1.3)
    axes[1].set_yticks(marks, [f"{mark:g}" for mark in marks])
    when = f", {by(runs.protocol.horizons[-1])}" if by_when(runs) else ""
    mark = lambda marker, colour, fill: Line2D(
        [], [], color=colour, marker=marker, mfc=fill, ms=4.5, lw=0
    )
    points: dict[str, Line2D | tuple[Line2D, ...]] = {
        f"ours{when}, 95 % interval": mark("o", OURS, OURS)
    }
    if lines:
        label = "ours, descent " + ", ".join(by(horizon) for horizon in lines)
        points[label] = tuple(mark(one, OURS, "none") for one in _MARKERS[: len(lines)])
    points["published (descent)"] = mark("s", THEIRS, "none")
    slopes = [f"published slope {Laws.of(their_x, their_N).slope:.2f}"]
    if ours is not None:
        slopes.insert(
            0, f"log–log slope {ours.slope:.2f} [{ours.low:.2f}, {ours.high:.2f}]"
        )
    axes[1].set_title("\n".join(slopes), fontsize=7.5)
    laws, names = axes[0].get_legend_handles_labels()
    figure.legend(
        handles=[*points.values(), *laws],
        labels=[*map(math, points), *names],
        handler_map={tuple: HandlerTuple(ndivide=None)},
        loc="outside lower center",
        ncols=2,
        title=f"{runs.protocol.label}; {other} = {scaling.fixed}",
        title_fontsize=8,
    )
    return figure


# Of descent beside the flow, by its horizons.
_MARKERS = ("^", "v")


def _marks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis, as few as do."""
    for round_numbers in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        marks = [a * 10.0**k for k in range(6) for a in round_numbers]
        marks = [mark for mark in marks if low <= mark <= high]
        if len(marks) >= 3:
            break
    return marks


def _few(values: Sequence[float]) -> list[float]:
    """Those that are at least a factor 1.45 apart."""
    kept: list[float] = []
    for value in values:
        if not kept or value >= 1.45 * kept[-1]:
            kept.append(value)
    return kept
