"""How the programs of this package are compiled: what XLA has to be told.

Two things about XLA shape this file. It may sum in another order in every program in
which a sum stands, so that a promise to the last bit needs sums that are compiled by
themselves (`compiled_separately`). And on a CPU it merges whatever makes a matrix into
each product that reads the matrix, and then makes it several times
(`written_to_memory`, `over_rows`).
"""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ._checks import is_concrete

T = TypeVar("T")

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


def nans_are_meant() -> AbstractContextManager[None]:
    """A context in which `jax_debug_nans` does not look: what a run did not reach is
    NaN by design, and the check looks at everything that a compiled program returns. It
    holds for the thread that enters it."""
    return jax.debug_nans(False)


def over_rows(function: Callable[[slice], Any], rows: int) -> list[Any]:
    """[function(slice of rows), …] over consecutive blocks of 32 rows on a CPU, of all
    rows elsewhere.

    XLA merges an elementwise pass over a matrix (p, n) into the matrix–vector product
    that reads it, and above 36 rows makes that at half the speed.
    """
    small = jax.default_backend() == "cpu" and rows <= _MANY
    size = _BLOCK if small else rows
    return [function(slice(i, min(i + size, rows))) for i in range(0, rows, size)]


def compiled_separately(function: Callable[..., Any], problem: Any, *args: Any) -> Any:
    """function(problem, *args), which rounds alike wherever it stands.

    XLA merges a sum with the operations around it, and then may sum in another order.
    The branches of a conditional are compiled apart from what surrounds them, so
    `function` becomes the branch that is always taken: that n is positive is not known
    to the compiler, which therefore cannot remove the conditional.

    `problem` is a `Problem`, and the results have a fixed shape; the other branch, of
    zeros, never runs.
    """
    shapes = eqx.filter_eval_shape(function, problem, *args)

    def nothing(*_: Any) -> Any:
        return jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), shapes)

    return jax.lax.cond(problem.n > 0, function, nothing, problem, *args)


def written_to_memory(function: Callable[..., Any], problem: Any, *args: Any) -> Any:
    """function(problem, *args), with `args` written to memory first, on a CPU.

    XLA would otherwise recompute them for every product that reads them. Where an
    argument is more than the maximum of two numbers that takes several times longer
    than writing the matrix (p, n) once: 120 against 30 μs for a stage of the flow at
    n = 2000.
    """
    if jax.default_backend() == "cpu":
        return compiled_separately(function, problem, *args)
    return function(problem, *args)


def only_where_needed(
    needed: Bool[Array, ""], make: Callable[[], T], otherwise: T
) -> T:
    """`make()` where it is needed, else `otherwise`.

    Of runs in lockstep (`jax.vmap`) a conditional computes both. This loop of one turn
    makes nothing where none of them needs it.
    """
    return jax.lax.while_loop(
        lambda state: state[0],
        lambda state: (jnp.zeros_like(needed), make()),
        (needed, otherwise),
    )[1]
