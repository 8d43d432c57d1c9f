"""Formulas as the paper prints them, where its derivation gives another.

The corrected form of each has the same name in `jaxflow.theory` (or the name that the
docstring gives). `docs/errata.md` has the derivations. Kept so that the two can be
compared; nothing else in the library uses them.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array

from .._checks import check_between, check_kind, check_positive
from .._linalg import product
from .._problem.dataset import Dataset
from .._snapshot import Snapshot
from .._types import Examples, Neurons, Number, Pairs, Scalar
from ._clt import (
    NeuronMoments,
    check_moments,
    covariance_matrix,
    first_part,
    orthogonal_variance,
    second_part,
)
from ._collapse import CollapseRange, as_preactivations, range_above
from ._curvature_bounds import lower_bound_with, rate_constant, upper_bound_with
from ._domains import check_relu, check_sizes, check_snapshot, check_width_of
from ._groups import GroupFlow, number_of_pairs
from ._orthogonal import (
    GroupBounds,
    as_groups,
    ceiling_with,
    extinction_with,
    largest_time,
)


def curvature_lower_bound(s: Snapshot) -> Scalar:
    """Lemma 6 as eq. 15 prints it, with C_x⁻ in place of (C_x⁻)²."""
    check_snapshot(s)
    return lower_bound_with(s, s.min_over_examples(s.norms))


def curvature_upper_bound(s: Snapshot) -> Scalar:
    """Lemma 6 as eq. 15 prints it, with C_x⁺ in place of (C_x⁺)²."""
    check_snapshot(s)
    return upper_bound_with(s, s.max_over_examples(s.norms))


def first_upper_bound(s: Snapshot) -> Scalar:
    """The first line of eq. 22, which has a_j² where eq. 19 gives a_j² + ‖w_j‖²:
    (2/np) Σ_j a_j² (‖P_j R‖²/‖R‖²) ((C_x⁺)² + N)."""
    check_relu(s, "the first line of eq. 22")
    r = s.residuals
    weighed = jnp.sum(r**2 * s.covered_by(s.a**2)) / jnp.sum(r**2)
    return 2 / s.n * (s.max_over_examples(s.norms) ** 2 + s.interaction) * weighed


def proved_rate_constant(norms: Examples, targets: Examples) -> Scalar:
    """(2 − √2) C, as in eq. 30."""
    return (2 - math.sqrt(2)) * rate_constant(norms, targets)


def necessary_width(n: Number, epsilon: Number) -> Array:
    """3 log(n/ε) − 2: the same, as Lemma 5 prints it."""
    check_width_of(n, epsilon)
    return 3 * jnp.log(jnp.asarray(n) / epsilon) - 2


def orthogonal_deviation(data: Dataset, moments: NeuronMoments) -> Scalar:
    """γ₀ as eq. 66 prints it, divided by ‖Ỹ‖² to make up for eq. 61; orthogonal inputs.

    The factor 2 of the cross terms of eq. 63 is missing, the two parts of A are treated
    as if uncorrelated, and the change of ‖R‖² with R is not there.
    """
    check_moments(data, moments)
    y = data.targets
    covariance = covariance_matrix(data, moments)
    variance = orthogonal_variance(data, moments)
    for matrix in (first_part(data, moments), second_part(data, moments)):
        b = product(matrix, y)
        variance = variance + jnp.sum(b * product(covariance, b))
    return jnp.sqrt(variance) / jnp.sum(y**2)


def extinction_time(s: Snapshot) -> Scalar:
    """t_n as Lemma 7 prints it, with C_j² in place of C_j."""
    check_relu(s, "Lemma 7")
    return extinction_with(s, s.balance)


def ceiling_constant(s: Snapshot) -> Scalar:
    """C of Proposition 1 as eq. 51 prints it; of its free index i, the largest."""
    check_relu(s, "Proposition 1")
    first = largest_time(s, s.balance)
    return ceiling_with(s, 2 * first, s.balance)


def group_bounds(
    n: Number, alpha: Number, targets: Examples, squared_norms: Neurons
) -> GroupBounds:
    """Proposition 2 as printed: K₁ = 2 C_y⁻ min_j q/(2 + q), K₂ = 4 C_y⁺ and
    t ≥ C n^{3α−1} log(Cn), C = max(α C_y⁻, (1/(2 C_y))^{1/α}); C_y⁻ is taken for C_y.
    """
    targets, squared_norms = as_groups(n, alpha, targets, squared_norms)
    sizes = jnp.abs(targets)
    least, most = jnp.min(sizes), jnp.max(sizes)
    n, alpha = jnp.asarray(n), jnp.asarray(alpha)
    constant = jnp.maximum(alpha * least, (1 / (2 * least)) ** (1 / alpha))
    share = squared_norms / (2 + squared_norms)
    return GroupBounds(
        lower=2 * least * jnp.min(share) / n**alpha,
        upper=4 * most / n**alpha,
        time=constant * n ** (3 * alpha - 1) * jnp.log(constant * n),
    )


def _check_flow(t: Number, flow: GroupFlow) -> None:
    check_kind("flow", flow, GroupFlow, "theory.GroupFlow(log_np=10.0)")
    check_positive("t", t, strictly=False)


def cosine(t: Number, n: Number, p: Number, flow: GroupFlow) -> Array:
    """cos(w_j, s_j y) as eq. 53 prints it, with twice the rate of eq. 52."""
    _check_flow(t, flow)
    rate = 2 * flow.target_norm / jnp.sqrt(number_of_pairs(n, p))
    return jnp.tanh(rate * t + jnp.arctanh(jnp.asarray(flow.cosine)))


def squared_norm(t: Number, n: Number, p: Number, flow: GroupFlow) -> Array:
    """‖w_j(t)‖² as eq. 55/67 print it, with c_n = 2‖D_j‖/√(np); t in flow time."""
    _check_flow(t, flow)
    root = jnp.sqrt(number_of_pairs(n, p))
    rate = 2 * flow.target_norm / root
    ceiling = root * flow.target_norm
    c, q = flow.cosine, flow.squared_norm
    growth = jnp.cosh(rate * t) + c * jnp.sinh(rate * t)
    total = jnp.sinh(rate * t) + c * (jnp.cosh(rate * t) - 1)
    return ceiling * q * growth / (ceiling + q * total)


def window_constant(epsilon: Number, target_norm: Number) -> Array:
    """C^j(ε) as eq. 74 prints it."""
    check_between("epsilon", epsilon, 0, 1)
    check_sizes(target_norm=target_norm)
    epsilon, target_norm = jnp.asarray(epsilon), jnp.asarray(target_norm)
    low, high = 1 - jnp.sqrt(epsilon), 1 - jnp.sqrt(1 - epsilon)
    return low / (1 + target_norm * low) * (1 + target_norm * high) / high


def window(epsilon: Number, target_norm: Number, log_np: Number) -> Array:
    """The window as eq. 12/73 and 74 print it: log C^j(ε)/(2 ‖D_j‖ log(np)).

    (Eq. 12 writes log(n) for log(np), the same to first order, and t(1−ε) − t(ε), which
    is negative.)
    """
    check_sizes(log_np=log_np)
    constant = window_constant(epsilon, target_norm)
    return jnp.log(constant) / (2 * jnp.asarray(target_norm) * log_np)


def collapse_range(preactivations: Pairs, target: Number) -> CollapseRange:
    """(z/y₁)^{1/2} 8/y₁ ≤ λ ≤ min z/max z, as eq. 77 prints it."""
    preactivations = as_preactivations(preactivations, target)
    largest, target = jnp.max(preactivations), jnp.asarray(target)
    return range_above(preactivations, jnp.sqrt(largest / target) * 8 / target)


def proof_collapse_range(preactivations: Pairs, target: Number) -> CollapseRange:
    """(8 z/y₁)^{1/2} ≤ λ ≤ min z/max z, as eq. 85 prints it."""
    preactivations = as_preactivations(preactivations, target)
    largest = jnp.max(preactivations)
    return range_above(preactivations, jnp.sqrt(8 * largest / jnp.asarray(target)))
