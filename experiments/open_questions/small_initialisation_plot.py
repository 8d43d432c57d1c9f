"""The figure of the small initialisation."""

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .common import BLUES, ORANGE, bars, median_interval
from .small_initialisation_table import (
    EVENTS,
    FIRST,
    LAST,
    by_width_rule,
    over_limit,
    two_neurons,
)


def draw(records: xr.Dataset, shown: xr.Dataset) -> Figure:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.2))
    _curves(left, shown)
    wide = by_width_rule(records, "orthogonal")
    for k, n in enumerate(dict.fromkeys((min(wide), max(wide)))):
        for event, mark in ((FIRST, "o-"), (LAST, "s--")):
            ratio = over_limit(wide[n], event)
            label = f"{EVENTS[event]}, n = {n}"
            _medians(middle, ratio, mark, (ORANGE, BLUES[3])[k], label)
    middle.axhline(1, color="black", lw=1, ls=":")
    middle.set(xscale="log", xlabel=r"$\log_{10}(1/s)$")
    middle.set(ylabel=r"time$/\log(1/s)$, over its limit")
    middle.set_title("when the loss falls")
    middle.legend()
    for colour, (n, own) in zip(BLUES[1:], wide.items(), strict=False):
        unit = float(own.p.values.flat[0]) * np.sqrt(n)
        _medians(right, own.norm / unit, "o-", colour, f"n = {n}")
        limit = float(np.median(own.norm_limit.values[0])) / unit
        right.axhline(limit, color=colour, ls=":", lw=1.2)
    right.plot([], [], ":", color="black", label=r"predicted, $s\to 0$")
    least = two_neurons("orthogonal")
    right.axhline(least, color="black", lw=1, ls="--", label="two neurons")
    right.set_xscale("symlog", linthresh=1)
    right.set(xlim=(-0.1, None), xlabel=r"$\log_{10}(1/s)$")
    right.set(ylabel=r"$\|\theta\|^2/(p\sqrt{n})$ at the end")
    right.set_title("size of the network")
    right.set_ylim(bottom=2.8)
    right.legend(ncols=2, loc=(0.02, 0.1))
    return figure


def _curves(axis: Axes, shown: xr.Dataset) -> None:
    for colour, exponent in zip(BLUES[::2], shown.exponent.values, strict=True):
        label = f"$s = 10^{{-{exponent:g}}}$"
        axis.plot(
            shown.tau, shown.loss.sel(exponent=exponent), color=colour, label=label
        )
    times, losses = shown.step_time.values, shown.step_loss.values
    axis.step([0, *times], losses, "k--", where="post", lw=1)
    axis.plot([], [], "k--", lw=1, label=r"predicted, $s\to 0$")
    axis.set(xlim=(0.9 * times[0], 1.3 * times[-1]), xlabel=r"flow time$/\log(1/s)$")
    axis.set(ylim=(-0.02, 1.05), ylabel="$L(t)/L(0)$")
    axis.set_title(f"one network, n = {int(shown.n)} orthonormal inputs")
    axis.legend()


def _medians(
    axis: Axes, values: xr.DataArray, mark: str, colour: str, label: str
) -> None:
    rows = [median_interval(row) for row in values.transpose("exponent", "seed").values]
    style = {"ms": 3.5, "lw": 1.1, "color": colour, "label": label}
    bars(axis, values.exponent.values, rows, fmt=mark, **style)
