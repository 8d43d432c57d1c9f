"""How far a long computation has got."""

import dataclasses
import sys
import time
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Progress:
    """`done` and `total` runs of an ensemble, or flow time of a lone run; `seconds` so
    far and, from the share of the predicted work that is done, `seconds_left` (None
    before anything is). A lone run's work is its flow time. Seconds count from its
    first step on, and those of an ensemble from its first batch: compiling comes
    before."""

    done: float | int
    total: float | int
    seconds: float
    seconds_left: float | None


def check_progress(target: Any) -> None:
    if not (target is None or isinstance(target, bool) or callable(target)):
        raise ValueError(
            "progress must be True or False, for a bar or none, or a function of a "
            f"jaxflow.Progress, got {target!r}."
        )


class Reporter:
    """Tells a callback, or a bar: on stderr where that is a terminal, or in a
    notebook. `unit`: what is counted, runs or flow time."""

    def __init__(
        self,
        target: bool | Callable[[Progress], Any] | None,
        total: float | int,
        work: float | int,
        unit: str = "runs",
    ):
        self._callback = target if callable(target) else None
        seen = sys.stderr.isatty() or _in_notebook()
        shown = target if isinstance(target, bool) else seen
        self._bar = None
        if self._callback is None and shown and total:
            self._bar = _bar(total, unit)
        self._total, self.expected_work = total, work
        self._done: float | int = 0
        self._worked = 0.0
        self._start = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str("compiling")

    def start(self) -> None:
        """What came before was compiling: time counts from here."""
        self._start = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str("")

    @property
    def done(self) -> float | int:
        """How many so far."""
        return self._done

    @property
    def told(self) -> bool:
        """Whether there is anybody to tell."""
        return not (self._callback is None and self._bar is None)

    def reach(self, done: float) -> None:
        """Of what is done evenly: how much is."""
        self.add(done - self._done, done - self._done)

    def add(self, done: float | int, work: float | int) -> None:
        self._done += done
        self._worked += work
        seconds = time.monotonic() - self._start
        left = None
        if self._worked > 0:
            left = seconds * max(self.expected_work / self._worked - 1, 0)
        if self._callback is not None:
            self._callback(Progress(self._done, self._total, seconds, left))
        if self._bar is not None:
            if left is not None:
                self._bar.set_postfix_str(f"{_clock(left)} left", refresh=False)
            self._bar.update(done)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _in_notebook() -> bool:
    """Whether this is the kernel of a notebook: stderr is no terminal, but is seen."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return "IPKernelApp" in getattr(shell, "config", ())


def _bar(total: float | int, unit: str) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    counted = "{n:.6g}/{total:.6g} " + unit
    layout = "{percentage:3.0f}%|{bar}| " + counted + " [{elapsed}{postfix}]"
    return tqdm(total=total, bar_format=layout)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
