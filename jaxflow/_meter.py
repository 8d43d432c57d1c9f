"""How far a lone run has got, told from within its compiled program."""

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from ._progress import Reporter
from ._solution import Solution
from ._types import Number

# A call of Python costs some 30 μs, a step of a small network as much.
_EVERY = 32
# Who listens to which run. A compiled program knows only the number, so that the next
# run need not compile anew.
_LISTENERS: dict[int, Callable[[float], None]] = {}
_NUMBERS = itertools.count()


class Meter(diffrax.AbstractProgressMeter):
    """Tells a listener, after the first step and then every few, what share of the flow
    time is done."""

    listener: Int[Array, ""]

    def init(self) -> Int[Array, ""]:
        return jnp.int32(0)

    def step(self, state: Int[Array, ""], progress: Number) -> Int[Array, ""]:
        self.tell(state + 1, progress)
        return state + 1

    def close(self, state: Int[Array, ""]) -> None:
        pass

    def tell(self, steps: Int[Array, ""], share: Number) -> None:
        jax.lax.cond(
            steps % _EVERY == 1,
            lambda: jax.debug.callback(_hear, self.listener, share),
            lambda: None,
        )


def _hear(number: Array, share: Array) -> None:
    _LISTENERS[int(number)](float(share))


class _Listener:
    """Hands on what a meter tells, in flow time."""

    def __init__(self, reporter: Reporter, end: float):
        self._reporter, self._end = reporter, end
        self._compiled = False
        self.raised: BaseException | None = None

    def __call__(self, share: float) -> None:
        if not self._compiled:
            # After the first step; what came before was compiling.
            self._compiled = True
            self._reporter.start()
            return
        try:
            self._reporter.reach(share * self._end)
        except BaseException as error:
            self.raised = error
            raise


def with_progress(
    run: Callable[[Meter | None], Solution], end: float, target: Any
) -> Solution:
    """run(meter) of a run up to the flow time `end`, of which `target` is told, see
    `Reporter`; run(None) where there is nobody to tell. What `target` raises ends the
    run and is raised here."""
    with contextlib.closing(Reporter(target, end, end, "of flow time")) as reporter:
        if not reporter.told:
            return run(None)
        listener, number = _Listener(reporter, end), next(_NUMBERS)
        _LISTENERS[number] = listener
        try:
            result = jax.block_until_ready(run(Meter(jnp.int32(number))))
        except Exception as error:
            # jax wraps what a callback raises.
            if listener.raised is not None:
                raise listener.raised from error
            raise
        finally:
            jax.effects_barrier()
            del _LISTENERS[number]
        reporter.reach(float(result.final_time))
        return result
