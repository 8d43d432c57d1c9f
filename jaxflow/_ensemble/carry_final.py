"""`carry_final`: runs that ended early, carried on to the last recorded time."""

from typing import TYPE_CHECKING

import numpy as np

from .._solution import clock_slack
from ..records._chunk import optional
from .dataset import result_code

if TYPE_CHECKING:
    import xarray

# What is read here.
NEEDED = ("t", "loss", "final_time", "final_loss", "result")


def carry_final(runs: "xarray.Dataset") -> "xarray.Dataset":
    """The dataset of an ensemble with the rows after each run's end filled in.

    A run that ended early has no rows after its end: they are NaN, and −1 for counts.
    A mean over seeds skips them, and so is the mean of the runs that are still going
    on. Here every run counts at every time, with what it had at its end:

        jaxflow.carry_final(runs).loss.sel(n=1400).mean("seed")          # (time,)

    - `loss` after the end is `final_loss`. It bounds what the loss would have been from
      above, since the flow never raises it. Of a run that diverged it is infinite: the
      mean then is too, and the median is not.
    - Every other variable with a time axis has the last value that was recorded: NaN
      where there was none, and where a run ended before the first of its times.

    What a run recorded itself, the variables without a time axis, and runs that are
    missing altogether stay as they are.

    **Arguments:**

    - `runs`: what `simulate_ensemble` or `open_ensemble` returned, or a selection of it
      that kept `t`, `loss`, `final_time`, `final_loss` and `result`, and the axis
      time.

    **Returns:** another `xarray.Dataset` of the same shapes and dtypes.

    **Raises:** a ValueError when `runs` is something else.
    """
    xarray = optional("xarray")
    lacking = (
        [name for name in NEEDED if name not in runs]
        if isinstance(runs, xarray.Dataset)
        else None
    )
    if lacking is None or lacking:
        told = f"one without {lacking[0]!r}" if lacking else type(runs).__name__
        raise ValueError(
            "runs must be the xarray.Dataset of an ensemble, with "
            f"{', '.join(NEEDED)}; got {told}."
        )
    if "time" not in runs["loss"].dims:
        raise ValueError(
            "runs must have the axis time, along which a run may have ended, but one "
            "time was taken out: take it out by a list, runs.isel(time=[-1]), or after "
            "carry_final."
        )
    # As within a run.
    ended = runs["t"] > runs["final_time"] * clock_slack(runs["t"].dtype)
    finite = runs["result"] != result_code("diverged")
    last = runs["final_loss"].where(finite, np.inf)
    last = last.astype(runs["loss"].dtype)
    carried = runs.copy()
    for name, array in runs.data_vars.items():
        if "time" in array.dims and name != "t":
            found = last if name == "loss" else _forward(array, ended)
            found = array.where(~ended, found).transpose(*array.dims)
            carried[name] = found.astype(array.dtype).assign_attrs(array.attrs)
    return carried


def _forward(
    array: "xarray.DataArray", ended: "xarray.DataArray"
) -> "xarray.DataArray":
    """At each time the last value that was recorded up to then."""
    xarray = optional("xarray")
    known = ~ended & array.notnull()

    def last(values: np.ndarray, known: np.ndarray) -> np.ndarray:
        index = np.where(known, np.arange(values.shape[-1]), 0)
        index = np.maximum.accumulate(index, axis=-1)
        return np.take_along_axis(values, index, axis=-1)

    return xarray.apply_ufunc(
        last,
        array,
        known.broadcast_like(array),
        input_core_dims=[["time"], ["time"]],
        output_core_dims=[["time"]],
        dask="parallelized",
        output_dtypes=[array.dtype],
    )
