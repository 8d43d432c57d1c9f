"""What the open questions share: runs that are kept as they are made, and medians."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from scipy import stats

from jaxflow import statistics
from jaxflow.records import RecordFolder, open_folder, open_records

from ..common.output import progress

# Light to dark, so that they differ in grey too.
BLUES = ("#a6c8e4", "#6aa3cf", "#2f78b3", "#124f8c", "#06264d")
ORANGE, GREY = "#d9730d", "#8a8a8a"

# What a killed command loses at most, besides the run that it was making.
_SECONDS = 10.0


def results(output: Path, size: str) -> Path:
    """The folder of the open questions; what is made quickly is not kept in git."""
    return output / ("open_questions" if size == "full" else "quick/open_questions")


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
    axis.errorbar(x, value, [value - low, high - value], ms=4, capsize=2, lw=1, **style)


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
