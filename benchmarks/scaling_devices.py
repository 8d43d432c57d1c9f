"""What more devices and more processes cost and gain.

    python -m benchmarks.scaling_devices [--size quick]

On a CPU: 1, 2 and 4 simulated devices in one process, and 1 and 2 processes that share
a folder over loopback. Simulated devices share the same cores, so this shows what
distribution adds and that it changes no bit, rather than a speed-up. On accelerators:
the devices that there are.
"""

import dataclasses
import functools
import socket
import tempfile
from collections.abc import Callable
from typing import Any

import jax

from . import _machine, _process, _run
from ._timing import Spread


@dataclasses.dataclass(frozen=True)
class Parameters:
    n: int = 1500
    d: int = 2000
    seeds: int = 64
    horizon: float = 1.5
    devices: tuple[int, ...] = (1, 2, 4)
    processes: tuple[int, ...] = (1, 2)
    repeats: int = 3


PARAMETERS = {
    "full": Parameters(),
    "quick": Parameters(
        n=60, d=80, seeds=4, devices=(1, 2), processes=(1, 2), repeats=1
    ),
}


def measure(parameters: Parameters, seed: int) -> _run.Findings:
    found = _run.Findings()
    calls: dict[str, Callable[[], dict[str, Any]]] = {}
    for count in _device_counts(parameters):
        calls[f"{count} devices"] = functools.partial(_alone, parameters, seed, count)
    if _machine.on_cpu():
        for count in parameters.processes:
            calls[f"{count} processes, one folder"] = functools.partial(
                _together, parameters, seed, count
            )
    told: dict[str, list[dict[str, Any]]] = {label: [] for label in calls}
    for turn in range(parameters.repeats):
        # In turns, as a machine drifts by more than they differ.
        for label in list(calls) if turn % 2 == 0 else list(calls)[::-1]:
            told[label].append(calls[label]())
        _show(found, parameters, [_row(label, told[label]) for label in calls])
    return found


def _show(found: _run.Findings, parameters: Parameters, rows: list[list[Any]]) -> None:
    base, bits = rows[0][1].median, rows[0][-1]
    shown = [
        [on, taken, taken.median / base, more, "yes" if own == bits else "**no**"]
        for on, taken, more, own in rows
    ]
    found.table(
        f"{parameters.seeds} orthogonal networks, n = {parameters.n}, to t_∞",
        ["on", "call, s", "of one device's", "compiling, s", "same bits"],
        shown,
        f"This machine has {_machine.cores()} cores and {jax.device_count()} device(s) "
        "of its own; more of either are simulated and can only add to the time. One "
        "device on a CPU is fed by a thread per core.",
    )


def _device_counts(parameters: Parameters) -> list[int]:
    if _machine.on_cpu():
        return list(parameters.devices)
    return sorted({1, jax.device_count()})


def _visible(count: int) -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": ",".join(str(i) for i in range(count))}


def _options(parameters: Parameters, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "n": [parameters.n],
        "d": parameters.d,
        "seeds": parameters.seeds,
        "inputs": "orthogonal",
        "horizon": parameters.horizon,
        "stop": False,
    }


def _alone(parameters: Parameters, seed: int, count: int) -> dict[str, Any]:
    """What one process takes that has `count` devices."""
    flags = f"--xla_force_host_platform_device_count={count}"
    extra = {"XLA_FLAGS": flags} if _machine.on_cpu() else _visible(count)
    options = _options(parameters, seed)
    found: dict[str, Any] = _process.call("benchmarks._sweep", options, extra)[0][0]
    return found


def _together(parameters: Parameters, seed: int, count: int) -> dict[str, Any]:
    """What the slowest of `count` processes took for all networks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        options = _options(parameters, seed)
        options |= {"folder": f"{folder}/runs", "processes": count}
        options["coordinator"] = f"127.0.0.1:{port}"
        started = [
            _process.start("benchmarks._sweep", {**options, "process": index})
            for index in range(count)
        ]
        told = [_process.result(process)[0] for process in started]
    return max(told, key=lambda one: one["seconds"])


def _row(label: str, told: list[dict[str, Any]]) -> list[Any]:
    taken, compiling = (
        Spread.of([one[name] for one in told]) for name in ("seconds", "compiling")
    )
    return [label, taken, compiling, told[0]["bits"]]


if __name__ == "__main__":
    _run.main("scaling_devices", PARAMETERS, measure, __doc__)
