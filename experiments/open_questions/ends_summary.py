"""How the runs of one size ended, and N of it."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from jaxflow import statistics

from ..common.thresholds import interval

SAID = (
    "Zero: L ≤ 10⁻¹² L(0) by {last:g} t_∞. Stuck: μ ≤ 10⁻⁴/n before. Slow: neither, "
    "and the pattern at the end holds an interpolator; open: neither, and it holds "
    "none."
)


def outcomes(runs: xr.Dataset) -> dict[str, np.ndarray]:
    """Which runs ended how, as `SAID` says."""
    zero, stuck = runs.zero.values, runs.stuck.values
    slow = ~zero & ~stuck & runs.interpolable.values
    return {"zero": zero, "slow": slow, "open": ~(zero | slow | stuck), "stuck": stuck}


def interpolating(runs: xr.Dataset) -> np.ndarray:
    """Zero or slow."""
    found = outcomes(runs)
    return found["zero"] | found["slow"]


BOUNDS = ("zero", "zero and slow", "not stuck")


def thresholds(sizes: Sequence[float], runs: Sequence[xr.Dataset]) -> list[str]:
    """N with 95 % intervals of a logistic P(n) for each of `BOUNDS`, in the units of
    `sizes`: the flow's own lies between the first and the last. A dash where P(n) does
    not fall."""
    trials = [own.sizes["run"] for own in runs]
    found = [
        [own.zero.values for own in runs],
        [interpolating(own) for own in runs],
        [~own.stuck.values for own in runs],
    ]
    fits = [
        statistics.fit_threshold(sizes, [c.sum() for c in one], trials) for one in found
    ]
    # Where P does not fall, nothing is known of N.
    return [
        interval(fit, 2) if np.isfinite([fit.low, fit.high]).any() else "—"
        for fit in fits
    ]
