"""Every numbered statement of the paper, held against simulation or an exact count.

    python -m experiments.theory_checks
    python -m experiments.theory_checks --size quick --only collapse

Prints one table, and with --only everything that was measured besides. At size full,
with all themes, both go to results/theory_check.md. The same seed gives the same file.
"""

import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Literal, get_args

import jax
import tyro

from ..common.output import markdown_table, progress, write_text
from .common import Row, Size

Theme = Literal[
    "curvature",
    "initial",
    "assumptions",
    "convergence",
    "orthogonal",
    "groups",
    "clt",
    "collapse",
    "antipodal",
]
THEMES: tuple[Theme, ...] = get_args(Theme)

# The statements of the paper, in its order; each is to have a row.
STATEMENTS = (
    "Assumption 1",
    "Assumption 2",
    "Lemma 1",
    "Lemma 2",
    "Theorem 1",
    "Lemma 3",
    "Corollary 1",
    "Proposition 1",
    "Proposition 2",
    "Conjecture 1",
    "Lemma 4",
    "Theorem 2",
    "Lemma 5",
    "Lemma 6",
    "Lemma 7",
    "Group initialisation",
    "Stopping rule",
    "Proposition 3",
    "Appendix C.2 (eq. 86)",
    "Appendix C.2, nearly",
)

HEADER = ("statement", "holds as printed", "holds as corrected", "margin", "runs")


@dataclasses.dataclass(frozen=True)
class Config:
    """Holds every statement of the paper against simulation."""

    size: Literal["quick", "full"] = "full"
    """How many runs: quick takes minutes, full about twenty on one core."""
    only: tuple[Theme, ...] = ()
    """The themes to check; all if left out."""
    seed: int = 0
    output: Path = Path("results")
    """The folder for theory_check.md, which a full check of all themes writes."""


def run(config: Config) -> list[Row]:
    """The rows, in the order of the paper."""
    size = Size(config.size)
    themes = config.only or THEMES
    rows: list[Row] = []
    for theme in progress(themes, len(themes), "checks"):
        module = importlib.import_module(f".{theme}", __package__)
        # A theme's numbers do not depend on which others are run.
        key = jax.random.fold_in(jax.random.key(config.seed), THEMES.index(theme))
        rows += module.check(size, key)
        # Thousands of small programs gather, each with mappings of memory of its own,
        # of which Linux allows a process 65,530: beyond, the compiler crashes.
        jax.clear_caches()
    rows.sort(key=_place)
    if themes == THEMES:
        missing = [s for s in STATEMENTS if not any(_is(row, s) for row in rows)]
        if missing:
            raise AssertionError(f"no row for {', '.join(missing)}")
    return rows


def _is(row: Row, statement: str) -> bool:
    return row.statement.startswith(statement)


def _place(row: Row) -> int:
    return next(i for i, s in enumerate(STATEMENTS) if _is(row, s))


def table(rows: list[Row]) -> str:
    return markdown_table(
        HEADER,
        [
            [
                _cell(text)
                for text in (
                    row.statement,
                    row.printed,
                    row.corrected,
                    row.margin,
                    row.runs,
                )
            ]
            for row in rows
        ],
    )


def document(rows: list[Row], config: Config) -> str:
    """The whole of results/theory_check.md."""
    parts = [
        "# The statements of the paper against simulation\n",
        f"Made by `python -m experiments.theory_checks --seed {config.seed}`, in "
        "float64. “As printed” and “as corrected” say whether a statement holds in "
        "the form of the paper and in the form that its derivation gives "
        "(`jaxflow.theory`); where they differ, see `docs/errata.md`.\n",
        table(rows),
        "## What was measured\n",
        details(rows),
    ]
    return "\n".join(parts)


def details(rows: list[Row]) -> str:
    """Everything that was measured, one table per row."""
    parts = []
    for row in rows:
        parts.append(f"### {row.statement}\n")
        parts.append(
            markdown_table(
                ("quantity", "value"),
                [(_cell(k), _number(v)) for k, v in row.numbers.items()],
            )
        )
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _number(value: float) -> str:
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e9):
        return str(int(value))
    return f"{value:.4g}"


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    rows = run(config)
    print(table(rows))
    if config.only:
        print(details(rows))
    if config.size == "full" and not config.only:
        config.output.mkdir(parents=True, exist_ok=True)
        write_text(config.output, "theory_check.md", document(rows, config))
        print(f"written to {config.output / 'theory_check.md'}", file=sys.stderr)


if __name__ == "__main__":
    # jaxlib has crashed where it was to keep a program as large as some of these.
    jax.config.update("jax_enable_compilation_cache", False)
    main(tyro.cli(Config, description=__doc__))
