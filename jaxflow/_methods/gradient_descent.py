"""Gradient descent: the explicit Euler scheme of the flow, and what practice uses."""

from typing import Any, ClassVar

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from .._checks import as_scalar, check_flag, is_concrete
from .._meter import Meter
from .._problem.inputs import AbstractInputs, GramInputs
from .._problem.run_problem import Problem
from .._stops import AbstractStop
from .._types import ArrayLike, Examples, Neurons, Number, Scalar, Weights
from .base import AbstractMethod, Recorder, Trajectory, rises
from .loop import GOING_ON, NO_GRADIENT, AbstractStepper, march, outcome_at

# The largest number of 32 bits that a float32 holds too.
_MOST_STEPS = 2**31 - 128


class GradientDescent(AbstractMethod):
    """θ_{k+1} = θ_k − η p ∇L(θ_k): explicit Euler for eq. 3 with step η.

    Time is learning rate × step: requested times are rounded to the nearest step, and
    `Solution.times` holds the times of those steps.

    **Arguments:**

    - `learning_rate`: η, in units of flow time. The paper uses 1.
    - `optimizer`: any optax transformation in place of `optax.sgd(learning_rate)`. It
      is fed p∇L, with p L as `value` and as a function of (w, a) as `value_fn`
      (`optax.lbfgs`, `optax.contrib.reduce_on_plateau`), and its updates are added to
      (w, a). `learning_rate` then only sets the clock: left out, time counts steps. So
      `GradientDescent(optax.adam(1e-2))` does, and for a schedule of learning rates
      `GradientDescent(optax.sgd(schedule))`. Such a run keeps the coordinates of the
      network that was passed in, since an optimiser need not be invariant under
      rotations.
    - `count_crossings`: whether `stats["kink_crossings"]` is counted, else −1. On
      orthogonal inputs the count takes half as long again as the steps themselves.

    Raises a ValueError when `learning_rate` is not positive, or a function of the step;
    and a run does where the last of its times is more than 2³¹ − 128 steps away, and
    where `optimizer` asks for `value_fn` on `GramInputs`.
    """

    learning_rate: Array
    optimizer: optax.GradientTransformation | None = eqx.field(static=True)
    count_crossings: bool = eqx.field(static=True)

    def __init__(
        self,
        learning_rate: Number | optax.GradientTransformation = 1.0,
        optimizer: optax.GradientTransformation | None = None,
        *,
        count_crossings: bool = True,
    ):
        if _is_transformation(learning_rate):
            if optimizer is not None:
                raise ValueError(
                    "learning_rate must be a number where an optimizer is given, got "
                    "two optax transformations. Join them by optax.chain(...)."
                )
            learning_rate, optimizer = 1.0, learning_rate
        if callable(learning_rate):
            raise ValueError(
                "learning_rate must be one number, since time is learning rate × step, "
                f"got the function {learning_rate!r}. A schedule belongs to an "
                "optimizer, GradientDescent(optax.sgd(schedule)), where time counts "
                "steps."
            )
        rate = as_scalar("learning_rate", learning_rate)
        if optimizer is not None and not _is_transformation(optimizer):
            raise ValueError(
                "optimizer must be an optax transformation such as optax.adam(1e-2), "
                f"got {type(optimizer).__name__}."
            )
        self.learning_rate = rate
        self.optimizer = optimizer
        self.count_crossings = check_flag("count_crossings", count_crossings)

    @property
    def rotation_invariant(self) -> bool:
        return self.optimizer is None

    def working_numbers(self, inputs: AbstractInputs, pairs: int) -> int:
        return 7 * pairs

    def admits(self, times: Float[Array, " T"]) -> Bool[Array, ""]:
        # Else the clock, which counts steps, would come to its end.
        return (self.learning_rate > 0) & (
            times[-1] <= _MOST_STEPS * self.learning_rate.astype(times.dtype)
        )

    def check_times(self, times: ArrayLike) -> None:
        if is_concrete(self.learning_rate, times):
            rate, last = float(self.learning_rate), float(np.asarray(times)[-1])
            if last > _MOST_STEPS * rate:
                raise ValueError(
                    f"learning_rate = {rate:g} takes {last / rate:.3g} steps to the "
                    f"last of the times, {last:g}, and a run counts up to "
                    f"{_MOST_STEPS}. Take a larger learning_rate, an earlier time, or "
                    "the flow itself, GradientFlow()."
                )

    def lean(self) -> "GradientDescent":
        return GradientDescent(
            self.learning_rate, self.optimizer, count_crossings=False
        )

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
        if self.optimizer is not None and problem.rates is not None:
            raise ValueError(
                "rates are those of the flow and of plain descent, but an optimizer "
                "has rates of its own: leave rates= out, and give each layer its own "
                "by optax.multi_transform."
            )
        stepper = _Stepper(
            problem=problem,
            stops=stops,
            rate=self.learning_rate.astype(a.dtype),
            optimizer=self.optimizer,
            count_crossings=self.count_crossings,
            max_steps=None,
        )
        return march(stepper, weights, a, times, stops, record, meter)


def _is_transformation(value: Any) -> bool:
    return all(callable(getattr(value, name, None)) for name in ("init", "update"))


class _State(eqx.Module):
    """Where the run is, the optimiser's memory, and what has been counted. The clock
    counts steps. `loss` is that of the point before, where the loop last looked."""

    clock: Int[Array, ""]
    outcome: Int[Array, ""]
    weights: Weights
    a: Neurons
    memory: Any
    loss: Scalar
    crossings: Int[Array, ""]
    increases: Int[Array, ""]

    @property
    def steps(self) -> Int[Array, ""]:
        return self.clock


class _Stepper(AbstractStepper):
    """A step looks before it moves: the residuals say whether the run has ended where
    it is, and move it on if not."""

    differentiable: ClassVar[bool] = True

    problem: Problem
    stops: tuple[AbstractStop, ...]
    rate: Scalar
    optimizer: optax.GradientTransformation | None = eqx.field(static=True)
    count_crossings: bool = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)

    def marks(self, times: Float[Array, " T"]) -> Array:
        return jnp.round(times / self.rate).astype(jnp.int32)

    def time(self, mark: Array) -> Array:
        return mark.astype(self.rate.dtype) * self.rate

    def init(self, weights: Weights, a: Neurons) -> _State:
        memory = None
        if self.optimizer is not None:
            memory = self.optimizer.init((weights, a))
        return _State(
            clock=jnp.int32(0),
            outcome=jnp.int32(GOING_ON),
            weights=weights,
            a=a,
            memory=memory,
            loss=jnp.asarray(jnp.inf, a.dtype),
            crossings=jnp.int32(0 if self.count_crossings else -1),
            increases=jnp.int32(0),
        )

    def step(self, state: _State, mark: Array) -> _State:
        state, residuals = self._look(state)
        go_on = state.outcome == GOING_ON
        weights, a, memory = self._moved(residuals, state, go_on)
        crossed = state.crossings
        if self.count_crossings:
            gates = self.problem.gates
            changed = gates(weights) != gates(state.weights)
            crossed += jnp.sum(changed, dtype=jnp.int32)
        return eqx.tree_at(
            lambda s: (s.weights, s.a, s.memory, s.clock, s.crossings),
            state,
            (weights, a, memory, state.clock + go_on.astype(jnp.int32), crossed),
            is_leaf=lambda leaf: leaf is None,
        )

    def last_look(self, state: _State) -> _State:
        return self._look(state)[0]

    def seen(self, state: _State) -> tuple[Weights, Neurons, None]:
        return state.weights, state.a, None

    def statistics(self, state: _State) -> dict[str, Array]:
        return {
            "velocity_evaluations": state.steps + 1,
            "steps": state.steps,
            "accepted_steps": state.steps,
            "rejected_steps": jnp.zeros_like(state.steps),
            "kink_crossings": state.crossings,
            "loss_increases": state.increases,
        }

    def _look(self, state: _State) -> tuple[_State, Examples]:
        """Notes what is to be seen where the run is."""
        problem = self.problem
        residuals = problem.residuals_at(state.weights, state.a)
        loss = problem.loss(residuals)
        # Only stops that ask for it make the compiler keep the curvature.
        curvature = problem.curvature(problem.field(state.weights, state.a))
        seen = eqx.tree_at(
            lambda s: (s.outcome, s.loss, s.increases),
            state,
            (
                outcome_at(self.stops, problem, loss, curvature),
                loss,
                state.increases + rises(loss, state.loss),
            ),
        )
        return seen, residuals

    def _moved(
        self, residuals: Examples, state: _State, go_on: Array
    ) -> tuple[Weights, Neurons, Any]:
        """Weights, a and the optimiser's memory after a step, or as they were where the
        run has ended otherwise than by diverging."""
        weights, a = here = (state.weights, state.a)
        if self.optimizer is None:
            # The velocity is linear in the residuals: what scales or stops the step is
            # applied to n numbers rather than to n p.
            pushes = jnp.where(go_on, self.rate * residuals, 0)
            return *self.problem.pushed(weights, a, pushes), None
        field = self.problem.field(weights, a)
        gradient = jax.tree.map(jnp.negative, self.problem.velocity(field))
        updates, memory = self._updates(gradient, state)
        moved = optax.apply_updates(here, updates)
        return jax.tree.map(
            lambda new, old: jnp.where(go_on, new, old),
            (*moved, memory),
            (*here, state.memory),
        )

    def _updates(self, gradient: Any, state: _State) -> tuple[Any, Any]:
        """What the optimiser makes of p∇L, and its memory."""
        here = (state.weights, state.a)
        optimizer: Any = self.optimizer
        if not isinstance(optimizer, optax.GradientTransformationExtraArgs):
            return optimizer.update(gradient, state.memory, here)
        asked = []

        def value_at(here: tuple[Weights, Neurons]) -> Scalar:
            asked.append(True)
            return self._value_at(here)

        try:
            updated = optimizer.update(
                gradient,
                state.memory,
                here,
                value=self.problem.p * state.loss,
                grad=gradient,
                value_fn=value_at,
            )
        except TypeError as error:
            if "missing" not in str(error):
                raise
            raise ValueError(
                "optimizer must be an optax transformation that takes no more than "
                f"value, grad and value_fn besides the updates; this one says: {error}."
            ) from error
        if asked:
            # It searches along a line, as long as it takes.
            return eqxi.nondifferentiable_backward(updated, msg=NO_GRADIENT)
        return updated

    def _value_at(self, here: tuple[Weights, Neurons]) -> Scalar:
        """p L, whose derivative is what the optimiser is fed."""
        if isinstance(self.problem.inputs, GramInputs):
            raise ValueError(
                "optimizer asks for p L as a function of (w, a), to look for a step "
                "along a line, but on GramInputs w is not there, only its products "
                "with the inputs. Give the inputs as an array, Dataset(x, y)."
            )
        return self.problem.p * self.problem.loss_at(*here)
