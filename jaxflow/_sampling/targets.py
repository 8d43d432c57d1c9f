"""The laws of the targets: (key, inputs, dtype) -> array (n,).

`inputs` is the geometry. A law reads from it `num_examples`, `norms` or `gram()`, and
draws v·x_i by `sample_preactivations`, on every geometry alike.
"""

import inspect
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
from .._problem.inputs import AbstractInputs
from .._types import ArrayLike, DTypeLike, Examples
from .initialisation import group_size
from .random_numbers import draw_numbers

TargetLaw = Callable[[PRNGKeyArray, AbstractInputs, Any], ArrayLike]


def uniform_targets(
    key: PRNGKeyArray, inputs: AbstractInputs | int, dtype: DTypeLike
) -> Examples:
    """y ~ U([−2, −1] ∪ [1, 2]), whatever the inputs. In their place n will do:

        y = jaxflow.uniform_targets(jax.random.key(0), 100, jnp.float32)  # (100,)

    Raises a ValueError when n is no positive integer, or dtype no floating point.
    """
    check_key(key)
    dtype = float_dtype(dtype)
    n = inputs if not isinstance(inputs, AbstractInputs) else inputs.num_examples
    n = check_size("n", n)
    size_key, sign_key = jax.random.split(key)
    sizes = draw_numbers(jax.random.uniform, size_key, (n,), dtype, 1, 2)
    return sizes * draw_numbers(jax.random.rademacher, sign_key, (n,), dtype)


def group_targets(signs: ArrayLike, sizes: ArrayLike | None = None) -> TargetLaw:
    """A law of targets in len(signs) groups of equal size, one sign each (Section 4).

        targets = jaxflow.group_targets([1, -1])   # first half > 0, second half < 0
        data, network = jaxflow.sample_problem(key, n=10, d=10, p=2, targets=targets)

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

    def law(key: PRNGKeyArray, inputs: AbstractInputs, dtype: DTypeLike) -> Examples:
        n = inputs.num_examples
        per_group = group_size(n, signs.shape[0])
        if sizes is None:
            magnitudes = draw_numbers(jax.random.uniform, key, (n,), dtype, 1, 2)
        else:
            magnitudes = jnp.repeat(sizes.astype(dtype), per_group)
        return magnitudes * jnp.repeat(signs.astype(dtype), per_group)

    return law


def check_target_law(law: Any) -> None:
    """Raises a ValueError for a law that wants n where it gets the inputs."""
    try:
        names = list(inspect.signature(law).parameters)
    except (TypeError, ValueError):
        return
    if names[1:2] == ["n"]:
        raise ValueError(
            "targets must be a law (key, inputs, dtype) -> y of shape (n,), got one "
            f"({', '.join(names)}). Take n = inputs.num_examples."
        )


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
