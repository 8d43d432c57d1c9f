"""Figure 2's threshold: a sequential search by ours, against the loop on a grid.

Both train the same networks by the same descent with the paper's stop; what differs is
the cost of a step and how many networks it takes. The grid's networks are run by ours,
and the loop's cost is its seconds per network-step, measured at three n, times the same
number of steps.
"""

import collections
import dataclasses
import time
from typing import Any

import numpy as np

import jaxflow
from jaxflow import statistics
from jaxflow.theory import time_scale

from . import _contenders
from ._engine import Case, Fleet
from ._run import Findings
from ._timing import race


@dataclasses.dataclass(frozen=True)
class Parameters:
    d: int = 100
    grid: tuple[int, ...] = tuple(range(1300, 2101, 50))
    per_point: int = 25
    horizon: float = 1.5
    search_batch: int = 8
    max_runs: int = 2000
    repeats: int = 5
    seconds: float = 0.5


class Networks:
    """Fresh networks of Figure 2 at any n, with what they cost."""

    def __init__(self, fleet: Fleet, parameters: Parameters, seed: int):
        self.fleet, self.parameters, self.seed = fleet, parameters, seed
        self.drawn: collections.Counter[int] = collections.Counter()
        self.steps: collections.Counter[int] = collections.Counter()

    def converged(self, sizes: Any) -> np.ndarray:
        runs, sizes = [], [int(n) for n in sizes]
        for n in sizes:
            case = Case("sphere", n, self.parameters.d)
            end = self.parameters.horizon * float(time_scale(n, case.width))
            network = case.draw(self.seed, self.drawn[n])
            runs.append(self.fleet.prepared(*network, [end]))
            self.drawn[n] += 1
        rows = self.fleet.run_each(runs, self.parameters.search_batch)
        for n, row in zip(sizes, rows, strict=True):
            self.steps[n] += int(row["steps"])
        below = jaxflow.Results.loss_below._value
        return np.array([bool(row["result"] == below) for row in rows])


def measure(found: Findings, parameters: Parameters, seed: int) -> None:
    grid = np.repeat(parameters.grid, parameters.per_point)
    method, stop = jaxflow.GradientDescent(1.0), jaxflow.LossBelow()
    gridded = Networks(Fleet(method, stop=stop), parameters, seed)
    outcomes = gridded.converged(grid)
    fit = statistics.fit_threshold(grid, outcomes)
    width = fit.relative_half_width
    # Other seeds than the grid's: what the grid has told must not be used.
    searched = Networks(Fleet(method, stop=stop), parameters, seed + 1)
    # A grid too small to bound the threshold tells nothing to be equalled.
    precision = float(width) if 0 < width < 1 else 0.05
    start = time.perf_counter()
    search = statistics.find_threshold(
        searched.converged,
        min(parameters.grid),
        max(parameters.grid),
        precision=precision,
        batch=parameters.search_batch,
        max_runs=parameters.max_runs,
        minimum=2 * parameters.d,
    )
    wall = time.perf_counter() - start
    sizes = [parameters.grid[i] for i in (0, len(parameters.grid) // 2, -1)]
    ours, loop = _costs(parameters, sizes, seed)
    rows = [
        _row("(i) autograd loop on the grid", gridded, fit, loop, sizes),
        _row("jaxflow on the grid", gridded, fit, ours, sizes),
        _row("jaxflow, sequential", searched, search.threshold, ours, sizes),
    ]
    found.table(
        "Figure 2's threshold N at equal confidence",
        ["by", "networks", "network-steps", "N", "± %, 95 %", "s"],
        rows,
        "Seconds: network-steps times the cost of one, measured alternately. The "
        f"search itself took {wall:.1f} s of wall time, all included.",
    )
    if loop:
        remark = f"{search.runs} networks in place of {len(grid)}"
        remark += "" if search.precise else "; less precise than the grid"
        found.target("threshold", rows[0][-1] / rows[2][-1], remark)


def _costs(
    parameters: Parameters, sizes: list[int], seed: int
) -> tuple[list[float], list[float]]:
    """Seconds per network-step at each n: ours, and the loop's at its best."""
    ours, loop = [], []
    for n in sizes:
        case = Case("sphere", n, parameters.d)
        contenders = {
            "jaxflow": _contenders.engine(case, parameters.search_batch, seed)
        }
        contenders |= _contenders.autograd(case, seed)
        timed = race(contenders, parameters.repeats, parameters.seconds)
        ours.append(timed.spread("jaxflow").median)
        names = [name for name in contenders if name != "jaxflow"]
        if names:
            loop.append(timed.spread(timed.best(names)).median)
    return ours, loop


def _row(
    name: str, networks: Networks, fit: Any, costs: list[float], sizes: list[int]
) -> list[Any]:
    counts = networks.steps
    spent = None
    if costs:
        n = sorted(counts)
        per_step = np.interp(n, sizes, costs)
        spent = float(np.sum(per_step * [counts[k] for k in n]))
    width = 100 * float(fit.relative_half_width)
    total = sum(counts.values())
    drawn = sum(networks.drawn.values())
    return [name, drawn, total, float(fit.estimate), width, spent]


def tiny() -> Parameters:
    return Parameters(
        d=8,
        grid=(30, 60, 90, 120, 150),
        per_point=4,
        search_batch=4,
        max_runs=16,
        repeats=2,
        seconds=0.01,
    )
