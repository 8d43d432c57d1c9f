"""Targets that another network of the same kind gives: a teacher.

f(x) = (1/k) Σ_j b_j (v_j·x)_+ is the student's formula (eq. 1). Its neurons have
E[v vᵀ] = I, so that v·x_i is of the size of ‖x_i‖ in every dimension. The student's w
have ‖w‖ of order 1, and w·x_i that falls as 1/√d.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from .._checks import (
    as_float_array,
    cast,
    check_choice,
    check_count,
    check_key,
    check_kind,
    check_positive,
    check_single,
    float_dtype,
    is_concrete,
)
from .._linalg import product
from .._problem.inputs import AbstractInputs, DenseInputs
from .._types import ArrayLike, DTypeLike, Examples, Pairs
from .directions import (
    given_preactivations,
    orthogonal_preactivations,
    sample_preactivations,
)
from .random_numbers import draw_numbers
from .targets import TargetLaw, uniform_targets

# A teacher that is 0 on all examples is drawn again, up to so many times.
_DRAWS = 100


class TeacherTargets(eqx.Module):
    """A law of targets: y_i = f(x_i) + noise, with f a ReLU network of k neurons,
    f(x) = (1/k) Σ_j b_j (v_j·x)_+.

        targets = jaxflow.TeacherTargets(3, noise=0.1)
        data, network = jaxflow.sample_problem(
            jax.random.key(0), n=50, d=100, p=30, inputs="sphere", targets=targets
        )

    Each problem has a teacher of its own, except in what is given as an array. The name
    "teacher" stands for `TeacherTargets(8)`. It can be called by itself:
    `TeacherTargets(3)(key, inputs)` gives y, shape (n,), for inputs of any geometry.

    **Arguments:**

    - `width`: k, the number of neurons.
    - `first_layer`: "gaussian" (v_j ~ N(0, I)), "orthogonal" (v_j orthogonal, of norm
      √d, uniformly random; k ≤ d), or the v_j, shape (k, d). Inputs whose coordinates
      are not known lie relative to given v_j as in `sample_preactivations`.
    - `second_layer`: "signs" (b_j = ±1, fair coins), "ones", "gaussian"
      (b_j ~ N(0, 1)), or the b_j, shape (k,).
    - `noise`: the standard deviation of what is added to each target, N(0, noise²).
    - `scale`: f is multiplied by it, the noise is not.

    Where no neuron is active y_i is the noise alone, and 0 without. That happens with
    probability 2^−k for each example. A teacher that is 0 on all of them is drawn
    again, since there is nothing to learn. `jaxflow.LossBelow()` leaves such examples
    out, but waits for the one with the least |y_i| > 0, which may be next to nothing:
    give it a value.

    Raises a ValueError when a size is not a positive integer, a name is unknown, the
    noise is negative, or arrays have other shapes.
    """

    width: int = eqx.field(static=True)
    first_layer: str | Array = eqx.field()
    second_layer: str | Array = eqx.field()
    noise: float = eqx.field(static=True)
    scale: float = eqx.field(static=True)

    def __init__(
        self,
        width: int,
        *,
        first_layer: str | ArrayLike = "gaussian",
        second_layer: str | ArrayLike = "signs",
        noise: float = 0.0,
        scale: float = 1.0,
    ):
        self.width = check_count("width", width)
        self.first_layer = self._layer("first_layer", first_layer, _FIRST_LAYERS, 2)
        self.second_layer = self._layer("second_layer", second_layer, _SECOND_LAYERS, 1)
        for name, value in (("noise", noise), ("scale", scale)):
            check_single(name, value)
            check_positive(name, value, strictly=name == "scale")
        self.noise, self.scale = float(noise), float(scale)

    def _layer(self, name: str, value: Any, known: Any, ndim: int) -> str | Array:
        if isinstance(value, str):
            check_choice(name, value, known)
            return value
        array = as_float_array(name, value, ndim)
        if array.shape[0] != self.width:
            raise ValueError(
                f"{name} must have one row for each of the {self.width} neurons, got "
                f"shape {array.shape}."
            )
        return array

    @property
    def has_any_size(self) -> bool:
        """Whether there is a teacher for every n and d."""
        return isinstance(self.first_layer, str) and self.first_layer == "gaussian"

    def __call__(
        self,
        key: PRNGKeyArray,
        inputs: AbstractInputs,
        dtype: DTypeLike | None = None,
    ) -> Examples:
        check_key(key)
        check_kind("inputs", inputs, AbstractInputs, "jaxflow.DenseInputs(x)")
        inputs = cast(inputs, inputs.dtype if dtype is None else float_dtype(dtype))
        # One that cannot be 0 everywhere, or stays what it is, is drawn once.
        fixed = isinstance(self.first_layer, Array) and isinstance(inputs, DenseInputs)
        if self.noise > 0 or fixed:
            return self._drawn(key, inputs)
        return _first_that_is_not_zero(lambda k: self._drawn(k, inputs), key)

    def _drawn(self, key: PRNGKeyArray, inputs: AbstractInputs) -> Examples:
        v_key, b_key, noise_key = jax.random.split(key, 3)
        z = self._preactivations(v_key, inputs)
        b = self._second_layer(b_key, inputs.dtype)
        y = self.scale / self.width * product(b, jax.nn.relu(z))
        if self.noise > 0:
            shape = (inputs.num_examples,)
            y = y + self.noise * draw_numbers(
                jax.random.normal, noise_key, shape, inputs.dtype
            )
        return y

    def _preactivations(self, key: PRNGKeyArray, inputs: AbstractInputs) -> Pairs:
        if isinstance(self.first_layer, Array):
            return given_preactivations(key, inputs, self.first_layer)
        return _FIRST_LAYERS[self.first_layer](key, inputs, self.width)

    def _second_layer(self, key: PRNGKeyArray, dtype: Any) -> Array:
        if isinstance(self.second_layer, Array):
            return cast(self.second_layer, dtype)
        return _SECOND_LAYERS[self.second_layer](key, self.width, dtype)


def _first_that_is_not_zero(
    draw: Callable[[PRNGKeyArray], Examples], key: PRNGKeyArray
) -> Examples:
    """draw(fold_in(key, i)) for the first i = 0, 1, … for which it is not all zeros."""
    y = draw(jax.random.fold_in(key, 0))
    if is_concrete(y):
        for i in range(1, _DRAWS):
            if jnp.any(y != 0):
                break
            y = draw(jax.random.fold_in(key, i))
        return y

    def again(state: tuple[Array, Examples]) -> tuple[Array, Examples]:
        i, _ = state
        return i + 1, draw(jax.random.fold_in(key, i))

    def all_zero(state: tuple[Array, Examples]) -> Array:
        return (state[0] < _DRAWS) & jnp.all(state[1] == 0)

    return jax.lax.while_loop(all_zero, again, (jnp.int32(1), y))[1]


def _ones(key: PRNGKeyArray, k: int, dtype: Any) -> Array:
    return jnp.ones(k, dtype)


def _signs(key: PRNGKeyArray, k: int, dtype: Any) -> Array:
    return draw_numbers(jax.random.rademacher, key, (k,), dtype)


def _gaussian(key: PRNGKeyArray, k: int, dtype: Any) -> Array:
    return draw_numbers(jax.random.normal, key, (k,), dtype)


_FIRST_LAYERS: dict[str, Callable[[PRNGKeyArray, AbstractInputs, int], Pairs]] = {
    "gaussian": sample_preactivations,
    "orthogonal": orthogonal_preactivations,
}
_SECOND_LAYERS: dict[str, Callable[[PRNGKeyArray, int, Any], Array]] = {
    "signs": _signs,
    "ones": _ones,
    "gaussian": _gaussian,
}

TARGET_LAWS: dict[str, TargetLaw] = {
    "uniform": uniform_targets,
    "teacher": TeacherTargets(8),
}
