"""The runs of question 2: labels at random, to the end of each run, and how many labels
the pattern of a random start holds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from scipy.optimize import nnls

import jaxflow

from .common import keep_cells
from .ends import KINK, holds_interpolator, looks, reached, run_to_its_end

# Directions for each cone of a neuron, and neurons of one size.
_DIRECTIONS, _CONES = 40, 40


class Cell(NamedTuple):
    """Runs of one size, with the negative slope of the ReLU."""

    d: int
    p: int
    n: int
    slope: float = 0.0


def simulated(
    folder: Path, cells: Sequence[Cell], seeds: int, last: float, seed: int
) -> xr.Dataset:
    """One row a run, that of `run_to_its_end` with what is `reached`; `permuted`:
    whether the pattern at the end holds the same labels in another order."""
    config = {"last": last, "looks": looks(last).tolist(), "seed": seed, "kink": KINK}
    run = lambda name: _run(name, last, seed)
    return keep_cells(folder, config, cells, seeds, run).assign_attrs(last=last)


def _run(name: str, last: float, seed: int) -> dict[str, Any]:
    d, p, n, slope, k = name.split("/")
    data, network = problem(Cell(int(d), int(p), int(n), float(slope)), int(k), seed)
    final, row = run_to_its_end(data, network, last)
    x, y, w, a = map(np.asarray, (data.x, data.y, final.w, final.a))
    order = np.random.default_rng([seed, int(k)]).permutation(len(y))
    permuted = holds_interpolator(x, y[order], w, a, float(slope))
    return row | reached(x, y, w, a, float(slope)) | {"permuted": permuted}


def problem(cell: Cell, k: int, seed: int) -> tuple[jaxflow.Dataset, jaxflow.Network]:
    """The k-th problem of this size, by the laws of Appendix B."""
    return jaxflow.sample_problem(
        jaxflow.run_key(jax.random.key(seed), cell.n, cell.d, cell.p, k),
        n=cell.n,
        d=cell.d,
        p=cell.p,
        inputs="sphere",
        negative_slope=cell.slope,
        dtype=float,
    )


def started(folder: Path, cells: Sequence[Cell], seeds: int, seed: int) -> xr.Dataset:
    """One row a start: whether its pattern holds the labels (`interpolable`), and the
    mean over neurons of the statistical dimension of their cones (`dimension`)."""
    config = {"seed": seed, "directions": _DIRECTIONS, "cones": _CONES}
    return keep_cells(folder, config, cells, seeds, lambda name: _start(name, seed))


def _start(name: str, seed: int) -> dict[str, Any]:
    d, p, n, k = (int(number) for number in name.split("/") if "." not in number)
    # The first n of some more: few examples alone would be known by their Gram matrix.
    data, network = problem(Cell(d, p, max(n, 2 * d)), k, seed)
    x, y = np.asarray(data.x)[:n], np.asarray(data.y)[:n]
    w, a = np.asarray(network.w), np.asarray(network.a)
    random = np.random.default_rng([seed, k, n])
    signs = np.where(w @ x.T > 0, 1.0, -1.0)
    cones = [statistical_dimension(s[:, None] * x, random) for s in signs[:_CONES]]
    return {
        "interpolable": holds_interpolator(x, y, w, a),
        "dimension": float(np.mean(cones)),
    }


def statistical_dimension(
    walls: np.ndarray, random: np.random.Generator, directions: int = _DIRECTIONS
) -> float:
    """δ = E‖Π g‖² of the cone {u: walls u ≥ 0}, walls (m, d), g a normal vector.

    By Moreau g is the sum of its projections on the cone and on its polar, which is
    spanned by the −walls with weights ≥ 0: ‖Π g‖ is what non-negative least squares
    leaves of g.
    """
    residuals = [
        nnls(-walls.T, g)[1] for g in random.normal(size=(directions, walls.shape[1]))
    ]
    return float(np.mean(np.square(residuals)))
