"""The laws of the inputs: (key, n, d, dtype) -> array (n, d) or an Inputs object.

Lemma 3 asks for inputs that are whitened, E[x xᵀ] = (λ²/d) I, with mean zero and
sub-Gaussian. "sphere", "gaussian", "rademacher" and "sparse" are.

Where n < 2d the inputs uniform on the sphere or Gaussian are sampled through their Gram
matrix, and neither the inputs nor the weights are ever formed in R^d. A Gaussian matrix
G (n, d) is R Q with Q's rows orthonormal, uniformly random and independent of R, and R
(n, min(n, d)) lower trapezoidal: R_ik ~ N(0, 1) below the diagonal, R_ii² ~ χ²_{d−i+1}
(Bartlett). So d = 10⁹ costs what d = n costs.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from .._checks import (
    as_float_array,
    cast,
    check_choice,
    check_key,
    check_size,
    check_whole,
    float_dtype,
)
from .._linalg import product
from .._problem.inputs import (
    AbstractInputs,
    AntipodalInputs,
    DenseInputs,
    GramInputs,
    OrthogonalInputs,
)
from .._types import ArrayLike, DTypeLike, Examples
from .random_numbers import bartlett, draw_numbers

InputLaw = Callable[[PRNGKeyArray, int, int, Any], ArrayLike | AbstractInputs]


def sample_inputs(
    key: PRNGKeyArray,
    *,
    n: int,
    d: int,
    inputs: str | InputLaw = "orthogonal",
    dtype: DTypeLike | None = None,
) -> AbstractInputs:
    """Draws the inputs alone, as `sample_problem` does before it adds a bias.

        inputs = jaxflow.sample_inputs(key, n=100, d=10**6, inputs="sphere")
        data = jaxflow.Dataset(inputs, jaxflow.TeacherTargets(3)(key, inputs))

    They know their `dimension`, and those that are Gram a `factor` of K.
    """
    check_key(key)
    n, d, dtype = check_size("n", n), check_whole("d", d), float_dtype(dtype)
    found = draw_inputs(inputs, key, n, d, dtype)
    # A law may return an array.
    return found if isinstance(found, AbstractInputs) else DenseInputs(found)


def draw_inputs(
    law: str | InputLaw, key: PRNGKeyArray, n: int, d: int, dtype: Any
) -> Array | AbstractInputs:
    """The inputs, which know their dimension: an array (n, d) where `Dataset` shall
    choose the geometry."""
    if callable(law):
        return placed(_as_inputs(law(key, n, d, dtype), n, d, dtype), d)
    check_room_for(law, n, d)
    return INPUT_LAWS[law](key, n, d, dtype)


def placed(inputs: Any, d: int) -> Any:
    """The same inputs in R^d, where their geometry does not say what d is."""
    if not isinstance(inputs, AbstractInputs) or inputs.dimension == d:
        return inputs
    if inputs.dimension is not None:
        raise ValueError(
            f"the inputs lie in dimension {inputs.dimension}, but d = {d} was given."
        )
    if isinstance(inputs, OrthogonalInputs):
        return OrthogonalInputs(inputs.lengths, d)
    if isinstance(inputs, AntipodalInputs):
        return AntipodalInputs(inputs.positive, inputs.negative, d)
    if isinstance(inputs, GramInputs):
        return GramInputs(inputs.matrix, d, inputs.factor)
    return inputs


def with_bias(inputs: Any, size: float) -> Any:
    """What `draw_inputs` gave, with a bias if its size is not 0."""
    if size == 0:
        return inputs
    if isinstance(inputs, AbstractInputs):
        return inputs.with_bias(size)
    # An array stays one, and `Dataset` chooses the geometry.
    return DenseInputs(inputs).with_bias(size).x


def check_room_for(law: str, n: int, d: int) -> None:
    """Raises a ValueError unless the law of this name has n inputs in dimension d."""
    check_choice("inputs", law, INPUT_LAWS)
    if law == "antipodal" and n % 2:
        raise ValueError(f"antipodal inputs come in pairs: n must be even, got {n}.")
    count, what = {
        "orthogonal": (n, "orthogonal inputs"),
        "orthonormal": (n, "orthonormal inputs"),
        "antipodal": (n // 2, "antipodal pairs"),
    }.get(law, (0, "inputs"))
    if count > d:
        raise ValueError(
            f"dimension d = {d} holds at most {d} {what}, but {count} were asked for."
        )


def _as_inputs(value: Any, n: int, d: int, dtype: Any) -> Any:
    """What a law of the user's returned, in the precision that was asked for."""
    if not isinstance(value, AbstractInputs):
        if value is None:
            raise ValueError(
                f"the law inputs must return an array (n, d) = ({n}, {d}) or an Inputs "
                "object, got None: has it a return statement?"
            )
        value = as_float_array("what the law inputs returns", value, 2)
        if value.shape != (n, d):
            raise ValueError(
                f"the law inputs must return an array (n, d) = ({n}, {d}), got shape "
                f"{value.shape}."
            )
    elif value.num_examples != n:
        raise ValueError(
            f"the law inputs must return n = {n} inputs, got {type(value).__name__} "
            f"with {value.num_examples}."
        )
    elif isinstance(value, DenseInputs) and value.num_coordinates != d:
        raise ValueError(
            f"the law inputs must return inputs in d = {d} dimensions, got "
            f"{value.num_coordinates}."
        )
    return cast(value, dtype)


def _norms(key: PRNGKeyArray, n: int, dtype: Any) -> Examples:
    return draw_numbers(jax.random.uniform, key, (n,), dtype, 1, 2)


def _sphere(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> AbstractInputs:
    direction_key, norm_key = jax.random.split(key)
    rows = _gaussian_rows(direction_key, n, d, dtype)
    lengths = jnp.linalg.norm(rows, axis=1, keepdims=True)
    return _dense_or_gram(rows / lengths * _norms(norm_key, n, dtype)[:, None], n, d)


def _gaussian(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> AbstractInputs:
    return _dense_or_gram(_gaussian_rows(key, n, d, dtype) / math.sqrt(d), n, d)


def _rademacher(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Array:
    """Coordinates ±1/√d, so ‖x‖ = 1."""
    signs = draw_numbers(jax.random.rademacher, key, (n, d), dtype)
    return signs / math.sqrt(d)


def _sparse(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Array:
    """s = ⌈d/3⌉ coordinates, of random places, are ±1/√s, so ‖x‖ = 1. (A number of
    places that is random would give some inputs that are zero.)"""
    place_key, sign_key = jax.random.split(key)
    s = -(-d // 3)
    order = draw_numbers(jax.random.uniform, place_key, (n, d), dtype)
    rank = jnp.argsort(jnp.argsort(order, axis=1), axis=1)
    signs = draw_numbers(jax.random.rademacher, sign_key, (n, d), dtype)
    return jnp.where(rank < s, signs / math.sqrt(s), 0)


def _orthogonal(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> AbstractInputs:
    return OrthogonalInputs(_norms(key, n, dtype), d)


def _orthonormal(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> AbstractInputs:
    return OrthogonalInputs(jnp.ones(n, dtype), d)


def _antipodal(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> AbstractInputs:
    positive, negative = jnp.split(_norms(key, n, dtype), 2)
    return AntipodalInputs(positive, negative, d)


def _gaussian_rows(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Array:
    """A Gaussian matrix (n, d), or where n < 2d the same seen in a basis of its span,
    (n, min(n, d))."""
    if n < 2 * d:
        return bartlett(key, n, d, dtype)
    return draw_numbers(jax.random.normal, key, (n, d), dtype)


def _dense_or_gram(rows: Array, n: int, d: int) -> AbstractInputs:
    if n >= 2 * d:
        return DenseInputs(rows)
    return GramInputs(product(rows, rows.T), d, rows)


INPUT_LAWS: dict[
    str, Callable[[PRNGKeyArray, int, int, Any], Array | AbstractInputs]
] = {
    "sphere": _sphere,
    "orthogonal": _orthogonal,
    "orthonormal": _orthonormal,
    "gaussian": _gaussian,
    "antipodal": _antipodal,
    "rademacher": _rademacher,
    "sparse": _sparse,
}
# Of these `Dataset` chooses the geometry when it has the numbers. They do not look the
# same from all sides, so their weights are drawn in R^d.
DRAWN_AS_ARRAYS = ("rademacher", "sparse")
