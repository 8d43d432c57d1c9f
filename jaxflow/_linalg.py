"""Array operations that are shared by every geometry and method."""

import jax
import jax.numpy as jnp
from jaxtyping import Array


def product(left: Array, right: Array) -> Array:
    """The matrix product, at the full precision of its dtype.

    On a GPU jax multiplies float32 matrices in TF32 (10 bits of mantissa) unless told
    otherwise; the flow's residuals are differences of nearly equal numbers and would
    not survive that.
    """
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


def extend(array: Array, axis: int, size: int) -> Array:
    """`array` with zeros appended along one axis, up to `size`."""
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, size - array.shape[axis])
    return jnp.pad(array, widths)


def nonzero(x: Array) -> Array:
    """x, and 1 where it is 0: to divide by where the quotient is not looked at."""
    return jnp.where(x == 0, 1, x)


def inverse(sizes: Array) -> Array:
    """1/x of numbers that are not negative, and 0 where x is 0."""
    there = sizes > 0
    return jnp.where(there, 1 / jnp.where(there, sizes, 1), 0)
