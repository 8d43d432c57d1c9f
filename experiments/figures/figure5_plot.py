"""What Figure 5 shows, from its records alone: fits, figure, table and summary."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from jaxflow.statistics import PowerLaw, power_law

from ..common.output import STYLE, markdown_table, write_figure, write_text
from ..common.published import (
    FIRST_RELEASE_SLOPES,
    PAPER_SLOPE,
    RELEASED_LOG_MEAN_1000,
    RELEASED_SLOPES,
)
from ..common.thresholds import row, write_summary

# The four measures of Appendix B and how the figure calls them.
MEASURES = {
    "mu": "μ(t_∞)",
    "average_mu": "⟨μ_∞⟩",
    "lower": "lower bound",
    "upper": "upper bound",
}
TITLES = {
    "mu": r"$\mu(t_\infty)$",
    "average_mu": r"$\langle\mu_\infty\rangle$",
    "lower": r"lower bound $\mu_{\mathrm{low}}$",
    "upper": r"upper bound $\mu_{\mathrm{upp}}$",
}
AVERAGES = {"log-of-mean": "log of mean", "mean-of-log": "mean of log"}
# The published slopes of the later runs are rounded to so much. −1/2 is exact.
ROUNDING = 0.005
COLOURS = ("#1f77b4", "#2a9d8f", "#7a5195", "#c8553d")


def write(folder: Path, records: xr.Dataset) -> str:
    """Figure, table and summary; returns the table."""
    table = make_table(records)
    write_text(folder, "table.md", table)
    write_summary(folder, summary(records))
    with plt.rc_context(STYLE):
        write_figure(folder, draw(records), "figure5")
    return table


def at_end(records: xr.Dataset) -> xr.Dataset:
    """The records at the time that the figure is about."""
    return records.sel(horizon=records.attrs["main_horizon"])


def converged(records: xr.Dataset) -> xr.DataArray:
    """Runs that Conjecture 1 speaks about: L < 1/(2n), which certifies convergence, and
    no example left without an active neuron."""
    return (records.loss < 1 / (2 * records.n)) & (records.lower > 0)


def samples(
    records: xr.Dataset, name: str, keep: xr.DataArray | None = None
) -> list[np.ndarray]:
    """The values of one measure of the runs to `keep`, one array for each n."""
    kept = np.ones(records.loss.shape, bool) if keep is None else keep.values
    values = records[name].transpose("n", "seed").values
    return [row[own] for row, own in zip(values, kept, strict=True)]


def fit(
    records: xr.Dataset, name: str, average: str, keep: xr.DataArray | None = None
) -> Any:
    """The power law in n with a 95 % interval, of the runs to `keep`; None where a
    value is not positive (an example that is lost makes the lower bound 0) or fewer
    than two runs are left."""
    runs = samples(records, name, keep)
    if any(len(row) < 2 or np.any(row <= 0) for row in runs):
        return None
    return power_law(records.n.values, runs, average=average)


def log_mean(values: np.ndarray) -> tuple[float, float, float]:
    """The logarithm of the mean over runs, with a 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.quantile(np.log(drawn), [0.025, 0.975])
    return float(np.log(values.mean())), float(low), float(high)


def summary(records: xr.Dataset) -> list[dict[str, Any]]:
    """Rows for `experiments.figures.report`."""
    end, protocol = at_end(records), records.attrs["protocol"]
    rows = []
    for name, label in MEASURES.items():
        for average, words in AVERAGES.items():
            law = fit(end, name, average, converged(end))
            if law is None:
                continue
            # What the authors fitted is the mean before the log.
            released = RELEASED_SLOPES[name] if average == "log-of-mean" else None
            target = released if protocol == "released" else PAPER_SLOPE
            rounding = ROUNDING if protocol == "released" else 0.0
            note = ""
            if average == "log-of-mean":
                first = FIRST_RELEASE_SLOPES[name]
                place = _inside(first, law)
                note = f"first release: {_signed(first)}, {place} our interval"
            rows.append(
                row(
                    f"slope of {label}, {words}",
                    paper=PAPER_SLOPE,
                    released=released,
                    ours=law.exponent,
                    low=law.low,
                    high=law.high,
                    agrees=None
                    if target is None
                    else _inside(target, law, rounding) == "inside",
                    target=target,
                    source="the authors' released slope"
                    if protocol == "released"
                    else "the text, “close to −1/2”",
                    note=note,
                )
            )
    if 1000 in end.n.values:
        for name, label in MEASURES.items():
            index = end.n.values.tolist().index(1000)
            values = samples(end, name, converged(end))[index]
            if len(values) < 2:
                continue
            value, low, high = log_mean(values)
            published = RELEASED_LOG_MEAN_1000[name]
            compared = protocol == "released"
            rows.append(
                row(
                    f"log of the mean of {label} at n = 1000",
                    released=published,
                    ours=value,
                    low=low,
                    high=high,
                    agrees=low <= published <= high if compared else None,
                    target=published,
                    source="the authors' released value",
                )
            )
    return rows


def _inside(value: float, law: PowerLaw, rounding: float = 0.0) -> str:
    inside = law.low - rounding <= value <= law.high + rounding
    return "inside" if inside else "outside"


def make_table(records: xr.Dataset) -> str:
    """Slopes by measure, average, choice of runs, and horizon."""
    end = at_end(records)
    kept = converged(end)
    lines = [
        f"{kept.size} networks, d = {records.attrs['dimension']}, n = "
        f"{end.n.values.min()} … {end.n.values.max()} ({end.sizes['n']} values, "
        f"{end.sizes['seed']} networks each). {int(kept.size - kept.sum())} of them "
        "left an example unfitted and count in the rows “all” only. 95 % intervals by "
        "bootstrap over runs.\n",
        markdown_table(
            ("measure", "average", "runs", "slope", "interval", "r.m.s. off the line"),
            _slope_rows(end),
        ),
        _ranges(end),
    ]
    if records.sizes["horizon"] > 1:
        lines += [
            "Slopes at other last times (log of mean, converged runs):\n",
            markdown_table(
                ("last time", *MEASURES.values()), list(_horizon_rows(records))
            ),
        ]
    return "\n".join(lines)


def _slope_rows(end: xr.Dataset) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, label in MEASURES.items():
        for average, words in AVERAGES.items():
            for all_runs in (False, True):
                law = fit(end, name, average, None if all_runs else converged(end))
                cells = ("–", "a value is 0 or negative", "–")
                if law is not None:
                    rms = f"{law.residual_rms:.3f}"
                    cells = (f"{law.exponent:.3f}", _interval(law), rms)
                runs = "all" if all_runs else "converged"
                rows.append((label, words, runs, *cells))
    return rows


def _horizon_rows(records: xr.Dataset) -> Any:
    # The same runs at each: at an early time L < 1/(2n) would pick those that are fast.
    kept = converged(at_end(records))
    for horizon in records.horizon.values:
        there = records.sel(horizon=horizon)
        laws = [fit(there, name, "log-of-mean", kept) for name in MEASURES]
        yield (
            f"{horizon:g} t_∞",
            *("–" if x is None else f"{x.exponent:.3f} {_interval(x)}" for x in laws),
        )


def _interval(law: PowerLaw) -> str:
    return f"[{law.low:.3f}, {law.high:.3f}]"


def _ranges(end: xr.Dataset) -> str:
    """What else the records tell: the last times and losses, and Lemma 6."""
    kept = converged(end)
    inside = (end.proved_lower <= end.mu_exact) & (end.mu_exact <= end.proved_upper)
    scaled = (np.sqrt(end.n) * end.average_mu).where(kept)
    final = end.loss.where(kept)
    return (
        f"Last times {float(end.time.min()):.0f} to {float(end.time.max()):.0f}; final "
        f"losses of the converged runs {float(final.min()):.1e} to "
        f"{float(final.max()):.1e}. Lemma 6 as proved holds in "
        f"{int((inside & kept).sum())} of {int(kept.sum())} converged runs. √n ⟨μ_∞⟩ "
        f"lies between {float(scaled.min()):.3f} and {float(scaled.max()):.3f}.\n"
    )


def draw(records: xr.Dataset) -> Figure:
    """The four measures against n in log-log."""
    end = at_end(records)
    n = end.n.values
    figure, axes = plt.subplots(2, 2, figsize=(7.0, 5.4), sharex=True)
    for axis, name, colour in zip(axes.flat, MEASURES, COLOURS, strict=True):
        runs = samples(end, name, converged(end))
        for size, values in zip(n, runs, strict=True):
            axis.plot(
                np.full(len(values), size), values, ".", color=colour, alpha=0.25, ms=4,
                mec="none", zorder=1,
            )  # fmt: skip
        stated = [log_mean(v) for v in runs if len(v) > 1]
        if len(stated) == len(n):
            mean, low, high = np.exp(np.array(stated)).T
            axis.errorbar(
                n, mean, [mean - low, high - mean], fmt="o", ms=3, color=colour, lw=0.8,
                zorder=3, label="mean over runs",
            )  # fmt: skip
        law = fit(end, name, "log-of-mean", converged(end))
        if law is not None:
            axis.plot(
                n, law.predict(n), color="black", lw=1.0, zorder=2,
                label=f"slope {_minus(law.exponent)} {_plot_interval(law)}",
            )  # fmt: skip
            middle = np.exp(np.log(n).mean())
            half = law.predict(middle) * (n / middle) ** PAPER_SLOPE
            axis.plot(n, half, "--", color="0.5", label="slope −1/2 (Conjecture 1)")
        slope = RELEASED_SLOPES[name]
        theirs = np.exp(RELEASED_LOG_MEAN_1000[name])
        axis.plot(
            n, theirs * (n / 1000) ** slope, ":", color="#c1121f",
            zorder=4, label=f"authors' later runs, slope {_minus(slope)}",
        )  # fmt: skip
        axis.plot(1000, theirs, "x", color="#c1121f", ms=6, zorder=4)
        axis.set(xscale="log", yscale="log", title=TITLES[name])
        axis.xaxis.set_major_locator(plt.FixedLocator([1000, 1200, 1500, 2000]))
        axis.xaxis.set_major_formatter(plt.FuncFormatter(lambda x, _: f"{x:.0f}"))
        axis.xaxis.set_minor_locator(plt.NullLocator())
        axis.yaxis.set_major_locator(plt.MaxNLocator(5))
        axis.yaxis.set_major_formatter(plt.FuncFormatter(lambda y, _: f"{y:g}"))
        axis.yaxis.set_minor_locator(plt.NullLocator())
        axis.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")
    for axis in axes[1]:
        axis.set_xlabel("n")
    return figure


def _plot_interval(law: PowerLaw) -> str:
    return f"[{_minus(law.low)}, {_minus(law.high)}]"


def _signed(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _minus(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
