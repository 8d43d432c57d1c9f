"""What can be seen of a network on its data at one time: the one "state at a time".

Every run is seen through snapshots: observables are functions of one, and so are the
statements of the paper (`jaxflow.theory`). A run of an ensemble is padded with examples
that are the zero vector and neurons that are zero, so arrays of a snapshot may be
longer than the problem. `s.n` and `s.p` are the true numbers, and `s.min_over_examples`
and its like read only what is present; sums need no care, since what is padded adds 0
to them wherever it is multiplied by an activation, a weight or a target.

    jaxflow.Snapshot.of(data, network)                           # a network at rest
    observe = {"floor": theory.curvature_lower_bound}            # a run, at its times
    observe = {"share": lambda s: s.mean_over_examples(jnp.any(s.active, axis=0))}
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._checks import as_scalar
from ._problem.activation import gated
from ._problem.dataset import Dataset
from ._problem.network import Network, check_fit
from ._problem.padding import resized
from ._problem.run_problem import (
    Problem,
    counts,
    to_run_coordinates,
    to_user_coordinates,
)
from ._problem.tangent_kernel import TangentKernel, kernel_at
from ._types import Examples, Neurons, Number, PairMask, Pairs, Scalar, Weights


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
        interaction: Number | None = None,
    ) -> "Start":
        # Costly for correlated inputs; the compiler drops it when no observable reads
        # it.
        found = problem.inputs.interaction() if interaction is None else interaction
        return cls(
            data=data,
            network=network,
            loss=loss,
            balance=balanced(problem, a**2, problem.squared_norms(weights)),
            interaction=jnp.asarray(found, problem.inputs.dtype),
        )


def balanced(problem: Problem, squares: Neurons, norms: Neurons) -> Neurons:
    """a_j² − ‖w_j‖², (p,); where w and a have rates of their own
    a_j²/rate_a − ‖w_j‖²/rate_w, and NaN where one of them is 0."""
    if problem.rates is None:
        return squares - norms
    return _over(squares, problem.rates.a) - _over(norms, problem.rates.w)


def _over(values: Neurons, rate: Scalar) -> Neurons:
    return jnp.where(rate > 0, values / jnp.where(rate > 0, rate, 1), jnp.nan)


class Snapshot(eqx.Module):
    """One network on its data at one time.

    `weights` are in the coordinates that the run stores, (p, m), which need not be
    those of the network that was passed in: `network` is the network in those.
    `multipliers` are what stands for 1[z > 0], or the σ'(z) of a leaky ReLU, in the
    field, (p, n), where the method has pairs that slide along their kinks; None
    elsewhere.

    In the runs of an ensemble the arrays are padded: their lengths are at least `n` and
    `p`, `present` and `present_neurons` say which entries are real, and the means,
    minima and maxima below read only these.
    """

    problem: Problem
    start: Start
    time: Scalar
    weights: Weights
    a: Neurons
    multipliers: Pairs | None = None

    @classmethod
    def of(
        cls, data: Dataset, network: Network, *, interaction: Number | None = None
    ) -> "Snapshot":
        """A network at rest, at t = 0.

        `interaction`: ‖XᵀX − D_X‖ where it is known, which spares its computation,
        O(n³) for correlated inputs. Raises a ValueError when the network does not fit
        the data.
        """
        check_fit(data, network)
        if interaction is not None:
            as_scalar("interaction", interaction, strictly=False)
        problem, weights, a = to_run_coordinates(
            data, network, *counts(data, network), reduce=True
        )
        loss = problem.loss_at(weights, a)
        start = Start.of(data, network, problem, weights, a, loss, interaction)
        return cls(problem, start, jnp.zeros_like(loss), weights, a)

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
    def n(self) -> Scalar:
        """The number of examples, padding not counted."""
        return self.problem.n

    @property
    def p(self) -> Scalar:
        """The number of neurons, padding not counted."""
        return self.problem.p

    @property
    def norms(self) -> Examples:
        """‖x_i‖, shape (n,)."""
        return self.problem.inputs.norms

    @property
    def targets(self) -> Examples:
        """y_i, shape (n,)."""
        return self.problem.targets

    @property
    def interaction(self) -> Scalar:
        """‖XᵀX − D_X‖, which Assumption 2 (eq. 4) bounds."""
        return self.start.interaction

    @property
    def present(self) -> Bool[Array, " n"]:
        """Which examples are real; a padded one is the zero vector."""
        return self.norms > 0

    @property
    def present_neurons(self) -> Bool[Array, " p"]:
        """Which neurons are real; padding comes after them."""
        return jnp.arange(self.a.shape[0], dtype=self.p.dtype) < self.p

    def min_over_examples(self, values: Float[Array, "... n"]) -> Float[Array, "..."]:
        """The least over the examples, the last axis of `values`."""
        return jnp.min(jnp.where(self._shown(values), values, jnp.inf), axis=-1)

    def max_over_examples(self, values: Float[Array, "... n"]) -> Float[Array, "..."]:
        """The largest over the examples, the last axis of `values`."""
        return jnp.max(jnp.where(self._shown(values), values, -jnp.inf), axis=-1)

    def mean_over_examples(self, values: Array) -> Float[Array, "..."]:
        """The mean over the examples, the last axis of `values`, numbers or a mask."""
        numbers = values.astype(self.n.dtype)
        return jnp.sum(jnp.where(self._shown(values), numbers, 0), axis=-1) / self.n

    def min_over_neurons(self, values: Float[Array, "p ..."]) -> Float[Array, "..."]:
        """The least over the neurons, the first axis of `values`."""
        return jnp.min(jnp.where(self._own(values), values, jnp.inf), axis=0)

    def max_over_neurons(self, values: Float[Array, "p ..."]) -> Float[Array, "..."]:
        """The largest over the neurons, the first axis of `values`."""
        return jnp.max(jnp.where(self._own(values), values, -jnp.inf), axis=0)

    def mean_over_neurons(self, values: Array) -> Float[Array, "..."]:
        """The mean over the neurons, the first axis of `values`, numbers or a mask."""
        numbers = values.astype(self.p.dtype)
        return jnp.sum(jnp.where(self._own(values), numbers, 0), axis=0) / self.p

    def _shown(self, values: Array) -> Array:
        return self.present.reshape((1,) * (values.ndim - 1) + (-1,))

    def _own(self, values: Array) -> Array:
        return self.present_neurons.reshape((-1,) + (1,) * (values.ndim - 1))

    @property
    def preactivations(self) -> Pairs:
        """z_ji = w_j·x_i, shape (p, n)."""
        return self.problem.inputs.preactivations(self.weights)

    @property
    def active(self) -> PairMask:
        """1_ji = 1[z_ji > 0], shape (p, n)."""
        return self.preactivations > 0

    @property
    def right_sign(self) -> PairMask:
        """1[a_j y_i > 0], shape (p, n)."""
        return self.a[:, None] * self.targets[None, :] > 0

    @property
    def correctly_active(self) -> PairMask:
        """1[z_ji > 0 and a_j y_i > 0], shape (p, n)."""
        return self.active & self.right_sign

    @property
    def covered(self) -> Bool[Array, ""]:
        """The event 𝓘 of Lemma 5: each example is correctly active on some neuron."""
        return jnp.all(jnp.any(self.correctly_active, axis=0) | ~self.present)

    def covered_by(self, sizes: Neurons) -> Examples:
        """(1/p) Σ_j s_j 1_ji for sizes s (p,), shape (n,); of a leaky ReLU
        (1/p) Σ_j s_j σ'(z_ji)²."""
        slope = self.problem.slope
        square = None if slope is None else slope**2
        covers = gated(sizes[:, None], self.active, square)
        return jnp.sum(covers, axis=0) / self.p

    @property
    def residuals(self) -> Examples:
        """r_i = y_i − h(x_i), shape (n,)."""
        return self.problem.residuals_at(self.weights, self.a)

    @property
    def relative_residuals(self) -> Examples:
        """|r_i / y_i|, shape (n,); 0 where y_i is 0."""
        y = self.targets
        safe = jnp.where(y == 0, 1, y)
        return jnp.where(y == 0, 0, jnp.abs(self.residuals / safe))

    @property
    def progress(self) -> Examples:
        """|1 − r_i/y_i| = |h(x_i)/y_i|, shape (n,): 0 for a network that is 0, 1 for a
        fit; 1 where y_i is 0."""
        y = self.targets
        safe = jnp.where(y == 0, 1, y)
        return jnp.abs(1 - jnp.where(y == 0, 0, self.residuals / safe))

    @property
    def loss(self) -> Scalar:
        """L = (1/2n) Σ r_i²."""
        return self.problem.loss(self.residuals)

    @property
    def curvature(self) -> Scalar:
        """μ = p‖∇L‖²/L = −L'/L (eq. 5), from the gradient itself; in a run at `rates`
        (rate_w p‖∂L/∂w‖² + rate_a p‖∂L/∂a‖²)/L, which is −L'/L there."""
        field = self.problem.field(self.weights, self.a, self.multipliers)
        return self.problem.curvature(field)

    @property
    def average_curvature(self) -> Scalar:
        """⟨μ(t)⟩ = (1/t) log(L(0)/L(t)) (Lemma 2); μ(0) at t = 0."""
        safe = jnp.where(self.time > 0, self.time, 1)
        mean = jnp.log(self.start.loss / self.loss) / safe
        return jnp.where(self.time > 0, mean, self.curvature)

    @property
    def tangent_kernel(self) -> TangentKernel:
        """M of r' = −M r, while no pair changes its state, and its extreme eigenvalues.
        What slides is what the method says, and what lies on its kink at rest where it
        says nothing."""
        return kernel_at(self.problem, self.weights, self.a, self.multipliers)

    @property
    def squared_norms(self) -> Neurons:
        """‖w_j‖², shape (p,)."""
        return self.problem.squared_norms(self.weights)

    @property
    def balance(self) -> Neurons:
        """a_j² − ‖w_j‖², shape (p,): constant along the flow (Lemma 1); in a run at
        `rates` a_j²/rate_a − ‖w_j‖²/rate_w, NaN where a rate is 0."""
        return balanced(self.problem, self.a**2, self.squared_norms)

    @property
    def balance_drift(self) -> Scalar:
        """max_j |Δ(a_j² − ‖w_j‖²)| / (a_j² + ‖w_j‖²): zero for the flow (Lemma 1). In a
        run at `rates` each square over its rate, and NaN where a rate is 0. NaN too
        where a weight is."""
        squares, norms, rates = self.a**2, self.squared_norms, self.problem.rates
        if rates is not None:
            squares, norms = _over(squares, rates.a), _over(norms, rates.w)
        drift = jnp.abs(squares - norms - self.start.balance)
        size = squares + norms
        # NaN is neither: it stays what it is.
        nothing = size <= 0
        return jnp.max(jnp.where(nothing, 0, drift / jnp.where(nothing, 1, size)))


def cut(problem: Problem, snapshot: Snapshot) -> Snapshot:
    """What a padded run's snapshot shows of `problem`, which is not padded."""
    inputs, p = problem.inputs, problem.offset.shape[0]
    pairs = snapshot.multipliers
    if pairs is not None:
        pairs = resized(pairs[:p], inputs.blocks, inputs.num_examples)
    return Snapshot(
        problem,
        snapshot.start,
        snapshot.time,
        snapshot.weights[:p, : inputs.num_coordinates],
        snapshot.a[:p],
        pairs,
    )
