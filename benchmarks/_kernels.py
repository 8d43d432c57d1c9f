"""What the machine can do: products and passes over memory, nothing else."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow._compile import compiler_options

from . import _machine
from ._pieces import on_every_core
from ._timing import Contender

HIGHEST = jax.lax.Precision.HIGHEST


def square_product(size: int) -> tuple[Contender, float]:
    """X ↦ X B of size × size in float32, and its flop. XLA spreads a product that large
    over all cores by itself."""
    b = jnp.full((size, size), 1 / size, jnp.float32)
    advance = _loop(lambda x: jnp.matmul(x, b, precision=HIGHEST))
    x = jnp.ones((size, size), jnp.float32)
    return Contender(lambda k: jax.block_until_ready(advance(x, k))), 2.0 * size**3


def own_products(n: int, d: int, p: int, batch: int) -> tuple[Contender, float]:
    """The two products of a dense velocity, W Xᵀ and C X, and their flop. On a CPU
    alone on each core, on an accelerator `batch` at a time."""
    rng = np.random.default_rng(0)
    lead = () if _machine.on_cpu() else (batch,)
    x = jnp.asarray(rng.normal(size=(*lead, n, d)) / np.sqrt(d), jnp.float32)
    w = jnp.asarray(rng.normal(size=(*lead, p, d)), jnp.float32)

    def step(w: Any) -> Any:
        z = jnp.matmul(w, jnp.swapaxes(x, -1, -2), precision=HIGHEST)
        return w + 1e-6 * jnp.matmul(z, x, precision=HIGHEST)

    advance = _loop(step)
    contender = on_every_core(lambda k: advance(w, k))
    if lead:
        contender = Contender(contender.advance, networks=batch)
    return contender, 4.0 * n * d * p


def pass_over(elements: int) -> tuple[Contender, float]:
    """x ↦ x + 1, which reads and writes so many float32; and the bytes it moves. Each
    core has an array of its own."""
    advance = _loop(lambda x: x + 1)
    x = jnp.zeros(elements, jnp.float32)
    return on_every_core(lambda k: advance(x, k)), 8.0 * elements


def _loop(step: Callable[[Any], Any]) -> Callable[[Any, int], Any]:
    def repeated(x: Any, count: Any) -> Any:
        return jax.lax.fori_loop(0, count, lambda _, x: step(x), x)

    compiled = jax.jit(repeated, compiler_options=compiler_options())
    return lambda x, count: compiled(x, np.int32(count))
