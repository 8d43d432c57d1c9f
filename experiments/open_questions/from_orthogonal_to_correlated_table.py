"""The tables of “from orthogonal to correlated”: what stops at which d, and which laws
in n and d these thresholds and the rate follow."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import stats

from jaxflow import statistics

from ..common.output import markdown_table
from .common import LAWS, law_rows
from .decided import COUNTS, groups
from .from_orthogonal_to_correlated_runs import known_thresholds

NAMES = {
    "assumption": "Assumption 2",
    "bound": "Lemma 6 > 0",
    "zero": "zero loss",
}


class Stop(NamedTuple):
    """The d at which half of the data sets or runs of n examples are on either side,
    and its 95 % interval."""

    name: str
    n: int
    d: float
    low: float
    high: float

    def __str__(self) -> str:
        """For tables: d with its interval, or the bound that is all that is known."""
        if self.low <= 0:
            return f"< {self.high:.4g}"
        return f"{self.d:.4g} [{self.low:.4g}, {self.high:.4g}]"


def stops(decided: xr.Dataset, data: xr.Dataset, generous: bool = False) -> list[Stop]:
    """By name and n. Undecided runs count as failed, or, `generous`, as converged."""
    found = []
    for name in ("assumption", "bound"):
        for n in np.unique(data.n):
            own = data.isel(run=data.n.values == n)
            failed = own[name].values <= 1
            found.append(_stop(name, n, own.d.values, failed, np.ones(len(failed))))
    sphere = groups(decided, "sphere")
    for n in sorted({g.n for g in sphere}):
        own_runs = [g for g in sphere if g.n == n]
        failed = np.array(
            [int(g.runs.rest.sum()) + (not generous) * g.undecided for g in own_runs]
        )
        made = np.array([g.runs.sizes["run"] for g in own_runs])
        found.append(_stop("zero", n, np.array([g.d for g in own_runs]), failed, made))
    return found


def _stop(
    name: str, n: int, d: np.ndarray, failed: np.ndarray, made: np.ndarray
) -> Stop:
    # The share that fails falls with d.
    fit = statistics.fit_threshold(np.log(d), failed.astype(int), made.astype(int))
    return Stop(name, int(n), *np.exp([fit.estimate, fit.low, fit.high]).tolist())


def tables(decided: xr.Dataset, data: xr.Dataset) -> str:
    """table.md."""
    found = stops(decided, data)
    parts = [
        "# The runs",
        "n examples on the sphere of R^d, p by the width rule, until they are decided. "
        "√n μ_∞: median over the runs that reach zero loss, with its 95 % interval by "
        "order statistics; beside it that on orthogonal inputs.",
        _runs(decided),
        "# Where it stops",
        "The d at which half of the data sets satisfy Assumption 2, at which for half "
        "of them the lower bound of Lemma 6 is positive, and at which half of the runs "
        "reach zero loss (undecided ones as failed, and as converged), with 95 % "
        "intervals. In brackets over what is known as n → ∞.",
        _stops(found, stops(decided, data, generous=True)),
        "Exponents k of d ∝ n^k by weighted least squares of log d, and χ² with k free "
        "and with k = 1 and 2.",
        _laws(found),
        "# The rate",
        "Laws in d ≤ n of the medians of √n μ_∞, by their intervals.",
        _rates(decided),
        "Runs on the sphere against those on orthogonal inputs at d ≥ n: runs that are "
        "not covered at the start (Lemma 5), how many of them reach zero loss, and the "
        "p-value of one law for both μ_∞ (Mann–Whitney).",
        _beside(decided),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _runs(decided: xr.Dataset) -> str:
    orthogonal = {(g.n, g.d): g for g in groups(decided, "orthogonal")}
    rows = []
    for g in groups(decided, "sphere"):
        other = orthogonal.get((g.n, g.d))
        beside = other.rate_text() if other else "—"
        sizes = (
            f"{g.n}",
            f"{g.p}",
            f"{g.d}",
            f"{g.d / g.n:.3g}",
            f"{g.n**2 / g.d:.3g}",
        )
        rows.append((*sizes, *g.counts(), g.rate_text(), beside))
    header = ["n", "p", "d", "d/n", "n²/d", *COUNTS, "√n μ_∞", "orthogonal"]
    return markdown_table(header, rows)


def _stops(found: list[Stop], generous: list[Stop]) -> str:
    at = {(stop.name, stop.n): stop for stop in found}
    kind = {(stop.name, stop.n): stop for stop in generous}
    rows = []
    for n in sorted({stop.n for stop in found}):
        cells = [f"{n}"]
        for name in NAMES:
            stop = at.get((name, n))
            if stop is None:
                cells.append("—")
                continue
            text = str(stop)
            known = known_thresholds(n).get(name)
            if known:
                text += f" ({stop.d / known:.2f})"
            else:
                text += f"; {kind[name, n]}"
            cells.append(text)
        last = at.get(("zero", n))
        gap = f"{at['assumption', n].d / last.d:.3g}" if last and last.d else "—"
        rows.append((*cells, gap))
    header = ("n", *NAMES.values(), "first over last")
    return markdown_table(header, rows)


def _laws(found: list[Stop]) -> str:
    rows = []
    for name, title in NAMES.items():
        own = [s for s in found if s.name == name and 0 < s.low < s.high < np.inf]
        if len(own) < 2:
            continue
        log_n, log_d = np.log([s.n for s in own]), np.log([s.d for s in own])
        weight = (3.92 / np.log([s.high / s.low for s in own])) ** 2
        x, y = (v - np.average(v, weights=weight) for v in (log_n, log_d))
        k = np.sum(weight * x * y) / np.sum(weight * x**2)
        error = 1.96 / np.sqrt(np.sum(weight * x**2))
        chi = [np.sum(weight * (y - each * x) ** 2) for each in (k, 1, 2)]
        over = f"{own[0].n} … {own[-1].n}"
        cells = (f"{value:.1f}" for value in chi)
        rows.append((title, over, f"{len(own)}", f"{k:.2f} ± {error:.2f}", *cells))
    header = ("threshold", "n", "sizes", "k", "χ², k free", "k = 1", "k = 2")
    return markdown_table(header, rows)


def _rates(decided: xr.Dataset) -> str:
    rows = []
    sphere = groups(decided, "sphere")
    for n in sorted({g.n for g in sphere}):
        own = [g for g in sphere if g.n == n >= g.d and np.isfinite(g.rate).all()]
        d, medians = np.array([g.d for g in own]), np.array([g.rate for g in own])
        rows += [(f"{n}", *row) for row in law_rows(d, medians)]
    return markdown_table(("n", *LAWS), rows)


def _beside(decided: xr.Dataset) -> str:
    others = {(g.n, g.d): g for g in groups(decided, "orthogonal")}
    rows = []
    for g in groups(decided, "sphere"):
        other = others.get((g.n, g.d))
        if other is None:
            continue
        cells, limits = [], []
        for each in (g, other):
            zero, covered = each.runs.zero.values == 1, each.runs.covered.values == 1
            cells.append(f"{np.sum(~covered)}, {np.sum(~covered & zero)}")
            limits.append(each.runs.limit.values[zero])
        p_value = f"{stats.mannwhitneyu(*limits).pvalue:.1e}"
        rows.append((f"{g.n}", f"{g.d}", *cells, p_value))
    header = ("n", "d", "sphere: uncovered, to zero", "orthogonal", "p-value")
    return markdown_table(header, rows)
