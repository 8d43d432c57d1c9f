"""How the weights move: what every method has in common.

A method is a frozen description; `simulate` is the verb. Numbers in it are arrays, so
that changing them does not recompile.
"""

import abc
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._meter import Meter
from .._problem.inputs import AbstractInputs
from .._problem.run_problem import Problem
from .._repr import call_of
from .._solution import Results
from .._stops import AbstractStop
from .._types import ArrayLike, Declared, Neurons, Scalar, Weights

# (time, weights, a) -> the values to record there. A method whose pairs slide along
# their kinks gives the multipliers, (p, n), as a fourth argument.
Recorder = Callable[..., dict[str, Any]]

# What every method counts, see `Solution.stats`.
COUNTS = (
    "velocity_evaluations",
    "steps",
    "accepted_steps",
    "rejected_steps",
    "kink_crossings",
    "loss_increases",
)


class Trajectory(eqx.Module):
    """What a method hands back, in the coordinates of the run.

    `rows` are the recorder's values, stacked on a leading axis T; those after `time`
    are not meaningful. `stats` holds `COUNTS` and what the method declares.
    """

    times: Float[Array, " T"]
    rows: dict[str, Any]
    time: Scalar
    weights: Weights
    a: Neurons
    result: Results
    stats: dict[str, Array]


class AbstractMethod(eqx.Module):
    """Integrates a problem through given times."""

    # The statistics that a run may report besides `COUNTS`: numbers, which are NaN in
    # an ensemble where a run has none, and counts, which are −1 there.
    statistics: ClassVar[Declared] = MappingProxyType({})
    # Its numbers that must be positive and finite, by their names; None is none.
    positive: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        return call_of(self)

    @property
    @abc.abstractmethod
    def rotation_invariant(self) -> bool:
        """Whether the trajectory of w in R^d is the same in any coordinates, so that
        the run may use a cheaper geometry than the user's."""

    def check_times(self, times: ArrayLike) -> None:
        """Raises a ValueError where concrete times are out of this method's reach."""

    def admits(self, times: Float[Array, " T"]) -> Bool[Array, ""]:
        """The same where times or numbers of the method are traced: whether they are
        what they should be."""
        given = [getattr(self, name) for name in self.positive]
        good = [(x > 0) & jnp.isfinite(x) for x in given if x is not None]
        return jnp.all(jnp.array([True, *good]))

    def lean(self) -> "AbstractMethod":
        """The same method without what it counts at a cost, for ensembles."""
        return self

    @abc.abstractmethod
    def working_numbers(self, inputs: AbstractInputs, pairs: int) -> int:
        """About how many numbers a run with `pairs` = n p pairs holds while it is
        computed, besides the problem itself."""

    def working_numbers_on(self, problem: Problem, pairs: int) -> int:
        """The same, where it depends on more of the problem than its inputs."""
        return self.working_numbers(problem.inputs, pairs)

    @abc.abstractmethod
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
        """The trajectory from t = 0 to the last of `times`, or to the first stop.
        `meter`: whom to tell how far it has got."""


def rises(loss: Scalar, before: Scalar) -> Array:
    """1 where a step raised the loss by more than rounding, else 0."""
    slack = 1 + 64 * jnp.finfo(loss.dtype).eps
    return (loss > slack * before).astype(jnp.int32)


# What a user may pass as methods of an ensemble, for type checkers; see `_types.py`.
if TYPE_CHECKING:
    Methods: TypeAlias = AbstractMethod | Mapping[str, AbstractMethod]
else:
    Methods = Any
