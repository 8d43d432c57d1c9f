"""What an N of the flow costs, by size: seconds of one core, before it is paid.

    python -m experiments.figures.flow_cost

One network at each size of Figures 2 to 4, with n = 0.75 p d, about the flow's N, from
t_∞ to 2 t_∞ in float64. From there on a step is as long as later, so that a run that
stays undecided takes 64 times that, and a search at most 64 such runs.
"""

import dataclasses
import sys
import time
from pathlib import Path

import jax
import tyro

import jaxflow

from ..common.output import markdown_table, write_text
from ..common.protocols import GIVEN_UP, last_time, protocol

# Figure, d, p; the width of Figure 2 is that of the width rule at its N.
SIZES = (
    (3, 10, 30), (3, 14, 30), (3, 20, 30), (3, 28, 30), (3, 40, 30), (3, 56, 30),
    (3, 100, 30), (4, 30, 7), (4, 30, 14), (4, 30, 50), (4, 30, 100), (2, 100, 39),
    (4, 30, 200),
)  # fmt: skip
SHARE, MOST_RUNS = 0.75, 64


@dataclasses.dataclass(frozen=True)
class Config:
    """What an N of the flow costs, by size."""

    most_pairs: int = 200_000
    """Sizes with more pairs n p are left out."""
    output: Path = Path("results")


def seconds(d: int, p: int) -> tuple[int, float, int]:
    """n, and the time of the processor and the steps from t_∞ to 2 t_∞."""
    n, rules = round(SHARE * p * d), protocol("flow")
    key = jaxflow.run_key(jax.random.key(0), n, d, p, 0)
    data, network = jaxflow.sample_problem(
        key, n=n, d=d, p=p, inputs="sphere", dtype=rules.dtype
    )
    spent, steps = [], []
    # The first call compiles.
    for horizon in (0.01, 1.0, 2.0):
        start = time.process_time()
        run = jaxflow.simulate(
            data,
            network,
            rules.method,
            times=[0.0, horizon * last_time(n, p)],
            observe={},
        )
        steps.append(int(run.stats["steps"]))
        spent.append(time.process_time() - start)
    return n, spent[2] - spent[1], steps[2] - steps[1]


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    lines = []
    for figure, d, p in SIZES:
        if SHARE * p * d * p > config.most_pairs:
            continue
        n, spent, steps = seconds(d, p)
        run = spent * GIVEN_UP["flow"]
        lines.append(
            [
                f"{figure}",
                f"{d}",
                f"{p}",
                f"{n}",
                f"{steps}",
                f"{1e3 * spent / steps:.2f}",
                f"{run:.0f}",
                f"{run * MOST_RUNS / 3600:.2g}",
            ]
        )
        sys.stderr.write(" ".join(lines[-1]) + "\n")
    header = ["figure", "d", "p", "n = 0.75 p d", "steps for one t_∞", "ms a step"]
    header += ["s for 64 t_∞", "h for 64 such runs"]
    text = (
        "# What an N of the flow costs\n\n"
        "Made by `python -m experiments.figures.flow_cost`: seconds of one core.\n\n"
        + markdown_table(header, lines)
    )
    write_text(config.output, "flow_cost.md", text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
