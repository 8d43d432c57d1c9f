"""The rates at which the two layers are trained.

    d/dt w = −rate_w p ∂L/∂w,    d/dt a = −rate_a p ∂L/∂a.

A rate of 0 leaves a layer as it is. For two positive rates w = c ŵ and a = â/c, with
c = (rate_w/rate_a)^(1/4), make this the flow of (ŵ, â) at rates 1 in the time
√(rate_w rate_a) t. Two rates of 1 are None, so that they cost nothing.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from .._checks import as_scalar, check_single, float_dtype, is_concrete, untraced
from .._types import Scalar


class Rates(eqx.Module):
    """rate_w and rate_a, ≥ 0 and not both 0."""

    w: Scalar
    a: Scalar

    def astype(self, dtype: Any) -> "Rates":
        return Rates(self.w.astype(dtype), self.a.astype(dtype))

    @property
    def admissible(self) -> Bool[Array, ""]:
        """Whether traced rates are what they should be."""
        both = jnp.stack([self.w, self.a])
        return jnp.all(jnp.isfinite(both) & (both >= 0)) & jnp.any(both > 0)


def as_rates(rates: Any) -> Rates | None:
    """(rate_w, rate_a) as arrays; None where both are known to be 1."""
    try:
        w, a = rates
    except (TypeError, ValueError) as error:
        raise ValueError(
            "rates must be the two rates (rate_w, rate_a) at which the layers are "
            f"trained, such as (1.0, 0.0) for w alone; got {rates!r}."
        ) from error
    named = (("rates[0], that of w,", w), ("rates[1], that of a,", a))
    arrays = [as_scalar(name, rate, strictly=False) for name, rate in named]
    found = Rates(*(untraced(_as_float, array) for array in arrays))
    if is_concrete(found.w, found.a):
        values = np.asarray(found.w), np.asarray(found.a)
        if values == (0, 0):
            raise ValueError(
                "rates must not both be 0: nothing would move. (1.0, 0.0) trains w "
                "alone, (0.0, 1.0) a alone."
            )
        if values == (1, 1):
            return None
    return found


def _as_float(array: Array) -> Array:
    integer = jnp.issubdtype(array.dtype, jnp.integer)
    return array.astype(float_dtype(None)) if integer else array


def check_rates(rates: Any) -> Rates | None:
    """The same of numbers that must be known."""
    found = as_rates(rates)
    if found is not None:
        check_single("rates", found.w)
        check_single("rates", found.a)
    return found
