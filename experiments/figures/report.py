"""results/reproduction/: a page for each figure, beside the paper and its authors'
later runs, and results/reproduction.md, which leads to them.

    python -m experiments.figures.report

Put together from what lies in results/figureN/<protocol>/ (`summary.json`, `table.md`,
`config.json` and the figures) and in results/phase_transition/. Nothing is computed
here and no number is typed in; what is missing is said to be missing, with the command
that makes it. What is written by hand lies in docs/_reproduction/figureN.md, the
finding as its first paragraph, and is included as it is.
"""

import dataclasses
import re
import sys
from pathlib import Path

import tyro

from ..common.output import markdown_table, write_text
from .report_parts import FIGURES, PROTOCOLS, Part, command, find, missing
from .report_table import agreement, disagreements, summary_table

NOTES = "_reproduction"
PHASE_TRANSITION = "python -m experiments.figures.phase_transition"

_MADE_BY = "Made by `python -m experiments.figures.report` from the files in `results/`"
_NOTATION = (
    "n examples in dimension d, p neurons; the width rule is the p of Lemma 5. "
    "t_∞ = 1.5 t_n, with t_n = (√(np)/4) log(np), is where the paper ends a run. N "
    "is the n at which half of the runs converge, and s the scale of the logistic "
    "function of n that is fitted. ⟨μ_∞⟩ is the mean of the curvature μ = p‖∇L‖²/L "
    "until t_∞.\n"
)
_LEGEND = (
    "Ours with 95 % intervals in brackets. “Agrees” is under the protocol that is "
    "named: `released` is compared with what the authors released, or where it "
    "says so with the text, `paper` and `flow` with the text; each `summary.json` "
    "names the number and the errors allowed. A dash: not stated, or nothing to "
    "compare with.\n"
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Puts the pages together from the results, and beside them."""

    results: Path = Path("results")
    docs: Path = Path("docs")
    """Where what is written by hand lies."""


def pages(config: Config) -> dict[str, str]:
    """The texts by their names within `results`."""
    texts = {"reproduction.md": overview(config), _page(1): phase_transition(config)}
    for figure in FIGURES:
        texts[_page(figure)] = page(config, figure)
    return texts


def overview(config: Config) -> str:
    """What leads to the pages: a line for each figure."""
    lines = [_line(1, "the loss of each group falls at a sharp time (Theorem 2)", "–")]
    for figure, about in FIGURES.items():
        parts = find(config.results, figure)
        lines.append(_line(figure, about, agreement(parts)))
    findings = [
        f"## Figure {figure}\n\n{finding}\n"
        for figure in (1, *FIGURES)
        if (finding := notes(config, figure)[0])
    ]
    return "\n".join(
        [
            "# Figures 1 to 5, reproduced\n",
            f"{_MADE_BY}.\n",
            "The paper's text, the runs that its authors later published with their "
            "code, and the gradient flow are three different things. Each figure from "
            "2 to 5 is made under a protocol for each:\n",
            "".join(f"- `{name}`: {about}.\n" for name, about in PROTOCOLS.items()),
            "Of what can be compared, so many numbers agree, by protocol:\n",
            markdown_table(("page", "what it shows", "agrees"), lines),
            *findings,
        ]
    )


def _page(figure: int) -> str:
    return f"reproduction/figure{figure}.md"


def _line(figure: int, about: str, agrees: str) -> tuple[str, str, str]:
    return f"[Figure {figure}]({_page(figure)})", about, agrees


def notes(config: Config, figure: int) -> tuple[str, str]:
    """What is written by hand: the finding, and the rest."""
    path = config.docs / NOTES / f"figure{figure}.md"
    finding, _, rest = path.read_text().partition("\n\n") if path.exists() else [""] * 3
    return finding.strip(), rest.strip()


def _opening(config: Config, figure: int, about: str) -> list[str]:
    finding, _ = notes(config, figure)
    return [
        f"# Figure {figure}: {about}\n",
        f"{finding}\n" if finding else "",
    ]


def _source(figure: int) -> str:
    return (
        f"{_MADE_BY}; edit `docs/{NOTES}/figure{figure}.md` instead of this file. "
        "[All figures](../reproduction.md)\n"
    )


def page(config: Config, figure: int) -> str:
    """Of one figure: the finding, the figure, its numbers beside the paper's, why they
    disagree, and each protocol by itself."""
    parts = find(config.results, figure)
    shown = next((part for part in parts if part.name == "released"), None)
    _, why = notes(config, figure)
    text = _opening(config, figure, FIGURES[figure])
    if shown is not None:
        text += [_image(image, config, shown) for image in shown.images]
    text += [
        "## Beside the paper\n",
        summary_table(figure, parts),
        _LEGEND,
        _NOTATION,
        disagreements(parts),
        f"{why}\n" if why else "",
        "## By protocol\n",
        *(section(part, config, images=part is not shown) for part in parts),
        *(
            f"**Missing: `{name}`.** `{command(figure, name)}` makes it.\n"
            for name in missing(figure, parts)
        ),
        _source(figure),
    ]
    return "\n".join(piece for piece in text if piece)


def phase_transition(config: Config) -> str:
    """Figure 1, whose table has paper, theory and measurement in its columns."""
    folder = config.results / "phase_transition"
    text = _opening(config, 1, "the loss and its curvature over time, by groups")
    if (folder / "summary.md").exists():
        text += [
            "![Figure 1](../phase_transition/phase_transition.png)\n",
            "## Beside the paper\n",
            _without_title((folder / "summary.md").read_text()),
        ]
    else:
        made = f"{PHASE_TRANSITION} --output results/phase_transition"
        text.append(f"**Missing: its table.** `{made}` makes it.\n")
    return "\n".join(piece for piece in [*text, _source(1)] if piece)


def section(part: Part, config: Config, images: bool) -> str:
    """One figure under one protocol: its image, its table, and how it was made."""
    text = [f"### {part.heading}\n"]
    if images:
        text += [_image(image, config, part) for image in part.images]
    table = part.folder / "table.md"
    text.append(
        _without_title(table.read_text())
        if table.exists()
        else f"**Missing: its table.** `{command(part.figure, part.name)}` makes it.\n"
    )
    made = part.config()
    if made:
        size = made.get("config", {}).get("size")
        link = _link(part.folder / "config.json", config)
        commit = re.sub(r"(?<=^[0-9a-f]{10})[0-9a-f]*", "", str(made.get("commit")))
        text.append(
            f"Made by `{made.get('command', 'unknown')}`"
            + (f" (size `{size}`)" if size else "")
            + f" at commit {commit}; "
            f"[config]({link}).\n"
        )
    return "\n".join(text)


def _image(image: Path, config: Config, part: Part) -> str:
    return f"![Figure {part.figure}, {part.name}]({_link(image, config)})\n"


def _link(path: Path, config: Config) -> str:
    """As seen from a page."""
    return f"../{path.relative_to(config.results).as_posix()}"


def _without_title(text: str) -> str:
    """The headings are the report's."""
    return re.sub(r"\A#+ .*\n+", "", text)


def main(config: Config) -> None:
    (config.results / "reproduction").mkdir(parents=True, exist_ok=True)
    for name, text in pages(config).items():
        write_text(config.results, name, text)
        sys.stdout.write(f"{config.results / name}\n")


if __name__ == "__main__":
    main(tyro.cli(Config))
