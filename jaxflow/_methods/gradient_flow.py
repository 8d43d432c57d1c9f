"""The gradient flow itself: which method integrates it on which inputs."""

from types import MappingProxyType
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import as_scalar, check_count
from .._meter import Meter
from .._problem.dataset import Dataset
from .._problem.inputs import AbstractInputs, OrthogonalInputs
from .._problem.network import as_slope
from .._problem.run_problem import Problem
from .._problem.size_buckets import bucket_size, row_bucket_size
from .._stops import AbstractStop
from .._types import Declared, Neurons, Number, Weights
from .base import AbstractMethod, Recorder, Trajectory
from .diffrax_flow import RungeKuttaFlow
from .event_flow import EventFlow
from .filippov_flow import FilippovFlow
from .kinks import AbstractHolding, kinks_of

# Up to so many pairs, padding included, locating every kink costs little: some
# milliseconds to a second for a run.
_SMALL = 512


class GradientFlow(AbstractMethod):
    """The solution of d/dt (w, a) = −p∇L (eq. 3), to a tolerance.

    It takes the method that the run asks for, which `.method(data, width)` shows. To
    set more than the tolerance, pass such a method itself to `simulate`.

    - Small problems, n p ≤ 512 with padding, except on orthogonal inputs:
      `EventFlow(rtol)`, which locates every kink. The error of a run is then of the
      size of rtol.
    - Orthogonal and antipodal inputs: `RungeKuttaFlow(rtol)`.
    - Dense and Gram inputs, where pairs slide along their kinks, and antipodal ones
      with a leaky ReLU:
      `FilippovFlow(0.1 √rtol)`. Its scheme is of second order, and across kinks no
      scheme known to us does better, so that the tolerances of a fifth-order solver are
      out of reach and their square roots are asked for instead. `Solution.stats` then
      holds `sliding_share` and its companions.

    **Arguments:**

    - `rtol`: relative tolerance of the local error per step.
    - `first_step`: the first step, in units of time; chosen by the method if left out.
    - `max_steps`: after this many steps the run ends with a message.

    Raises a ValueError when a number is not positive and finite.
    """

    # Those of every method that it may take.
    statistics: ClassVar[Declared] = MappingProxyType(
        {**FilippovFlow.statistics, **EventFlow.statistics}
    )
    positive: ClassVar[tuple[str, ...]] = ("rtol", "first_step")

    rtol: Array
    first_step: Array | None
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        rtol: Number = 1e-6,
        *,
        first_step: Number | None = None,
        max_steps: int = 100_000,
    ):
        # Python floats would be compiled in, and a new tolerance compile anew.
        self.rtol = as_scalar("rtol", rtol)
        self.first_step = (
            None if first_step is None else as_scalar("first_step", first_step)
        )
        self.max_steps = check_count("max_steps", max_steps)

    def method(
        self,
        data: Dataset | AbstractInputs,
        width: int | None = None,
        negative_slope: Number | None = None,
    ) -> AbstractMethod:
        """The method that a run on these inputs takes, with `width` neurons (many, if
        left out) of this `negative_slope` (a ReLU, if left out)."""
        slope = as_slope(negative_slope)
        inputs = data.reduced if isinstance(data, Dataset) else data
        if width is not None:
            width = bucket_size(check_count("width", width))
            sized = inputs.blocks * row_bucket_size(
                inputs.num_examples // inputs.blocks
            )
            small = sized * width <= _SMALL
        else:
            small = False
        if small and not isinstance(inputs, OrthogonalInputs):
            return EventFlow(self.rtol, max_steps=self.max_steps)
        if isinstance(kinks_of(inputs, slope), AbstractHolding):
            return RungeKuttaFlow(
                self.rtol, first_step=self.first_step, max_steps=self.max_steps
            )
        return FilippovFlow(
            0.1 * jnp.sqrt(self.rtol),
            first_step=self.first_step,
            max_steps=self.max_steps,
        )

    @property
    def rotation_invariant(self) -> bool:
        return True

    def working_numbers(self, inputs: AbstractInputs, pairs: int) -> int:
        method = self.method(inputs, pairs // inputs.num_examples)
        return method.working_numbers(inputs, pairs)

    def working_numbers_on(self, problem: Problem, pairs: int) -> int:
        inputs, width = problem.inputs, pairs // problem.inputs.num_examples
        method = self.method(inputs, width, problem.slope)
        return method.working_numbers(inputs, pairs)

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
        method = self.method(problem.inputs, a.shape[0], problem.slope)
        return method.run(problem, weights, a, times, stops, record, meter)
