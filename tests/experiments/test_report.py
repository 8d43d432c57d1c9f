"""The report: from made-up results, and as it is kept."""

import json
import re
from pathlib import Path

from experiments.figures import report
from experiments.figures.report_parts import EXPECTED


def fake(folder, quantity, **changes):
    folder.mkdir(parents=True)
    row = {
        "quantity": quantity, "paper": -0.5, "released": -0.81, "ours": -0.75,
        "low": -0.8125, "high": -0.7, "agrees": True, "target": -0.5,
        "source": "a text", "note": "",
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps([row | changes]))
    (folder / "table.md").write_text(f"| the table of {folder.name} |\n")
    (folder / "figure5.png").write_bytes(b"")


def test_the_report_shows_what_is_there_and_says_what_is_not(tmp_path):
    results, docs = tmp_path / "results", tmp_path / "docs"
    fake(results / "figure5" / "released", "slope")
    fake(results / "figure5" / "flow", "slope", ours=-0.6, agrees=False, note="why")
    fake(results / "figure2" / "released-width4", "N", low=None, high=None)
    (docs / "_reproduction").mkdir(parents=True)
    (docs / "_reproduction" / "figure5.md").write_text("**Found.**\n\nBecause.\n")
    here = report.Config(results, docs)
    report.main(here)
    pages = {path.name: path.read_text() for path in results.rglob("*.md")}
    text = pages["figure5.md"]
    assert (
        "| slope | −0.5 | −0.81 | −0.75 [−0.8125, −0.7] | "
        "−0.6 [−0.8125, −0.7] | released: yes<br>flow: no |"
    ) in text
    assert "released-width4: −0.75 |" in pages["figure2.md"]
    line = "- `flow`, slope: −0.6 [−0.8125, −0.7] against −0.5 (a text) (why)."
    assert line in text
    # The finding, the figure and the numbers first; each picture once.
    order = ("**Found.**", "figure5/released/figure5.png", line, "Because.", "## By")
    assert sorted(order, key=text.index) == list(order)
    assert text.count("figure5/released/figure5.png") == 1
    assert text.count("![Figure 5, flow](../figure5/flow/figure5.png)") == 1
    assert "| the table of flow |" in text
    front = pages["reproduction.md"]
    assert "[Figure 5](reproduction/figure5.md)" in front
    assert "released: 1 of 1<br>flow: 0 of 1" in front
    assert "## Figure 5\n\n**Found.**\n" in front
    for figure, missing in (
        (5, "--protocol paper --size full"),
        (3, "--protocol released --size full"),
        (2, "--protocol flow --size full"),
        (2, "--protocol flow --width 4 --given-up 1 --size full"),
        (2, "--protocol paper --width 4 --learning-rate 0.5 --size full"),
    ):
        command = f"python -m experiments.figures.figure{figure} {missing}"
        assert f"{command}` makes it" in pages[f"figure{figure}.md"]
    assert "figure5 --protocol flow" not in text
    assert "figure2 --protocol released --width 4" not in pages["figure2.md"]
    assert "--output results/phase_transition` makes it" in pages["figure1.md"]
    report.main(here)
    assert (results / "reproduction" / "figure5.md").read_text() == text


def test_a_report_without_results_asks_for_everything(tmp_path):
    pages = report.pages(report.Config(tmp_path / "none", tmp_path))
    text = "".join(pages.values())
    assert text.count("**Missing:") == sum(map(len, EXPECTED.values())) + 1
    assert "--protocol released --width 4" in text


def test_what_is_kept_is_what_the_results_give_and_its_links_lead_somewhere():
    root = Path(report.__file__).parents[2]
    here = report.Config(root / "results", root / "docs")
    for name, text in report.pages(here).items():
        path = root / "results" / name
        assert path.read_text() == text, f"{name}: python -m experiments.figures.report"
        links = re.findall(r"\]\(([^)#]+)", text)
        assert links
        for link in links:
            assert (path.parent / link).exists(), f"{name}: {link}"
