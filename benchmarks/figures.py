"""How long each figure of the paper takes, by its own command.

    python -m benchmarks.figures [--size quick]

The paper: "Each plot's related experiments were performed on a MacBook Air under 2
hours". The protocol is `paper`, the setting that its text describes, and for the
printed Figure 2, which is reached with four times that width, `released`. The protocol
`flow` is not timed.
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
    figure1: tuple[str, ...] = ()
    """Arguments of the command of Figure 1, which has no sizes and no protocols."""
    # The long ones last, so that a limit cuts off as few as possible.
    figures: tuple[tuple[int, tuple[str, ...]], ...] = (
        (5, ("--protocol", "paper")),
        (2, ("--protocol", "paper")),
        (2, ("--protocol", "released", "--width", "4")),
        (4, ("--protocol", "paper")),
        (3, ("--protocol", "paper")),
    )
    """Figures 2 to 5, and the arguments of their commands."""
    limit: float = 5.5 * 3600
    """Seconds for all of them together. `python -m benchmarks` gives a module 6 hours,
    after which nothing more could be written."""


PARAMETERS = {
    "full": Parameters(),
    "quick": Parameters(
        size="quick",
        figure1=("--sizes", "100", "1000", "--cosine-size", "100"),
        limit=1500,
    ),
}


def measure(parameters: Parameters, seed: int) -> _run.Findings:
    found = _run.Findings(dtype="as each figure's protocol has it")
    rows, minutes = [], {}
    end = time.monotonic() + parameters.limit
    header = ["figure", "command", "minutes", "the paper's minutes", "remark"]
    note = (
        "Each into an empty folder; the paper's 2 hours are an upper bound for each. "
        "Figure 2 comes twice: as the text says, and with four times that width, where "
        "its threshold lies as printed."
    )
    commands = [
        ("Figure 1", "experiments.figures.phase_transition", parameters.figure1)
    ]
    for figure, chosen in parameters.figures:
        name = " ".join([f"Figure {figure}", *chosen])
        with_size = (*chosen, "--size", parameters.size)
        commands.append((name, f"experiments.figures.figure{figure}", with_size))
    for name, module, chosen in commands:
        arguments = [*chosen, "--seed", str(seed)]
        taken, told = _timed(module, arguments, end - time.monotonic())
        command = " ".join(["python -m", module, *arguments])
        rows.append([name, f"`{command}`", taken, PAPER_MINUTES, told])
        found.table("Wall time of the paper's figures", header, rows, note)
        if taken is not None:
            minutes[name] = taken
    if len(minutes) == len(rows):
        longest = max(minutes, key=lambda name: minutes[name])
        found.target("figures_minutes", minutes[longest], f"the longest: {longest}")
    return found


def _timed(module: str, arguments: list[str], limit: float) -> tuple[float | None, str]:
    """Minutes, and what there is to say where it did not end well."""
    if importlib.util.find_spec(module) is None:
        return None, "there is no such module yet"
    if limit <= 0:
        return None, "no time was left"
    command = [sys.executable, "-m", module, *arguments]
    # In a folder of its own: records that are there already would be taken up.
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        try:
            status, complaints = _process.finish(
                command,
                limit,
                group=False,
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except subprocess.TimeoutExpired:
            return None, f"given up after {limit:.0f} s, when the time for all was up"
        taken = time.perf_counter() - start
    if status:
        last = complaints.strip().splitlines()[-1:] or ["no message"]
        # A traceback's last line names the error, not where files lie.
        return None, "failed: " + last[0].split(":")[0]
    return taken / 60, ""


if __name__ == "__main__":
    _run.main("figures", PARAMETERS, measure, __doc__)
