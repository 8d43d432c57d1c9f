"""Ends that a run comes to by itself: its loss is only rounding, or nothing moves."""

import jax.numpy as jnp
from jaxtyping import Array, Bool

from .._linalg import product
from .._problem.activation import absolute
from .._problem.run_problem import Problem
from .._types import Examples, Neurons, Pairs, Scalar, Weights

# The loss is exhausted where ‖r‖ is less than so many roundings of the sums that make
# up h. A hundredth of it is then noise.
EXHAUSTED_ROUNDINGS = 100
# A velocity of so many roundings of the terms that make it up is none; and a change of
# ‖r‖, of so many of the terms that make up r.
RESTING, ROUNDINGS = 256, 64
# A run whose loss changes by so few roundings in a step may be at rest.
UNCHANGED = 8
# Where ‖r‖ is less than so many roundings of what it is the difference of, the loss is
# on its way to zero, and ends as exhausted.
LEFT_ROUNDINGS = 4096


def sums_at(problem: Problem, weights: Weights, a: Neurons) -> Examples:
    """(1/p) Σ_j |a_j| |σ(z_ji)|, (n,): the rounding of h is that of these."""
    on = problem.activations(problem.inputs.preactivations(weights))
    return product(jnp.abs(a), absolute(on, problem.slope)) / problem.p


def exhausted(r: Examples, sums: Examples) -> Bool[Array, ""]:
    """Whether the residuals are only rounding: from here on L and μ mean nothing."""
    least = EXHAUSTED_ROUNDINGS * jnp.finfo(r.dtype).eps * jnp.linalg.norm(sums)
    return jnp.linalg.norm(r) < least


def exhausted_at(problem: Problem, weights: Weights, a: Neurons) -> Bool[Array, ""]:
    r = problem.residuals_at(weights, a)
    return exhausted(r, sums_at(problem, weights, a))


def rising(
    problem: Problem, before: Examples, r: Examples, sums: Examples
) -> Bool[Array, ""]:
    """Whether a step has raised the loss by more than the rounding of the residuals,
    which the flow never does."""
    size = jnp.linalg.norm(sums) + jnp.linalg.norm(problem.targets)
    slack = ROUNDINGS * jnp.finfo(r.dtype).eps * size
    return jnp.linalg.norm(r) > jnp.linalg.norm(before) + slack


def at_rest(
    problem: Problem, weights: Weights, a: Neurons, multipliers: Pairs | None = None
) -> Bool[Array, ""]:
    """Whether every velocity is only rounding: the network stays where it is, dead, at
    the origin, or at a minimum with L > 0. `multipliers`: what stands for σ'(z)."""
    z = problem.inputs.preactivations(weights)
    on = problem.activations(z)
    gates = problem.derivatives(z) if multipliers is None else multipliers
    field = problem.field_through(on, gates, a)
    on = absolute(on, problem.slope)
    # r is a difference: its rounding is that of y and of the sums that make up h. The
    # roundings of a sum over examples add up as random numbers do.
    terms = jnp.abs(problem.targets) + product(jnp.abs(a), on) / problem.p
    eps = jnp.finfo(a.dtype).eps
    rounding = RESTING * eps / problem.n
    pull = rounding * jnp.linalg.norm(terms * problem.inputs.norms)
    moved = jnp.sqrt(problem.inputs.adjoint_squared_norms(field.cotangent))
    # A layer that is not trained is at rest: both sides are 0 at a rate of 0.
    still = problem.at_rate_w(moved) <= problem.at_rate_w(jnp.abs(a) * pull)
    noise = rounding * jnp.sqrt(product(on**2, terms**2))
    moved = jnp.abs(field.a_velocity)
    still &= problem.at_rate_a(moved) <= problem.at_rate_a(noise)
    least = LEFT_ROUNDINGS * eps * jnp.linalg.norm(terms)
    left = jnp.linalg.norm(field.residuals) > least
    return jnp.all(still) & (left | ~jnp.any(on > 0))


def silent(
    problem: Problem, weights: Weights, a: Neurons, multipliers: Pairs | None = None
) -> tuple[Bool[Array, ""], Scalar]:
    """Whether no pair is active, so that nothing can move, and the largest number of
    all neurons: 0 at the origin. A leaky ReLU is always active but there."""
    z = problem.inputs.preactivations(weights)
    size = jnp.maximum(jnp.max(jnp.abs(z)), jnp.max(jnp.abs(a)))
    if problem.slope is not None:
        return size == 0, size
    gates = z > 0 if multipliers is None else multipliers > 0
    return ~jnp.any(gates), size
