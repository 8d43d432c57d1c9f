"""How time and memory of an orthogonal network grow with n.

    python -m benchmarks.scaling_n [--size quick]

One network of p neurons by the width rule, each n in a process of its own, whose peak
memory is then known. Exponents are fitted to the n at which a step is no longer made of
fixed costs.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from . import _machine, _process, _run
from ._contenders import descent
from ._engine import Case
from ._timing import Contender, Spread, lengths, longer


@dataclasses.dataclass(frozen=True)
class Parameters:
    sizes: tuple[int, ...] = (1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
    fitted_from: int = 10_000
    repeats: int = 5
    seconds: float = 1.0


PARAMETERS = {
    "full": Parameters(),
    "quick": Parameters(
        sizes=(1000, 4000, 16_000), fitted_from=1000, repeats=2, seconds=0.02
    ),
    "gpu": Parameters(
        sizes=(1000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000),
        fitted_from=300_000,
        repeats=3,
        seconds=0.3,
    ),
}


def measure(parameters: Parameters, seed: int) -> _run.Findings:
    found = _run.Findings()
    rows: list[list[Any]] = []
    points = []
    for n in parameters.sizes:
        options = {
            "n": n,
            "seed": seed,
            "repeats": parameters.repeats,
            "seconds": parameters.seconds,
        }
        told, _ = _process.call("benchmarks.scaling_n", options)
        pairs = n * told["p"]
        spread = Spread.of(told["seconds"])
        rows.append(
            [
                n,
                told["p"],
                spread.scaled(1e6),
                spread.scaled(1e12 / pairs),
                told["program_bytes"] / 2**20,
                told["peak_bytes"] / 2**20,
                told["program_bytes"] / (4 * pairs),
            ]
        )
        if n >= parameters.fitted_from:
            points.append((pairs, spread.median, told["program_bytes"]))
        _growth(found, rows)
        _exponents(found, parameters, points)
    return found


def _exponents(
    found: _run.Findings, parameters: Parameters, points: list[tuple[int, float, int]]
) -> None:
    # Two points would lie on any power law.
    if len(points) < 3:
        return
    pairs, times, held = np.log(np.array(points, float)).T
    fits = [
        [name, *_slope(pairs, y)] for name, y in (("time", times), ("memory", held))
    ]
    found.table(
        f"Fitted exponents in n p, n ≥ {parameters.fitted_from}",
        ["of", "exponent", "standard error"],
        fits,
        f"Least squares in the logarithms of {len(points)} sizes.",
    )


def _slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The slope of a line and its standard error, of three points or more."""
    design = np.stack([x, np.ones_like(x)], axis=1)
    line = np.linalg.lstsq(design, y, rcond=None)[0]
    left = y - design @ line
    variance = float(left @ left) / (len(x) - 2)
    return float(line[0]), float(np.sqrt(variance / np.sum((x - x.mean()) ** 2)))


def _growth(found: _run.Findings, rows: list[list[Any]]) -> None:
    header = [
        "n",
        "p",
        "μs per evaluation",
        "ps per pair",
        "program, MiB",
        "peak, MiB",
        "program, numbers per pair",
    ]
    what = "process" if _machine.on_cpu() else "device"
    found.table(
        "Gradient descent on orthogonal inputs",
        header,
        rows,
        "Time: of the steps that a long call makes more than a short one, in turns. "
        f"Program: what XLA allots to a run. Peak: of the {what}, from drawing the "
        "problem to the end, jax itself included.",
    )


def one(options: dict[str, Any]) -> dict[str, Any]:
    """Time and memory at one n, in this process."""
    case = Case("orthogonal", options["n"], options["n"])
    load = descent(case, 1, options["seed"], workers=1)
    short, long = lengths(Contender(load.advance), options["seconds"])
    extra = longer(load.advance, short, long, options["repeats"])
    taken = [t / (long - short) for t in extra]
    analysis = load.fleet.compiled(load.batches[0]).memory_analysis()
    held = (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )
    peak = peak_bytes()
    return {
        "p": case.width,
        "seconds": taken,
        "program_bytes": held,
        "peak_bytes": peak,
    }


def peak_bytes() -> int:
    stats = None if _machine.on_cpu() else jax.devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    try:
        # Unlike getrusage, this does not remember the process that started this one.
        lines = Path("/proc/self/status").read_text().splitlines()
        found = next(line for line in lines if line.startswith("VmHWM"))
        return int(found.split()[1]) * 1024
    except (OSError, StopIteration):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        sys.stdout.write(json.dumps(one(json.loads(sys.argv[1]))) + "\n")
    else:
        _run.main("scaling_n", PARAMETERS, measure, __doc__)
