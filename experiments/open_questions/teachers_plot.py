"""The figure of question 3."""

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxflow import statistics

from .common import BLUES, GREY, ORANGE, bars, median_interval
from .ends import looks
from .ends_summary import interpolating
from .teachers_table import Group, carried, groups

# What is drawn, and how: five at most.
_STYLES = {
    "1": ("teacher, k = 1", BLUES[1], "o", "-"),
    "4": ("k = 4", BLUES[2], "s", "-"),
    "16": ("k = 16", BLUES[4], "D", "-"),
    "4+noise": ("k = 4, 1 % noise", ORANGE, "^", "--"),
    "random": ("at random", GREY, "x", "--"),
}


def draw(records: xr.Dataset) -> Figure:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9.6, 3.2))
    found = groups(records)
    d, p = found[0].d, found[0].p
    found = [g for g in found if (g.d, g.p) == (d, p) and g.kind in _STYLES]
    kinds = [kind for kind in _STYLES if any(g.kind == kind for g in found)]
    for index, kind in enumerate(kinds):
        own = [g for g in found if g.kind == kind]
        label, colour, mark, line = _STYLES[kind]
        style = {"fmt": mark, "ls": line, "color": colour, "label": label}
        # Beside each other, so that none covers another.
        apart = 0.025 * d * p * (index - (len(kinds) - 1) / 2)
        n = np.array([g.n for g in own]) + apart
        share = statistics.proportion(
            [interpolating(g.runs).sum() for g in own],
            [g.runs.sizes["run"] for g in own],
        )
        shares = np.transpose([share.estimate, share.low, share.high])
        bars(left, n, shares, **style)
        free = [1 - g.runs.stuck.values.mean() for g in own]
        left.plot(n, free, line, color=colour, lw=0.8, alpha=0.6)
        half = min(own, key=lambda g: abs(g.share - 0.5))
        _losses(middle, half, colour, line)
        if np.isfinite(own[0].runs.test.values).all():
            tests = [median_interval(g.runs.test.values) for g in own]
            bars(right, n, tests, **style)
    left.set(ylim=(-0.03, 1.03), ylabel="share of runs")
    left.set_title(f"interpolating (thin: not stuck), $d={d}$, $p={p}$")
    right.set(yscale="log", ylabel=r"test error $E(h-f)^2/E f^2$, median")
    right.set_title("generalisation")
    for axis in (left, right):
        axis.axvline(p * d, color=GREY, ls=":", lw=1)
        axis.set(xlabel="$n$ (dotted: $n=pd$)")
    middle.set(xscale="log", yscale="log", ylim=(1e-10, 2))
    middle.set(xlabel=r"$t/t_\infty$", ylabel="$L/L(0)$, median and quartiles")
    middle.set_title(f"loss, $n={half.n}$")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(kinds))
    return figure


def _losses(axis: Axes, group: Group, colour: str, line: str) -> None:
    at = looks(float(group.runs.attrs["last"]))
    low, median, high = np.quantile(carried(group.runs), [0.25, 0.5, 0.75], axis=0)
    axis.plot(at, median, line, color=colour)
    axis.fill_between(at, low, high, color=colour, alpha=0.12, lw=0)
