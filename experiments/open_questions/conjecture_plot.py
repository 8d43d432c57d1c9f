"""The figure of Conjecture 1."""

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxflow import theory

from .common import BLUES, GREY, ORANGE
from .conjecture_runs import HORIZONS
from .conjecture_table import MIDDLE, Group, groups, law_at, line

_MARKS = "osD^v"


def draw(settled: xr.Dataset, followed: xr.Dataset, predicted: xr.Dataset) -> Figure:
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(9.6, 3.3), width_ratios=(1.2, 1, 1)
    )
    found = [g for g in groups(settled) if g.inputs == "orthogonal"]
    rules = list(dict.fromkeys(g.rule for g in found))
    for k, rule in enumerate(rule for rule in rules if rule.startswith("c")):
        colour, mark = BLUES[k % len(BLUES)], _MARKS[k % len(_MARKS)]
        own = [g for g in found if g.rule == rule]
        c = float(rule.split(" = ")[1])
        n, quantiles = line(predicted, c)
        near = n <= max(g.n for g in found)
        left.fill_between(
            n[near], quantiles[near, 0], quantiles[near, -1], color=colour, alpha=0.15
        )
        left.plot(n[near], quantiles[near, MIDDLE], color=colour)
        _points(left, own, colour, mark, rule)
        middle.plot(n, quantiles[:, MIDDLE], color=colour, label=rule)
        limit = theory.limiting_curvature_constant(c)
        middle.axhline(limit, color=colour, ls=":", lw=1)
        middle.text(n[-1] * 2, limit, f"$C_2={limit:.3f}$", va="bottom", fontsize=6.5)
    fixed = [g for g in found if g.rule.startswith("p")]
    if fixed:
        sizes = [g.n for g in fixed]
        laws = [law_at(predicted, g.n, g.p, "orthogonal") for g in fixed]
        medians = [float(law.quantiles[MIDDLE]) for law in laws]
        left.plot(sizes, medians, color=ORANGE, ls="--")
        _points(left, fixed, ORANGE, "x", fixed[0].rule)
    left.set(xscale="log", yscale="log", xlabel="$n$")
    left.set(ylabel=r"median of $\sqrt{n}\,\mu_\infty$")
    left.set_title("simulated (points) and predicted (lines)")
    left.legend(ncols=2)
    middle.set(
        xscale="log", yscale="log", xlabel="$n$", title=r"predicted to $10^{12}$"
    )
    middle.set_xlim(right=5e15)
    _measures(right, followed)
    return figure


def _points(axis: Axes, own: list[Group], colour: str, mark: str, label: str) -> None:
    medians = np.array([g.median for g in own])
    low, high = np.array([g.low for g in own]), np.array([g.high for g in own])
    axis.errorbar(
        [g.n for g in own],
        medians,
        [medians - low, high - medians],
        fmt=mark,
        color=colour,
        ms=4,
        capsize=2,
        lw=1,
        label=label,
    )


def _measures(axis: Axes, followed: xr.Dataset) -> None:
    """μ(t) and ⟨μ(t)⟩ over their limit."""
    sizes = sorted({int(n) for n in followed.n.values})
    for n, colour in zip(sizes, BLUES[1:], strict=False):
        runs = followed.isel(run=followed.n.values == n)
        for name, style, symbol in (
            ("curvature", "-", r"$\mu(t)$"),
            ("average", "--", r"$\langle\mu(t)\rangle$"),
        ):
            ratio = runs[name].values / runs.limit.values[:, None]
            shown = np.mean(np.isfinite(ratio), axis=0) > 0.5
            middle = [np.nanmedian(column) for column in ratio.T[shown]]
            label = f"{symbol}, n = {n}"
            axis.plot(
                np.array(HORIZONS)[shown], middle, style, color=colour, label=label
            )
    axis.axhline(1, color=GREY, lw=1)
    axis.set(xlabel=r"$t/t_\infty$", ylabel=r"over $\mu_\infty$, median over runs")
    axis.set_title("what the paper measured, $c=1$")
    axis.legend(fontsize=6.5)
