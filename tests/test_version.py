"""The version stands in pyproject.toml; what repeats it agrees."""

import re
import tomllib
from pathlib import Path

import jaxflow

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_package_has_the_version_of_pyproject():
    assert jaxflow.__version__ == VERSION


def test_the_citation_has_the_version_of_pyproject():
    text = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.*)$", text, re.M) == [VERSION]
