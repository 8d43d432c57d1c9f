"""Figure 3: the convergence threshold N against the dimension d, at p = 30.

    python -m experiments.figures.figure3 --protocol released --size full

At each d an adaptive search finds the n at which half of the runs converge. Runs again
with the same `--output` go on where the last one stopped.
"""

import dataclasses
import sys
from typing import ClassVar

import tyro

from ..common import published as published
from .scaling import Scaling, ScalingConfig
from .scaling_figure import scaling_figure


@dataclasses.dataclass(frozen=True)
class Config(ScalingConfig):
    """The threshold N(d) at fixed p (Figure 3)."""

    flow_runs: ClassVar[int] = 128

    p: int = 30
    """The number of neurons."""
    dimensions: tuple[int, ...] = ()
    """d, increasing. Left out, those of `size`; `full` has d beyond the paper's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(d < 2 for d in self.dimensions):
            raise ValueError(f"dimensions must be at least 2, got {self.dimensions}.")

    @property
    def scaling(self) -> Scaling:
        beside = self.beside_flow
        values: tuple[int, ...]
        if self.quick:
            values = (4, 6, 8) if beside else (10, 20, 30)
        else:
            # A run of the flow costs as n^1.5 d at this p, √n for its number of steps,
            # and its N is several times that of descent.
            values = (10, 20, 30, 40) if beside else (*range(10, 101, 10), 150, 200)
            values = (10, 14, 20, 28, 40) if self.decided else values
        values = tuple(sorted(self.dimensions)) or values
        least, most = (10, 30) if self.flow else (2, 6)
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
            stated_law=published.RELEASED_LAW_OF_D,
            stated_slope=published.RELEASED_SLOPE_OF_D,
            slope=(1.0, 1.0),
            claim="linear in d (slope 1)",
            share=self.share,
        )


def main(config: Config) -> None:
    sys.stdout.write(scaling_figure(config))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
