"""The figure and the table of what happens without Assumption 1."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from jaxflow import statistics

from ..common.output import markdown_table
from .common import BLUES, GREY, ORANGE, bars, grouped, median_interval
from .without_assumption_1_runs import pull

Group = tuple[float, int, int]
_NAMED = ("exponential", "pytorch")
# How points with their intervals are drawn.
_LINES: dict[str, Any] = {"ms": 3.5, "lw": 1.3}


def groups(records: xr.Dataset) -> Iterator[tuple[Group, dict[str, xr.Dataset]]]:
    """By the share of positive targets, n and d: the runs of each law."""
    for size, runs in grouped(records, ("share", "n", "d")):
        yield size, {law: own for (law,), own in grouped(runs, ("law",))}


def deltas(own: dict[str, xr.Dataset]) -> list[str]:
    """Laws |a_j| = δ‖w_j‖, by δ."""
    return sorted((law for law in own if law not in _NAMED), key=float)


def probability(runs: xr.Dataset) -> tuple[float, float, float]:
    """P(converged) with its interval, 95 % (Wilson)."""
    found = statistics.proportion(
        int(runs.converged.sum()), runs.sizes["run"], method="wilson"
    )
    value = float(found.estimate)
    # Where all runs converge, or none, an end is the value but for rounding.
    return value, min(float(found.low), value), max(float(found.high), value)


def sign_changes(scaled: np.ndarray) -> np.ndarray:
    """The share of sign changes at δ√d, for targets of both signs alike: w·e ~ N(0,
    1/d) over the problems, and half of it is against a."""
    return stats.norm.cdf(-scaled)


def draw(records: xr.Dataset) -> Figure:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.2))
    found = dict(groups(records))
    _probabilities(left, found)
    equal = {key[1]: own for key, own in found.items() if key[0] == 0.5}
    for colour, (n, own) in zip(BLUES[1:], equal.items(), strict=False):
        laws = [law for law in deltas(own) if float(law) > 0]
        x = np.array([float(law) for law in laws]) * np.sqrt(n)
        changed = [own[law].changed.values for law in laws]
        error = np.array([1.96 * c.std() / np.sqrt(c.size) for c in changed])
        means = np.array([c.mean() for c in changed])
        three = np.transpose([means, means - error, means + error])
        bars(middle, x, three, fmt="o", **_LINES, color=colour, label=f"n = d = {n}")
    grid = np.geomspace(0.02, 40, 200)
    middle.plot(grid, sign_changes(grid), "k:", label=r"$\Phi(-\delta\sqrt{d})$")
    middle.set(xscale="log", xlabel=r"$\delta\sqrt{d}$")
    middle.set(ylabel="share of $a_j$ that change sign")
    middle.set_title("targets of both signs alike")
    middle.legend()
    labels = {
        "exponential": "Assumption 1",
        "pytorch": "PyTorch",
        "0": r"$a(0)=0$",
        "1": "balanced",
    }
    marks, colours = "os^D", (BLUES[3], ORANGE, GREY, BLUES[1])
    for k, (law, label) in enumerate(labels.items()):
        sizes = [n for n, own in equal.items() if law in own]
        if sizes:
            rows = [median_interval(_rate(equal[n][law])) for n in sizes]
            style = {"fmt": marks[k] + "-", "color": colours[k], "label": label}
            bars(right, np.array(sizes) * 1.04**k, rows, **_LINES, **style)
    right.set(xscale="log", xlabel="$n = d$")
    right.set(ylabel=r"median of $\sqrt{n}\,\mu_\infty$")
    right.set_title("rate, targets of both signs alike")
    right.legend()
    return figure


def _probabilities(axis: Axes, found: dict[Group, dict[str, xr.Dataset]]) -> None:
    n = max((n for share, n, d in found if share > 0.5 and d > n), default=0)
    shown = [key for key in found if key[1] == n]
    shown.sort(key=lambda key: (key[0], key[2]))
    for colour, key in zip((GREY, *BLUES[1:]), shown, strict=False):
        share, _, d = key
        own = found[key]
        laws = deltas(own)
        rows = [probability(own[law]) for law in laws]
        label = f"{100 * share:.0f} % positive, d = {d // n if d > n else ''}n"
        x = np.array([float(law) for law in laws])
        bars(axis, x, rows, fmt="o-", **_LINES, color=colour, label=label)
        if share > 0.5:
            axis.axvline(pull(n, d, share), color=colour, ls=":", lw=1.2)
        # By the mean of |a_j|/‖w_j‖, a ~ U(±1) and ‖w‖² = p/3.
        mean = 0.5 * (3 / float(own["pytorch"].p.values[0])) ** 0.5
        axis.plot(mean, probability(own["pytorch"])[0], "*", color=colour, ms=9)
    axis.plot([], [], "k*", ms=8, label="PyTorch's default")
    axis.set_xscale("symlog", linthresh=0.01)
    axis.set(xlabel=r"$\delta=|a_j(0)|/\|w_j(0)\|$", ylabel="P(converged)")
    axis.set(xlim=(-0.001, 1.3), ylim=(-0.05, 1.35), yticks=np.linspace(0, 1, 5))
    axis.set_title(rf"n = {n}; dotted: the pull of the data, $w\cdot e$")
    axis.legend(ncols=2, fontsize=6, loc="upper left")


def _rate(runs: xr.Dataset) -> np.ndarray:
    """√n μ_∞ of the runs that converged."""
    return (np.sqrt(runs.n) * runs.limit).values[runs.converged.values.astype(bool)]


def tables(records: xr.Dataset) -> str:
    """table.md."""
    found = list(groups(records))
    parts = [
        "# Convergence and changes of sign",
        "P(converged) with a 95 % interval (Wilson); shares of neurons with |a_j| ≥ "
        "‖w_j‖ at the start, of those whose a_j changes its sign, of those that are "
        "foreseen to, and of those that end with the foreseen sign. “covered”: the "
        "share of runs with 𝓘 by the signs at the start and by the foreseen ones; "
        "“against”: runs that converge without the latter or do not with it. “pull” is "
        "the mean of w·e over ‖w‖ for many examples.",
        _convergence(found),
        "# Rates",
        "Median of √n μ_∞ of the runs that converged, with a 95 % interval by order "
        "statistics, targets of both signs alike. Exponent of the mean of μ_∞ over n "
        "with 95 % by bootstrap, and the root mean square error of that power law and "
        "of C/√n in log μ_∞.",
        _rates({n: own for (share, n, _), own in found if share == 0.5}),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _convergence(found: list[tuple[Group, dict[str, xr.Dataset]]]) -> str:
    rows = []
    for (share, n, d), own in found:
        for law in [name for name in _NAMED if name in own] + deltas(own):
            runs = own[law]
            value, low, high = probability(runs)
            undecided = ~runs.converged.astype(bool) & ~runs.lost.astype(bool)
            against = runs.converged != runs.covered_early
            means = [
                f"{float(runs[name].mean()):.3f}"
                for name in ("assumed", "changed", "foreseen", "agree")
            ]
            covered = [
                f"{float(runs[name].mean()):.2f}"
                for name in ("covered", "covered_early")
            ]
            rows.append(
                (
                    *(f"{share:g}", f"{n}", f"{d}", f"{pull(n, d, share):.3f}"),
                    law if law in _NAMED else f"δ = {law}",
                    f"{value:.2f} [{low:.2f}, {high:.2f}]",
                    f"{int(undecided.sum())} of {runs.sizes['run']}",
                    *means,
                    *covered,
                    f"{int(against.sum())}",
                )
            )
    header = ["positive", "n", "d", "pull", "law", "P(converged)", "undecided"]
    header += ["assumed", "changed", "foreseen", "agree", "covered", "foreseen"]
    return markdown_table([*header, "against"], rows)


def _rates(equal: dict[int, dict[str, xr.Dataset]]) -> str:
    sizes = sorted(equal)
    rows = []
    for law in equal[sizes[0]]:
        values = [_rate(equal[n][law]) for n in sizes]
        middle = [median_interval(value) for value in values]
        limits = [value / np.sqrt(n) for n, value in zip(sizes, values, strict=True)]
        fit = statistics.power_law(sizes, limits)
        mean, log_n = np.log([limit.mean() for limit in limits]), np.log(sizes)
        power = mean - np.polyval(np.polyfit(log_n, mean, 1), log_n)
        rows.append(
            (
                law if law in _NAMED else f"δ = {law}",
                *(f"{m:.3f} [{low:.3f}, {high:.3f}]" for m, low, high in middle),
                f"{fit.exponent:.3f} [{fit.low:.3f}, {fit.high:.3f}]",
                f"{power.std():.3f}",
                f"{(mean + log_n / 2).std():.3f}",
            )
        )
    header = ["law", *(f"n = {n}" for n in sizes), f"exponent, n = {sizes[0]} … "]
    header[-1] += f"{sizes[-1]}"
    return markdown_table([*header, "error of n^k", "of C/√n"], rows)
