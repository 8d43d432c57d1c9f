"""Figures 3 and 4 from their config to their files."""

import jax
from matplotlib import pyplot as plt

from ..common.output import STYLE, as_made, write_config, write_figure, write_text
from ..common.protocols import protocol
from ..common.thresholds import Runs, write_summary
from .scaling import ScalingConfig, descents_thresholds
from .scaling_plot import draw_scaling, scaling_table
from .scaling_summary import scaling_summary


def scaling_figure(config: ScalingConfig) -> str:
    """Runs, unless `redraw`, and writes everything into its folder; returns the
    table."""
    where = config.folder
    if config.redraw:
        config = as_made(config, where)
    scaling, how = config.scaling, config.search
    rules = protocol(config.protocol, config.given_up)
    if not config.redraw:
        if rules.decided:
            jax.config.update("jax_enable_x64", True)
        made = Runs(rules, folder=where / "runs", seed=config.seed)
        scaling.search(made, how)
        made.write(where)
        write_config(where, config, f"experiments.figures.{scaling.figure}")
    runs = Runs.read(where, rules)
    # The search is repeated on the records: the same runs, the same numbers.
    found, descent = scaling.search(runs, how), descents_thresholds(config)
    with plt.rc_context(STYLE):
        write_figure(where, draw_scaling(scaling, runs, found, descent), scaling.figure)
    write_summary(where, scaling_summary(scaling, runs, found, descent))
    text = scaling_table(scaling, runs, found, descent)
    write_text(where, "table.md", text)
    return text
