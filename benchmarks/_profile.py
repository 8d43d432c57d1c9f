"""Which compiled operations the time of a call went to."""

import collections
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

_DEVICE = "/device:"
# What an accelerator spends between operations, waiting for the next to be launched.
IDLE = "(idle between operations)"
# Loops and markers contain or repeat what is counted by itself.
_CONTAINERS = (
    "while",
    "call",
    "cond",
    "end:",
    "$",
    "ThunkExecutor",
    "Threadpool",
    "SlinkyThreadPool",
)


def profile(call: Callable[[], Any], most: int = 8) -> list[tuple[str, float]]:
    """(operation, share of the time in %), the longest first; empty where this jax has
    no reader of its own profiles."""
    reader = getattr(jax.profiler, "ProfileData", None)
    if reader is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            call()
        found = sorted(Path(folder).rglob("*.xplane.pb"))
        if not found:
            return []
        spent = _durations(reader.from_file(str(found[-1])))
    whole = sum(spent.values())
    longest = sorted(spent.items(), key=lambda item: item[1], reverse=True)[:most]
    return [(k, 100 * v / whole) for k, v in longest] if whole else []


def _durations(data: Any) -> dict[str, float]:
    """Of the accelerators where there are any, from the first operation of a call to
    its last, and of the CPU otherwise. Copies count too: a call has few of its own, and
    on a GPU a loop may copy its condition to the host in every round."""
    spent: dict[str, float] = collections.defaultdict(float)
    planes = [(p.name.startswith(_DEVICE), list(_events(p))) for p in data.planes]
    accelerated = any(device and events for device, events in planes)
    for device, events in planes:
        if device != accelerated:
            continue
        for event in events:
            spent[event.name.split(".")[0]] += event.duration_ns
        # The threads of a CPU idle for other reasons, and are not one device.
        if device and events:
            spent[IDLE] += _gaps(
                [(e.start_ns, e.start_ns + e.duration_ns) for e in events]
            )
    return spent


def _events(plane: Any) -> Iterator[Any]:
    """What a plane's lines that compute did: the threads of the client on a CPU, the
    streams of a GPU, which may repeat them as "XLA Ops", and these alone on other
    devices."""
    lines = list(plane.lines)
    streams = [line for line in lines if line.name.startswith("Stream")]
    named = ("tf_XLA", "XLAPjRt", "XLA Ops")
    for line in streams or [line for line in lines if line.name.startswith(named)]:
        for event in line.events:
            if not event.name.startswith(_CONTAINERS):
                yield event


def _gaps(intervals: list[tuple[float, float]]) -> float:
    """What no interval covers, from the first start to the last end."""
    gaps, end = 0.0, min(start for start, _ in intervals)
    for start, stop in sorted(intervals):
        gaps += max(0.0, start - end)
        end = max(end, stop)
    return gaps
