"""The site: every public name has its entry in the reference.

`make docs` checks the rest: links, anchors, and that each entry is a name.
"""

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ENTRIES = [
    entry
    for page in sorted((DOCS / "reference").glob("*.md"))
    for entry in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
]
# Packages: each has a page of its own.
PACKAGES = {"jaxflow.theory", "jaxflow.theory.printed"}


def names(module: str) -> set[str]:
    """What a module offers: what it imports under its own name, or defines."""
    path = ROOT / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and path.name == "__init__.py":
            found |= {alias.asname or alias.name for alias in node.names}
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
    return {f"{module}.{name}" for name in found if not name.startswith("_")}


def test_every_public_name_is_in_the_reference_once():
    modules = ("", ".theory", ".theory.printed", ".statistics", ".records")
    public = set().union(*(names(f"jaxflow{module}") for module in modules))
    assert len(public) > 100
    assert set(ENTRIES) == public - PACKAGES
    assert len(ENTRIES) == len(set(ENTRIES))


@pytest.mark.slow
def test_the_site_asks_the_network_for_nothing(tmp_path):
    """No script, style, font or picture comes from elsewhere; links may lead there."""
    build = pytest.importorskip("mkdocs.commands.build")
    configuration = pytest.importorskip("mkdocs.config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        build.build(
            configuration.load_config(
                str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site")
            )
        )
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 30
    tags = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*>")
    elsewhere = re.compile(r"(?:src|href)=[\"']?(?:https?:)?//")
    for page in pages:
        for tag in tags.findall(page.read_text()):
            assert not elsewhere.search(tag), tag
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", style.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("page", ["get_started", "ensembles"])
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """From top to bottom; not what sets a cache, which would outlast the test."""
    monkeypatch.chdir(tmp_path)
    text = (DOCS / f"{page}.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) > 1
    names: dict = {}
    for block in blocks:
        if "compilation_cache" not in block:
            exec(block, names)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["first_steps", "sweep"])
def test_a_notebook_runs_and_is_kept_with_what_it_gave(name):
    pytest.importorskip("nbclient")
    path = DOCS / "notebooks" / f"{name}.ipynb"
    script = runpy.run_path(str(DOCS / "_site" / "run_notebooks.py"))
    kept = script["nbformat"].read(path, as_version=4)
    now = script["run"](path)
    for old, new in zip(kept.cells, now.cells, strict=True):
        kinds = lambda cell: [o.output_type for o in cell.get("outputs", [])]
        assert kinds(old) == kinds(new)
    assert any(output_kind(cell, "image/png") for cell in kept.cells)


def output_kind(cell, kind: str) -> bool:
    return any(kind in output.get("data", {}) for output in cell.get("outputs", []))
