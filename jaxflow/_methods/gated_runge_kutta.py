"""An explicit Runge–Kutta step in which every pair keeps its gate.

With gates that are held within a step (`kinks.py`), the velocity of the weights
at stage s is gates ∘ (a^s ⊗ r^s), so the p + n numbers (a^s, r^s) say all of it. The
step keeps those in place of stages of p n numbers: for each evaluation one pass over
the weights and two products, where a general solver makes some ten passes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._linalg import product
from .._problem.run_problem import Problem
from .._types import Examples, Neurons, PairMask, Pairs, Scalar, Weights
from .._xla import written_to_memory
from .kinks import AbstractKinks, AbstractPattern

# From so many outer products on a matrix product sums them quicker.
_FEW = 4


class Stage(eqx.Module):
    """One evaluation of the velocity: d/dt w_j = (a_j/n) Σ_i 1_ji r_i x_i and
    d/dt a_j = `a_velocity`."""

    a: Neurons
    r: Examples
    a_velocity: Neurons


class HeldStep(eqx.Module):
    """A step of the given `length` from (`weights`, `a`).

    `factors` say where along it, one for each stage: at start + length × Σ_s factor_s ×
    (velocity of stage s). NumPy's are known when this is compiled, and zeros left out.
    """

    problem: Problem
    kinks: AbstractKinks
    carried: Any
    weights: Weights
    a: Neurons
    length: Scalar

    @property
    def pattern(self) -> AbstractPattern:
        return self.kinks.begin(self.weights, self.carried)

    @property
    def gates(self) -> PairMask | Pairs:
        """They depend on the pattern alone: those of `velocity` at every stage."""
        return self.kinks.read(self.weights, self.pattern)[1]

    def first(self) -> Stage:
        """The stage at the start of the step."""
        return self.stage(self.weights, self.a)

    def stages(self, tableau: diffrax.ButcherTableau, first: Stage) -> list[Stage]:
        """The stages of a scheme, given its first; without that at the end of the step
        where the scheme has one, which is the first of the next step."""
        found = [first]
        rows = tableau.a_lower[:-1] if tableau.fsal else tableau.a_lower
        for row in rows:
            found.append(self.stage(*self.at(row, found)))
        return found

    def end(
        self, tableau: diffrax.ButcherTableau, stages: Sequence[Stage]
    ) -> tuple[Weights, Neurons]:
        """(weights, a) at the end of the step."""
        return self.at(tableau.b_sol[: len(stages)], stages)

    def at(self, factors: Any, stages: Sequence[Stage]) -> tuple[Weights, Neurons]:
        """(weights, a) at that point."""
        weights, a = self.moved(factors, stages)
        return self.weights + weights, self.a + a

    def moved(self, factors: Any, stages: Sequence[Stage]) -> tuple[Weights, Neurons]:
        """(weights, a) less what they are at the start."""
        used = [
            (self.length * jnp.asarray(factor, self.a.dtype), stage)
            for factor, stage in zip(factors, stages, strict=True)
            if not (isinstance(factor, np.floating) and factor == 0)
        ]
        at_rate_w = self.problem.at_rate_w
        pushes = [at_rate_w(share / self.problem.n * stage.a) for share, stage in used]
        r = [self.problem.inputs.scaled(stage.r) for _, stage in used]
        a = sum((share * stage.a_velocity for share, stage in used), 0 * self.a)
        a = self.problem.at_rate_a(a)
        if len(used) < _FEW:
            outer = [u[:, None] * v[None, :] for u, v in zip(pushes, r, strict=True)]
            cotangent = sum(outer[1:], outer[0])
        else:
            cotangent = product(jnp.stack(pushes, axis=1), jnp.stack(r))
        gates = self.gates
        if gates.dtype == bool:
            cotangent = jnp.where(gates, cotangent, 0)
        else:
            cotangent = gates * cotangent
        return self.problem.inputs.projections_adjoint(cotangent), a

    def residuals(self, weights: Weights, a: Neurons) -> Examples:
        """At a point of the step."""
        activations, _ = self.kinks.read(weights, self.pattern)
        return self.problem.residuals(activations, a)

    def stage(self, weights: Weights, a: Neurons) -> Stage:
        """The velocity at a point of the step."""

        def products(
            problem: Problem, activations: Pairs, a: Neurons
        ) -> tuple[Examples, Neurons]:
            r = problem.residuals(activations, a)
            return r, product(activations, r) / problem.n

        activations, _ = self.kinks.read(weights, self.pattern)
        return Stage(a, *written_to_memory(products, self.problem, activations, a))


class HeldInterpolation(diffrax.AbstractLocalInterpolation):
    """A solver's own interpolation within a step, put back to the true flow.

    It is linear in the velocities of the stages, so that of the unit vectors says with
    which factor each of them enters, and no velocity is ever formed.
    """

    t0: Any  # type: ignore[misc]
    t1: Any  # type: ignore[misc]
    step: HeldStep
    stages: list[Stage]
    solver: Any

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        del left
        if t1 is not None:
            return jax.tree.map(jnp.subtract, self.evaluate(t1), self.evaluate(t0))
        b_sol = jnp.asarray(self.solver.tableau.b_sol, self.step.a.dtype)
        of_units: Callable[..., Any] = self.solver.interpolation_cls
        factors = of_units(
            t0=self.t0,
            t1=self.t1,
            y0=jnp.zeros_like(b_sol),
            y1=b_sol,
            k=jnp.eye(b_sol.size, dtype=b_sol.dtype),
        ).evaluate(t0)
        weights, a = self.step.at([factors[s] for s in range(b_sol.size)], self.stages)
        return self.step.pattern.settle(weights), a
