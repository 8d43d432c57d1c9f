"""Figure 4: the convergence threshold N against the number of neurons p, at d = 30.

    python -m experiments.figures.figure4 --protocol released --size full

At each p an adaptive search finds the n at which half of the runs converge. Runs again
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
    """The threshold N(p) at fixed d (Figure 4)."""

    flow_runs: ClassVar[int] = 64

    d: int | None = None
    """The dimension. Left out, 30; 5 for the quick flow."""
    widths: tuple[int, ...] = ()
    """p, increasing. Left out, those of `size`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(p < 1 for p in self.widths):
            raise ValueError(f"widths must be positive, got {self.widths}.")

    @property
    def scaling(self) -> Scaling:
        beside, quick = self.beside_flow, self.quick
        d = self.d or (5 if beside and quick else 30)
        values: tuple[int, ...]
        if quick:
            values = (6, 9, 13) if beside else (50, 100, 150)
        else:
            # A run of the flow costs as (n p)^1.5, and its N grows with p by far more
            # than that of descent.
            values = (14, 20, 28, 50) if beside else tuple(range(50, 401, 50))
        values = tuple(sorted(self.widths)) or values
        least, most = (10, 30) if self.flow else (4, 11)
        return Scaling(
            figure="figure4",
            along="p",
            values=values,
            fixed=d,
            low=least * d,
            high=most * d,
            published=published.RELEASED_THRESHOLD_BY_P,
            # Appendix B says this of Figure 3; of Figure 4 it is assumed.
            spacing=lambda p: float(d),
            stated_law=published.RELEASED_LAW_OF_P,
            stated_slope=published.RELEASED_SLOPE_OF_P,
            slope=(0.0, 1.0),
            claim="sub-linear in p (slope below 1)",
            share=self.share,
        )


def main(config: Config) -> None:
    sys.stdout.write(scaling_figure(config))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
