"""The networks of Conjecture 1, on orthogonal inputs, and what is predicted for them.

A network is drawn until every example is covered (without that its loss stays above
y_i²/(2n) for ever), with d = n, and runs until its tangent kernel has settled.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

import jaxflow
from jaxflow import theory

from ..common.protocols import EPSILON, last_time
from .common import keep

# A run ends where Σ r_i² is below this, or at the rounding of float32. 2 λ_min of its
# network is then within 3e-4 of that at 1e-14 in float64.
SETTLED = {"dtype": "float32", "rtol": 1e-4, "small": 1e-5}
# The same for runs whose curvature is followed beyond that.
FOLLOWED = {"dtype": "float64", "rtol": 1e-8, "small": 1e-22}
# Where they are looked at, in units of t_∞.
HORIZONS = (0.5, 1.0, 2.0, 4.0, 8.0)
# No run is as long as this, in units of t_∞.
_LAST = 1000.0
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Cell(NamedTuple):
    """Networks of one size. `rule`: "c = …" or "p = …", what gave the width."""

    n: int
    p: int
    rule: str
    inputs: str = "orthogonal"

    @property
    def name(self) -> str:
        return f"{self.inputs}-{self.n}-{self.p}"


def cell(n: int, rule: str, inputs: str = "orthogonal") -> Cell:
    kind, value = rule.split(" = ")
    p = width(n, float(value)) if kind == "c" else int(value)
    return Cell(n, p, rule, inputs)


def width(n: int, c: float) -> int:
    """p = ⌊c log(n/ε)/log(4/3)⌋ + 1; c = 1 is the width rule of Lemma 5."""
    return math.floor(c * math.log(n / EPSILON) / math.log(4 / 3)) + 1


class SmallResiduals(jaxflow.AbstractStop):
    """Ends a run where Σ r_i² ≤ `value`."""

    value: float = eqx.field(static=True)
    result = jaxflow.Results.loss_below

    def margin(self, problem: Any, loss: Any, curvature: Any) -> Any:
        tiny = jnp.finfo(loss.dtype).tiny
        return jnp.log(jnp.maximum(2 * problem.n * loss, tiny)) - math.log(self.value)


def simulated(
    folder: Path, cells: Sequence[tuple[Cell, int]], how: dict[str, Any], seed: int
) -> xr.Dataset:
    """One row a network, of cells with their numbers of networks.

    `limit` is μ_∞ = 2 λ_min; `least` is 2 min_i D_i/(np) of the diagonal of the kernel,
    `count` the neurons on the example that has it; `mean_square` and `variation` are
    the mean and the coefficient of variation of a_j² at the end; `curvature` and
    `average` are μ(t) and ⟨μ(t)⟩ at `HORIZONS`, NaN after the end, which is `end` t_∞.
    """
    config = {**how, "seed": seed, "horizons": list(HORIZONS)}
    names = [f"{cell.name}-{k}" for cell, count in cells for k in range(count)]
    rows = keep(folder, config, names, lambda name: _run(name, config))
    rules = [cell.rule for cell, count in cells for _ in range(count)]
    inputs = [cell.inputs for cell, count in cells for _ in range(count)]
    return rows.assign(rule=("run", rules), inputs=("run", inputs))


def _run(name: str, config: dict[str, Any]) -> dict[str, Any]:
    inputs, *numbers = name.split("-")
    n, p, seed = map(int, numbers)
    data, network = jaxflow.sample_problem(
        jaxflow.run_key(jax.random.key(config["seed"]), n, n, p, seed),
        n=n,
        d=n,
        p=p,
        inputs=inputs,
        init=jaxflow.CoveredInitialisation(),
        dtype=jnp.dtype(config["dtype"]),
    )
    unit = last_time(n, p)
    times = np.array([0.0, *HORIZONS, _LAST]) * unit
    sol = jaxflow.simulate(
        data,
        network,
        jaxflow.GradientFlow(rtol=config["rtol"]),
        times=times,
        stop=SmallResiduals(config["small"]),
    )
    least = {key: float(value) for key, value in _least(data, sol.final).items()}
    loss = np.asarray(sol.loss, float)
    return {
        "n": n,
        "p": p,
        "limit": float(theory.limiting_curvature(data, sol.final)),
        **least,
        "curvature": np.asarray(sol.curvature, float)[1:-1],
        "average": np.log(loss[0] / loss[1:-1]) / times[1:-1],
        "end": float(sol.final_time) / unit,
    }


@jax.jit
def _least(data: jaxflow.Dataset, network: jaxflow.Network) -> dict[str, Array]:
    active = data.inputs.preactivations(network.w) > 0
    squares = network.a**2
    covered = jnp.sum(jnp.where(active, squares[:, None], 0), axis=0)
    diagonal = data.inputs.norms**2 * covered
    i = jnp.argmin(diagonal)
    return {
        "least": 2 * diagonal[i] / (data.num_examples * network.width),
        "count": jnp.sum(active[:, i]),
        "mean_square": jnp.mean(squares),
        "variation": jnp.std(squares) / jnp.mean(squares),
    }


def predicted(folder: Path, cells: Sequence[Cell], networks: int) -> xr.Dataset:
    """One row a cell: quantiles of √n μ_∞, the standard error of the median, the
    probability of coverage, and the mean and the variation of a_j²/√n."""
    names = [cell.name for cell in cells]
    config = {"networks": networks, "quantiles": list(QUANTILES)}
    rows = keep(folder, config, names, lambda name: _predict(name, networks))
    return rows.assign(inputs=("run", [cell.inputs for cell in cells]))


def _predict(name: str, networks: int) -> dict[str, Any]:
    inputs, n, p = name.split("-")
    # Wide networks vary less.
    count = max(networks // 10, min(networks, 100 * networks // int(p)))
    law = theory.limiting_curvature_law(float(n), int(p), inputs=inputs, networks=count)
    spread = law.squares.std(axis=1) / law.squares.mean(axis=1)
    return {
        "n": float(n),
        "p": int(p),
        "quantiles": law.quantile(QUANTILES),
        "error": law.median_error,
        "coverage": law.coverage,
        "mean_square": float(law.squares.mean()),
        "variation": float(spread.mean()),
    }
