"""The laws of the targets: (key, n, dtype) -> array (n,)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from .._checks import (
    as_float_array,
    cast,
    check_key,
    check_positive,
    check_size,
    float_dtype,
    is_concrete,
)
from .._types import ArrayLike, DTypeLike, Examples
from .initialisation import group_size
from .random_numbers import draw_numbers

TargetLaw = Callable[[PRNGKeyArray, int, Any], ArrayLike]


def uniform_targets(key: PRNGKeyArray, n: int, dtype: DTypeLike) -> Examples:
    """y ~ U([−2, −1] ∪ [1, 2])."""
    check_key(key)
    n, dtype = check_size("n", n), float_dtype(dtype)
    size_key, sign_key = jax.random.split(key)
    sizes = draw_numbers(jax.random.uniform, size_key, (n,), dtype, 1, 2)
    return sizes * draw_numbers(jax.random.rademacher, sign_key, (n,), dtype)


def group_targets(signs: ArrayLike, sizes: ArrayLike | None = None) -> TargetLaw:
    """A law of targets in len(signs) groups of equal size, one sign each (Section 4).

    - `signs`: s_j = ±1, shape (p,).
    - `sizes`: |y_i| in each group, shape (p,), constant within it; ~ U[1, 2] per
      example if left out.
    """
    signs = as_float_array("signs", signs, 1)
    if is_concrete(signs) and not np.all(np.abs(np.asarray(signs)) == 1):
        raise ValueError(f"signs must be +1 or −1, got {signs}.")
    if sizes is not None:
        sizes = as_float_array("sizes", sizes, 1)
        check_positive("sizes", sizes)
        if sizes.shape != signs.shape:
            raise ValueError(
                f"sizes must have one entry per group, {signs.shape}, got "
                f"{sizes.shape}."
            )

    def law(key: PRNGKeyArray, n: int, dtype: DTypeLike) -> Examples:
        per_group = group_size(n, signs.shape[0])
        if sizes is None:
            magnitudes = draw_numbers(jax.random.uniform, key, (n,), dtype, 1, 2)
        else:
            magnitudes = jnp.repeat(sizes.astype(dtype), per_group)
        return magnitudes * jnp.repeat(signs.astype(dtype), per_group)

    return law


def as_targets(value: Any, n: int, dtype: Any) -> Examples:
    """What a law returned, in the precision that was asked for."""
    if value is None:
        raise ValueError(
            f"the law targets must return an array of shape ({n},), got None: has it a "
            "return statement?"
        )
    targets = as_float_array("what the law targets returns", value, 1)
    if targets.shape != (n,):
        raise ValueError(
            f"the law targets must return an array of shape ({n},), got shape "
            f"{targets.shape}."
        )
    return cast(targets, dtype)


TARGET_LAWS: dict[str, TargetLaw] = {"uniform": uniform_targets}
