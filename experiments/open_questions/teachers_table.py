"""The tables of question 3."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from jaxflow import statistics

from ..common.output import markdown_table
from .common import fall_time, grouped, median_interval
from .ends import looks
from .ends_summary import (
    BOUNDS,
    SAID,
    interpolating,
    outcomes,
    thresholds,
)

# L/L(0) whose times are asked for, and the intervals of the exponents, in t_∞.
_LEVELS = (1e-3, 1e-6, 1e-12)
_STRETCHES = ((4.0, 16.0), (16.0, 64.0))


class Group(NamedTuple):
    """The runs of one size and kind."""

    d: int
    p: int
    n: int
    kind: str
    runs: xr.Dataset

    @property
    def share(self) -> float:
        return self.n / (self.p * self.d)

    @property
    def name(self) -> tuple[str, str, str, str, str]:
        size = (f"{self.d}", f"{self.p}", f"{self.n}", f"{self.share:.2f}")
        return (*size, self.kind)


def groups(records: xr.Dataset) -> list[Group]:
    """In the order of their first runs."""
    return [
        Group._make((*name, runs)) for name, runs in grouped(records, Group._fields[:4])
    ]


def carried(runs: xr.Dataset) -> np.ndarray:
    """L/L(0) at the looks, after the end what was left there; shape (runs, looks)."""
    losses = runs.losses.values
    return np.where(np.isnan(losses), runs.rest.values[:, None], losses)


def times_to(runs: xr.Dataset, level: float) -> np.ndarray:
    """When L/L(0) was `level`, in t_∞, between looks by its logarithm; ∞ if never."""
    at = np.append(0.0, looks(float(runs.attrs["last"])))
    found = []
    for row, end, rest in zip(
        runs.losses.values, runs.end.values, runs.rest.values, strict=True
    ):
        seen = np.isfinite(row)
        # A stop ends a run a little above its level.
        left = min(rest, level) if rest <= 1.01 * level else rest
        t = np.concatenate([[0.0], at[1:][seen], [end]])
        found.append(fall_time(t, np.concatenate([[1.0], row[seen], [left]]), level))
    return np.array(found)


def exponents(runs: xr.Dataset, low: float, high: float) -> np.ndarray:
    """d log L/d log t of each run that was not over by `high`, between two times."""
    at = looks(float(runs.attrs["last"]))
    losses = runs.losses.values
    if high > at[-1]:
        return np.array([])
    first, last = (int(np.argmin(np.abs(at - t))) for t in (low, high))
    rise = np.log(losses[:, last] / losses[:, first])
    rise = rise / np.log(at[last] / at[first])
    return rise[np.isfinite(rise)]


def power_is_nearer(runs: xr.Dataset) -> np.ndarray:
    """Of each run with five looks from 4 t_∞ on: whether log L is nearer to a line in
    log t than to one in t, by least squares."""
    at = looks(float(runs.attrs["last"]))
    nearer = []
    for row in runs.losses.values:
        there = np.isfinite(row) & (at >= _STRETCHES[0][0])
        if there.sum() < 5:
            continue
        y = np.log(row[there])
        lines = [np.polyfit(x, y, 1, full=True)[1][0] for x in _abscissae(at[there])]
        nearer.append(lines[0] < lines[1])
    return np.array(nearer, bool)


def _abscissae(t: np.ndarray) -> Iterator[np.ndarray]:
    yield np.log(t)
    yield t


def tables(records: xr.Dataset) -> str:
    """table.md."""
    found = groups(records)
    stuck = records.stuck.values
    wrong = int((stuck & records.interpolable.values).sum())
    parts = [
        "# Outcomes",
        SAID.format(last=records.attrs["last"])
        + f" P: of zero and slow together, 95 %. Of all {int(stuck.sum())} stuck runs "
        f"{wrong} have a pattern that holds one. L/L(0) at the end is a median, p a "
        "test against labels at random of the same size (Boschloo, all of the table by "
        "Holm).",
        _outcomes(found),
        "# N by the labels",
        "Of a logistic P(n), over p d, 95 %: the flow's own N lies between that of "
        "zero loss and that of all that is not stuck.",
        _thresholds(found),
        "# Rates at n = p d/2",
        "Median times in t_∞ to L/L(0), over all runs; exponents d log L/d log t, "
        "medians over runs that go on; of the runs with five looks from 4 t_∞ on, the "
        "share nearer to a power of t than to an exponential.",
        _rates(found),
        "# What is learned",
        "Test: E(h − f)²/E f², median [95 %]; of the runs that interpolate, zero and "
        "slow, and of all. Found: the share of the teacher's neurons with a student "
        "neuron of their sign at a cosine ≥ 0.99; used: of Σ|a_j|‖w_j‖ in such. Means.",
        _learned(found),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _outcomes(found: list[Group]) -> str:
    rows, raw = [], []
    for g in found:
        base = next((o for o in found if o[:3] == g[:3] and o.kind == "random"), g)
        both = [interpolating(one.runs) for one in (g, base)]
        counts = [(int(one.sum()), one.size) for one in both]
        raw.append(float(statistics.compare_proportions(*counts[0], *counts[1])))
        share = statistics.proportion(*counts[0])
        rows.append(
            [
                *g.name,
                *(f"{some.sum()}" for some in outcomes(g.runs).values()),
                f"{share.estimate:.2f} [{share.low:.2f}, {share.high:.2f}]",
                f"{np.median(g.runs.rest):.1e}",
            ]
        )
    compared = [g.kind != "random" for g in found]
    adjusted = iter(statistics.holm(np.array(raw)[compared]))
    for row, one in zip(rows, compared, strict=True):
        row.append(f"{next(adjusted):.2g}" if one else "—")
    header = ["d", "p", "n", "n/(p d)", "labels", "zero", "slow", "open", "stuck"]
    return markdown_table([*header, "P", "L/L(0)", "p"], rows)


def _thresholds(found: list[Group]) -> str:
    rows = []
    for d, p, kind in dict.fromkeys((g.d, g.p, g.kind) for g in found):
        own = [g for g in found if (g.d, g.p, g.kind) == (d, p, kind)]
        cells = thresholds([g.share for g in own], [g.runs for g in own])
        rows.append((f"{d}", f"{p}", kind, *cells))
    return markdown_table(("d", "p", "labels", *BOUNDS), rows)


def _rates(found: list[Group]) -> str:
    rows = []
    for g in (g for g in found if abs(g.share - 0.5) < 0.02):
        times = [np.median(times_to(g.runs, level)) for level in _LEVELS]
        slopes = [exponents(g.runs, *stretch) for stretch in _STRETCHES]
        nearer = power_is_nearer(g.runs)
        rows.append(
            (
                *g.name[:3],
                g.kind,
                *(f"{t:.2g}" if np.isfinite(t) else "—" for t in times),
                *(f"{np.median(s):.1f} ({len(s)})" if len(s) else "—" for s in slopes),
                f"{nearer.sum()} of {len(nearer)}",
            )
        )
    header = ["d", "p", "n", "labels", *(f"{level:g}" for level in _LEVELS)]
    header += [f"{low:g} … {high:g} t_∞ (runs)" for low, high in _STRETCHES]
    return markdown_table([*header, "power"], rows)


def _learned(found: list[Group]) -> str:
    rows = []
    for g in (g for g in found if np.isfinite(g.runs.test.values).all()):
        good = interpolating(g.runs)
        cells = [_median(g.runs.test.values[some]) for some in (good, good | True)]
        shares = [f"{g.runs[name].values.mean():.2f}" for name in ("found", "used")]
        rows.append((*g.name, *cells, *shares))
    header = ["d", "p", "n", "n/(p d)", "labels", "test, interpolating", "test, all"]
    return markdown_table([*header, "found", "used"], rows)


def _median(sample: np.ndarray) -> str:
    """With its interval, where there are runs enough for one."""
    if not len(sample):
        return "—"
    median, low, high = median_interval(sample)
    bounds = f" [{low:.1e}, {high:.1e}]" if np.isfinite(low) else ""
    return f"{median:.1e}{bounds}"
