"""`open_ensemble`: what a folder of an ensemble holds, without the call that made it.

The names of the runs in the folder say n, d, p, method and seed of each (`Cell`); from
these alone the axes of the dataset are found.
"""

import math
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._checks import as_folder
from ..records._chunk import ID, RUN, optional
from ..records._read import read_folder
from . import dataset
from .carry_final import NEEDED
from .grid import RunName, parse_run_name

if TYPE_CHECKING:
    import xarray

# What every chunk of an ensemble holds.
_EXPECTED = {
    **dict.fromkeys(("t", "loss", "curvature", "average_curvature"), (RUN, "time")),
    **dict.fromkeys(("final_loss", "final_time", "result"), (RUN,)),
}


def open_ensemble(folder: str | os.PathLike[str]) -> "xarray.Dataset":
    """The runs that a folder of `simulate_ensemble` holds, as a labelled dataset.

        runs = jaxflow.open_ensemble("runs")
        runs.converged.mean("seed")                              # (n,)

    It needs nothing but the folder, which may lie on read-only storage and may be
    written at the same time. Every chunk is compared with its checksum.

    **Arguments:**

    - `folder`: the path that was given to `simulate_ensemble` as `folder=`.

    **Returns:** an `xarray.Dataset` with the variables that `simulate_ensemble`
    returns, less those that no run has (NaN or −1 throughout). Its axes are found from
    the runs that are there:

    - dims "dynamics" (where methods are labelled), "n", "d" and "p" (where several),
      "seed" and "time", each in increasing order. A size that follows from another one,
      as p does by the width rule, is a coordinate along that one.
    - "cell" in place of "n", "d" and "p", with these as its coordinates, where fewer
      than half of their combinations are there, such as those of a zipped grid.
    - "schedule" besides, where the same runs were made for several arrays of times; the
      one that ends first is 0.
    - the coordinate "time", shape (time,), where all runs recorded at the same times,
      in units of flow time; `t` has those of each in any case.

    Where some runs are missing, of a sweep that was interrupted, say, their entries are
    NaN in every variable, counts and `converged` too (which are floating point then),
    so that means over seeds are those of the runs that are there.

    **Raises:** a FileNotFoundError if there is no folder; a ValueError if it holds no
    runs of an ensemble, or, with the file's name, if something in it is damaged.
    """
    optional("xarray")
    path = as_folder(folder)
    flat = read_folder(path, ids=None, load=dataset.LOADED, verify=True)
    parsed = [parse_run_name(str(name)) for name in flat[ID].values]
    runs = [run for run in parsed if run is not None]
    strange = len(runs) < len(parsed) or any(
        name not in flat or flat[name].dims != dims for name, dims in _EXPECTED.items()
    )
    if strange:
        raise ValueError(
            f"{path} holds records, but not those of simulate_ensemble. "
            "jaxflow.records.open_records reads them."
        )
    flat = flat.drop_vars(_absent(flat))
    return _gridded(flat, _Axes.of(runs, flat["t"]))


def _absent(flat: "xarray.Dataset") -> list[str]:
    """The variables that no run has, but for those that every ensemble is known by."""

    def missing(array: "xarray.DataArray") -> "xarray.DataArray":
        counts = np.issubdtype(array.dtype, np.integer)
        return (array == -1 if counts else array.isnull()).all()

    # Chunks on disk are opened once for all of them.
    found = flat.map(missing).compute()
    return [str(k) for k in found.data_vars if bool(found[k]) and k not in NEEDED]


class _Axes(NamedTuple):
    """The axes of a dataset, and the place of each run among all there could be.

    - `coords`: name → dims and values, for those that are dims and those that are not.
    - `places`: of each run, in the flattened array of this `shape`.
    - `firsts`: of each cell (all but the seed) the first run.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    coords: dict[str, tuple[tuple[str, ...], Any]]
    places: np.ndarray
    firsts: np.ndarray

    @classmethod
    def of(cls, runs: Sequence[RunName], times: "xarray.DataArray") -> "_Axes":
        columns: dict[str, np.ndarray] = {
            name: np.array([getattr(run, name) for run in runs])
            for name in ("n", "d", "p", "seed")
        }
        columns["dynamics"] = np.array([run.method for run in runs])
        columns["schedule"] = _schedules(runs, times)
        sizes, coords = _size_axes(columns)
        dims = [*sizes, "seed"]
        if np.any(columns["schedule"] > 0):
            dims.insert(0, "schedule")
        if np.any(columns["dynamics"] != ""):
            dims.insert(0, "dynamics")
        indices = []
        for name in dims:
            values, index = np.unique(columns[name], return_inverse=True)
            indices.append(index)
            if name != "cell":
                coords[name] = ((name,), values)
        shape = tuple(int(index.max()) + 1 for index in indices)
        places = np.ravel_multi_index(indices, shape)
        _, firsts = np.unique(places // shape[-1], return_index=True)
        return cls(tuple(dims), shape, coords, places, firsts)


def _schedules(runs: Sequence[RunName], times: "xarray.DataArray") -> np.ndarray:
    """For each run which of the arrays of times of its cell it was made for, in the
    order of their ends."""
    seen: dict[tuple[Any, ...], dict[str, int]] = defaultdict(dict)
    for row, run in enumerate(runs):
        seen[run[:4]].setdefault(run.times, row)
    rows = [row for schedules in seen.values() for row in schedules.values()]
    if len(rows) == len(seen):
        return np.zeros(len(runs), int)
    ends = dict(zip(rows, times[:, -1].isel({RUN: rows}).values.tolist(), strict=True))
    ranks = {
        (*cell, name): rank
        for cell, schedules in seen.items()
        for rank, name in enumerate(
            sorted(schedules, key=lambda name: (ends[schedules[name]], name))
        )
    }
    return np.array([ranks[run[:5]] for run in runs])


def _size_axes(
    columns: dict[str, np.ndarray],
) -> tuple[list[str], dict[str, tuple[tuple[str, ...], Any]]]:
    """Which of n, d and p are dims, and as coordinates those that are not: they follow
    from one that is, or have one value only. Or "cell", which becomes a column, and all
    three along it."""
    sizes: list[str] = []
    coords: dict[str, tuple[tuple[str, ...], Any]] = {}
    for name in ("n", "d", "p"):
        values = columns[name]
        leaders = [other for other in sizes if _follows(values, columns[other])]
        if np.all(values == values[0]):
            coords[name] = ((), values[0])
        elif leaders:
            _, first = np.unique(columns[leaders[0]], return_index=True)
            coords[name] = ((leaders[0],), values[first])
        else:
            sizes.append(name)
    triples = np.stack([columns[name] for name in ("n", "d", "p")])
    cells, index = np.unique(triples, axis=1, return_inverse=True)
    combinations = math.prod(len(np.unique(columns[name])) for name in sizes)
    if 2 * cells.shape[1] >= combinations:
        return sizes, coords
    columns["cell"] = index.reshape(-1)
    for name, values in zip(("n", "d", "p"), cells, strict=True):
        if name not in coords or coords[name][0]:
            coords[name] = (("cell",), values)
    return ["cell"], coords


def _follows(values: np.ndarray, other: np.ndarray) -> bool:
    """Whether each of `other` comes with one value only."""
    pairs = np.unique(np.stack([other, values]), axis=1)
    return len(np.unique(other)) == pairs.shape[1]


def _gridded(flat: "xarray.Dataset", axes: _Axes) -> "xarray.Dataset":
    """The rows (run, …) at their places; NaN where there is no run."""
    xarray = optional("xarray")
    rows = np.full(math.prod(axes.shape), -1)
    rows[axes.places] = np.arange(len(axes.places))
    # The times do not depend on the seed.
    cells = np.full(len(rows) // axes.shape[-1], -1)
    cells[axes.places[axes.firsts] // axes.shape[-1]] = axes.firsts

    def placed(array: Any, rows: np.ndarray, axis: int) -> Any:
        dims, shape = axes.dims[:axis], axes.shape[:axis]
        values = array.data[np.maximum(rows, 0)].reshape(shape + array.shape[1:])
        found = xarray.DataArray(values, dims=(*dims, *array.dims[1:]))
        there = xarray.DataArray(rows.reshape(shape) >= 0, dims=dims)
        return found if there.all() else found.where(there)

    every = len(axes.dims)
    variables = {
        str(name): placed(array, rows, every) for name, array in flat.data_vars.items()
    }
    variables["t"] = placed(flat["t"], cells, every - 1)
    data = dataset.with_outcomes(
        xarray.Dataset(variables, coords=axes.coords, attrs=flat.attrs)
    )
    if np.any(rows < 0):
        there = data["result"].notnull()
        data["converged"] = data["converged"].astype(float).where(there)
    times = flat["t"].isel({RUN: axes.firsts}).values
    if np.all(times == times[0]):
        data = data.assign_coords(time=("time", times[0]))
    return data
