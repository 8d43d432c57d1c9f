"""Figure 3: the convergence threshold N against the dimension d, at p = 30.

    python -m experiments.figure3 --protocol released --size full

At each d an adaptive search finds the n at which half of the runs converge. Runs again
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
    """The threshold N(d) at fixed p (Figure 3)."""

    protocol: Name = "released"
    size: Size = "quick"
    """`quick` takes under two minutes; `full` is the figure, and d beyond it."""
    p: int = 30
    """The number of neurons."""
    dimensions: tuple[int, ...] = ()
    """d, increasing. Left out, those of `size`."""
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
        if any(d < 2 for d in self.dimensions):
            raise ValueError(f"dimensions must be at least 2, got {self.dimensions}.")

    @property
    def scaling(self) -> Scaling:
        flow = self.protocol == "flow"
        if self.size == "quick":
            values = (4, 6, 8) if flow else (10, 20, 30)
        else:
            values = (10, 20, 30, 40, 50) if flow else (*range(10, 101, 10), 150, 200)
        values = tuple(sorted(self.dimensions)) or values
        least, most = (10, 30) if flow else (2, 6)
        return Scaling(
            figure="figure3",
            along="d",
            values=values,
            fixed=self.p,
            low=least * values[0],
            high=most * values[0],
            published=published.RELEASED_THRESHOLD_BY_D,
            # Appendix B: the published runs are at n that are d apart.
            spacing=float,
            slope=(1.0, 1.0),
            claim="linear in d (slope 1)",
        )

    @property
    def search(self) -> Search:
        flow, quick = self.protocol == "flow", self.size == "quick"
        return Search(
            precision=self.precision or (0.1 if quick else 0.02 if flow else 0.01),
            batch=8 if quick else 16 if flow else 32,
            max_runs=self.max_runs or (16 if quick else 128 if flow else 384),
            grid=0.1 if quick else 0.02,
        )


def main(config: Config) -> None:
    text = scaling_figure(
        config.scaling,
        protocol(config.protocol, config.given_up),
        config.search,
        folder(config.output, "figure3", config.protocol, config.size),
        config,
        config.seed,
        config.redraw,
    )
    sys.stdout.write(text)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
