"""The house: imports run one way, down a list of floors, without circles."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jaxflow"

# From the ground up; each may import what stands before it. Public packages that the
# others build on stand where they are used.
FLOORS = (
    "_types",
    "_checks",
    "_progress",
    "_repr",
    "_linalg",
    "_xla",
    "_problem",
    "_sampling",
    "_snapshot",
    "theory",
    "_observables",
    "_solution",
    "_stops",
    "_meter",
    "_methods",
    "_simulate",
    "records",
    "_ensemble",
    "statistics",
)


def imports(path: Path) -> set[str]:
    """The modules of this package that a file imports, dotted, without its name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level == 0:
            assert not (node.module or "").startswith("jaxflow"), f"{path}: relative"
            continue
        base = parts[: len(parts) - node.level]
        target = (*base, *(node.module.split(".") if node.module else ()))
        names = [".".join((*target, alias.name)) for alias in node.names]
        # What is imported is a module, or a name in one.
        found |= {name if _is_module(name) else ".".join(target) for name in names} - {
            ""
        }
    return found


def _is_module(name: str) -> bool:
    path = PACKAGE / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py")


def test_every_file_has_a_floor():
    top = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in FILES}
    assert top == set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_arrow_upwards(path):
    own = FLOORS.index(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))
    above = {m for m in imports(path) if FLOORS.index(m.split(".")[0]) > own}
    assert not above


def test_no_circle():
    arrows = {
        ".".join(p.relative_to(PACKAGE).with_suffix("").parts): imports(p)
        for p in FILES
    }
    settled: set[str] = set()

    def settle(module: str, on_the_way: tuple[str, ...]) -> None:
        assert module not in on_the_way, " -> ".join((*on_the_way, module))
        if module in settled or module not in arrows:
            return
        for target in arrows[module]:
            settle(target, (*on_the_way, module))
        settled.add(module)

    for module in arrows:
        settle(module, ())


def test_the_test_can_fail():
    """It sees an import of a name, of a module, and of a package."""
    names = imports(PACKAGE / "_ensemble" / "storage.py")
    assert {"records", "_ensemble.dataset", "_ensemble.grid"} <= names
