"""The linear threshold: is N(d, p) a share of the p d parameters, and what stops a run?

    python -m experiments.open_questions.linear_threshold --size full

N of the flow and of descent are read from Figures 3 and 4, which are made elsewhere.
Runs on n inputs of the sphere with labels at random go on until they are decided or
64 t_∞ are over, and what their pattern still leaves free is counted at the end.
`docs/findings/linear_threshold.md` says what comes out.
"""

import dataclasses

import jax
import tyro

from ..common.output import read_records
from .common import Question
from .ends import check_runs
from .linear_threshold_plot import draw
from .linear_threshold_runs import Cell, simulated, started
from .linear_threshold_table import tables

# (d, p, negative slope), and n as shares of p d.
_FULL = {
    (10, 20, 0.0): (0.5, 0.7, 0.85, 1.0),
    (20, 10, 0.0): (0.5, 0.65, 0.8, 1.0),
    (10, 10, 0.0): (0.5, 0.65, 0.8, 1.0),
    (10, 10, 0.5): (0.5, 0.65, 0.8, 1.0),
}
_QUICK = {(6, 8, 0.0): (0.5, 0.75, 1.0), (6, 8, 0.5): (0.5, 1.0)}
# n of the starts, as shares of p d, at the sizes above.
_STARTS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


@dataclasses.dataclass(frozen=True)
class Config(Question):
    """The linear threshold: N/(p d), and how runs end about it. Figures 2 to 4 are read
    from `output`, too."""

    module = "linear_threshold"

    seeds: int | None = None
    """Runs of each size; by default 4 or 6."""
    last: float | None = None
    """When a run is given up, in units of t_∞; by default 16 or 64."""

    def __post_init__(self) -> None:
        check_runs(self.seeds, self.last)

    def cells(self) -> list[Cell]:
        sizes = _FULL if self.full else _QUICK
        return [
            Cell(d, p, round(share * d * p), slope)
            for (d, p, slope), shares in sizes.items()
            for share in shares
        ]

    def starts(self) -> list[Cell]:
        sizes = dict.fromkeys((cell.d, cell.p) for cell in self.cells())
        return [
            Cell(d, p, max(2, round(share * d * p)))
            for d, p in sizes
            for share in _STARTS
        ]


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    if not config.redraw:
        seeds = config.seeds or (6 if config.full else 4)
        last = config.last or (64.0 if config.full else 16.0)
        runs, seed = config.folder / "runs", config.seed
        config.write(
            starts=started(runs / "starts", config.starts(), 2 * seeds, seed),
            ends=simulated(runs / "ends", config.cells(), seeds, last, seed),
        )
    starts, ends = (
        read_records(config.folder, f"{name}.nc") for name in ("starts", "ends")
    )
    config.publish(
        lambda: draw(starts, ends, config.output), tables(starts, ends, config.output)
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
