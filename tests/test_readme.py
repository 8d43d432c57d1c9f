"""The README is short, its example runs as printed, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def test_it_is_read_in_two_minutes():
    assert len(TEXT.split()) <= 450


def test_its_two_commands_are_there():
    commands = re.findall(r"^    make ([\w-]+)", TEXT, re.MULTILINE)
    assert commands == ["phase-transition", "test"]
    # CI runs the second one.
    assert "make test\n" in (ROOT / ".ci" / "run").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([\w-]+)", TEXT):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert len(links) > 5
    for link in links:
        assert (ROOT / link).exists(), link


@pytest.mark.slow
def test_its_example_runs(tmp_path, monkeypatch, capsys):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 10
    names: dict = {}
    exec(code, names)
    names["plt"].close("all")
    assert (tmp_path / "example.png").stat().st_size > 10_000
    assert "The run reached the last requested time." in capsys.readouterr().out
