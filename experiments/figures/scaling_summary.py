"""Figures 3 and 4 as rows for the report: our numbers beside the published ones."""

from typing import Any

import numpy as np
from scipy.stats import norm

from ..common.thresholds import Runs, by, ratio_row, row, standard_error, undecided_row
from .scaling import Descent, Scaling, by_when
from .scaling_laws import MISFIT, Laws, Results, scaling_laws

# So many points are a slope of their own.
_ENOUGH = 4


def scaling_summary(
    scaling: Scaling, runs: Runs, found: Results, descent: Descent
) -> list[dict[str, Any]]:
    """The rows for the report; `descent` has thresholds to set beside the flow's."""
    figure = scaling.figure.replace("figure", "Figure ")
    x = scaling.along
    shared = [value for value in found if value in scaling.published]
    # By a later time, or of lower bounds, at other values than the text's: not judged.
    later = by_when(runs)
    released = runs.protocol.name == "released" and not later
    span = f", {x} = {min(found)} … {max(found)}{later}" if later else ""
    ours = scaling_laws(found)
    rows = []
    if ours is not None:
        what = f"{figure}: slope of log N on log {x}{span}"
        rows.append(_slope_row(scaling, ours, what, judged=not later))
        stated = scaling.stated_law.split(":")[0]
        best = ours.best
        note = "Akaike weights " + ", ".join(
            f"{name} {fit.weight:.2g}" for name, fit in ours.ranked.items()
        )
        note += f"; χ² of the best has p = {best.p_value:.2g}"
        if best.p_value < MISFIT:
            note += ": none of the three fits, and errors were widened until one does"
        rows.append(
            row(
                f"{figure}: law of N({x}){span}",
                paper=None if later else scaling.claim,
                released=None if later else scaling.stated_law,
                ours=f"{best.name}: {ours.formula(best.name, x)}",
                # Not refuted is all that so few points can say.
                agrees=bool(ours.ranked[stated].weight > 0.05) if released else None,
                target=scaling.stated_law,
                source="the authors' released law",
                note=note,
            )
        )
    if not later:
        rows += _upper(scaling, found, figure)
    alike = scaling_laws(found, scaling.published)
    if alike is not None and released:
        # N(x) is no power of x, so that the slope depends on the range.
        their = Laws.of(shared, [scaling.published[value] for value in shared])
        what = f"{figure}: slope of log N on log {x}, at the published {x} alone"
        rows.append(_slope_row(scaling, alike, what, their))
    for value, search in found.items():
        fit = search.threshold
        if np.isfinite(fit.high - fit.low) and value in scaling.published:
            theirs = scaling.published[value]
            # Jointly at 95 % over the values compared, and half of their spacing.
            joint = norm.ppf(1 - 0.025 / len(shared)) * standard_error(fit)
            allowed = joint + scaling.spacing(value) / 2
            agrees = bool(abs(theirs - fit.estimate) <= allowed) if released else None
            note = (
                f"allowed: ± {allowed:.3g} (joint 95 % over {len(shared)} comparisons, "
                f"{joint:.3g}, and half the spacing {scaling.spacing(value):g} of the "
                f"published runs)"
            )
        else:
            theirs, agrees, note = None, None, ""
        rows.append(
            row(
                f"{figure}: N at d = {scaling.size(value)[0]}, "
                f"p = {scaling.size(value)[1]}{later}",
                released=theirs,
                ours=fit.estimate,
                low=fit.low,
                high=fit.high,
                agrees=agrees,
                target=theirs,
                source="" if theirs is None else "the authors' released N",
                note=note,
            )
        )
    for horizon, thresholds in descent.items():
        for value in [value for value in found if value in thresholds]:
            d, p = scaling.size(value)
            rows.append(
                ratio_row(
                    f"{figure}: N of the flow{later} over N of descent {by(horizon)}, "
                    f"at d = {d}, p = {p}",
                    found[value].threshold,
                    thresholds[value],
                )
            )
    if runs.protocol.name == "flow":
        rows.append(undecided_row(f"{figure}: undecided runs of the flow", runs))
    return rows


def _upper(scaling: Scaling, found: Results, figure: str) -> list[dict[str, Any]]:
    """A law of large d or p need not hold from the first of them on."""
    x, rows = scaling.along, []
    upper = dict(list(found.items())[len(found) // 2 :])
    if len(upper) >= _ENOUGH and (late := scaling_laws(upper)) is not None:
        what = f"{figure}: slope of log N on log {x}, from {x} = {min(upper)} on"
        # An interval from so few points about a curve contains many slopes.
        ranged = scaling.slope[0] < scaling.slope[1]
        rows.append(_slope_row(scaling, late, what, judged=ranged))
    stated = scaling.stated_law.split(":")[0]
    p_values = {}
    for index in range(len(found) - _ENOUGH + 1):
        rest = dict(list(found.items())[index:])
        if (laws := scaling_laws(rest)) is not None:
            p_values[min(rest)] = laws.ranked[stated].p_value
    fits = [value for value, p_value in p_values.items() if p_value > 0.05]
    tested = ", ".join(f"{p:.2g} from {x} = {value}" for value, p in p_values.items())
    if p_values:
        rows.append(
            row(
                f"{figure}: smallest {x} from which a {stated} law fits N",
                ours=min(fits) if fits else "none",
                note=f"p of χ²: {tested}; at least {_ENOUGH} points",
            )
        )
    return rows


def _slope_row(
    scaling: Scaling,
    ours: Laws,
    what: str,
    theirs: Laws | None = None,
    judged: bool = True,
) -> dict[str, Any]:
    """Judged by the text, or by `theirs`, a fit like ours to published points."""
    if not judged:
        return row(what, ours=ours.slope, low=ours.low, high=ours.high)
    if theirs is None:
        low, high = scaling.slope
        agrees = bool(ours.low <= high and ours.high >= low)
        if low < high:
            # A range of slopes is claimed: all of ours must lie in it.
            agrees = bool(low < ours.low and ours.high < high)
        target, source = scaling.claim, "the text"
    else:
        joint = np.hypot(ours.high - ours.low, theirs.high - theirs.low) / 2
        agrees = bool(abs(ours.slope - theirs.slope) <= joint)
        target = f"{theirs.slope:.2f} [{theirs.low:.2f}, {theirs.high:.2f}]"
        source = "the published points, fitted alike"
    return row(
        what,
        paper=scaling.claim if theirs is None else None,
        released=scaling.stated_slope if theirs is None else theirs.slope,
        ours=ours.slope,
        low=ours.low,
        high=ours.high,
        agrees=agrees,
        target=target,
        source=source,
        note=f"judged by {source}",
    )
