"""All benchmarks, one after the other, each in a process of its own; then the report.

    python -m benchmarks [--size quick] [--only ensemble peers]

On an idle machine. A module that fails does not stop the others; the exit status says
so at the end. `--only` also takes `work_precision` and `convergence_probability`, which
are not among all, since they take long and go on where they were cut off.
"""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import tyro

from . import _machine, _process, report

# PyTorch on a CPU is no measure for an accelerator, the figures are made on a CPU, and
# with them it would not be ten minutes. What has targets comes first, and last what
# takes longest.
_ON_ACCELERATORS = (
    "roofline",
    "ensemble",
    "scaling_n",
    "precision",
    "throughput",
)


def on_accelerators(devices: int) -> tuple[str, ...]:
    """What makes sense on so many accelerators."""
    return _ON_ACCELERATORS + (("scaling_devices",) if devices > 1 else ())


@dataclasses.dataclass(frozen=True)
class Settings:
    """Every benchmark, and the report, results/benchmarks/README.md."""

    size: Literal["full", "quick"] = "full"
    only: tuple[str, ...] = ()
    """Names of modules; all that make sense on this machine if left out."""
    results: Path = report.RESULTS
    limit: float = 6 * 3600.0
    """Seconds after which a module is given up."""
    budget: float = 24 * 3600.0
    """Seconds for all of them together."""


def main(settings: Settings) -> int:
    on_cpu, devices = _devices()
    names = settings.only
    if not names:
        names = report.MODULES if on_cpu else on_accelerators(devices)
    end = time.monotonic() + settings.budget
    failed = []
    for name in names:
        if on_cpu and settings.size == "full":
            _wait_until_idle()
        if not _run_module(name, settings, end):
            failed.append(name)
    if settings.size == "full":
        # A quick run measures nothing that would belong there.
        report.main(report.Settings(settings.results))
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return 1 if failed else 0


def _devices() -> tuple[bool, int]:
    """Whether jax is on a CPU, and how many devices it has. Asked in another process,
    since this one must not hold an accelerator."""
    code = "import jax; d = jax.devices(); print(d[0].platform, len(d))"
    told = subprocess.run(
        [sys.executable, "-c", code],
        env=_process.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    platform, count = told.stdout.split()[-2:]
    return platform == "cpu", int(count)


def _run_module(name: str, settings: Settings, end: float) -> bool:
    limit = min(settings.limit, end - time.monotonic())
    if limit <= 0:
        sys.stderr.write(f"{name}: no time left\n")
        return False
    command = [sys.executable, "-m", f"benchmarks.{name}", "--size", settings.size]
    command += ["--results", str(settings.results)]
    start = time.perf_counter()
    try:
        good = _process.finish(command, limit)[0] == 0
    except subprocess.TimeoutExpired:
        good = False
    taken = time.perf_counter() - start
    sys.stderr.write(f"{name}: {'done' if good else 'FAILED'} in {taken:.0f} s\n")
    return good


def _wait_until_idle() -> None:
    """Lets the load of the module before fade: it would look like a busy machine."""
    for _ in range(12):
        load = _machine.load()
        if load is None or load <= _machine.IDLE:
            return
        time.sleep(15)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Settings, description=__doc__)))
