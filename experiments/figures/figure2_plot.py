"""The table and both panels of Figure 2."""

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from jaxflow import statistics

from ..common import published as published
from ..common.output import markdown_table
from ..common.thresholds import OURS, THEIRS, Runs, by, by_width_rule, interval, math
from .figure2_searches import Config, Descent, Fitted, Found, meaning, remaining, theirs

SECOND, THIRD = "#4a7c2c", "#7b4ba0"


def table(
    config: Config,
    runs: Runs,
    fitted: Fitted,
    found: Found,
) -> str:
    """table.md."""
    d, p = config.dimension, by_width_rule(config.width)
    beside = theirs(config)
    flow = config.protocol == "flow"
    times = (*config.early, None)
    lines = []
    n, _, made = runs.counts(d, p)
    for size, total in zip(n.tolist(), made.tolist(), strict=True):
        here, cells = runs.at(size, d, p(size)), []
        for horizon in times:
            k = sum(
                run.converged if horizon is None else run.certified_by(horizon)
                for run in here
            )
            share = statistics.proportion(k, total)
            cells.append(
                f"{k}/{total} = {k / total:.3f} [{share.low:.3f}, {share.high:.3f}]"
            )
        left, _ = remaining(here)
        other = beside.get(size)
        open_runs = [run for run in here if not run.converged]
        stationary = sum(run.stationary for run in open_runs)
        lines.append(
            [
                str(size),
                str(p(size)),
                *cells,
                *([f"{stationary}/{len(open_runs)}"] if flow else []),
                f"{left:.2e}",
                f"{other[0] / other[1]:.3f}" if other else "",
            ]
        )
    header = ["n", "p", *(f"converged {meaning(config, time)}" for time in times)]
    header += ["not converged: stationary"] if flow else []
    header += ["L(end)/L(0)", "published"]
    thresholds = []
    for horizon, fit in fitted.items():
        line = f"- N, converged {meaning(config, horizon)}: {interval(fit)}"
        line += "" if np.isnan(fit.scale) else f", s = {fit.scale:.3g}"
        if horizon in found:
            search = found[horizon]
            ended = "" if search.precise else ", ended by max_runs"
            line += f" (search of {search.runs} runs{ended})"
        thresholds.append(line + "\n")
    return (
        f"# Figure 2, protocol `{config.protocol}`\n\n"
        f"{runs.protocol.label}; d = {d}, p = "
        + (f"{config.width} × " if config.width > 1 else "")
        + f"the width rule, {runs.protocol.dtype}. 95 % intervals: Clopper–Pearson for "
        + "shares, "
        + ("posterior" if found else "profile likelihood")
        + " for N.\n\n"
        + "".join(thresholds)
        + "\n"
        + markdown_table(header, lines)
    )


def draw(config: Config, runs: Runs, fitted: Fitted, descent: Descent) -> Figure:
    """Both panels."""
    d, p, beside = config.dimension, by_width_rule(config.width), theirs(config)
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.1))
    n, _, _ = runs.counts(d, p)
    span = np.linspace(n.min(), n.max(), 400)
    for index, (horizon, fit) in enumerate(fitted.items()):
        colour, marker = _STYLES[index % len(_STYLES)]
        _, k, m = runs.counts(d, p, horizon)
        label = f"ours, {meaning(config, horizon)}: {_equals(fit)}"
        # Side by side, so that the intervals of several horizons can be told apart.
        shift = (index - (len(fitted) - 1) / 2) * 0.006 * np.ptp(n)
        # A search makes one run or two at many n, whose intervals say nothing.
        some = m >= _FEW if config.protocol == "flow" else m > 0
        _with_bars(
            left, (n + shift)[some], k[some], m[some], colour, marker, math(label)
        )
        left.plot(
            (n + shift)[~some], (k / m)[~some], marker, color=colour, ms=2, alpha=0.4
        )
        left.plot(span, fit.probability(span), color=colour)
        if np.isfinite(fit.high - fit.low):
            left.axvspan(fit.low, fit.high, color=colour, alpha=0.15, lw=0)
    styles = ("--", "-.", ":")
    for (horizon, fit), style in zip(descent.items(), styles, strict=False):
        label = f"gradient descent, lr 1, {by(horizon)}: {_equals(fit)}"
        left.axvline(fit.estimate, color=THEIRS, ls=style, label=math(label))
        left.axvspan(fit.low, fit.high, color=THEIRS, alpha=0.2, lw=0)
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
    # As on the left, so that points at zero are whole.
    right.set_ylim(bottom=-0.04 * right.get_ylim()[1])
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


def _equals(fit: statistics.Threshold) -> str:
    known = interval(fit)
    return f"N {known}" if known[0] in "<>" else f"N = {known}"


# So many runs at an n are drawn with their interval.
_FEW = 4

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
