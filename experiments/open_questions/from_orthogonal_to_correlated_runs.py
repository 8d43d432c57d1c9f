"""What “from orthogonal to correlated” draws and runs, and what is known beforehand."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import xarray as xr
from scipy import integrate, optimize

import jaxflow
from jaxflow import theory

from .common import keep

# Norms of the inputs and sizes of the targets, both U[1, 2] (Appendix B).
_LEAST, _LARGEST = 1.0, 2.0


def edge() -> float:
    """e in ‖XᵀX − D_X‖ → e √(n/d), for directions uniform on the sphere.

    Where d is far above n, off the diagonal √d XᵀX is a symmetric matrix of independent
    entries ρ_i ρ_k g_ik. With v = ρ² and g(z) the diagonal of the resolvent of its 1/√n
    part, −1/g_i = z + v_i m, m = E[v g]. In q = −m/z that is z² = E[v/(1 − v q)]/q, and
    the spectrum ends at the least z over q in (0, 1/max v).
    """
    width = _LARGEST - _LEAST

    def square(q: float) -> float:
        mean, _ = integrate.quad(
            lambda rho: rho**2 / (1 - q * rho**2) / width, _LEAST, _LARGEST
        )
        return mean / q

    most = _LARGEST**-2
    found = optimize.minimize_scalar(
        square, bounds=(1e-3 * most, most * (1 - 1e-6)), method="bounded"
    )
    return float(np.sqrt(found.fun))


def known_thresholds(n: float) -> dict[str, float]:
    """The d of Assumption 2 and of Lemma 6, as n → ∞: e √(n/d) is at its limit of eq. 4
    where d = 4 e² n², C_y⁺/C_y⁻ being 2, and at (C_x⁻)² where d = e² n."""
    ratio = _LARGEST / _LEAST
    return {
        "assumption": (ratio * edge() / _LEAST**2) ** 2 * n**2,
        "bound": (edge() / _LEAST**2) ** 2 * n,
    }


def margins(
    folder: Path, sizes: Sequence[tuple[int, int]], draws: int, seed: int
) -> xr.Dataset:
    """Data sets of n examples in dimension d, one a row.

    `assumption` is above 1 where Assumption 2 holds; `bound` = (C_x⁻)²/‖XᵀX − D_X‖
    where the lower bound of Lemma 6 (eq. 21) says anything.
    """
    names = [f"{n}-{d}-{k}" for n, d in sizes for k in range(draws)]

    def draw(name: str) -> dict[str, float]:
        n, d, k = map(int, name.split("-"))
        data, _ = jaxflow.sample_problem(
            jaxflow.run_key(jax.random.key(seed), n, d, 1, k),
            n=n,
            d=d,
            p=1,
            inputs="sphere",
            dtype="float64",
        )
        interaction = float(data.inputs.interaction())
        limit = float(theory.interaction_limit(data.inputs.norms, data.targets))
        return {
            "n": n,
            "d": d,
            "assumption": limit / interaction,
            "bound": float(np.min(data.inputs.norms)) ** 2 / interaction,
        }

    return keep(folder, {"seed": seed}, names, draw)
