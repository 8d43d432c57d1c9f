"""The table of the small initialisation."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from jaxflow import statistics

from ..common.output import markdown_table
from .common import grouped, median_interval
from .small_initialisation_runs import HORIZONS, LEVELS

# The events whose times are kept, in their order.
EVENTS = (*(f"L(0)/{1 / level:g}" for level in LEVELS), "the last step")
FIRST, LAST = 0, len(LEVELS)
# E[y²] and E[1/ρ²] of the laws of Appendix B: the square norm of the two neurons that
# fit all examples of one sign each is 4p √(n/2 E[y²] E[1/ρ²]).
_SQUARE = 7 / 3
_INVERSE = {"orthogonal": 1 / 2, "orthonormal": 1.0}

Group = tuple[str, int, int]


def groups(records: xr.Dataset) -> Iterator[tuple[Group, xr.Dataset]]:
    """The runs by inputs, n and p, with dims (exponent, seed)."""
    for size, runs in grouped(records, ("inputs", "n", "p")):
        own = runs.set_index(run=["exponent", "seed"])
        yield size, own.unstack("run").sortby("exponent")


def by_width_rule(records: xr.Dataset, inputs: str) -> dict[int, xr.Dataset]:
    """Of each n the networks of the width rule, which come first, if covered."""
    wide: dict[int, xr.Dataset] = {}
    for (own_inputs, n, _), own in groups(records):
        if own_inputs == inputs:
            wide.setdefault(n, covered(own))
    return wide


def covered(own: xr.Dataset) -> xr.Dataset:
    """The networks that are correctly active on every example."""
    return own.isel(seed=(own.uncovered == 0).all("exponent").values)


def over_limit(own: xr.Dataset, event: int) -> xr.DataArray:
    """t/log(1/s) over what is predicted, of scales below 1."""
    own = own.sel(exponent=own.exponent > 0)
    scaled = own.time / (own.exponent * np.log(10)) / own.limit
    return scaled.isel(time_0=event, limit_0=event)


def two_neurons(inputs: str) -> float:
    """‖θ‖²/(p √n) of the smallest network that fits, of many examples."""
    return 4 * float(np.sqrt(_SQUARE * _INVERSE[inputs] / 2))


def tables(records: xr.Dataset) -> str:
    """table.md."""
    found = list(groups(records))
    parts = [
        "# When the loss falls",
        "Time over log(1/s) times the predicted limit: medians over the networks that "
        "are correctly active on every example, with 95 % intervals by order "
        "statistics, at the largest s below 1 and the smallest. “slope” is dt/d "
        "log(1/s) between the two smallest s, over the same limit. Then the root mean "
        "square of the relative error of two laws of the median time, of two free "
        "numbers each: α + τ log(1/s), with its τ over the median limit, and C s^(−k).",
        _times(found),
        "# ‖θ‖²/(p √n) at the end",
        "Medians of the same networks, and in brackets of the number of neurons with "
        "a_j² of 1 % of the largest at least; predicted, of the number of saddles. "
        "Exponent of the mean of ‖θ‖²/p in n with 95 % by bootstrap, and the root mean "
        "square error of that power law and of C √n.",
        _norms(records),
        "# What is left out",
        "“uncovered”: runs in which some example has no correctly active neuron at the "
        "start. “left”: those whose loss ends above 10⁻⁹ L(0). Shares that have met "
        "the certificate, L < (C_y⁻)²/(2n), by multiples of t_∞.",
        _left(found),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _interval(values: np.ndarray) -> str:
    median, low, high = median_interval(values)
    return f"{median:.3f} [{low:.3f}, {high:.3f}]"


def _times(found: list[tuple[Group, xr.Dataset]]) -> str:
    rows = []
    for (inputs, n, p), every in found:
        own = covered(every)
        own = own.isel(exponent=own.exponent.values > 0)
        logarithm = own.exponent.values * np.log(10)
        for event, name in enumerate(EVENTS):
            limit = own.limit.isel(limit_0=event, exponent=0).values
            time = own.time.isel(time_0=event).transpose("exponent", "seed").values
            slope = (time[-1] - time[-2]) / (logarithm[-1] - logarithm[-2])
            middle = np.median(time, axis=1)
            tau, start = np.polyfit(logarithm, middle, 1, w=1 / middle)
            power = np.polyfit(logarithm, np.log(middle), 1)
            fits = (start + tau * logarithm, np.exp(np.polyval(power, logarithm)))
            errors = [np.sqrt(np.mean((fit / middle - 1) ** 2)) for fit in fits]
            rows.append(
                (
                    *(inputs, f"{n}", f"{p}", f"{limit.size}", name),
                    f"{np.median(limit):.2f}",
                    _interval(time[0] / logarithm[0] / limit),
                    _interval(time[-1] / logarithm[-1] / limit),
                    _interval(slope / limit),
                    f"{100 * errors[0]:.1f} % ({tau / np.median(limit):.3f})",
                    f"{100 * errors[1]:.0f} %",
                )
            )
    exponents = found[0][1].exponent.values
    ends = [f"s = 10^−{e:g}" for e in exponents[exponents > 0][[0, -1]]]
    header = ["inputs", "n", "p", "networks", "L below", "limit", *ends, "slope"]
    return markdown_table([*header, "α + τ log(1/s)", "C s^(−k)"], rows)


def _norms(records: xr.Dataset) -> str:
    rows = []
    for inputs in dict.fromkeys(records.inputs.values.tolist()):
        wide = by_width_rule(records, inputs)
        n = np.array(list(wide), float)
        exponents = next(iter(wide.values())).exponent.values
        columns = {f"s = 10^−{e:g}": ("norm", "grown", e) for e in exponents}
        columns["predicted, s → 0"] = ("norm_limit", "saddles", exponents[0])
        for name, (norm, count, exponent) in columns.items():
            at = [own.sel(exponent=exponent) for own in wide.values()]
            samples = [one[norm].values / float(one.p[0]) for one in at]
            fit = statistics.power_law(n, samples)
            means = np.log([sample.mean() for sample in samples])
            power = means - np.polyval(np.polyfit(np.log(n), means, 1), np.log(n))
            cells = [
                f"{np.median(sample) / np.sqrt(m):.3f} ({float(one[count].median()):g})"
                for m, sample, one in zip(n, samples, at, strict=True)
            ]
            rows.append(
                (
                    *(inputs, name, *cells),
                    f"{fit.exponent:.3f} [{fit.low:.3f}, {fit.high:.3f}]",
                    f"{100 * power.std():.2f} %",
                    f"{100 * (means - np.log(n) / 2).std():.2f} %",
                )
            )
        least = [f"{two_neurons(inputs):.3f} (2)"] * n.size
        rows.append((inputs, "two neurons", *least, "0.5", "", ""))
    header = ["inputs", "", *(f"n = {m:g}" for m in n), "exponent"]
    return markdown_table([*header, "error of n^k", "of C √n"], rows)


def _left(found: list[tuple[Group, xr.Dataset]]) -> str:
    rows = []
    for (inputs, n, p), own in found:
        for exponent in own.exponent.values:
            at = own.sel(exponent=exponent)
            left = at.final.values > 1e-9
            uncovered = at.uncovered.values > 0
            met = at.met.mean("seed").values
            rows.append(
                (
                    *(inputs, f"{n}", f"{p}", f"10^−{exponent:g}"),
                    f"{uncovered.sum()} of {uncovered.size}",
                    f"{left.sum()}",
                    f"{np.sum(left != uncovered)}",
                    *(f"{share:.2f}" for share in met),
                )
            )
    header = ["inputs", "n", "p", "s", "uncovered", "left", "one without the other"]
    return markdown_table([*header, *(f"met by {h:g} t_∞" for h in HORIZONS)], rows)
