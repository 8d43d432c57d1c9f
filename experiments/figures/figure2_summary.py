"""Figure 2 as rows for the report: every number, and what it is compared with."""

from typing import Any

import numpy as np

from jaxflow import statistics

from ..common import published as published
from ..common.thresholds import (
    Runs,
    about,
    by,
    by_width_rule,
    interval,
    ratio_row,
    row,
    standard_error,
    undecided_row,
)
from .figure2_searches import Config, Descent, Fitted, meaning, remaining, theirs


def summary(
    config: Config, runs: Runs, fitted: Fitted, descent: Descent
) -> list[dict[str, Any]]:
    """The rows for the report."""
    where = f"d = {config.dimension}"
    where += f", p = {config.width} × rule" if config.width > 1 else ""
    if config.protocol == "flow":
        shown = _converged(config, fitted)
        rows = [_threshold_row(config, where, what, fit) for what, fit in shown.items()]
        for horizon, of_descent in descent.items():
            rows += [
                ratio_row(
                    f"Figure 2: N of the flow over N of descent {by(horizon)} "
                    f"({_LOCAL}), {where}, the flow {what}",
                    fit,
                    of_descent,
                )
                for what, fit in shown.items()
                # At equal times, and as the paper has it; where there is an N.
                if (what == f"converged {by(horizon)}" or horizon == 1)
                and np.isfinite(fit.estimate)
            ]
        what = f"Figure 2: undecided runs of the flow, {where}"
        return [*rows, undecided_row(what, runs)]
    if not config.plain:
        return _threshold_rows(config, runs, fitted, where)
    return [
        *_threshold_rows(config, runs, fitted, where),
        *_replayed(config, runs, where),
        *_lack_of_fit(config, runs, fitted, where),
        *_remaining_loss(config, runs, where),
        *_probability_rows(config, runs, where),
    ]


def _converged(config: Config, fitted: Fitted) -> dict[str, statistics.Threshold]:
    return {
        f"converged {meaning(config, horizon)}": fit for horizon, fit in fitted.items()
    }


_LOCAL = "from the n within 5 % of it"
_ALIKE = "from the published n alone"


def _threshold_rows(
    config: Config, runs: Runs, fitted: Fitted, where: str
) -> list[dict[str, Any]]:
    """Of descent: N by each way to fit, and what it is compared with."""
    shown, beside = _converged(config, fitted), theirs(config)
    p = by_width_rule(config.width)
    for horizon in (*config.early, None):
        n, k, m = runs.counts(config.dimension, p, horizon)
        if len(n) > 1:
            what = _LOCAL
            if config.last != 1:
                what = f"converged {meaning(config, horizon)}, {_LOCAL}"
            if np.isfinite((near := about(n, k, m)).estimate):
                shown[what] = near
    if len(n) > 1:
        both = np.isin(n, list(beside))
        compared = config.protocol == "released"
        if compared and both.sum() == len(beside) > 1 and not both.all():
            shown[_ALIKE] = statistics.fit_threshold(n[both], k[both], m[both])
    counts = None
    if beside:
        counts = statistics.fit_threshold(
            list(beside), *np.array(list(beside.values())).T.astype(int)
        )
    return [
        _threshold_row(config, where, what, fit, counts) for what, fit in shown.items()
    ]


def _threshold_row(
    config: Config,
    where: str,
    what: str,
    fit: statistics.Threshold,
    counts: statistics.Threshold | None = None,
) -> dict[str, Any]:
    """One N. `counts`: the fit to the published counts, if there are any."""
    first = config.width == 4
    note = ""
    if not np.isnan(fit.scale):
        note = f"s = {fit.scale:.3g} [{fit.scale_low:.3g}, {fit.scale_high:.3g}]"
    judged: dict[str, Any] = {}
    if counts is not None:
        note += f"; the published counts, fitted alike: {interval(counts)}"
        # One verdict for each comparison that can be made, not for each way to fit.
        if what != _LOCAL:
            target, error, source = _target(config, what, counts)
            # Theirs is known no better than ours.
            joint = float(np.hypot(error, standard_error(fit)))
            agrees = bool(abs(fit.estimate - target) <= 1.96 * joint)
            judged = {"agrees": agrees, "target": target, "source": source}
            note += f"; joint standard error {joint:.1f}"
    return row(
        f"Figure 2: threshold N, {where}, {what}",
        paper=published.PAPER_THRESHOLD if counts else None,
        released=published.RELEASED_THRESHOLD if counts and not first else None,
        ours=fit.estimate,
        low=fit.low,
        high=fit.high,
        note=note,
        **judged,
    )


def _target(
    config: Config, what: str, counts: statistics.Threshold
) -> tuple[float, float, str]:
    """What N is compared with, its standard error, and whose it is."""
    if config.protocol == "paper":
        low, high = published.PAPER_THRESHOLD_RANGE
        return published.PAPER_THRESHOLD, (high - low) / 3.92, "the text"
    error = standard_error(counts)
    if config.width == 4:
        return counts.estimate, error, "the first release's counts, fitted alike"
    if what == _ALIKE:
        return counts.estimate, error, "the release's counts, fitted alike"
    return published.RELEASED_THRESHOLD, error, "the authors' released N"


def _probability_rows(config: Config, runs: Runs, where: str) -> list[dict[str, Any]]:
    """The share that converged at each n that is published too."""
    beside = theirs(config)
    n, k, m = runs.counts(config.dimension, by_width_rule(config.width))
    ours = dict(zip(n.tolist(), zip(k, m, strict=True), strict=True))
    shared = [size for size in beside if size in ours]
    if not shared:
        return []
    our_k, our_m = np.array([ours[i] for i in shared]).T
    their_k, their_m = np.array([beside[i] for i in shared]).T
    p_values = statistics.compare_proportions(our_k, our_m, their_k, their_m)
    adjusted = statistics.holm(p_values)
    rows = []
    for size, raw, p_value in zip(shared, p_values, adjusted, strict=True):
        share = statistics.proportion(*ours[size])
        their = beside[size][0] / beside[size][1]
        rows.append(
            row(
                f"Figure 2: probability of convergence, {where}, n = {size}",
                released=their,
                ours=float(share.estimate),
                low=float(share.low),
                high=float(share.high),
                # The released runs drew w(0) from another law than the text has.
                agrees=bool(p_value > 0.05) if config.protocol == "released" else None,
                target=their,
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


def _replayed(config: Config, runs: Runs, where: str) -> list[dict[str, Any]]:
    """What the search of Figures 3 and 4 finds where the outcomes are those of the
    grid, drawn with replacement: a curve that is not logistic."""
    n, k, m = runs.counts(config.dimension, by_width_rule(config.width))
    n, k, m = (column[m >= 40] for column in (n, k, m))
    if len(n) < 5 or len(set(np.diff(n))) > 1:
        return []
    if k[0] < 0.95 * m[0] or k[-1] > 0.05 * m[-1]:
        # A search would go on beyond the grid.
        return []
    shares = dict(zip(n.tolist(), k / m, strict=True))
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)

        def drawn(points: np.ndarray, rng: np.random.Generator = rng) -> np.ndarray:
            return rng.random(len(points)) < [shares[size] for size in points]

        found.append(
            statistics.find_threshold(
                drawn,
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
            f"Figure 2: threshold N, {where}, by searches among these runs (spread)",
            ours=float(estimates.mean()),
            low=float(low),
            high=float(high),
            note=f"{len(found)} searches for ± 1 % and the middle 95 %; on average "
            f"{np.mean([search.runs for search in found]):.0f} runs in place of "
            f"{m.sum()}; {inside} of their intervals contain the grid's "
            f"{near.estimate:.0f} (from the n within 5 % of it)",
        )
    ]
