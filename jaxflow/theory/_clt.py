"""Lemma 4: the curvature at the start, μ(0), as the width p grows.

With G_j(R) = (w_jᵀ X P_j R)² + a_j² ‖X P_j R‖², eq. 18 says

    (n/2) μ(0) = (1/p) Σ_j G_j(R)/‖R‖².

(Eq. 61 leaves out ‖R‖², and Lemma 4 has 2/n for n/2.) R itself is an average over the
neurons, R = Y − (1/p) Σ_j a_j (z_j)_+, and tends to Ỹ = Y − E[a z_+]. Linearised about
Ỹ, the ratio is an average of independent terms, so that

    √p ((n/2) μ(0) − β₀) → N(0, γ₀²),
    β₀ = ỸᵀAỸ/‖Ỹ‖²,   A = E[P Xᵀ w wᵀ X P + a² P Xᵀ X P],
    γ₀² = Var(G(Ỹ) − 2 bᵀ a z_+)/‖Ỹ‖⁴,   b = AỸ − β₀ Ỹ.

For fair signs of a, independent of the rest, Ỹ = Y, and the two terms in the variance
are uncorrelated: G is even in a, a z_+ is odd.

For w with a uniformly random direction u independent of r = ‖w‖, and |a| a function of
r and of independent noise, A and V = Cov(a z_+) are arc-cosine kernels, with θ_ik the
angle between x_i and x_k:

    E[1_i 1_k] = (π − θ)/2π,
    d E[(u·x_i)_+ (u·x_k)_+] = ‖x_i‖ ‖x_k‖ (sin θ + (π − θ) cos θ)/2π.

Var G has a closed form for orthogonal inputs and Gaussian w; in general it holds
probabilities of four half-spaces at a time, which have none: `sampled_limit` estimates
it from neurons drawn from their law.
"""

import math

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from .._checks import check_kind, check_positive
from .._linalg import product
from .._problem.activation import activate, gated
from .._problem.dataset import Dataset
from .._problem.network import Network, check_fit
from .._sampling.initialisation import Initialisation
from .._types import Examples, Number, Scalar

# Moments E[g_+^k] of a rectified standard Gaussian, and its cumulants.
_M1, _M2, _M3, _M4 = 1 / math.sqrt(2 * math.pi), 0.5, math.sqrt(2 / math.pi), 1.5
_K2 = _M2 - _M1**2
_K3 = _M3 - 3 * _M2 * _M1 + 2 * _M1**3
_K4 = _M4 - 4 * _M3 * _M1 - 3 * _M2**2 + 12 * _M2 * _M1**2 - 6 * _M1**4


class NeuronMoments(eqx.Module):
    """Moments of r = ‖w‖ and a at the start, for w in R^d.

    `w2` = E r², `w4` = E r⁴, `a2` = E a², `a4` = E a⁴, `a2w2` = E a² r².
    """

    d: Array
    w2: Array
    w4: Array
    a2: Array
    a4: Array
    a2w2: Array


def neuron_moments(init: Initialisation, d: Number) -> NeuronMoments:
    """The moments of an `Initialisation` with a Gaussian first layer, in closed form:
    before its scales r √d ~ χ_d, and |a| = r or r + Exp(1).

    Raises a ValueError for another first layer, whose direction is not uniform, and for
    a second layer that does not look at w, whose law depends on p.
    """
    check_kind("init", init, Initialisation, "jaxflow.Initialisation()")
    check_positive("d", d)
    if init.first_layer != "gaussian":
        raise ValueError(
            "closed moments want first_layer='gaussian', got "
            f"{init.first_layer!r}; use sampled_limit with neurons of your law."
        )
    if init.second_layer not in ("balanced", "exponential"):
        raise ValueError(
            "closed moments want second_layer='exponential' or 'balanced', got "
            f"{init.second_layer!r}; use sampled_limit with neurons of your law."
        )
    d = jnp.asarray(d, jnp.result_type(float))
    r1, r2, r3, r4 = (
        jnp.exp(k / 2 * jnp.log(2 / d) + gammaln((d + k) / 2) - gammaln(d / 2))
        for k in (1, 2, 3, 4)
    )
    if init.second_layer == "balanced":
        a2, a4, a2r2 = r2, r4, r4
    else:
        a2, a2r2 = r2 + 2 * r1 + 2, r4 + 2 * r3 + 2 * r2
        a4 = r4 + 4 * r3 + 12 * r2 + 24 * r1 + 24
    of_a, of_w = init.scale, init.scale * init.first_layer_scale
    return NeuronMoments(
        d,
        w2=of_w**2 * r2,
        w4=of_w**4 * r4,
        a2=of_a**2 * a2,
        a4=of_a**4 * a4,
        a2w2=(of_a * of_w) ** 2 * a2r2,
    )


def check_moments(data: Dataset, moments: NeuronMoments) -> None:
    check_kind("data", data, Dataset, "jaxflow.Dataset(x, y)")
    example = "neuron_moments(jaxflow.Initialisation(), d)"
    check_kind("moments", moments, NeuronMoments, example)


class CurvatureLimit(eqx.Module):
    """β₀ and γ₀ of Lemma 4 with their standard errors (0 for closed forms), so that
    μ(0) ≈ (2/n) (β₀ + γ₀ N(0, 1)/√p)."""

    beta: Scalar
    gamma: Scalar
    beta_error: Scalar
    gamma_error: Scalar


def curvature_mean(data: Dataset, moments: NeuronMoments) -> Scalar:
    """β₀ in closed form, for any inputs and fair signs of a."""
    check_moments(data, moments)
    y = data.targets
    matrix = first_part(data, moments) + second_part(data, moments)
    return jnp.sum(y * product(matrix, y)) / jnp.sum(y**2)


def orthogonal_limit(data: Dataset, moments: NeuronMoments) -> CurvatureLimit:
    """β₀ and γ₀ in closed form, for orthogonal inputs and fair signs of a.

    Only the norms of the inputs are read: that they are orthogonal is not checked.
    """
    check_moments(data, moments)
    beta = curvature_mean(data, moments)
    scale = jnp.sum(data.targets**2)
    variance = orthogonal_variance(data, moments)
    drift = _residual_variance(data, moments, beta)
    gamma = jnp.sqrt(variance + drift) / scale
    zero = jnp.zeros_like(beta)
    return CurvatureLimit(beta, gamma, zero, zero)


def sampled_limit(data: Dataset, sample: Network) -> CurvatureLimit:
    """β₀ and γ₀ for any inputs and any law, from a sample of its neurons.

    **Arguments:**

    - `data`: the fixed examples.
    - `sample`: a `Network` of many neurons drawn independently from the law; 10⁵ give
      γ₀ to about a per cent. Its width is not the p of the lemma.
    """
    check_fit(data, sample)
    z, slope = data.inputs.preactivations(sample.w), sample.negative_slope
    count, y = sample.width, data.targets
    activations = activate(z, slope)
    outputs = sample.a[:, None] * activations
    r = y - jnp.sum(outputs, axis=0) / count
    pushed = gated(r[None, :], z > 0, slope)
    pulled = product(pushed, data.inputs.gram())
    overlap = jnp.sum(activations * r[None, :], axis=1)
    terms = overlap**2 + sample.a**2 * jnp.sum(pushed * pulled, axis=1)
    scale = jnp.sum(r**2)
    beta = jnp.mean(terms) / scale
    applied = activations * overlap[:, None]
    applied = applied + gated((sample.a**2)[:, None] * pulled, z > 0, slope)
    b = jnp.mean(applied, axis=0) - beta * r
    influence = (terms - 2 * product(outputs, b)) / scale
    squares = (influence - jnp.mean(influence)) ** 2
    gamma = jnp.sqrt(jnp.mean(squares))
    root = count**0.5
    return CurvatureLimit(
        beta, gamma, gamma / root, jnp.std(squares) / (2 * gamma) / root
    )


def _angles(data: Dataset) -> tuple[Float[Array, "n n"], Float[Array, "n n"]]:
    """cos θ_ik, and θ_ik."""
    lengths = data.inputs.norms
    cosines = data.inputs.gram() / (lengths[:, None] * lengths[None, :])
    cosines = jnp.clip(cosines, -1, 1)
    return cosines, jnp.arccos(cosines)


def _overlaps(data: Dataset) -> Float[Array, "n n"]:
    """d E[(u·x_i)_+ (u·x_k)_+] for u uniform on the sphere."""
    cosines, angles = _angles(data)
    lengths = data.inputs.norms
    kernel = jnp.sin(angles) + (jnp.pi - angles) * cosines
    return lengths[:, None] * lengths[None, :] * kernel / (2 * jnp.pi)


def first_part(data: Dataset, moments: NeuronMoments) -> Float[Array, "n n"]:
    """E[P Xᵀ w wᵀ X P]."""
    return moments.w2 / moments.d * _overlaps(data)


def second_part(data: Dataset, moments: NeuronMoments) -> Float[Array, "n n"]:
    """E[a² P Xᵀ X P]."""
    _, angles = _angles(data)
    return moments.a2 * data.inputs.gram() * (jnp.pi - angles) / (2 * jnp.pi)


def covariance_matrix(data: Dataset, moments: NeuronMoments) -> Float[Array, "n n"]:
    """V = Cov(a z_+)."""
    return moments.a2w2 / moments.d * _overlaps(data)


def _residual_variance(data: Dataset, moments: NeuronMoments, beta: Scalar) -> Scalar:
    """4 bᵀ V b."""
    y = data.targets
    b = product(first_part(data, moments) + second_part(data, moments), y) - beta * y
    return 4 * jnp.sum(b * product(covariance_matrix(data, moments), b))


def orthogonal_variance(data: Dataset, moments: NeuronMoments) -> Scalar:
    """Var G(Y), for orthogonal inputs.

    With c_i = y_i ‖x_i‖ and g_i independent standard Gaussians, G is distributed like
    (r²/χ²) T² + a² S, T = Σ c_i (g_i)_+, S = Σ c_i² 1[g_i > 0], with r and a
    independent of the direction, that is of T/χ and S.
    """
    c: Examples = data.targets * data.inputs.norms
    d = moments.d
    p1, p2, p3, p4 = (jnp.sum(c**k) for k in (1, 2, 3, 4))
    # E T⁴ by the cumulants of T, which are power sums of c times those of (g)_+.
    mean, k2, k3, k4 = p1 * _M1, p2 * _K2, p3 * _K3, p4 * _K4
    t4 = k4 + 4 * k3 * mean + 3 * k2**2 + 6 * k2 * mean**2 + mean**4
    # E T² S, one term of S at a time, with T without that term beside it.
    rest, rest2 = _M1 * (p1 - c), _K2 * (p2 - c**2)
    t2s = jnp.sum(c**2 * (0.5 * (rest2 + rest**2) + 2 * c * _M1 * rest + c**2 * _M2))
    s2 = (p4 + p2**2) / 4
    second = moments.w4 / (d * (d + 2)) * t4
    second = second + 2 * moments.a2w2 / d * t2s + moments.a4 * s2
    first = moments.w2 / d * (k2 + mean**2) + moments.a2 * p2 / 2
    return second - first**2
