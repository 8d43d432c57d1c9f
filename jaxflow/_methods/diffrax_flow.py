"""Flows that a diffrax solver integrates: where the kinks allow it, or as they stand.

`diffrax.diffeqsolve` is the loop: it adapts the steps, interpolates what is recorded
within them, and locates the stops by its root finder. Ours is how the field is led
across the kinks (`kinks.py`, `kink_solver.py`) and how large an error is
(`step_size.py`).
"""

import abc
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int

from .._checks import as_scalar, check_count
from .._meter import Meter
from .._problem.inputs import AbstractInputs, AntipodalInputs
from .._problem.run_problem import Problem
from .._stops import AbstractStop, margins
from .._types import Neurons, Number, Scalar, Weights
from .base import AbstractMethod, Recorder, Trajectory
from .kink_solver import (
    Arguments,
    Stepper,
    StepperState,
    explicit_tableau,
    holds,
    velocity,
)
from .kinks import AbstractHolding, AbstractKinks, LiteralKinks, kinks_of
from .loop import (
    DIVERGED,
    EXHAUSTED,
    FAILED,
    GOING_ON,
    TOO_MANY,
    VANISHED,
    result_of,
    settled,
)
from .step_size import AT_KINKS, OVERESTIMATE, ErrorControl, StepError

_WITH_MEMORY = (diffrax.ReversibleHeun, diffrax.LeapfrogMidpoint)


class AbstractDiffraxFlow(AbstractMethod):
    """What the flows by a diffrax solver share: their settings and the call.

    **Arguments:**

    - `rtol`: error of a step: of each (w_j, a_j) relative to max(‖w_j‖, |a_j|), and of
      h at the examples relative to ‖r‖. No absolute tolerance: the scale of weights,
      targets and time changes nothing.
    - `solver`: any diffrax solver of ordinary differential equations; Dopri5 if left
      out.
    - `controller`: any diffrax step size controller, in place of a
      `diffrax.PIDController` of that error. A controller of yours measures the error by
      its own norm and tolerances, in units of the weights.
    - `first_step`: the first step, in units of time; left out, a hundredth of the time
      in which something changes by its own size. A constant step size needs it.
    - `max_steps`: after this many steps the run ends with a message.

    Raises a ValueError when a tolerance or a step is not positive, or when a solver or
    a controller is not one of diffrax's.
    """

    positive: ClassVar[tuple[str, ...]] = ("rtol", "first_step")

    rtol: Array
    first_step: Array | None
    solver: diffrax.AbstractSolver
    controller: diffrax.AbstractStepSizeController | None
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        rtol: Number,
        solver: diffrax.AbstractSolver | None,
        controller: diffrax.AbstractStepSizeController | None,
        first_step: Number | None,
        max_steps: int,
    ):
        for name, value, kind in (
            ("solver", solver, diffrax.AbstractSolver),
            ("controller", controller, diffrax.AbstractStepSizeController),
        ):
            if value is not None and not isinstance(value, kind):
                raise ValueError(
                    f"{name} must be an instance of diffrax.{kind.__name__}, such as "
                    f"diffrax.{'Tsit5' if name == 'solver' else 'PIDController'}(...); "
                    f"got {value!r}."
                )
        if first_step is None and isinstance(controller, diffrax.ConstantStepSize):
            raise ValueError(
                "a constant step size needs first_step, the step in units of time."
            )
        # Python floats would be compiled in, and a new tolerance compile anew.
        self.rtol = as_scalar("rtol", rtol)
        self.first_step = (
            None if first_step is None else as_scalar("first_step", first_step)
        )
        self.solver = diffrax.Dopri5() if solver is None else solver
        self.controller = controller
        self.max_steps = check_count("max_steps", max_steps)

    @property
    def rotation_invariant(self) -> bool:
        return True

    @abc.abstractmethod
    def kinks(
        self, inputs: AbstractInputs, slope: Scalar | None = None
    ) -> AbstractKinks:
        """How the pairs are led across their kinks; `slope`: None for a ReLU."""

    def working_numbers(self, inputs: AbstractInputs, pairs: int) -> int:
        return (15 if holds(self.solver, self.kinks(inputs)) else 30) * pairs

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
        kinks = self.kinks(problem.inputs, problem.slope)
        dtype = a.dtype
        first_step = self.first_step
        first_step = None if first_step is None else first_step.astype(dtype)
        controller, measure = self.controller, None
        if controller is None:
            rtol = self.rtol.astype(dtype)
            allowed = (OVERESTIMATE if kinks.exact else AT_KINKS) * rtol
            measure = StepError.at_start(problem, weights, a, allowed)
            sizes = measure.sizes(problem, weights, a)
            controller = ErrorControl(rtol, rtol * jnp.max(sizes))
            if first_step is None:
                first_step = measure.first_step(problem, weights, a, times[-1])
        eps = float(jnp.finfo(dtype).eps)
        events = [_Margin(stops, index) for index in range(len(stops))]
        carried = kinks.start(weights, a, problem.field(weights, a).residuals)
        args = Arguments(problem, kinks, kinks.begin(weights, carried))
        # A run whose stop condition holds at the start takes no step.
        at_start = jnp.array(
            [event(0, (weights, a), args) <= 0 for event in events], bool
        )
        end = jnp.where(jnp.any(at_start), jnp.zeros((), dtype), times[-1])
        # Of a single time XLA would make a record in every step, as it does not depend
        # on which of the times it is.
        saved = jnp.concatenate([times, times[-1:]]) if times.size == 1 else times
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(velocity),
            Stepper(self.solver, measure),
            t0=jnp.zeros((), dtype),
            t1=end,
            dt0=first_step,
            y0=(weights, a),
            args=args,
            saveat=diffrax.SaveAt(
                subs=[
                    diffrax.SubSaveAt(
                        ts=jnp.minimum(saved, end), fn=_RecordFunction(record)
                    ),
                    diffrax.SubSaveAt(t1=True),
                ],
                solver_state=True,
            ),
            stepsize_controller=controller,
            event=diffrax.Event(
                events, optx.Newton(rtol=16 * eps, atol=eps), direction=False
            )
            if stops
            else None,
            max_steps=self.max_steps,
            throw=False,
            progress_meter=diffrax.NoProgressMeter() if meter is None else meter,
        )
        _, (end_time,) = solution.ts
        rows, (end_weights, end_a) = solution.ys
        kinds = eqx.filter_eval_shape(record, times[0], weights, a)
        rows = jax.tree.map(lambda row: row[: times.size], rows)
        rows = jax.tree.map(_as_recorded, rows, kinds)
        state: StepperState = solution.solver_state
        end_weights, end_a = end_weights[0], end_a[0]
        outcome = _outcome(solution, at_start, problem.loss_at(end_weights, end_a))
        outcome = settled(problem, outcome, end_weights, end_a)
        return Trajectory(
            times=times,
            rows=rows,
            time=end_time,
            weights=end_weights,
            a=end_a,
            result=result_of(outcome, stops),
            stats={
                "velocity_evaluations": self._evaluations(solution.stats, state),
                "steps": _count(solution.stats["num_steps"]),
                "accepted_steps": _count(solution.stats["num_accepted_steps"]),
                "rejected_steps": _count(solution.stats["num_rejected_steps"]),
                "kink_crossings": state.reached,
                "loss_increases": state.increases,
            },
        )

    def _evaluations(self, stats: dict[str, Any], state: "StepperState") -> Any:
        tableau = explicit_tableau(self.solver)
        if tableau is None:
            return jnp.full_like(state.reached, -1)
        per_step = tableau.num_stages - tableau.fsal
        # Besides: the first stage of the first step and after each jump, where a
        # first-same-as-last scheme cannot reuse its last stage, and what is spent on
        # choosing a first step.
        extra = (1 + state.jumps) if tableau.fsal else 0
        first = 0
        if self.first_step is None:
            by_diffrax = isinstance(self.controller, diffrax.PIDController)
            first = 2 if by_diffrax else 1
        return _count(stats["num_steps"]) * per_step + extra + first


class RungeKuttaFlow(AbstractDiffraxFlow):
    """The flow of orthogonal and antipodal inputs, by any diffrax solver.

    The kinks of the ReLU are handled between its steps (`_methods/kinks.py`).

    - Orthogonal inputs: they cost no accuracy, nor do those of a leaky ReLU.
    - Antipodal inputs: pairs cross their kinks to second order in the step, which the
      error estimate does not see. Against an event-by-event reference the weights of
      six problems (n = 10, p = 4) were off by up to 9e-4 at rtol 1e-5, by 1.2e-4 at
      1e-6 and by 3e-7 at 1e-9. For a ReLU only.

    Arguments are those of `AbstractDiffraxFlow`: `rtol`, `solver`, `controller`,
    `first_step`, `max_steps`. It has a reverse-mode gradient.

    Raises a ValueError for inputs of another geometry, and for a leaky ReLU on
    antipodal ones.
    """

    # Written out, as type checkers would otherwise make one of the fields.
    def __init__(
        self,
        rtol: Number = 1e-6,
        *,
        solver: diffrax.AbstractSolver | None = None,
        controller: diffrax.AbstractStepSizeController | None = None,
        first_step: Number | None = None,
        max_steps: int = 100_000,
    ):
        super().__init__(rtol, solver, controller, first_step, max_steps)

    def kinks(
        self, inputs: AbstractInputs, slope: Scalar | None = None
    ) -> AbstractKinks:
        found = kinks_of(inputs, slope)
        if slope is not None and isinstance(inputs, AntipodalInputs):
            raise ValueError(
                "RungeKuttaFlow follows the kinks of antipodal inputs only for a ReLU, "
                "but the network has a negative_slope. Take GradientFlow(), "
                "EventFlow() or FilippovFlow()."
            )
        if not isinstance(found, AbstractHolding):
            raise ValueError(
                "RungeKuttaFlow follows the kinks of orthogonal and antipodal inputs "
                f"only, got {type(inputs).__name__}. Take GradientFlow() or "
                "FilippovFlow(), in which pairs slide along their kinks, or "
                "LiteralFlow(...) where no pair comes near its own."
            )
        if isinstance(self.solver, _WITH_MEMORY):
            raise ValueError(
                f"{type(self.solver).__name__} remembers earlier points, but pairs of "
                "orthogonal and antipodal inputs are moved between steps where they "
                "reach their kink. Use a Runge–Kutta solver, such as diffrax.Tsit5(), "
                "or LiteralFlow."
            )
        return found


class LiteralFlow(AbstractDiffraxFlow):
    """The field of eq. 3 as it stands, jumps included, by any diffrax solver.

    On any inputs; on dense and Gram ones it is accurate only while no pair comes near
    its kink: an adaptive solver then needs many steps, and where pairs slide no
    tolerance is an error bound.

    Arguments are those of `AbstractDiffraxFlow`: `rtol`, `solver`, `controller`,
    `first_step`, `max_steps`. It has a reverse-mode gradient.
    """

    def __init__(
        self,
        rtol: Number = 1e-6,
        *,
        solver: diffrax.AbstractSolver | None = None,
        controller: diffrax.AbstractStepSizeController | None = None,
        first_step: Number | None = None,
        max_steps: int = 100_000,
    ):
        super().__init__(rtol, solver, controller, first_step, max_steps)

    def kinks(
        self, inputs: AbstractInputs, slope: Scalar | None = None
    ) -> AbstractKinks:
        return LiteralKinks(inputs, slope)


def _count(number: Any) -> Array:
    return jnp.asarray(number, jnp.int32)


class _Margin(eqx.Module):
    """The index-th stop condition, as diffrax wants its events."""

    stops: tuple[AbstractStop, ...]
    index: int = eqx.field(static=True)

    def __call__(self, t: Any, y: Any, args: Arguments, **kwargs: Any) -> Array:
        field = args.problem.field(*y)
        value = margins(self.stops, args.problem, field)[self.index]
        # diffrax pairs it with a literal 0.0, which has jax's default dtype.
        return value.astype(jnp.result_type(float))


class _RecordFunction(eqx.Module):
    """The recorder, as diffrax wants its save functions.

    diffrax fills the rows that a run does not reach with inf, which only floating point
    numbers can hold, so counts travel as floats of the same bits.
    """

    record: Recorder

    def __call__(self, t: Any, y: Any, args: Arguments) -> dict[str, Any]:
        return jax.tree.map(_as_float, self.record(t, *y))


def _as_float(value: Any) -> Array:
    value = jnp.asarray(value)
    if value.dtype == bool:
        value = value.astype(jnp.int32)
    if jnp.issubdtype(value.dtype, jnp.integer):
        width = jnp.dtype(f"float{8 * value.dtype.itemsize}")
        return jax.lax.bitcast_convert_type(value, width)
    return value


def _as_recorded(value: Array, like: jax.ShapeDtypeStruct) -> Array:
    if jnp.issubdtype(like.dtype, jnp.inexact):
        return value
    count = jnp.int32 if like.dtype == bool else like.dtype
    return jax.lax.bitcast_convert_type(value, count)


def _outcome(
    solution: diffrax.Solution, at_start: Bool[Array, " stops"], final_loss: Array
) -> Int[Array, ""]:
    """How a run by diffrax ended, in the codes of `loop.py`."""
    codes = diffrax.RESULTS
    ended_well = (solution.result == codes.successful) | (
        solution.result == codes.event_occurred
    )
    outcome = jnp.where(ended_well, jnp.int32(GOING_ON), FAILED)
    for code, ours in (
        (codes.max_steps_reached, TOO_MANY),
        (codes.dt_min_reached, VANISHED),
    ):
        outcome = jnp.where(solution.result == code, ours, outcome)
    state: Any = solution.solver_state
    outcome = jnp.where((outcome != GOING_ON) & state.spent, EXHAUSTED, outcome)
    mask: Any = solution.event_mask
    for index in range(at_start.shape[0]):
        outcome = jnp.where(mask[index] | at_start[index], index, outcome)
    return jnp.where(jnp.isfinite(final_loss), outcome, DIVERGED)
