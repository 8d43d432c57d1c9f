"""The error of a step, and the length of the next, of every flow.

- By a diffrax solver: `ErrorControl`, a controller of diffrax's kind.
- By the scheme for correlated inputs: `next_step_factor`, within `STABILITY_BOUND`.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool

from .._linalg import product
from .._problem.run_problem import Problem
from .._types import Neurons, Scalar, Weights
from .._xla import over_rows, written_to_memory

# Gains of the step size controller. Late in a run the steps are bounded by stability,
# and a purely integral controller then rejects every other step and lets errors in.
# Measured on orthogonal inputs (n = d = 2000, p = 37, six seeds, rtol 1e-6, to t_∞):
# Dopri5 with these gains makes at most 435 evaluations, and the loss is within 4e-6.
# With another norm, Tsit5 needed a tenth more, and without a proportional part the
# error was above 1e-5 at every cost below 500 evaluations.
_PROPORTIONAL, _INTEGRAL = 0.4, 0.3

# Correlated inputs. The first step and the longest one, in units of 1/(largest
# curvature): the longest is the scheme's stability bound. A pair that grazes its kink
# early takes one of two ways, and a first step of 0.01 doubles the error of a run at
# tolerance 1e-5.
FIRST_STEP, STABILITY_BOUND = 0.001, 2.0
# The next step is at most _GROWTH times the last, and a step that is made again at
# least _SHRINKAGE times as long as before.
_GROWTH, _SHRINKAGE, _SAFETY = 1.5, 0.3, 0.85


def next_step_factor(
    error: Scalar, tolerance: Scalar, *, rising: Bool[Array, ""]
) -> tuple[Bool[Array, ""], Scalar]:
    """Whether a step of the second-order scheme for correlated inputs is within the
    tolerance, and the next step (or the same one, made again) over this one.

    `error`: that of the step, relative to ‖r‖; NaN or inf where it is unsound.
    `rising`: whether the step raised the loss, which the flow never does.
    """
    sound = jnp.isfinite(error)
    within = sound & ~rising & (error <= tolerance)
    factor = _SAFETY * jnp.cbrt(
        tolerance / jnp.maximum(error, jnp.finfo(error.dtype).tiny)
    )
    factor = jnp.where(
        within,
        jnp.clip(factor, _SHRINKAGE, _GROWTH),
        jnp.clip(factor, _SHRINKAGE, jnp.where(rising, 0.5, 0.9)),
    )
    return within, jnp.where(sound, factor, 0.2)


class ErrorControl(diffrax.AbstractAdaptiveStepSizeController):
    """`diffrax.PIDController`, which is told how large the error is.

    The error is the root mean square, in units of atol + rtol |y|, over the numbers
    that move: among p n pairs those that are off and padding would hide the others.
    diffrax itself would take five passes over arrays of the weights' size to find it,
    here it is one and two products.
    """

    rtol: Scalar  # type: ignore[misc]
    atol: Scalar  # type: ignore[misc]
    norm: "MovingRootMeanSquare"  # type: ignore[misc]

    def wrap(self, direction: Any) -> "ErrorControl":
        return self

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """The first step is chosen by diffrax."""
        by_diffrax = _controller(self.rtol, self.atol, norm=self.norm)
        return by_diffrax.init(*args, **kwargs)

    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: Any,
        y1_candidate: Any,
        args: Any,
        y_error: Any,
        error_order: Any,
        controller_state: Any,
    ) -> Any:
        if y_error is None:
            raise ValueError(
                "this solver does not estimate its error: give it a fixed step, with "
                "controller=diffrax.ConstantStepSize() and first_step."
            )
        (weights, a), (new_weights, new_a), errors = y0, y1_candidate, y_error

        def scaled(error: Any, old: Any, new: Any) -> Any:
            largest = jnp.maximum(jnp.abs(old), jnp.abs(new))
            return error / (self.atol + largest * self.rtol)

        error = self.norm(
            (scaled(errors[0], weights, new_weights), scaled(errors[1], a, new_a))
        )
        # Where the field overflows, the step must become smaller.
        error = jnp.where(jnp.isnan(error), jnp.inf, error)
        nothing, unit = jnp.zeros_like(error), jnp.ones_like(error)
        return _controller(nothing, unit).adapt_step_size(
            t0, t1, nothing, nothing, args, error, error_order, controller_state
        )


class MovingRootMeanSquare(eqx.Module):
    """The root mean square over the weights that are not zero, and all of a."""

    problem: Problem

    def __call__(self, y: tuple[Weights, Neurons]) -> Scalar:
        weights, a = y
        squares, moving = written_to_memory(_row_sums, self.problem, weights)
        mean = (jnp.sum(squares) + jnp.sum(a**2)) / (jnp.sum(moving) + self.problem.p)
        # The root's slope at zero is infinite, which a gradient would not survive.
        return jnp.where(mean == 0, 0, jnp.sqrt(jnp.where(mean == 0, 1, mean)))


def _row_sums(_: Problem, weights: Weights) -> tuple[Neurons, Neurons]:
    """Of each row the sum of squares, and how many numbers are not zero. By products,
    since sums are slower on a CPU."""
    ones = jnp.ones_like(weights[0])

    def sums(of: Callable[[Weights], Weights]) -> Neurons:
        rows = over_rows(lambda some: product(of(weights[some]), ones), len(weights))
        return jnp.concatenate(rows)

    return sums(jnp.square), sums(lambda w: (w != 0).astype(w.dtype))


def _controller(rtol: Any, atol: Any, **kwargs: Any) -> diffrax.PIDController:
    return diffrax.PIDController(
        rtol=rtol, atol=atol, pcoeff=_PROPORTIONAL, icoeff=_INTEGRAL, **kwargs
    )
