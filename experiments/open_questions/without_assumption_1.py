"""Without Assumption 1: what becomes of convergence where |a_j| < ‖w_j‖?

    python -m experiments.open_questions.without_assumption_1 --size full

Networks on orthogonal inputs with |a_j| = δ‖w_j‖ from δ = 0 to 1, PyTorch's default
and the paper's law, for targets of both signs alike and for 90 % positive ones: whether
they converge, how many a_j change their sign, and how fast the loss falls.
`docs/findings/without_assumption_1.md` says what comes out.
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

from ..common.output import (
    STYLE,
    read_records,
    write_config,
    write_figure,
    write_records,
    write_text,
)
from .common import results
from .without_assumption_1_plot import draw, tables
from .without_assumption_1_runs import Cell, simulated

# δ of |a_j| = δ ‖w_j‖.
_SIZES = (0, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 1)
_QUICK_SIZES = (0, 0.1, 0.3, 1)
# n, d/n and the share of positive targets.
_FULL = (
    *((n, 1, 0.5) for n in (32, 64, 256, 1024)),
    *((n, 1, 0.9) for n in (32, 64, 256, 1024)),
    *((256, ratio, 0.9) for ratio in (10, 100)),
)
_QUICK = ((32, 1, 0.5), (64, 1, 0.5), (64, 1, 0.9), (64, 10, 0.9))


@dataclasses.dataclass(frozen=True)
class Config:
    """Convergence where |a_j| < ‖w_j‖."""

    size: Literal["quick", "full"] = "quick"
    """quick: two minutes at most. full goes on where it was cut off."""
    deltas: tuple[float, ...] = ()
    """δ of |a_j| = δ‖w_j‖; by default what `size` says."""
    networks: int | None = None
    """How many of each size and law; by default what `size` says."""
    largest: int = 1024
    """No n above it."""
    seed: int = 0
    output: Path = Path("results")
    redraw: bool = False
    """Draw again from the records, without simulating."""

    def __post_init__(self) -> None:
        if any(delta < 0 for delta in self.deltas):
            raise ValueError(f"deltas must not be negative, got {self.deltas}.")
        if self.networks is not None and self.networks < 8:
            raise ValueError(f"networks must be 8 at least, got {self.networks}.")
        if self.largest < 64:
            raise ValueError(f"largest must be 64 at least, got {self.largest}.")

    @property
    def folder(self) -> Path:
        return results(self.output, self.size) / "without_assumption_1"

    def cells(self) -> Iterator[Cell]:
        full = self.size == "full"
        deltas = sorted(self.deltas or (_SIZES if full else _QUICK_SIZES))
        laws = ["exponential", "pytorch", *(f"{delta:g}" for delta in deltas)]
        for n, ratio, share in _FULL if full else _QUICK:
            if n <= self.largest:
                for law in laws:
                    yield Cell(n, ratio * n, jaxflow.width_rule(n), share, law)


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    folder = config.folder
    if not config.redraw:
        networks = config.networks or (50 if config.size == "full" else 10)
        runs = simulated(folder / "runs", config.cells(), networks, config.seed)
        write_records(folder, runs.reset_index("run", drop=True))
        write_config(folder, config, "experiments.open_questions.without_assumption_1")
    records = read_records(folder)
    with plt.rc_context(STYLE):
        write_figure(folder, draw(records), "without_assumption_1")
    text = tables(records)
    write_text(folder, "table.md", text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main(tyro.cli(Config))
