"""How many runs one call of a compiled program takes.

A call cannot be interrupted, and what it has finished is lost if it is left before its
end: so long runs have a call each. But a call costs as much as some hundred steps of
the least networks, and of short runs many share one.
"""

import numpy as np

# What a call shall last at most, in seconds, if it takes more than one run.
_LASTS = 0.2


class Pace:
    """How quick the runs of one compiled program have been so far."""

    def __init__(self) -> None:
        # Seconds for each unit of `lengths`, once a call was timed.
        self._rate: float | None = None

    def end(self, start: int, lengths: np.ndarray) -> int:
        """Where the call ends that begins with run `start` of a batch, of runs that are
        expected to take their time in proportion to `lengths`."""
        if self._rate is None:
            return start + 1
        expected = self._rate * np.cumsum(lengths[start:])
        return start + max(1, int(np.searchsorted(expected, _LASTS, "right")))

    def learn(self, lengths: np.ndarray, seconds: float | int) -> None:
        """A call of runs of these lengths took so many seconds."""
        self._rate = seconds / float(np.sum(lengths))
