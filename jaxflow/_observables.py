"""What can be seen of a run at one time.

A `Snapshot` holds the state of one run at one time; an observable is a function of it.
`simulate` evaluates observables at the requested times only, inside the compiled run,
and quantities that several of them share are computed once.

    observe = {**jaxflow.OBSERVABLES, "largest_weight": lambda s: jnp.max(jnp.abs(s.a))}
    sol = jaxflow.simulate(data, network, method, times=ts, observe=observe)
    sol.observables["largest_weight"]           # shape (T,)
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._problem.dataset import Dataset
from ._problem.network import Network
from ._problem.padding import _resized
from ._problem.run_problem import Problem, to_user_coordinates
from ._types import Examples, Neurons, PairMask, Pairs, Scalar, Weights


class Start(eqx.Module):
    """What a run remembers of its start: what it was given, L(0), a_j² − ‖w_j‖², and
    ‖XᵀX − D_X‖."""

    # None for the padded runs of an ensemble.
    data: Dataset | None
    network: Network | None
    loss: Scalar
    balance: Neurons
    interaction: Scalar

    @classmethod
    def of(
        cls,
        data: Dataset | None,
        network: Network | None,
        problem: Problem,
        weights: Weights,
        a: Neurons,
        loss: Scalar,
    ) -> "Start":
        return cls(
            data=data,
            network=network,
            loss=loss,
            balance=a**2 - problem.squared_norms(weights),
            # Costly for correlated inputs; the compiler drops it when no observable
            # reads it.
            interaction=problem.inputs.interaction(),
        )


class Snapshot(eqx.Module):
    """One run at one time.

    `weights` are in the coordinates that the run stores, (p, m), which need not be
    those of the network that was passed in: `network` is the network in those.
    `multipliers` are what stands for 1[z > 0] in the field, (p, n), where the method
    has pairs that slide along their kinks; None elsewhere.
    """

    problem: Problem
    start: Start
    time: Scalar
    weights: Weights
    a: Neurons
    multipliers: Pairs | None = None

    @property
    def network(self) -> Network:
        """The network in the coordinates that were passed to `simulate`."""
        if self.start.data is None or self.start.network is None:
            raise ValueError(
                "the runs of an ensemble are padded and have no network to show; use "
                "s.weights, s.a and s.problem."
            )
        return to_user_coordinates(
            self.start.data, self.start.network, self.problem, self.weights, self.a
        )

    @property
    def preactivations(self) -> Pairs:
        """z_ji = w_j·x_i, shape (p, n)."""
        return self.problem.inputs.preactivations(self.weights)

    @property
    def active(self) -> PairMask:
        """1_ji = 1[z_ji > 0], shape (p, n)."""
        return self.preactivations > 0

    @property
    def correctly_active(self) -> PairMask:
        """1[z_ji > 0 and a_j y_i > 0], shape (p, n)."""
        return self.active & (self.a[:, None] * self.problem.targets[None, :] > 0)

    @property
    def residuals(self) -> Examples:
        """r_i = y_i − h(x_i), shape (n,)."""
        return self.problem.residuals_at(self.weights, self.a)

    @property
    def relative_residuals(self) -> Examples:
        """|r_i / y_i|, shape (n,); 0 where y_i is 0."""
        y = self.problem.targets
        safe = jnp.where(y == 0, 1, y)
        return jnp.where(y == 0, 0, jnp.abs(self.residuals / safe))

    @property
    def present(self) -> Bool[Array, " n"]:
        """Which examples are real; a padded one is the zero vector."""
        return self.problem.inputs.norms > 0

    @property
    def loss(self) -> Scalar:
        """L = (1/2n) Σ r_i²."""
        return self.problem.loss(self.residuals)

    @property
    def curvature(self) -> Scalar:
        """μ = p‖∇L‖²/L = −L'/L (eq. 5), from the gradient itself."""
        gates = self.active if self.multipliers is None else self.multipliers
        activations = jax.nn.relu(self.preactivations)
        return self.problem.curvature(
            self.problem.field_through(activations, gates, self.a)
        )

    @property
    def average_curvature(self) -> Scalar:
        """⟨μ(t)⟩ = (1/t) log(L(0)/L(t)) (Lemma 2); μ(0) at t = 0."""
        safe = jnp.where(self.time > 0, self.time, 1)
        mean = jnp.log(self.start.loss / self.loss) / safe
        return jnp.where(self.time > 0, mean, self.curvature)

    @property
    def squared_norms(self) -> Neurons:
        """‖w_j‖², shape (p,)."""
        return self.problem.squared_norms(self.weights)

    @property
    def balance_drift(self) -> Scalar:
        """max_j |Δ(a_j² − ‖w_j‖²)| / (a_j² + ‖w_j‖²): zero for the flow (Lemma 1)."""
        squares, norms = self.a**2, self.squared_norms
        drift = jnp.abs(squares - norms - self.start.balance)
        size = squares + norms
        return jnp.max(jnp.where(size > 0, drift / jnp.where(size > 0, size, 1), 0))


def lower_bound(s: Snapshot) -> Scalar:
    """Lemma 6 as proved (eq. 21):
    μ ≥ (2/n) ((C_x⁻)² − ‖XᵀX − D_X‖) min_i (1/p) Σ_j a_j² 1_ji.

    Where the interactions exceed (C_x⁻)² the first factor is negative and the bound is
    void; the value is reported as it is.
    """
    smallest = jnp.min(jnp.where(s.present, s.problem.inputs.norms, jnp.inf))
    covered = jnp.sum(jnp.where(s.active, (s.a**2)[:, None], 0), axis=0) / s.problem.p
    least = jnp.min(jnp.where(s.present, covered, jnp.inf))
    return 2 / s.problem.n * (smallest**2 - s.start.interaction) * least


def upper_bound(s: Snapshot) -> Scalar:
    """Lemma 6 as proved (eq. 19, 20):
    μ ≤ (2/n) ((C_x⁺)² + ‖XᵀX − D_X‖) max_i (1/p) Σ_j (a_j² + ‖w_j‖²) 1_ji."""
    largest = jnp.max(s.problem.inputs.norms)
    sizes = (s.a**2 + s.squared_norms)[:, None]
    most = jnp.max(jnp.sum(jnp.where(s.active, sizes, 0), axis=0)) / s.problem.p
    return 2 / s.problem.n * (largest**2 + s.start.interaction) * most


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


def uncovered_examples(s: Snapshot) -> Array:
    """The number of examples on which no neuron is active: they cannot be learned."""
    return jnp.sum(s.present & ~jnp.any(s.active, axis=0))


def balance_drift(s: Snapshot) -> Scalar:
    """max_j |Δ(a_j² − ‖w_j‖²)| / (a_j² + ‖w_j‖²) since t = 0 (Lemma 1)."""
    return s.balance_drift


def squared_norm(s: Snapshot) -> Neurons:
    """‖w_j‖² per neuron, shape (p,)."""
    return s.squared_norms


Observable = Callable[[Snapshot], Any]

OBSERVABLES: Mapping[str, Observable] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            lower_bound,
            upper_bound,
            max_relative_residual,
            mean_relative_residual,
            active_pairs,
            correctly_active_pairs,
            uncovered_examples,
            balance_drift,
            squared_norm,
        )
    }
)


def certificate(targets: Float[Array, " n"], n: Any) -> Scalar:
    """(C_y⁻)²/(2n), with C_y⁻ = min_i |y_i|: below it no example is unfitted, since an
    example on which the network is 0 alone costs y_i²/(2n).

    (The paper prints C_y⁻/(2n), the same for its targets, where C_y⁻ = 1.)
    """
    sizes = jnp.abs(targets)
    return jnp.min(jnp.where(sizes > 0, sizes, jnp.inf)) ** 2 / (2 * n)


def cut(problem: Problem, snapshot: Snapshot) -> Snapshot:
    """What a padded run's snapshot shows of `problem`, which is not padded."""
    inputs, p = problem.inputs, problem.offset.shape[0]
    pairs = snapshot.multipliers
    if pairs is not None:
        pairs = _resized(pairs[:p], inputs.blocks, inputs.num_examples)
    return Snapshot(
        problem,
        snapshot.start,
        snapshot.time,
        snapshot.weights[:p, : inputs.num_coordinates],
        snapshot.a[:p],
        pairs,
    )
