"""Runs around a convergence threshold: made, kept, searched and summed up.

Shared by Figures 2, 3 and 4. `Runs` holds what is known of single runs and makes what
is missing through `jaxflow.simulate_ensemble`, whose folder of records makes a sweep
that was cut off go on where it stopped. Plots and tables are drawn from `Runs` that
were read back, which make nothing.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import linregress, norm
from scipy.stats import t as student

import jaxflow
from jaxflow import statistics

from ._output import (
    STYLE,
    markdown_table,
    read_records,
    write_config,
    write_figure,
    write_records,
    write_text,
)
from ._protocols import EPSILON, Protocol, last_time

matplotlib.use("Agg")
from matplotlib import pyplot as plt

OURS, THEIRS = "#1b6ca8", "#c1440e"

# A run's name: n, d, p, seed.
Name = tuple[int, int, int, int]

# Where a run ends is kept in float32.
_ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is kept of one run: losses at the start and the end, the time of the end in
    units of t_∞, and whether it converged, is stationary, or neither (undecided)."""

    initial_loss: float
    final_loss: float
    final_time: float
    converged: bool
    stationary: bool
    steps: int

    def converged_by(self, horizon: float) -> bool:
        """`horizon` in units of t_∞."""
        return self.converged and self.final_time <= horizon * (1 + _ROUNDING)


@dataclasses.dataclass(frozen=True)
class Search:
    """How thoroughly a threshold is looked for, see `statistics.find_threshold`.

    - `grid`: the step between candidates as a share of the first guess. Coarse, since
      programs are compiled for each few per cent of n; it does not limit the precision.
    """

    precision: float
    batch: int
    max_runs: int
    grid: float = 0.015


class Runs:
    """Runs of one protocol by name; those not known are made if there is a `folder`.

    The k-th run at n, d, p has seed k, and the data and network of (seed, n, d, p) do
    not depend on anything else: so the same call gives the same runs.
    """

    def __init__(
        self,
        protocol: Protocol,
        known: dict[Name, Outcome] | None = None,
        folder: Path | None = None,
        seed: int = 0,
    ):
        self.protocol = protocol
        self.known = dict(known or {})
        self._folder = folder
        self._seed = seed

    def make(self, sizes: Sequence[tuple[int, int, int]], seeds: int) -> None:
        """Runs 0 … seeds − 1 at each (n, d, p)."""
        missing = [
            size
            for size in dict.fromkeys(sizes)
            if any((*size, seed) not in self.known for seed in range(seeds))
        ]
        if not missing:
            return
        if self._folder is None:
            raise ValueError(
                f"the records hold no runs 0 … {seeds - 1} at (n, d, p) = {missing[0]}:"
                " run the experiment again without --redraw."
            )
        n, d, p = (list(column) for column in zip(*missing, strict=True))
        runs = jaxflow.simulate_ensemble(
            jax.random.key(self._seed),
            n=n,
            d=d,
            p=p,
            grid="zip",
            seeds=seeds,
            inputs="sphere",
            init=self.protocol.init,
            method=self.protocol.method,
            times=self.protocol.times,
            stop=self.protocol.stop,
            dtype=jnp.float32,
            folder=self._folder,
        )
        self.known |= _outcomes(runs, missing)

    def counts(
        self, d: int, p: Callable[[int], int], horizon: float | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All n that have runs at d and p(n), how many of them converged (by `horizon`)
        and how many there are."""
        made, converged = Counter[int](), Counter[int]()
        for (n, own_d, own_p, _), outcome in self.known.items():
            if (own_d, own_p) == (d, p(n)):
                made[n] += 1
                converged[n] += _by(outcome, horizon)
        n = sorted(made)
        columns = (n, [converged[i] for i in n], [made[i] for i in n])
        n_made, k, m = (np.array(column, int) for column in columns)
        return n_made, k, m

    def at(self, n: int, d: int, p: int) -> list[Outcome]:
        """The runs of this size, in the order of their seeds."""
        names = sorted(name for name in self.known if name[:3] == (n, d, p))
        return [self.known[name] for name in names]

    def search(
        self,
        d: int,
        p: Callable[[int], int],
        low: int,
        high: int,
        how: Search,
        horizon: float | None = None,
    ) -> statistics.ThresholdSearch:
        """The threshold at d, with p(n) neurons, for convergence (by `horizon`)."""
        used = Counter[int]()

        def run(points: np.ndarray) -> np.ndarray:
            asked = Counter(points.tolist())
            # One call, with equally many seeds for each n asked for. What a smaller
            # number would have done for waits until it is asked for.
            seeds = max(used[n] + count for n, count in asked.items())
            self.make([(n, d, p(n)) for n in asked], seeds)
            found = []
            for n in points.tolist():
                found.append(_by(self.known[n, d, p(n), used[n]], horizon))
                used[n] += 1
            return np.array(found, dtype=bool)

        # The uniform law of w(0) wants inputs that are not seen through their Gram
        # matrix, as fewer of them are.
        minimum = 2 * d if self.protocol.init == "uniform" else 1
        low = max(low, minimum)
        step = max(1, round(how.grid * (low + high) / 2))
        return statistics.find_threshold(
            run,
            low,
            max(high, low + step),
            precision=how.precision,
            batch=how.batch,
            max_runs=how.max_runs,
            step=step,
            minimum=minimum,
        )

    def write(self, folder: Path) -> None:
        """records.nc: one row per run."""
        names = sorted(self.known, key=lambda name: (name[1], name[2], name[0], name))
        columns: dict[str, Any] = dict(
            zip(("n", "d", "p", "seed"), np.array(names).T, strict=True)
        )
        for field in dataclasses.fields(Outcome):
            columns[field.name] = np.array(
                [getattr(self.known[name], field.name) for name in names]
            )
        columns["t_infinity"] = np.array([last_time(n, p) for n, _, p, _ in names])
        data = xr.Dataset({name: ("run", column) for name, column in columns.items()})
        data["final_time"].attrs["units"] = "t_infinity"
        data["t_infinity"].attrs["units"] = "flow time (learning rate × steps)"
        data.attrs["protocol"] = self.protocol.name
        write_records(folder, data)

    @classmethod
    def read(cls, folder: Path, protocol: Protocol) -> "Runs":
        """What `write` wrote."""
        data = read_records(folder)
        names = zip(
            *(data[name].values.tolist() for name in ("n", "d", "p", "seed")),
            strict=True,
        )
        fields = [field.name for field in dataclasses.fields(Outcome)]
        rows = zip(*(data[name].values.tolist() for name in fields), strict=True)
        outcomes = (Outcome(*row) for row in rows)
        return cls(protocol, dict(zip(names, outcomes, strict=True)))


def _by(outcome: Outcome, horizon: float | None) -> bool:
    return outcome.converged if horizon is None else outcome.converged_by(horizon)


def _outcomes(
    runs: xr.Dataset, sizes: Sequence[tuple[int, int, int]]
) -> dict[Name, Outcome]:
    meanings = runs.result.attrs["flag_meanings"].split()
    flags = dict(zip(meanings, runs.result.attrs["flag_values"], strict=True))
    loss = runs.loss.transpose("cell", "seed", "time").values
    columns = {
        name: runs[name].transpose("cell", "seed").values
        for name in ("final_loss", "final_time", "result", "steps")
    }
    found = {}
    for (cell, seed), result in np.ndenumerate(columns["result"]):
        n, d, p = sizes[cell]
        at = {name: column[cell, seed] for name, column in columns.items()}
        found[n, d, p, int(runs.seed[seed])] = Outcome(
            initial_loss=float(loss[cell, seed, 0]),
            final_loss=float(at["final_loss"]),
            final_time=float(at["final_time"]) / last_time(n, p),
            converged=bool(result == flags["loss_below"]),
            stationary=bool(result == flags["stationary"]),
            steps=int(at["steps"]),
        )
    return found


def by_width_rule(width: int = 1) -> Callable[[int], int]:
    """p(n): `width` times the width rule."""
    return lambda n: width * jaxflow.width_rule(n, EPSILON)


def interval(found: statistics.Threshold, digits: int = 0) -> str:
    """N with its interval, for tables."""
    numbers = [found.estimate, found.low, found.high]
    estimate, low, high = (
        f"{number:.{digits}f}" if np.isfinite(number) else str(number)
        for number in numbers
    )
    return f"{estimate} [{low}, {high}]"


def standard_error(found: statistics.Threshold) -> float:
    """Of N, as the interval at 95 % says."""
    return (found.high - found.low) / 3.92


def row(
    quantity: str,
    *,
    paper: Any = None,
    released: Any = None,
    ours: Any = None,
    low: Any = None,
    high: Any = None,
    agrees: bool | None = None,
    note: str = "",
) -> dict[str, Any]:
    """One line of summary.json; numbers that are not finite become null."""
    content = {
        "quantity": quantity,
        "paper": paper,
        "released": released,
        "ours": ours,
        "low": low,
        "high": high,
        "agrees": agrees,
        "note": note,
    }
    return {key: _plain(value) for key, value in content.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value


def write_summary(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """summary.json, for `experiments.report`."""
    write_text(
        folder,
        "summary.json",
        json.dumps(list(rows), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    )


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How N changes along d at fixed p (Figure 3) or along p at fixed d (Figure 4).

    - `along`: "d" or "p", which takes the `values`; the other one is `fixed`.
    - `low`, `high`: where N is thought to lie at the first value.
    - `published`: N by value. They come from runs at n that are `spacing` apart.
    - `slope`: log–log slopes that agree with the text, from and to.
    - `claim`: the text.
    """

    figure: str
    along: str
    values: tuple[int, ...]
    fixed: int
    low: int
    high: int
    published: dict[int, float]
    spacing: Callable[[int], float]
    slope: tuple[float, float]
    claim: str

    def size(self, value: int) -> tuple[int, int]:
        """d and p."""
        pair = (value, self.fixed)
        return pair if self.along == "d" else pair[::-1]

    def search(self, runs: Runs, how: Search) -> dict[int, statistics.ThresholdSearch]:
        """N at each value."""
        found: dict[int, statistics.ThresholdSearch] = {}
        low, high = self.low, self.high
        for value in self.values:
            if found:
                low, high = _foreseen(found, value)
            d, p = self.size(value)
            found[value] = runs.search(d, lambda n, p=p: p, low, high, how)
        return found


def _foreseen(
    found: dict[int, statistics.ThresholdSearch], value: int
) -> tuple[int, int]:
    """A range for the next N, from the last one or two by a power law."""
    known = [
        (at, search.threshold.estimate)
        for at, search in found.items()
        # Of few runs, the estimate may lie far outside of where they were made.
        if search.low <= search.threshold.estimate <= search.high
    ][-2:]
    if not known:
        last = list(found.values())[-1]
        return last.low, last.high
    (at, estimate), power = known[-1], 1.0
    if len(known) == 2:
        power = np.log(estimate / known[0][1]) / np.log(at / known[0][0])
    guess = estimate * (value / at) ** float(np.clip(power, 0, 2))
    low = max(2, round(0.8 * guess))
    return low, max(low + 4, round(1.3 * guess))


@dataclasses.dataclass(frozen=True)
class Laws:
    """How some points (x, N) scale: laws ranked, and the slope of log N on log x with
    its 95 % interval from the scatter about the line (Student's t)."""

    ranked: dict[str, statistics.LawFit]
    slope: float
    low: float
    high: float

    @classmethod
    def of(cls, x: Sequence[float], N: Sequence[float], sigma: Any = None) -> "Laws":
        line = linregress(np.log(x), np.log(N))
        half = float(student.ppf(0.975, len(x) - 2)) * float(line.stderr)
        slope = float(line.slope)
        ranked = statistics.compare_laws(x, N, sigma)
        return cls(ranked, slope, slope - half, slope + half)

    @property
    def best(self) -> statistics.LawFit:
        return next(iter(self.ranked.values()))

    def formula(self, name: str, x: str) -> str:
        """The law with its numbers."""
        first, second = self.ranked[name].parameters
        if name == "power":
            return f"{first:.3g} {x}^{second:.2f}"
        sign = "+" if first >= 0 else "−"
        what = x if name == "linear" else f"log {x}"
        return f"{second:.3g} {what} {sign} {abs(first):.3g}"


Results = dict[int, statistics.ThresholdSearch]


def scaling_laws(found: Results) -> Laws | None:
    """Of the thresholds that are known with an error; None if they are too few."""
    known = {
        value: search.threshold
        for value, search in found.items()
        if np.isfinite(search.threshold.relative_half_width)
        and search.threshold.estimate > 0
    }
    if len(known) < 3:
        return None
    return Laws.of(
        list(known),
        [fit.estimate for fit in known.values()],
        [standard_error(fit) for fit in known.values()],
    )


def scaling_summary(
    scaling: Scaling, runs: Runs, found: Results
) -> list[dict[str, Any]]:
    """The rows for the report."""
    figure = scaling.figure.replace("figure", "Figure ")
    x, released = scaling.along, runs.protocol.name == "released"
    their, ours = Laws.of(*_columns(scaling.published)), scaling_laws(found)
    rows = []
    if ours is not None:
        low, high = scaling.slope
        rows.append(
            row(
                f"{figure}: slope of log N on log {x}",
                paper=scaling.claim,
                released=their.slope,
                ours=ours.slope,
                low=ours.low,
                high=ours.high,
                agrees=bool(ours.low <= high and ours.high >= low),
                note="agrees: with the text; the published points, fitted alike: "
                f"{their.slope:.2f} [{their.low:.2f}, {their.high:.2f}]",
            )
        )
        best = ours.best
        rows.append(
            row(
                f"{figure}: law of N({x})",
                paper=scaling.claim,
                released=f"{their.best.name}: {their.formula(their.best.name, x)}",
                ours=f"{best.name}: {ours.formula(best.name, x)}",
                agrees=best.name == their.best.name if released else None,
                note="Akaike weights "
                + ", ".join(f"{n} {fit.weight:.2g}" for n, fit in ours.ranked.items())
                + f"; χ² of the best has p = {best.p_value:.2g}",
            )
        )
    shared = [value for value in found if value in scaling.published]
    for value, search in found.items():
        fit = search.threshold
        if np.isfinite(fit.high - fit.low) and value in scaling.published:
            theirs = scaling.published[value]
            # Jointly at 95 % over the values compared, and half of their spacing.
            joint = norm.ppf(1 - 0.025 / len(shared)) * standard_error(fit)
            allowed = joint + scaling.spacing(value) / 2
            agrees = bool(abs(theirs - fit.estimate) <= allowed) if released else None
            note = (
                f"allowed: ± {allowed:.3g} (joint 95 % over {len(shared)} comparisons, "
                f"{joint:.3g}, and half the spacing {scaling.spacing(value):g} of the "
                f"published runs)"
            )
        else:
            theirs, agrees, note = None, None, ""
        rows.append(
            row(
                f"{figure}: N at d = {scaling.size(value)[0]}, "
                f"p = {scaling.size(value)[1]}",
                released=theirs,
                ours=fit.estimate,
                low=fit.low,
                high=fit.high,
                agrees=agrees,
                note=note,
            )
        )
    undecided = sum(
        not (run.converged or run.stationary) for run in runs.known.values()
    )
    if runs.protocol.name == "flow":
        rows.append(
            row(
                f"{figure}: undecided runs of the flow",
                ours=undecided,
                note=f"of {len(runs.known)}, by {runs.protocol.horizons[-1]:g} t_∞",
            )
        )
    return rows


def scaling_table(scaling: Scaling, runs: Runs, found: Results) -> str:
    """table.md."""
    x = scaling.along
    other = "p" if x == "d" else "d"
    lines = []
    for value, search in found.items():
        fit, theirs = search.threshold, scaling.published.get(value)
        d, p = scaling.size(value)
        here = [run for name, run in runs.known.items() if name[1:3] == (d, p)]
        by_t = sum(run.converged_by(1) for run in here)
        lines.append(
            [
                str(value),
                interval(fit, 1),
                f"{fit.scale:.3g}",
                f"{fit.estimate / value:.2f}",
                f"{search.runs}" + ("" if search.precise else " (max_runs)"),
                f"{by_t}, {sum(run.converged for run in here)}, "
                f"{sum(run.stationary for run in here)} of {len(here)}",
                "" if theirs is None else f"{theirs:g}",
            ]
        )
    laws = [("published", Laws.of(*_columns(scaling.published)))]
    ours = scaling_laws(found)
    if ours is not None:
        laws.insert(0, ("ours", ours))
    fits = [
        [
            whose,
            name,
            law.formula(name, x),
            f"{fit.weight:.2g}",
            f"{fit.p_value:.2g}" if np.isfinite(fit.p_value) else "",
        ]
        for whose, law in laws
        for name, fit in law.ranked.items()
    ]
    slopes = "".join(
        f"- slope of log N on log {x}, {whose}: {law.slope:.2f} "
        f"[{law.low:.2f}, {law.high:.2f}]\n"
        for whose, law in laws
    )
    return (
        f"# {scaling.figure.replace('figure', 'Figure ')}, protocol "
        f"`{runs.protocol.name}`\n\n{runs.protocol.label}; {other} = {scaling.fixed}, "
        "float32. N: posterior median and 95 % interval of an adaptive search.\n\n"
        + slopes
        + "\n"
        + markdown_table(
            [
                x,
                "N",
                "s",
                f"N/{x}",
                "runs of the search",
                "converged by t_∞, at the end, stationary",
                "published N",
            ],
            lines,
        )
        + "\n"
        + markdown_table(["points", "law", "fit", "Akaike weight", "p of χ²"], fits)
    )


def draw_scaling(scaling: Scaling, runs: Runs, found: Results) -> Figure:
    """N against the values, linear and in logarithms."""
    x = scaling.along
    other = "p" if x == "d" else "d"
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 3.5))
    fits = {
        value: search.threshold
        for value, search in found.items()
        if search.threshold.estimate > 0
    }
    values, ours = np.array(list(fits)), scaling_laws(found)
    N, low, high = (
        np.array([getattr(fit, name) for fit in fits.values()])
        for name in ("estimate", "low", "high")
    )
    their_x, their_N = _columns(scaling.published)
    span = np.geomspace(min(*values, *their_x), max(*values, *their_x), 200)
    for axis in axes:
        bars = np.nan_to_num([N - low, high - N], posinf=0)
        axis.errorbar(
            values, N, bars, color=OURS, marker="o", ms=4, lw=0, elinewidth=1, capsize=2
        )
        axis.plot(their_x, their_N, "s", color=THEIRS, mfc="none", ms=4.5)
        if ours is not None:
            for (name, fit), style in zip(
                ours.ranked.items(), ("-", "--", ":"), strict=True
            ):
                label = f"{name}: {ours.formula(name, x)} (weight {fit.weight:.2f})"
                line = fit.predict(span)
                positive = line > 0
                axis.plot(
                    span[positive],
                    line[positive],
                    style,
                    color=OURS,
                    lw=1,
                    label=label if axis is axes[0] else None,
                )
        axis.set_xlabel({"d": "dimension d", "p": "number of neurons p"}[x])
        axis.set_ylabel("convergence threshold N")
    axes[0].set_ylim(bottom=0)
    axes[1].set(xscale="log", yscale="log")
    smallest, largest = min(*N, *their_N), max(*N, *their_N)
    axes[1].set_ylim(smallest / 1.3, largest * 1.3)
    ticks = _few(sorted({*values.tolist(), *their_x}))
    axes[1].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[1].minorticks_off()
    marks = [m for m in _ROUND if smallest / 1.3 <= m <= largest * 1.3]
    axes[1].set_yticks(marks, [f"{mark:g}" for mark in marks])
    points = [
        Line2D([], [], color=OURS, marker="o", ms=4, lw=0, label="ours, 95 % interval"),
        Line2D(
            [],
            [],
            color=THEIRS,
            marker="s",
            mfc="none",
            ms=4.5,
            lw=0,
            label="published (descent)",
        ),
    ]
    slopes = [f"published slope {Laws.of(their_x, their_N).slope:.2f}"]
    if ours is not None:
        slopes.insert(
            0, f"log–log slope {ours.slope:.2f} [{ours.low:.2f}, {ours.high:.2f}]"
        )
    axes[1].set_title("\n".join(slopes), fontsize=7.5)
    handles, _ = axes[0].get_legend_handles_labels()
    figure.legend(
        handles=points + handles,
        loc="outside lower center",
        ncols=2,
        title=f"{runs.protocol.label}; {other} = {scaling.fixed}",
        title_fontsize=8,
    )
    return figure


# Marks of a logarithmic axis.
_ROUND = [a * 10**k for k in range(1, 5) for a in (1, 2, 5)]


def _few(values: Sequence[float]) -> list[float]:
    """Those that are at least a factor 1.25 apart."""
    kept: list[float] = []
    for value in values:
        if not kept or value >= 1.25 * kept[-1]:
            kept.append(value)
    return kept


def _columns(points: dict[int, float]) -> tuple[list[float], list[float]]:
    return [float(x) for x in points], list(points.values())


def scaling_figure(
    scaling: Scaling,
    rules: Protocol,
    how: Search,
    where: Path,
    config: Any,
    seed: int,
    redraw: bool,
) -> str:
    """Runs, unless `redraw`, and writes everything into `where`; returns the table."""
    if not redraw:
        write_config(where, config, f"experiments.{scaling.figure}")
        made = Runs(rules, folder=where / "runs", seed=seed)
        scaling.search(made, how)
        made.write(where)
    runs = Runs.read(where, rules)
    # The search is repeated on the records: the same runs, the same numbers.
    found = scaling.search(runs, how)
    with plt.rc_context(STYLE):
        write_figure(where, draw_scaling(scaling, runs, found), scaling.figure)
    write_summary(where, scaling_summary(scaling, runs, found))
    text = scaling_table(scaling, runs, found)
    write_text(where, "table.md", text)
    return text
