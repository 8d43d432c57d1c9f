"""A dense step put together piece by piece, to see what each costs.

Each stage is the one before plus one more of what a step does, in a loop of its own,
compiled as the library's programs are. What the library takes beyond the last stage is
its loop: stops, counters, and the copies that XLA makes for it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow._xla import compiler_options

from . import _machine
from ._timing import Contender

STAGES = (
    "the two products",
    "+ activations and residuals",
    "+ velocity of a",
    "+ gates and cotangent",
    "+ loss and its test",
)


def stage(level: int) -> Callable[..., Any]:
    """step(w, a, x, y) -> (w, a, loss): as much of a step as `level` says.

    Stages that are no step of the dynamics move w by so little that it stays bounded
    over as many steps as are timed.
    """

    def product(left: Any, right: Any) -> Any:
        return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)

    def step(w: Any, a: Any, x: Any, y: Any) -> Any:
        n, p = len(y), len(a)
        z = product(w, x.T)
        if level == 0:
            return w + 1e-6 * product(z, x), a, jnp.zeros((), w.dtype)
        on = jax.nn.relu(z)
        r = y - product(a, on) / p
        loss = jnp.sum(r**2) / (2 * n) if level >= 4 else jnp.zeros((), w.dtype)
        moved = a + product(on, r) / n if level >= 2 else a
        # Through a maximum the compiler cannot tell which residuals it needs.
        pushed = on + 0 * jnp.max(r)
        if level >= 3:
            pushed = jnp.where(z > 0, (a / n)[:, None] * r[None, :], 0)
        scale = 1.0 if level >= 3 else 1e-6
        return w + scale * product(pushed, x), moved, loss

    return step


def loop(step: Callable[..., Any]) -> Callable[..., Any]:
    def repeated(w: Any, a: Any, x: Any, y: Any, steps: Any) -> Any:
        def going(state: Any) -> Any:
            return (state[0] < steps) & (state[3] >= 0)

        def body(state: Any) -> Any:
            return (state[0] + 1, *step(*state[1:3], x, y))

        start = (jnp.int32(0), w, a, jnp.zeros((), w.dtype))
        return jax.lax.while_loop(going, body, start)

    return jax.jit(repeated, compiler_options=compiler_options())


def stages(n: int, d: int, p: int, seed: int) -> dict[str, Contender]:
    """One contender for each stage, on every core at once, as the engine runs."""
    rng = np.random.default_rng(seed)
    shapes = ((p, d), (p,), (n, d), (n,))
    arrays = [jnp.asarray(rng.normal(size=s) / np.sqrt(d), jnp.float32) for s in shapes]

    def contender(level: int) -> Contender:
        repeated = loop(stage(level))
        return on_every_core(lambda k: repeated(*arrays, np.int32(k)))

    return {name: contender(level) for level, name in enumerate(STAGES)}


def on_every_core(advance: Callable[[int], Any]) -> Contender:
    workers = _machine.cores() if _machine.on_cpu() else 1

    def together(steps: int) -> None:
        if workers == 1:
            jax.block_until_ready(advance(steps))
            return
        with ThreadPoolExecutor(workers) as pool:
            list(
                pool.map(
                    lambda _: jax.block_until_ready(advance(steps)), range(workers)
                )
            )

    return Contender(together, networks=workers)
