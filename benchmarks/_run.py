"""What every module does around its measurement: parameters by size, JSON, a table.

A module has PARAMETERS, a mapping from size to a dataclass, and
`measure(parameters, seed) -> Findings`.
"""

import contextvars
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tyro

from experiments.common.output import markdown_table, write_text

from . import _machine
from ._targets import TARGETS, Target, number
from ._timing import Spread

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"


@dataclasses.dataclass(frozen=True)
class Table:
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""

    def text(self) -> str:
        rows = [[shown(cell) for cell in row] for row in self.rows]
        note = f"\n{self.note}\n" if self.note else ""
        return f"**{self.title}**\n\n{markdown_table(self.header, rows)}{note}"


@dataclasses.dataclass
class Findings:
    """`measured`: target key → its value (a number or a `Spread`) and a remark.

    Within `run` all that is found so far is written after each table, so that a module
    that is ended at its limit leaves what it has.
    """

    tables: list[Table] = dataclasses.field(default_factory=list)
    measured: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    dtype: str = "float32"

    def table(
        self,
        title: str,
        header: Sequence[str],
        rows: Sequence[Sequence[Any]],
        note: str = "",
    ) -> None:
        """A table that grows is given again under its title and replaces itself."""
        new = Table(title, header, list(rows), note)
        titles = [table.title for table in self.tables]
        if title in titles:
            self.tables[titles.index(title)] = new
        else:
            self.tables.append(new)
        save = _SAVE.get()
        if save is not None:
            save(self)

    def target(self, key: str, value: "float | Spread", remark: str = "") -> None:
        spread = dataclasses.asdict(value) if isinstance(value, Spread) else {}
        median = value.median if isinstance(value, Spread) else float(value)
        self.measured[key] = {"value": median, "spread": spread, "remark": remark}


# How `run` writes the findings of the module that it runs.
_SAVE: contextvars.ContextVar[Callable[[Findings], Any] | None] = (
    contextvars.ContextVar("save", default=None)
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """One benchmark."""

    size: Literal["full", "quick"] = "full"
    """`quick` only shows that everything works; it is kept apart, in quick/. On an
    accelerator `full` takes the parameters that are meant for one."""
    seed: int = 0
    results: Path = RESULTS


def shown(cell: Any) -> str:
    if isinstance(cell, Spread | dict):
        s = dataclasses.asdict(cell) if isinstance(cell, Spread) else cell
        return f"{number(s['median'])} ({number(s['low'])}–{number(s['high'])})"
    return number(cell)


def parameters_for(parameters: Mapping[str, Any], size: str) -> Any:
    if size == "full" and not _machine.on_cpu() and "gpu" in parameters:
        return parameters["gpu"]
    return parameters[size]


def run(
    name: str,
    parameters: Mapping[str, Any],
    measure: Callable[[Any, int], Findings],
    settings: Settings,
) -> dict[str, Any]:
    """Measures, writes <device>/<name>.json, and prints what it says."""
    chosen = parameters_for(parameters, settings.size)
    before = _machine.load()
    made_on = _machine.provenance()
    folder = folder_of(settings.results, settings.size)

    def save(found: Findings, complete: bool = False) -> dict[str, Any]:
        content = {
            "name": name,
            "size": settings.size,
            "complete": complete,
            **made_on,
            "seed": settings.seed,
            "dtype": found.dtype,
            "load_before": before,
            "warnings": warnings_about(before),
            "parameters": dataclasses.asdict(chosen),
            "measured": found.measured,
            "tables": [dataclasses.asdict(table) for table in found.tables],
        }
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_text(folder, f"{name}.json", text)
        return content

    token = _SAVE.set(save)
    try:
        found = measure(chosen, settings.seed)
    finally:
        _SAVE.reset(token)
    content = save(found, complete=True)
    sys.stdout.write(told(content))
    return content


def folder_of(results: Path, size: str) -> Path:
    """Where a module writes on this device; quick runs stay apart."""
    folder = results / _machine.device_folder()
    if size == "quick":
        folder /= "quick"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def warnings_about(before: float | None) -> list[str]:
    if before is None or before <= _machine.IDLE:
        return []
    return [
        f"The load before was {before}: the machine was not idle, and a busy core has "
        "falsified a ratio by a factor of three."
    ]


def told(content: dict[str, Any]) -> str:
    """The tables and judged targets of one file, as Markdown."""
    parts = [f"## {content['name']}\n"]
    parts += [f"_{warning}_\n" for warning in content["warnings"]]
    parts += [Table(**table).text() for table in content["tables"]]
    rows = [
        [target.claim, target.wanted(), *judged(target, content["measured"])]
        for target in TARGETS
        if target.key in content["measured"]
    ]
    if rows:
        header = ["target", "wanted", "measured", "met", "remark"]
        parts.append(markdown_table(header, rows))
    return "\n".join(parts) + "\n"


def judged(target: Target, measured: Mapping[str, Any]) -> list[str]:
    """Measured value, met or not, and remark of a target."""
    entry = measured.get(target.key)
    if entry is None:
        return ["not measured", "–", ""]
    value = f"{shown(entry['spread'] or entry['value'])} {target.unit}".strip()
    return [value, "yes" if target.met(entry["value"]) else "**no**", entry["remark"]]


def main(
    name: str, parameters: Mapping[str, Any], measure: Any, doc: str | None
) -> None:
    run(name, parameters, measure, tyro.cli(Settings, description=doc))
