"""The figure of question 2."""

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..common.thresholds import math
from .common import BLUES, GREY, ORANGE, bars
from .ends_summary import outcomes
from .linear_threshold_table import SEARCHES, Group, capacity, groups, searched

_COLOURS = (BLUES[4], BLUES[2], ORANGE, "#f2b880")
_ENDS = {"zero": BLUES[3], "slow": BLUES[0], "open": "#dcdcdc", "stuck": ORANGE}


def draw(starts: xr.Dataset, ends: xr.Dataset, output: Path) -> Figure:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9.6, 3.4))
    _shares(left, output)
    found = groups(ends)
    d, p = found[0].d, found[0].p
    own = [g for g in found if g[:3] == (d, p, 0.0)]
    begun = [g for g in groups(starts) if g[:2] == (d, p)]
    _ended(middle, own, begun)
    middle.set_title(f"$d={d}$, $p={p}$, labels at random")
    _free(right, [g for g in found if g.slope == 0])
    return figure


def _shares(axis: Axes, output: Path) -> None:
    found = searched(output)
    for (name, *_), colour, mark in zip(SEARCHES, _COLOURS, "os^v", strict=True):
        if name not in found:
            continue
        by_d, by_p, by_rule = found[name]
        for chosen, face in ((by_d, colour), (by_p, "white"), (by_rule, "#f5e04c")):
            size = np.array([d * p for d, p, _ in chosen])
            if not chosen:
                continue
            N = np.array([(N.estimate, N.low, N.high) for *_, N in chosen])
            # Who is who is told once.
            label = math(name) if face == colour else None
            style = {"fmt": mark, "color": colour, "mfc": face, "capsize": 0}
            bars(axis, size, N / size[:, None], label=label, **style)
    axis.axhline(1, color=GREY, ls=":", lw=1)
    axis.set(xscale="log", yscale="log", xlabel="$pd$, parameters that count")
    axis.set(ylabel="$N/(pd)$")
    axis.set_title("filled: $d$ varies; open: $p$; yellow: width rule")
    axis.legend(fontsize=6.5, loc="lower left")


def _ended(axis: Axes, own: list[Group], begun: list[Group]) -> None:
    share = np.array([g.share for g in own])
    width = 0.7 * np.min(np.diff(share))
    bottom = np.zeros(len(own))
    for name, colour in _ENDS.items():
        part = np.array([outcomes(g.runs)[name].mean() for g in own])
        axis.bar(share, part, width, bottom, color=colour, label=name)
        bottom += part
    held = [g.runs.interpolable.values.mean() for g in begun]
    axis.plot(
        [g.share for g in begun], held, "k.-", label="held by the start's pattern"
    )
    axis.axvline(capacity(begun), color="k", ls=":", lw=1)
    axis.set(xlabel="$n/(pd)$ (dotted: $n=p\\,\\delta(n)$)", ylabel="share of runs")
    axis.legend(fontsize=6.5, loc="upper center", ncols=3, bbox_to_anchor=(0.5, -0.2))


def _free(axis: Axes, found: list[Group]) -> None:
    for name, mark in (("zero", "o"), ("slow", "s"), ("open", "d"), ("stuck", "x")):
        points = [
            (g.share, free / (g.p * g.d))
            for g in found
            for free in g.runs.free.values[outcomes(g.runs)[name]]
        ]
        if points:
            x, y = np.array(points).T
            colour = GREY if name == "open" else _ENDS[name]
            axis.plot(x, y, mark, color=colour, ms=3.5, alpha=0.7, label=name)
    ends = [0.4, 1.1]
    axis.plot(ends, ends, color=GREY, ls=":", lw=1)
    axis.set(
        xlabel="$n/(pd)$ (dotted: as many as $n$)", ylabel="free directions over $pd$"
    )
    axis.set_title("all sizes, at the end")
    axis.set(xlim=(0.42, 1.08), ylim=(0.42, 1.08))
    axis.legend(fontsize=6.5)
