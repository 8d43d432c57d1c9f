"""The tables of question 2."""

import itertools
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

import jaxflow

from ..common.output import markdown_table
from ..common.protocols import EPSILON, Name, variant
from ..common.thresholds import by, interval
from ..figures import figure3, figure4
from ..figures.flow_law import Point, fit, points
from ..figures.scaling import as_threshold
from .common import grouped
from .ends_summary import (
    BOUNDS,
    SAID,
    interpolating,
    outcomes,
    thresholds,
)

# n λ_min of a kernel that is singular to rounding.
SINGULAR = 1e-15
# Name, protocol and when its runs are given up.
SEARCHES: tuple[tuple[str, Name, float | None], ...] = (
    ("flow, zero loss by 64 t_∞", "flow", None),
    ("flow, certificate by 4 t_∞", "flow", 4.0),
    ("descent, certificate by 4 t_∞", "paper", 4.0),
    ("descent, certificate by t_∞", "paper", None),
)


class Group(NamedTuple):
    """The runs of one size."""

    d: int
    p: int
    slope: float
    n: int
    runs: xr.Dataset

    @property
    def share(self) -> float:
        return self.n / (self.p * self.d)


def groups(records: xr.Dataset) -> list[Group]:
    """In the order of their first runs."""
    return [
        Group._make((*name, runs)) for name, runs in grouped(records, Group._fields[:4])
    ]


# N of Figure 3 (along d), of Figure 4 (along p) and of Figure 2 (p by the width rule).
Searched = dict[str, tuple[list[Point], list[Point], list[Point]]]


def searched(output: Path) -> Searched:
    """By the name of the search; those that the results have."""
    found = {}
    for name, protocol, given_up in SEARCHES:
        by_d, by_p = (
            points(made.Config(protocol, "full", None, None, given_up, output=output))
            for made in (figure3, figure4)
        )
        if by_d or by_p:
            found[name] = by_d, by_p, _by_width_rule(output, protocol, given_up)
    return found


def _by_width_rule(output: Path, name: Name, given_up: float | None) -> list[Point]:
    """N of Figure 2 by the same time, of runs that meet the certificate."""
    folder = output / "figure2" / variant(name, given_up=given_up)
    if given_up is None or not (folder / "summary.json").exists():
        return []
    found = []
    for one in json.loads((folder / "summary.json").read_text()):
        said = rf"threshold N, d = (\d+), converged {by(given_up)}$"
        if size := re.search(said, one["quantity"]):
            N = as_threshold(one)
            p = jaxflow.width_rule(round(N.estimate), EPSILON)
            found.append((int(size[1]), p, N))
    return found


def capacity(starts: list[Group]) -> float:
    """n/(p d) up to which n ≤ p δ(n), with δ the statistical dimension of the cone of
    one neuron, between the sizes by a line; NaN where these are all on one side."""
    share = np.array([g.share for g in starts])
    left = np.array([g.runs.dimension.values.mean() / g.d for g in starts]) - share
    if not left[0] > 0 > left[-1]:
        return np.nan
    k = int(np.argmax(left < 0))
    return float(np.interp(0, -left[k - 1 : k + 1], share[k - 1 : k + 1]))


def tables(starts: xr.Dataset, ends: xr.Dataset, output: Path) -> str:
    """table.md."""
    by_start, by_end = groups(starts), groups(ends)
    stuck = ends.stuck.values
    held = int((stuck & ends.interpolable.values).sum())
    permuted = int(ends.permuted.values.sum())
    parts = [
        "# N/(p d) of the flow and of descent",
        "From Figures 3 (d varies, p = 30), 4 (p varies, d = 30) and 2 (d = 100, p by "
        "the width rule); 95 %.",
        _shares(searched(output)),
        "N = c p d, and N = c (p d)^b, with the p of a χ² at least as large if the law "
        "holds.",
        _laws(searched(output)),
        "# How runs end",
        SAID.format(last=ends.attrs["last"])
        + f" Of the {int(stuck.sum())} stuck runs {held} have a pattern that holds "
        f"one. Of all {stuck.size} patterns at the end {permuted} hold the same labels "
        "in another order.",
        _ends(by_end),
        "Of the stuck runs, those with a singular tangent kernel, with an example "
        "without an active neuron, and with fewer free directions than examples.",
        _stuck(ends),
        "# What is left free at the end",
        "Medians over the runs that are zero or slow, then over those that are stuck "
        "or open: sliding pairs and Σ_j min(d − slides, active examples) over p d, "
        "n λ_min, and uncovered examples.",
        _free(by_end),
        "# N/(p d) of these runs",
        "Of a logistic P(n), 95 %: of zero loss, of zero and slow, and of all that is "
        "not stuck.",
        _thresholds(by_end),
        "# What the pattern of the start holds",
        "The share of starts whose pattern holds the labels, and the mean statistical "
        "dimension of a neuron's cone over d. The count n = p δ(n) gives the last "
        "column.",
        _starts(by_start),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _shares(found: Searched) -> str:
    rows = []
    for name, some in found.items():
        for d, p, N in itertools.chain(*some):
            shares = [end / (p * d) for end in (N.estimate, N.low, N.high)]
            share = "{:.3f} [{:.3f}, {:.3f}]".format(*shares)
            rows.append((name, f"{d}", f"{p}", interval(N), share))
    return markdown_table(("N of", "d", "p", "N", "N/(p d)"), rows)


def _laws(found: Searched) -> str:
    rows = []
    for name, (by_d, by_p, _) in found.items():
        for along, chosen in (("d", by_d), ("p", by_p)):
            law = fit(chosen)
            if law is not None:
                values = [d if along == "d" else p for d, p, _ in chosen]
                stretch = f"{along} = {min(values)} … {max(values)}"
                rows.append((name, stretch, f"{len(chosen)}", *law.cells))
    header = ("N of", "along", "points", "N = c p d", "p", "b", "p of b")
    return markdown_table(header, rows)


def _name(g: Group) -> tuple[str, ...]:
    slope = f"{g.slope:g}"
    return f"{g.d}", f"{g.p}", slope, f"{g.n}", f"{g.share:.2f}"


_NAME = ("d", "p", "slope", "n", "n/(p d)")


def _ends(found: list[Group]) -> str:
    rows = [
        (
            *_name(g),
            *(f"{some.sum()}" for some in outcomes(g.runs).values()),
            f"{np.median(g.runs.rest):.1e}",
        )
        for g in found
    ]
    return markdown_table([*_NAME, "zero", "slow", "open", "stuck", "L/L(0)"], rows)


def _stuck(ends: xr.Dataset) -> str:
    rows = []
    for (d, p, slope), runs in grouped(ends, ("d", "p", "slope")):
        own = runs.isel(run=runs.stuck.values)
        counts = (own.least < SINGULAR, own.uncovered > 0, own.free < own.n)
        cells = [f"{own.sizes['run']}", *(f"{int(count.sum())}" for count in counts)]
        rows.append((f"{d}", f"{p}", f"{slope:g}", *cells))
    header = ("d", "p", "slope", "stuck", "singular", "uncovered", "free < n")
    return markdown_table(header, rows)


def _free(found: list[Group]) -> str:
    rows = []
    for g in found:
        good, cells = interpolating(g.runs), []
        for some in (good, ~good):
            runs = g.runs.isel(run=some)
            if not some.any():
                cells += ["—"] * 4
                continue
            for name in ("sliding", "free"):
                cells.append(f"{np.median(runs[name]) / (g.p * g.d):.3f}")
            cells.append(f"{np.median(runs.least):.1e}")
            cells.append(f"{np.median(runs.uncovered):g}")
        rows.append((*_name(g), *cells))
    header = ("sliding", "free", "n λ_min", "uncovered")
    return markdown_table([*_NAME, *header, *(f"{name}, not" for name in header)], rows)


def _thresholds(found: list[Group]) -> str:
    rows = []
    for d, p, slope in dict.fromkeys(g[:3] for g in found):
        own = [g for g in found if g[:3] == (d, p, slope)]
        cells = thresholds([g.share for g in own], [g.runs for g in own])
        rows.append((f"{d}", f"{p}", f"{slope:g}", *cells))
    return markdown_table(("d", "p", "slope", *BOUNDS), rows)


def _starts(found: list[Group]) -> str:
    rows = []
    for d, p in dict.fromkeys(g[:2] for g in found):
        own = [g for g in found if g[:2] == (d, p)]
        for g in own:
            rows.append(
                (
                    *_name(g)[:2],
                    *_name(g)[3:],
                    f"{g.runs.interpolable.values.mean():.2f}",
                    f"{g.runs.dimension.values.mean() / d:.3f}",
                    f"{capacity(own):.3f}" if g is own[-1] else "",
                )
            )
    header = ("d", "p", "n", "n/(p d)", "holds", "δ/d", "n = p δ(n) at n/(p d)")
    return markdown_table(header, rows)
