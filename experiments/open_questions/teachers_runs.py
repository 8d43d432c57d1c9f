"""The runs of question 3: labels of a teacher, and others on the same inputs.

A teacher f(x) = (√(2k)/k) Σ_l b_l (v_l·x)_+ has E f(x)² = E‖x‖² = 7/3 for every k, the
E y² of the labels of Appendix B. One seed has the same inputs and w(0) for all kinds of
labels, and one teacher for all n.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

import jaxflow

from .common import keep_cells
from .ends import looks, run_to_its_end

# Of E f² = 7/3, the share that is noise in the kind "k+noise".
NOISE = 0.01
MEAN_SQUARE = 7 / 3
# A student neuron has found one of the teacher's where their cosine is at least this.
FOUND = 0.99
_FRESH = 2000


class Cell(NamedTuple):
    """Runs of one size. `kind`: "k" for a teacher of k neurons, "k+noise", "k shuffled"
    (its labels, each at another input), or "random", the labels of Appendix B."""

    d: int
    p: int
    n: int
    kind: str


def teacher_of(kind: str) -> int:
    """k, or 0 for labels without a teacher; raises a ValueError for what is no kind."""
    if kind == "random":
        return 0
    known = re.fullmatch(r"([1-9]\d*)(\+noise| shuffled)?", kind)
    if known is None:
        raise ValueError(
            f'labels are "random", "k", "k+noise" or "k shuffled" with k ≥ 1, got '
            f"{kind!r}."
        )
    return int(known[1])


def simulated(
    folder: Path, cells: Sequence[Cell], seeds: int, last: float, seed: int
) -> xr.Dataset:
    """One row a run: those of `run_to_its_end`, and what the student has learned.

    `test` is E(h − f)²/E f² on inputs that are not trained on; `found` the share of the
    teacher's neurons that a student neuron of their sign has found, and `used` the
    share of Σ|a_j|‖w_j‖ that such neurons have. NaN where there is no teacher.
    """
    config = {"last": last, "looks": looks(last).tolist(), "seed": seed}
    config |= {"noise": NOISE, "found": FOUND}
    run = lambda name: _run(name, last, seed)
    return keep_cells(folder, config, cells, seeds, run).assign_attrs(last=last)


def _run(name: str, last: float, seed: int) -> dict[str, Any]:
    d, p, n, kind, k = name.split("/")
    cell = Cell(int(d), int(p), int(n), kind)
    data, network, teacher = problem(cell, int(k), seed)
    final, row = run_to_its_end(data, network, last)
    learned = {"test": np.nan, "found": np.nan, "used": np.nan}
    if teacher is not None and "shuffled" not in kind:
        fresh, _ = jaxflow.sample_problem(
            jax.random.key(seed + 1),
            n=_FRESH,
            d=cell.d,
            p=1,
            inputs="sphere",
            dtype=float,
        )
        v, b = teacher
        f = b @ np.maximum(v @ np.asarray(fresh.x).T, 0)
        h = np.asarray(jaxflow.predict(final, fresh.x))
        learned["test"] = float(np.mean((h - f) ** 2) / np.mean(f**2))
        learned["found"], learned["used"] = matched(
            v, b, np.asarray(final.w), np.asarray(final.a)
        )
    return row | learned


def problem(
    cell: Cell, k: int, seed: int
) -> tuple[jaxflow.Dataset, jaxflow.Network, tuple[np.ndarray, np.ndarray] | None]:
    """The k-th problem of this size, and its teacher (v, b) if there is one, which is
    f(x) = Σ_l b_l (v_l·x)_+."""
    d, p, n, kind = cell
    width = teacher_of(kind)
    teacher: tuple[np.ndarray, np.ndarray] | None = None
    targets: Any = "uniform"
    if width:
        random = np.random.default_rng([seed, k, d, width])
        v, b = random.normal(size=(width, d)), random.choice([-1.0, 1.0], width)
        noise = (NOISE * MEAN_SQUARE) ** 0.5 if "noise" in kind else 0.0
        scale = (2 * width) ** 0.5
        targets = jaxflow.TeacherTargets(
            width, first_layer=v, second_layer=b, noise=noise, scale=scale
        )
        teacher = v, scale / width * b
    data, network = jaxflow.sample_problem(
        jaxflow.run_key(jax.random.key(seed), n, d, p, k),
        n=n,
        d=d,
        p=p,
        inputs="sphere",
        targets=targets,
        dtype=float,
    )
    if "shuffled" in kind:
        order = np.random.default_rng([seed, k, n]).permutation(n)
        data = jaxflow.Dataset(data.x, data.y[order])
    return data, network, teacher


def matched(
    v: np.ndarray, b: np.ndarray, w: np.ndarray, a: np.ndarray, least: float = FOUND
) -> tuple[float, float]:
    """The share of the teacher's neurons (v, b) that a neuron (w, a) of the student has
    found, with the same sign and a cosine ≥ `least`, and the share of the student's
    Σ|a_j|‖w_j‖ that such neurons have."""
    lengths = np.linalg.norm(w, axis=1)
    cosines = v @ w.T / np.linalg.norm(v, axis=1)[:, None]
    near = (cosines >= least * lengths) & (np.sign(b)[:, None] == np.sign(a))
    mass = np.abs(a) * lengths
    return float(near.any(1).mean()), float(mass[near.any(0)].sum() / mass.sum())
