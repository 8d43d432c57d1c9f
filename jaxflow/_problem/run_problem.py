"""A problem as a run holds it: the cheapest geometry, and the way back to the user's.

A user's network has its w in R^d (or in the coordinates of the geometry he passed). A
run moves weights of the reduced geometry instead, and rebuilds w at the end from the
displacement, w(t) = w(0) + (the displacement's image), so that the part of w outside
the span of the inputs, which never moves, is kept to the last bit.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._linalg import product
from .._types import Examples, Neurons, PairMask, Pairs, Scalar, Weights
from .._xla import over_rows
from .activation import activate, derivative, gated
from .dataset import Dataset
from .inputs import AbstractInputs, DenseInputs, GramCoefficients, GramInputs
from .network import (
    Network,
    check_fit,
    half_mean_square,
    mean_activation,
    pair_velocity,
    squared_norms,
)
from .rates import Rates


class Problem(eqx.Module):
    """What stays fixed along a run.

    - `inputs`, `targets`: the data in the geometry of the run.
    - `offset`: ‖w_j‖² less what the stored coordinates show, (p,); constant in time.
    - `n`, `p`: the numbers of examples and neurons that the averages divide by. They
      are less than the array sizes where a problem is padded (`padding.py`), and
      arrays, so that dividing by them rounds alike in every program.
    - `slope`: that of σ below zero; None for a ReLU.
    - `rates`: those of w and a; None where both are 1.
    """

    inputs: AbstractInputs
    targets: Examples
    offset: Neurons
    n: Scalar
    p: Scalar
    slope: Scalar | None = None
    rates: Rates | None = None

    def at_rate_w(self, values: Array) -> Array:
        """What moves w, at the rate of w."""
        return values if self.rates is None else self.rates.w * values

    def at_rate_a(self, values: Array) -> Array:
        """What moves a, at the rate of a."""
        return values if self.rates is None else self.rates.a * values

    def activations(self, z: Pairs) -> Pairs:
        """σ(z), (p, n)."""
        return activate(z, self.slope)

    def derivatives(self, z: Pairs) -> PairMask | Pairs:
        """σ'(z), (p, n): 1[z > 0] for a ReLU."""
        return derivative(z > 0, self.slope)

    def residuals(self, activations: Pairs, a: Neurons) -> Examples:
        return self.targets - mean_activation(activations, a, self.p)

    def loss(self, r: Examples) -> Scalar:
        return half_mean_square(r, self.n)

    def loss_at(self, weights: Weights, a: Neurons) -> Scalar:
        return self.loss(self.residuals_at(weights, a))

    def squared_norms(self, weights: Weights) -> Neurons:
        return self.inputs.squared_norms(weights) + self.offset

    def field_through(
        self, activations: Pairs, gates: PairMask | Pairs, a: Neurons
    ) -> "Field":
        """The field of the flow, given the state of each pair."""
        r = self.residuals(activations, a)
        cotangent, a_velocity = pair_velocity(activations, gates, a, r, self.n)
        return Field(gates, r, cotangent, a_velocity)

    def field(
        self, weights: Weights, a: Neurons, multipliers: Pairs | None = None
    ) -> "Field":
        """The field of eq. 3. `multipliers` stand for σ'(z) in it, where some pairs
        slide; else it is the literal one, with σ'(0) = 0, or the negative slope."""
        z = self.inputs.preactivations(weights)
        gates = self.derivatives(z) if multipliers is None else multipliers
        return self.field_through(self.activations(z), gates, a)

    def residuals_at(self, weights: Weights, a: Neurons) -> Examples:
        projections = self.inputs.projections(weights)
        sums = over_rows(
            lambda rows: product(a[rows], self.activations(projections[rows])),
            a.shape[0],
        )
        return self.targets - self.inputs.scaled(sum(sums[1:], sums[0])) / self.p

    def pushed(
        self, weights: Weights, a: Neurons, pushes: Examples
    ) -> tuple[Weights, Neurons]:
        """(weights, a) after they have moved by the field of eq. 3, at their rates,
        with the given numbers (n,) in place of the residuals."""
        projections = self.inputs.projections(weights)
        pushes = self.inputs.scaled(pushes)
        sums = over_rows(
            lambda rows: product(self.activations(projections[rows]), pushes),
            a.shape[0],
        )
        moved_a = a + self.at_rate_a(jnp.concatenate(sums)) / self.n
        # Adds nothing, but makes w wait for a: XLA would otherwise copy all of w, to
        # have both read the old one. A fifth of the step on orthogonal inputs.
        pushes = pushes + 0 * moved_a[0]
        cotangent = (self.at_rate_w(a) / self.n)[:, None] * pushes[None, :]
        cotangent = gated(cotangent, projections > 0, self.slope)
        return weights + self.inputs.projections_adjoint(cotangent), moved_a

    def gates(self, weights: Weights) -> PairMask:
        """1[z > 0]."""
        return self.inputs.projections(weights) > 0

    def velocity(self, field: "Field") -> tuple[Weights, Neurons]:
        """d/dt (weights, a) = −p∇L, at their rates."""
        weights = self.at_rate_w(self.inputs.adjoint(field.cotangent))
        return weights, self.at_rate_a(field.a_velocity)

    def curvature(self, field: "Field") -> Scalar:
        """μ = p‖∇L‖²/L (eq. 5); 0 where L is. The velocity is −p∇L, so p‖∇L‖² is its
        ‖·‖²/p. Each layer's part counts at its rate, so that μ is −L'/L."""
        squares = self.at_rate_w(
            jnp.sum(self.inputs.adjoint_squared_norms(field.cotangent))
        )
        squares += self.at_rate_a(jnp.sum(field.a_velocity**2))
        loss = self.loss(field.residuals)
        return jnp.where(
            loss == 0, 0, squares / (self.p * jnp.where(loss == 0, 1, loss))
        )


class Field(eqx.Module):
    """The field at one point: the gates 1_ji or σ'(z_ji), the residuals r_i, the
    cotangents (a_j/n) r_i 1_ji, each per pair or example, and d/dt a_j; at rates 1."""

    gates: PairMask | Pairs
    residuals: Examples
    cotangent: Pairs
    a_velocity: Neurons


def counts(data: Dataset, network: Network) -> tuple[Array, Array]:
    """n and p, as numbers to divide by."""
    dtype = network.a.dtype
    return jnp.asarray(data.num_examples, dtype), jnp.asarray(network.width, dtype)


def to_run_coordinates(
    data: Dataset, network: Network, n: Scalar, p: Scalar, *, reduce: bool
) -> tuple[Problem, Weights, Neurons]:
    """The problem and the initial weights in the coordinates of the run. n and p as
    `counts` gives them.

    Without `reduce` the user's own coordinates are kept: an optimiser that is not
    rotation-invariant (Adam, say) gives another trajectory in other coordinates.
    """
    check_fit(data, network)
    inputs = data.reduced if reduce else data.inputs
    weights = network.w
    if reduce and isinstance(inputs, GramInputs):
        origin = data.inputs.preactivations(network.w)
        inputs = GramCoefficients(inputs.matrix, origin)
        weights = jnp.zeros_like(origin)
    elif reduce and data.directions is not None:
        weights = product(network.w, data.directions.T)
    offset = squared_norms(data, network) - inputs.squared_norms(weights)
    problem = Problem(
        inputs=inputs,
        targets=data.targets,
        offset=offset,
        n=n,
        p=p,
        slope=network.negative_slope,
    )
    return problem, weights, network.a


def to_user_coordinates(
    data: Dataset, initial: Network, problem: Problem, weights: Weights, a: Neurons
) -> Network:
    """The network in the user's coordinates, given where the run has got to."""
    w = weights
    if isinstance(problem.inputs, GramCoefficients):
        w = initial.w + data.inputs.adjoint(weights)
    elif problem.inputs is not data.inputs and data.directions is not None:
        start = product(initial.w, data.directions.T)
        w = initial.w + product(weights - start, data.directions)
    complete = isinstance(data.inputs, DenseInputs) and initial.squared_norm is None
    norms = None if complete else problem.squared_norms(weights)
    return Network(w, a, norms, negative_slope=initial.negative_slope)
