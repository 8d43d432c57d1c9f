"""What the open questions share: a config, runs that are kept as they are made, what is
written of them, and medians."""

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

import jaxflow
from jaxflow import statistics
from jaxflow.records import RecordFolder, open_folder, open_records

from ..common.output import (
    STYLE,
    progress,
    write_config,
    write_figure,
    write_records,
    write_text,
)

# Light to dark, so that they differ in grey too.
BLUES = ("#a6c8e4", "#6aa3cf", "#2f78b3", "#124f8c", "#06264d")
ORANGE, GREY = "#d9730d", "#8a8a8a"

# What a killed command loses at most, besides the run that it was making.
_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Question:
    """What every open question is asked with."""

    size: Literal["quick", "full"] = "quick"
    """quick: two minutes. full: from ten minutes to hours; goes on where it was cut
    off."""
    seed: int = 0
    output: Path = Path("results")
    redraw: bool = False
    """Draw again from the records, without simulating."""

    # The name of the module, and that of its folder and figure where it is another.
    module: ClassVar[str]
    name: ClassVar[str] = ""

    @property
    def full(self) -> bool:
        return self.size == "full"

    @property
    def folder(self) -> Path:
        """What is made quickly is not kept in git."""
        questions = "open_questions" if self.full else "quick/open_questions"
        return self.output / questions / (self.name or self.module)

    def write(self, **records: xr.Dataset) -> None:
        """The records by the names of their files, and the config that made them."""
        for name, rows in records.items():
            kept = rows.reset_index("run", drop=True) if "run" in rows.indexes else rows
            write_records(self.folder, kept, f"{name}.nc")
        module = f"experiments.open_questions.{self.module}"
        write_config(self.folder, self, module)

    def publish(self, draw: Callable[[], Figure], text: str) -> None:
        """The figure and table.md, which is printed too."""
        with plt.rc_context(STYLE):
            write_figure(self.folder, draw(), self.folder.name)
        write_text(self.folder, "table.md", text)
        sys.stdout.write(text)


def check_networks(networks: int | None) -> None:
    """A median has an interval from so many on."""
    if networks is not None and networks < 8:
        raise ValueError(f"networks must be 8 at least, got {networks}.")


def keep(
    folder: Path,
    config: Mapping[str, Any],
    names: Sequence[str],
    run: Callable[[str], Mapping[str, Any]],
) -> xr.Dataset:
    """The rows of the runs of these names, in this order, dims (run, …).

    A name may stand there twice. Those that `folder` does not hold yet are made by
    `run`, which gives the numbers and vectors of one by name, always the same ones.
    They are on disk within seconds, so that the same call goes on where it was cut off.
    Raises a ValueError for a folder that was made by another `config`.
    """
    with open_folder(folder, config) as records:
        done = records.finished()
        missing = [name for name in dict.fromkeys(names) if name not in done]
        made: dict[str, Mapping[str, Any]] = {}
        since = time.monotonic()
        try:
            for name in progress(missing, len(missing), folder.name):
                made[name] = run(name)
                if time.monotonic() - since > _SECONDS:
                    _write(records, made)
                    since = time.monotonic()
        finally:
            _write(records, made)
    rows = open_records(folder, ids=set(names), lazy=False)
    return rows.set_index(run="id").sel(run=list(names))


def keep_cells(
    folder: Path,
    config: Mapping[str, Any],
    cells: Sequence[Any],
    seeds: int,
    run: Callable[[str], Mapping[str, Any]],
) -> xr.Dataset:
    """The rows of so many runs of each cell, a NamedTuple whose fields they have too.
    A run is named by the fields and its number, with a / between them."""
    made = [(cell, k) for k in range(seeds) for cell in cells]
    names = ["/".join(map(str, (*cell, k))) for cell, k in made]
    rows = keep(folder, config, names, run)
    for field in cells[0]._fields:
        rows[field] = "run", [getattr(cell, field) for cell, _ in made]
    return rows


def grouped(
    records: xr.Dataset, fields: Sequence[str]
) -> list[tuple[tuple[Any, ...], xr.Dataset]]:
    """The runs of each value of these fields, in the order of their first runs."""
    rows: dict[tuple[Any, ...], list[int]] = {}
    columns = (records[field].values.tolist() for field in fields)
    for index, name in enumerate(zip(*columns, strict=True)):
        rows.setdefault(name, []).append(index)
    return [(name, records.isel(run=own)) for name, own in rows.items()]


class Ended(NamedTuple):
    """How a run ended; undecided if neither."""

    zero: bool
    rest: bool


def ended(sol: jaxflow.Solution) -> Ended:
    """Whether a run reached zero loss, and whether it is at rest above it. In float64
    residuals that are rounding are as near to zero as they come."""
    results = jaxflow.Results
    return Ended(
        zero=sol.result in (results.loss_below, results.exhausted),
        rest=sol.result in (results.stationary, results.dead, results.at_origin),
    )


def fall_time(times: np.ndarray, loss: np.ndarray, level: float) -> float:
    """When L first was at or below `level`, on a straight line in log L between looks;
    ∞ where it never was."""
    below = np.flatnonzero(loss <= level)
    if not below.size:
        return np.inf
    last = int(below[0])
    if last == 0:
        return float(times[0])
    first = last - 1
    logs = np.log(loss[[last, first]])
    return float(np.interp(np.log(level), logs, times[[last, first]]))


def _write(records: RecordFolder, made: dict[str, Mapping[str, Any]]) -> None:
    if not made:
        return
    first = next(iter(made.values()))
    rows = {key: np.stack([row[key] for row in made.values()]) for key in first}
    dims = {
        key: ("run", *(f"{key}_{k}" for k in range(column.ndim - 1)))
        for key, column in rows.items()
    }
    records.write(rows, list(made), dims)
    made.clear()


def median_interval(
    sample: np.ndarray, confidence: float = 0.95
) -> tuple[float, float, float]:
    """The median and its interval by order statistics, for which no law is assumed: as
    many of m runs lie below the median as m fair coins show heads. Infinite where there
    are too few runs for it."""
    values = np.sort(np.asarray(sample, float))
    m = values.size
    k = int(stats.binom.ppf((1 - confidence) / 2, m, 0.5))
    # The k-th least and the k-th largest value.
    bounds = (values[k - 1], values[m - k]) if k >= 1 else (-np.inf, np.inf)
    return float(np.median(values)), float(bounds[0]), float(bounds[1])


def bars(axis: Axes, x: np.ndarray, three: Any, **style: Any) -> None:
    """Points with their intervals: `three` are values, low and high ends, (m, 3)."""
    value, low, high = np.transpose(three)
    usual = {"ms": 4, "capsize": 2, "lw": 1}
    axis.errorbar(x, value, [value - low, high - value], **usual | style)


# The columns of `law_rows`.
LAWS = ("law", "over", "sizes", "free", "χ²", "a, b of a + b x, a x^b, a + b log x")


def law_rows(x: np.ndarray, three: np.ndarray) -> Iterator[tuple[str, ...]]:
    """Rows of the laws of `statistics.compare_laws`, for three points and more."""
    if len(x) < 3:
        return
    sigma = (three[:, 2] - three[:, 1]) / 3.92
    for fit in statistics.compare_laws(x, three[:, 0], sigma).values():
        a, b = fit.parameters
        numbers = f"{a:.3g}, {b:.3g} ± {1.96 * fit.errors[1]:.2g}"
        over = f"{x.min()} … {x.max()}"
        yield fit.name, over, f"{len(x)}", "2", f"{fit.residual:.1f}", numbers
