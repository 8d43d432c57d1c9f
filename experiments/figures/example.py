"""The example of the README, and its figure results/example.png.

python -m experiments.figures.example
"""

import re
from pathlib import Path

import matplotlib

from ..common.output import STYLE

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).parents[2]


def readme_code() -> str:
    """The first Python block of the README."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    return blocks[0]


def main(folder: Path = ROOT / "results") -> None:
    folder.mkdir(exist_ok=True)
    names: dict = {"plt": plt}
    with plt.rc_context({**STYLE, "figure.figsize": (6.4, 2.6)}):
        exec(readme_code(), names)
        for suffix in ("png", "pdf"):
            plt.savefig(folder / f"example.{suffix}")
        plt.close("all")


if __name__ == "__main__":
    main()
