"""The figure of “many neurons”."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .common import BLUES, GREY, ORANGE, bars
from .decided import Group, groups
from .many_neurons_runs import LOOKS, Start
from .many_neurons_table import spread

_MARKS = "osD^v"


def draw(
    rows: xr.Dataset,
    law: xr.Dataset,
    curves: Mapping[str, xr.Dataset],
    starts: Mapping[str, Start],
) -> Figure:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9.6, 3.2))
    _rate(left, groups(rows, "orthogonal"), law)
    _probability(middle, groups(rows, "sphere"))
    _scatter(right, curves["orthogonal"], starts["orthogonal"])
    return figure


def _rate(axis: Axes, found: list[Group], law: xr.Dataset) -> None:
    n = found[0].n
    known = [g for g in found if np.isfinite(g.rate).all()]
    p = np.array([g.p for g in known])
    bars(axis, p, [g.rate for g in known], fmt="o", color=BLUES[3], label="simulated")
    axis.plot(law.p, law["median"], color=BLUES[3], label="predicted, nothing fitted")
    # The conjecture has one number for all wide networks: that of the widest here.
    axis.axhline(known[-1].rate[0], color=GREY, ls=":", label="no dependence on $p$")
    axis.set(xlabel="neurons $p$")
    axis.set_xscale("log", base=2)
    axis.set(ylabel=r"median of $\sqrt{n}\,\mu_\infty$")
    axis.set_title(f"rate, orthogonal inputs, $n={n}$")
    axis.legend()


def _probability(axis: Axes, found: list[Group]) -> None:
    for k, n in enumerate(sorted({g.n for g in found})):
        own = [g for g in found if g.n == n]
        shares = [(g.share.estimate, g.share.low, g.share.high) for g in own]
        style = {"color": BLUES[k + 1], "label": f"$n={n}$", "fmt": f"-{_MARKS[k]}"}
        bars(axis, np.array([g.p * g.d / n for g in own]), shares, **style)
    axis.axvline(1, color=ORANGE, ls="--", label="a weight an example")
    axis.set_xscale("log", base=2)
    # Room for the legend.
    axis.set_xlim(right=2 * axis.get_xlim()[1])
    axis.set(xlabel="weights per example, $pd/n$", ylim=(-0.03, 1.03))
    axis.set(ylabel="share of runs to zero loss")
    axis.set_title(f"probability, on the sphere, $d={found[0].d}$")
    axis.legend(loc="lower right")


def _scatter(axis: Axes, curves: xr.Dataset, start: Start) -> None:
    p, deviation = curves.p.values, spread(curves, "loss")
    known = start.loss_spread / start.loss / np.sqrt(p)
    axis.plot(p, known, color=ORANGE, ls="--", label=r"exact as $p\to\infty$, $t=0$")
    # Of a standard deviation of m normal numbers, nearly.
    half = 1.96 / np.sqrt(2 * curves.sizes["seed"])
    shown = [LOOKS.index(look) for look in (0.0, 1.0, 4.0, 16.0)]
    for k, colour, mark in zip(shown, BLUES[1:], _MARKS, strict=False):
        label = "$t=0$" if k == 0 else rf"$t={LOOKS[k]:g}\sqrt{{n}}$"
        three = np.outer(deviation[k], (1, 1 - half, 1 + half))
        bars(axis, p, three, fmt=mark, color=colour, label=label)
        # From the widest, with the slope of Lemma 4.
        axis.plot(p, deviation[k, -1] * np.sqrt(p[-1] / p), color=colour, lw=0.8)
    axis.set(yscale="log", xlabel="neurons $p$")
    axis.set_xscale("log", base=2)
    axis.set(ylabel=r"standard deviation of $\log L(t)$")
    n, d = (int(curves.attrs[name]) for name in ("n", "d"))
    axis.set_title(f"networks on one data set, $n={n}$, $d={d}$")
    # Room for the legend.
    axis.set_ylim(bottom=known[-1] / 30)
    axis.legend(loc="lower left", ncols=2)
