"""What the report is put together from: a folder for each figure and protocol."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

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

Rows = list[dict[str, Any]]


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

    @property
    def images(self) -> list[Path]:
        return sorted(self.folder.glob("*.png"))

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
