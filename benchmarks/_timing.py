"""Wall times of things that are compared: alternately, several times, with spread.

A machine drifts: its clock, its neighbours. Contenders therefore take turns, and a
ratio is taken within each turn before the median over the turns.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

# The fewest and the most steps in a call that is timed. Times are float32 and one step
# of descent is a time of 1: from 2²⁴ on they are no longer exact integers, and a run
# would not make the steps that it is divided by.
_FEWEST = 4
_MOST = 2**22
# By so many steps at least two calls differ whose difference is taken.
_APART = 50


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median, least and greatest of repeated measurements."""

    median: float
    low: float
    high: float
    repeats: int

    @staticmethod
    def of(samples: Sequence[float]) -> "Spread":
        return Spread(
            float(np.median(samples)), min(samples), max(samples), len(samples)
        )

    def scaled(self, factor: float) -> "Spread":
        return Spread(
            self.median * factor, self.low * factor, self.high * factor, self.repeats
        )

    def inverse(self, factor: float = 1.0) -> "Spread":
        """`factor` over each; the least becomes the greatest."""
        return Spread(
            factor / self.median, factor / self.high, factor / self.low, self.repeats
        )


@dataclasses.dataclass(frozen=True)
class Contender:
    """Something that takes steps: `advance(steps)` takes so many with each of its
    `networks`, and returns when they are done."""

    advance: Callable[[int], Any]
    networks: int = 1
    granularity: int = 1


@dataclasses.dataclass(frozen=True)
class Race:
    """Seconds of each contender in each turn."""

    samples: dict[str, list[float]]

    def spread(self, name: str) -> Spread:
        return Spread.of(self.samples[name])

    def ratio(self, slower: str, faster: str) -> Spread:
        """How many times as long `slower` takes as `faster`."""
        pairs = zip(self.samples[slower], self.samples[faster], strict=True)
        return Spread.of([a / b for a, b in pairs])

    def best(self, names: Sequence[str]) -> str:
        """The quickest of those that took part."""
        present = [name for name in names if name in self.samples]
        return min(present, key=lambda name: self.spread(name).median)


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def race_calls(
    calls: Mapping[str, Callable[[], Any]],
    repeats: int,
    *,
    warm: bool = True,
    counts: Mapping[str, int] | None = None,
) -> Race:
    """Seconds per call, in turns, after one call of each that does not count. In a turn
    each is called as often as its `counts` says, once where that says nothing."""
    if warm:
        for call in calls.values():
            call()
    samples: dict[str, list[float]] = {name: [] for name in calls}

    def turn(name: str, count: int) -> None:
        for _ in range(count):
            calls[name]()

    for index in range(repeats):
        # Whoever follows a contender finds the caches as that one left them.
        names = list(calls) if index % 2 == 0 else list(calls)[::-1]
        for name in names:
            count = (counts or {}).get(name, 1)
            taken = seconds(functools.partial(turn, name, count))
            samples[name].append(taken / count)
    return Race(samples)


def calls_within(seconds_each: float, taken: float) -> int:
    """How many calls of `taken` seconds fill a turn, one at least."""
    return max(1, math.ceil(seconds_each / max(taken, 1e-9)))


def race(
    contenders: Mapping[str, Contender], repeats: int, seconds_each: float
) -> Race:
    """Seconds per network and step, in turns of about `seconds_each`."""
    steps = {name: fitting(one, seconds_each) for name, one in contenders.items()}
    calls = {
        name: functools.partial(one.advance, steps[name])
        for name, one in contenders.items()
    }
    timed = race_calls(calls, repeats, warm=False)
    per_step = {
        name: [t / (steps[name] * one.networks) for t in timed.samples[name]]
        for name, one in contenders.items()
    }
    return Race(per_step)


def fitting(one: Contender, seconds_each: float) -> int:
    """How many steps take about so long, 2²² at most. Compiles and warms up on the
    way."""
    unit = _least(one)
    most = max(unit, _whole(_MOST, one.granularity))
    one.advance(unit)
    steps = unit
    while True:
        taken = seconds(functools.partial(one.advance, steps))
        if taken >= 0.2 * seconds_each or steps == most:
            wanted = min(steps * seconds_each / max(taken, 1e-9), most)
            return max(unit, _whole(wanted, one.granularity))
        growth = min(10.0, 0.5 * seconds_each / max(taken, 1e-9))
        larger = steps * max(growth, 1.5) + one.granularity
        steps = _whole(min(larger, most), one.granularity)


def lengths(one: Contender, seconds_each: float) -> tuple[int, int]:
    """Numbers of steps of a short and a long call, about so many seconds apart. Where a
    step takes long, the start and the end of a call, its first loss and its record, are
    worth a dozen steps: they are in both, and not in the difference."""
    apart = max(_APART, fitting(one, seconds_each))
    few = _least(one)
    apart += -apart % one.granularity
    return few, min(few + apart, _whole(_MOST, one.granularity))


def longer(
    advance: Callable[[float], Any],
    short: float,
    long: float,
    repeats: int,
    seconds_each: float = 0.0,
) -> list[float]:
    """By how many seconds `advance(long)` takes longer than `advance(short)`, in each
    turn. A turn makes so many calls of each that the long ones fill `seconds_each`.
    Both must have been called before."""
    calls = {
        "short": functools.partial(advance, float(short)),
        "long": functools.partial(advance, float(long)),
    }
    count = calls_within(seconds_each, seconds(calls["long"])) if seconds_each else 1
    timed = race_calls(calls, repeats, warm=False, counts=dict.fromkeys(calls, count))
    return differences(timed, "short", "long")


def differences(race: Race, short: str, long: str) -> list[float]:
    """By how many seconds the long call took longer, in each turn."""
    pairs = zip(race.samples[long], race.samples[short], strict=True)
    return [more - less for more, less in pairs]


def _least(one: Contender) -> int:
    """The fewest steps of a call."""
    return -(-_FEWEST // one.granularity) * one.granularity


def _whole(steps: float, granularity: int) -> int:
    return int(steps) // granularity * granularity
