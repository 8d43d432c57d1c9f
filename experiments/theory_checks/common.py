"""What the checks share: a row of the table, sizes, batches of runs."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxflow
from jaxflow import theory

# A bound that holds with equality may be missed by rounding; this is far above the
# rounding of a float64 and far below any margin that means something.
SLACK = 1e-9

YES, NO, NOT_CHECKED = "yes", "no", "not checked"


@dataclasses.dataclass(frozen=True)
class Row:
    """One statement.

    - `printed`, `corrected`: whether it holds as printed, and as its derivation gives
      it; starting with `YES`, `NO` or `NOT_CHECKED`, or "—" where there is no other
      form.
    - `margin`: how far it is from failing, or what was measured, in words.
    - `runs`: how many runs, draws or exact counts it rests on.
    - `numbers`: name → everything that was measured.
    """

    statement: str
    printed: str
    corrected: str
    margin: str
    runs: str
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Size:
    """How much of a check is run."""

    name: str

    def of(self, full: Any, quick: Any) -> Any:
        return full if self.name == "full" else quick


QUICK, FULL = Size("quick"), Size("full")


@functools.cache
def _sampler(n: int, d: int, p: int, inputs: Any, targets: Any, init: Any) -> Any:
    def one(key: Any) -> Any:
        return jaxflow.sample_problem(
            key, n=n, d=d, p=p, inputs=inputs, targets=targets, init=init
        )

    return jax.jit(jax.vmap(one))


def problems(
    keys: Any,
    *,
    n: int,
    d: int,
    p: int,
    inputs: Any = "orthogonal",
    targets: Any = "uniform",
    init: Any = "gaussian",
) -> tuple[jaxflow.Dataset, jaxflow.Network]:
    """One (Dataset, Network) per key, stacked on a leading axis."""
    return _sampler(n, d, p, inputs, targets, init)(keys)


def each(function: Callable[..., Any], *batched: Any) -> Any:
    """`function` over the leading axis of its arguments; NumPy arrays come back."""
    return jax.tree.map(np.asarray, jax.vmap(function)(*batched))


def trajectories(
    sampled: tuple[jaxflow.Dataset, jaxflow.Network],
    method: jaxflow.AbstractMethod,
    times: Any,
    observe: Mapping[str, Any] = {},
) -> jaxflow.Solution:
    """One run per problem, as NumPy arrays with a leading axis."""

    def one(data: jaxflow.Dataset, network: jaxflow.Network) -> Any:
        sol = jaxflow.simulate(data, network, method, times=times, observe=observe)
        return eqx.tree_at(lambda s: s.result, sol, None)

    return each(one, *sampled)


def grid(end: float, count: int) -> Any:
    """`count` times from 0 to `end`, denser at the start."""
    return end * jnp.linspace(0, 1, count) ** 2


def time_scale(n: int, p: int) -> float:
    return float(theory.time_scale(1.0 * n, 1.0 * p))


def verdict(holds: bool, why: str = "") -> str:
    return (YES if holds else NO) + (f": {why}" if why else "")
