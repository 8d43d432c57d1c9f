"""Small problems that meet every kink that the flow knows.

`cases()` are those with right values in a file, from an independent integration;
`converging()` end at zero loss, at n ≤ d, which none of the cases does;
`random_problem` draws more of each kind.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import jaxflow

CASES = Path(__file__).parents[1] / "tests" / "methods" / "flow_correlated.json"
# How the inputs, the labels or the start are special.
KINDS = (
    "generic",
    "duplicates",
    "doubled",
    "opposite",
    "nearly_equal",
    "nearly_opposite",
    "antipodal",
    "zero_labels",
    "small",
)
_N, _D, _P = 8, 4, 4
# n, d, p and a seed from which all examples come to be fitted.
_FITTED = (
    (1, 1, 1, 0),
    (2, 3, 2, 4),
    (3, 3, 3, 4),
    (4, 6, 4, 1),
    (6, 8, 5, 1),
    (8, 12, 5, 0),
)


class SmallProblem(NamedTuple):
    """x (n, d), y (n,), w (p, d), a (p,), and until when, in flow time."""

    x: Any
    y: Any
    w: Any
    a: Any
    end: float

    @property
    def data(self) -> jaxflow.Dataset:
        x = jnp.asarray(self.x, float)
        return jaxflow.Dataset(jaxflow.DenseInputs(x), jnp.asarray(self.y, float))

    @property
    def network(self) -> jaxflow.Network:
        return jaxflow.Network(jnp.asarray(self.w, float), jnp.asarray(self.a, float))

    def run(self, method: Any, times: Any = None) -> jaxflow.Solution:
        times = [self.end] if times is None else times
        return jaxflow.simulate(
            self.data, self.network, method, times=times, observe={}
        )


def cases() -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads(CASES.read_text(encoding="utf-8"))
    return read


def converging() -> dict[str, SmallProblem]:
    """By name: one to five neurons, from weights of size 1 and of 1e-4."""
    found = {}
    for n, d, p, seed in _FITTED:
        for scale in (1.0, 1e-4):
            name = f"n={n}, d={d}, p={p}, from {scale:g}"
            found[name] = _converging(n, d, p, seed, scale)
    return found


def _converging(n: int, d: int, p: int, seed: int, scale: float) -> SmallProblem:
    rng = np.random.default_rng([n, d, p, seed])
    x = rng.normal(size=(n, d))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = rng.choice([-1.0, 1.0], n) * rng.uniform(1, 2, n)
    # Neurons of both signs, each seeing most of the examples of its sign.
    a = np.where(np.arange(p) % 2 == 0, 1.0, -1.0)
    if p == 1:
        y, a = np.abs(y), np.abs(a)
    sees = rng.uniform(-0.5, 1, (p, n)) * np.sign(a[:, None] * y)
    w = sees @ np.linalg.pinv(x).T
    a *= np.linalg.norm(w, axis=1) + rng.uniform(0.1, 1, p)
    start = 8 * n * max(np.log(1 / scale), 0)
    return SmallProblem(x, y, scale * w, scale * a, float(12 * n + start))


def random_problem(kind: str, seed: int) -> SmallProblem:
    """One of `KINDS`: n = 8, d = p = 4."""
    rng = np.random.default_rng([KINDS.index(kind), seed])
    x = rng.normal(size=(_N, _D))
    x /= np.linalg.norm(x, axis=1, keepdims=True) / rng.uniform(1, 2, (_N, 1))
    half = x[: _N // 2]
    turned = half + 10 ** rng.uniform(-4, -1) * rng.normal(size=half.shape)
    other = {
        "duplicates": half,
        "doubled": 2 * half,
        "opposite": -rng.uniform(0.5, 2, (len(half), 1)) * half,
        "nearly_equal": turned,
        "nearly_opposite": -turned,
    }
    if kind in other:
        x = np.concatenate([half, other[kind]])
    if kind == "antipodal":
        axes = np.linalg.qr(rng.normal(size=(_D, _D)))[0]
        x = np.concatenate([axes, -axes]) * rng.uniform(1, 2, (_N, 1))
    y = rng.choice([-1.0, 1.0], _N) * rng.uniform(1, 2, _N)
    if kind == "zero_labels":
        y[rng.permutation(_N)[: _N // 2]] = 0
    w, a = rng.normal(size=(_P, _D)) / np.sqrt(_D), rng.normal(size=_P)
    if kind == "small":
        return SmallProblem(x, y, 1e-6 * w, 1e-6 * a, 60.0)
    return SmallProblem(x, y, w, a, 12.0)


def error_of_neurons(final: jaxflow.Network, w: Any, a: Any) -> float:
    """Of (w_j, a_j) over max(‖w_j‖, |a_j|), the worst neuron."""
    w, a = np.asarray(w), np.asarray(a)
    size = np.maximum(np.linalg.norm(w, axis=1), np.abs(a))
    gap = np.linalg.norm(np.asarray(final.w) - w, axis=1)
    gap = np.maximum(gap, np.abs(np.asarray(final.a) - a))
    return float(np.max(gap / np.where(size > 0, size, 1)))
