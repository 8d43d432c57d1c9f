"""The laws of the inputs: (key, n, d, dtype) -> array (n, d) or an Inputs object.

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
from jaxtyping import Array, Float, PRNGKeyArray

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
    """Draws the inputs alone, as `sample_problem` does."""
    check_key(key)
    n, d, dtype = check_size("n", n), check_whole("d", d), float_dtype(dtype)
    found, _ = draw_inputs(inputs, key, n, d, dtype)
    # A law of the user's may return an array.
    return found if isinstance(found, AbstractInputs) else DenseInputs(found)


Sampled = tuple[Any, Float[Array, "n m"] | None]


def draw_inputs(
    law: str | InputLaw, key: PRNGKeyArray, n: int, d: int, dtype: Any
) -> Sampled:
    """The inputs and, where they are Gram, a factor F with K = F Fᵀ."""
    if callable(law):
        return _as_inputs(law(key, n, d, dtype), n, d, dtype), None
    check_room_for(law, n, d)
    return INPUT_LAWS[law](key, n, d, dtype)


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


def _sphere(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Sampled:
    direction_key, norm_key = jax.random.split(key)
    rows = _gaussian_rows(direction_key, n, d, dtype)
    lengths = jnp.linalg.norm(rows, axis=1, keepdims=True)
    return _dense_or_gram(
        rows / lengths * _norms(norm_key, n, dtype)[:, None], n < 2 * d
    )


def _gaussian(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Sampled:
    return _dense_or_gram(_gaussian_rows(key, n, d, dtype) / math.sqrt(d), n < 2 * d)


def _orthogonal(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Sampled:
    return OrthogonalInputs(_norms(key, n, dtype)), None


def _orthonormal(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Sampled:
    return OrthogonalInputs(jnp.ones(n, dtype)), None


def _antipodal(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Sampled:
    positive, negative = jnp.split(_norms(key, n, dtype), 2)
    return AntipodalInputs(positive, negative), None


def _gaussian_rows(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Array:
    """A Gaussian matrix (n, d), or where n < 2d the same seen in a basis of its span,
    (n, min(n, d))."""
    if n < 2 * d:
        return bartlett(key, n, d, dtype)
    return draw_numbers(jax.random.normal, key, (n, d), dtype)


def _dense_or_gram(rows: Array, as_gram: bool) -> Sampled:
    if not as_gram:
        return DenseInputs(rows), None
    return GramInputs(product(rows, rows.T)), rows


INPUT_LAWS: dict[str, Callable[[PRNGKeyArray, int, int, Any], Sampled]] = {
    "sphere": _sphere,
    "orthogonal": _orthogonal,
    "orthonormal": _orthonormal,
    "gaussian": _gaussian,
    "antipodal": _antipodal,
}
