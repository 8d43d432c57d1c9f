"""How long each figure of the paper takes, by its own command.

    python -m benchmarks.figures [--size quick]

The paper: "performed on a MacBook Air under 2 hours".
"""

import dataclasses
import importlib.util
import subprocess
import sys
import tempfile
import time

from . import _process, _run

PAPER_MINUTES = 120


@dataclasses.dataclass(frozen=True)
class Parameters:
    size: str = "full"
    figures: tuple[int, ...] = (2, 3, 4, 5)
    protocol: str = "released"
    limit: float = 4 * 3600
    """Seconds after which one is given up."""


PARAMETERS = {"full": Parameters(), "quick": Parameters(size="quick", limit=600)}


def measure(parameters: Parameters, seed: int) -> _run.Findings:
    found = _run.Findings()
    rows, longest = [], 0.0
    for figure in parameters.figures:
        module = f"experiments.figure{figure}"
        command = f"python -m {module} --protocol {parameters.protocol} --size "
        command += parameters.size
        minutes, told = _timed(module, parameters)
        rows.append([f"Figure {figure}", f"`{command}`", minutes, PAPER_MINUTES, told])
        longest = max(longest, minutes or 0.0)
    header = ["figure", "command", "minutes", "the paper's minutes", "remark"]
    found.table("Wall time of the paper's figures", header, rows)
    complete = all(not row[-1] for row in rows)
    if complete and rows:
        found.target("figures_minutes", longest, "the longest of them")
    return found


def _timed(module: str, parameters: Parameters) -> tuple[float | None, str]:
    if importlib.util.find_spec(module) is None:
        return None, "there is no such module yet"
    command = [sys.executable, "-m", module, "--protocol", parameters.protocol]
    command += ["--size", parameters.size]
    # In a folder of its own: records that are there already would be taken up.
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        try:
            status, complaints = _process.finish(
                command,
                parameters.limit,
                group=False,
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except subprocess.TimeoutExpired:
            return None, f"given up after {parameters.limit:.0f} s"
        taken = time.perf_counter() - start
    if status:
        last = complaints.strip().splitlines()[-1:] or ["no message"]
        # A traceback's last line names the error, not where files lie.
        return None, "failed: " + last[0].split(":")[0]
    return taken / 60, ""


if __name__ == "__main__":
    _run.main("figures", PARAMETERS, measure, __doc__)
