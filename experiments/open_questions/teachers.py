"""Teachers: does it depend on the labels whether the flow interpolates?

    python -m experiments.open_questions.teachers --size full

Students of p neurons on n inputs of the sphere in dimension d, with the labels of
teachers of k neurons, with a little noise, shuffled, and at random as in the paper.
Each run goes on until it is decided or 64 t_∞ are over. `docs/findings/teachers.md`
says what comes out.
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
from .teachers_plot import draw
from .teachers_runs import Cell, simulated, teacher_of
from .teachers_table import tables

_KINDS = ("1", "2", "4", "8", "16", "4+noise", "4 shuffled", "random")
# (d, p), and n as shares of p d.
_FULL = {
    (5, 16): (0.25, 0.5, 0.75, 1.0, 2.0),
    (10, 8): (0.25, 0.5, 0.75, 1.0, 2.0),
}
_QUICK = {(5, 8): (0.25, 0.5, 1.0)}


@dataclasses.dataclass(frozen=True)
class Config:
    """Teachers: N(d, p) by the number of their neurons, and what is learned."""

    size: Literal["quick", "full"] = "quick"
    """quick: a minute. full: half an hour; goes on where it was cut off."""
    kinds: tuple[str, ...] = _KINDS
    """Of the labels: "random", or "k", "k+noise" or "k shuffled" for a teacher of k
    neurons."""
    seeds: int | None = None
    """Runs of each size and kind; by default 4 or 8."""
    last: float | None = None
    """When a run is given up, in units of t_∞; by default 16 or 64."""
    seed: int = 0
    output: Path = Path("results")
    redraw: bool = False
    """Draw again from the records, without simulating."""

    def __post_init__(self) -> None:
        for kind in self.kinds:
            teacher_of(kind)
        if self.seeds is not None and self.seeds < 2:
            raise ValueError(f"seeds must be 2 at least, got {self.seeds}.")
        if self.last is not None and not 1 <= self.last <= 1024:
            raise ValueError(f"last must lie from 1 to 1024 t_∞, got {self.last}.")

    @property
    def folder(self) -> Path:
        return results(self.output, self.size) / "teachers"

    def cells(self) -> list[Cell]:
        sizes = _FULL if self.size == "full" else _QUICK
        return [
            Cell(d, p, round(share * d * p), kind)
            for (d, p), shares in sizes.items()
            for share in shares
            for kind in self.kinds
        ]


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    folder, full = config.folder, config.size == "full"
    if not config.redraw:
        made = simulated(
            folder / "runs",
            config.cells(),
            config.seeds or (8 if full else 4),
            config.last or (64.0 if full else 16.0),
            config.seed,
        )
        write_records(folder, made.reset_index("run", drop=True))
        write_config(folder, config, "experiments.open_questions.teachers")
    records = read_records(folder)
    with plt.rc_context(STYLE):
        write_figure(folder, draw(records), "teachers")
    text = tables(records)
    write_text(folder, "table.md", text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main(tyro.cli(Config))
