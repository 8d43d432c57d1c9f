"""Assumptions 1 and 2, the antipodal form of the latter (eq. 86), and Lemma 3.

Assumption 1: |a_j(0)| ≥ ‖w_j(0)‖ for every neuron.
Assumption 2: N = ‖XᵀX − D_X‖ < (C_x⁻)² C_y⁻/(√n C_y⁺)                       (eq. 4).

Lemma 3: for whitened sub-Gaussian inputs the second holds with probability 1 − ε where
d ≥ C (n² + n log(1/ε)).
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._checks import as_float_array
from .._problem.dataset import Dataset
from .._problem.network import Network, check_fit, squared_norms
from .._types import Examples, Neurons, Number, Scalar
from ._domains import as_norms_and_targets, check_sizes, check_width_of


class Assumptions(eqx.Module):
    """How far a problem is from violating the assumptions of Theorem 1.

    - `asymmetry`: |a_j| − ‖w_j‖, shape (p,).
    - `interaction`: ‖XᵀX − D_X‖. `limit`: the right-hand side of eq. 4.
    """

    asymmetry: Neurons
    interaction: Scalar
    limit: Scalar

    @property
    def asymmetry_margin(self) -> Scalar:
        """min_j |a_j| − ‖w_j‖: Assumption 1 holds where it is ≥ 0."""
        return jnp.min(self.asymmetry)

    @property
    def interaction_margin(self) -> Scalar:
        """limit/interaction: Assumption 2 holds where it is > 1; infinite for
        orthogonal inputs."""
        return self.limit / self.interaction

    @property
    def holds(self) -> Bool[Array, ""]:
        """Whether both hold."""
        return (self.asymmetry_margin >= 0) & (self.interaction < self.limit)


def check_assumptions(data: Dataset, network: Network) -> Assumptions:
    """Measures Assumptions 1 and 2, at O(n³) for correlated inputs."""
    check_fit(data, network)
    return Assumptions(
        asymmetry=jnp.abs(network.a) - jnp.sqrt(squared_norms(data, network)),
        interaction=data.reduced.interaction(),
        limit=interaction_limit(data.inputs.norms, data.targets),
    )


def interaction_limit(norms: Examples, targets: Examples) -> Scalar:
    """(C_x⁻)² C_y⁻/(√n C_y⁺), the right-hand side of eq. 4 and 86."""
    norms, targets = as_norms_and_targets(norms, targets)
    sizes = jnp.abs(targets)
    ratio = jnp.min(sizes) / jnp.max(sizes)
    return jnp.min(norms) ** 2 * ratio / jnp.sqrt(1.0 * targets.shape[0])


def antipodal_interaction(gram: Float[Array, "n n"]) -> Scalar:
    """N₂ of eq. 86: the distance of K = XᵀX from orthogonal antipodal pairs.

    Example m + i is the partner of example i, n = 2m. N₂ = 0 for x_{m+i} ∝ −x_i with
    the x_i orthogonal; `antipodal_interaction(gram) <= interaction_limit(...)` takes
    the place of Assumption 2.
    """
    gram = as_float_array("gram", gram, 2)
    if gram.shape[0] != gram.shape[1]:
        raise ValueError(f"gram must be square (n, n), got shape {gram.shape}.")
    n = gram.shape[0]
    if n % 2:
        raise ValueError(f"antipodal pairs want an even number of examples, got {n}.")
    m = n // 2
    lengths = jnp.sqrt(jnp.diag(gram))
    cross = jnp.diag(-lengths[:m] * lengths[m:])
    pairs = jnp.block(
        [[jnp.diag(lengths[:m] ** 2), cross], [cross, jnp.diag(lengths[m:] ** 2)]]
    )
    return jnp.max(jnp.abs(jnp.linalg.eigvalsh(gram - pairs)))


def dimension_rule(n: Number, epsilon: Number, constant: Number) -> Array:
    """d = C (n² + n log(1/ε)) of Lemma 3."""
    check_width_of(n, epsilon)
    check_sizes(n=n, constant=constant)
    n = jnp.asarray(n)
    return jnp.asarray(constant) * (n**2 + n * jnp.log(1 / jnp.asarray(epsilon)))


def dimension_constant(d: Number, n: Number, epsilon: Number) -> Array:
    """C = d/(n² + n log(1/ε)): Lemma 3 solved for its constant."""
    check_sizes(d=d, n=n)
    return jnp.asarray(d) / dimension_rule(n, epsilon, 1.0)
