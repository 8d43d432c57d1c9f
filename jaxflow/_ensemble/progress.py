"""How far a long computation has got."""

import dataclasses
import sys
import time
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Progress:
    """`done` and `total` runs; `seconds` so far and, from the share of the predicted
    work that is done, `seconds_left` (None before anything is)."""

    done: int
    total: int
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
    notebook."""

    def __init__(
        self,
        target: bool | Callable[[Progress], Any] | None,
        total: int,
        work: float | int,
    ):
        self._callback = target if callable(target) else None
        seen = sys.stderr.isatty() or _in_notebook()
        shown = target if isinstance(target, bool) else seen
        self._bar = None
        if self._callback is None and shown and total:
            self._bar = _bar(total)
        self._total, self.expected_work = total, work
        self._done, self._worked = 0, 0.0
        self._start = time.monotonic()

    @property
    def done(self) -> int:
        """How many runs so far."""
        return self._done

    def add(self, runs: int, work: float | int) -> None:
        self._done += runs
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
            self._bar.update(runs)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _in_notebook() -> bool:
    """Whether this is the kernel of a notebook: stderr is no terminal, but is seen."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return "IPKernelApp" in getattr(shell, "config", ())


def _bar(total: int) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    layout = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} runs [{elapsed}{postfix}]"
    return tqdm(total=total, bar_format=layout)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
