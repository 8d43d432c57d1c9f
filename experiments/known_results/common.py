"""What the known results and the gallery share: from a config to records, figure and
table."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..common.output import (
    STYLE,
    markdown_table,
    read_records,
    write_config,
    write_figure,
    write_records,
    write_text,
)

RESULTS = Path("results/known_results")

# Dark and light enough to be told apart in grey, too.
BLUE, ORANGE, GREY = "#1b4f8c", "#e08214", "#9a9a9a"


def shades(count: int) -> np.ndarray:
    """Colours of a quantity that grows or falls, shape (count, 4)."""
    return plt.get_cmap("viridis")(np.linspace(0.85, 0, count))


class Finding(NamedTuple):
    """A number of the theory, or None where it has none, beside what was measured."""

    quantity: str
    predicted: float | None
    measured: float


def produce(
    config: Any,
    name: str,
    simulate: Callable[[Any], xr.Dataset],
    findings: Callable[[xr.Dataset], Sequence[Finding]],
    draw: Callable[[xr.Dataset], Figure],
    package: str = "known_results",
) -> None:
    """Simulates unless `config.redraw`, then writes into `config.output`: config.json,
    records.nc, the figure and summary.md, whose table is printed too. `name` is that
    of the module in `package`."""
    jax.config.update("jax_enable_x64", True)
    if not config.redraw:
        records = simulate(config)
        write_config(config.output, config, f"experiments.{package}.{name}")
        write_records(config.output, records)
    records = read_records(config.output)
    with plt.rc_context(STYLE):
        write_figure(config.output, draw(records), name)
    rows = [
        (f.quantity, *("—" if x is None else f"{x:.6g}" for x in f[1:]))
        for f in findings(records)
    ]
    summary = markdown_table(("quantity", "predicted", "measured"), rows)
    write_text(config.output, "summary.md", summary)
    sys.stdout.write(summary)
