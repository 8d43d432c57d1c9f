"""results/reproduction.md: Figures 2 to 5 beside the paper and its authors' later runs.

    python -m experiments.figures.report

Put together from what lies in results/figureN/<protocol>/: `summary.json`, `table.md`,
`config.json` and the figures. Nothing is computed here and no number is typed in; what
is missing is said to be missing, with the command that makes it. What is written by
hand lies in docs/_reproduction_notes.md and is included as it is.
"""

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import tyro

from ..common.output import markdown_table, write_text

FIGURES = {
    2: "the probability of convergence against n",
    3: "the threshold N against d",
    4: "the threshold N against p",
    5: "the curvature at the end against n, orthogonal inputs",
}
PROTOCOLS = {
    "paper": "as the text and Appendix B say",
    "released": "as the authors' later runs were made",
    "flow": "the gradient flow itself",
}
VARIANTS = {
    "paper-by4": "as the text says, but until 4 t_∞",
    "paper-width4": "as the text says, with four times the neurons",
    "released-width4": "as the authors' later runs, with four times the neurons",
    "paper-width4-lr0.5": "with four times the neurons and learning rate 1/2",
    "flow-by4": "the flow to the certificate, until 4 t_∞",
    "flow-width4-by1": "with four times the neurons, until t_∞",
}
EXPECTED = {
    2: (*PROTOCOLS, *VARIANTS),
    3: (*PROTOCOLS, "paper-by4", "flow-by4"),
    4: (*PROTOCOLS, "paper-by4", "flow-by4"),
    5: tuple(PROTOCOLS),
}
NOTES = "_reproduction_notes.md"

Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Config:
    """Puts reproduction.md together from the results, and beside them."""

    results: Path = Path("results")
    docs: Path = Path("docs")
    """Where what is written by hand lies."""


@dataclasses.dataclass(frozen=True)
class Part:
    """What one figure has under one protocol, the name of its folder."""

    folder: Path
    figure: int

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def protocol(self) -> str:
        """A variant of a protocol, such as released-width4, begins with its name."""
        return self.name.split("-")[0]

    @property
    def heading(self) -> str:
        about = (PROTOCOLS | VARIANTS).get(self.name)
        return f"`{self.name}`: {about}" if about else f"`{self.name}`"

    @property
    def rows(self) -> Rows:
        rows = json.loads((self.folder / "summary.json").read_text())
        prefix = f"Figure {self.figure}: "
        return [
            row | {"quantity": row["quantity"].removeprefix(prefix)} for row in rows
        ]

    def config(self) -> dict[str, Any]:
        path = self.folder / "config.json"
        return json.loads(path.read_text()) if path.exists() else {}


def find(results: Path, figure: int) -> list[Part]:
    """The parts of a figure that are there, in the order of PROTOCOLS."""
    order = list(PROTOCOLS)
    folders = [path.parent for path in results.glob(f"figure{figure}/*/summary.json")]
    parts = [Part(folder, figure) for folder in folders]
    rank = lambda part: (
        order.index(part.protocol) if part.protocol in order else len(order),
        part.name,
    )
    return sorted(parts, key=rank)


def missing(figure: int, parts: list[Part]) -> list[str]:
    """The names of the parts that are not there."""
    there = {part.name for part in parts}
    return [name for name in EXPECTED[figure] if name not in there]


def command(figure: int, name: str) -> str:
    protocol, *more = name.split("-")
    options = {"width": "--width", "by": "--given-up", "lr": "--learning-rate"}
    for what in more:
        option, value = re.split(r"(?<=[a-z])(?=\d)", what)
        protocol += f" {options[option]} {value}"
    module = f"experiments.figures.figure{figure}"
    return f"python -m {module} --protocol {protocol} --size full"


def report(config: Config) -> str:
    """The whole text."""
    figures = {figure: find(config.results, figure) for figure in FIGURES}
    text = [
        "# Figures 2 to 5, reproduced\n",
        "Made by `python -m experiments.figures.report` from the files in `results/`; "
        f"edit `docs/{NOTES}` instead of this file.\n",
        "The paper's text, the runs that its authors later published with their code, "
        "and the gradient flow are three different things. Each figure is made under a "
        "protocol for each:\n",
        "".join(f"- `{name}`: {about}.\n" for name, about in PROTOCOLS.items()),
        "n examples in dimension d, p neurons; the width rule is the p of Lemma 5. "
        "t_∞ = 1.5 t_n, with t_n = (√(np)/4) log(np), is where the paper ends a run. N "
        "is the n at which half of the runs converge, and s the scale of the logistic "
        "function of n that is fitted. ⟨μ_∞⟩ is the mean of the curvature μ = p‖∇L‖²/L "
        "until t_∞.\n",
        "## Summary\n",
        "Ours with 95 % intervals in brackets. “Agrees” is under the protocol that is "
        "named: `released` is compared with what the authors released, or where it "
        "says so with the text, `paper` and `flow` with the text; each `summary.json` "
        "names the number and the errors allowed. A dash: not stated, or nothing to "
        "compare with.\n",
        summary_table(figures),
        disagreements(figures),
    ]
    notes = config.docs / NOTES
    if notes.exists():
        text.append(notes.read_text())
    for figure, parts in figures.items():
        text += [f"## Figure {figure}: {FIGURES[figure]}\n"]
        text += [section(part, config.results) for part in parts]
        text += [
            f"**Missing: `{name}`.** `{command(figure, name)}` makes it.\n"
            for name in missing(figure, parts)
        ]
    return "\n".join(piece for piece in text if piece)


def summary_table(figures: dict[int, list[Part]]) -> str:
    """One line for each quantity, whatever the protocols under which it is there."""
    lines = []
    for figure, parts in figures.items():
        if not parts:
            gap = f"missing: `{command(figure, 'released')}`"
            lines.append((f"Figure {figure}", "–", "–", gap, "–", "–"))
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for part in parts:
            for row in part.rows:
                found.setdefault(row["quantity"], {})[part.name] = row
        for quantity, rows in found.items():
            flow = {k: row for k, row in rows.items() if k.split("-")[0] == "flow"}
            same = {k: row for k, row in rows.items() if k not in flow}
            verdicts = [
                f"{name}: {'yes' if row['agrees'] else 'no'}{_judge(name, row)}"
                for name, row in rows.items()
                if row["agrees"] is not None
            ]
            lines.append(
                (
                    f"Fig. {figure}: {quantity}",
                    _stated(rows, "paper"),
                    _stated(rows, "released"),
                    _ours(same, "released"),
                    _ours(flow, "flow"),
                    "<br>".join(verdicts) or "–",
                )
            )
    header = (
        "quantity",
        "paper's text",
        "authors' released",
        "ours, same protocol",
        "ours, flow",
        "agrees?",
    )
    return markdown_table(header, lines)


def disagreements(figures: dict[int, list[Part]]) -> str:
    """What does not agree, and by how much, in words."""
    lines = []
    for figure, parts in figures.items():
        for part in parts:
            for row in part.rows:
                if row["agrees"] is not False:
                    continue
                note = f" ({row['note']})" if row["note"] else ""
                lines.append(
                    f"- Figure {figure}, `{part.name}`, {row['quantity']}: "
                    f"{_estimate(row)} against "
                    f"{_number(row['target'])} ({row['source']}){note}.\n"
                )
    if not lines:
        return ""
    return "**What disagrees:**\n\n" + "".join(lines)


def section(part: Part, results: Path) -> str:
    """One figure under one protocol: its image, its table, and how it was made."""
    text = [f"### Figure {part.figure}, {part.heading}\n"]
    for image in sorted(part.folder.glob("*.png")):
        link = image.relative_to(results).as_posix()
        text.append(f"![Figure {part.figure}, {part.name}]({link})\n")
    table = part.folder / "table.md"
    text.append(
        _without_title(table.read_text())
        if table.exists()
        else f"**Missing: its table.** `{command(part.figure, part.name)}` makes it.\n"
    )
    made = part.config()
    if made:
        size = made.get("config", {}).get("size")
        config = (part.folder / "config.json").relative_to(results).as_posix()
        commit = re.sub(r"(?<=^[0-9a-f]{10})[0-9a-f]*", "", str(made.get("commit")))
        text.append(
            f"Made by `{made.get('command', 'unknown')}`"
            + (f" (size `{size}`)" if size else "")
            + f" at commit {commit}; "
            f"[config]({config}).\n"
        )
    return "\n".join(text)


def _without_title(text: str) -> str:
    """The headings are the report's."""
    return re.sub(r"\A#+ .*\n+", "", text)


def _judge(name: str, row: dict[str, Any]) -> str:
    """Named where it is not the protocol's own."""
    text = row["source"].startswith("the text")
    return " (the text)" if text and name.startswith("released") else ""


def _stated(rows: dict[str, dict[str, Any]], source: str) -> str:
    values = [row[source] for row in rows.values() if row[source] is not None]
    return _number(values[0]) if values else "–"


def _ours(rows: dict[str, dict[str, Any]], usual: str) -> str:
    """Each protocol's number and interval; named where it is not the usual one."""
    cells = []
    for name, row in sorted(rows.items(), key=lambda item: item[0] != usual):
        label = "" if name == usual else f"{name}: "
        cells.append(f"{label}{_estimate(row)}")
    return "<br>".join(cells) or "–"


def _estimate(row: dict[str, Any]) -> str:
    """The number with its interval, or the bound that is all that is known."""
    if row["ours"] is None and row["low"] is not None:
        return f"> {_number(row['low'])}"
    return f"{_number(row['ours'])}{_interval(row)}"


def _interval(row: dict[str, Any]) -> str:
    if row["low"] is None or row["high"] is None:
        return ""
    return f" [{_number(row['low'])}, {_number(row['high'])}]"


def _number(value: Any) -> str:
    """Four digits; words as they are."""
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    text = f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return text.replace("-", "−")


def main(config: Config) -> None:
    config.results.mkdir(parents=True, exist_ok=True)
    write_text(config.results, "reproduction.md", report(config))
    sys.stdout.write(f"{config.results / 'reproduction.md'}\n")


if __name__ == "__main__":
    main(tyro.cli(Config))
