"""What a run records besides its loss and curvature: functions of a `Snapshot`.

`simulate` evaluates observables at the requested times only, inside the compiled run,
and quantities that several of them share are computed once.

    observe = {**jaxflow.OBSERVABLES, "largest_weight": lambda s: jnp.max(jnp.abs(s.a))}
    sol = jaxflow.simulate(data, network, method, times=ts, observe=observe)
    sol.observables["largest_weight"]           # shape (T,)

A new observable is a function here and a name in `OBSERVABLES`. It sees padded arrays
in an ensemble: see `Snapshot` for what reads only the real examples and neurons.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from . import theory
from ._snapshot import Snapshot
from ._types import Neurons, Scalar
from .theory._domains import check_snapshot

# What it returns is recorded at each time: an array, or a tree of arrays.
Observable = Callable[[Snapshot], Any]


def max_relative_residual(s: Snapshot) -> Scalar:
    """max_i |r_i/y_i|."""
    return jnp.max(s.relative_residuals)


def mean_relative_residual(s: Snapshot) -> Scalar:
    """(1/n) Σ_i |r_i/y_i|."""
    return jnp.sum(s.relative_residuals) / s.problem.n


def active_pairs(s: Snapshot) -> Array:
    """The number of pairs (j, i) with w_j·x_i > 0."""
    return jnp.sum(s.active)


def correctly_active_pairs(s: Snapshot) -> Array:
    """The number of pairs (j, i) with w_j·x_i > 0 and a_j y_i > 0."""
    return jnp.sum(s.correctly_active)


def inactive_examples(s: Snapshot) -> Array:
    """The number of examples on which no neuron is active: they cannot be learned."""
    return jnp.sum(s.present & ~jnp.any(s.active, axis=0))


def balance_drift(s: Snapshot) -> Scalar:
    """max_j |Δ(a_j² − ‖w_j‖²)| / (a_j² + ‖w_j‖²) since t = 0 (Lemma 1)."""
    return s.balance_drift


def squared_norm(s: Snapshot) -> Neurons:
    """‖w_j‖² per neuron, shape (p,)."""
    return s.squared_norms


# Not among `OBSERVABLES`, which every run records: with correlated inputs each costs
# some hundred velocities at each time. `s.tangent_kernel` holds both for one price.


def largest_kernel_eigenvalue(s: Snapshot) -> Scalar:
    """λ_max of the tangent kernel: descent bounces at learning rates above 2/λ_max."""
    check_snapshot(s)
    return s.tangent_kernel.largest


def smallest_kernel_eigenvalue(s: Snapshot) -> Scalar:
    """λ_min of the tangent kernel: late in a run μ tends to 2 λ_min."""
    check_snapshot(s)
    return s.tangent_kernel.smallest


OBSERVABLES: Mapping[str, Observable] = MappingProxyType(
    {
        # Lemma 6 as proved.
        "lower_bound": theory.curvature_lower_bound,
        "upper_bound": theory.curvature_upper_bound,
        **{
            function.__name__: function
            for function in (
                max_relative_residual,
                mean_relative_residual,
                active_pairs,
                correctly_active_pairs,
                inactive_examples,
                balance_drift,
                squared_norm,
            )
        },
    }
)
