"""Any diffrax solver, with the kinks of the ReLU handled between its steps.

Within each step the field is the Lipschitz one of `kinks.py`: the solver sees it, or,
for explicit Runge–Kutta schemes, `gated_runge_kutta.py` with its tableau. `Stepper`
puts the pairs back to the true flow at the end of the step, takes off the error that
the corners of the activations leave in the second layer, and counts.
"""

import dataclasses
import functools
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._linalg import product
from .._problem.run_problem import Problem
from .._types import Examples, Neurons, Pairs, Weights
from .._xla import written_to_memory
from .ends import UNCHANGED, at_rest, exhausted, rising, sums_at
from .gated_runge_kutta import HeldInterpolation, HeldStep, Stage
from .kinks import AbstractHolding, AbstractKinks, AbstractPattern, Step, StepEnd
from .step_size import StepError

# A step that raises the loss is made again, as if its error were so many times what is
# allowed.
_RISEN = 8.0


def explicit_tableau(solver: diffrax.AbstractSolver) -> Any:
    """The Butcher tableau of an explicit Runge–Kutta scheme, None for other solvers."""
    if isinstance(solver, diffrax.AbstractERK):
        # HalfSolver passes for what it wraps, but has no tableau of its own.
        return getattr(solver, "tableau", None)
    return None


def holds(solver: diffrax.AbstractSolver, kinks: AbstractKinks) -> bool:
    """Whether a step is known by few numbers, see `gated_runge_kutta.py`."""
    holding = isinstance(kinks, AbstractHolding)
    # A user's solver may have a step of its own.
    plain = getattr(type(solver), "step", None) is diffrax.AbstractERK.step
    return holding and plain and explicit_tableau(solver) is not None


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
    """`scheme` and `kinks`: what each hands from step to step. `jumped`: whether the
    first stage of the next step is not the last one of this. `rests`: whether nothing
    moves any more. `spent`: whether the residuals are only rounding."""

    scheme: Any
    kinks: Any
    jumped: Bool[Array, ""]
    jumps: Int[Array, ""]
    reached: Int[Array, ""]
    residuals: Examples
    loss: Float[Array, ""]
    increases: Int[Array, ""]
    rests: Bool[Array, ""]
    spent: Bool[Array, ""]


class Stepper(diffrax.AbstractWrappedSolver):
    """Any diffrax solver, with the pairs' kinks handled between its steps.

    With `measure` the error that it returns is one number, in units of what is allowed;
    without, it has the shape of the weights, as a controller of diffrax wants it.
    """

    solver: diffrax.AbstractSolver  # type: ignore[misc]
    measure: StepError | None = None

    @property
    def term_structure(self) -> Any:  # type: ignore[override]
        return self.solver.term_structure

    @property
    def interpolation_cls(self) -> Any:  # type: ignore[override]
        def within(*, t0: Any, t1: Any, pattern: Any = None, **info: Any) -> Any:
            if pattern is None:
                return HeldInterpolation(t0, t1, **info, solver=self.solver)
            inner = self.solver.interpolation_cls(t0=t0, t1=t1, **info["inner"])
            return _SettledInterpolation(t0, t1, inner, pattern)

        return within

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
        weights, a = y0
        r = args.problem.field(weights, a).residuals
        held = holds(self.solver, args.kinks)
        if not held:
            scheme = self.solver.init(terms, t0, t1, y0, args)
        elif explicit_tableau(self.solver).fsal:
            # Not a stage yet, which the first step finds out.
            scheme = Stage(a, r, jnp.zeros_like(a))
        else:
            scheme = None
        return StepperState(
            scheme=scheme,
            kinks=args.kinks.start(weights, a, r),
            jumped=jnp.full((), held),
            jumps=zero,
            reached=zero,
            residuals=r,
            loss=args.problem.loss_at(weights, a),
            increases=zero,
            rests=jnp.zeros((), bool),
            spent=jnp.zeros((), bool),
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
        state, held = solver_state, holds(self.solver, args.kinks)
        tableau = explicit_tableau(self.solver)
        fresh = made_jump | state.jumped
        # At rest a step of any length leaves everything in its place. Taken as it is,
        # it would be led by rounding, and at most as long as the scheme is stable.
        length = jnp.where(state.rests, 0, t1 - t0)
        step = HeldStep(args.problem, args.kinks, state.kinks, y0[0], y0[1], length)
        reuses = held and tableau.fsal
        if held:
            first = (
                jax.lax.cond(fresh, lambda: step.first(), lambda: state.scheme)
                if reuses
                else step.first()
            )
            stages = step.stages(tableau, first)
            y, result = step.end(tableau, stages), diffrax.RESULTS.successful
        else:
            within = Arguments(args.problem, args.kinks, step.pattern)
            y, error, inner, scheme, result = self.solver.step(
                terms, t0, t1, y0, within, state.scheme, fresh
            )
            info: Any = {"inner": inner, "pattern": step.pattern}
        # Many read the weights at the end, and would each work them out anew.
        close = functools.partial(_close, tableau=tableau, reuses=reuses)
        r, last, a, end = written_to_memory(
            close, args.problem, step, y, state.residuals
        )
        if held:
            stages, scheme = [*stages, last] if reuses else stages, last
            error = step.moved(tableau.b_error, stages)
            info = {"step": step, "stages": stages}
        loss, problem = args.problem.loss(r), args.problem
        if self.measure is None:
            sums = sums_at(problem, end.weights, a)
            rises = rising(problem, state.residuals, r, sums)
        elif error is None:
            raise ValueError(
                f"{type(self.solver).__name__} does not estimate its error: give it a "
                "fixed step, with controller=diffrax.ConstantStepSize() and first_step."
            )
        else:
            size, sums = self.measure(problem, end.weights, a, r, error)
            rises = rising(problem, state.residuals, r, sums)
            error = jnp.where(rises, jnp.maximum(size, _RISEN), size)
        still = jnp.zeros((), bool)
        if held:
            unchanged = UNCHANGED * jnp.finfo(loss.dtype).eps * loss
            still = jax.lax.cond(
                jnp.abs(loss - state.loss) <= unchanged,
                lambda: at_rest(problem, end.weights, a),
                lambda: jnp.zeros((), bool),
            )
        spent = exhausted(r, sums)
        if self.measure is not None:
            # Any code but success ends the loop, once the step is taken.
            result = diffrax.RESULTS.where(
                spent, diffrax.RESULTS.dt_min_reached, result
            )
        # A stage of a general solver has the gates in it.
        jumped = end.jumped if held else end.jumped | end.regated
        after = StepperState(
            scheme=scheme,
            kinks=end.carried,
            jumped=jumped,
            jumps=state.jumps + jumped.astype(jnp.int32),
            reached=state.reached + end.reached,
            residuals=r,
            loss=loss,
            increases=state.increases + rises.astype(jnp.int32),
            rests=still,
            spent=spent,
        )
        return (end.weights, a), error, info, after, result

    def func(self, terms: Any, t0: Any, y0: Any, args: Arguments) -> Any:
        return self.solver.func(terms, t0, y0, args)


def _close(
    problem: Problem,
    step: HeldStep,
    y: tuple[Weights, Neurons],
    r_before: Examples,
    *,
    tableau: diffrax.ButcherTableau | None,
    reuses: bool,
) -> tuple[Examples, Stage | None, Neurons, StepEnd]:
    """Puts the end `y` of a step right: the residuals, the stage there if the next step
    `reuses` it, the second layer, and where the kinks leave the weights."""
    weights, a = y
    last = step.stage(weights, a) if reuses else None
    r = step.residuals(weights, a) if last is None else last.r
    length = step.length / problem.n
    ends = Step(
        before=step.weights,
        after=weights,
        a_before=step.a,
        a=a,
        r_before=r_before,
        r=r,
        length=problem.at_rate_w(length),
    )
    if tableau is not None and isinstance(step.kinks, AbstractHolding):
        kinks, rate = step.kinks, problem.at_rate_a(0.5 * (r_before + r) * length)

        def missed() -> Neurons:
            bends = kinks.bends(ends, step.pattern)
            return _missed_at_corners(problem, tableau, *bends, rate)

        def nothing() -> Neurons:
            # Where the residuals overflow it is NaN, and the step is not taken.
            return jnp.zeros_like(a) * jnp.sum(rate)

        # Pairs reach their kinks early in a run: most of its steps have no corner. In
        # lockstep both branches are made.
        bent = kinks.bent(ends, step.pattern)
        a = a + jax.lax.cond(bent, missed, nothing)
    ends = dataclasses.replace(ends, a=a)
    return r, last, a, step.kinks.finish(ends, step.pattern)


def _missed_at_corners(
    problem: Problem,
    tableau: diffrax.ButcherTableau,
    size: Pairs,
    fall: Pairs,
    rate: Examples,
) -> Neurons:
    """What a Runge–Kutta step misses of ∫ d/dt a_j = ∫ (1/n) Σ_i r_i (z_ji)_+ at the
    corners of the activations, (p,).

    `rate` is r_i h/n, (n,). The scheme sums f(s) = (size − s × fall)_+ with its weights
    b_k at its nodes c_k; the integral is size²/(2 fall).
    """
    nodes = (0.0, *tableau.c.tolist())
    missed = 0.5 * size**2 / jnp.where(fall == 0, 1, fall)
    for node, weight in zip(nodes, tableau.b_sol.tolist(), strict=True):
        # At the end of the step f is zero.
        if weight and node < 1:
            missed -= weight * jax.nn.relu(size - node * fall)
    return written_to_memory(
        lambda _, missed, rate: product(missed, rate), problem, missed, rate
    )
