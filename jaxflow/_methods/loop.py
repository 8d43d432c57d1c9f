"""The loop of every method that steps: from one recorded time to the next, to the end.

A method that steps offers a stepper: `init`, `step`, and what is `seen` of its state.
Everything else of a run is here: that steps land on the recorded times, that a stop
ends the run, what a run's outcome is, and how many steps it may take. (A run by a
diffrax solver is marched by `diffrax.diffeqsolve`, which interpolates recorded times
and locates stops within its steps; its outcome is told in the same codes.)

    for each recorded time:                          lax.scan
        while it is not reached and the run goes on:     while_loop
            state = stepper.step(state, time)
        record what is seen of the state
"""

import abc
from typing import Any, ClassVar, Protocol, runtime_checkable

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._meter import Meter
from .._problem.inputs import AbstractInputs, GramCoefficients
from .._problem.run_problem import Problem
from .._solution import Results
from .._stops import AbstractStop
from .._types import Neurons, Pairs, Scalar, Weights
from .._xla import compiled_separately
from .base import Recorder, Trajectory
from .ends import at_rest, exhausted_at, silent

# The outcome of a run: the index of the stop that was met, or one of these while it
# goes on, once its loss is not finite, once its step is lost in rounding, after
# `max_steps`, where a solver gave up, and once the residuals are only rounding. Of a
# run that has gone on to its last time, whether it is at rest there: at a minimum, with
# no pair active, or at the origin.
GOING_ON, DIVERGED, VANISHED, TOO_MANY, FAILED, EXHAUSTED = -1, -2, -3, -4, -5, -6
RESTING, DEAD, AT_ORIGIN = -7, -8, -9
_RESULTS = {
    DIVERGED: Results.diverged,
    VANISHED: Results.step_size_vanished,
    TOO_MANY: Results.max_steps_reached,
    FAILED: Results.solver_failed,
    EXHAUSTED: Results.exhausted,
    RESTING: Results.stationary,
    DEAD: Results.dead,
    AT_ORIGIN: Results.at_origin,
}

# What is said where a reverse-mode gradient is asked for and there is none.
NO_GRADIENT = (
    "A run by this method has no reverse-mode gradient (jax.grad, jax.jacrev): it "
    "searches in loops of unknown length. Take GradientDescent(learning_rate), which "
    "has one on all inputs; of the flow, RungeKuttaFlow() on orthogonal and antipodal "
    "inputs, or LiteralFlow() where no pair comes near its kink. FilippovFlow() has "
    "forward mode (jax.jvp, jax.jacfwd). See docs/gradients.md."
)
# The same for the inputs, in either mode: what such a method finds out about K before
# its first step (eigenvectors, which inputs are collinear) has no derivative where the
# inputs are dependent, and would give a wrong one.
_NO_GRADIENT_BY_INPUTS = (
    "A run by this method has no derivative by the inputs, in either mode, and no "
    "reverse-mode gradient at all. Take jax.grad by GradientDescent(learning_rate) "
    "on all inputs, RungeKuttaFlow() on orthogonal and antipodal inputs, or "
    "LiteralFlow() where no pair comes near its kink. See docs/gradients.md."
)
# How many states a reverse-mode gradient keeps; it recomputes the rest. It costs
# nothing where no gradient is taken.
_CHECKPOINTS = 64


@runtime_checkable
class State(Protocol):
    """What a stepper hands from step to step, as far as the loop looks at it. `clock`
    is how far it has got, in the units of the stepper's marks."""

    @property
    def clock(self) -> Array: ...

    @property
    def steps(self) -> Array: ...

    @property
    def outcome(self) -> Array: ...


class AbstractStepper(eqx.Module):
    """A method at work on one problem."""

    # Whether a reverse-mode gradient can be taken through the loop.
    differentiable: ClassVar[bool] = False

    problem: eqx.AbstractVar[Problem]
    # After so many steps the run ends; None for no limit.
    max_steps: eqx.AbstractVar[int | None]

    def marks(self, times: Float[Array, " T"]) -> Array:
        """The recorded times as the stepper's clock tells them, (T,)."""
        return times

    def time(self, mark: Array) -> Array:
        """The flow time of a mark."""
        return mark

    @abc.abstractmethod
    def init(self, weights: Weights, a: Neurons) -> Any:
        """The state at t = 0."""

    @abc.abstractmethod
    def step(self, state: Any, mark: Array) -> Any:
        """One step, or one attempt at a step, that does not go beyond `mark`. Sets the
        outcome where the run has ended."""

    def last_look(self, state: Any) -> Any:
        """The state after the last step, where that step has yet to be judged."""
        return state

    @abc.abstractmethod
    def seen(self, state: Any) -> tuple[Weights, Neurons, Pairs | None]:
        """What is recorded of a state: weights, a, and the multipliers if there are."""

    @abc.abstractmethod
    def statistics(self, state: Any) -> dict[str, Array]:
        """`COUNTS` and what the method declares, at the end of a run."""


def march(
    stepper: AbstractStepper,
    weights: Weights,
    a: Neurons,
    times: Float[Array, " T"],
    stops: tuple[AbstractStop, ...],
    record: Recorder,
    meter: Meter | None = None,
) -> Trajectory:
    """A whole run."""
    if not stepper.differentiable:
        stepper = eqx.tree_at(lambda s: s.problem.inputs, stepper, _fixed(stepper))
    marks = stepper.marks(times)

    def goes_on(state: State, mark: Array) -> Array:
        more = (state.clock < mark) & (state.outcome == GOING_ON)
        if stepper.max_steps is not None:
            more &= state.steps < stepper.max_steps
        return more

    def step(state: Any, mark: Array) -> Any:
        state = stepper.step(state, mark)
        if meter is not None:
            meter.tell(state.steps, state.clock / marks[-1])
        return state

    def until(state: Any, mark: Array) -> tuple[Any, Any]:
        state = eqxi.while_loop(
            lambda s: goes_on(s, mark),
            lambda s: step(s, mark),
            state,
            kind="checkpointed" if stepper.differentiable else "lax",
            checkpoints=_CHECKPOINTS if stepper.differentiable else None,
        )
        seen = stepper.seen(state)
        # Who does not look for it after each step finds out here.
        spent = compiled_separately(exhausted_at, stepper.problem, *seen[:2])
        outcome = jnp.where(
            (state.outcome == GOING_ON) & spent, EXHAUSTED, state.outcome
        )
        state = eqx.tree_at(lambda s: s.outcome, state, outcome)
        return state, record(stepper.time(state.clock), *seen)

    last, rows = jax.lax.scan(until, stepper.init(weights, a), marks)
    # Where a run has ended, nothing is left to look at.
    final = jax.tree.map(
        lambda new, old: jnp.where(last.outcome == GOING_ON, new, old),
        stepper.last_look(last),
        last,
    )
    short = (final.outcome == GOING_ON) & (final.clock < marks[-1])
    weights, a, multipliers = stepper.seen(final)
    outcome = jnp.where(short, TOO_MANY, final.outcome)
    outcome = settled(stepper.problem, outcome, weights, a, multipliers)
    trajectory = Trajectory(
        times=stepper.time(marks),
        rows=rows,
        time=stepper.time(final.clock),
        weights=weights,
        a=a,
        result=result_of(outcome, stops),
        stats=stepper.statistics(final),
    )
    if stepper.differentiable:
        return trajectory
    return eqxi.nondifferentiable_backward(trajectory, msg=NO_GRADIENT)


def _fixed(stepper: AbstractStepper) -> AbstractInputs:
    """The inputs, which say what would work where a derivative by them is asked for."""
    inputs: Any = stepper.problem.inputs
    if isinstance(inputs, GramCoefficients):
        # Its origin comes with the network.
        fixed = eqxi.nondifferentiable(inputs.matrix, msg=_NO_GRADIENT_BY_INPUTS)
        return eqx.tree_at(lambda s: s.matrix, inputs, fixed)
    return eqxi.nondifferentiable(inputs, msg=_NO_GRADIENT_BY_INPUTS)


def settled(
    problem: Problem,
    outcome: Array,
    weights: Weights,
    a: Neurons,
    multipliers: Pairs | None = None,
) -> Array:
    """The outcome of a run that has ended here; of one that went on to its last time,
    whether it is at rest."""

    def look(problem: Problem) -> Array:
        quiet, size = silent(problem, weights, a, multipliers)
        rests = at_rest(problem, weights, a, multipliers)
        dead = jnp.where(size > 0, jnp.int32(DEAD), AT_ORIGIN)
        found = jnp.where(quiet, dead, RESTING)
        return jnp.where(quiet | rests, found, GOING_ON)

    found = compiled_separately(look, problem)
    return jnp.where(outcome == GOING_ON, found, outcome)


def result_of(outcome: Array, stops: tuple[AbstractStop, ...]) -> Results:
    """An outcome as an item of `Results`."""
    result = Results.reached_time
    for index, stop in enumerate(stops):
        result = Results.where(outcome == index, stop.result, result)
    for code, name in _RESULTS.items():
        result = Results.where(outcome == code, name, result)
    return result


def outcome_at(
    stops: tuple[AbstractStop, ...], problem: Problem, loss: Scalar, curvature: Scalar
) -> Int[Array, ""]:
    """How a run stands at a point: the first stop that is met there, or `GOING_ON`."""
    outcome = jnp.int32(GOING_ON)
    for index, stop in enumerate(stops):
        met = stop.margin(problem, loss, curvature) <= 0
        outcome = jnp.where((outcome == GOING_ON) & met, index, outcome)
    return jnp.where(jnp.isfinite(loss), outcome, DIVERGED)


def outcome_within(
    stops: tuple[AbstractStop, ...],
    problem: Problem,
    before: tuple[Scalar, Scalar],
    after: tuple[Scalar, Scalar],
    accuracy: Scalar,
) -> tuple[Int[Array, ""], Scalar]:
    """The first stop that a step has passed, or `GOING_ON`, and the fraction of the
    step at which to try again; 1 where the stop is hit.

    `before`, `after`: (L, μ) at the ends of the step. `accuracy`: what counts as a hit,
    in units of the margins, which are logarithms.
    """
    index, fraction = jnp.int32(GOING_ON), jnp.ones_like(accuracy)
    for k, stop in enumerate(stops):
        start, end = stop.margin(problem, *before), stop.margin(problem, *after)
        met = end <= 0
        fall = jnp.where(met, start - end, 1)
        # The secant, aimed at the middle of what counts as a hit.
        secant = jnp.clip((start + accuracy / 2) / fall, 0.01, 0.99)
        secant = jnp.where(end >= -accuracy, 1, secant)
        index = jnp.where(met & (index == GOING_ON), k, index)
        fraction = jnp.where(met, jnp.minimum(fraction, secant), fraction)
    return index, fraction


def towards(step: Scalar, left: Scalar) -> tuple[Scalar, Array]:
    """The step to take when `left` remains to the next recorded time, and whether it
    ends there. The last two steps before it are made equal rather than the last one
    tiny."""
    lands = step >= left * (1 - 1e-6)
    halved = jnp.where(2 * step > left, left / 2, step)
    return jnp.where(lands, left, halved), lands
