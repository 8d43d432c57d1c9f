"""Figure 2 as rows for the report: every number, and what it is compared with."""

from typing import Any

import numpy as np

from jaxflow import statistics

from . import _published as published
from ._figure2 import Config, Fitted, descents_threshold, meaning, remaining, theirs
from ._thresholds import Runs, about, by_width_rule, interval, row, standard_error


def summary(config: Config, runs: Runs, fitted: Fitted) -> list[dict[str, Any]]:
    """The rows for the report."""
    d, beside = config.dimension, theirs(config)
    where = f"d = {d}" + (f", p = {config.width} × rule" if config.width > 1 else "")
    rows = [
        _threshold_row(config, f"{where}, {meaning}", fit)
        for meaning, fit in _thresholds(config, runs, fitted).items()
    ]
    if config.protocol != "flow":
        rows += _replayed(config, runs, where)
        rows += _lack_of_fit(config, runs, fitted, where)
        rows += _remaining_loss(config, runs, where)
    n, converged, made = runs.counts(d, by_width_rule(config.width))
    if config.protocol == "flow":
        undecided = sum(
            not (run.converged or run.stationary) for run in runs.known.values()
        )
        rows.append(
            row(
                f"Figure 2: undecided runs of the flow, {where}",
                ours=undecided,
                note=f"of {made.sum()}, by {runs.protocol.horizons[-1]:g} t_∞",
            )
        )
        return rows
    ours = dict(zip(n.tolist(), zip(converged, made, strict=True), strict=True))
    shared = [size for size in beside if size in ours]
    if not shared:
        return rows
    p_values = statistics.compare_proportions(
        *(np.array(column) for column in zip(*[ours[i] for i in shared], strict=True)),
        *(np.array(col) for col in zip(*[beside[i] for i in shared], strict=True)),
    )
    adjusted = statistics.holm(p_values)
    for size, raw, p_value in zip(shared, p_values, adjusted, strict=True):
        share = statistics.proportion(*ours[size])
        rows.append(
            row(
                f"Figure 2: probability of convergence, {where}, n = {size}",
                released=beside[size][0] / beside[size][1],
                ours=float(share.estimate),
                low=float(share.low),
                high=float(share.high),
                # The released runs drew w(0) from another law than the text has.
                agrees=bool(p_value > 0.05) if config.protocol == "released" else None,
                target=beside[size][0] / beside[size][1],
                source="the authors' released share",
                note=f"{ours[size][0]}/{ours[size][1]} against {beside[size][0]}/"
                f"{beside[size][1]}: p = {raw:.2g}, {p_value:.2g} after Holm over "
                f"{len(shared)} comparisons",
            )
        )
    return rows


def _lack_of_fit(
    config: Config, runs: Runs, fitted: Fitted, where: str
) -> list[dict[str, Any]]:
    """Whether the probability is a logistic function of n."""
    n, k, m = runs.counts(config.dimension, by_width_rule(config.width))
    if len(n) < 3 or fitted[None].separated:
        return []
    lack = statistics.lack_of_fit(fitted[None], n, k, m)
    return [
        row(
            f"Figure 2: deviance of the logistic fit, {where}",
            ours=lack.deviance,
            note=f"{lack.degrees} degrees of freedom, p = {lack.p_value:.2g}; where it "
            "is small, N depends on the n that it is fitted at",
        )
    ]


def _remaining_loss(config: Config, runs: Runs, where: str) -> list[dict[str, Any]]:
    """What the right panel says of n = 3000."""
    n = 3000
    there = runs.at(n, config.dimension, by_width_rule(config.width)(n))
    if len(there) < 2:
        return []
    mean, half = remaining(there)
    return [
        row(
            f"Figure 2: remaining loss over initial loss, {where}, n = {n}",
            paper=published.PAPER_REMAINING_LOSS,
            ours=mean,
            low=mean - half,
            high=mean + half,
            # The text rounds to 0.1 %.
            agrees=bool(abs(mean - published.PAPER_REMAINING_LOSS) <= half + 5e-4),
            target=published.PAPER_REMAINING_LOSS,
            source="the text, “for n ≥ 3000 the loss increases to 0.6 %”",
            note=f"{len(there)} runs; one unfitted example is about 1/n = {1 / n:.1e}",
        )
    ]


def _thresholds(
    config: Config, runs: Runs, fitted: Fitted
) -> dict[str, statistics.Threshold]:
    """By what they are, in words."""
    shown = {
        f"converged {meaning(config, horizon)}": fit for horizon, fit in fitted.items()
    }
    n, k, m = runs.counts(config.dimension, by_width_rule(config.width))
    if config.protocol == "flow":
        descent = descents_threshold(config)
        return shown | ({} if descent is None else {_DESCENT: descent})
    if len(n) < 2:
        return shown
    shown[_LOCAL] = about(n, k, m)
    beside = theirs(config) if config.protocol == "released" else {}
    both = np.isin(n, list(beside))
    if both.sum() == len(beside) > 1 and not both.all():
        shown[_ALIKE] = statistics.fit_threshold(n[both], k[both], m[both])
    return shown


_LOCAL = "from the n within 5 % of it"
_ALIKE = "from the published n alone"
_DESCENT = "gradient descent from the same w(0), by t_∞, from the n within 5 % of it"


def _replayed(config: Config, runs: Runs, where: str) -> list[dict[str, Any]]:
    """What the search of Figures 3 and 4 finds where the outcomes are those of the
    grid, drawn with replacement: a curve that is not logistic."""
    n, k, m = runs.counts(config.dimension, by_width_rule(config.width))
    n, k, m = (column[m >= 40] for column in (n, k, m))
    if len(n) < 5 or len(set(np.diff(n))) > 1:
        return []
    shares = dict(zip(n.tolist(), k / m, strict=True))
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found.append(
            statistics.find_threshold(
                lambda points, rng=rng: (
                    rng.random(len(points)) < [shares[size] for size in points]
                ),
                int(n[0]),
                int(n[-1]),
                batch=16,
                step=int(n[1] - n[0]),
                minimum=int(n[0]),
                maximum=int(n[-1]),
            )
        )
    estimates = np.array([search.threshold.estimate for search in found])
    low, high = np.quantile(estimates, [0.025, 0.975])
    near = about(n, k, m)
    inside = sum(x.threshold.low <= near.estimate <= x.threshold.high for x in found)
    return [
        row(
            f"Figure 2: threshold N, {where}, by searches among these runs",
            ours=float(estimates.mean()),
            low=float(low),
            high=float(high),
            note=f"{len(found)} searches for ± 1 %, on average "
            f"{np.mean([search.runs for search in found]):.0f} runs in place of "
            f"{m.sum()}; {inside} of their intervals contain the grid's "
            f"{near.estimate:.0f} (from the n within 5 % of it)",
        )
    ]


def _threshold_row(
    config: Config, what: str, fit: statistics.Threshold
) -> dict[str, Any]:
    """One N, and what it is compared with."""
    beside, first = theirs(config), config.width == 4
    note = f"s = {fit.scale:.3g} [{fit.scale_low:.3g}, {fit.scale_high:.3g}]"
    target, error, source = None, 0.0, ""
    if beside:
        counts = statistics.fit_threshold(
            list(beside), *np.array(list(beside.values())).T.astype(int)
        )
        error = standard_error(counts)
        note += f"; the published counts, fitted alike: {interval(counts)}"
        like = what.endswith(_ALIKE) or first
        if config.protocol == "paper":
            target, source = published.PAPER_THRESHOLD, "the text"
            # "In between" the two n that it names.
            low, high = published.PAPER_THRESHOLD_RANGE
            error = (high - low) / 3.92
        elif like:
            target = counts.estimate
            source = f"the {'first ' if first else ''}release's counts, fitted alike"
        else:
            target, source = published.RELEASED_THRESHOLD, "the authors' released N"
    agrees = None
    # One verdict for each comparison that can be made, not for each way to fit.
    if target is not None and not what.endswith(_LOCAL):
        # Theirs is known no better than ours.
        joint = float(np.hypot(error, standard_error(fit)))
        agrees = bool(abs(fit.estimate - target) <= 1.96 * joint)
        note += f"; joint standard error {joint:.1f}"
    return row(
        f"Figure 2: threshold N, {what}",
        paper=published.PAPER_THRESHOLD if beside else None,
        released=published.RELEASED_THRESHOLD if beside and not first else None,
        ours=fit.estimate,
        low=fit.low,
        high=fit.high,
        agrees=agrees,
        target=target if agrees is not None else None,
        source=source if agrees is not None else "",
        note=note,
    )
