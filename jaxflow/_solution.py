"""What `simulate` returns: the record of one run, and how it ended."""

import textwrap
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._checks import is_concrete
from ._problem.network import Network
from ._repr import shown
from ._types import Scalar


def clock_slack(dtype: Any) -> float:
    """A recorded time up to so many times the clock has been reached: the two may
    differ by some roundings."""
    return 1 + 8 * float(jnp.finfo(dtype).eps)


class Results(eqx.Enumeration):
    """How a run ended. Each value is the message that says so."""

    reached_time: Any = "The run reached the last requested time."
    loss_below: Any = (
        "The run stopped because its loss fell below the given value, or share of L(0)."
        " LossBelow() takes min|y|²/(2n) over targets y ≠ 0, below which none of them "
        "is left unfitted; that the loss tends to zero it does not prove."
    )
    stationary: Any = (
        "The loss has ceased to decrease: the curvature fell below the tolerance of "
        "the Stationary() that was given, or, at the last requested time, every "
        "velocity is only rounding."
    )
    diverged: Any = (
        "The loss became infinite or NaN. Gradient descent wants a smaller "
        "learning_rate; the flow an adaptive controller."
    )
    solver_failed: Any = (
        "The solver gave up before the last requested time: an equation that it solves "
        "within a step did not converge. Loosen rtol, or use an explicit solver."
    )
    max_steps_reached: Any = (
        "The solver made max_steps steps before the last requested time. Loosen rtol "
        "or raise max_steps. With LiteralFlow the jumps of the field on correlated "
        "inputs can stall an adaptive solver."
    )
    step_size_vanished: Any = (
        "The adaptive step size became too small to advance the time. Loosen rtol, or "
        "use float64."
    )
    exhausted: Any = (
        "The run stopped because the residuals have fallen to the rounding of the "
        "arithmetic: the loss has no meaning any more. Use float64 to go on."
    )
    bad_times: Any = (
        "Nothing was run: the times, which were not known before jax.jit had compiled "
        "the run, are not finite, ≥ 0 and increasing, or a number of the method, such "
        "as rtol or a learning rate, is not positive and finite, or takes too many "
        "steps to reach them."
    )
    dead: Any = (
        "The run reached the last requested time with no neuron active on any example: "
        "nothing can move, and the loss stays where it is."
    )
    at_origin: Any = (
        "The run reached the last requested time with every weight zero: nothing can "
        "move, and the loss stays where it is."
    )


@jax.tree_util.register_pytree_with_keys_class
class Stats(dict[str, Any]):
    """The counts and statistics of a run: a dictionary of arrays without axes that
    prints plain numbers."""

    def __repr__(self) -> str:
        told = [f"{name!r}: {shown(value)}" for name, value in self.items()]
        return "{" + ", ".join(told) + "}"

    def tree_flatten_with_keys(self) -> tuple[Any, tuple[str, ...]]:
        keys = tuple(self)
        return [(jax.tree_util.DictKey(key), self[key]) for key in keys], keys

    @classmethod
    def tree_unflatten(cls, keys: tuple[str, ...], values: Any) -> "Stats":
        return cls(zip(keys, values, strict=True))


class Solution(eqx.Module):
    """One run at the requested times.

        plt.semilogy(sol.times, sol.loss)
        plt.xlabel("time"), plt.ylabel("loss")

    Rows after the end of a run that stopped early are NaN (−1 for counts).

    - `times`: t, shape (T,), in units of flow time (learning rate × steps).
    - `loss`: L(t), shape (T,).
    - `curvature`: μ(t) = p‖∇L‖²/L, shape (T,).
    - `average_curvature`: ⟨μ(t)⟩ = (1/t) log(L(0)/L(t)), shape (T,).
    - `observables`: name → array with leading axis T.
    - `final`: the network where the run ended, in the coordinates that were passed in.
    - `final_time`: where it ended; `final_loss`: L there.
    - `result`: an item of `Results`; `sol.message` is what it says.
    - `stats`: name → number. `velocity_evaluations` (evaluations of the field by the
      integrator; −1 where a solver does not tell), `steps`, `accepted_steps`,
      `rejected_steps`, `kink_crossings` (pairs that changed their activation, counted
      between consecutive accepted steps), `loss_increases` (steps that raised the
      loss by more than rounding: none of a flow does), `balance_drift` (of
      a_j² − ‖w_j‖², relative, at the end; NaN where one layer is not trained).
      `EventFlow` adds `sliding_share` (pairs that slide along their kinks at the end,
      as a share of all n p), `origin_passes` (how often a w_j came to zero) and
      `forks`, see there. `FilippovFlow` (by
      `GradientFlow()` on correlated inputs too) adds `sliding_share`,
      `multiplier_residual` (how far the multipliers of a step were from solving their
      equations, as a share of the largest push on a pair of the neuron, at most),
      `estimated_error` (that of each accepted step, of r relative to ‖r‖ or of the
      neurons relative to their sizes, added up; 1 and more where a neuron may be on
      another way, since inputs are so nearly collinear that it may have passed between
      them, or at one of those `forks`) and `overflow` (by how many the pairs of one
      neuron near their kinks exceeded
      `sliding_candidates`, at most; they were then solved block by block).
    """

    times: Float[Array, " T"]
    loss: Float[Array, " T"]
    curvature: Float[Array, " T"]
    average_curvature: Float[Array, " T"]
    observables: dict[str, Any]
    final: Network
    final_time: Scalar
    final_loss: Scalar
    result: Results
    stats: Stats

    @property
    def message(self) -> str:
        """How the run ended, in words. For a single run, not one of a batch."""
        return Results[self.result]  # type: ignore[misc]

    def __repr__(self) -> str:
        """How the run ended, then what there is of it."""
        code = self.result._value  # type: ignore[attr-defined]
        alone = is_concrete(code) and jnp.ndim(code) == 0
        arrays = ("times", "loss", "curvature", "average_curvature", "observables")
        told = {
            **({"message": repr(self.message)} if alone else {"result": shown(code)}),
            "final_time": shown(self.final_time),
            "final_loss": shown(self.final_loss),
            "final": repr(self.final),
            "stats": repr(self.stats),
            **{name: eqx.tree_pformat(getattr(self, name)) for name in arrays},
        }
        lines = [f"{name}={value},\n" for name, value in told.items()]
        return f"Solution(\n{textwrap.indent(''.join(lines), '  ')})"
