"""How large the neurons are when a network on orthogonal inputs has converged.

On orthogonal inputs the flow couples the examples through the sizes a_j alone. With
v_ji = w_j·x_i/ρ_i, ρ_i = ‖x_i‖ and the clock dτ = dt/n it reads

    v_ji' = a_j ρ_i r_i 1_ji,   r_i = y_i − (ρ_i/p) Σ_j a_j (v_ji)_+,                (1)
    a_j² = a_j(0)² + Σ_i [(v_ji)_+² − (v_ji(0))_+²],                      (Lemma 1)  (2)

since what is negative stays as it is. A pair with a_j y_i < 0 only loses, the others
only gain, so that the neurons of either sign see the examples of their own sign alone,
half of which each is active on, from coordinates v_ji(0) ~ N(0, 1/d).

**Closure.** Two things are taken for their averages over the other neurons. In the
example i that neuron j is active on, its own part of the output is a_j v_ji, and that
of all others ā v̄ Σ_{q≠j, q∋i} a_q²/ā², where v̄ grows as (1) says for a neuron of the
root mean square ā: the v_qi of an example are taken to be in proportion to a_q. And the
sum over i in (2) is the number of examples times a mean over examples, of which

    ρ, |y|, |v(0)| and the set of the neurons that are active

are independent, so that M points stand for all of them. What is left is a flow of p
numbers a_j, in the clock dθ = ā dτ of geometrically growing steps.

**Fluctuations.** The K_j ≈ n/4 examples of neuron j fluctuate, by 1/√n: to first order
their Σ ρ²y² is multiplied by 1 + ξ_j (E[ρ⁴]E[y⁴]/(E[ρ²]²E[y²]² n_±))^½, with ξ_j
normal.

**The scale.** At interpolation Σ_{j∋i} a_j v_ji = p |y_i|/ρ_i, so that with v_ji in
proportion to a_j

    v_ji = p |y_i| a_j/(ρ_i S_i),   S_i = Σ_{j∋i} a_j²,                              (3)

and summing (2) over the neurons of a sign gives, exactly in its law of the a_j²,

    Σ_j (a_j² − b_j) = n_± p² E[y²] E[1/ρ²] E[1/S],   b_j = a_j(0)² − Σ_i (v_ji(0))_+²,

by which the a_j² of the closure are multiplied by a common factor. With equal a_j² and
without b this is a_j² = A_p √n, A_p = (p E[1/k] E[y²] E[1/ρ²])^½.

**As n → ∞** the growth from the start is long. While r ≈ y, a_j is a function of
I = ∫ a_j dτ by (2) alone, and it ends in c(a_j(0)) e^{Gτ} with one rate G: so a_j²/a_q²
tends to c(a_j(0))²/c(a_q(0))². What the saturation does to it is of order 1/p.
"""

import dataclasses
import statistics

import numpy as np

# Points that stand for the examples of a sign, and steps of the clock.
_POINTS, _STEPS = 128, 80
# Networks that are stepped together: as many as stay in the cache.
_TOGETHER = 8
# |y| ~ U(1, 2).
_LEAST_TARGET, _LARGEST_TARGET = 1.0, 2.0


def uniform_moment(low: float, high: float, power: int) -> float:
    """E[x^power] of x ~ U(low, high); power ≠ −1."""
    if low == high:
        return low**power
    return (high ** (power + 1) - low ** (power + 1)) / (power + 1) / (high - low)


def target_moment(power: int) -> float:
    """E[|y|^power]."""
    return uniform_moment(_LEAST_TARGET, _LARGEST_TARGET, power)


def uniform_nodes(low: float, high: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss's points and weights for means over U(low, high)."""
    if low == high:
        return np.array([low]), np.ones(1)
    x, w = np.polynomial.legendre.leggauss(count)
    return low + (high - low) * (x + 1) / 2, w / 2


def target_nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    return uniform_nodes(_LEAST_TARGET, _LARGEST_TARGET, count)


@dataclasses.dataclass(frozen=True)
class Points:
    """Examples of one sign, each as likely: ρ, |y|, √n |v(0)| on the active ones, and
    which of p neurons are active; shapes (M,) and (M, p)."""

    norm: np.ndarray
    target: np.ndarray
    start: np.ndarray
    active: np.ndarray

    @classmethod
    def draw(
        cls,
        norms: tuple[float, float],
        aspect: float,
        p: int,
        rng: np.random.Generator,
        count: int = _POINTS,
    ) -> "Points":
        """`aspect`: n/d."""
        # A lattice of irrational slopes, far more even than random points.
        slopes = 1.2207440846057596 ** -np.arange(1.0, 4)
        u = (0.5 + np.arange(1, count + 1)[:, None] * slopes) % 1
        half_normal = np.sqrt(2) * _inverse_erf(u[:, 2])
        half_normal /= np.sqrt(np.mean(half_normal**2))
        # Each neuron is active on just half of them.
        coins = rng.integers(0, 2, (count // 2, p)).astype(float)
        active = rng.permutation(np.concatenate([coins, 1 - coins]))
        return cls(
            norms[0] + (norms[1] - norms[0]) * u[:, 0],
            _LEAST_TARGET + (_LARGEST_TARGET - _LEAST_TARGET) * u[:, 1],
            np.sqrt(aspect) * half_normal,
            active,
        )


def _inverse_erf(x: np.ndarray) -> np.ndarray:
    normal = statistics.NormalDist()
    return np.array([normal.inv_cdf(0.5 + each / 2) for each in x]) / np.sqrt(2)


def final_squares(
    n: float,
    a: np.ndarray,
    same: np.ndarray,
    noise: np.ndarray,
    norms: tuple[float, float],
    aspect: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """a_j² at the end, for the neurons of one sign.

    - `a`: |a_j(0)|, shape (networks, p), and 0 where a neuron has the other sign.
    - `same`: how many of the n examples have this sign, shape (networks,).
    - `noise`: ξ_j, shape (networks, p).
    - `norms`: between which ‖x_i‖ is uniform.
    - `aspect`: n/d.
    """
    p, there, parts = a.shape[1], a > 0, []
    for first in range(0, len(a), _TOGETHER):
        part = slice(first, first + _TOGETHER)
        # Points of their own, so that what they miss averages out over networks.
        points = Points.draw(norms, aspect, p, rng)
        parts.append(_closure(n, a[part], same[part], noise[part], points, norms))
    squares = np.concatenate(parts)
    at_rest = np.where(there, a**2 - aspect / 2, 0).sum(1)
    total = squares.sum(1)
    moments = target_moment(2) * uniform_moment(*norms, -2)
    sources = same * p**2 * moments * mean_inverse(squares, there)
    # factor·total − at_rest = sources/factor
    factor = (at_rest + np.sqrt(at_rest**2 + 4 * total * sources)) / (2 * total)
    return factor[:, None] * squares


def _closure(
    n: float,
    a: np.ndarray,
    same: np.ndarray,
    noise: np.ndarray,
    points: Points,
    norms: tuple[float, float],
) -> np.ndarray:
    """The flow of p numbers, in the units √n v for v and √n τ for the clock."""
    there, count = a > 0, np.sum(a > 0, axis=1)
    norm, target, active = points.norm, points.target, points.active
    fourth = uniform_moment(*norms, 4) * target_moment(4)
    fourth /= (uniform_moment(*norms, 2) * target_moment(2)) ** 2
    spread = np.sqrt(fourth / same)[:, None]
    # Where it would be negative, n is too small for the first order.
    right = same[:, None] / (2 * n) * np.maximum(1 + spread * noise, 0.1)
    wrong = ((n - same) / (2 * n))[:, None]
    square_start = np.mean(points.start**2)
    own = np.broadcast_to(points.start, (*a.shape, len(norm)))
    # E|g| = √(2/π) E[g²]^½ of the other neurons.
    rest = np.full(own.shape, np.sqrt(2 / np.pi * square_start))
    travelled = np.zeros(a.shape)

    def squares(own: np.ndarray, travelled: np.ndarray) -> np.ndarray:
        lost = points.start - norm * target * travelled[..., None]
        change = right * (np.mean(own**2, axis=2) - square_start)
        change += wrong * (np.mean(np.maximum(lost, 0) ** 2, axis=2) - square_start)
        return np.where(there, np.maximum(a**2 + change, 1e-9), 0)

    def advance(state: tuple, at: np.ndarray, step: float) -> tuple:
        """Both kinds of v over a step, with the a_j as they are at one moment of it."""
        own, rest, travelled = state
        mean = at.sum(1) / count
        ratio = at / mean[:, None]
        others = (ratio @ active.T)[:, None, :] - ratio[..., None] * active.T
        speed = norm / a.shape[1] / np.sqrt(n) * np.sqrt(mean)[:, None, None]
        size = np.sqrt(ratio)[..., None]
        by_own, by_rest = speed * size, speed * np.maximum(others, 0)
        decay = norm * (by_own * size + by_rest)
        residual = target - by_own * own - by_rest * rest
        # The residual decays exponentially. One without neurons stays.
        grown = np.where(decay > 0, -np.expm1(-decay * step), 0)
        gain = norm * residual * grown / np.maximum(decay, 1e-300)
        return own + size * gain, rest + gain, travelled + size[..., 0] * step

    # The examples are fitted at θ of order n^¼.
    clock = np.concatenate([[0], np.geomspace(0.03, 30 * n**0.25, _STEPS)])
    state = (own, rest, travelled)
    at = squares(own, travelled)
    for step in np.diff(clock):
        half, _, halfway = advance(state, at, step / 2)
        state = advance(state, squares(half, halfway), step)
        at = squares(state[0], state[2])
    return at


def mean_inverse(squares: np.ndarray, there: np.ndarray) -> np.ndarray:
    """E[1/S | S > 0] of S = Σ_j B_j a_j² with fair coins B_j, by ∫₀^∞ E e^{−uS} du."""
    x, w = uniform_nodes(0.0, 1.0, 80)
    # u = x/(1 − x) in units of 1/E[S].
    unit = 2 / squares.sum(1)[:, None]
    u, weight = unit * x / (1 - x), unit * w / (1 - x) ** 2
    each = np.log1p(np.exp(-squares[:, :, None] * u[:, None, :])) - np.log(2)
    transform = np.exp(np.sum(np.where(there[..., None], each, 0), axis=1))
    none = 0.5 ** there.sum(1)
    return np.sum(weight * (transform - none[:, None]), axis=1) / (1 - none)


def growth_constant(
    a: np.ndarray, points: Points, steps: int = 4000, end: float = 1e3
) -> np.ndarray:
    """c(a(0)) of the long growth, a → c e^{Gτ}, shape of `a`: by τ = ∫ dI/a(I)."""
    reached = np.concatenate([[0], np.geomspace(1e-4, end, steps)])
    push = points.norm * points.target
    gains = np.array(
        [
            np.mean((points.start + push * i) ** 2)
            + np.mean(np.maximum(points.start - push * i, 0) ** 2)
            - 2 * np.mean(points.start**2)
            for i in reached
        ]
    )
    sizes = np.sqrt(np.asarray(a)[..., None] ** 2 + gains / 4)
    rate = np.sqrt(np.mean(push**2)) / 2
    tau = np.sum((1 / sizes[..., 1:] + 1 / sizes[..., :-1]) / 2 * np.diff(reached), -1)
    return sizes[..., -1] * np.exp(-rate * tau)
