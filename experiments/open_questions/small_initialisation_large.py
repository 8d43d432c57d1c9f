"""Theorem 1 from large starts: how often does it fail where its proof has a gap?

The proof needs L(0) ≤ (C_y⁺)²/2 (errata, entry 7). Here unit inputs have all cosines
equal, at 0.98 of what Assumption 2 allows for |y_i| = 1, and the weights of the paper's
law, which satisfy Assumption 1, are multiplied by s ≥ 1. Counted are the networks that
are correctly active on every example at the start (𝓘) and yet do not converge.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

import jaxflow
from jaxflow import statistics, theory

from ..common.output import markdown_table
from ..common.protocols import STATIONARY, TOLERANCE, ZERO
from .common import grouped, keep

# Of what Assumption 2 allows.
SHARE = 0.98
# Networks in a row of the records.
BATCH = 200
# No run is longer, in units of n.
_LAST = 1000.0


def inputs(n: int) -> np.ndarray:
    """n unit vectors in R^n with ‖K − I‖ = `SHARE`/√n, all cosines equal."""
    cosine = SHARE / np.sqrt(n) / (n - 1)
    gram = (1 - cosine) * np.eye(n) + cosine
    return np.linalg.cholesky(gram)


def simulated(
    folder: Path, cells: Iterable[tuple[int, int, float]], batches: int, seed: int
) -> xr.Dataset:
    """One row a batch of networks of n, p and s: how many have 𝓘, and of these how many
    converge (L falls to 1e-12 L(0)), come to rest above that, or neither by 1000 n;
    `large`: how many have L(0) > (C_y⁺)²/2."""
    config = {"seed": seed, "batch": BATCH, "share": SHARE, "tolerance": TOLERANCE}
    names = [f"{n}_{p}_{s:g}_{k}" for n, p, s in cells for k in range(batches)]
    return keep(folder, config, names, lambda name: run(name, seed))


def run(name: str, seed: int) -> dict[str, Any]:
    n, p, batch = (int(part) for part in np.array(name.split("_"))[[0, 1, 3]])
    scale = float(name.split("_")[2])
    keys = jax.random.split(
        jaxflow.run_key(jax.random.key(seed), n, n, p, batch), BATCH
    )
    covered, start, _, converged, rest, assumed = map(
        np.asarray, outcomes(keys, jnp.array(inputs(n)), p, jnp.array(scale))
    )
    if not assumed.all():
        raise AssertionError("the problems have to satisfy Assumptions 1 and 2")
    return {
        "n": n,
        "p": p,
        "scale": scale,
        "covered": covered.sum(),
        "large": (covered & (start > 0.5)).sum(),
        "converged": (covered & converged).sum(),
        "rest": (covered & rest).sum(),
        "undecided": (covered & ~converged & ~rest).sum(),
    }


@partial(jax.jit, static_argnames="p")
def outcomes(keys: Array, x: Array, p: int, scale: Array) -> tuple[Array, ...]:
    """Of the networks of these keys: 𝓘, L at the start and at the end, whether it falls
    to zero, whether it comes to rest above, and whether Assumptions 1 and 2 hold."""
    return jax.vmap(lambda key: _outcome(key, x, p, scale))(keys)


def _outcome(key: Array, x: Array, p: int, scale: Array) -> tuple[Array, ...]:
    n = len(x)
    signs = lambda key, inputs, dtype: jax.random.rademacher(key, (n,), dtype)
    data, small = jaxflow.sample_problem(key, inputs=x, targets=signs, p=p)
    network = jaxflow.Network(scale * small.w, scale * small.a)
    sol = jaxflow.simulate(
        data,
        network,
        jaxflow.FilippovFlow(TOLERANCE),
        times=[0.0, _LAST * n],
        stop=[jaxflow.LossFallen(ZERO), jaxflow.Stationary(STATIONARY)],
        observe={},
    )
    covered = jaxflow.Snapshot.of(data, network).covered
    assumed = theory.check_assumptions(data, network).holds
    converged = sol.result == jaxflow.Results.loss_below
    rest = sol.result == jaxflow.Results.stationary
    return covered, sol.loss[0], sol.final_loss, converged, rest, assumed


def table(records: xr.Dataset) -> str:
    rows = []
    for (n, p, scale), own in grouped(records, ("n", "p", "scale")):
        count = {
            name: int(own[name].sum())
            for name in ("covered", "large", "converged", "rest", "undecided")
        }
        failed = statistics.proportion(count["rest"], count["covered"])
        ends = [float(end) for end in (failed.estimate, failed.low, failed.high)]
        rows.append(
            (
                *(f"{n}", f"{p}", f"{scale:g}", f"{count['covered']}"),
                f"{count['large'] / count['covered']:.2f}",
                f"{count['rest']}",
                f"{count['undecided']}",
                f"{ends[0]:.4f} [{ends[1]:.4f}, {ends[2]:.4f}]",
            )
        )
    header = [
        "n",
        "p",
        "s",
        "networks with 𝓘",
        "L(0) > (C_y⁺)²/2",
        "at rest above 0",
        "undecided",
        "P(fails) given 𝓘",
    ]
    return (
        "# Theorem 1 from large starts\n\n"
        "Correlated inputs at the edge of Assumption 2; P(fails) with a 95 % interval "
        "(Clopper–Pearson).\n\n" + markdown_table(header, rows)
    )
