"""Gradient descent: the explicit Euler scheme of the flow, and what practice uses."""

from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from .._checks import as_scalar
from .._problem.inputs import AbstractInputs
from .._problem.run_problem import Problem
from .._solution import Results
from .._stops import AbstractStop
from .._types import Examples, Neurons, Scalar, Weights
from .base import AbstractMethod, Recorder, Trajectory, rises

# How many states a reverse-mode gradient keeps; it recomputes the rest. It costs
# nothing where no gradient is taken.
_CHECKPOINTS = 64

# A run's outcome while it goes on, and once its loss is no longer finite.
_GOING_ON, _DIVERGED = -1, -2


class _State(eqx.Module):
    """What the next step needs (weights, a, memory), and what has been counted."""

    weights: Weights
    a: Neurons
    memory: Any
    step: Int[Array, ""]
    # The index of the stop that was met, or one of the two codes above.
    outcome: Int[Array, ""]
    loss: Scalar
    crossings: Int[Array, ""]
    increases: Int[Array, ""]


class GradientDescent(AbstractMethod):
    """θ_{k+1} = θ_k − η p ∇L(θ_k): explicit Euler for eq. 3 with step η.

    Time is learning rate × step: requested times are rounded to the nearest step, and
    `Solution.times` holds the times of those steps.

    **Arguments:**

    - `learning_rate`: η, in units of flow time. The paper uses 1.
    - `optimizer`: any optax transformation in place of `optax.sgd(learning_rate)`. It
      is fed p∇L and its updates are added to (w, a). `learning_rate` then only sets the
      clock. Such a run keeps the coordinates of the network that was passed in, since
      an optimiser need not be invariant under rotations.
    - `count_crossings`: whether `stats["kink_crossings"]` is counted, else −1. On
      orthogonal inputs the count takes half as long again as the steps themselves.

    Raises a ValueError when `learning_rate` is not positive.
    """

    learning_rate: Any
    optimizer: optax.GradientTransformation | None = eqx.field(static=True)
    count_crossings: bool = eqx.field(static=True)

    def __init__(
        self,
        learning_rate: Any = 1.0,
        optimizer: optax.GradientTransformation | None = None,
        *,
        count_crossings: bool = True,
    ):
        rate = as_scalar("learning_rate", learning_rate)
        if optimizer is not None and not hasattr(optimizer, "update"):
            raise ValueError(
                "optimizer must be an optax transformation such as optax.adam(1e-2), "
                f"got {type(optimizer).__name__}."
            )
        self.learning_rate = rate
        self.optimizer = optimizer
        self.count_crossings = bool(count_crossings)

    @property
    def rotation_invariant(self) -> bool:
        return self.optimizer is None

    def working_numbers(self, inputs: AbstractInputs, pairs: int) -> int:
        return 5 * pairs

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
    ) -> Trajectory:
        rate = self.learning_rate.astype(a.dtype)
        targets = jnp.round(times / rate).astype(jnp.int32)

        def look(state: _State) -> tuple[_State, Examples]:
            """Notes what is to be seen where the run is."""
            residuals = problem.residuals_at(state.weights, state.a)
            loss = problem.loss(residuals)
            # Only stops that ask for it make the compiler keep the curvature.
            curvature = problem.curvature(problem.field(state.weights, state.a))
            outcome = jnp.int32(_GOING_ON)
            for index, stop in enumerate(stops):
                margin = stop.margin(problem, loss, curvature)
                met = (outcome == _GOING_ON) & (margin <= 0)
                outcome = jnp.where(met, index, outcome)
            seen = eqx.tree_at(
                lambda s: (s.outcome, s.loss, s.increases),
                state,
                (
                    jnp.where(jnp.isfinite(loss), outcome, _DIVERGED),
                    loss,
                    state.increases + rises(loss, state.loss),
                ),
            )
            return seen, residuals

        def advance(state: _State) -> _State:
            state, residuals = look(state)
            go_on = state.outcome == _GOING_ON
            weights, a, memory = self._moved(problem, residuals, state, rate, go_on)
            crossed = state.crossings
            if self.count_crossings:
                changed = problem.gates(weights) != problem.gates(state.weights)
                crossed += jnp.sum(changed, dtype=jnp.int32)
            return eqx.tree_at(
                lambda s: (s.weights, s.a, s.memory, s.step, s.crossings),
                state,
                (weights, a, memory, state.step + go_on.astype(jnp.int32), crossed),
            )

        def until(state: _State, target: Int[Array, ""]) -> tuple[_State, Any]:
            state = eqxi.while_loop(
                lambda s: (s.step < target) & (s.outcome == _GOING_ON),
                advance,
                state,
                kind="checkpointed",
                checkpoints=_CHECKPOINTS,
            )
            time = state.step.astype(rate.dtype) * rate
            return state, record(time, state.weights, state.a)

        memory = None
        if self.optimizer is not None:
            memory = self.optimizer.init((weights, a))
        start = _State(
            weights=weights,
            a=a,
            memory=memory,
            step=jnp.int32(0),
            outcome=jnp.int32(_GOING_ON),
            loss=jnp.asarray(jnp.inf, a.dtype),
            crossings=jnp.int32(0 if self.count_crossings else -1),
            increases=jnp.int32(0),
        )
        last, rows = jax.lax.scan(until, start, targets)
        # The loop looks before each step; nothing has looked after the last one.
        seen, _ = look(last)
        final = jax.tree.map(
            lambda new, old: jnp.where(last.outcome == _GOING_ON, new, old), seen, last
        )
        result = Results.reached_time
        for index, stop in enumerate(stops):
            result = Results.where(final.outcome == index, stop.result, result)
        result = Results.where(final.outcome == _DIVERGED, Results.diverged, result)
        return Trajectory(
            times=targets.astype(rate.dtype) * rate,
            rows=rows,
            time=final.step.astype(rate.dtype) * rate,
            weights=final.weights,
            a=final.a,
            result=result,
            stats={
                "velocity_evaluations": final.step + 1,
                "steps": final.step,
                "accepted_steps": final.step,
                "rejected_steps": jnp.zeros_like(final.step),
                "kink_crossings": final.crossings,
                "loss_increases": final.increases,
            },
        )

    def _moved(
        self,
        problem: Problem,
        residuals: Examples,
        state: _State,
        rate: Scalar,
        go_on: Array,
    ) -> tuple[Weights, Neurons, Any]:
        """Weights, a and the optimiser's memory after a step, or as they were where the
        run has ended otherwise than by diverging."""
        weights, a = here = (state.weights, state.a)
        if self.optimizer is None:
            # The velocity is linear in the residuals: what scales or stops the step is
            # applied to n numbers rather than to n p.
            pushes = jnp.where(go_on, rate * residuals, 0)
            return *problem.pushed(weights, a, pushes), None
        field = problem.field(weights, a)
        gradient = jax.tree.map(jnp.negative, problem.velocity(field))
        updates, memory = self.optimizer.update(gradient, state.memory, here)
        moved = optax.apply_updates(here, updates)
        return jax.tree.map(
            lambda new, old: jnp.where(go_on, new, old),
            (*moved, memory),
            (*here, state.memory),
        )
