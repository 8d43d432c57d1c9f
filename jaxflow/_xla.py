"""How the programs of this package are compiled."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ._checks import is_concrete

# Rows per block, and where so many blocks would only make the program long.
_BLOCK, _MANY = 32, 1024


def compiler_options() -> dict[str, Any]:
    """On a CPU, XLA uses vectors of 256 bits even where the machine has 512. The long
    elementwise passes over pairs run up to a third quicker with all of them."""
    return (
        {"xla_cpu_prefer_vector_width": 512} if jax.default_backend() == "cpu" else {}
    )


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` under `equinox.filter_jit`, with the options above where jax takes
    them: not inside another jit or grad."""
    within = eqx.filter_jit(function)

    @functools.cache
    def outermost() -> Callable[..., Any]:
        options: Any = {"compiler_options": compiler_options()}
        return eqx.filter_jit(function, **options)

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        # Inside jit even a sum of constants is traced.
        free = is_concrete(*jax.tree.leaves(args), jnp.add(0, 0))
        return (outermost() if free else within)(*args)

    return call


def over_rows(function: Callable[[slice], Any], rows: int) -> list[Any]:
    """`function` of consecutive blocks of rows.

    On a CPU the compiler merges an elementwise pass into a matrix–vector product, and
    makes it at half the speed above 36 rows.
    """
    small = jax.default_backend() == "cpu" and rows <= _MANY
    size = _BLOCK if small else rows
    return [function(slice(i, min(i + size, rows))) for i in range(0, rows, size)]


def compiled_separately(function: Callable[..., Any], problem: Any, *args: Any) -> Any:
    """function(problem, *args), which rounds alike wherever it stands.

    XLA sums in another order where it merges a sum with what surrounds it. A branch is
    compiled for itself, and that n is positive is not known to the compiler.
    """
    shapes = eqx.filter_eval_shape(function, problem, *args)

    def nothing(*_: Any) -> Any:
        return jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), shapes)

    return jax.lax.cond(problem.n > 0, function, nothing, problem, *args)


def written_to_memory(function: Callable[..., Any], problem: Any, *args: Any) -> Any:
    """function(problem, *args), with the arguments as arrays in memory on a CPU.

    The compiler there merges what makes a matrix into every matrix–vector product that
    reads it. For more than a maximum that takes many times longer than writing the
    matrix once: 120 against 30 μs for a stage of the flow at n = 2000.
    """
    if jax.default_backend() == "cpu":
        return compiled_separately(function, problem, *args)
    return function(problem, *args)
