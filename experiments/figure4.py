"""Figure 4: the convergence threshold N against the number of neurons p, at d = 30.

    python -m experiments.figure4 --protocol released --size full

At each p an adaptive search finds the n at which half of the runs converge. Runs again
with the same `--output` go on where the last one stopped.
"""

import dataclasses
import sys
from pathlib import Path

import tyro

from . import _published as published
from ._protocols import GIVEN_UP, Name, Size, folder, protocol
from ._thresholds import Scaling, Search, scaling_figure


@dataclasses.dataclass(frozen=True)
class Config:
    """The threshold N(p) at fixed d (Figure 4)."""

    protocol: Name = "released"
    size: Size = "quick"
    """`quick` takes under two minutes; `full` is the figure."""
    d: int | None = None
    """The dimension. Left out, 30; 5 for the quick flow."""
    widths: tuple[int, ...] = ()
    """p, increasing. Left out, those of `size`."""
    precision: float | None = None
    """At which a search ends: half of the 95 % interval over N."""
    max_runs: int | None = None
    """At which it ends in any case."""
    given_up: float = GIVEN_UP
    """When a run of the flow that is not decided ends, in units of t_∞."""
    seed: int = 0
    output: Path = Path("results")
    redraw: bool = False
    """Draw again from the records, without running."""

    def __post_init__(self) -> None:
        if any(p < 1 for p in self.widths):
            raise ValueError(f"widths must be positive, got {self.widths}.")

    @property
    def scaling(self) -> Scaling:
        flow, quick = self.protocol == "flow", self.size == "quick"
        d = self.d or (5 if flow and quick else 30)
        if quick:
            values = (6, 9, 13) if flow else (50, 100, 150)
        else:
            values = (50, 70, 100, 140) if flow else tuple(range(50, 401, 50))
        values = tuple(sorted(self.widths)) or values
        least, most = (15, 45) if flow else (4, 11)
        return Scaling(
            figure="figure4",
            along="p",
            values=values,
            fixed=d,
            low=least * d,
            high=most * d,
            published=published.RELEASED_THRESHOLD_BY_P,
            # Appendix B: the published runs are at n that are d apart.
            spacing=lambda p: float(d),
            # Any slope below 1 is sub-linear.
            slope=(0.0, 0.99),
            claim="sub-linear in p (slope below 1)",
        )

    @property
    def search(self) -> Search:
        flow, quick = self.protocol == "flow", self.size == "quick"
        return Search(
            precision=self.precision or (0.1 if quick else 0.02 if flow else 0.01),
            batch=8 if quick else 16 if flow else 32,
            max_runs=self.max_runs or (16 if quick else 96 if flow else 384),
            grid=0.1 if quick else 0.02,
        )


def main(config: Config) -> None:
    text = scaling_figure(
        config.scaling,
        protocol(config.protocol, config.given_up),
        config.search,
        folder(config.output, "figure4", config.protocol, config.size),
        config,
        config.seed,
        config.redraw,
    )
    sys.stdout.write(text)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
