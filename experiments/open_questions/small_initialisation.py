"""Small initialisation: what becomes of the flow as the scale s of the weights → 0?

    python -m experiments.open_questions.small_initialisation --size full

Networks of the width rule on orthogonal inputs, the same ones at scales from 1 down to
1e-80: when the loss falls, over how many saddles, how large the network is at the end,
and whether examples are left out. Beside that stands the cascade of s → 0
(`small_initialisation_runs.py`), which fits nothing. The other way, from large scales,
it is counted how often Theorem 1 fails (`small_initialisation_large.py`).
`docs/findings/small_initialisation.md` says what comes out.
"""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import jax
import tyro
from matplotlib import pyplot as plt

import jaxflow
from jaxflow import theory

from ..common.output import (
    STYLE,
    read_records,
    write_config,
    write_figure,
    write_records,
    write_text,
)
from ..common.protocols import EPSILON
from .common import results
from .small_initialisation_large import simulated as from_large_starts
from .small_initialisation_large import table
from .small_initialisation_plot import draw
from .small_initialisation_runs import Cell, curves, simulated
from .small_initialisation_table import tables

_FULL, _QUICK = (100, 400, 1600), (60, 120)
_SCALES = (0, 1, 2, 3, 5, 10, 20, 40, 80)
_QUICK_SCALES = (0, 2, 5, 20)


@dataclasses.dataclass(frozen=True)
class Config:
    """Small initialisation on orthogonal inputs."""

    size: Literal["quick", "full"] = "quick"
    """quick: two minutes at most. full goes on where it was cut off."""
    sizes: tuple[int, ...] = ()
    """n; by default what `size` says."""
    exponents: tuple[float, ...] = ()
    """s = 10^−exponent, from 0 to 150; by default what `size` says."""
    networks: int | None = None
    """How many of each size; by default what `size` says."""
    seed: int = 0
    output: Path = Path("results")
    redraw: bool = False
    """Draw again from the records, without simulating."""

    def __post_init__(self) -> None:
        if any(n < 2 for n in self.sizes):
            raise ValueError(f"sizes must be at least 2, got {self.sizes}.")
        # s² is a float64 down to 1e-307.
        if any(not 0 <= exponent <= 150 for exponent in self.exponents):
            raise ValueError(
                f"exponents must be between 0 and 150, got {self.exponents}."
            )
        if len(set(self.exponents)) == 1:
            raise ValueError(f"exponents must be two at least, got {self.exponents}.")
        if self.networks is not None and self.networks < 8:
            raise ValueError(f"networks must be 8 at least, got {self.networks}.")

    @property
    def folder(self) -> Path:
        return results(self.output, self.size) / "small_initialisation"

    def cells(self) -> Iterator[Cell]:
        full = self.size == "full"
        exponents = sorted(self.exponents or (_SCALES if full else _QUICK_SCALES))
        sizes = sorted(self.sizes or (_FULL if full else _QUICK))
        for n in sizes:
            for inputs in ("orthonormal", "orthogonal"):
                for exponent in exponents:
                    yield Cell(inputs, n, jaxflow.width_rule(n), exponent)
        # Half the width, where many networks do not cover their examples.
        for exponent in exponents:
            half = jaxflow.width_rule(sizes[0]) // 2
            yield Cell("orthogonal", sizes[0], half, exponent)

    @property
    def large(self) -> tuple[list[tuple[int, int, float]], int]:
        """n, p and s of the large starts, and batches of networks for each."""
        if self.size == "quick":
            return [(4, 4, 64.0)], 1
        sizes = ((4, 4), (4, int(theory.theorem_width(4, EPSILON))), (8, 8))
        scales = (1.0, 4.0, 16.0, 64.0, 256.0)
        return [(n, p, scale) for n, p in sizes for scale in scales], 10


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    folder = config.folder
    if not config.redraw:
        networks = config.networks or (40 if config.size == "full" else 10)
        scales = folder / "runs" / "scales"
        runs = simulated(scales, config.cells(), networks, config.seed)
        write_records(folder, runs.reset_index("run", drop=True))
        # The second size is neither short nor crowded.
        n = sorted({cell.n for cell in config.cells()})[:2][-1]
        shown = curves("orthonormal", n, jaxflow.width_rule(n), config.seed)
        write_records(folder, shown, "curves.nc")
        runs = from_large_starts(folder / "runs" / "large", *config.large, config.seed)
        write_records(folder, runs.reset_index("run", drop=True), "large.nc")
        write_config(folder, config, "experiments.open_questions.small_initialisation")
    records = read_records(folder)
    with plt.rc_context(STYLE):
        figure = draw(records, read_records(folder, "curves.nc"))
        write_figure(folder, figure, "small_initialisation")
    text = tables(records) + "\n" + table(read_records(folder, "large.nc"))
    write_text(folder, "table.md", text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main(tyro.cli(Config))
