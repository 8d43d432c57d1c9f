"""Teachers: does it depend on the labels whether the flow interpolates?

    python -m experiments.open_questions.teachers --size full

Students of p neurons on n inputs of the sphere in dimension d, with the labels of
teachers of k neurons, with a little noise, shuffled, and at random as in the paper.
Each run goes on until it is decided or 64 t_∞ are over. `docs/findings/teachers.md`
says what comes out.
"""

import dataclasses

import jax
import tyro

from ..common.output import read_records
from .common import Question
from .ends import check_runs
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
class Config(Question):
    """Teachers: N(d, p) by the number of their neurons, and what is learned."""

    module = "teachers"

    kinds: tuple[str, ...] = _KINDS
    """Of the labels: "random", or "k", "k+noise" or "k shuffled" for a teacher of k
    neurons."""
    seeds: int | None = None
    """Runs of each size and kind; by default 4 or 8."""
    last: float | None = None
    """When a run is given up, in units of t_∞; by default 16 or 64."""

    def __post_init__(self) -> None:
        for kind in self.kinds:
            teacher_of(kind)
        check_runs(self.seeds, self.last)

    def cells(self) -> list[Cell]:
        sizes = _FULL if self.full else _QUICK
        return [
            Cell(d, p, round(share * d * p), kind)
            for (d, p), shares in sizes.items()
            for share in shares
            for kind in self.kinds
        ]


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    if not config.redraw:
        made = simulated(
            config.folder / "runs",
            config.cells(),
            config.seeds or (8 if config.full else 4),
            config.last or (64.0 if config.full else 16.0),
            config.seed,
        )
        config.write(records=made)
    records = read_records(config.folder)
    config.publish(lambda: draw(records), tables(records))


if __name__ == "__main__":
    main(tyro.cli(Config))
