"""Any diffrax solver, with the kinks of the ReLU handled between its steps.

The solver sees the Lipschitz field of `jaxflow._kinks` within each step. `Stepper` puts
the pairs back to the true flow at the end of the step, takes off the error that the
corners of the activations leave in the second layer, and counts.
"""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._kinks import AbstractKinks, AbstractPattern, Step
from ._methods import rises
from ._problem import Problem
from ._types import Examples, Neurons, Pairs, Weights


def explicit_tableau(solver: diffrax.AbstractSolver) -> Any:
    """The Butcher tableau of an explicit Runge–Kutta scheme, None for other solvers."""
    if isinstance(solver, diffrax.AbstractERK):
        # HalfSolver passes for what it wraps, but has no tableau of its own.
        return getattr(solver, "tableau", None)
    return None


class Arguments(eqx.Module):
    """`pattern` is that of the first step; `Stepper` puts in that of the current."""

    problem: Problem
    kinks: AbstractKinks
    pattern: AbstractPattern


def velocity(t: Any, y: tuple[Weights, Neurons], args: "Arguments") -> Any:
    weights, a = y
    activations, gates = args.kinks.read(weights, args.pattern)
    return args.problem.velocity(args.problem.field_through(activations, gates, a))


class _SettledInterpolation(diffrax.AbstractLocalInterpolation):
    """The solver's interpolation within a step, put back to the true flow."""

    t0: Any  # type: ignore[misc]
    t1: Any  # type: ignore[misc]
    inner: diffrax.AbstractLocalInterpolation
    pattern: AbstractPattern

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        if t1 is not None:
            return jax.tree.map(jnp.subtract, self.evaluate(t1), self.evaluate(t0))
        weights, a = self.inner.evaluate(t0, left=left)
        return self.pattern.settle(weights), a


class StepperState(eqx.Module):
    inner: Any
    pattern: AbstractPattern
    jumped: Bool[Array, ""]
    jumps: Int[Array, ""]
    reached: Int[Array, ""]
    residuals: Examples
    loss: Float[Array, ""]
    increases: Int[Array, ""]


class Stepper(diffrax.AbstractWrappedSolver):
    """Any diffrax solver, with the pairs' kinks handled between its steps."""

    solver: diffrax.AbstractSolver  # type: ignore[misc]

    @property
    def term_structure(self) -> Any:  # type: ignore[override]
        return self.solver.term_structure

    @property
    def interpolation_cls(self) -> Any:  # type: ignore[override]
        def settled(*, t0: Any, t1: Any, inner: Any, pattern: AbstractPattern) -> Any:
            interpolation = self.solver.interpolation_cls(t0=t0, t1=t1, **inner)
            return _SettledInterpolation(t0, t1, interpolation, pattern)

        return settled

    # diffrax asks implicit solvers for these two.
    @property
    def root_finder(self) -> Any:
        return self.solver.root_finder  # type: ignore[attr-defined]

    @property
    def root_find_max_steps(self) -> Any:
        return self.solver.root_find_max_steps  # type: ignore[attr-defined]

    def order(self, terms: Any) -> Any:
        return self.solver.order(terms)

    def error_order(self, terms: Any) -> Any:
        return self.solver.error_order(terms)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Arguments) -> Any:
        zero = jnp.int32(0)
        return StepperState(
            inner=self.solver.init(terms, t0, t1, y0, args),
            pattern=args.pattern,
            jumped=jnp.zeros((), bool),
            jumps=zero,
            reached=zero,
            residuals=args.problem.field(*y0).residuals,
            loss=args.problem.loss_at(*y0),
            increases=zero,
        )

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        args: Arguments,
        solver_state: StepperState,
        made_jump: Any,
    ) -> Any:
        state = solver_state
        pattern = state.pattern
        within = Arguments(args.problem, args.kinks, pattern)
        (weights, a), error, inner_info, inner, result = self.solver.step(
            terms, t0, t1, y0, within, state.inner, made_jump | state.jumped
        )
        activations, _ = args.kinks.read(weights, pattern)
        r = args.problem.residuals(activations, a)
        ends = Step(
            before=y0[0],
            after=weights,
            a_before=y0[1],
            a=a,
            r_before=state.residuals,
            r=r,
            length=(t1 - t0) / args.problem.n,
        )
        tableau, bends = explicit_tableau(self.solver), args.kinks.bends(ends, pattern)
        if tableau is not None and bends is not None:
            rate = 0.5 * (ends.r_before + r) * ends.length
            missed, estimated = _corner_errors(tableau, *bends, rate)
            a = a + missed
            error = None if error is None else (error[0], error[1] - estimated)
        loss = args.problem.loss(r)
        end = args.kinks.finish(ends, pattern)
        after = StepperState(
            inner=inner,
            pattern=end.pattern,
            jumped=end.jumped,
            jumps=state.jumps + end.jumped.astype(jnp.int32),
            reached=state.reached + end.reached,
            residuals=r,
            loss=loss,
            increases=state.increases + rises(loss, state.loss),
        )
        info = {"inner": inner_info, "pattern": pattern}
        return (end.weights, a), error, info, after, result

    def func(self, terms: Any, t0: Any, y0: Any, args: Arguments) -> Any:
        return self.solver.func(terms, t0, y0, args)


def _corner_errors(
    tableau: Any, size: Pairs, fraction: Pairs, rate: Examples
) -> tuple[Neurons, Neurons]:
    """What a Runge–Kutta step misses of ∫ d/dt a_j = ∫ (1/n) Σ_i r_i (z_ji)_+ at the
    corners of the activations, and what its error estimate makes of them, each (p,).

    `rate` is r_i h/n, (n,). The scheme sums f(s) = (1 − s/fraction)_+ with its weights
    b_k at its nodes c_k; the integral is fraction/2.
    """
    nodes = (0.0, *tableau.c.tolist())
    summed = estimated = jnp.zeros_like(fraction)
    for node, weight, error in zip(
        nodes, tableau.b_sol.tolist(), tableau.b_error.tolist(), strict=True
    ):
        value = jax.nn.relu(1 - node / fraction)
        summed = summed + weight * value
        estimated = estimated + error * value
    scale = size * rate[None, :]
    missed = jnp.sum(scale * (0.5 * fraction - summed), axis=1)
    return missed, jnp.sum(scale * estimated, axis=1)
