"""How N of the flow grows with d and p: Figures 3 and 4 together.

    python -m experiments.figures.flow_law

From the searches of protocol `flow` that lie in the results (`figure3/flow`, N for zero
loss by 64 t_∞, and `figure3/flow-by4`, N for the certificate by 4 t_∞), fits
N = c p d and N = c (p d)^b over both figures, b along each of them, and N = a + b d.
Nothing is run.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import tyro
from scipy.stats import chi2
from scipy.stats import t as student

from jaxflow import statistics

from ..common.output import markdown_table, write_text
from ..common.thresholds import interval, standard_error
from . import figure3, figure4
from .scaling import thresholds_in
from .scaling_laws import MISFIT

# By the last time of the searches, in units of t_∞; None where runs are decided.
ENDS = {None: "zero loss by 64 t_∞", 4.0: "the certificate by 4 t_∞"}


@dataclasses.dataclass(frozen=True)
class Config:
    """How N of the flow grows with d and p."""

    output: Path = Path("results")


@dataclasses.dataclass(frozen=True)
class PowerOfParameters:
    """N = c (p d)^b by least squares in log N, each weighted by its interval.

    `proportional`: c at b = 1; `p_proportional` and `p_power`: of a χ² at least as
    large where N = c p d, and N = c (p d)^b, hold. The interval of b is at 95 %, from
    the scatter about the line where that is more than the intervals of N explain.
    """

    proportional: float
    p_proportional: float
    b: float
    low: float
    high: float
    p_power: float

    @classmethod
    def of(
        cls, pd: np.ndarray, N: np.ndarray, sigma: np.ndarray
    ) -> "PowerOfParameters":
        """Of thresholds N with standard errors `sigma`, at p d, shape (k ≥ 3,)."""
        x, y, weight = np.log(pd), np.log(N), (N / sigma) ** 2
        x = x - np.average(x, weights=weight)
        share = np.average(np.log(N / pd), weights=weight)
        b = np.sum(weight * x * y) / np.sum(weight * x**2)
        line = np.average(y, weights=weight) + b * x
        freedom = len(x) - 2
        left = np.sum(weight * (y - line) ** 2)
        error = np.sqrt(1 / np.sum(weight * x**2))
        half = 1.96 * error
        if left > freedom:
            half = student.ppf(0.975, freedom) * error * np.sqrt(left / freedom)
        off = np.sum(weight * (np.log(N / pd) - share) ** 2)
        return cls(
            proportional=float(np.exp(share)),
            p_proportional=float(chi2.sf(off, freedom + 1)),
            b=float(b),
            low=float(b - half),
            high=float(b + half),
            p_power=float(chi2.sf(left, freedom)),
        )

    @property
    def cells(self) -> list[str]:
        return [
            f"{self.proportional:.3f} p d",
            f"{self.p_proportional:.2g}",
            f"{self.b:.2f} [{self.low:.2f}, {self.high:.2f}]",
            f"{self.p_power:.2g}",
        ]


Point = tuple[int, int, statistics.Threshold]


def points(config: figure3.Config | figure4.Config) -> list[Point]:
    """d, p and N of a figure in the results, in the order of its values."""
    if not (config.folder / "summary.json").exists():
        return []
    return [(*size, found) for size, found in thresholds_in(config.folder).items()]


def fit(chosen: list[Point]) -> PowerOfParameters | None:
    if len(chosen) < 3:
        return None
    d, p = (np.array(column, float) for column in list(zip(*chosen, strict=True))[:2])
    N = np.array([found.estimate for *_, found in chosen])
    sigma = np.array([standard_error(found) for *_, found in chosen])
    return PowerOfParameters.of(p * d, N, sigma)


def tables(config: Config) -> str:
    """All that is written."""
    sizes, fits, lines = [], [], []
    for given_up, what in ENDS.items():
        by_d = points(
            figure3.Config("flow", "full", None, None, given_up, output=config.output)
        )
        by_p = points(
            figure4.Config("flow", "full", None, None, given_up, output=config.output)
        )
        for d, p, N in by_d + by_p:
            low, middle, high = (
                number / (p * d) for number in (N.low, N.estimate, N.high)
            )
            shares = f"{middle:.3f} [{low:.3f}, {high:.3f}]"
            sizes.append([what, f"{d}", f"{p}", interval(N), shares])
        chosen = {"d, p = 30": by_d, "p, d = 30": by_p, "both": by_d + by_p}
        for along, some in chosen.items():
            if (found := fit(some)) is not None:
                fits.append([what, along, f"{len(some)}", *found.cells])
        for x, index, some in (("d", 0, by_d), ("p", 1, by_p)):
            if len(some) < 3:
                continue
            laws = statistics.compare_laws(
                [(d, p)[index] for d, p, _ in some],
                [N.estimate for *_, N in some],
                [standard_error(N) for *_, N in some],
            )
            lines += [
                [
                    what,
                    x,
                    name,
                    f"{law.p_value:.2g}",
                    "yes" if law.p_value < MISFIT else "no",
                ]
                for name, law in laws.items()
            ]
    return (
        "# How N of the flow grows with d and p\n\n"
        "Made by `python -m experiments.figures.flow_law` from Figures 3 and 4 under "
        "protocol `flow`; 95 % intervals. p: of a χ² at least as large if the law "
        f"holds; below {MISFIT} the law is refuted.\n\n"
        + markdown_table(["N for", "d", "p", "N", "N/(p d)"], sizes)
        + "\n"
        + markdown_table(
            ["N for", "along", "points", "N = c p d", "p", "b of N = c (p d)^b", "p"],
            fits,
        )
        + "\n"
        + markdown_table(["N for", "along", "law", "p", "refuted"], lines)
    )


def main(config: Config) -> None:
    text = tables(config)
    write_text(config.output, "flow_law.md", text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
