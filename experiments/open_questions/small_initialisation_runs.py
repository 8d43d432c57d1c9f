"""Networks at ever smaller scales on orthogonal inputs, and the saddles of s → 0.

At the scale s (the paper's law of w(0) and a(0), both times s) the network is 0 to
begin with, and a neuron grows as exp(g t) with

    g_j = (1/n) √(Σ y_i² ‖x_i‖²),   over the unfitted i that j is correctly active on,

its wrong pairs being lost early. In units of log(1/s), s → 0, neuron j has reached size
1 at the time t where ∫₀ᵗ g_j = 1. The first to do so fits all of its examples, in no
time on that scale, and the speeds of the others change: the next saddle. `cascade`
follows this to the end; nothing in it is fitted.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import jaxflow

from ..common.protocols import last_time
from .common import fall_time, keep

# Of L(0): the times at which L falls below are kept.
LEVELS = (0.5, 0.1, 0.01)
# Where runs are looked at, in units of t_∞.
HORIZONS = (1.0, 4.0, 16.0)
# A neuron has grown if a_j² is at least this share of the largest at the end.
GROWN = 0.01
# The scales at which one network is shown over time.
SHOWN = (5, 20, 80)
# Points in time, evenly in its logarithm.
_POINTS = 800
RTOL, FALLEN = 1e-6, 1e-12


class Cell(NamedTuple):
    """Networks of one size; the scale is s = 10^−exponent."""

    inputs: str
    n: int
    p: int
    exponent: float


class Cascade(NamedTuple):
    """The saddles of s → 0. `times`: when each is left, in units of log(1/s), (K,);
    `losses`: L at the start and after each, (K + 1,); `squared_norm`: ‖θ‖² at the end.
    """

    times: np.ndarray
    losses: np.ndarray
    squared_norm: float

    def time_below(self, level: float) -> float:
        """When L < level, in units of log(1/s); ∞ if never."""
        below = np.flatnonzero(self.losses[1:] < level)
        return float(self.times[below[0]]) if below.size else math.inf


def cascade(correct: np.ndarray, targets: np.ndarray, norms: np.ndarray) -> Cascade:
    """`correct`: the correctly active pairs at the start, (p, n).

    A neuron alone on a set of examples ends balanced, with a_j² = ‖w_j‖² =
    p √(Σ y_i²/‖x_i‖²) over them.
    """
    p, n = correct.shape
    unfitted, left, time = np.ones(n, bool), np.ones(p), 0.0
    times: list[float] = []
    losses, squared = [np.sum(targets**2) / (2 * n)], 0.0
    while True:
        speed = np.sqrt((correct & unfitted) @ (targets * norms) ** 2) / n
        if speed.max() == 0:
            return Cascade(np.array(times), np.array(losses), squared)
        wait = np.divide(left, speed, out=np.full(p, np.inf), where=speed > 0)
        first = int(np.argmin(wait))
        time, left = time + wait[first], left - speed * wait[first]
        fitted = correct[first] & unfitted
        unfitted = unfitted & ~fitted
        squared += 2 * p * math.sqrt(np.sum((targets / norms)[fitted] ** 2))
        times.append(time)
        losses.append(np.sum(targets[unfitted] ** 2) / (2 * n))


def simulated(folder: Path, cells: Iterable[Cell], seeds: int, seed: int) -> xr.Dataset:
    """One row a network and scale; those of one size and number k differ in the scale
    alone.

    `time`: when L falls below `LEVELS` L(0), and below half of its last step; `limit`:
    the same of the cascade, in units of log(1/s). `norm`, `norm_limit`: ‖θ‖² at the
    end. `grown`, `saddles`: how many neurons have grown, and how many saddles are left.
    `uncovered`: examples that no neuron is correctly active on; `floor`: what they cost
    in shares of L(0), and `final` the share that is left. `met`: whether L was below
    the certificate by `HORIZONS`.
    """
    config = {"seed": seed, "levels": list(LEVELS), "rtol": RTOL, "points": _POINTS}
    names = [name_of(cell, k) for cell in cells for k in range(seeds)]
    rows = keep(folder, config, names, lambda name: run(name, seed))
    inputs = [name.split("_")[0] for name in names]
    return rows.assign(inputs=("run", inputs))


def name_of(cell: Cell, number: int) -> str:
    return "_".join(map(str, (*cell[:3], f"{cell.exponent:g}", number)))


def drawn(
    name: str, seed: int
) -> tuple[jaxflow.Dataset, jaxflow.Network, Cascade, np.ndarray]:
    """The problem of that name, its cascade, and its correctly active pairs."""
    inputs, *sizes, exponent, number = name.split("_")
    n, p = map(int, sizes)
    data, network = jaxflow.sample_problem(
        jaxflow.run_key(jax.random.key(seed), n, n, p, int(number)),
        n=n,
        d=n,
        p=p,
        inputs=inputs,
        init=jaxflow.Initialisation(scale=10 ** -float(exponent)),
        dtype=jnp.float64,
    )
    y, norms = np.asarray(data.targets), np.asarray(data.inputs.norms)
    active = np.asarray(data.inputs.preactivations(network.w)) > 0
    correct = active & (np.asarray(network.a)[:, None] * y > 0)
    return data, network, cascade(correct, y, norms), correct


def followed(
    data: jaxflow.Dataset, network: jaxflow.Network, times: np.ndarray
) -> tuple[np.ndarray, jaxflow.Network]:
    """L at 0 and at `times`, and the network at the end."""
    sol = jaxflow.simulate(
        data,
        network,
        jaxflow.GradientFlow(RTOL),
        times=np.concatenate([[0.0], times]),
        stop=jaxflow.LossFallen(FALLEN),
        observe={},
    )
    loss = np.asarray(sol.loss)
    # A loss that has fallen, and is not followed any more.
    return np.where(np.isnan(loss), FALLEN * loss[0], loss), sol.final


def run(name: str, seed: int) -> dict[str, Any]:
    data, network, limit, correct = drawn(name, seed)
    n, p = data.num_examples, network.width
    exponent, number = float(name.split("_")[3]), int(name.split("_")[4])
    # The slowest example has one neuron and |y| ‖x‖ = 1: n log(1/s), and the loss takes
    # some n more to fall.
    logarithm = exponent * math.log(10)
    times = np.geomspace(0.1, 2 * n * (logarithm + 10), _POINTS)
    loss, final = followed(data, network, times)
    at = np.append(0.0, times)
    levels = np.array([level * loss[0] for level in LEVELS])
    wanted = [limit.time_below(level) for level in levels]
    # The last step, from the loss before it to what is left for ever.
    last = (limit.losses[-2] + limit.losses[-1]) / 2
    a = np.asarray(final.a)
    norm = float(np.sum(a**2) + np.sum(jaxflow.squared_norms(data, final)))
    return {
        "n": n,
        "p": p,
        "exponent": exponent,
        "seed": number,
        "time": np.array([fall_time(at, loss, level) for level in (*levels, last)]),
        "limit": np.append(wanted, limit.times[-1]),
        "norm": norm,
        "norm_limit": limit.squared_norm,
        "grown": np.sum(a**2 >= GROWN * np.max(a**2)),
        "saddles": limit.times.size,
        "uncovered": np.sum(~correct.any(axis=0)),
        "floor": limit.losses[-1] / loss[0],
        "final": float(jaxflow.loss(data, final)) / loss[0],
        "met": _met(at, loss, data, last_time(n, p)),
        "curve_time": times[:: _POINTS // 200].astype(np.float32),
    }


def curves(inputs: str, n: int, p: int, seed: int) -> xr.Dataset:
    """L/L(0) of one network at the scales `SHOWN`, at times in units of log(1/s), and
    the steps of its cascade."""
    losses = []
    for exponent in SHOWN:
        name = name_of(Cell(inputs, n, p, exponent), 0)
        data, network, limit, _ = drawn(name, seed)
        tau = np.linspace(0, 1.3 * limit.times[-1], 800)[1:]
        loss, _ = followed(data, network, tau * exponent * math.log(10))
        losses.append(loss[1:] / loss[0])
    return xr.Dataset(
        {
            "loss": (("exponent", "tau"), np.array(losses)),
            "step_time": ("step", limit.times),
            "step_loss": ("after", limit.losses / limit.losses[0]),
            "n": n,
        },
        {"exponent": list(SHOWN), "tau": tau},
    )


def _met(
    times: np.ndarray, loss: np.ndarray, data: jaxflow.Dataset, unit: float
) -> np.ndarray:
    level = float(jaxflow.certificate(data.targets, data.num_examples))
    when = fall_time(times, loss, level)
    return np.array([when <= horizon * unit for horizon in HORIZONS])
