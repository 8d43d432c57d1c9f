"""Orthogonal inputs: extinction, the ceiling of the curvature, groups (Section 4.1).

Lemma 7: a pair with a_j y_i < 0 loses w_j·x_i at a speed of at least
C_j |y_i| ‖x_i‖²/(2n) as long as |r_i| ≥ |y_i|/2, with C_j² = a_j(0)² − ‖w_j(0)‖², so it
is off by

    t_n = 2n max_ji (w_j(0)·x_i)_+/(|y_i| ‖x_i‖² C_j)                   (after eq. 41).

Proposition 1: from then on μ ≤ C √(p/n) max_i |1 − r_i/y_i| + C/n.
Proposition 2: p = n^{2α−1} groups of k = n^{2(1−α)}, K₁/n^α ≤ μ ≤ K₂/n^α.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import as_float_array, check_between, check_positive
from .._snapshot import Snapshot
from .._types import ArrayLike, Examples, Neurons, Number, Scalar
from ._domains import check_recorded, check_relu, check_sizes


def extinction_time(s: Snapshot) -> Scalar:
    """t_n of Lemma 7 as derived, with C_j; in units of flow time.

    `s` is that at t = 0, with orthogonal inputs and Assumption 1 with strict
    inequality, in a dimension so large that no |r_i| halves before t_n.

    Raises a ValueError for a leaky ReLU, where no pair ever switches off.
    """
    check_relu(s, "Lemma 7")
    return extinction_with(s, jnp.sqrt(s.balance))


def extinction_with(s: Snapshot, strength: Neurons) -> Scalar:
    return 2 * s.n * largest_time(s, strength)


def largest_time(s: Snapshot, strength: Neurons) -> Scalar:
    """max_ji (w_j·x_i)_+/(|y_i| ‖x_i‖² s_j) for strengths s (p,)."""
    speeds = jnp.abs(s.targets) * s.norms**2
    times = jax.nn.relu(s.preactivations) / speeds[None, :] / strength[:, None]
    return s.max_over_neurons(s.max_over_examples(times))


def ceiling_constant(s: Snapshot) -> Scalar:
    """C of Proposition 1, from eq. 51 with two repairs; `s` is that at t = 0.

    The largest of
    - t_n/n of Lemma 7, with C_j for C_j²;
    - 2 (C_x⁺)² max_i (1/p) Σ_j (a_j² − ‖w_j‖² + 2 ρ_j) 1_ji, with ρ_j the part of
      ‖w_j‖² that is not on active examples: eq. 49 has ρ_j = 0, but it is nearly all
      of ‖w_j‖² in high dimension, and it never moves;
    - 12 (C_x⁺)² C_y⁺/C_x⁻.

    Raises a ValueError for a leaky ReLU.
    """
    check_relu(s, "Proposition 1")
    lengths = jnp.where(s.present, s.norms, 1)
    coordinates = jax.nn.relu(s.preactivations) / lengths[None, :]
    idle = s.squared_norms - jnp.sum(coordinates**2, axis=1)
    first = largest_time(s, jnp.sqrt(s.balance))
    return ceiling_with(s, 2 * first, s.balance + 2 * idle)


def ceiling_with(s: Snapshot, first: Scalar, sizes: Neurons) -> Scalar:
    shortest, longest = s.min_over_examples(s.norms), s.max_over_examples(s.norms)
    second = 2 * longest**2 * s.max_over_examples(s.covered_by(sizes))
    third = 12 * longest**2 / shortest * s.max_over_examples(jnp.abs(s.targets))
    return jnp.maximum(first, jnp.maximum(second, third))


def curvature_ceiling(s: Snapshot, constant: Number) -> Scalar:
    """Eq. 8, the right-hand side: C √(p/n) max_i |1 − r_i/y_i| + C/n, for t ≥ C n.

    Raises a ValueError for a leaky ReLU."""
    check_relu(s, "Proposition 1")
    check_positive("constant", constant, strictly=False)
    n, p = s.n, s.p
    return jnp.asarray(constant) * (
        (p / n) ** 0.5 * s.max_over_examples(s.progress) + 1 / n
    )


class GroupBounds(eqx.Module):
    """K₁/n^α ≤ μ(t) ≤ K₂/n^α for t ≥ `time` (Proposition 2).

    - `lower`, `upper`: K₁/n^α and K₂/n^α. `time`: in units of flow time.
    """

    lower: Array
    upper: Array
    time: Array


def group_bounds(
    n: Number, alpha: Number, targets: Examples, squared_norms: Neurons
) -> GroupBounds:
    """Proposition 2 with the constants that the closed form gives.

    `targets`: y_i, shape (n,). `squared_norms`: ‖w_j(0)‖², shape (p,), each at most
    √(np) times the root mean square of the targets of its group.

    K₁ = 2 C_y⁻ min_j q/(4 + (1 + 2/e) q) with q = ‖w_j(0)‖², for any cosine between
    w_j(0) and the targets; K₂ = 4 C_y⁺; and the time n^α/(2 C_y⁻) log(n^α C_y⁺), at
    which each group has gone through e^{2γt} ≥ p √k ‖D_j‖ (see `GroupFlow`).
    """
    targets, squared_norms = as_groups(n, alpha, targets, squared_norms)
    sizes = jnp.abs(targets)
    least, most = jnp.min(sizes), jnp.max(sizes)
    scale = jnp.asarray(n) ** jnp.asarray(alpha)
    share = squared_norms / (4 + (1 + 2 / jnp.e) * squared_norms)
    return GroupBounds(
        lower=2 * least * jnp.min(share) / scale,
        upper=4 * most / scale,
        time=scale / (2 * least) * jnp.log(scale * most),
    )


def as_groups(
    n: Number, alpha: Number, targets: ArrayLike, squared_norms: ArrayLike
) -> tuple[Examples, Neurons]:
    """y_i and ‖w_j(0)‖² of Proposition 2."""
    check_sizes(n=n)
    check_between("alpha", alpha, 0.5, 1, ends="[]")
    norms = as_float_array("squared_norms", squared_norms, 1)
    check_positive("squared_norms", norms)
    return as_float_array("targets", targets, 1), norms


def log_ratio_curvature(before: Number, after: Number, step: Number = 1.0) -> Array:
    """log(L(t − h)/L(t))/h: the mean of μ over the last step of length h.

    Section 5.2's μ(t_∞), with h = 1. As h → 0 it tends to μ(t); as t → ∞ to the
    asymptotic rate, whatever h.
    """
    check_recorded(before=before, after=after)
    check_sizes(step=step)
    return jnp.log(jnp.asarray(before) / jnp.asarray(after)) / step


def windowed_curvature(
    times: Float[Array, " T"], loss: Float[Array, " T"], start: Number
) -> Scalar:
    """Minus the least-squares slope of log L over the times ≥ `start`: a mean of μ over
    a window, which tends to the asymptotic rate as the window moves to infinity.

    `loss` is positive within the window; NaN when fewer than two times are in it.
    """
    if jnp.ndim(times) != 1 or jnp.shape(times) != jnp.shape(loss):
        raise ValueError(
            "times and loss must be one number for each time, of shape (T,), got "
            f"{jnp.shape(times)} and {jnp.shape(loss)}."
        )
    check_recorded(times=times, loss=loss)
    inside = (times >= start).astype(times.dtype)
    count = jnp.sum(inside)
    values = jnp.log(jnp.where(inside > 0, loss, 1))
    centred = inside * (times - jnp.sum(inside * times) / count)
    return -jnp.sum(centred * values) / jnp.sum(centred**2)


def mean_curvature(start_loss: Number, loss: Number, time: Number) -> Array:
    """⟨μ(t)⟩ = log(L(0)/L(t))/t (Lemma 2; Section 5.2's ⟨μ_∞⟩ at t = t_∞).

    It tends to ⟨μ_∞⟩ as t → ∞, but with an error of order 1/t: the time before the
    examples are fitted counts in full. (Appendix B prints it without the 1/t.)
    """
    check_recorded(start_loss=start_loss, loss=loss, time=time)
    return jnp.log(jnp.asarray(start_loss) / jnp.asarray(loss)) / time
