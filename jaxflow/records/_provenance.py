"""What made a record, so far as a process can tell."""

import datetime
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._version import version_of

_PACKAGES = ("jax", "jaxlib", "diffrax", "numpy", "jaxflow")


def provenance() -> dict[str, Any]:
    """What this process runs, to be stored with what it computes.

    Returns a dict of JSON: the versions of jax, jaxlib, diffrax, numpy, jaxflow (None
    where one is not installed) and python, `devices` (the kinds that jax sees, which
    initialises it), `commit` and `dirty` (of the checkout that jaxflow lies in, None
    without one), `command` and `time` (UTC).
    """
    # Here, not above: the rest of the module reads and writes without jax.
    import jax

    commit, dirty = checkout(Path(__file__).parent.parent)
    return {
        **{package: version_of(package) for package in _PACKAGES},
        "command": _command(sys.orig_argv),
        "commit": commit,
        "devices": sorted({device.device_kind for device in jax.devices()}),
        "dirty": dirty,
        "python": platform.python_version(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _command(arguments: list[str]) -> str:
    """The command as it was typed, without the folder that the interpreter lies in."""
    if not arguments:
        return ""
    return shlex.join([Path(arguments[0]).name, *arguments[1:]])


def checkout(
    package: Path, apart: Sequence[str] = ()
) -> tuple[str | None, bool | None]:
    """The commit of the checkout that a package, given by its folder, is part of, and
    whether tracked files differ from it, `apart` from these paths in the checkout; None
    without a checkout, or without git."""

    def git(*arguments: str) -> str | None:
        command = ["git", "--no-optional-locks", "-C", str(package), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # A package that is installed inside some other checkout is not part of it.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    but = [f":(exclude,top){path}" for path in apart]
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", *but)
    return git("rev-parse", "HEAD"), None if changed is None else bool(changed)
