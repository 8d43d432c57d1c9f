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
from collections.abc import Iterator

import jax
import tyro

import jaxflow
from jaxflow import theory

from ..common.output import read_records
from ..common.protocols import EPSILON
from .common import Question, check_networks
from .small_initialisation_large import simulated as from_large_starts
from .small_initialisation_large import table
from .small_initialisation_plot import draw
from .small_initialisation_runs import Cell, curves, simulated
from .small_initialisation_table import tables

_FULL, _QUICK = (100, 400, 1600), (60, 120)
_SCALES = (0, 1, 2, 3, 5, 10, 20, 40, 80)
_QUICK_SCALES = (0, 2, 5, 20)


@dataclasses.dataclass(frozen=True)
class Config(Question):
    """Small initialisation on orthogonal inputs."""

    module = "small_initialisation"

    sizes: tuple[int, ...] = ()
    """n; by default what `size` says."""
    exponents: tuple[float, ...] = ()
    """s = 10^−exponent, from 0 to 150; by default what `size` says."""
    networks: int | None = None
    """How many of each size; by default what `size` says."""

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
        check_networks(self.networks)

    def cells(self) -> Iterator[Cell]:
        exponents = sorted(self.exponents or (_SCALES if self.full else _QUICK_SCALES))
        sizes = sorted(self.sizes or (_FULL if self.full else _QUICK))
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
        if not self.full:
            return [(4, 4, 64.0)], 1
        sizes = ((4, 4), (4, int(theory.theorem_width(4, EPSILON))), (8, 8))
        scales = (1.0, 4.0, 16.0, 64.0, 256.0)
        return [(n, p, scale) for n, p in sizes for scale in scales], 10


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    if not config.redraw:
        networks = config.networks or (40 if config.full else 10)
        runs, seed = config.folder / "runs", config.seed
        # The second size is neither short nor crowded.
        n = sorted({cell.n for cell in config.cells()})[:2][-1]
        config.write(
            records=simulated(runs / "scales", config.cells(), networks, seed),
            curves=curves("orthonormal", n, jaxflow.width_rule(n), seed),
            large=from_large_starts(runs / "large", *config.large, seed),
        )
    records, shown, large = (
        read_records(config.folder, f"{name}.nc")
        for name in ("records", "curves", "large")
    )
    config.publish(lambda: draw(records, shown), tables(records) + "\n" + table(large))


if __name__ == "__main__":
    main(tyro.cli(Config))
