"""What the machine has: cores, devices, and memory."""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

# The axis along which runs are spread over devices.
AXIS = "run"
# The share of what is free that an ensemble takes unless told otherwise, and of the
# memory maps that a process may have before programs are released.
_SHARE = 0.75


def device_mesh(devices: Any) -> Mesh:
    """The devices to use, along the one axis of the runs; by default all of this
    process."""
    if devices is not None and not isinstance(devices, list | tuple | np.ndarray):
        raise ValueError(
            "devices must be a list of jax devices such as jax.local_devices()[:2], "
            f"got {devices!r}."
        )
    chosen = jax.local_devices() if devices is None else list(np.ravel(devices))
    if not chosen:
        raise ValueError("devices must hold at least one jax device, got none.")
    for device in chosen:
        if not isinstance(device, jax.Device):
            raise ValueError(
                "devices must be jax devices such as jax.local_devices()[:2], got "
                f"{type(device).__name__}."
            )
        if device.process_index != jax.process_index():
            raise ValueError(
                f"devices must belong to this process, such as jax.local_devices(); "
                f"{device} belongs to process {device.process_index}."
            )
    if len(set(chosen)) < len(chosen):
        raise ValueError(
            f"devices must be different, got {chosen}. Runs are spread over the cores "
            "of a device by themselves."
        )
    return Mesh(np.array(chosen), (AXIS,))


def cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def available_bytes(mesh: Mesh) -> float:
    """Three quarters of what is free on each device, in bytes."""
    device = mesh.devices.flat[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return _SHARE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    # Simulated devices share the memory of the host.
    return _SHARE * min(_host_bytes(), _group_bytes()) / mesh.size


def _group_bytes() -> float:
    """What a container or a batch system allows."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = float((group / "memory.max").read_text())
        return max(limit - float((group / "memory.current").read_text()), 0)
    except (OSError, ValueError):
        return float("inf")


def _host_bytes() -> float:
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        lines = Path("/proc/meminfo").read_text().splitlines()
        told = dict(line.split(":", 1) for line in lines)
        # Counts what the system would give up of its caches.
        return max(free, float(told["MemAvailable"].split()[0]) * 1024)
    except (OSError, ValueError, KeyError):
        return 2.0**32


def release_programs() -> None:
    """Has jax forget its compiled programs where they are about to be too many.

    Each holds some memory maps. Linux allows a process 65530 by default, and the
    compiler crashes beyond. A sweep over many n gets there, since the small programs
    that draw problems are compiled for each size.
    """
    limit = _map_limit()
    if limit is not None and memory_maps() > _SHARE * limit:
        jax.clear_caches()


def _map_limit() -> int | None:
    try:
        return int(Path("/proc/sys/vm/max_map_count").read_text())
    except (OSError, ValueError):
        return None


def memory_maps() -> int:
    """How many this process has; 0 where the system does not say."""
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return 0


def check_room(need: float | int, memory: float | int, run: Any, workers: int) -> None:
    """Raises a ValueError unless as many runs as there are workers fit."""
    if need <= memory:
        return
    largest = max(jax.tree.leaves(run), key=lambda leaf: leaf.nbytes)
    together = f" on each of {workers} cores" if workers > 1 else ""
    raise ValueError(
        f"one run{together} takes about {need / 2**20:,.0f} MiB, but memory = "
        f"{memory / 2**20:,.0f} MiB. The largest array of a run is {largest.shape} "
        f"{largest.dtype}. Take a smaller n or p, another dtype, or a device with more "
        "memory."
    )
