"""Conjecture 1 on orthogonal inputs: the law of √n μ_∞, derived.

Late in a run r' = −M r, with np M = diag(D_i) + Σ_j z_j z_jᵀ and D_i = ρ_i² S_i, where
S_i = Σ_{j∋i} a_j² is over the neurons that are active on example i, those of its sign;
μ_∞ = 2 λ_min(M). It is decided by the least covered example. Given the final a_j² of
all others (`_final_weights`), take one example with norm ρ, target y, and S = Σ_{j∋i}
a_j² of fair coins, and let t = p² y²/ρ².

**The example's own push.** It is fitted last and by few neurons, on which its own
v_ji = p|y| a_j/(ρ S') tell: a_j² gains v_ji², of which the other examples take a part
back, since what they have fitted has to stay. To first order in dv the answer of the
a_j is (I + B)⁻¹, with B_jq = Σ_i z_ji z_qi/D_i over the others of that sign. B has the
eigenvector (a_j) with eigenvalue 1, by the balance a_j² ≈ Σ_i v_ji², and is about
a_j²/Σ_q a_q² across it. With T = Σ_q a_q² and e = Σ_q a_q⁴/T²

    S' = S (1 − 1/K) + t φ(S'),   φ(S') = 1/(S'(1 + e)) − 1/(T (1 + e)(2 + e)),

K = n_±/2 the number of examples of a neuron, whose typical part is what 1/K takes off.

**The part of rank p.** By the Schur complement of that example
λ = D + z_iᵀ(I + B)⁻¹z_i = ρ² S' + ρ² t φ(S'): the same number again. So, with
β = S (1 − 1/K) − t/(T (1 + e)(2 + e)),

    Λ(S, ρ, y) = ρ² [(β² + 4t/(1 + e))^½ − t/(T (1 + e)(2 + e))],

and λ_min = min_i Λ_i/np. Both parts are of relative order p²/n.

**The minimum.** Given the a_j², the examples are independent, so that P(min Λ > x) is
P(Λ > x | S > 0)^{n₊} for the neurons of one sign times the same for the other; S has
the law of Σ_j B_j a_j², by convolution. Given that every example is covered, the number
of neurons of a sign has its binomial weight times (1 − 2^{−p₊})^{n₊}(1 − 2^{−p₋})^{n₋}.
The law of μ_∞ is the mean over networks.

**As n → ∞** with p = c log(n/ε)/log(4/3), a_j² = A √n X_j with A² = 4 E[y²] E[1/ρ²] and
X = c(a(0))²/E[c(a(0))²]. Of n examples the least S is (p/2) A √n s, where a sum of
B_j X_j over p/2 neurons that are *given* has probability 1/n to be as small (Cramér):

    sup_u {−u s − E log((1 + e^{−uX})/2)} = 2 log(4/3)/c,

and ρ = min ρ costs no more than a power of the distance. So √n μ_∞ → C₂(c) with
C₂(c) = A s ρ_min². The left side is at most log 2, at s = 0: C₂(c) = 0 up to
c₀ = 2 log(4/3)/log 2 ≈ 0.830. The limit is reached slowly, as log log n/log n.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from .._checks import (
    check_between,
    check_choice,
    check_count,
    check_positive,
    check_single,
)
from .._types import Number
from ._final_weights import (
    Points,
    final_squares,
    growth_constant,
    target_moment,
    target_nodes,
    uniform_moment,
    uniform_nodes,
)

# The laws of the inputs by their norms.
_NORMS = {"orthogonal": (1.0, 2.0), "orthonormal": (1.0, 1.0)}
# c₀: below it, √n μ_∞ tends to 0.
CRITICAL_WIDTH_RATIO = 2 * math.log(4 / 3) / math.log(2)
# Averages over the n/4 examples of a neuron are taken for their means.
_FEWEST = 50
# What is known of so unlikely an event rests on a few networks.
_RAREST = 1e-6
# √n μ_∞ at which the law is tabulated, and sums of a_j² in units of their total.
_VALUES = np.geomspace(1e-3, 10, 700)
_SUMS = 1500


@dataclasses.dataclass(frozen=True)
class LimitingCurvatureLaw:
    """The predicted law of √n μ_∞, given that every example is covered.

    - `values`, `probability`: P(√n μ_∞ ≤ value), shapes (m,).
    - `squares`: a_j²/√n at the end of the networks that it is a mean over, shape
      (networks, p).
    - `coverage`: the probability that every example is covered.
    - `spread`: the standard error of `probability`, shape (m,), as few networks stand
      for all.
    """

    values: np.ndarray
    probability: np.ndarray
    squares: np.ndarray
    coverage: float
    spread: np.ndarray

    def quantile(self, q: Any) -> np.ndarray:
        """√n μ_∞ below which a share `q` of the networks lies, shape of `q`.

        Raises a ValueError unless 0 < q < 1."""
        q = np.asarray(q, float)
        if not np.all((q > 0) & (q < 1)):
            raise ValueError(f"q must lie between 0 and 1, got {q}.")
        rising = np.concatenate([[True], np.diff(self.probability) > 0])
        logs = np.interp(q, self.probability[rising], np.log(self.values[rising]))
        return np.asarray(np.exp(logs))

    @property
    def median(self) -> float:
        return float(self.quantile(0.5))

    @property
    def median_error(self) -> float:
        """The standard error of the median, as few networks stand for all."""
        spread = float(np.interp(self.median, self.values, self.spread))
        low, high = np.clip([0.5 - spread, 0.5 + spread], 1e-3, 1 - 1e-3)
        return float(self.quantile(high) - self.quantile(low)) / 2


def limiting_curvature_law(
    n: Number,
    p: Number,
    *,
    d: Number | None = None,
    inputs: str = "orthogonal",
    networks: Number = 1000,
    seed: int = 0,
) -> LimitingCurvatureLaw:
    """The predicted law of √n μ_∞ of networks that converge, on orthogonal inputs.

        law = theory.limiting_curvature_law(10_000, 43)
        law.median, law.quantile([0.05, 0.95])

    For the laws of Appendix B: |a_j| − ‖w_j‖ ~ Exp(1), |y_i| ~ U(1, 2), fair signs.
    Derived in this module's docstring; no flow of a network is simulated, and nothing
    is fitted. NumPy, in float64: it is not traced by JAX. A thousand networks of 40
    neurons take some twenty seconds, whatever n.

    **Arguments:**

    - `n`: the number of examples, from 50 on; as large as 10³⁰.
    - `p`: the number of neurons.
    - `d`: the dimension, n or more; left out, n.
    - `inputs`: "orthogonal" (‖x_i‖ ~ U(1, 2)) or "orthonormal" (‖x_i‖ = 1).
    - `networks`: how many draws of a(0) it is a mean over.
    - `seed`: of these.

    Raises a ValueError when n < 50, d < n, a name is unknown, or the probability that
    every example is covered is below 10⁻⁶.
    """
    n, d = _sizes(n, d)
    p = check_count("p", p)
    check_choice("inputs", inputs, _NORMS)
    networks = check_count("networks", networks)
    norms = _NORMS[inputs]
    rng = np.random.default_rng(seed)
    positive_examples = _binomial(rng, n, networks)
    coverage, positive = _covered_signs(rng, n, p, positive_examples)
    first = np.sqrt(rng.gamma(d / 2, 2 / d, (networks, p)))
    a = first + rng.exponential(1.0, (networks, p))
    noise = rng.standard_normal((networks, p))
    is_positive = np.arange(p) < positive[:, None]
    squares, survival = np.zeros((networks, p)), np.zeros((networks, len(_VALUES)))
    levels = _VALUES * p * math.sqrt(n) / 2
    for there, same in (
        (is_positive, positive_examples),
        (~is_positive, n - positive_examples),
    ):
        final = final_squares(n, np.where(there, a, 0), same, noise, norms, n / d, rng)
        for k in range(networks):
            below = _one_example(final[k, there[k]], same[k], p, norms, levels)
            survival[k] += same[k] * np.log1p(-np.minimum(below, 1 - 1e-15))
        squares += final
    each = -np.expm1(survival)
    return LimitingCurvatureLaw(
        values=_VALUES,
        probability=each.mean(0),
        squares=squares / math.sqrt(n),
        coverage=coverage,
        spread=each.std(0) / math.sqrt(networks),
    )


def limiting_curvature_constant(
    c: Number, *, inputs: str = "orthogonal", aspect: Number = 1.0
) -> float:
    """C₂(c): the limit of √n μ_∞ as n → ∞ with p = c log(n/ε)/log(4/3) neurons.

    It is 0 for c ≤ `theory.CRITICAL_WIDTH_RATIO`, and grows to A ρ_min²/2 as c → ∞, to
    1.08 for Appendix B. `inputs` as in `limiting_curvature_law`; `aspect` is n/d, in
    [0, 1]. In this module's docstring.

    Raises a ValueError when c is not positive, or `aspect` not in [0, 1].
    """
    check_single("c", c)
    check_positive("c", c)
    check_choice("inputs", inputs, _NORMS)
    check_single("aspect", aspect)
    check_between("aspect", aspect, 0, 1, ends="[]")
    c, aspect = float(c), float(aspect)
    if c <= CRITICAL_WIDTH_RATIO:
        return 0.0
    norms = _NORMS[inputs]
    # a(0) = 1 + Exp(1) by its quantiles.
    u, weight = uniform_nodes(0.0, 1.0, 200)
    points = Points.draw(norms, aspect, 1, np.random.default_rng(0), 512)
    sizes = growth_constant(1 - np.log1p(-u), points) ** 2
    sizes /= np.sum(weight * sizes)
    wanted = 2 * math.log(4 / 3) / c

    def share(log_u: float) -> float:
        x = np.exp(log_u) * sizes
        return float(np.sum(weight * sizes / (1 + np.exp(np.minimum(x, 700)))))

    def rate(log_u: float) -> float:
        x = np.exp(log_u) * sizes
        logs = np.sum(weight * (np.log1p(np.exp(-x)) - math.log(2)))
        return float(-np.exp(log_u) * share(log_u) - logs)

    low, high = -20.0, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if rate(middle) < wanted else (low, middle)
    size = 2 * math.sqrt(target_moment(2) * uniform_moment(*norms, -2))
    return size * share(low) * norms[0] ** 2


def _sizes(n: Any, d: Any) -> tuple[float, float]:
    for name, value in (("n", n), ("d", n if d is None else d)):
        check_single(name, value)
        check_positive(name, value)
    n, d = float(n), float(n if d is None else d)
    if n < _FEWEST:
        raise ValueError(
            f"n must be at least {_FEWEST}, since means over the examples of a neuron "
            f"are taken, got {n:g}; limiting_curvature(data, network) is exact."
        )
    if d < n:
        raise ValueError(f"d = {d:g} dimensions hold no n = {n:g} orthogonal inputs.")
    return n, d


def _binomial(rng: np.random.Generator, n: float, count: int) -> np.ndarray:
    if n < 1e9:
        return rng.binomial(int(n), 0.5, count).astype(float)
    return n / 2 + math.sqrt(n) / 2 * rng.standard_normal(count)


def _covered_signs(
    rng: np.random.Generator, n: float, p: int, positive_examples: np.ndarray
) -> tuple[float, np.ndarray]:
    """The probability of coverage, and numbers of neurons with a_j > 0 given it."""
    m = np.arange(p + 1)
    logs = np.array([math.lgamma(p + 1) - math.lgamma(k + 1) for k in m])
    logs -= np.array([math.lgamma(p - k + 1) for k in m]) + p * math.log(2)
    # log(1 − 2^−m), and −inf for no neuron.
    each = np.concatenate([[-np.inf], np.log1p(-(0.5 ** m[1:]))])
    same = positive_examples[:, None]
    logs = logs + same * each + (n - same) * each[::-1]
    chances = np.cumsum(np.exp(logs), axis=1)
    # Rounding may lead beyond 1.
    coverage = min(float(np.mean(chances[:, -1])), 1.0)
    if coverage < _RAREST:
        raise ValueError(
            f"p = {p} neurons cover all of n = {n:g} examples with probability "
            f"{coverage:.2g}, so there are no networks to speak of: take a larger p, "
            "as jaxflow.width_rule(n) gives."
        )
    drawn = rng.random(len(chances)) * chances[:, -1]
    return coverage, np.sum(chances <= drawn[:, None], axis=1)


def _one_example(
    squares: np.ndarray,
    same: float,
    p: int,
    norms: tuple[float, float],
    levels: np.ndarray,
) -> np.ndarray:
    """P(Λ ≤ level | S > 0) for one example of the sign of these neurons."""
    total = squares.sum()
    chances, step = subset_sums(squares)
    # From the middle between the sums on; the neuron-less example is left out.
    chances[0] = 0
    heights = np.concatenate([[0], np.cumsum(chances)]) / (1 - 0.5 ** len(squares))
    edges = (np.arange(len(heights)) - 0.5) * step
    unequal = np.sum(squares**2) / total**2
    norm, norm_weight = uniform_nodes(*norms, 8)
    target, target_weight = target_nodes(3)
    rho, y = norm[:, None, None], target[None, :, None]
    t = (p * y / rho) ** 2
    shared = t / (total * (1 + unequal) * (2 + unequal))
    # β² at which Λ is the level; below Λ's least value there is none.
    squared = (levels / rho**2 + shared) ** 2 - 4 * t / (1 + unequal)
    sums = (np.sqrt(np.maximum(squared, 0)) + shared) / (1 - 2 / same)
    below = np.where(squared > 0, np.interp(sums, edges, heights), 0)
    weight = norm_weight[:, None, None] * target_weight[None, :, None]
    return np.sum(weight * below, axis=(0, 1))


def subset_sums(squares: np.ndarray, count: int = _SUMS) -> tuple[np.ndarray, float]:
    """The law of Σ_j B_j a_j² with fair coins B_j, on a grid of sums from 0 on, and the
    grid's step, a share 1/`count` of the total. A sum between two points is shared by
    them."""
    step = float(squares.sum()) / count
    # Shared each time, the largest sums reach beyond the total.
    law = np.zeros(count + 1 + len(squares))
    law[0] = 1.0
    for square in squares:
        place, rest = divmod(square / step, 1)
        place = int(place)
        moved = np.zeros_like(law)
        moved[place:] += (1 - rest) * law[: len(law) - place]
        moved[place + 1 :] += rest * law[: len(law) - place - 1]
        law = (law + moved) / 2
    return law, step
