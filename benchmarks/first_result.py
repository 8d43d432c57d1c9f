"""How long a newcomer waits: from `import jaxflow` to the first result.

    python -m benchmarks.first_result [--size quick]

Each in a process of its own: cold, with nothing compiled before, and warm, with the
persistent compilation cache of JAX that an earlier process has filled, as Get started
tells to set it. The second call of the same process compiles nothing: what it takes is
the work itself.
"""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import _process, _run
from ._timing import Spread


@dataclasses.dataclass(frozen=True)
class Case:
    """`seeds` networks at each n, or where that is 0 a lone one at the only n."""

    name: str
    inputs: str
    n: tuple[int, ...]
    d: int
    last: float
    seeds: int = 0


@dataclasses.dataclass(frozen=True)
class Parameters:
    repeats: int = 5
    cases: tuple[Case, ...] = (
        # Of the size of the README's example.
        Case("simulate, orthogonal", "orthogonal", (1000,), 2000, 600.0),
        Case("simulate, correlated", "sphere", (200,), 50, 200.0),
        Case("a sweep, orthogonal", "orthogonal", (100, 200), 400, 200.0, 10),
    )


PARAMETERS = {
    "full": Parameters(),
    "quick": Parameters(
        repeats=1,
        cases=(
            Case("simulate, orthogonal", "orthogonal", (20,), 40, 10.0),
            Case("simulate, correlated", "sphere", (20,), 5, 10.0),
            Case("a sweep, orthogonal", "orthogonal", (10, 20), 40, 10.0, 2),
        ),
    ),
}


def with_cache(folder: Path) -> dict[str, str]:
    """JAX keeps every program that it compiles in `folder`."""
    return {
        # One that may raise from within, as some flows by default, is never kept.
        "EQX_ON_ERROR": "nan",
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def measure(parameters: Parameters, seed: int) -> _run.Findings:
    found, rows = _run.Findings(), []
    header = [
        "what", "cache", "until the first result (s)", "of which import (s)",
        "the same again (s)",
    ]  # fmt: skip
    note = "From the start of `import jaxflow`; the interpreter was there before."
    for case in parameters.cases:
        for cache, samples in timed(case, parameters.repeats, seed).items():
            columns = ("first", "importing", "again")
            spreads = [Spread.of([one[name] for one in samples]) for name in columns]
            rows.append([case.name, cache, *spreads])
        found.table("From import to the first result", header, rows, note)
    return found


def timed(case: Case, repeats: int, seed: int) -> dict[str, list[dict[str, float]]]:
    """What the processes told, cold and warm in turns."""
    options = {**dataclasses.asdict(case), "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        cache = with_cache(Path(folder))
        # Not counted: it fills the cache.
        _told(options, cache)
        if not any(Path(folder).iterdir()):
            raise RuntimeError(
                f"{case.name}: no program was kept in the compilation cache, so that "
                "nothing warm can be timed."
            )
        samples: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
        for _ in range(repeats):
            samples["cold"].append(_told(options, None))
            samples["warm"].append(_told(options, cache))
    losses = {one["loss"] for several in samples.values() for one in several}
    if len(losses) > 1:
        raise RuntimeError(f"{case.name}: the results differ, losses {losses}.")
    return samples


def _told(
    options: Mapping[str, Any], environment: Mapping[str, str] | None
) -> dict[str, float]:
    told, _ = _process.call("benchmarks._first_result", options, environment)
    return dict(told)


if __name__ == "__main__":
    _run.main("first_result", PARAMETERS, measure, __doc__)
