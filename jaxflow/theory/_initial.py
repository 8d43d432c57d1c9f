"""Lemma 5: is every example correctly activated by some neuron at the start?

𝓘 is the event that for every i there is a j with w_j(0)·x_i > 0 and a_j(0) y_i > 0,
for symmetric w_j and fair signs of a_j, all independent.

- For any inputs, P(𝓘) ≥ 1 − n (3/4)^p, the union bound (eq. 13).
- For orthogonal inputs with rotation-invariant w_j the signs of w_j·x_i are independent
  fair coins. Given the number m of neurons with a_j > 0, the events of the examples
  are independent, so with n₊ positive and n₋ negative targets

      P(𝓘) = Σ_m C(p, m) 2^{−p} (1 − 2^{−m})^{n₊} (1 − 2^{−(p−m)})^{n₋}.

The signs of a are shared by all examples: P(𝓘) is not (1 − (3/4)^p)^n. It is limited by
the chance that fewer than about log₂ n neurons have one of the two signs. At fixed ε
the least width therefore grows as (2/log 2) log n ≈ 2.885 log n, between log n/log 2
and the log n/log(4/3) of the union bound.

The second part of the lemma, P(𝓘) ≤ 1 − ε for p ≤ 3 log(n/ε) − 2, rests on
(ε/n)^{3 log 2} ≥ ε/n, which is false since 3 log 2 > 1. See `docs/errata.md`.
"""

import functools

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array

from .._checks import check_between, check_broadcast, check_count, check_positive
from .._types import Number
from ._domains import check_sizes, check_width_of

# As many terms as the sum of `coverage_failure` may have.
_WIDEST = 2**24


def coverage_lower_bound(n: Number, p: Number) -> Array:
    """1 − n (3/4)^p ≤ P(𝓘), for any inputs (eq. 13)."""
    check_sizes(n=n, p=p)
    return 1 - jnp.asarray(n) * 0.75 ** jnp.asarray(p)


def coverage_upper_bound(n: Number, p: Number) -> Array:
    """(1 − 2^{−p})^n ≥ P(𝓘), for orthogonal inputs (the third line of eq. 14)."""
    check_sizes(n=n, p=p)
    return jnp.exp(jnp.asarray(n) * jnp.log1p(-(0.5 ** jnp.asarray(p))))


def coverage_failure(
    positive: Number, negative: Number, p: int, sign: Number = 0.5
) -> Array:
    """1 − P(𝓘), exactly, for orthogonal inputs; to relative precision when it is small.

    **Arguments:**

    - `positive`, `negative`: n₊ and n₋, numbers that may be as large as 10³⁰⁰, of one
      shape.
    - `p`: the width, a Python integer.
    - `sign`: P(a_j > 0), in (0, 1).
    """
    p = check_count("p", p, _WIDEST)
    for name, count in (("positive", positive), ("negative", negative)):
        check_positive(name, count, strictly=False)
    if jnp.shape(positive) != jnp.shape(negative):
        raise ValueError(
            "positive and negative must be of one shape, got "
            f"{jnp.shape(positive)} and {jnp.shape(negative)}."
        )
    check_between("sign", sign, 0, 1)
    if jnp.ndim(sign) != 0:
        raise ValueError(f"sign must be one number, got shape {jnp.shape(sign)}.")
    # The sum over m is padded, so that few lengths are compiled.
    length = 1 << p.bit_length()
    dtype = jnp.result_type(float)
    positive, negative = jnp.asarray(positive, dtype), jnp.asarray(negative, dtype)
    return _failure(positive, negative, jnp.asarray(p, dtype), sign, length)


@functools.partial(jax.jit, static_argnames="length")
def _failure(
    positive: Array, negative: Array, p: Array, sign: Number, length: int
) -> Array:
    m = jnp.arange(length, dtype=p.dtype)
    others = jnp.maximum(p - m, 0)
    log_weights = gammaln(p + 1) - gammaln(m + 1) - gammaln(others + 1)
    log_weights = log_weights + m * jnp.log(sign) + others * jnp.log1p(-sign)
    weights = jnp.where(m <= p, jnp.exp(log_weights), 0)
    shape = (1,) * positive.ndim + (-1,)
    log_chance = _log_all(positive[..., None], m.reshape(shape))
    log_chance = log_chance + _log_all(negative[..., None], others.reshape(shape))
    return jnp.sum(weights.reshape(shape) * -jnp.expm1(log_chance), axis=-1)


def coverage_probability(
    positive: Number, negative: Number, p: int, sign: Number = 0.5
) -> Array:
    """P(𝓘), exactly, for orthogonal inputs. See `coverage_failure`."""
    return 1 - coverage_failure(positive, negative, p, sign)


def _log_all(count: Array, m: Array) -> Array:
    """log (1 − 2^{−m})^count; 0 for no examples, −inf for examples without neurons."""
    each = jnp.log1p(-jnp.exp2(-m))
    return jnp.where(count == 0, 0.0, count * each)


def sufficient_width(n: Number, epsilon: Number) -> Array:
    """4 log(n/ε): at this width or above P(𝓘) ≥ 1 − ε (Lemma 5, first part).

    `jaxflow.width_rule` is the least integer for which the union bound says so.
    """
    check_width_of(n, epsilon)
    return 4 * jnp.log(jnp.asarray(n) / epsilon)


def necessary_width(n: Number, epsilon: Number) -> Array:
    """log₂(n/log(1/(1−ε))): at this width or below P(𝓘) ≤ 1 − ε, for orthogonal inputs.

    From (1 − 2^{−p})^n ≤ exp(−n 2^{−p}).
    """
    check_width_of(n, epsilon)
    return jnp.log2(jnp.asarray(n) / -jnp.log1p(-jnp.asarray(epsilon)))


def examples_for_width(p: Number, epsilon: Number) -> Array:
    """n = ε (4/3)^p: up to this many examples the union bound is ≥ 1 − ε at width p."""
    check_sizes(p=p)
    check_between("epsilon", epsilon, 0, 1)
    check_broadcast(p=p, epsilon=epsilon)
    return jnp.asarray(epsilon) * (4 / 3) ** jnp.asarray(p)
