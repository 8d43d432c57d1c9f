"""Runs around a convergence threshold: made, kept, searched and summed up.

Shared by Figures 2, 3 and 4. `Runs` holds what is known of single runs and makes what
is missing through `jaxflow.simulate_ensemble`, whose folder of records makes a sweep
that was cut off go on where it stopped. Plots and tables are drawn from `Runs` that
were read back, which make nothing.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

import jaxflow
from jaxflow import statistics

from .contraction import contraction_level
from .output import as_made, read_records, write_records, write_text
from .protocols import EPSILON, Protocol, last_time, protocol

OURS, THEIRS = "#1b6ca8", "#c1440e"

# A run's name: n, d, p, seed.
Name = tuple[int, int, int, int]

# Above this share of L(0) the proof that a loss tends to zero is not looked for.
PROVABLE = 1e-6

# The range of `about`.
LOCAL = 0.05
# Where a run ends, and its loss, may be kept in float32.
_ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is kept of one run: losses at the start and the end, the time of the end in
    units of t_∞, and whether it converged, is stationary, or neither (undecided).

    - `converged`: whether the loss fell to zero, where the protocol goes on until that
      is decided; whether it met the certificate, where a run ends there.
    - `certified_time`, `certified_loss`: when, in units of t_∞, the loss was first seen
      to have met the certificate, and what it was then; ∞ and NaN where it never was.
    - `proved_time`, `proved_loss`: the same of the proof that the loss tends to zero
      (`contraction.py`), which counts as zero; ∞ and NaN too where it was not asked.
    """

    initial_loss: float
    final_loss: float
    final_time: float
    converged: bool
    stationary: bool
    steps: int
    certified_time: float = np.inf
    certified_loss: float = np.nan
    proved_time: float = np.inf
    proved_loss: float = np.nan

    def certified_by(self, horizon: float) -> bool:
        """Whether the certificate was met by `horizon`, in units of t_∞."""
        met = np.isfinite(self.certified_time)
        return bool(met and self.certified_time <= horizon * (1 + _ROUNDING))


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

    def step(self, low: int, high: int) -> int:
        """Between candidates, where N is thought to lie between these."""
        return max(1, round(self.grid * (low + high) / 2))


class MissingRunsError(ValueError):
    """Runs are asked for that the records do not hold."""


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
        missing, first = [], seeds
        for size in dict.fromkeys(sizes):
            unknown = [k for k in range(seeds) if (*size, k) not in self.known]
            if unknown:
                missing.append(size)
                first = min(first, unknown[0])
        if not missing:
            return
        if self._folder is None:
            raise MissingRunsError(
                f"the records hold no runs 0 … {seeds - 1} at (n, d, p) = {missing[0]}:"
                " run the experiment again without --redraw."
            )
        alike: dict[Any, list[tuple[int, int, int]]] = {}
        for n, d, p in missing:
            # One folder can record the networks of one shape.
            shape = (d, p) if self.protocol.proved else None
            alike.setdefault(shape, []).append((n, d, p))
        for cells in alike.values():
            self._make(cells, range(first, seeds))

    def _make(self, cells: list[tuple[int, int, int]], seeds: range) -> None:
        n, d, p = (list(column) for column in zip(*cells, strict=True))
        folder = self._folder
        if folder is not None and self.protocol.proved:
            folder = folder / f"d{d[0]}-p{p[0]}"
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
            observe=_OBSERVED if self.protocol.proved else _CERTIFICATE,
            dtype=self.protocol.dtype,
            folder=folder,
        )
        self.known |= _outcomes(runs, cells)
        if self.protocol.proved:
            for index, cell in enumerate(cells):
                for k in seeds:
                    self._prove(runs.isel(cell=index).sel(seed=k), *cell, k)

    def _prove(self, run: xr.Dataset, n: int, d: int, p: int, k: int) -> None:
        """Looks for the proof that the loss of a run tends to zero."""
        key = jaxflow.run_key(jax.random.key(self._seed), n, d, p, k)
        data, _ = jaxflow.sample_problem(
            key, n=n, d=d, p=p, inputs="sphere", dtype=self.protocol.dtype
        )
        outcome = self.known[n, d, p, k]
        loss = run.loss.values
        for look in np.flatnonzero(loss <= PROVABLE * outcome.initial_loss):
            at = run.isel(time=look)
            w, a = at.w.values[:p], at.a.values[:p]
            if w.shape[1] != d:
                # Few examples are seen through their Gram matrix.
                return
            if loss[look] <= contraction_level(np.asarray(data.x), w, a):
                self.known[n, d, p, k] = dataclasses.replace(
                    outcome,
                    converged=True,
                    stationary=False,
                    proved_time=float(at.t) / last_time(n, p),
                    proved_loss=float(loss[look]),
                )
                return

    def counts(
        self, d: int, p: Callable[[int], int], horizon: float | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All n that have runs at d and p(n), how many of them converged (or met the
        certificate by `horizon`) and how many there are."""
        made, converged = Counter[int](), Counter[int]()
        for (n, own_d, own_p, _), outcome in self.known.items():
            if (own_d, own_p) == (d, p(n)):
                made[n] += 1
                converged[n] += _by(outcome, horizon)
        sizes = sorted(made)
        columns = (sizes, [converged[i] for i in sizes], [made[i] for i in sizes])
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
        step: int | None = None,
    ) -> statistics.ThresholdSearch:
        """The threshold at d, with p(n) neurons, for convergence (for the certificate
        by `horizon`), from n that are `step` apart (left out: as `how` says)."""
        used = Counter[int]()

        def run(points: np.ndarray) -> np.ndarray:
            asked = Counter(points.tolist())
            # A call gives each of its n equally many seeds: one call for each number,
            # so that no run is made which nobody asked for.
            by_seeds: dict[int, list[int]] = {}
            for n, count in asked.items():
                by_seeds.setdefault(used[n] + count, []).append(n)
            for seeds, sizes in by_seeds.items():
                self.make([(n, d, p(n)) for n in sizes], seeds)
            found = []
            for n in points.tolist():
                found.append(_by(self.known[n, d, p(n), used[n]], horizon))
                used[n] += 1
            return np.array(found, dtype=bool)

        # The uniform law of w(0) wants inputs that are not seen through their Gram
        # matrix, as fewer of them are.
        minimum = 2 * d if self.protocol.init == "uniform" else 1
        low = max(low, minimum)
        step = step or how.step(low, high)
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
        if "certified_time" not in data:
            # Runs of which none went on past the certificate.
            met = data.converged
            data["certified_time"] = data.final_time.where(met, np.inf)
            data["certified_loss"] = data.final_loss.where(met, np.nan)
            data["proved_time"] = xr.full_like(data.final_time, np.inf)
            data["proved_loss"] = xr.full_like(data.final_loss, np.nan)
        fields = [field.name for field in dataclasses.fields(Outcome)]
        rows = zip(*(data[name].values.tolist() for name in fields), strict=True)
        outcomes = (Outcome(*row) for row in rows)
        return cls(protocol, dict(zip(names, outcomes, strict=True)))


def descents(config: Any) -> Iterator[tuple[float, Any, Runs]]:
    """Beside the flow: gradient descent from the same law of w(0), by t_∞ and by the
    flow's own last time, where protocol `paper` has run so long. Yields that time, the
    config as it was made, and its runs."""
    for last in sorted({1.0, config.last}) if config.protocol == "flow" else ():
        asked = dataclasses.replace(config, protocol="paper", given_up=last)
        if (asked.folder / "records.nc").exists():
            made = as_made(asked, asked.folder)
            yield last, made, Runs.read(asked.folder, protocol("paper", last))


def _by(outcome: Outcome, horizon: float | None) -> bool:
    return outcome.converged if horizon is None else outcome.certified_by(horizon)


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
    times = runs.t.transpose("cell", "time").values
    level = runs.certificate.transpose("cell", "seed", "time").values[..., 0]
    found = {}
    for (cell, seed), result in np.ndenumerate(columns["result"]):
        n, d, p = sizes[cell]
        at = {name: column[cell, seed] for name, column in columns.items()}
        # Where it ended was looked at too. Rows after that are NaN, below nothing.
        seen = np.append(loss[cell, seed], at["final_loss"])
        below = seen <= level[cell, seed] * (1 + _ROUNDING)
        met = np.append(times[cell], at["final_time"])[below]
        found[n, d, p, int(runs.seed[seed])] = Outcome(
            initial_loss=float(loss[cell, seed, 0]),
            final_loss=float(at["final_loss"]),
            final_time=float(at["final_time"]) / last_time(n, p),
            # Residuals that are rounding are as near to zero as float64 comes.
            converged=bool(result in (flags["loss_below"], flags["exhausted"])),
            stationary=bool(result in (flags[name] for name in _AT_REST)),
            steps=int(at["steps"]),
            certified_time=float(met[0]) / last_time(n, p) if len(met) else np.inf,
            certified_loss=float(seen[below][0]) if len(met) else np.nan,
        )
    return found


_AT_REST = ("stationary", "dead", "at_origin")
# What is recorded besides the loss: that below which no example is left out, and the
# network, for `contraction_level`.
_CERTIFICATE = {"certificate": lambda s: jaxflow.certificate(s.targets, s.n)}
_OBSERVED = {**_CERTIFICATE, "w": lambda s: s.weights, "a": lambda s: s.a}


def by_width_rule(width: int = 1) -> Callable[[int], int]:
    """p(n): `width` times the width rule."""
    return lambda n: width * jaxflow.width_rule(n, EPSILON)


def of_width(p: int) -> Callable[[int], int]:
    """p(n): `p` whatever n."""
    return lambda n: p


def interval(found: statistics.Threshold, digits: int = 0) -> str:
    """N with its interval, or the bound that is all that is known, for tables."""
    for side, bound, sign in ((np.inf, found.low, ">"), (-np.inf, found.high, "<")):
        if found.estimate == side and np.isfinite(bound):
            return f"{sign} {bound:.{digits}f}"
    numbers = [found.estimate, found.low, found.high]
    estimate, low, high = (
        f"{number:.{digits}f}" if np.isfinite(number) else str(number)
        for number in numbers
    )
    return f"{estimate} [{low}, {high}]"


def by(horizon: float) -> str:
    """In words; `horizon` in units of t_∞."""
    return "by t_∞" if horizon == 1 else f"by {horizon:g} t_∞"


def math(label: str) -> str:
    """For legends."""
    return label.replace("t_∞", r"$t_\infty$")


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
    target: Any = None,
    source: str = "",
    note: str = "",
) -> dict[str, Any]:
    """One line of summary.json; numbers that are not finite become null. `agrees` is
    with the `target`, which comes from the `source`."""
    content = {
        "quantity": quantity,
        "paper": paper,
        "released": released,
        "ours": ours,
        "low": low,
        "high": high,
        "agrees": agrees,
        "target": target,
        "source": source,
        "note": note,
    }
    return {key: _plain(value) for key, value in content.items()}


def ratio_row(
    quantity: str, flow: statistics.Threshold, descent: statistics.Threshold
) -> dict[str, Any]:
    """N of the flow over that of descent; the interval takes both for normal."""
    ratio = flow.estimate / descent.estimate
    one, other = (standard_error(fit) / fit.estimate for fit in (flow, descent))
    half = 1.96 * ratio * float(np.hypot(one, other))
    return row(
        quantity,
        ours=ratio,
        low=ratio - half,
        high=ratio + half,
        note=f"{interval(flow)} over {interval(descent)}, both with w(0) ~ N(0, I/d)",
    )


def undecided_row(quantity: str, runs: Runs) -> dict[str, Any]:
    """How many runs of the flow were given up."""
    undecided = sum(
        not (run.converged or run.stationary) for run in runs.known.values()
    )
    return row(
        quantity,
        ours=undecided,
        note=f"of {len(runs.known)}, by {runs.protocol.horizons[-1]:g} t_∞",
    )


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value


def about(
    n: np.ndarray, successes: np.ndarray, trials: np.ndarray
) -> statistics.Threshold:
    """N of the runs within 5 % of it. The probability is not a logistic function of n:
    fitted over a wide range, N depends on the range and is not where half of the runs
    converge. A search has few runs outside; a grid, fitted so, can be compared to it.
    """
    fit = statistics.fit_threshold(n, successes, trials)
    for _ in range(20):
        near = np.abs(n - fit.estimate) <= LOCAL * fit.estimate
        if near.sum() < 2 or not np.isfinite(fit.estimate):
            break
        before = fit.estimate
        fit = statistics.fit_threshold(n[near], successes[near], trials[near])
        if fit.estimate == before:
            break
    return fit


def write_summary(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """summary.json, for `experiments.figures.report`."""
    write_text(
        folder,
        "summary.json",
        json.dumps(list(rows), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    )
