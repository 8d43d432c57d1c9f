"""The error of a step, and the length of the next, of every flow.

- By a diffrax solver: `StepError` says how large the error is, and `ErrorControl`, a
  controller of diffrax's kind, what step it allows.
- By the scheme for correlated inputs: `next_step_factor`, within `STABILITY_BOUND`.
"""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool

from .._linalg import product
from .._problem.activation import gated
from .._problem.run_problem import Problem
from .._types import Examples, Neurons, Scalar, Weights
from .._xla import over_rows, written_to_memory

# Gains of the step size controller. Late in a run the steps are bounded by stability,
# and a purely integral controller then rejects every other step and lets errors in.
# Measured on orthogonal inputs (n = d = 2000, p = 37, six seeds, rtol 1e-6, to t_∞):
# Dopri5 with these gains makes at most 435 evaluations, and the loss is within 4e-6.
# With another norm, Tsit5 needed a tenth more, and without a proportional part the
# error was above 1e-5 at every cost below 500 evaluations.
_PROPORTIONAL, _INTEGRAL = 0.4, 0.3

# A pair of schemes estimates the error of its lower order and goes on with the higher.
# On orthogonal inputs (n = 100 … 2000) the error of a whole run was this many times
# less than the estimate of one step.
OVERESTIMATE = 5.0
# Where a step also makes errors of third order at kinks, of which the estimate knows
# nothing, it is allowed less.
AT_KINKS = 0.25
# The error of h that is always allowed, in roundings of the sums that make up h. More
# would show in μ, which is 2 λ_max where r is nothing but such errors.
_FLOOR = 1
# The first step, as a share of the time in which something changes by its own size.
FIRST_SHARE = 0.01

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
    """`diffrax.PIDController` of an error that `StepError` has already measured.

    `rtol`, `atol`: for the equations that an implicit scheme solves within a step.
    """

    rtol: Scalar  # type: ignore[misc]
    atol: Scalar  # type: ignore[misc]
    norm: Any = optx.rms_norm  # type: ignore[misc]

    def wrap(self, direction: Any) -> "ErrorControl":
        return self

    def init(self, *args: Any, **kwargs: Any) -> Any:
        return _controller().init(*args, **kwargs)

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
        nothing = jnp.zeros_like(y_error)
        return _controller().adapt_step_size(
            t0, t1, nothing, nothing, args, y_error, error_order, controller_state
        )


def _controller() -> diffrax.PIDController:
    return diffrax.PIDController(
        rtol=0.0, atol=1.0, pcoeff=_PROPORTIONAL, icoeff=_INTEGRAL
    )


class StepError(eqx.Module):
    """The error of a step, in units of what a tolerance allows.

    (w, a, y, t) → (s w, s a, s² y, t/s²) and (x, y, t) → (s x, s y, t/s²) map solutions
    to solutions, so that nothing here may have a scale of its own. A small network fits
    nothing and ‖r‖ tells nothing of its weights; one that fits moves no more, and its
    weights tell nothing of r. So an error has two parts, and the larger one counts:

    - of each neuron: ‖error of w_j‖ or |error of a_j| over max(‖w_j‖, |a_j|);
    - of the fit: ‖error of h at the examples‖ over ‖r‖, down to the rounding of h.

    - `allowed`: how large an error may be.
    - `excess`: √(‖w_j‖² − a_j²) or 0, which the flow conserves (Lemma 1), so that the
      size of a neuron follows from a_j. Not where the layers have rates of their own.
    """

    allowed: Scalar
    excess: Neurons

    @classmethod
    def at_start(
        cls, problem: Problem, weights: Weights, a: Neurons, allowed: Scalar
    ) -> "StepError":
        # The squares of weights of 1e-20 are zero in float32.
        scale = jnp.maximum(jnp.max(jnp.abs(weights), axis=1), jnp.abs(a))
        scale = jnp.where(scale > 0, scale, 1)
        # Not divided by it twice, which XLA makes a division by its square.
        inverse = 1 / scale
        squares = problem.inputs.squared_norms(weights * inverse[:, None])
        squares += (problem.offset * inverse) * inverse - (a * inverse) ** 2
        return cls(allowed, scale * jnp.sqrt(jnp.maximum(squares, 0)))

    def __call__(
        self,
        problem: Problem,
        weights: Weights,
        a: Neurons,
        r: Examples,
        errors: tuple[Weights, Neurons],
    ) -> tuple[Scalar, Examples]:
        """The error of a step that ends at (weights, a) with residuals `r`, and
        (1/p) Σ_j |a_j| (z_ji)_+ there, (n,)."""
        each, miss, sums = self._changes(problem, weights, a, errors)
        rounding = _FLOOR * jnp.finfo(a.dtype).eps * jnp.linalg.norm(sums)
        wanted = self.allowed * jnp.linalg.norm(r) + rounding
        fit = miss / jnp.where(wanted > 0, wanted, 1)
        return jnp.maximum(each / self.allowed, fit), sums

    def sizes(self, problem: Problem, weights: Weights, a: Neurons) -> Neurons:
        """max(‖w_j‖, |a_j|)."""
        if problem.rates is None:
            return _hypotenuse(jnp.abs(a), self.excess)
        squares = jnp.maximum(problem.squared_norms(weights), 0)
        return jnp.maximum(jnp.sqrt(squares), jnp.abs(a))

    def first_step(
        self, problem: Problem, weights: Weights, a: Neurons, last: Scalar
    ) -> Scalar:
        """A small share of the time in which a neuron or the fit would change by its
        own size; `last` where nothing moves."""
        field = problem.field(weights, a)
        velocity = problem.velocity(field)
        each, change, _ = self._changes(problem, weights, a, velocity)
        size = jnp.linalg.norm(field.residuals)
        rate = jnp.maximum(each, change / jnp.where(size > 0, size, 1))
        moves = (rate > 0) & jnp.isfinite(rate)
        return jnp.where(moves, FIRST_SHARE / jnp.where(moves, rate, 1), last)

    def _changes(
        self, problem: Problem, weights: Weights, a: Neurons, change: Any
    ) -> tuple[Scalar, Scalar, Examples]:
        """The largest change of a neuron over its size, ‖change of h‖, and
        Σ_j |a_j| (z_j)_+/p, whose rounding is that of h."""
        size = self.sizes(problem, weights, a)
        moving = size > 0
        share = jnp.where(moving, 1 / jnp.where(moving, size, 1), 0)
        squares, change_of_h, sums = written_to_memory(
            _changes, problem, weights, a, *change, share
        )
        each = jnp.maximum(jnp.sqrt(squares), jnp.abs(change[1]) * share)
        return jnp.max(each), jnp.linalg.norm(change_of_h), sums


def _hypotenuse(a: Neurons, b: Neurons) -> Neurons:
    """√(a² + b²) of numbers ≥ 0 whose squares may underflow."""
    longer = jnp.maximum(a, b)
    safe = jnp.where(longer > 0, longer, 1)
    return longer * jnp.sqrt(1 + (jnp.minimum(a, b) / safe) ** 2)


def _changes(
    problem: Problem,
    weights: Weights,
    a: Neurons,
    weights_change: Weights,
    a_change: Neurons,
    share: Neurons,
) -> tuple[Neurons, Examples, Examples]:
    """‖change of w_j‖² times share², the change of h, and Σ_j |a_j| |σ(z_j)|/p."""
    inputs, projections = problem.inputs, problem.inputs.projections(weights)
    z_change = inputs.projections_of_change(weights_change)
    factors = jnp.stack([a_change, jnp.abs(a)])

    def sums(rows: slice) -> Array:
        on = problem.activations(projections[rows])
        turned = gated(z_change[rows], on > 0, problem.slope)
        if problem.slope is None:
            both = product(factors[:, rows], on)
        else:
            both = jnp.stack(
                [product(a_change[rows], on), product(jnp.abs(a[rows]), jnp.abs(on))]
            )
        return both.at[0].add(product(a[rows], turned))

    def squares(rows: slice) -> Neurons:
        return inputs.squared_norms_of_change(weights_change[rows] * share[rows, None])

    parts = over_rows(sums, len(a))
    change_of_h, absolute = jax.vmap(inputs.scaled)(sum(parts[1:], parts[0]))
    each = jnp.concatenate(over_rows(squares, len(a)))
    return each, change_of_h / problem.p, absolute / problem.p
