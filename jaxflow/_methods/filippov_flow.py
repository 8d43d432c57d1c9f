"""The gradient flow of correlated inputs, to a tolerance, kinks and slides included.

On correlated inputs the field of eq. 3 jumps where a preactivation changes sign, and
pairs slide along their kinks (see `multipliers.py`). An explicit scheme chatters
there, and its order and its error estimate mean nothing. `filippov_scheme.py` holds the
scheme that is used instead; here its steps are chosen, recorded and stopped.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._checks import check_count, check_positive
from .._problem.inputs import AbstractInputs
from .._problem.run_problem import Problem
from .._solution import Results
from .._stops import AbstractStop, margins
from .._types import Neurons, Scalar, Weights
from .base import AbstractMethod, Recorder, Trajectory
from .filippov_scheme import Place, Scheme

# The next step is at most _GROWTH times the last, and a step that is made again at
# least _SHRINKAGE times as long as before.
_GROWTH, _SHRINKAGE, _SAFETY = 1.5, 0.3, 0.85
# The longest step, in units of 1/(largest curvature): the scheme's stability bound.
_STABILITY = 2.0
# The first step, in the same units. A pair that grazes its kink early takes one of two
# ways, and a first step of 0.01 doubles the error of a run at tolerance 1e-5.
_FIRST = 0.001
# A stop is located by at most this many shortened steps.
_LOCATING = 12
# A run's outcome while it goes on, once its loss is no longer finite, and once its step
# is lost in rounding. A number ≥ 0 is the index of the stop that was met.
_GOING_ON, _DIVERGED, _VANISHED = -1, -2, -3


class FilippovFlow(AbstractMethod):
    """The Filippov solution of d/dt (w, a) = −p∇L (eq. 3), sliding pairs included.

    The limit of gradient descent as its learning rate tends to zero. Second order
    everywhere, one evaluation of the field per step, and the loss never rises by more
    than rounding. Requested times are hit by the steps themselves, so that what is
    recorded is a state of the scheme: steps are of the order of the fastest time scale,
    so a requested time costs about one evaluation. There is no reverse-mode gradient.

    Up to n = 8192 examples the method forms K = XᵀX once, n² numbers per run (50 MB at
    n = 2500 in float64), and a step gathers p S² of them. On dense inputs beyond that a
    step computes them instead, for p S² d multiplications.

    **Arguments:**

    - `tolerance`: error of the residuals per step, relative to ‖r‖. The error of a run
      accumulates; see `docs/flow_and_descent.md` for what a tolerance buys.
    - `first_step`: the first step, in units of time; left out, a thousandth of the
      fastest time scale.
    - `largest_step`: no step is longer, in units of time; no bound if left out.
    - `sliding_candidates`: S, how many pairs of a neuron near their kinks are solved
      together. `stats["overflow"]` says whether there were more.
    - `max_steps`: after this many steps the run ends with a message.

    Besides the counts of every method, `Solution.stats` holds `sliding_share`,
    `multiplier_residual`, `estimated_error` and `overflow`, see `Solution`.

    Raises a ValueError when a number is not positive and finite.
    """

    tolerance: Any
    first_step: Any
    largest_step: Any
    sliding_candidates: int = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        tolerance: Any = 1e-4,
        *,
        first_step: Any = None,
        largest_step: Any = None,
        sliding_candidates: int = 64,
        max_steps: int = 100_000,
    ):
        check_positive("tolerance", tolerance)
        if largest_step is not None:
            check_positive("largest_step", largest_step, finite=False)
        if first_step is not None:
            check_positive("first_step", first_step)
        # Python floats would be compiled in, and a new tolerance compile anew.
        self.tolerance = jnp.asarray(tolerance)
        self.first_step = None if first_step is None else jnp.asarray(first_step)
        self.largest_step = None if largest_step is None else jnp.asarray(largest_step)
        self.sliding_candidates = check_count("sliding_candidates", sliding_candidates)
        self.max_steps = check_count("max_steps", max_steps)

    @property
    def rotation_invariant(self) -> bool:
        return True

    def working_numbers(self, inputs: AbstractInputs, pairs: int) -> int:
        return 30 * pairs + inputs.num_examples**2

    def run(
        self,
        problem: Problem,
        weights: Weights,
        a: Neurons,
        times: Float[Array, " T"],
        stops: tuple[AbstractStop, ...],
        record: Recorder,
    ) -> Trajectory:
        dtype = a.dtype
        largest = self.largest_step
        control = _Control(
            scheme=Scheme(problem, self.sliding_candidates),
            stops=stops,
            tolerance=self.tolerance.astype(dtype),
            largest_step=jnp.inf if largest is None else largest.astype(dtype),
        )
        first = None if self.first_step is None else self.first_step.astype(dtype)
        start = control.start(weights, a, first)

        def until(state: _State, target: Scalar) -> tuple[_State, Any]:
            state = jax.lax.while_loop(
                lambda s: (
                    (s.place.time < target)
                    & (s.outcome == _GOING_ON)
                    & (s.steps < self.max_steps)
                ),
                lambda s: control.advance(s, target),
                state,
            )
            at = state.place
            return state, record(at.time, at.weights, at.a, at.multipliers)

        final, rows = jax.lax.scan(until, start, times)
        result = Results.where(
            final.place.time < times[-1],
            Results.max_steps_reached,
            Results.reached_time,
        )
        for index, stop in enumerate(stops):
            result = Results.where(final.outcome == index, stop.result, result)
        for code, name in (
            (_DIVERGED, Results.diverged),
            (_VANISHED, Results.step_size_vanished),
        ):
            result = Results.where(final.outcome == code, name, result)
        place, report = final.place, final.place.report
        return Trajectory(
            times=times,
            rows=rows,
            time=place.time,
            weights=place.weights,
            a=place.a,
            result=result,
            stats={
                # Two at the start: the residuals, and the first velocity of z.
                "velocity_evaluations": final.steps + 2,
                "steps": final.steps,
                "accepted_steps": report.accepted,
                "rejected_steps": final.steps - report.accepted,
                "kink_crossings": report.crossings,
                "loss_increases": report.increases,
                "sliding_share": report.sliding,
                "multiplier_residual": report.residual,
                "estimated_error": report.error,
                "overflow": report.overflow,
            },
        )


class _State(eqx.Module):
    """`overshoots` counts the steps that were made again to locate a stop."""

    place: Place
    next_step: Scalar
    steps: Int[Array, ""]
    overshoots: Int[Array, ""]
    outcome: Int[Array, ""]


class _Control(eqx.Module):
    """The choice of each step."""

    scheme: Scheme
    stops: tuple[AbstractStop, ...]
    tolerance: Scalar
    largest_step: Any

    def start(self, weights: Weights, a: Neurons, first_step: Scalar | None) -> _State:
        place, field = self.scheme.start(weights, a)
        outcome = jnp.int32(_GOING_ON)
        found = margins(self.stops, self.scheme.problem, field)
        for index, margin in enumerate(found):
            met = (outcome == _GOING_ON) & (margin <= 0)
            outcome = jnp.where(met, index, outcome)
        if first_step is None:
            first_step = _FIRST / self.scheme.fastest_rate(place)
        return _State(
            place=place,
            next_step=first_step,
            steps=jnp.int32(0),
            overshoots=jnp.int32(0),
            outcome=jnp.where(jnp.isfinite(place.loss), outcome, _DIVERGED),
        )

    def advance(self, state: _State, target: Scalar) -> _State:
        """Proposes a step towards `target`, takes it or not, and chooses the next."""
        place = state.place
        rate = self.scheme.fastest_rate(place)
        longest = jnp.minimum(self.largest_step, _STABILITY / rate)
        wanted = jnp.minimum(state.next_step, longest)
        step, lands = _towards(wanted, target - place.time)
        new, error = self.scheme.step(place, step, rate)
        # No rounding between a requested time and the clock.
        new = eqx.tree_at(lambda p: p.time, new, jnp.where(lands, target, new.time))
        sound = jnp.isfinite(error)
        rising = self._rises(place, new)
        within = sound & ~rising & (error <= self.tolerance)
        factor = _SAFETY * jnp.cbrt(
            self.tolerance / jnp.maximum(error, jnp.finfo(error.dtype).tiny)
        )
        factor = jnp.where(
            within,
            jnp.clip(factor, _SHRINKAGE, _GROWTH),
            jnp.clip(factor, _SHRINKAGE, jnp.where(rising, 0.5, 0.9)),
        )
        factor = jnp.where(sound, factor, 0.2)
        index, fraction = self._stop(place, new)
        overshot = within & (index >= 0) & (fraction < 1)
        overshot &= state.overshoots < _LOCATING
        accepted = within & ~overshot
        following = step * jnp.where(overshot, fraction, factor)
        # A step shortened to land on a requested time does not shorten the next.
        following = jnp.where(
            accepted & (step < wanted),
            jnp.maximum(following, wanted * jnp.minimum(factor, 1)),
            following,
        )
        vanished = ~accepted & (following * rate <= jnp.finfo(step.dtype).eps)
        vanished |= ~accepted & (place.time + following == place.time)
        outcome = jnp.where(accepted & (index >= 0), index, _GOING_ON)
        return _State(
            place=jax.tree.map(
                lambda after, before: jnp.where(accepted, after, before), new, place
            ),
            next_step=following,
            steps=state.steps + 1,
            overshoots=state.overshoots + overshot.astype(jnp.int32),
            outcome=jnp.where(vanished, _VANISHED, outcome).astype(jnp.int32),
        )

    def _rises(self, before: Place, after: Place) -> Array:
        slack = self.scheme.rounding(after.z, after.a)
        size = jnp.linalg.norm(before.residuals) + slack
        return jnp.linalg.norm(after.residuals) > size

    def _stop(self, before: Place, after: Place) -> tuple[Array, Scalar]:
        """The index of the first stop that a step has passed, or _GOING_ON, and the
        fraction of the step at which to try again; 1 where the stop is hit."""
        # In units of the margins, which are logarithms.
        accuracy = jnp.minimum(self.tolerance, 1e-3)
        accuracy = jnp.maximum(accuracy, 64 * jnp.finfo(accuracy.dtype).eps)
        index, fraction = jnp.int32(_GOING_ON), jnp.ones_like(accuracy)
        for k, stop in enumerate(self.stops):
            start, end = (
                stop.margin(self.scheme.problem, place.loss, place.curvature)
                for place in (before, after)
            )
            met = end <= 0
            fall = jnp.where(met, start - end, 1)
            # The secant, aimed at the middle of what counts as a hit.
            secant = jnp.clip((start + accuracy / 2) / fall, 0.01, 0.99)
            secant = jnp.where(end >= -accuracy, 1, secant)
            index = jnp.where(met & (index == _GOING_ON), k, index)
            fraction = jnp.where(met, jnp.minimum(fraction, secant), fraction)
        return index, fraction


def _towards(step: Scalar, left: Scalar) -> tuple[Scalar, Array]:
    """The step to take when `left` remains, and whether it ends there. The last two
    steps before a requested time are made equal rather than the last one tiny."""
    lands = step >= left * (1 - 1e-6)
    halved = jnp.where(2 * step > left, left / 2, step)
    return jnp.where(lands, left, halved), lands
