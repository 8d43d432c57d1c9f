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
from ._problem.dataset import Dataset
from ._problem.network import Network, check_fit
from ._problem.run_problem import counts, to_run_coordinates
from ._problem.sharpness import sharpness_at
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
    """The number of examples on which no neuron is active, w_j·x_i > 0: a ReLU network
    cannot learn them, a leaky one can."""
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
    """λ_max of the tangent kernel: whether descent stands in for the flow.

    A step of descent multiplies the residuals by 1 − η M while no pair changes its
    state, so it follows the flow only where η λ_max stays below 2, and bounces above.
    λ_max grows along a run: what counts is the largest along the *flow*, since descent
    that bounces stays where η λ_max is about 2. `sharpness` is the same for the Hessian
    of the loss, which has a part that goes with the residuals besides.
    """
    check_snapshot(s)
    return s.tangent_kernel.largest


def smallest_kernel_eigenvalue(s: Snapshot) -> Scalar:
    """λ_min of the tangent kernel: late in a run μ tends to 2 λ_min."""
    check_snapshot(s)
    return s.tangent_kernel.smallest


def sharpness(state: Snapshot | Dataset, network: Network | None = None) -> Scalar:
    """The largest eigenvalue of the Hessian of p L in (w, a), of a snapshot or of
    (data, network), shape (): descent is stable where its learning rate is below 2 over
    it.

        jaxflow.sharpness(data, sol.final)
        observe = {"sharpness": jaxflow.sharpness}

    In the units of the flow, 1/time, as `tangent_kernel` is: where every residual is
    zero it is λ_max of that kernel, and elsewhere they differ by at most the largest
    ‖(1/n) Σ_i r_i 1_ji x_i‖ over the neurons. The Hessian is that away from kinks, with
    ReLU'' = 0; where pairs slide along theirs, that along the slide, with these pairs
    projected out. Descent jumps across the kinks instead and sees a larger one: that of
    the flow was 9 % below it in `experiments.known_results.edge_of_stability`. To about
    1e-6 of itself; where the iteration is cut short, after 3200 products with the
    Hessian, from below. On any geometry, under `jax.jit` and `jax.vmap` too.

    Raises a TypeError for a snapshot with a network, or data without one, and a
    ValueError when the network does not fit the data.
    """
    if network is not None and not isinstance(state, Snapshot):
        check_fit(state, network)
        n, p = counts(state, network)
        return sharpness_at(*to_run_coordinates(state, network, n, p, reduce=True))
    if not isinstance(state, Snapshot) or network is not None:
        raise TypeError(
            "sharpness takes a Snapshot, or a Dataset and a Network; got a "
            f"{type(state).__name__} and a {type(network).__name__}."
        )
    return sharpness_at(state.problem, state.weights, state.a, state.multipliers)


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
