"""The table of Conjecture 1: simulated medians beside the predicted ones, and which law
in n they follow."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from jaxflow import statistics, theory

from ..common.output import markdown_table
from .common import grouped, median_interval
from .conjecture_runs import HORIZONS, QUANTILES, width

MIDDLE = QUANTILES.index(0.5)


class Group(NamedTuple):
    """The networks of one size: √n μ_∞, its median and the interval of it."""

    n: int
    p: int
    rule: str
    inputs: str
    runs: xr.Dataset
    values: np.ndarray
    median: float
    low: float
    high: float


def groups(settled: xr.Dataset) -> Iterator[Group]:
    """In the order of inputs, rule and n."""
    order = lambda name: (name[0] != "orthogonal", name[1][0], _number(name[1]))
    found = dict(grouped(settled, ("inputs", "rule", "n")))
    for inputs, rule, n in sorted(found, key=lambda name: (*order(name), name[2])):
        runs = found[inputs, rule, n]
        values = np.sqrt(n) * runs.limit.values
        median = median_interval(values)
        yield Group(n, int(runs.p.values[0]), rule, inputs, runs, values, *median)


def law_at(predicted: xr.Dataset, n: float, p: int, inputs: str) -> xr.Dataset:
    """What is predicted at this size."""
    found = (predicted.n == n) & (predicted.p == p) & (predicted.inputs == inputs)
    return predicted.isel(run=int(np.argmax(found.values)))


def line(predicted: xr.Dataset, c: float) -> tuple[np.ndarray, np.ndarray]:
    """n of the predictions at p = c log(n/ε)/log(4/3), and their quantiles."""
    known = set(zip(predicted.n.values, predicted.p.values, strict=True))
    sizes = sorted({n for n, p in known if p == width(int(n), c)})
    laws = [law_at(predicted, n, width(int(n), c), "orthogonal") for n in sizes]
    return np.array(sizes), np.array([law.quantiles.values for law in laws])


def tables(settled: xr.Dataset, followed: xr.Dataset, predicted: xr.Dataset) -> str:
    """table.md."""
    found = list(groups(settled))
    parts = [
        "# √n μ_∞, simulated and predicted",
        "Medians with 95 % intervals by order statistics; ± is half the interval. "
        "“diagonal” is the median of the least diagonal entry of the kernel over its "
        "least eigenvalue, k the median number of neurons on the example that has it; "
        "A is the mean of a_j²/√n and v the coefficient of variation of a_j² within a "
        "network, simulated and predicted.",
        _medians(found, predicted),
        "# Laws in n",
        "Of the medians, by weighted least squares of their logarithms: μ_∞ = C/√n, a "
        "power n^k with k free, and the prediction, which has no free number. χ² by "
        "the intervals of the medians, and Δ = χ² + 2 × free numbers less the least of "
        "the three.",
        _laws(found, predicted),
        "# What the paper measured, c = 1",
        "Exponents in n of the mean over runs, with 95 % intervals by bootstrap, for "
        "μ(t) and ⟨μ(t)⟩ at multiples of t_∞, and for their limit.",
        _exponents(followed, predicted),
        "Medians over runs, as multiples of μ_∞ of the same run.",
        _ratios(followed),
        "# As n → ∞",
        "C₂(c), and the predicted median of √n μ_∞.",
        _limits(found, predicted),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _number(rule: str) -> float:
    return float(rule.split(" = ")[1])


def _medians(found: list[Group], predicted: xr.Dataset) -> str:
    header = ["inputs", "width", "n", "p", "runs", "simulated", "±", "predicted"]
    header += ["ratio", "within", "diagonal", "k", "A", "v"]
    rows = []
    for g in found:
        law = law_at(predicted, g.n, g.p, g.inputs)
        expected = float(law.quantiles[MIDDLE])
        a = g.runs.mean_square.values.mean() / np.sqrt(g.n)
        rows.append(
            (
                g.inputs,
                g.rule,
                f"{g.n}",
                f"{g.p}",
                f"{g.values.size}",
                f"{g.median:.4f} [{g.low:.4f}, {g.high:.4f}]",
                f"{50 * (g.high - g.low) / g.median:.1f} %",
                f"{expected:.4f} ± {1.96 * float(law.error):.4f}",
                f"{expected / g.median:.3f}",
                "yes" if g.low <= expected <= g.high else "no",
                f"{np.median(g.runs.least / g.runs.limit):.3f}",
                f"{np.median(g.runs['count']):.0f}",
                f"{a:.3f}, {float(law.mean_square):.3f}",
                f"{g.runs.variation.values.mean():.3f}, {float(law.variation):.3f}",
            )
        )
    return markdown_table(header, rows)


def _laws(found: list[Group], predicted: xr.Dataset) -> str:
    rows = []
    for inputs, rule in dict.fromkeys((g.inputs, g.rule) for g in found):
        own = [g for g in found if (g.inputs, g.rule) == (inputs, rule)]
        if len(own) < 2:
            continue
        log_n = np.log([g.n for g in own])
        value = np.log([g.median for g in own])
        # Half of an interval of 95 %.
        sigma = np.array([np.log(g.high / g.low) / 3.92 for g in own])
        expected = [
            np.log(float(law_at(predicted, g.n, g.p, inputs).quantiles[MIDDLE]))
            for g in own
        ]
        weight = sigma**-2.0
        centre = np.average(log_n, weights=weight)
        moment = np.sum(weight * (log_n - centre) ** 2)
        slope = np.sum(weight * (log_n - centre) * value) / moment
        mean = np.average(value, weights=weight)
        fits = [mean + 0 * log_n, mean + slope * (log_n - centre), np.array(expected)]
        chi = [float(np.sum(((value - fit) / sigma) ** 2)) for fit in fits]
        score = np.array(chi) + 2 * np.array([1, 2, 0])
        error = 1.96 / np.sqrt(moment)
        rows.append(
            (
                inputs,
                rule,
                f"{own[0].n} … {own[-1].n}",
                f"{slope - 0.5:.3f} ± {error:.3f}",
                *(
                    f"{c:.1f} ({delta:.1f})"
                    for c, delta in zip(chi, score - score.min(), strict=True)
                ),
                f"{len(own)}",
            )
        )
    header = ["inputs", "width", "n", "exponent of μ_∞", "χ² (Δ) of C/√n"]
    header += ["of n^k", "of the prediction", "sizes"]
    return markdown_table(header, rows)


def _exponents(followed: xr.Dataset, predicted: xr.Dataset) -> str:
    sizes = sorted({int(n) for n in followed.n.values})
    ranges = [(1000, 2000), (sizes[0], sizes[-1])]
    ranges = [pair for pair in dict.fromkeys(ranges) if set(pair) <= set(sizes)]
    measures = {"μ_∞": lambda runs: runs.limit.values}
    for k, horizon in enumerate(HORIZONS):
        at = lambda name, k: lambda runs: runs[name].values[:, k]
        measures[f"μ({horizon:g} t_∞)"] = at("curvature", k)
        measures[f"⟨μ({horizon:g} t_∞)⟩"] = at("average", k)
    rows = []
    for low, high in ranges:
        x = [n for n in sizes if low <= n <= high]
        for name, measure in measures.items():
            samples = [measure(followed.isel(run=followed.n.values == n)) for n in x]
            # Runs that had ended before have no value there.
            if any(np.mean(np.isfinite(sample)) < 0.9 for sample in samples):
                continue
            samples = [sample[np.isfinite(sample)] for sample in samples]
            fit = statistics.power_law(x, samples)
            row = (name, f"{low} … {high}", f"{fit.exponent:.3f}")
            rows.append((*row, f"[{fit.low:.3f}, {fit.high:.3f}]"))
        medians = [
            float(law_at(predicted, n, width(n, 1), "orthogonal").quantiles[MIDDLE])
            for n in (low, high)
        ]
        local = np.log(medians[1] / medians[0]) / np.log(high / low) - 0.5
        rows.append(("μ_∞, predicted median", f"{low} … {high}", f"{local:.3f}", ""))
    return markdown_table(("measure", "n", "exponent", "95 %"), rows)


def _ratios(followed: xr.Dataset) -> str:
    rows = []
    for n in sorted({int(n) for n in followed.n.values}):
        runs = followed.isel(run=followed.n.values == n)
        for name, symbol in (("curvature", "μ"), ("average", "⟨μ⟩")):
            ratio = runs[name].values / runs.limit.values[:, None]
            row = [
                f"{np.median(column[there]):.3f}" if there.mean() > 0.5 else "—"
                for column, there in zip(ratio.T, np.isfinite(ratio).T, strict=True)
            ]
            rows.append((f"{n}", symbol, *row))
    return markdown_table(("n", "", *(f"{h:g} t_∞" for h in HORIZONS)), rows)


def _limits(found: list[Group], predicted: xr.Dataset) -> str:
    rules = [rule for rule in dict.fromkeys(g.rule for g in found) if rule[0] == "c"]
    lines = {rule: line(predicted, _number(rule)) for rule in rules}
    shown = [1e2, 1e4, 1e6, 1e9, 1e12]
    rows = []
    for rule, (n, quantiles) in lines.items():
        medians = dict(zip(n.tolist(), quantiles[:, MIDDLE], strict=True))
        limit = theory.limiting_curvature_constant(_number(rule))
        at = [f"{medians[m]:.4f}" if m in medians else "—" for m in shown]
        rows.append((rule, f"{limit:.4f}", *at))
    return markdown_table(("width", "C₂", *(f"n = {m:.0e}" for m in shown)), rows)
