"""Where a run of the flow on correlated inputs ends, and what it can still reach there.

While no pair (j, i) changes its state, h is linear in u_j = |a_j| w_j, and along the
flow the signs of a stay (Assumption 1). So the loss is convex in u on the cell of all
networks with this pattern, {u: u_j·x_i ≥ 0 where 1_ji = 1, ≤ 0 elsewhere}. Where the
flow is at rest, with slides held by multipliers in [0, 1], the conditions of a minimum
over the cell hold (those of its walls with the slides' multipliers). A run that is
stuck at L > 0 has therefore reached a pattern that no weights interpolate with, and a
run whose pattern some weights do interpolate with is slow, not stuck, for as long as
the pattern stays. A linear programme tells which (`holds_interpolator`).
"""

import math
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

import jaxflow

from ..common.protocols import TOLERANCE, ZERO, last_time
from .common import ended

# A run looks at its loss so often while t doubles, first at t_∞/4.
_LOOKS, _FIRST = 2, 0.25
# μ ≤ this/n is at rest: from there L falls by 1 % in some hundred units of t_∞.
_STATIONARY = 1e-4
# A pair is on its kink within this share of ‖w_j‖‖x_i‖. Runs leave slides at up to some
# 1e-9, and of networks with thousands of pairs one in a thousand has one so near by
# chance.
KINK = 1e-7
# The programme holds its conditions to 1e-7 only: an interpolator has left no more than
# this of the largest label, and this of the largest residual.
_FITTED, _LEFT = 3e-7, 1e-2


def check_runs(seeds: int | None, last: float | None) -> None:
    """Raises a ValueError for numbers of runs, and last times, that say nothing."""
    if seeds is not None and seeds < 2:
        raise ValueError(f"seeds must be 2 at least, got {seeds}.")
    if last is not None and not 1 <= last <= 1024:
        raise ValueError(f"last must lie from 1 to 1024 t_∞, got {last}.")


def looks(last: float) -> np.ndarray:
    """The times at which a run is looked at, in units of t_∞, `last` being the last."""
    count = math.ceil(_LOOKS * math.log2(last / _FIRST))
    return np.append(_FIRST * 2 ** (np.arange(count) / _LOOKS), last)


def run_to_its_end(
    data: jaxflow.Dataset, network: jaxflow.Network, last: float
) -> tuple[jaxflow.Network, dict[str, Any]]:
    """The network at the end, and the row of the run.

    A run ends where L ≤ 1e-12 L(0) (`zero`), where it is at rest (`stuck`), or after
    `last` t_∞, undecided. `losses` are L/L(0) at `looks`, NaN after the end; `end` is
    in units of t_∞; `rest` is L/L(0) there; `interpolable`: `holds_interpolator`.
    """
    n, p = data.num_examples, network.width
    unit = last_time(n, p)
    sol = jaxflow.simulate(
        data,
        network,
        jaxflow.FilippovFlow(TOLERANCE),
        times=np.append(0.0, looks(last)) * unit,
        stop=(jaxflow.LossFallen(ZERO), jaxflow.Stationary(_STATIONARY)),
    )
    zero, stuck = ended(sol)
    losses = np.asarray(sol.loss, float)
    x, y = np.asarray(data.x), np.asarray(data.y)
    w, a = np.asarray(sol.final.w), np.asarray(sol.final.a)
    slope = float(network.negative_slope or 0.0)
    row = {
        "zero": zero,
        "stuck": stuck,
        "end": float(sol.final_time) / unit,
        "rest": float(sol.final_loss / losses[0]),
        "losses": losses[1:] / losses[0],
        "interpolable": zero or holds_interpolator(x, y, w, a, slope),
    }
    return sol.final, row


def reached(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, a: np.ndarray, slope: float = 0.0
) -> dict[str, Any]:
    """What a network's pattern leaves free; x (n, d), y (n,), w (p, d), a (p,), and the
    negative slope of its ReLU.

    - `uncovered`: the examples with y_i ≠ 0 on which no neuron is active.
    - `sliding`: the pairs on their kinks.
    - `least`: n times the least eigenvalue of the tangent kernel.
    - `free`: Σ_j of d less the slides of neuron j, or of its active examples where
      these are fewer, which bounds the rank of the kernel.

    (With a leaky ReLU neurons see every example off their slides.)
    """
    z, lengths = w @ x.T, np.linalg.norm(w, axis=1)[:, None] * np.linalg.norm(x, axis=1)
    slides = np.abs(z) <= KINK * lengths
    active = (z > 0) & ~slides
    gates = np.where(slides, 0, np.where(active, 1, slope))
    n, p = len(x), len(a)
    blocks, free = [], 0
    for own, on, size, row in zip(slides, gates, a, z, strict=True):
        # Along a slide w_j moves orthogonally to the inputs that it slides on.
        basis = np.linalg.svd(x[own].T, full_matrices=False)[0]
        kept = x * on[:, None]
        blocks += [size * (kept - kept @ basis @ basis.T), (row * on)[:, None]]
        free += min(x.shape[1] - basis.shape[1], np.count_nonzero(on))
    singular = np.linalg.svd(np.hstack(blocks), compute_uv=False)
    # Of fewer columns than examples the least eigenvalue is 0.
    least = singular[-1] ** 2 / p if len(singular) == n else 0.0
    return {
        "uncovered": int((~active.any(axis=0) & (y != 0)).sum()),
        "sliding": int(slides.sum()),
        "free": free,
        "least": float(least),
    }


def holds_interpolator(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, a: np.ndarray, slope: float = 0.0
) -> bool:
    """Whether some network with the signs and the pattern of this one has zero loss:
    the least max_i |r_i| over the cell, a linear programme, is next to nothing."""
    (n, d), p = x.shape, len(a)
    active = w @ x.T > 0
    # h_i − e ≤ y_i, −h_i − e ≤ −y_i, and on each pair ± u_j·x_i ≤ 0.
    gates = np.sign(a)[:, None] / p * np.where(active, 1, slope)
    fit = sparse.csr_array(np.hstack([x * gate[:, None] for gate in gates]))
    error = sparse.csr_array(np.ones((n, 1)))
    walls = sparse.block_diag(
        [np.where(on, -1.0, 1.0)[:, None] * x for on in active], format="csr"
    )
    conditions = sparse.vstack(
        [
            sparse.hstack([fit, -error]),
            sparse.hstack([-fit, -error]),
            sparse.hstack([walls, sparse.csr_array((n * p, 1))]),
        ]
    )
    found = linprog(
        np.append(np.zeros(p * d), 1.0),
        A_ub=conditions,
        b_ub=np.concatenate([y, -y, np.zeros(n * p)]),
        bounds=[(None, None)] * (p * d) + [(0, None)],
        method="highs",
    )
    if not found.success:
        raise RuntimeError(f"the programme was not solved: {found.message}")
    h = a @ (np.where(active, 1, slope) * (w @ x.T)) / p
    least = float(found.x[-1])
    return bool(least <= min(_FITTED * np.abs(y).max(), _LEFT * np.abs(y - h).max()))
