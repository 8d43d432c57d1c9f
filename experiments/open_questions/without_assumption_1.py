"""Without Assumption 1: what becomes of convergence where |a_j| < ‖w_j‖?

    python -m experiments.open_questions.without_assumption_1 --size full

Networks on orthogonal inputs with |a_j| = δ‖w_j‖ from δ = 0 to 1, PyTorch's default
and the paper's law, for targets of both signs alike and for 90 % positive ones: whether
they converge, how many a_j change their sign, and how fast the loss falls.
`docs/findings/without_assumption_1.md` says what comes out.
"""

import dataclasses
from collections.abc import Iterator

import jax
import tyro

import jaxflow

from ..common.output import read_records
from .common import Question, check_networks
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
class Config(Question):
    """Convergence where |a_j| < ‖w_j‖."""

    module = "without_assumption_1"

    deltas: tuple[float, ...] = ()
    """δ of |a_j| = δ‖w_j‖; by default what `size` says."""
    networks: int | None = None
    """How many of each size and law; by default what `size` says."""
    largest: int = 1024
    """No n above it."""

    def __post_init__(self) -> None:
        if any(delta < 0 for delta in self.deltas):
            raise ValueError(f"deltas must not be negative, got {self.deltas}.")
        check_networks(self.networks)
        if self.largest < 64:
            raise ValueError(f"largest must be 64 at least, got {self.largest}.")

    def cells(self) -> Iterator[Cell]:
        deltas = sorted(self.deltas or (_SIZES if self.full else _QUICK_SIZES))
        laws = ["exponential", "pytorch", *(f"{delta:g}" for delta in deltas)]
        for n, ratio, share in _FULL if self.full else _QUICK:
            if n <= self.largest:
                for law in laws:
                    yield Cell(n, ratio * n, jaxflow.width_rule(n), share, law)


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    if not config.redraw:
        networks = config.networks or (50 if config.full else 10)
        runs = config.folder / "runs"
        config.write(records=simulated(runs, config.cells(), networks, config.seed))
    records = read_records(config.folder)
    config.publish(lambda: draw(records), tables(records))


if __name__ == "__main__":
    main(tyro.cli(Config))
