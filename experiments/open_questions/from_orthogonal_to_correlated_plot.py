"""The figure of “from orthogonal to correlated”."""

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxflow import statistics

from .common import BLUES, GREY, ORANGE, bars
from .decided import groups
from .from_orthogonal_to_correlated_runs import known_thresholds
from .from_orthogonal_to_correlated_table import NAMES, stops

_COLOURS = {"assumption": ORANGE, "bound": GREY, "zero": BLUES[3]}
_MARKS = {"assumption": "o", "bound": "s", "zero": "D"}


def draw(decided: xr.Dataset, data: xr.Dataset) -> Figure:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9.6, 3.2))
    _shares(left, decided, data)
    _stops(middle, decided, data)
    _rates(right, decided)
    return figure


def _shares(axis: Axes, decided: xr.Dataset, data: xr.Dataset) -> None:
    """At the largest n of the runs."""
    n = int(decided.n.max())
    own = data.isel(run=data.n.values == n)
    for name in ("assumption", "bound"):
        d = np.unique(own.d)
        good = [own[name].values[own.d.values == each] > 1 for each in d]
        share = statistics.proportion([g.sum() for g in good], [g.size for g in good])
        _points(axis, n**2 / d, share, name)
    runs = [g for g in groups(decided, "sphere") if g.n == n]
    zero = [int(g.runs.zero.sum()) for g in runs]
    share = statistics.proportion(zero, [g.runs.sizes["run"] for g in runs])
    _points(axis, n**2 / np.array([g.d for g in runs]), share, "zero")
    axis.axvline(n, color="k", lw=0.8, ls=":", label="$d=n$")
    axis.set(xscale="log", xlabel="$n^2/d$", ylabel="share of data sets or runs")
    axis.set_title(f"$n={n}$, $p={runs[0].p}$: what holds")
    # Between Assumption 2 and the others nothing is drawn there.
    axis.legend(loc="center", bbox_to_anchor=(0.36, 0.3))


def _points(axis: Axes, x: np.ndarray, share: statistics.Proportion, name: str) -> None:
    three = np.stack([share.estimate, share.low, share.high], axis=1)
    style = {"fmt": f"-{_MARKS[name]}", "color": _COLOURS[name], "label": NAMES[name]}
    bars(axis, x, three, **style)


def _stops(axis: Axes, decided: xr.Dataset, data: xr.Dataset) -> None:
    found = stops(decided, data)
    for name, title in NAMES.items():
        own = [stop for stop in found if stop.name == name and stop.low > 0]
        if not own:
            continue
        n = np.array([stop.n for stop in own])
        three = [(stop.d, stop.low, stop.high) for stop in own]
        style = {"fmt": _MARKS[name], "color": _COLOURS[name], "label": title}
        bars(axis, n, three, **style)
        if name in known_thresholds(1):
            known = [known_thresholds(each)[name] for each in n]
            label = "known as $n\\to\\infty$" if name == "bound" else None
            axis.plot(n, known, color=_COLOURS[name], label=label)
    axis.set_xscale("log", base=2)
    axis.set(yscale="log", xlabel="$n$", ylabel="$d$ at which it stops")
    axis.set_title("where it stops")
    axis.legend()


def _rates(axis: Axes, decided: xr.Dataset) -> None:
    """At the largest n of the runs."""
    n = int(decided.n.max())
    for inputs, colour, mark, label in (
        ("sphere", BLUES[3], "D", "on the sphere"),
        ("orthogonal", GREY, "s", "orthogonal inputs"),
    ):
        own = [g for g in groups(decided, inputs) if g.n == n]
        own = [g for g in own if np.isfinite(g.rate).all()]
        d = np.array([g.d for g in own])
        three = [g.rate for g in own]
        bars(axis, d / n, three, fmt=f"-{mark}", color=colour, label=label)
    axis.axvline(1, color="k", lw=0.8, ls=":", label="$d=n$")
    axis.set(xscale="log", xlabel="$d/n$", ylabel=r"median of $\sqrt{n}\,\mu_\infty$")
    axis.set(ylim=(0, None), title=f"$n={n}$: the rate")
    axis.legend()
