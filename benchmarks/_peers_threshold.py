"""Figure 2's threshold: a sequential search by ours, against the loop on a grid.

Both train the same networks by the same descent with the paper's stop; what differs is
the cost of a step and how many networks it takes. The grid's networks are run by ours,
and the loop's cost is its seconds per network-step, measured at three n, times the same
number of steps.

The grid: 25 runs at each n, in steps of 50, are what the paper states (500 networks).
It states n = 2500 … 3500, where with the width that it states nothing converges; what
its authors released later lies within 1300 … 2100 at that width, which makes 17 points.
They published the outcomes at nine of these. The table has both; an n without a
published outcome was not necessarily left out for lack of a run.
"""

import collections
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

import jaxflow
from jaxflow import statistics
from jaxflow.theory import time_scale

from . import _contenders, _machine
from ._engine import Case, Fleet
from ._run import Findings
from ._targets import number
from ._timing import race

_OURS, _LOOP, _PER_CORE = "jaxflow", "(i) autograd loop", "(i), one process per core"


@dataclasses.dataclass(frozen=True)
class Parameters:
    d: int = 100
    grid: tuple[int, ...] = tuple(range(1300, 2101, 50))
    published: tuple[int, ...] = (*range(1300, 1601, 50), 1750, 1800)
    """Those n of the grid whose outcomes were published."""
    per_point: int = 25
    horizon: float = 1.5
    search_batch: int = 8
    max_runs: int = 2000
    repeats: int = 5
    seconds: float = 0.5


class Networks:
    """Fresh networks of Figure 2 at any n, with what they cost."""

    def __init__(self, parameters: Parameters, seed: int):
        method, stop = jaxflow.GradientDescent(1.0), jaxflow.LossBelow()
        self.fleet = Fleet(method, stop=stop)
        self.parameters, self.seed = parameters, seed
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

    def told(self, costs: "Costs", by: str, sizes: Any = None) -> list[Any]:
        """How many networks and network-steps, and their seconds `by` somebody; at
        those n only, where `sizes` are given."""
        n = sorted(self.steps if sizes is None else set(sizes))
        steps = [self.steps[k] for k in n]
        seconds = costs.seconds(by, n, steps)
        return [sum(self.drawn[k] for k in n), sum(steps), seconds]


def measure(found: Findings, parameters: Parameters, seed: int) -> None:
    grid = np.repeat(parameters.grid, parameters.per_point)
    gridded = Networks(parameters, seed)
    start = time.perf_counter()
    outcomes = gridded.converged(grid)
    grid_wall = time.perf_counter() - start
    grids = {
        f"{len(parameters.grid)} n": parameters.grid,
        f"the {len(parameters.published)} published n": parameters.published,
    }
    found_by = {}
    for name, sizes in grids.items():
        chosen = np.isin(grid, sizes)
        fit = statistics.fit_threshold(grid[chosen], outcomes[chosen])
        found_by[name] = (fit, *_search(parameters, seed, fit))
    middle = parameters.grid[len(parameters.grid) // 2]
    costs = Costs(parameters, (parameters.grid[0], middle, parameters.grid[-1]), seed)
    rows: list[list[Any]] = []

    def row(name: str, told: list[Any], fit: Any, wall: float | None = None) -> None:
        networks, steps, seconds = told
        half = 100 * float(fit.relative_half_width)
        estimate = float(fit.estimate)
        rows.append([name, networks, steps, estimate, half, seconds, wall])

    for name, sizes in grids.items():
        fit, searched, search, wall = found_by[name]
        whole = grid_wall if sizes == parameters.grid else None
        for by in (_LOOP, _PER_CORE, _OURS):
            told = gridded.told(costs, by, sizes)
            row(f"{by}, {name}", told, fit, whole if by == _OURS else None)
        told = searched.told(costs, _OURS)
        label = f"{_OURS}, sequential, as precise as {name}"
        row(label, told, search.threshold, wall)
    found.table(
        "Figure 2's threshold N at equal confidence",
        ["by", "networks", "network-steps", "N", "± %, 95 %", "s", "wall, s"],
        rows,
        f"{parameters.per_point} networks at each n of a grid. Seconds: network-steps "
        "times the cost of one, measured alternately; no drawing, compiling or search. "
        "Wall: all of these included, measured once. One process per core: at best, "
        f"the loop's time on 1 thread / {_machine.cores()}, computed and not measured.",
    )
    if costs.has(_LOOP):
        found.target("threshold", *_judged(parameters, costs, gridded, found_by))


def _judged(
    parameters: Parameters,
    costs: "Costs",
    gridded: Networks,
    found_by: Mapping[str, Any],
) -> tuple[float, str]:
    """The loop's seconds on the whole grid over those of our search, with a remark."""
    whole, published = found_by.values()
    _, searched, search, wall = whole
    ours = searched.told(costs, _OURS)[-1]
    loop = gridded.told(costs, _LOOP)[-1]
    per_core = gridded.told(costs, _PER_CORE)[-1]
    parts = [
        f"{search.runs} networks in place of {sum(gridded.drawn.values())}",
        f"by our wall time, all included (the loop's still steps only): "
        f"{number(loop / wall)} ×",
        f"(i) with one process per core at best: {number(per_core / ours)} ×",
    ]
    _, fewer, its_search, _ = published
    few = gridded.told(costs, _LOOP, parameters.published)[-1]
    ratio = few / fewer.told(costs, _OURS)[-1]
    parts.append(f"(i) on the published n only: {number(ratio)} ×")
    if not (search.precise and its_search.precise):
        parts.append("less precise than the grid")
    return loop / ours, "; ".join(parts)


def _search(
    parameters: Parameters, seed: int, fit: Any
) -> tuple[Networks, statistics.ThresholdSearch, float]:
    """The networks of a search as precise as `fit`, what it found, and its seconds."""
    # Other seeds than the grid's: what the grid has told must not be used.
    networks = Networks(parameters, seed + 1)
    width = float(fit.relative_half_width)
    start = time.perf_counter()
    search = statistics.find_threshold(
        networks.converged,
        min(parameters.grid),
        max(parameters.grid),
        # A grid too small to bound the threshold tells nothing to be equalled.
        precision=width if 0 < width < 1 else 0.05,
        batch=parameters.search_batch,
        max_runs=parameters.max_runs,
        minimum=2 * parameters.d,
    )
    return networks, search, time.perf_counter() - start


class Costs:
    """Seconds per network-step, measured at some n and interpolated between them: ours,
    the loop's at its best, and what it would be at best with one process per core."""

    def __init__(self, parameters: Parameters, sizes: tuple[int, ...], seed: int):
        self.sizes = sizes
        self.found: dict[str, list[float]] = collections.defaultdict(list)
        for n in sizes:
            case = Case("sphere", n, parameters.d)
            batch = parameters.search_batch
            loops = _contenders.autograd(case, seed)
            contenders = {_OURS: _contenders.engine(case, batch, seed), **loops}
            timed = race(contenders, parameters.repeats, parameters.seconds)
            self.found[_OURS].append(timed.spread(_OURS).median)
            if loops:
                best = timed.best(list(loops))
                alone = timed.spread(_contenders.autograd_on(1)).median
                self.found[_LOOP].append(timed.spread(best).median)
                self.found[_PER_CORE].append(alone / _machine.cores())

    def has(self, by: str) -> bool:
        return by in self.found

    def seconds(self, by: str, n: list[int], steps: list[int]) -> float | None:
        """None where it was not measured."""
        if not self.has(by):
            return None
        return float(np.interp(n, self.sizes, self.found[by]) @ np.array(steps))


def tiny() -> Parameters:
    return Parameters(
        d=8,
        grid=(30, 60, 90, 120, 150),
        published=(30, 60, 90),
        per_point=4,
        search_batch=4,
        max_runs=16,
        repeats=2,
        seconds=0.01,
    )
