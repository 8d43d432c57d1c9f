"""The networks of “many neurons”, and what is known of them without simulation."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr

import jaxflow
from jaxflow import theory

from .common import keep

# When the networks on one data set are looked at, in units of √n.
LOOKS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
_TOLERANCE = 1e-6


def problem(inputs: str, n: int, d: int, seed: int) -> jaxflow.Dataset:
    """The one data set of `curves`."""
    data, _ = jaxflow.sample_problem(
        jax.random.key(seed), n=n, d=d, p=1, inputs=inputs, dtype="float64"
    )
    return data


def curves(
    folder: Path,
    inputs: str,
    n: int,
    d: int,
    widths: Sequence[int],
    networks: int,
    seed: int,
) -> xr.Dataset:
    """L(t) and μ(t) of many networks on one data set, at `LOOKS`."""
    data = problem(inputs, n, d, seed)
    return jaxflow.simulate_ensemble(
        jax.random.key(seed + 1),
        inputs=data.inputs,
        targets=data.targets,
        d=d,
        p=list(widths),
        seeds=networks,
        method=jaxflow.GradientFlow(_TOLERANCE),
        times=np.array(LOOKS) * n**0.5,
        dtype="float64",
        folder=folder / inputs,
        progress=False,
    )[["loss", "curvature"]]


class Start(NamedTuple):
    """What theory says of networks on one data set at t = 0, as p → ∞.

    L(0) has mean `loss` + `bias`/p and standard deviation `loss_spread`/√p; μ(0) has
    mean `curvature` and standard deviation `curvature_spread`/√p (Lemma 4; NaN for
    correlated inputs, where that has no closed form).
    """

    loss: float
    bias: float
    loss_spread: float
    curvature: float
    curvature_spread: float


def start(data: jaxflow.Dataset, d: int) -> Start:
    """With r = Y − (1/p) Σ_j h_j, h_j = a_j (z_j)_+ of mean zero and covariance V,

        E L(0) = (‖Y‖² + tr V/p)/2n,    Var L(0) = Yᵀ V Y/(n² p) + O(1/p²),

    V_ik = E[a² ‖w‖²]/d · ‖x_i‖ ‖x_k‖ (sin θ + (π − θ) cos θ)/2π, θ their angle.
    """
    moments = theory.neuron_moments(jaxflow.Initialisation(), float(d))
    y, lengths = np.asarray(data.targets), np.asarray(data.inputs.norms)
    n, sizes = len(y), np.outer(lengths, lengths)
    cosine = np.clip(np.asarray(data.inputs.gram()) / sizes, -1, 1)
    angle = np.arccos(cosine)
    kernel = (np.sin(angle) + (np.pi - angle) * cosine) / (2 * np.pi)
    covariance = float(moments.a2w2) / d * sizes * kernel
    spread = np.nan
    if isinstance(data.inputs, jaxflow.OrthogonalInputs):
        spread = 2 / n * float(theory.orthogonal_limit(data, moments).gamma)
    return Start(
        loss=float(y @ y) / (2 * n),
        bias=float(np.trace(covariance)) / (2 * n),
        loss_spread=float(np.sqrt(y @ covariance @ y)) / n,
        curvature=2 / n * float(theory.curvature_mean(data, moments)),
        curvature_spread=spread,
    )


def predicted(folder: Path, n: int, widths: Sequence[int]) -> xr.Dataset:
    """One row a width: the median of √n μ_∞ on orthogonal inputs, given that every
    example is covered, its standard error, and the probability of that."""

    def law(name: str) -> dict[str, float]:
        p = int(name)
        # Wide networks vary less.
        found = theory.limiting_curvature_law(n, p, networks=max(20, 6000 // p))
        return {
            "p": p,
            "median": found.median,
            "error": found.median_error,
            "coverage": found.coverage,
        }

    return keep(folder, {"n": n}, [str(p) for p in widths], law)
