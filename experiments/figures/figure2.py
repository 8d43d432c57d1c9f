"""Figure 2: the probability of convergence as the number of examples grows.

    python -m experiments.figures.figure2 --protocol released --size full
    python -m experiments.figures.figure2 --protocol released --width 4

Inputs on the sphere of dimension 100, p by the width rule (or 4 times it, with which
the threshold lies where the paper prints it). Descent runs on a grid of n; the flow,
whose runs are long, where a search places them. Left: how many runs converge, and the
threshold N at which half do. Right: the loss that is left, a run that converged
counting as zero, as in the paper. Runs again with the same `--output` go on where the
last one stopped.
"""

import sys

import jax
import tyro
from matplotlib import pyplot as plt

from ..common.output import STYLE, as_made, write_config, write_figure, write_text
from ..common.protocols import Protocol, protocol
from ..common.thresholds import Runs, by_width_rule, write_summary
from .figure2_plot import draw, table
from .figure2_searches import Config, descents_thresholds, fits, searches
from .figure2_summary import summary


def main(config: Config) -> None:
    where = config.folder
    if config.redraw:
        config = as_made(config, where)
    rules: Protocol = protocol(config.protocol, config.given_up, config.learning_rate)
    if not config.redraw:
        if rules.decided:
            jax.config.update("jax_enable_x64", True)
        made = Runs(rules, folder=where / "runs", seed=config.seed)
        if config.protocol == "flow":
            searches(made, config)
        else:
            p = by_width_rule(config.width)
            grid = config.grid
            for seeds in sorted(set(grid.values()), reverse=True):
                sizes = [n for n, count in grid.items() if count == seeds]
                made.make([(n, config.dimension, p(n)) for n in sizes], seeds)
        made.write(where)
        write_config(where, config, "experiments.figures.figure2")
    runs = Runs.read(where, rules)
    # The search is repeated on the records: the same runs, the same numbers.
    found = searches(runs, config) if config.protocol == "flow" else {}
    fitted, descent = fits(runs, config, found), descents_thresholds(config)
    with plt.rc_context(STYLE):
        write_figure(where, draw(config, runs, fitted, descent), "figure2")
    write_summary(where, summary(config, runs, fitted, descent))
    text = table(config, runs, fitted, found)
    write_text(where, "table.md", text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
