"""The results of an ensemble as one xarray.Dataset over its grid."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .._methods.base import COUNTS, AbstractMethod
from .._solution import Results
from ..records import RecordFolder
from ..records._chunk import optional
from ..records._read import read_folder
from .grid import Grid

if TYPE_CHECKING:
    import xarray

# Records of more bytes than this stay on disk until they are asked for.
LOADED = 2**30
# Variables of every ensemble besides what its methods count, and names that its
# coordinates have. What is recorded at each time has a time axis, the rest has none.
_ALWAYS = frozenset(
    ["t", "final_loss", "final_time", "result", "converged", "balance_drift"]
)
_COORDINATES = frozenset(
    ["time", "seed", "n", "d", "p", "cell", "dynamics", "run", "id"]
)


def reserved_names(methods: Iterable[AbstractMethod]) -> frozenset[str]:
    """Names of an ensemble's dataset that no observable may have."""
    declared = [name for method in methods for name in method.statistics]
    return _ALWAYS | _COORDINATES | frozenset(COUNTS) | frozenset(declared)


def check_names(names: Iterable[str], methods: Iterable[AbstractMethod]) -> None:
    """Raises a ValueError for names of observables that a dataset cannot have."""
    names, reserved = set(names), reserved_names(methods)
    for name in names:
        if name in reserved:
            raise ValueError(
                f"observable {name!r} is a variable of every ensemble; give yours "
                "another name."
            )
        stem, _, axis = name.rpartition("_")
        if axis.isdecimal() and stem in names:
            raise ValueError(
                f"observable {name!r} has the name that an axis of {stem!r} would "
                "have; give one of the two another name."
            )


def row_dims(name: str, ndim: int) -> tuple[str, ...]:
    """The dimensions of a variable after that of the runs."""
    if ndim == 0:
        return ()
    return ("time", *(f"{name}_{axis}" for axis in range(ndim - 1)))


def _run_names(grid: Grid, seeds: list[int]) -> list[str]:
    """In the order of the grid."""
    return [cell.run_name(seed) for cell in grid.cells for seed in seeds]


def dataset_from_rows(
    grid: Grid,
    seeds: list[int],
    names: list[str],
    rows: dict[str, Any],
    attributes: dict[str, Any],
) -> "xarray.Dataset":
    """Rows (run, …) in any order, by the runs' names, as a Dataset over the grid."""
    xarray = optional("xarray")

    place = {name: index for index, name in enumerate(names)}
    wanted = _run_names(grid, seeds)
    missing = [name for name in wanted if name not in place]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(wanted)} runs are missing, such as {missing[0]!r}."
        )
    order = np.array([place[name] for name in wanted])
    shape, dims = (*grid.shape, len(seeds)), (*grid.dims, "seed")
    variables = {}
    for name, array in rows.items():
        values = array[order].reshape(shape + array.shape[1:])
        variables[name] = ((*dims, *row_dims(name, array.ndim - 1)), values)
    data = xarray.Dataset(
        variables,
        coords={
            **{name: (along, values) for name, (along, values) in grid.coords.items()},
            "seed": ("seed", np.array(seeds)),
        },
        attrs=attributes,
    )
    # The times at which a method records do not depend on the seed.
    data["t"] = data["t"].isel(seed=0)
    if grid.common_times:
        data = data.assign_coords(time=("time", grid.cells[0].times))
    return with_outcomes(data)


def with_outcomes(data: "xarray.Dataset") -> "xarray.Dataset":
    """`data` with what its times and codes mean, and with `converged`."""
    data["t"].attrs["long_name"] = "flow time (learning rate × steps)"
    data["result"].attrs.update(result_flags())
    data["converged"] = data["result"] == result_code("loss_below")
    return data


def dataset_from_folder(
    grid: Grid,
    seeds: list[int],
    opened: RecordFolder,
    attributes: dict[str, Any],
) -> "xarray.Dataset":
    """The same from a folder; it stays on disk where it is large. Every chunk is
    compared with its checksum, whatever happened to it since it was written."""
    # Its own path, which stays when the working directory changes.
    folder, known = opened.path, opened.parts
    ids = _run_names(grid, seeds)
    flat = read_folder(folder, ids=ids, load=LOADED, verify=True, known=known)
    names = [str(name) for name in flat["id"].values]
    rows = {str(name): array.data for name, array in flat.data_vars.items()}
    return dataset_from_rows(grid, seeds, names, rows, {**flat.attrs, **attributes})


def result_flags() -> dict[str, Any]:
    """The codes of `result` and their names, as the CF conventions write them."""
    names = [name for name in vars(Results)["_name_to_item"]]
    codes = [int(vars(Results)["_name_to_item"][name]._value) for name in names]
    return {"flag_values": codes, "flag_meanings": " ".join(names)}


def result_code(name: str) -> int:
    """The code of an outcome."""
    return int(getattr(Results, name)._value)
