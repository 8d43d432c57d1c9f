"""How a long call ends before it is done: by Ctrl-C, and by SIGTERM.

A compiled program cannot be interrupted, and a thread that waits for one in C++ aborts
the process when Python shuts down meanwhile. A callback by which programs ask whether
to go on would keep them out of the compilation cache, and programs cut in segments
would carry every method's state across the cut. But jax computes in threads of its own
and hands out arrays that are not there yet, so that it is enough to wait in Python:
`computed` looks whether they have come, and goes away when it is told to. What is still
being computed then is left to itself. It ends with its program, or with the process.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from operator import methodcaller
from types import FrameType
from typing import Any, NoReturn, TypeVar

import jax

_T = TypeVar("_T")

# For so many seconds after the first signal, runs that are being computed may end.
_GRACE = 1.0
# How often to look whether something has come: after this share of the time waited, and
# between these seconds.
_SHARE, _OFTEN, _SELDOM = 0.03, 5e-5, 0.02


class StoppedError(Exception):
    """Leaves the preparation of what shall not be computed any more."""


class Interruption:
    """While it is entered, the first Ctrl-C (or SIGTERM) asks to stop, and the second
    does what it does in Python.

    Handlers are those of the process, so they are set by the main thread alone, where
    nobody has set others, and set back at the exit.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        # What to wait until once it is asked.
        self._until: float | None = None
        self._replaced: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler}
            if jax.process_count() == 1:
                # Of several, jax itself has been told what to do at SIGTERM.
                usual[signal.SIGTERM] = signal.SIG_DFL
            for number, handler in usual.items():
                if signal.getsignal(number) == handler:
                    self._replaced[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: Any) -> None:
        self.now()
        for number, handler in self._replaced.items():
            signal.signal(number, handler)
        self._replaced = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
            self._until = time.monotonic() + _GRACE
        elif number == signal.SIGINT:
            signal.default_int_handler(number, frame)
        else:
            _die(number)

    def now(self) -> None:
        """Nothing is waited for any more."""
        self._until = time.monotonic()

    @property
    def asked(self) -> bool:
        """Whether nothing new shall be begun."""
        return self._until is not None

    @property
    def over(self) -> bool:
        """Whether nothing shall be waited for any more."""
        return self._until is not None and time.monotonic() >= self._until

    def check(self) -> None:
        """Raises a `StoppedError` if nothing new shall be begun."""
        if self.asked:
            raise StoppedError

    def leave(self, told: str) -> NoReturn:
        """Does what the signal would have done: a KeyboardInterrupt, or an end of the
        process by SIGTERM. `told` says what is kept and how to go on."""
        if self.signal == signal.SIGTERM:
            # Who is ended has no exception to read.
            logging.getLogger("jaxflow").warning("Terminated: %s", told)
            _die(signal.SIGTERM)
        raise KeyboardInterrupt(told)


def _die(number: int) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    raise SystemExit(128 + number)


def computed(outputs: dict[str, jax.Array], interruption: Interruption) -> bool:
    """Waits until the arrays are computed; False if told to stop before they are."""
    start = time.monotonic()
    # jax's own type of arrays does not declare it.
    ready = methodcaller("is_ready")
    while not all(map(ready, outputs.values())):
        if interruption.over:
            return False
        waited = time.monotonic() - start
        time.sleep(min(max(_SHARE * waited, _OFTEN), _SELDOM))
    return True


def heard(function: Callable[[], _T], interruption: Interruption) -> _T:
    """function(), in a thread of its own, since the compiler hears no signal.

    Raises a `StoppedError` if told to stop before it returns. Python waits for that
    thread before it shuts down, which would be fatal to what is in C++.
    """
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="jaxflow-compile").start()
    while not future.done():
        interruption.check()
        try:
            return future.result(timeout=0.05)
        except TimeoutError:
            continue
    return future.result()
