"""Networks whose second layer is smaller than Assumption 1 asks for: |a_j| < ‖w_j‖.

While the network is small and no pair has changed, (w_j·e_j, a_j) grows along (1, 1)
and decays along (1, −1), where e_j = D_j/‖D_j‖ and D_j = (1/n) Σ y_i x_i over the
examples that neuron j is active on. So a_j ends with the sign of

    a_j(0) + w_j(0)·e_j:

it changes where w_j(0)·e_j is against it and larger, which is what Lemma 1 excludes for
|a_j| ≥ ‖w_j‖. But w·e is far from ‖w‖: it is `pull` on average and scatters by 1/√d. If
most targets have one sign, the pull is the same for all neurons, and those that the
other targets need are turned.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import jaxflow
from jaxflow import theory

from ..common.protocols import GIVEN_UP, STATIONARY, ZERO, last_time
from .common import keep

RTOL = 1e-6
_HORIZON = GIVEN_UP["flow"]


class Cell(NamedTuple):
    """Networks of one size. `share`: of targets that are positive. `law`:
    "exponential" (Assumption 1), "pytorch", or δ of |a_j| = δ ‖w_j‖: 1 is balanced, 0 a
    second layer of zeros."""

    n: int
    d: int
    p: int
    share: float
    law: str


def pull(n: Any, d: Any, share: float) -> Any:
    """The mean of w_j(0)·e_j for many examples, by the laws of Appendix B: √(n/(πd))
    E[ρ y]/√E[ρ² y²], with the signs of a `share` of targets positive. ‖w_j‖ is 1."""
    # Of U[1, 2]: the law of ρ and of |y|.
    mean, square = 3 / 2, 7 / 3
    return np.sqrt(n / (np.pi * d)) * (2 * share - 1) * mean**2 / square


def targets(share: float) -> Any:
    """|y_i| ~ U[1, 2], each positive with probability `share`."""

    def draw(key: Any, inputs: jaxflow.AbstractInputs, dtype: Any) -> jax.Array:
        sizes = jnp.abs(jaxflow.uniform_targets(key, inputs, dtype))
        own = jax.random.fold_in(key, 1)
        return jnp.where(jax.random.bernoulli(own, share, sizes.shape), sizes, -sizes)

    return draw


def initialisation(law: str, p: int) -> Any:
    """The law of the networks, as `jaxflow.sample_problem` takes it."""
    if law == "exponential":
        return jaxflow.Initialisation()
    if law == "pytorch":
        # Its layers have no factor 1/p before the sum.
        return jaxflow.Initialisation("uniform", "uniform", scale=p**0.5)
    share, balanced = float(law), jaxflow.Initialisation(second_layer="balanced")

    def draw(key: Any, data: jaxflow.Dataset, d: int, p: int) -> jaxflow.Network:
        network = balanced(key, data, d, p)
        return jaxflow.Network(network.w, share * network.a, network.squared_norm)

    return draw


def early_signs(
    active: np.ndarray, w_x: np.ndarray, a: np.ndarray, y: np.ndarray, norms: np.ndarray
) -> np.ndarray:
    """sign(a_j(0) + w_j(0)·e_j), (p,), on orthogonal inputs. w_x: w_j·x_i, (p, n)."""
    along = (active * w_x) @ y
    length = np.sqrt(active @ (y * norms) ** 2)
    return np.sign(a + np.divide(along, length, out=np.zeros_like(a), where=length > 0))


def simulated(folder: Path, cells: Iterable[Cell], seeds: int, seed: int) -> xr.Dataset:
    """One row a network on orthogonal inputs.

    - `converged`: L has fallen to 1e-12 L(0). `lost`: an example is left that no neuron
      is active on, for ever. A run that is neither by 64 t_∞ is undecided.
    - `assumed`: the share of neurons with |a_j| ≥ ‖w_j‖ at the start.
    - `changed`: the share whose a_j has another sign at the end (none for a_j(0) = 0),
      `foreseen`: by `early_signs`, `agree`: the share whose sign at the end that is.
    - `covered`: 𝓘 at the start (never for a_j(0) = 0), `covered_early`: 𝓘 with the
      signs of `early_signs`.
    - `limit`: μ_∞ of the network at the end; `end`: when that is, in t_∞.
    """
    config = {"seed": seed, "rtol": RTOL, "fallen": ZERO, "horizon": _HORIZON}
    names = [
        f"{law}_{n}_{d}_{p}_{share:g}_{k}"
        for n, d, p, share, law in cells
        for k in range(seeds)
    ]
    rows = keep(folder, config, names, lambda name: run(name, seed))
    return rows.assign(law=("run", [name.split("_")[0] for name in names]))


def run(name: str, seed: int) -> dict[str, Any]:
    law, n, d, p, share, k = _read(name)
    data, network = jaxflow.sample_problem(
        jaxflow.run_key(jax.random.key(seed), n, d, p, k),
        n=n,
        d=d,
        p=p,
        targets=targets(share),
        init=initialisation(law, p),
        dtype=jnp.float64,
    )
    unit = last_time(n, p)
    sol = jaxflow.simulate(
        data,
        network,
        jaxflow.GradientFlow(RTOL),
        times=[0.0, _HORIZON * unit],
        stop=[jaxflow.LossFallen(ZERO), jaxflow.Stationary(STATIONARY)],
        observe={},
    )
    y, norms = np.asarray(data.targets), np.asarray(data.inputs.norms)
    w_x, a = np.asarray(data.inputs.preactivations(network.w)), np.asarray(network.a)
    last_a = np.asarray(sol.final.a)
    active = w_x > 0
    early = early_signs(active, w_x, a, y, norms)
    left = np.asarray(data.inputs.preactivations(sol.final.w)) > 0
    sizes = np.sqrt(np.asarray(jaxflow.squared_norms(data, network)))
    covered = lambda signs: bool(np.all(np.any(active & (signs[:, None] * y > 0), 0)))
    return {
        "n": n,
        "d": d,
        "p": p,
        "share": share,
        "converged": bool(sol.result == jaxflow.Results.loss_below),
        "lost": bool(np.any(~left.any(axis=0))),
        "assumed": np.mean(np.abs(a) >= sizes * (1 - 1e-12)),
        "changed": np.mean(a * last_a < 0),
        "foreseen": np.mean(a * early < 0),
        "agree": np.mean(early * last_a > 0),
        "covered": covered(a),
        "covered_early": covered(early),
        "limit": float(theory.limiting_curvature(data, sol.final)),
        "end": float(sol.final_time) / unit,
    }


def _read(name: str) -> tuple[str, int, int, int, float, int]:
    law, n, d, p, share, k = name.split("_")
    return law, int(n), int(d), int(p), float(share), int(k)
