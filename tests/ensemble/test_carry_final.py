"""Means over runs of which some ended early."""

import numpy as np
import pytest
import xarray
from numpy.testing import assert_array_equal

import jaxflow
from jaxflow._ensemble.dataset import result_code
from tests import problems

TIMES = np.array([0.0, 1.0, 2.0, 3.0])
NAN = np.nan


def made_up():
    """Four runs: one to the end, one that stopped at time 1.5, one that diverged, and
    one that stopped before the first of its times but for its clock's rounding."""
    counts = [[4, 3, 2, 1], [4, 3, -1, -1], [4, 3, 5, -1], [4, -1, -1, -1]]
    active = np.array(counts, np.int32)
    results = ["reached_time", "loss_below", "diverged", "loss_below"]
    return xarray.Dataset(
        {
            "t": ("time", TIMES),
            "loss": (
                ("seed", "time"),
                [[8, 4, 2, 1], [8, 2, NAN, NAN], [8, 80, 800, NAN], [5, NAN, NAN, NAN]],
            ),
            "curvature": (
                ("seed", "time"),
                [
                    [1.0, 2, 3, 4],
                    [5, 6, NAN, NAN],
                    [7, NAN, 9, NAN],
                    [NAN, NAN, NAN, NAN],
                ],
            ),
            "active": (("seed", "time", "active_0"), active[:, :, None]),
            "final_loss": ("seed", [1.0, 1.5, NAN, 5.0]),
            "final_time": ("seed", [3.0, 1.5, 2.5, 0.0]),
            "result": ("seed", np.array([result_code(name) for name in results])),
        },
        coords={"seed": range(4)},
    )


def test_what_comes_after_the_end():
    runs = made_up()
    carried = jaxflow.carry_final(runs)
    assert_array_equal(
        carried.loss,
        [[8, 4, 2, 1], [8, 2, 1.5, 1.5], [8, 80, 800, np.inf], [5, 5, 5, 5]],
    )
    # The last that is known, and what was missing before the end stays so.
    assert_array_equal(
        carried.curvature,
        [[1, 2, 3, 4], [5, 6, 6, 6], [7, NAN, 9, 9], [NAN, NAN, NAN, NAN]],
    )
    assert_array_equal(
        carried.active[:, :, 0],
        [[4, 3, 2, 1], [4, 3, 3, 3], [4, 3, 5, 5], [4, 4, 4, 4]],
    )
    for name in runs.variables:
        assert carried[name].dims == runs[name].dims
        assert carried[name].dtype == runs[name].dtype
    # What was passed in is as it was.
    xarray.testing.assert_identical(runs, made_up())


def test_a_run_that_is_missing_stays_so():
    runs = made_up().where(made_up().seed != 1)
    carried = jaxflow.carry_final(runs.assign(t=("time", TIMES)))
    assert carried.loss.sel(seed=1).isnull().all()
    assert_array_equal(carried.loss.sel(seed=0), [8, 4, 2, 1])


@pytest.mark.slow
def test_every_run_of_an_ensemble_counts_at_every_time():
    runs = problems.runs_that_end_early(np.linspace(0.0, 150.0, 16))
    means = jaxflow.carry_final(runs).loss.mean("seed")
    going_on = runs.loss.notnull().sum("seed").values
    assert going_on[0] == 6 and 0 < np.min(going_on) < 6
    # No loss rises. The mean of the survivors does, where a run ends below it.
    assert np.all(np.diff(means) <= 0)
    assert np.any(np.diff(runs.loss.mean("seed")) > 0)
    assert means[-1] == runs.final_loss.mean()


def test_other_data_is_refused():
    with pytest.raises(ValueError, match=r"Dataset of an ensemble.*DataArray"):
        jaxflow.carry_final(made_up().loss)
    with pytest.raises(ValueError, match=r"axis time.*isel\(time=\[-1\]\)"):
        jaxflow.carry_final(made_up().isel(time=-1))
    with pytest.raises(ValueError, match="without 'final_time'"):
        jaxflow.carry_final(made_up().drop_vars("final_time"))
