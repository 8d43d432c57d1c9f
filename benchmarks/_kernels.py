"""What the machine can do: products and passes over memory, nothing else.

All operands are arguments of the compiled loop: what it closes over becomes a constant,
which the compiler may simplify, and which must fit into the program. All are random,
and such that the iterates neither grow nor vanish, since numbers that have become
infinite or subnormal take another time.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow._xla import compiler_options

from . import _machine
from ._pieces import on_every_core
from ._timing import Contender

HIGHEST = jax.lax.Precision.HIGHEST


def square_product(size: int) -> tuple[Contender, float]:
    """X ↦ X B of size × size in float32, and its flop. XLA spreads a product that large
    over all cores by itself."""
    rng = np.random.default_rng(0)
    # A reflection with some columns' signs changed is orthogonal: it keeps all norms.
    v = rng.normal(size=size)
    v = (v / np.linalg.norm(v)).astype(np.float32)
    signs = rng.choice(np.array([-1, 1], np.float32), size)
    b = jnp.asarray((np.eye(size, dtype=np.float32) - 2 * np.outer(v, v)) * signs)
    x = jnp.asarray(rng.standard_normal((size, size), dtype=np.float32))
    advance = _loop(lambda x, b: jnp.matmul(x, b, precision=HIGHEST))
    return Contender(lambda k: jax.block_until_ready(advance(x, k, b))), 2.0 * size**3


def own_products(
    n: int, d: int, p: int, batch: int
) -> tuple[dict[str, Contender], float]:
    """The two products of a dense velocity, Z = W Xᵀ and Z X, in every plain form that
    could be the quickest on this device; and their flop.

    With X alone, or with a copy of Xᵀ beside it. On an accelerator `batch` networks
    side by side; on a CPU one on each core, where XLA may share out each product among
    all cores or keep it on one thread, or one after the other.
    """
    rng = np.random.default_rng(0)
    lead = () if _machine.on_cpu() else (batch,)
    x = rng.normal(size=(*lead, n, d)) / np.sqrt(d)
    largest = np.linalg.norm(x.reshape(-1, n, d)[0], 2) ** 2
    start = jnp.asarray(rng.normal(size=(*lead, p, d)), jnp.float32)
    x = jnp.asarray(x, jnp.float32)
    transposed = jnp.array(jnp.swapaxes(x, -1, -2))
    # With half the inverse of the largest eigenvalue the iterates stay near `start`.
    scale = jnp.float32(0.5 / largest)

    def step(w: Any, start: Any, scale: Any, x: Any, xt: Any = None) -> Any:
        xt = jnp.swapaxes(x, -1, -2) if xt is None else xt
        z = jnp.matmul(w, xt, precision=HIGHEST)
        return start + scale * jnp.matmul(z, x, precision=HIGHEST)

    def form(
        arrays: tuple[Any, ...],
        options: dict[str, Any],
        spread: Callable[..., Contender] = on_every_core,
    ) -> Contender:
        advance = _loop(step, options)
        return spread(lambda k: advance(start, k, start, scale, *arrays))

    given = {"X": (x,), "X and Xᵀ": (x, transposed)}
    if lead:
        found = {
            what: Contender(form(arrays, {}).advance, networks=batch)
            for what, arrays in given.items()
        }
        return found, 4.0 * n * d * p
    found = {}
    for what, arrays in given.items():
        found[f"{what}, on each core"] = form(arrays, {})
        own_thread = {"xla_cpu_multi_thread_eigen": False}
        found[f"{what}, on each core, in its thread"] = form(arrays, own_thread)
        found[f"{what}, one after the other"] = form(
            arrays,
            {},
            lambda call: Contender(lambda k: jax.block_until_ready(call(k))),
        )
    return found, 4.0 * n * d * p


def pass_over(elements: int) -> tuple[Contender, float]:
    """x ↦ x + 1, which reads and writes so many float32; and the bytes it moves. Each
    core has an array of its own."""
    advance = _loop(lambda x, one: x + one)
    x = jax.random.normal(jax.random.key(0), (elements,), jnp.float32)
    one = jnp.float32(1)
    return on_every_core(lambda k: advance(x, k, one)), 8.0 * elements


def _loop(
    step: Callable[..., Any], options: dict[str, Any] | None = None
) -> Callable[..., Any]:
    """f(x, count, *operands): `step` so often, in one program."""

    def repeated(x: Any, count: Any, *operands: Any) -> Any:
        return jax.lax.fori_loop(0, count, lambda _, x: step(x, *operands), x)

    together = {**compiler_options(), **(options or {})}
    compiled = jax.jit(repeated, compiler_options=together)
    return lambda x, count, *operands: compiled(x, np.int32(count), *operands)
