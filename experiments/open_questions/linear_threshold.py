"""The linear threshold: is N(d, p) a share of the p d parameters, and what stops a run?

    python -m experiments.open_questions.linear_threshold --size full

N of the flow and of descent are read from Figures 3 and 4, which are made elsewhere.
Runs on n inputs of the sphere with labels at random go on until they are decided or
64 t_∞ are over, and what their pattern still leaves free is counted at the end.
`docs/findings/linear_threshold.md` says what comes out.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

import jax
import tyro
from matplotlib import pyplot as plt

from ..common.output import (
    STYLE,
    read_records,
    write_config,
    write_figure,
    write_records,
    write_text,
)
from .common import results
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
class Config:
    """The linear threshold: N/(p d), and how runs end about it."""

    size: Literal["quick", "full"] = "quick"
    """quick: a minute. full: half an hour; goes on where it was cut off."""
    seeds: int | None = None
    """Runs of each size; by default 4 or 6."""
    last: float | None = None
    """When a run is given up, in units of t_∞; by default 16 or 64."""
    seed: int = 0
    output: Path = Path("results")
    """Where Figures 3 and 4 are read from, too."""
    redraw: bool = False
    """Draw again from the records, without simulating."""

    def __post_init__(self) -> None:
        if self.seeds is not None and self.seeds < 2:
            raise ValueError(f"seeds must be 2 at least, got {self.seeds}.")
        if self.last is not None and not 1 <= self.last <= 1024:
            raise ValueError(f"last must lie from 1 to 1024 t_∞, got {self.last}.")

    @property
    def folder(self) -> Path:
        return results(self.output, self.size) / "linear_threshold"

    def cells(self) -> list[Cell]:
        sizes = _FULL if self.size == "full" else _QUICK
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
    folder, full = config.folder, config.size == "full"
    if not config.redraw:
        seeds = config.seeds or (6 if full else 4)
        last = config.last or (64.0 if full else 16.0)
        runs = folder / "runs"
        made = {
            "starts": started(runs / "starts", config.starts(), 2 * seeds, config.seed),
            "ends": simulated(runs / "ends", config.cells(), seeds, last, config.seed),
        }
        for name, rows in made.items():
            write_records(folder, rows.reset_index("run", drop=True), f"{name}.nc")
        write_config(folder, config, "experiments.open_questions.linear_threshold")
    starts, ends = (read_records(folder, f"{name}.nc") for name in ("starts", "ends"))
    with plt.rc_context(STYLE):
        write_figure(folder, draw(starts, ends, config.output), "linear_threshold")
    text = tables(starts, ends, config.output)
    write_text(folder, "table.md", text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main(tyro.cli(Config))
