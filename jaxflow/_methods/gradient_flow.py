"""The gradient flow itself: integrated by diffrax where its kinks allow that."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float

from .._checks import as_scalar, check_choice, check_count
from .._problem.inputs import AbstractInputs
from .._problem.run_problem import Problem
from .._solution import Results
from .._stops import AbstractStop, margins
from .._types import Neurons, Weights
from .base import AbstractMethod, Recorder, Trajectory
from .filippov_flow import FilippovFlow
from .kink_solver import (
    Arguments,
    Stepper,
    StepperState,
    explicit_tableau,
    holds,
    velocity,
)
from .kinks import AbstractHolding, AbstractKinks, LiteralKinks, kinks_of
from .step_size import ErrorControl, MovingRootMeanSquare

_WITH_MEMORY = (diffrax.ReversibleHeun, diffrax.LeapfrogMidpoint)


class GradientFlow(AbstractMethod):
    """The solution of d/dt (w, a) = −p∇L (eq. 3), to a tolerance.

    With no arguments it does what the inputs of the run ask for.

    - Orthogonal inputs: the kinks of the ReLU cost no accuracy (`kinks.py`).
    - Antipodal inputs: pairs cross their kinks to second order in the step, which the
      error estimate does not see. Against an event-by-event reference the weights were
      off by up to 2e-3 at rtol 1e-5 and by 5e-6 at 1e-9.
    - Dense and Gram inputs, where pairs slide along their kinks: the run is that of
      `FilippovFlow(tolerance=0.1 √rtol)`. Its scheme is of second order, and across
      kinks no scheme known to us does better, so that the tolerances of a fifth-order
      solver are out of reach and their square roots are asked for instead.
      `Solution.stats` then holds `sliding_share` and its companions.

    **Arguments:**

    - `rtol`: relative tolerance of the local error per step.
    - `atol`: absolute tolerance, in units of the weights; `rtol`/10 if left out.
      `FilippovFlow` has no use for it.
    - `kinks`: `"auto"` as above; `"filippov"` for `FilippovFlow` on any inputs;
      `"literal"` to integrate the field of eq. 3 as it stands by a diffrax solver,
      jumps included. On dense and Gram inputs that is accurate only while no pair comes
      near its kink: an adaptive solver then needs many steps, and where pairs slide no
      tolerance is an error bound. Only diffrax runs have a reverse-mode gradient.
    - `solver`: any diffrax solver of ordinary differential equations; Dopri5 if left
      out. With a solver or a controller given, `"auto"` never takes `FilippovFlow`.
    - `controller`: any diffrax step size controller, in place of a
      `diffrax.PIDController` with the two tolerances and the root mean square error
      over the numbers that move. A controller of yours averages over all of them.
    - `first_step`: the first step, in units of time; chosen by the controller if left
      out. A constant step size needs it.
    - `max_steps`: after this many steps the run ends with a message.

    Raises a ValueError when a tolerance or a step is not positive, or when a solver is
    given and `kinks="filippov"`.
    """

    rtol: Any
    atol: Any
    first_step: Any
    kinks: str = eqx.field(static=True)
    by_diffrax: bool = eqx.field(static=True)
    solver: diffrax.AbstractSolver
    controller: diffrax.AbstractStepSizeController | None
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        rtol: Any = 1e-6,
        atol: Any = None,
        *,
        kinks: str = "auto",
        solver: diffrax.AbstractSolver | None = None,
        controller: diffrax.AbstractStepSizeController | None = None,
        first_step: Any = None,
        max_steps: int = 100_000,
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
        check_choice("kinks", kinks, ("auto", "filippov", "literal"))
        self.by_diffrax = solver is not None or controller is not None
        if kinks == "filippov" and self.by_diffrax:
            raise ValueError(
                "kinks='filippov' brings its own scheme; leave out solver and "
                "controller, or take kinks='literal'."
            )
        self.kinks = kinks
        # Python floats would be compiled in, and a new tolerance compile anew.
        self.rtol = as_scalar("rtol", rtol)
        self.atol = (
            self.rtol / 10 if atol is None else as_scalar("atol", atol, strictly=False)
        )
        self.first_step = (
            None if first_step is None else as_scalar("first_step", first_step)
        )
        self.solver = diffrax.Dopri5() if solver is None else solver
        self.controller = controller
        self.max_steps = check_count("max_steps", max_steps)

    @property
    def rotation_invariant(self) -> bool:
        return True

    def working_numbers(self, inputs: AbstractInputs, pairs: int) -> int:
        kinks = self._kinks(inputs)
        if kinks is None:
            return self._filippov().working_numbers(inputs, pairs)
        return (12 if holds(self.solver, kinks) else 30) * pairs

    def run(
        self,
        problem: Problem,
        weights: Weights,
        a: Neurons,
        times: Float[Array, " T"],
        stops: tuple[AbstractStop, ...],
        record: Recorder,
    ) -> Trajectory:
        kinks = self._kinks(problem.inputs)
        if kinks is None:
            return self._filippov().run(problem, weights, a, times, stops, record)
        if isinstance(kinks, AbstractHolding) and isinstance(self.solver, _WITH_MEMORY):
            raise ValueError(
                f"{type(self.solver).__name__} remembers earlier points, but pairs of "
                "orthogonal and antipodal inputs are moved between steps where they "
                "reach their kink. Use a Runge–Kutta solver, such as diffrax.Tsit5(), "
                "or kinks='literal'."
            )
        dtype = a.dtype
        controller = self.controller
        if controller is None:
            controller = ErrorControl(
                self.rtol.astype(dtype),
                self.atol.astype(dtype),
                MovingRootMeanSquare(problem),
            )
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
            Stepper(self.solver),
            t0=jnp.zeros((), dtype),
            t1=end,
            dt0=None if self.first_step is None else self.first_step.astype(dtype),
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
        )
        _, (end_time,) = solution.ts
        rows, (end_weights, end_a) = solution.ys
        kinds = eqx.filter_eval_shape(record, times[0], weights, a)
        rows = jax.tree.map(lambda row: row[: times.size], rows)
        rows = jax.tree.map(_as_recorded, rows, kinds)
        state: StepperState = solution.solver_state
        end_weights, end_a = end_weights[0], end_a[0]
        return Trajectory(
            times=times,
            rows=rows,
            time=end_time,
            weights=end_weights,
            a=end_a,
            result=_result(
                solution, stops, at_start, problem.loss_at(end_weights, end_a)
            ),
            stats={
                "velocity_evaluations": self._evaluations(solution.stats, state),
                "steps": _count(solution.stats["num_steps"]),
                "accepted_steps": _count(solution.stats["num_accepted_steps"]),
                "rejected_steps": _count(solution.stats["num_rejected_steps"]),
                "kink_crossings": state.reached,
                "loss_increases": state.increases,
            },
        )

    def _kinks(self, inputs: AbstractInputs) -> AbstractKinks | None:
        """How diffrax is led across the kinks; None where `FilippovFlow` runs."""
        kinks: AbstractKinks = kinks_of(inputs)
        inexact = isinstance(kinks, LiteralKinks) and not self.by_diffrax
        if self.kinks == "filippov" or (self.kinks == "auto" and inexact):
            return None
        return LiteralKinks(inputs) if self.kinks == "literal" else kinks

    def _filippov(self) -> FilippovFlow:
        return FilippovFlow(
            0.1 * jnp.sqrt(self.rtol),
            first_step=self.first_step,
            max_steps=self.max_steps,
        )

    def _evaluations(self, stats: dict[str, Any], state: "StepperState") -> Any:
        tableau = explicit_tableau(self.solver)
        if tableau is None:
            return jnp.full_like(state.reached, -1)
        per_step = tableau.num_stages - tableau.fsal
        # Besides: the first stage of the first step and after each jump, where a
        # first-same-as-last scheme cannot reuse its last stage, and what the
        # controller spends on choosing a first step.
        extra = (1 + state.jumps) if tableau.fsal else 0
        chooses = isinstance(self.controller, diffrax.PIDController | None)
        first = 2 if chooses and self.first_step is None else 0
        return _count(stats["num_steps"]) * per_step + extra + first


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


def _result(
    solution: diffrax.Solution,
    stops: tuple[AbstractStop, ...],
    at_start: Bool[Array, " stops"],
    final_loss: Array,
) -> Any:
    codes = diffrax.RESULTS
    stopped = solution.result == codes.event_occurred
    result = Results.where(
        (solution.result == codes.successful) | stopped,
        Results.reached_time,
        Results.solver_failed,
    )
    for code, ours in (
        (codes.max_steps_reached, Results.max_steps_reached),
        (codes.dt_min_reached, Results.step_size_vanished),
    ):
        result = Results.where(solution.result == code, ours, result)
    mask: Any = solution.event_mask
    for index, stop in enumerate(stops):
        met = mask[index] | at_start[index]
        result = Results.where(met, stop.result, result)
    return Results.where(jnp.isfinite(final_loss), result, Results.diverged)
