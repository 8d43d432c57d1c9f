"""Runs of the flow until they are decided, and what is left of each: one row a run.

A run reaches zero loss where L falls to 1e-12 L(0), is at rest where μ ≤ 1e-3/n before,
and is undecided where it is neither by its last time. (The certificate of the paper
says only that no example is left out.)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

import jaxflow
from jaxflow import statistics, theory

from ..common.protocols import last_time, protocol
from .common import ended, fall_time, grouped, keep, median_interval

# No run is longer, in units of t_∞.
LAST = 16.0
# A run is looked at so many times, evenly in log t, from √n on.
_LOOKS = 40
# When a loss has fallen to this share of L(0) is told too.
FITTED = 0.01
_TOLERANCE = 1e-8


class Cell(NamedTuple):
    """Networks of one size, each on data of its own."""

    inputs: str
    n: int
    d: int
    p: int

    @property
    def name(self) -> str:
        return "-".join(map(str, self))


def rows(folder: Path, cells: Sequence[tuple[Cell, int]], seed: int) -> xr.Dataset:
    """As many runs of each size as said, until they are decided; one row a run."""
    names = [f"{cell.name}-{k}" for cell, count in cells for k in range(count)]

    def run(name: str) -> dict[str, float]:
        inputs, *sizes = name.split("-")
        return decided(inputs, *map(int, sizes), seed=seed)

    inputs = [cell.inputs for cell, count in cells for _ in range(count)]
    made = keep(folder, {"last": LAST, "seed": seed}, names, run)
    return made.assign(inputs=("run", inputs))


def decided(
    inputs: str, n: int, d: int, p: int, k: int, *, seed: int = 0
) -> dict[str, Any]:
    """The k-th run at n, d, p, with the laws of Appendix B, in float64.

    - `zero`, `rest`: 1 where it reached zero loss, or is at rest above it; both 0 where
      it is undecided. `covered`: 1 where the start has the event 𝓘 of Lemma 5.
    - `end`: its end in units of t_∞. `fitted`: the flow time at which L fell to
      `FITTED` L(0); ∞ where it did not.
    - `limit`, `largest`: 2 λ_min and λ_max of the tangent kernel, slides projected out,
      when it was last looked at. The first is the limit of μ(t) if the run reached
      zero.
    """
    data, network = jaxflow.sample_problem(
        jaxflow.run_key(jax.random.key(seed), n, d, p, k),
        n=n,
        d=d,
        p=p,
        inputs=inputs,
        dtype="float64",
    )
    flow = protocol("flow", LAST, decided=True)
    # Correlated inputs slide along their kinks, at a tolerance of their own.
    method = flow.method
    if isinstance(data.inputs, jaxflow.OrthogonalInputs):
        method = jaxflow.GradientFlow(_TOLERANCE)
    unit = last_time(n, p)
    times = np.array([0.0, *np.geomspace(n**0.5, LAST * unit, _LOOKS)])
    sol = jaxflow.simulate(
        data, network, method, times=times, stop=flow.stop, observe=_OBSERVED
    )
    loss = np.asarray(sol.loss)
    last = int(np.flatnonzero(np.isfinite(loss))[-1])
    seen = {name: np.asarray(values) for name, values in sol.observables.items()}
    zero, rest = ended(sol)
    return {
        "n": n,
        "d": d,
        "p": p,
        "zero": int(zero),
        "rest": int(rest),
        "covered": int(seen["covered"][0]),
        "end": float(sol.final_time) / unit,
        "fitted": fall_time(times[: last + 1], loss[: last + 1], FITTED * loss[0]),
        "limit": float(seen["limit"][last]),
        "largest": float(seen["largest"][last]),
    }


_OBSERVED: dict[str, jaxflow.Observable] = {
    "covered": lambda s: s.covered,
    "limit": theory.limiting_curvature,
    "largest": jaxflow.largest_kernel_eigenvalue,
}


class Group(NamedTuple):
    """The runs of one size."""

    n: int
    d: int
    p: int
    runs: xr.Dataset

    @property
    def rate(self) -> tuple[float, float, float]:
        """√n μ_∞ of those that reach zero loss: the median and its interval."""
        limits = self.runs.limit.values[self.runs.zero.values == 1]
        if not limits.size:
            return np.nan, np.nan, np.nan
        return median_interval(np.sqrt(self.n) * limits)

    @property
    def share(self) -> statistics.Proportion:
        """Of runs that reach zero loss."""
        return statistics.proportion(int(self.runs.zero.sum()), self.runs.sizes["run"])

    @property
    def undecided(self) -> int:
        return int((self.runs.zero + self.runs.rest == 0).sum())

    def counts(self) -> list[str]:
        """For tables: runs, the share that reaches zero loss, and what the rest do."""
        share = self.share
        return [
            f"{self.runs.sizes['run']}",
            f"{share.estimate:.3f} [{share.low:.3f}, {share.high:.3f}]",
            f"{int(self.runs.rest.sum())}, {self.undecided}",
        ]

    def rate_text(self) -> str:
        """For tables; without an interval where there are too few runs for one."""
        rate = self.rate
        if np.isfinite(rate).all():
            return "{:.4f} [{:.4f}, {:.4f}]".format(*rate)
        return f"{rate[0]:.4f}" if np.isfinite(rate[0]) else "—"


COUNTS = ["runs", "zero loss", "at rest, undecided"]


def groups(rows: xr.Dataset, inputs: str) -> list[Group]:
    """The runs on these inputs, by n, d and p."""
    own = rows.isel(run=rows.inputs.values == inputs)
    sizes = sorted(grouped(own, ("n", "d", "p")), key=lambda group: group[0])
    return [Group._make((*size, runs)) for size, runs in sizes]
