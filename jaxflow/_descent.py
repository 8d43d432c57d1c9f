"""Gradient descent: the explicit Euler scheme of the flow, and what practice uses."""

from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from ._checks import as_scalar
from ._methods import AbstractMethod, Recorder, Trajectory, rises
from ._problem import Field, Problem
from ._solution import Results
from ._stops import AbstractStop, margins
from ._types import Neurons, Scalar, Weights

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
    gates: Bool[Array, "p n"]
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

    Raises a ValueError when `learning_rate` is not positive.
    """

    learning_rate: Any
    optimizer: optax.GradientTransformation | None = eqx.field(static=True)

    def __init__(
        self,
        learning_rate: Any = 1.0,
        optimizer: optax.GradientTransformation | None = None,
    ):
        rate = as_scalar("learning_rate", learning_rate)
        if optimizer is not None and not hasattr(optimizer, "update"):
            raise ValueError(
                "optimizer must be an optax transformation such as optax.adam(1e-2), "
                f"got {type(optimizer).__name__}."
            )
        self.learning_rate = rate
        self.optimizer = optimizer

    @property
    def rotation_invariant(self) -> bool:
        return self.optimizer is None

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
        optimizer = optax.sgd(rate) if self.optimizer is None else self.optimizer
        targets = jnp.round(times / rate).astype(jnp.int32)

        def look(state: _State) -> tuple[_State, Field]:
            """Notes what is to be seen where the run is."""
            field = problem.field(state.weights, state.a)
            loss = problem.loss(field.residuals)
            outcome = jnp.int32(_GOING_ON)
            for index, margin in enumerate(margins(stops, problem, field)):
                met = (outcome == _GOING_ON) & (margin <= 0)
                outcome = jnp.where(met, index, outcome)
            crossed = jnp.sum(field.gates != state.gates, dtype=jnp.int32)
            seen = _State(
                weights=state.weights,
                a=state.a,
                memory=state.memory,
                step=state.step,
                outcome=jnp.where(jnp.isfinite(loss), outcome, _DIVERGED),
                loss=loss,
                gates=field.gates,
                crossings=state.crossings + jnp.where(state.step > 0, crossed, 0),
                increases=state.increases + rises(loss, state.loss),
            )
            return seen, field

        def advance(state: _State) -> _State:
            state, field = look(state)
            go_on = state.outcome == _GOING_ON
            here = (state.weights, state.a)
            gradient = jax.tree.map(jnp.negative, problem.velocity(field))
            updates, memory = optimizer.update(gradient, state.memory, here)
            moved = (*optax.apply_updates(here, updates), memory)
            # A run that has ended stays where it is.
            moved = jax.tree.map(
                lambda new, old: jnp.where(go_on, new, old),
                moved,
                (*here, state.memory),
            )
            return eqx.tree_at(
                lambda s: (s.weights, s.a, s.memory, s.step),
                state,
                (*moved, state.step + go_on.astype(jnp.int32)),
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

        start = _State(
            weights=weights,
            a=a,
            memory=optimizer.init((weights, a)),
            step=jnp.int32(0),
            outcome=jnp.int32(_GOING_ON),
            loss=jnp.asarray(jnp.inf, a.dtype),
            gates=jnp.zeros_like(problem.inputs.preactivations(weights), bool),
            crossings=jnp.int32(0),
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
