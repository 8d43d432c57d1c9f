"""From orthogonal to correlated: at fixed n, what stops where as d falls?

    python -m experiments.open_questions.from_orthogonal_to_correlated --size full

n examples whose directions are uniform on the sphere of R^d, p by the width rule, d
from far beyond n² down to n/16: up to where Assumption 2 holds (Lemma 3), up to where
the lower bound of Lemma 6 says anything, up to where the flow reaches zero loss, and
what becomes of μ_∞ in between.
`docs/findings/from_orthogonal_to_correlated.md` says what comes out.
"""

import dataclasses

import jax
import tyro

import jaxflow

from ..common.output import read_records
from ..common.protocols import EPSILON
from .common import Question
from .decided import Cell, rows
from .from_orthogonal_to_correlated_plot import draw
from .from_orthogonal_to_correlated_runs import margins
from .from_orthogonal_to_correlated_table import tables

# d/n of the runs, from where none reaches zero loss up to orthogonal inputs in effect.
_RATIOS = (1 / 16, 1 / 11, 1 / 8, 1 / 6, 1 / 4, 1 / 2, 1, 4, 64)
_QUICK_RATIOS = (1 / 8, 1 / 2, 4)
# d/n² beyond Assumption 2, and the steps of d about the thresholds of data sets.
_BEYOND = 256
_STEPS = (0.5, 0.7, 0.85, 1, 1.2, 1.5)


@dataclasses.dataclass(frozen=True)
class Config(Question):
    """From orthogonal to correlated: rate and probability against n²/d."""

    module = "from_orthogonal_to_correlated"

    sizes: tuple[int, ...] = ()
    """n of the runs; by default 32 if quick, 64 if full. 128 takes twice as long."""

    def __post_init__(self) -> None:
        if any(n < 8 for n in self.sizes):
            raise ValueError(f"sizes must be 8 at least, got {self.sizes}.")

    def cells(self) -> list[tuple[Cell, int]]:
        """Every size of the runs, and how many."""
        # Where inputs are nearly orthogonal a run takes a tenth of a second.
        count, more = (20, 40) if self.full else (8, 8)
        cells = []
        for n in sorted(set(self.sizes)) or ([64] if self.full else [32]):
            p = jaxflow.width_rule(n, EPSILON)
            ratios = _RATIOS if self.full else _QUICK_RATIOS
            sizes = sorted({max(2, round(f * n)) for f in ratios} | {_BEYOND * n**2})
            cells += [(Cell("sphere", n, d, p), count) for d in sizes if d < n]
            for inputs in ("sphere", "orthogonal"):
                cells += [(Cell(inputs, n, d, p), more) for d in sizes if d >= n]
        return cells

    def data(self) -> list[tuple[int, int]]:
        """n and d of the data sets, about both thresholds."""
        counts = (32, 64, 128) if self.full else (16, 32)
        return [
            (n, round(factor * scale))
            for n in counts
            for scale in (100 * n**2, 25 * n)
            for factor in _STEPS
        ]


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    if not config.redraw:
        runs, seed = config.folder / "runs", config.seed
        draws = 40 if config.full else 20
        config.write(
            decided=rows(runs / "decided", config.cells(), seed),
            margins=margins(runs / "margins", config.data(), draws, seed),
        )
    decided, data = (
        read_records(config.folder, f"{name}.nc") for name in ("decided", "margins")
    )
    config.publish(lambda: draw(decided, data), tables(decided, data))


if __name__ == "__main__":
    main(tyro.cli(Config))
