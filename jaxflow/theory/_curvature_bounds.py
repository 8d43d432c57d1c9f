"""The local-PL curvature μ = p‖∇L‖²/L and its bounds (Lemmas 1, 2, 6, Theorem 1).

With R the residuals and P_j the diagonal matrix of 1_ji, eq. 17 and 18 give

    μ = (2/np) Rᵀ M R/‖R‖²,   M = Σ_j P_j Xᵀ w_j w_jᵀ X P_j + a_j² P_j Xᵀ X P_j,

so μ lies between the ends of the spectrum of (2/np) M. Lemma 6 bounds these ends by

    μ ≥ (2/n) ((C_x⁻)² − N) min_i (1/p) Σ_j a_j² 1_ji                       (eq. 21)
    μ ≤ (2/n) ((C_x⁺)² + N) max_i (1/p) Σ_j (a_j² + ‖w_j‖²) 1_ji            (eq. 22)

with N = ‖XᵀX − D_X‖ and C_x^∓ the least and the largest ‖x_i‖. Eq. 15, which states the
lemma, prints C_x^∓ without the squares.

All of this is true of a leaky ReLU too, with P_j = diag(σ'(z_ji)) and σ'(z_ji)² in
place of the 1_ji of the bounds, and of a run at `rates`, where a_j² counts at the rate
of w and ‖w_j‖² at that of a. Theorem 1 (eq. 6) is not.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._checks import as_float_array, check_times, is_concrete
from .._linalg import product
from .._problem.activation import activate, gated
from .._problem.dataset import Dataset
from .._problem.network import Network, check_fit, residuals
from .._problem.tangent_kernel import tangent_kernel
from .._snapshot import Snapshot
from .._types import ArrayLike, Examples, Neurons, Number, Scalar
from ._domains import (
    as_norms_and_targets,
    check_relu,
    check_snapshot,
    check_width_of,
)


def balance(s: Snapshot) -> Neurons:
    """a_j² − ‖w_j‖², shape (p,): constant along the flow (Lemma 1); in a run at `rates`
    a_j²/rate_a − ‖w_j‖²/rate_w, NaN where a rate is 0."""
    check_snapshot(s)
    return s.balance


def average_curvature(
    times: Float[Array, " T"], curvature: Float[Array, " T"]
) -> Float[Array, " T"]:
    """⟨μ(t)⟩ = (1/t) ∫₀ᵗ μ, by the trapezium rule from samples of μ (Lemma 2).

    `times` start at 0, where the value is μ(0). Lemma 2 says that this equals
    (1/t) log(L(0)/L(t)), up to the error of the rule, of second order in the spacing.
    """
    times, curvature = as_samples(times, curvature)
    areas = 0.5 * (curvature[1:] + curvature[:-1]) * jnp.diff(times)
    mean = jnp.cumsum(areas) / times[1:]
    return jnp.concatenate([curvature[:1], mean])


def as_samples(times: ArrayLike, curvature: ArrayLike) -> tuple[Array, Array]:
    """Samples of μ from t = 0 on."""
    curvature = as_float_array("curvature", curvature, 1)
    times = check_times(times, curvature.dtype)
    if times.shape != curvature.shape:
        raise ValueError(
            "times and curvature must be one number for each time, got shapes "
            f"{times.shape} and {curvature.shape}."
        )
    if is_concrete(times) and np.asarray(times)[0] != 0:
        raise ValueError(f"times must start at 0, got {np.asarray(times)[0]}.")
    return times, curvature


def curvature_matrix(data: Dataset, network: Network) -> Float[Array, "n n"]:
    """(2/np) M of eq. 17, shape (n, n): μ is its Rayleigh quotient at the residuals.

    It is formed in full, at a cost of O(n² p).
    """
    check_fit(data, network)
    z, slope = data.inputs.preactivations(network.w), network.negative_slope
    activations = activate(z, slope)
    sizes = gated(jnp.abs(network.a)[:, None], z > 0, slope)
    matrix = product(activations.T, activations)
    matrix = matrix + data.inputs.gram() * product(sizes.T, sizes)
    return 2 / (data.num_examples * network.width) * matrix


def curvature(data: Dataset, network: Network) -> Scalar:
    """μ (eq. 5), from eq. 18."""
    r = residuals(data, network)
    matrix = curvature_matrix(data, network)
    return jnp.sum(r * product(matrix, r)) / jnp.sum(r**2)


def limiting_curvature(
    state: Snapshot | Dataset, network: Network | None = None
) -> Scalar:
    """2 λ_min of the tangent kernel, of a snapshot or of (data, network): where a run
    has converged to it, the limit of μ(t), and of ⟨μ(t)⟩, as t → ∞.

    (Near a global minimum the kernel is constant and every mode of R decays with twice
    an eigenvalue as the rate of its square; the slowest prevails, unless R has no part
    in it. Where no pair slides this is the least eigenvalue of (2/np) M of eq. 17.)

    Raises a TypeError for a snapshot with a network, or data without one.
    """
    if isinstance(state, Snapshot):
        if network is None:
            return 2 * state.tangent_kernel.smallest
    elif network is not None:
        return 2 * tangent_kernel(state, network).smallest
    raise TypeError(
        "limiting_curvature takes a Snapshot, or a Dataset and a Network; got a "
        f"{type(state).__name__} and a {type(network).__name__}."
    )


def curvature_lower_bound(s: Snapshot) -> Scalar:
    """Lemma 6 as proved (eq. 21), with σ'² for 1_ji of a leaky ReLU."""
    check_snapshot(s)
    return lower_bound_with(s, s.min_over_examples(s.norms) ** 2)


def curvature_upper_bound(s: Snapshot) -> Scalar:
    """Lemma 6 as proved (eq. 19, 20; the last line of eq. 22), with σ'² for 1_ji of a
    leaky ReLU."""
    check_snapshot(s)
    return upper_bound_with(s, s.max_over_examples(s.norms) ** 2)


def lower_bound_with(s: Snapshot, scale: Scalar) -> Scalar:
    least = s.min_over_examples(s.covered_by(s.problem.at_rate_w(s.a**2)))
    return 2 / s.n * (scale - s.interaction) * least


def upper_bound_with(s: Snapshot, scale: Scalar) -> Scalar:
    first, second = s.problem.at_rate_w(s.a**2), s.squared_norms
    sizes = first + s.problem.at_rate_a(second)
    most = s.max_over_examples(s.covered_by(sizes))
    return 2 / s.n * (scale + s.interaction) * most


def rate_constant(norms: Examples, targets: Examples) -> Scalar:
    """C = (C_x⁻)² C_y⁻/C_x⁺ of Theorem 1: ⟨μ_∞⟩ ≥ C/n."""
    norms, targets = as_norms_and_targets(norms, targets)
    return _rate(jnp.min(norms), jnp.max(norms), jnp.min(jnp.abs(targets)))


def _rate(shortest: Scalar, longest: Scalar, least_target: Scalar) -> Scalar:
    return shortest**2 * least_target / longest


def proved_rate_constant(norms: Examples, targets: Examples) -> Scalar:
    """C with the factor 2 (1 − C_y⁻/(√n C_y⁺)) that eq. 24, 29 and Assumption 2 give.

    It is at least 1 for n ≥ 4, where the constant of the statement follows, and at
    least 2 − √2, the factor that eq. 30 prints, for n ≥ 2.
    """
    norms, targets = as_norms_and_targets(norms, targets)
    sizes = jnp.abs(targets)
    ratio = jnp.min(sizes) / (jnp.sqrt(1.0 * targets.shape[0]) * jnp.max(sizes))
    if targets.shape[0] == 1:
        ratio = jnp.zeros_like(ratio)
    return 2 * (1 - ratio) * rate_constant(norms, targets)


def curvature_floor(s: Snapshot) -> Scalar:
    """Eq. 6, the right-hand side: (C/n) min_i |1 − r_i/y_i|, for Assumptions 1, 2.

    Raises a ValueError for a leaky ReLU."""
    check_relu(s, "eq. 6")
    constant = _rate(
        s.min_over_examples(s.norms),
        s.max_over_examples(s.norms),
        s.min_over_examples(jnp.abs(s.targets)),
    )
    return constant / s.n * s.min_over_examples(s.progress)


def theorem_width(n: Number, epsilon: Number) -> Array:
    """⌈4 log(n/ε)⌉, the least width of Theorem 1."""
    check_width_of(n, epsilon)
    return jnp.ceil(4 * jnp.log(jnp.asarray(n) / epsilon))


def corollary_width(n: Number, epsilon: Number) -> Array:
    """⌈8 log(n/ε)⌉, the least width of Corollary 1."""
    check_width_of(n, epsilon)
    return jnp.ceil(8 * jnp.log(jnp.asarray(n) / epsilon))
