"""Of the runs that the certificate ends, how many go on to zero loss?

    python -m experiments.figures.certified --size full

The paper ends a run of Figures 2 to 4 where L < (C_y⁻)²/(2n), which proves that no
example is left out, not that the loss tends to zero. Here such runs go on, up to 64 t_∞
and in float64, until L = 1e-12 L(0) or they are stationary; of the flow also until a
bound proves that it tends to zero (`experiments.common.contraction`). Each figure has
one n near its N by t_∞, smaller sizes where runs are dear. Runs again with the same
`--output` go on where the last one stopped.
"""

import dataclasses
import sys
from pathlib import Path

import jax
import tyro

import jaxflow
from jaxflow import statistics

from ..common.output import markdown_table, write_config, write_text
from ..common.protocols import EPSILON, GIVEN_UP, Name, Size, folder, protocol
from ..common.thresholds import Outcome, Runs


@dataclasses.dataclass(frozen=True)
class Case:
    """`seeds` runs of one figure under one protocol; p left out is the width rule."""

    figure: int
    protocol: Name
    n: int
    d: int
    p: int | None = None
    seeds: int = 64

    @property
    def size(self) -> tuple[int, int, int]:
        return self.n, self.d, self.p or jaxflow.width_rule(self.n, EPSILON)


QUICK = (
    Case(3, "paper", 10, 6, 8, seeds=4),
    Case(3, "released", 10, 6, 8, seeds=4),
    Case(3, "flow", 10, 6, 8, seeds=4),
)
FULL = (
    Case(2, "paper", 1700, 100, seeds=32),
    Case(2, "released", 1650, 100, seeds=32),
    Case(2, "flow", 1700, 100, seeds=8),
    Case(2, "flow", 90, 20),
    Case(3, "paper", 173, 30, 30),
    Case(3, "released", 160, 30, 30),
    Case(3, "flow", 173, 30, 30),
    Case(4, "paper", 234, 30, 50),
    Case(4, "released", 222, 30, 50),
    Case(4, "flow", 234, 30, 50),
)


@dataclasses.dataclass(frozen=True)
class Config:
    """How many runs that the certificate ends go on to zero loss."""

    size: Size = "quick"
    """`quick` takes a minute; `full` has the published sizes where they can be paid."""
    figures: tuple[int, ...] = (2, 3, 4)
    seed: int = 0
    output: Path = Path("results")
    redraw: bool = False
    """Make the table again from the records, without running."""

    @property
    def cases(self) -> list[Case]:
        cases = QUICK if self.size == "quick" else FULL
        return [case for case in cases if case.figure in self.figures]

    @property
    def folder(self) -> Path:
        return folder(self.output, "certified", "", self.size)


def line(case: Case, runs: list[Outcome]) -> list[str]:
    """One row of the table."""
    n, d, p = case.size
    certified = [run for run in runs if run.certified_by(1)]
    late = [run for run in runs if not run.certified_by(1)]
    zero = sum(run.converged for run in certified)
    share = statistics.proportion(zero, len(certified)) if certified else None
    rests = sum(run.stationary for run in certified)
    return [
        f"{case.figure}",
        f"`{case.protocol}`",
        f"{n}, {d}, {p}",
        f"{len(certified)} of {len(runs)}",
        f"{zero}" + (f" [{share.low:.3f}, {share.high:.3f}]" if share else ""),
        f"{rests}",
        f"{len(certified) - zero - rests}",
        f"{sum(run.converged for run in late)}, {sum(run.stationary for run in late)}, "
        f"{sum(not (run.converged or run.stationary) for run in late)}",
    ]


HEADER = (
    "figure",
    "protocol",
    "n, d, p",
    "certified by t_∞",
    "of these to zero loss, share [95 %]",
    "stationary",
    "undecided",
    "not certified by t_∞: zero, stationary, undecided",
)


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    lines = []
    for case in config.cases:
        rules = protocol(case.protocol, GIVEN_UP["flow"], decided=True)
        where = config.folder / f"figure{case.figure}-{case.protocol}-d{case.d}"
        if not config.redraw:
            made = Runs(rules, folder=where / "runs", seed=config.seed)
            made.make([case.size], case.seeds)
            made.write(where)
        runs = Runs.read(where, rules)
        lines.append(line(case, runs.at(*case.size)))
    if not config.redraw:
        write_config(config.folder, config, "experiments.figures.certified")
    text = (
        "# Of the runs that the certificate ends, how many go on to zero loss\n\n"
        "Made by `python -m experiments.figures.certified --size full`: runs past the "
        "certificate up to 64 t_∞, float64. Zero loss: L ≤ 1e-12 L(0), of the flow a "
        "proof too. Shares with 95 % Clopper–Pearson intervals.\n\n"
        + markdown_table(HEADER, lines)
    )
    write_text(config.folder, "table.md", text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
