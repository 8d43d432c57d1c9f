"""What mkdocs does besides: findings and results/ as pages, and formulas as MathML.

The pages in docs/ link to ../results/ as they lie in the repository, so that they can
be read there; here these links lead to the copies of the site. TeX between dollar signs
becomes MathML while the site is built: it needs neither a script nor a font.
"""

import html
import os
import re
from pathlib import Path
from typing import Any

import nbformat
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
# Of results/: what pages are made of, show and link to.
SUFFIXES = (".md", ".png", ".json")
PAGES = re.compile(r"\]\(((?:\.\./)+)((?:results|docs)/)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)
NOTEBOOK = re.compile(r"<!-- notebook: (\S+) -->")


def on_config(config: Any) -> Any:
    """Every page in docs/findings/ has its place among the findings."""
    (findings,) = (part["Findings"] for part in config.nav if "Findings" in part)
    pages = sorted((ROOT / "docs" / "findings").glob("*.md"))
    findings[1:1] = [f"findings/{page.name}" for page in pages]
    return config


def on_files(files: Files, config: Any) -> Files:
    """The reports and figures of results/, beside the pages of docs/."""
    for path in sorted((ROOT / "results").rglob("*")):
        inside = path.relative_to(ROOT).as_posix()
        if path.suffix in SUFFIXES and "/runs/" not in inside and "quick" not in inside:
            files.append(File.generated(config, inside, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links out of docs/ into results/, and back, are links within the site."""
    source = page.file.src_uri
    here = os.path.dirname(source)
    # Where the page lies in the repository.
    folder = here if source.startswith("results/") else f"docs/{here}"

    def inside(match: re.Match[str]) -> str:
        up, top = match.groups()
        target = os.path.normpath(os.path.join(folder, up, top))
        if target not in ("results", "docs"):
            return match.group(0)
        target = "." if target == "docs" else target
        return f"]({os.path.relpath(target, here or '.')}/"

    return NOTEBOOK.sub(lambda m: _notebook(m[1]), PAGES.sub(inside, markdown))


def _notebook(name: str) -> str:
    """The cells of docs/`name`, with the texts and pictures that they gave."""
    parts = []
    for cell in nbformat.read(ROOT / "docs" / name, as_version=4).cells:
        if cell.cell_type != "code":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                picture = "".join(data["image/png"].split())
                parts.append(
                    f'<img alt="What the cell above draws." '
                    f'src="data:image/png;base64,{picture}">'
                )
            else:
                text = output.get("text") or data.get("text/plain", "")
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts)


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """TeX as MathML. What cannot be read as TeX ends the build."""

    def mathml(match: re.Match[str]) -> str:
        tex = html.unescape(match[2]).strip()
        display = "block" if tex.startswith(r"\[") else "inline"
        try:
            return convert(tex[2:-2].strip(), display=display)
        except Exception as error:
            raise PluginError(f"{page.file.src_uri}: {tex}: {error!r}") from error

    return FORMULA.sub(mathml, content)
