"""What a measurement was made on: machine, versions, commit, and whether it was idle.

No host names and no paths: the files are published.
"""

import datetime
import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

import jax

from jaxflow._ensemble.resources import cores as cores
from jaxflow.records import checkout

PACKAGES = (
    "jax",
    "jaxlib",
    "diffrax",
    "equinox",
    "optax",
    "numpy",
    "scipy",
    "torch",
    "torchdiffeq",
)

# A load above this says that somebody else was computing.
IDLE = 0.5

# What the benchmarks write themselves is no change of what they measure.
_WRITTEN = ("results/benchmarks",)


def device_folder() -> str:
    """`cpu`, or the kind of the accelerator as a folder name."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return "cpu"
    return re.sub(r"[^a-z0-9]+", "-", device.device_kind.lower()).strip("-")


def on_cpu() -> bool:
    return jax.devices()[0].platform == "cpu"


def load() -> float | None:
    """How many processes wanted to compute in the last minute."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def describe() -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "device_kind": "cpu" if device.platform == "cpu" else device.device_kind,
        "devices": jax.device_count(),
        "cpu": _cpu_model(),
        "cores": cores(),
        "memory_gib": _memory_gib(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit of the checkout, with + where tracked files differ from it, apart from
    results and their report. A machine to which files were copied has none."""

    told, changed = checkout(Path(__file__).parent, apart=_WRITTEN)
    told = told or os.environ.get("JAXFLOW_COMMIT", "unknown")
    return told + ("+" if changed else "")


def provenance() -> dict[str, Any]:
    """What every file of results says of its making. To be asked before measuring:
    afterwards the checkout may be another."""
    return {
        "platform": jax.devices()[0].platform,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
        "machine": describe(),
        "versions": versions(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.machine()


def _memory_gib() -> float | None:
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return round(pages / 2**30, 1)
