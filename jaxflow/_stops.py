"""When a run may end before its last requested time.

Each condition is a margin that is positive while the run goes on and crosses zero where
it should stop. Gradient descent stops at the first step on which it is not positive;
the flow is stopped where a root finder locates the zero.
"""

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._checks import as_float_array, as_scalar, check_between, check_positive
from ._problem.run_problem import Field, Problem
from ._repr import call_of
from ._solution import Results
from ._types import Number, Scalar


class AbstractStop(eqx.Module):
    """A condition that ends a run."""

    # How `Solution.result` reports it.
    result: eqx.AbstractClassVar[Results]

    def __repr__(self) -> str:
        return call_of(self)

    def at_start(self, loss: Scalar) -> "AbstractStop":
        """The condition for a run that starts at this loss, shape ()."""
        return self

    @abc.abstractmethod
    def margin(self, problem: Problem, loss: Scalar, curvature: Scalar) -> Scalar:
        """Positive while the run goes on."""


class LossBelow(AbstractStop):
    """Ends a run where L(t) ≤ `value`.

    **Arguments:**

    - `value`: a positive number, in units of the loss. Left out, it is the certificate
      (C_y⁻)²/(2n) with C_y⁻ the least |y_i| that is not 0: an example on which the
      network is zero alone costs y_i²/(2n), so below it every example is being fitted.
      That the loss tends to zero it does not prove; see `LossFallen`.
    """

    value: Array | None = None
    result = Results.loss_below

    def __init__(self, value: Number | None = None):
        self.value = None if value is None else as_scalar("value", value)

    def margin(self, problem: Problem, loss: Scalar, curvature: Scalar) -> Scalar:
        level = (
            certificate(problem.targets, problem.n)
            if self.value is None
            else self.value.astype(loss.dtype)
        )
        # The loss falls exponentially, so its logarithm is what a root finder finds
        # straight.
        tiny = jnp.finfo(loss.dtype).tiny
        return jnp.log(jnp.maximum(loss, tiny)) - jnp.log(level)


class LossFallen(AbstractStop):
    """Ends a run where L(t) ≤ `to` L(0): the loss has fallen to that share of what it
    was at the start.

    The certificate of `LossBelow()` proves that no example is left out, not that the
    loss tends to zero. A share of 1e-12 leaves no doubt; in float32 a run often ends as
    `Results.exhausted` before that, so take float64 for it.

    **Arguments:**

    - `to`: a number between 0 and 1, without a unit.

    Raises a ValueError when it is not.
    """

    to: Array
    result = Results.loss_below

    def __init__(self, to: Number = 1e-12):
        check_between("to", to, 0, 1)
        self.to = as_scalar("to", to)

    def at_start(self, loss: Scalar) -> AbstractStop:
        level, tiny = self.to.astype(loss.dtype) * loss, jnp.finfo(loss.dtype).tiny
        # A share that underflows is met by no loss: such a run ends by its rounding.
        # And one that starts at zero loss has nowhere to fall.
        level = jnp.where(level >= tiny, level, 0)
        return LossBelow(jnp.where(loss == 0, tiny, level))

    def margin(self, problem: Problem, loss: Scalar, curvature: Scalar) -> Scalar:
        raise ValueError(
            "LossFallen is a share of L(0), so that it has no margin before a run has "
            "started: ask stop.at_start(initial_loss) for it."
        )


class Stationary(AbstractStop):
    """Ends a run where μ(t) ≤ `tolerance`/n: the loss no longer decreases.

    A run that converges keeps μ at or above order 1/n (Theorem 1), so a tolerance well
    below 1 tells a local minimum from slow progress. Near a saddle point the loss
    hardly decreases either: a run from a small initialisation ends at its start, so
    leave this out there, or choose the tolerance well below the square of the initial
    weights.

    **Arguments:**

    - `tolerance`: a positive number, μ(t) in units of 1/n. At the default 10⁻³ the loss
      would need more than 1000 n units of time to fall by a factor e.
    """

    tolerance: Array
    result = Results.stationary

    def __init__(self, tolerance: Number = 1e-3):
        self.tolerance = as_scalar("tolerance", tolerance)

    def margin(self, problem: Problem, loss: Scalar, curvature: Scalar) -> Scalar:
        tiny = jnp.finfo(curvature.dtype).tiny
        level = self.tolerance.astype(curvature.dtype) / problem.n
        return jnp.log(jnp.maximum(curvature, tiny)) - jnp.log(level)


def margins(
    stops: tuple[AbstractStop, ...], problem: Problem, field: Field
) -> list[Scalar]:
    """Each stop's margin at a point."""
    loss = problem.loss(field.residuals)
    curvature = problem.curvature(field)
    return [stop.margin(problem, loss, curvature) for stop in stops]


def certificate(targets: Float[Array, " n"], n: Number) -> Scalar:
    """(C_y⁻)²/(2n), with C_y⁻ the least |y_i| that is not 0: below it no example is
    unfitted, since one on which the network is 0 alone costs y_i²/(2n).

    (The paper prints C_y⁻/(2n), the same for its targets, where C_y⁻ = 1.)
    """
    targets = as_float_array("targets", targets, 1)
    check_positive("n", n)
    sizes = jnp.abs(targets)
    least = jnp.min(jnp.where(sizes > 0, sizes, jnp.inf))
    # Inside jit all may turn out to be zeros. Then no loss tells anything.
    return jnp.where(jnp.isinf(least), 0, least) ** 2 / (2 * n)


# What a user may pass as conditions, for type checkers; see `_types.py`.
if TYPE_CHECKING:
    Stops: TypeAlias = AbstractStop | Sequence[AbstractStop] | None
else:
    Stops = Any
