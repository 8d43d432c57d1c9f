"""Runs the notebooks of docs/notebooks and keeps what they print and draw.

python docs/_site/run_notebooks.py
"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def run(path: Path) -> nbformat.NotebookNode:
    """The notebook as it is after a run from its first cell."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": path.parent}}
    )
    client.execute()
    for cell in notebook.cells:
        # When a cell ran is not what it says.
        cell.metadata = {}
    return notebook


def main() -> None:
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        nbformat.write(run(path), path)


if __name__ == "__main__":
    main()
