"""Which law, and which power, the thresholds of Figures 3 and 4 follow."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from scipy.stats import linregress
from scipy.stats import t as student

from jaxflow import statistics

from ..common.thresholds import standard_error


@dataclasses.dataclass(frozen=True)
class Laws:
    """How some points (x, N) scale: laws ranked, and the slope of log N on log x with
    its 95 % interval from the scatter about the line (Student's t)."""

    ranked: dict[str, statistics.LawFit]
    slope: float
    low: float
    high: float

    @classmethod
    def of(cls, x: Sequence[float], N: Sequence[float], sigma: Any = None) -> "Laws":
        line = linregress(np.log(x), np.log(N))
        half = float(student.ppf(0.975, len(x) - 2)) * float(line.stderr)
        slope = float(line.slope)
        ranked = statistics.compare_laws(x, N, sigma)
        best = next(iter(ranked.values()))
        if sigma is not None and best.p_value < MISFIT:
            # No law fits: errors as large as the best one's misfit decide between them,
            # else the smallest differences would.
            wider = np.asarray(sigma) * np.sqrt(best.residual / (len(x) - 2))
            ranked = {
                name: dataclasses.replace(fit, p_value=ranked[name].p_value)
                for name, fit in statistics.compare_laws(x, N, wider).items()
            }
        return cls(ranked, slope, slope - half, slope + half)

    @property
    def best(self) -> statistics.LawFit:
        return next(iter(self.ranked.values()))

    def formula(self, name: str, x: str) -> str:
        """The law with its numbers."""
        first, second = self.ranked[name].parameters
        if name == "power":
            return f"{first:.3g} {x}^{second:.2f}"
        sign = "+" if first >= 0 else "−"
        what = x if name == "linear" else f"log {x}"
        return f"{second:.3g} {what} {sign} {abs(first):.3g}"


# A χ² less probable than this says that a law does not fit.
MISFIT = 0.01


Results = dict[int, statistics.ThresholdSearch]


def scaling_laws(found: Results, values: Collection[int] | None = None) -> Laws | None:
    """Of the thresholds (at some `values`) that runs on both sides have placed; None if
    they are too few."""
    known = {
        value: search.threshold
        for value, search in found.items()
        if search.low <= search.threshold.estimate <= search.high
        and (values is None or value in values)
    }
    if len(known) < 3:
        return None
    return Laws.of(
        list(known),
        [fit.estimate for fit in known.values()],
        [standard_error(fit) for fit in known.values()],
    )


def columns(points: dict[int, float]) -> tuple[list[float], list[float]]:
    return [float(x) for x in points], list(points.values())
