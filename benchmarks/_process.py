"""Work in processes of their own, which compile afresh and have their own memory."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


# Programs that are kept on disk would not be compiled again, and what is timed here
# includes compiling them.
_KEPT = ("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """With this checkout importable, without jax taking all of a GPU at once, and
    without a cache of compiled programs."""
    found = {k: v for k, v in os.environ.items() if not k.startswith(_KEPT)}
    path = [str(ROOT), *filter(None, [found.get("PYTHONPATH")])]
    found["PYTHONPATH"] = os.pathsep.join(path)
    found.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # The commands of the experiments have a cache of their own.
    found["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    return {**found, **(extra or {})}


def finish(
    command: Sequence[str], limit: float, *, group: bool = True, **options: Any
) -> tuple[int, str]:
    """The exit status and stderr of a command. One that is over its limit is ended, as
    a `group` with all that it has started, and raises a subprocess.TimeoutExpired. What
    such a command calls in turn must stay in its group."""
    process = subprocess.Popen(
        command, env=environment(), text=True, start_new_session=group, **options
    )
    try:
        _, complaints = process.communicate(timeout=limit)
    except BaseException:
        if group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        raise
    return process.returncode, complaints or ""


def start(
    module: str, options: Mapping[str, Any], extra: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", module, json.dumps(options)],
        env=environment(extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process: "subprocess.Popen[str]") -> Any:
    """What it printed; an error with the end of its complaints where it failed."""
    told, complaints = process.communicate()
    if process.returncode:
        raise RuntimeError("a benchmark process failed:\n" + complaints[-2000:])
    return json.loads(told.splitlines()[-1])


def call(
    module: str, options: Mapping[str, Any], extra: Mapping[str, str] | None = None
) -> tuple[Any, float]:
    """What one process printed, and its wall time from start to end."""
    begin = time.perf_counter()
    found = result(start(module, options, extra))
    return found, time.perf_counter() - begin
