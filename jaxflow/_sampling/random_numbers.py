"""Random numbers of many sizes by few programs.

What jax draws of one size is, in its default generator, the beginning of what it draws
of any larger one, in the order of memory. So numbers are drawn at the size of a coarse
bucket, and the rest is thrown away. Compiling a generator takes as long as
drawing some 10⁷ numbers; a network of a sweep over n has 10⁵ or so.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from .._checks import is_concrete
from .._problem.size_buckets import bucket_size

# Four sizes between a number and its double.
_DIGITS = 3
# Beyond, what is thrown away takes time and memory of its own.
_LARGE = 2**21


def draw_numbers(
    law: Callable[..., Array],
    key: PRNGKeyArray,
    shape: tuple[int, ...],
    dtype: Any,
    *bounds: int | float,
) -> Array:
    """`law(key, shape, dtype, *bounds)`, to the last bit. A number of `law` may
    depend on its place in memory, and not on the shape, which is flat here. So it is
    with `jax.random.normal`, `uniform`, `rademacher` and `exponential`."""
    size = math.prod(shape)
    # A program that is traced is compiled for these shapes anyway.
    if size > _LARGE or not is_concrete(key) or not _begins_alike(key):
        return law(key, shape, dtype, *bounds)
    return _cut(law(key, (bucket_size(size, _DIGITS),), dtype, *bounds), shape)


@functools.partial(jax.jit, static_argnums=1)
def _cut(numbers: Array, shape: tuple[int, ...]) -> Array:
    return numbers[: math.prod(shape)].reshape(shape)


def _begins_alike(key: PRNGKeyArray) -> bool:
    """Whether fewer numbers are the beginning of more."""
    # The setting may go, once there is no other.
    counted = getattr(jax.config, "jax_threefry_partitionable", True)
    return counted and str(jax.random.key_impl(key)) == "threefry2x32"


def bartlett(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Array:
    """R (n, min(n, d)) lower trapezoidal with R Rᵀ ~ Wishart(I_n, d)."""
    below_key, diagonal_key = jax.random.split(key)
    m = min(n, d)
    diagonal = jnp.sqrt(draw_numbers(chi_squares(d, fall=1), diagonal_key, (m,), dtype))
    below = jnp.tril(draw_numbers(jax.random.normal, below_key, (n, m), dtype), -1)
    return below.at[jnp.arange(m), jnp.arange(m)].set(diagonal)


def chi_squares(freedom: int, fall: int = 0) -> Callable[..., Array]:
    """The law of independent χ², that at place i with `freedom` − `fall` i degrees of
    freedom, or 1 beyond."""

    def law(key: PRNGKeyArray, shape: tuple[int], dtype: Any) -> Array:
        falling = fall * jnp.arange(shape[0], dtype=dtype)
        degrees = jnp.maximum(jnp.asarray(freedom, dtype) - falling, 1)
        return jax.random.chisquare(key, degrees, shape, dtype)

    return law
