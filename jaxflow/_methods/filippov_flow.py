"""The gradient flow of correlated inputs, to a tolerance, kinks and slides included.

On correlated inputs the field of eq. 3 jumps where a preactivation changes sign, and
pairs slide along their kinks (see `multipliers.py`). An explicit scheme chatters
there, and its order and its error estimate mean nothing. `filippov_scheme.py` holds the
scheme that is used instead; here its steps are chosen, recorded and stopped.
"""

from types import MappingProxyType
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._checks import as_scalar, check_count
from .._meter import Meter
from .._problem.inputs import AbstractInputs
from .._problem.run_problem import Problem
from .._stops import AbstractStop
from .._types import Declared, Neurons, Number, Pairs, Scalar, Weights
from .base import AbstractMethod, Recorder, Trajectory
from .ends import UNCHANGED, at_rest, exhausted, rising
from .filippov_scheme import Place, Scheme
from .interactions import forms_gram
from .loop import (
    EXHAUSTED,
    GOING_ON,
    VANISHED,
    AbstractStepper,
    march,
    outcome_at,
    outcome_within,
    towards,
)
from .step_size import FIRST_STEP, STABILITY_BOUND, next_step_factor
from .stiff_modes import MOST_MODES

# A step that met too many kinks is made again, by so much shorter.
_LESS = 0.7
# A stop is located by at most this many shortened steps.
_LOCATING = 12


class FilippovFlow(AbstractMethod):
    """The Filippov solution of d/dt (w, a) = −p∇L (eq. 3), sliding pairs included.

    The limit of gradient descent as its learning rate tends to zero. Second order
    everywhere, two evaluations of the field per step, and the loss never rises by more
    than rounding. The few fastest modes of the residuals do not bound the step.
    Requested times are hit by the steps themselves, so that what is recorded is a state
    of the scheme: a requested time costs about one step. There is no reverse-mode
    gradient.

    Up to n = 8192 examples the method forms K = XᵀX once, n² numbers per run (50 MB at
    n = 2500 in float64), and a step gathers p S² of them. On dense inputs beyond that a
    step computes them instead, for p S² d multiplications.

    **Arguments:**

    - `tolerance`: error per step, of the residuals relative to ‖r‖ and of each neuron
      relative to its size. The error of a run accumulates, to about as much in (w, a)
      on small problems; see `docs/flow_and_descent.md` for what a tolerance buys.
    - `first_step`: the first step, in units of time; left out, a thousandth of the
      fastest time scale.
    - `largest_step`: no step is longer, in units of time; no bound if left out.
    - `sliding_candidates`: S, how many pairs of a neuron near their kinks are solved
      together. A step that meets more is made shorter, until only slides are left:
      `stats["overflow"]` says whether they were more, which takes longer.
    - `max_steps`: after this many steps the run ends with a message.

    Besides the counts of every method, `Solution.stats` holds `sliding_share`,
    `multiplier_residual`, `estimated_error` and `overflow`, see `Solution`.

    Raises a ValueError when a number is not positive and finite.
    """

    statistics: ClassVar[Declared] = MappingProxyType(
        {
            "sliding_share": float,
            "multiplier_residual": float,
            "estimated_error": float,
            "overflow": int,
        }
    )

    positive: ClassVar[tuple[str, ...]] = ("tolerance", "first_step")

    tolerance: Array
    first_step: Array | None
    largest_step: Array | None
    sliding_candidates: int = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        tolerance: Number = 1e-4,
        *,
        first_step: Number | None = None,
        largest_step: Number | None = None,
        sliding_candidates: int = 256,
        max_steps: int = 100_000,
    ):
        # Python floats would be compiled in, and a new tolerance compile anew.
        self.tolerance = as_scalar("tolerance", tolerance)
        self.first_step = (
            None if first_step is None else as_scalar("first_step", first_step)
        )
        self.largest_step = (
            None
            if largest_step is None
            else as_scalar("largest_step", largest_step, finite=False)
        )
        self.sliding_candidates = check_count("sliding_candidates", sliding_candidates)
        self.max_steps = check_count("max_steps", max_steps)

    @property
    def rotation_invariant(self) -> bool:
        return True

    def working_numbers(self, inputs: AbstractInputs, pairs: int) -> int:
        n = inputs.num_examples
        slots = min(self.sliding_candidates, n)
        kinks = pairs // n * slots
        # K, or the coordinates of the inputs of these kinks.
        inner = n * n if forms_gram(inputs) else kinks * inputs.num_coordinates
        return 45 * pairs + 3 * kinks * slots + inner + 2 * n * MOST_MODES

    def run(
        self,
        problem: Problem,
        weights: Weights,
        a: Neurons,
        times: Float[Array, " T"],
        stops: tuple[AbstractStop, ...],
        record: Recorder,
        meter: Meter | None = None,
    ) -> Trajectory:
        dtype = a.dtype
        first, largest = self.first_step, self.largest_step
        stepper = _Stepper(
            problem=problem,
            scheme=Scheme(
                problem,
                weights,
                a,
                self.sliding_candidates,
                self.tolerance.astype(dtype),
            ),
            stops=stops,
            tolerance=self.tolerance.astype(dtype),
            first_step=None if first is None else first.astype(dtype),
            largest_step=jnp.inf if largest is None else largest.astype(dtype),
            max_steps=self.max_steps,
        )
        return march(stepper, weights, a, times, stops, record, meter)


class _State(eqx.Module):
    """`overshoots` counts the steps that were made again at the end of a run. `rests`:
    whether nothing moves any more."""

    place: Place
    next_step: Scalar
    steps: Int[Array, ""]
    overshoots: Int[Array, ""]
    outcome: Int[Array, ""]
    rests: Bool[Array, ""]

    @property
    def clock(self) -> Scalar:
        return self.place.time


class _Stepper(AbstractStepper):
    """The choice of each step of `Scheme`."""

    problem: Problem
    scheme: Scheme
    stops: tuple[AbstractStop, ...]
    tolerance: Scalar
    first_step: Scalar | None
    largest_step: Array | float
    max_steps: int | None = eqx.field(static=True)

    def init(self, weights: Weights, a: Neurons) -> _State:
        problem = self.scheme.problem
        place, field = self.scheme.start(weights, a)
        loss, curvature = problem.loss(field.residuals), problem.curvature(field)
        first_step = self.first_step
        if first_step is None:
            first_step = FIRST_STEP / self._moves(place)
        return _State(
            place=place,
            next_step=first_step,
            steps=jnp.int32(0),
            overshoots=jnp.int32(0),
            outcome=outcome_at(self.stops, problem, loss, curvature),
            rests=jnp.zeros((), bool),
        )

    def _moves(self, place: Place) -> Scalar:
        """How fast anything changes by its own size, or did: the tangent kernel, which
        a small network does not see yet, and the growth of its neurons."""
        scheme = self.scheme
        grows = [
            scheme.largest_share(velocity, place.weights, place.a)
            for velocity in (place.velocity, place.older_velocity)
        ]
        return jnp.maximum(scheme.fastest_rate(place), jnp.maximum(*grows))

    def step(self, state: _State, mark: Array) -> _State:
        """Proposes a step towards `mark`, takes it or not, and chooses the next."""
        place = state.place
        rate = self.scheme.rate(place)
        longest = jnp.minimum(self.largest_step, STABILITY_BOUND / rate)
        wanted = jnp.minimum(state.next_step, longest)
        step, lands = towards(wanted, mark - place.time)
        # What is recorded, and where the run ends, lies on its kinks to rounding.
        last = lands | (state.overshoots > 0) | state.rests
        new, error, crowded = self.scheme.step(place, step, state.steps, last)
        # No rounding between a recorded time and the clock.
        new = eqx.tree_at(lambda p: p.time, new, jnp.where(lands, mark, new.time))
        within, factor = next_step_factor(
            error, self.tolerance, rising=self._rises(place, new)
        )
        within &= ~crowded
        factor = jnp.where(crowded, jnp.minimum(factor, _LESS), factor)
        index, fraction = self._stop(place, new)
        spent = exhausted(new.residuals, new.sums)
        # Where the run turns out to end without having been told to, the step is made
        # again so that it does lie on its kinks.
        overshot = within & ((index >= 0) | spent) & ((fraction < 1) | ~last)
        overshot &= state.overshoots < _LOCATING
        accepted = within & ~overshot
        following = step * jnp.where(overshot, fraction, factor)
        # A step shortened to land on a recorded time does not shorten the next.
        following = jnp.where(
            accepted & (step < wanted),
            jnp.maximum(following, wanted * jnp.minimum(factor, 1)),
            following,
        )
        # Only where it matters: a small network moves by its growth alone.
        moves = jax.lax.cond(accepted, lambda: rate, lambda: self._moves(place))
        vanished = ~accepted & (following * moves <= jnp.finfo(step.dtype).eps)
        vanished |= ~accepted & (place.time + following == place.time)
        outcome = jnp.where(accepted & (index >= 0), index, GOING_ON)
        spent &= accepted & (outcome == GOING_ON)
        outcome = jnp.where(spent, EXHAUSTED, outcome)
        place = jax.tree.map(
            lambda after, before: jnp.where(accepted, after, before), new, place
        )
        # At rest the scheme would go on at its stability bound, led by rounding.
        place = eqx.tree_at(
            lambda p: p.time, place, jnp.where(state.rests, mark, place.time)
        )
        return _State(
            place=place,
            next_step=following,
            steps=state.steps + 1,
            overshoots=state.overshoots + overshot.astype(jnp.int32),
            outcome=jnp.where(vanished, VANISHED, outcome).astype(jnp.int32),
            rests=self._rests(state.place, new, accepted),
        )

    def seen(self, state: _State) -> tuple[Weights, Neurons, Pairs]:
        at = state.place
        return at.weights, at.a, at.multipliers

    def statistics(self, state: _State) -> dict[str, Array]:
        report = state.place.report
        return {
            "velocity_evaluations": self.scheme.evaluations(state.steps),
            "steps": state.steps,
            "accepted_steps": report.accepted,
            "rejected_steps": state.steps - report.accepted,
            "kink_crossings": report.crossings,
            "loss_increases": report.increases,
            "sliding_share": report.sliding,
            "multiplier_residual": report.residual,
            "estimated_error": report.error,
            "overflow": report.overflow,
        }

    def _rises(self, before: Place, after: Place) -> Array:
        return rising(self.problem, before.residuals, after.residuals, after.sums)

    def _rests(self, before: Place, after: Place, accepted: Array) -> Array:
        eps = jnp.finfo(after.loss.dtype).eps
        unchanged = jnp.abs(after.loss - before.loss) <= UNCHANGED * eps * after.loss
        return jax.lax.cond(
            accepted & unchanged,
            lambda: at_rest(self.problem, after.weights, after.a, after.multipliers),
            lambda: jnp.zeros((), bool),
        )

    def _stop(self, before: Place, after: Place) -> tuple[Array, Scalar]:
        accuracy = jnp.minimum(self.tolerance, 1e-3)
        accuracy = jnp.maximum(accuracy, 64 * jnp.finfo(accuracy.dtype).eps)
        return outcome_within(
            self.stops,
            self.scheme.problem,
            (before.loss, before.curvature),
            (after.loss, after.curvature),
            accuracy,
        )
