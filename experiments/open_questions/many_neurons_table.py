"""The tables of “many neurons”: probability and rate against p, the least width on
correlated inputs, and how networks on one data set differ."""

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr
from scipy import stats

from jaxflow import statistics, theory

from ..common.output import markdown_table
from ..common.protocols import last_time
from .common import LAWS, law_rows
from .decided import COUNTS, Group, groups
from .many_neurons_runs import LOOKS, Start

# How the scatter falls with p is asked of networks this wide and wider.
WIDE = (32, 128)


def covered(n: int, p: int) -> float:
    """P(𝓘) on n orthogonal inputs whose targets have fair signs, exactly."""
    positive = np.arange(n + 1.0)
    weights = stats.binom.pmf(positive, n, 0.5)
    return float(weights @ theory.coverage_probability(positive, n - positive, p))


def thresholds(
    found: list[Group], generous: bool = False
) -> Iterator[tuple[int, int, statistics.Threshold]]:
    """For each n: n, d and the number x of examples per weight, n/(p d), at which half
    of the networks reach zero loss. Undecided runs count as failed, or, `generous`, as
    converged."""
    for n in sorted({group.n for group in found}):
        own = [group for group in found if group.n == n]
        good = [int(g.runs.zero.sum()) + generous * g.undecided for g in own]
        x = [n / (g.p * g.d) for g in own]
        trials = [g.runs.sizes["run"] for g in own]
        yield n, own[0].d, statistics.fit_threshold(x, good, trials)


def spread(curves: xr.Dataset, name: str) -> np.ndarray:
    """The standard deviation over networks of log L(t) or log μ(t), (time, p)."""
    values = curves[name].transpose("time", "p", "seed").values
    return np.log(values).std(axis=-1, ddof=1)


def exponent(curves: xr.Dataset, look: int, least: int) -> statistics.PowerLaw:
    """k in Var log L(t) ∝ p^k over p ≥ least, −1 where log L is E log L + O(1/√p)."""
    wide = np.log(curves.isel(p=curves.p.values >= least, time=look).loss)
    squares = (wide - wide.mean("seed")) ** 2
    return statistics.power_law(wide.p.values, squares.transpose("p", "seed").values)


def tables(
    rows: xr.Dataset,
    law: xr.Dataset,
    curves: Mapping[str, xr.Dataset],
    starts: Mapping[str, Start],
) -> str:
    """table.md."""
    orthogonal, correlated = groups(rows, "orthogonal"), groups(rows, "sphere")
    parts = [
        "# Orthogonal inputs",
        "Runs until they are decided, of networks that each have data of their own. "
        "P(𝓘): the exact probability that every example is covered at the start. "
        "√n μ_∞: median over the runs that reach zero loss, with its 95 % interval by "
        "order statistics. T: when L is at 1 % of L(0), median. λ_max of the tangent "
        "kernel at the end, median: descent bounces above a learning rate of 2/λ_max.",
        _orthogonal(orthogonal, law),
        "Laws in p of the medians at the widths that have a prediction: χ² by their "
        "intervals. The prediction has no free number, the others two.",
        _laws(orthogonal, law),
        "# Correlated inputs",
        "Directions uniform on the sphere. x = n/(p d).",
        _correlated(correlated),
        "x at which half of the runs reach zero loss, with undecided runs as failed "
        "and as converged, and the width that this is.",
        _thresholds(correlated),
        "# Networks on one data set",
        "√p times the standard deviation of log L(t) over networks, and the exponent k "
        "of that deviation in p, with its 95 % interval by bootstrap. At t = 0 the "
        "limit p → ∞ is known, as is that of log μ (Lemma 4).",
        *(_scatter(name, curves[name], starts[name]) for name in curves),
        "Median of L(t)/L(0) over networks.",
        *(_medians(name, curves[name]) for name in curves),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _fitted(group: Group) -> str:
    median = np.median(group.runs.fitted) / np.sqrt(group.n)
    return f"{median:.2f}" if np.isfinite(median) else "—"


def _orthogonal(found: list[Group], law: xr.Dataset) -> str:
    header = ["n", "p", *COUNTS, "P(𝓘)"]
    header += ["√n μ_∞", "predicted", "T/√n", "t_∞/√n", "λ_max"]
    predicted = dict(zip(law.p.values.tolist(), law["median"].values, strict=True))
    rows = []
    for g in found:
        rows.append(
            (
                f"{g.n}",
                f"{g.p}",
                *g.counts(),
                f"{covered(g.n, g.p):.3f}",
                g.rate_text(),
                f"{predicted[g.p]:.4f}" if g.p in predicted else "—",
                _fitted(g),
                f"{last_time(g.n, g.p) / np.sqrt(g.n):.1f}",
                f"{np.median(g.runs.largest):.3f}",
            )
        )
    return markdown_table(header, rows)


def _laws(found: list[Group], law: xr.Dataset) -> str:
    own = [g for g in found if g.p in law.p.values and np.isfinite(g.rate).all()]
    p, rates = np.array([g.p for g in own]), np.array([g.rate for g in own])
    expected = law["median"].values[[law.p.values.tolist().index(g.p) for g in own]]
    off = (rates[:, 0] - expected) / (rates[:, 2] - rates[:, 1]) * 3.92
    over, chi = f"{p.min()} … {p.max()}", f"{np.sum(off**2):.1f}"
    first = ("prediction", over, f"{len(p)}", "0", chi, "—")
    return markdown_table(LAWS, [first, *law_rows(p, rates)])


def _correlated(found: list[Group]) -> str:
    header = ["n", "d", "p", "x", *COUNTS]
    header += ["√n μ_∞", "T/√n", "λ_max"]
    rows = [
        (
            f"{g.n}",
            f"{g.d}",
            f"{g.p}",
            f"{g.n / g.p / g.d:.2f}",
            *g.counts(),
            g.rate_text(),
            _fitted(g),
            f"{np.median(g.runs.largest):.3f}",
        )
        for g in found
    ]
    return markdown_table(header, rows)


def _thresholds(found: list[Group]) -> str:
    rows, widths = [], []
    pairs = list(zip(thresholds(found), thresholds(found, True), strict=True))
    for (n, d, strict), (_, _, generous) in pairs:
        widths.append([n / d / x for x in (strict.estimate, strict.high, strict.low)])
        shown = [
            f"{fit.estimate:.2f} [{fit.low:.2f}, {fit.high:.2f}]"
            for fit in (strict, generous)
        ]
        rows.append(
            (f"{n}", f"{d}", *shown, "{:.1f} [{:.1f}, {:.1f}]".format(*widths[-1]))
        )
    header = ("n", "d", "x, undecided failed", "x, undecided converged", "p")
    laws = law_rows(np.array([n for (n, *_), _ in pairs]), np.array(widths))
    return "\n".join(
        [
            markdown_table(header, rows),
            "Laws in n of that width, by its intervals.\n",
            markdown_table(LAWS, laws),
        ]
    )


def _scatter(name: str, curves: xr.Dataset, start: Start) -> str:
    p, networks = curves.p.values, curves.sizes["seed"]
    rows = []
    for k, values in enumerate(spread(curves, "loss") * np.sqrt(p)):
        limit = f"{start.loss_spread / start.loss:.3f}" if k == 0 else "—"
        cells = [*(f"{value:.3f}" for value in values), limit]
        for least in WIDE:
            if np.sum(p >= least) < 2:
                cells.append("—")
                continue
            fit = exponent(curves, k, least)
            halves = (fit.exponent / 2, fit.low / 2, fit.high / 2)
            cells.append("{:.2f} [{:.2f}, {:.2f}]".format(*halves))
        rows.append((f"L({LOOKS[k]:g}√n)", *cells))
    first = spread(curves, "curvature")[0] * np.sqrt(p)
    known = start.curvature_spread / start.curvature
    limit = f"{known:.3f}" if np.isfinite(known) else "—"
    rows.append(("μ(0)", *(f"{value:.3f}" for value in first), limit, "", ""))
    header = [f"{name}, {networks} networks", *(f"p = {each}" for each in p), "p → ∞"]
    return markdown_table([*header, *(f"k, p ≥ {least}" for least in WIDE)], rows)


def _medians(name: str, curves: xr.Dataset) -> str:
    share = curves.loss / curves.loss.isel(time=0)
    medians = share.median("seed").transpose("time", "p").values
    rows = [
        (f"{look:g}√n", *(f"{value:.3g}" for value in values))
        for look, values in zip(LOOKS, medians, strict=True)
    ]
    return markdown_table([f"{name}, t", *(f"p = {p}" for p in curves.p.values)], rows)
