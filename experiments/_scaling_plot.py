"""The table and both panels of Figures 3 and 4."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxflow.statistics import Threshold

from ._output import markdown_table
from ._scaling import Scaling, by_when
from ._scaling_laws import Laws, Results, columns, scaling_laws
from ._thresholds import OURS, THEIRS, Runs, interval


def scaling_table(
    scaling: Scaling, runs: Runs, found: Results, descent: dict[int, Threshold]
) -> str:
    """table.md; `descent` has thresholds to set beside the flow's."""
    x = scaling.along
    other = "p" if x == "d" else "d"
    flow = runs.protocol.name == "flow"
    beside = bool(found.keys() & descent.keys())
    lines = []
    for value, search in found.items():
        fit, theirs = search.threshold, scaling.published.get(value)
        d, p = scaling.size(value)
        here = [run for name, run in runs.known.items() if name[1:3] == (d, p)]
        by_t = sum(run.converged_by(1) for run in here)
        ends = f"{by_t}"
        if flow:
            ends += f", {sum(run.converged for run in here)}, "
            ends += f"{sum(run.stationary for run in here)}"
        lines.append(
            [
                str(value),
                interval(fit, 1),
                f"{fit.scale:.3g}",
                f"{fit.estimate / value:.2f}",
                f"{search.runs}" + ("" if search.precise else " (max_runs)"),
                f"{ends} of {len(here)}",
                *([interval(descent[value], 1) if value in descent else ""] * beside),
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
        "float32. N"
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
                "converged by t_∞, at the end, stationary, of all made"
                if flow
                else "converged, of all made",
                *(["N of descent by t_∞"] * beside),
                "published N",
            ],
            lines,
        )
        + "\n"
        + markdown_table(["points", "law", "fit", "Akaike weight", "p of χ²"], fits)
    )


def draw_scaling(
    scaling: Scaling, runs: Runs, found: Results, descent: dict[int, Threshold]
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
    descent_x, descent_N = columns({x: fit.estimate for x, fit in descent.items()})
    span = np.geomspace(min(*values, *their_x), max(*values, *their_x), 200)
    for axis in axes:
        bars = np.nan_to_num([N - low, high - N], posinf=0)
        axis.errorbar(
            values, N, bars, color=OURS, marker="o", ms=4, lw=0, elinewidth=1, capsize=2
        )
        axis.plot(their_x, their_N, "s", color=THEIRS, mfc="none", ms=4.5)
        axis.plot(descent_x, descent_N, "^", color=OURS, mfc="none", ms=4.5)
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
    every = [*N, *their_N, *descent_N]
    smallest, largest = min(every), max(every)
    axes[1].set_ylim(smallest / 1.3, largest * 1.3)
    ticks = _few(sorted({*values.tolist(), *their_x, *descent_x}))
    axes[1].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[1].minorticks_off()
    marks = _marks(smallest / 1.3, largest * 1.3)
    axes[1].set_yticks(marks, [f"{mark:g}" for mark in marks])
    ours_label = "ours, 95 % interval"
    if runs.protocol.name == "flow":
        last = runs.protocol.horizons[-1]
        ours_label = f"ours, by {last:g} $t_\\infty$, 95 % interval"
    points = [
        Line2D([], [], color=OURS, marker="o", ms=4, lw=0, label=ours_label),
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
    if descent:
        points.insert(
            1,
            Line2D(
                [],
                [],
                color=OURS,
                marker="^",
                mfc="none",
                ms=4.5,
                lw=0,
                label="ours, descent by $t_\\infty$",
            ),
        )
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


def _marks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis, as few as do."""
    for round_numbers in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        marks = [a * 10.0**k for k in range(6) for a in round_numbers]
        marks = [mark for mark in marks if low <= mark <= high]
        if len(marks) >= 3:
            break
    return marks


def _few(values: Sequence[float]) -> list[float]:
    """Those that are at least a factor 1.4 apart."""
    kept: list[float] = []
    for value in values:
        if not kept or value >= 1.4 * kept[-1]:
            kept.append(value)
    return kept
