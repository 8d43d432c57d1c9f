"""Which compiled operations the time of a call went to."""

import collections
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

# Copies to and from a GPU belong to the call and not to the dynamics; those within it
# are what XLA makes of a loop, and count.
_TRANSFERS = ("MemcpyH2D", "MemcpyD2H")
# Loops and markers contain or repeat what is counted by itself.
_CONTAINERS = (
    "while",
    "call",
    "conditional",
    "end:",
    "$",
    "ThunkExecutor",
    "Threadpool",
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
    return [(k, 100 * v / whole) for k, v in spent.most_common(most)] if whole else []


def _durations(data: Any) -> collections.Counter[str]:
    spent: collections.Counter[str] = collections.Counter()
    for plane in data.planes:
        device = plane.name.startswith("/device:")
        for line in plane.lines:
            # On a CPU the operations run in the client's threads, on a GPU in streams.
            computes = line.name.startswith(("tf_XLA", "XLAPjRt", "XLA Ops"))
            if not (computes or (device and line.name.startswith("Stream"))):
                continue
            for event in line.events:
                if not event.name.startswith((*_CONTAINERS, *_TRANSFERS)):
                    spent[event.name.split(".")[0]] += event.duration_ns
    return spent
