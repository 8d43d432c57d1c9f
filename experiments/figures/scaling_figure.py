"""Figures 3 and 4 from their config to their files."""

import jax
from matplotlib import pyplot as plt

from ..common.output import STYLE, as_made, write_config, write_figure, write_text
from ..common.protocols import protocol
from ..common.thresholds import (
    MissingRunsError,
    Name,
    Outcome,
    Runs,
    write_summary,
)
from .scaling import ScalingConfig, descents_thresholds, searches_in
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
        known = _recorded(config) if config.from_records else None
        made = Runs(rules, known, where / "runs", config.seed)
        scaling.search(made, how)
        made.write(where)
        write_config(where, config, f"experiments.figures.{scaling.figure}")
    runs = Runs.read(where, rules)
    descent = descents_thresholds(config)
    draw = lambda found: write_figure(
        where, draw_scaling(scaling, runs, found, descent), scaling.figure
    )
    with plt.rc_context(STYLE):
        try:
            # The search is repeated on the records: the same runs, the same numbers.
            found = scaling.search(runs, how)
        except MissingRunsError:
            # It went another way on another machine. What it found there was written
            # down, and stays as it is.
            draw(searches_in(where, scaling))
            return (where / "table.md").read_text()
        draw(found)
    write_summary(where, scaling_summary(scaling, runs, found, descent))
    text = scaling_table(scaling, runs, found, descent)
    write_text(where, "table.md", text)
    return text


def _recorded(config: ScalingConfig) -> dict[Name, Outcome]:
    """The runs that the folder of the figure has, none of which may be left out: they
    are counted together."""
    made = as_made(config, config.folder)
    asked, there = ((one.seed, one.scaling.fixed) for one in (config, made))
    if asked != there:
        other = "p" if config.scaling.along == "d" else "d"
        raise ValueError(
            f"from_records: {str(config.folder)!r} has runs of (seed, {other}) = "
            f"{there}, not of {asked}."
        )
    if left := sorted(set(made.scaling.values) - set(config.scaling.values)):
        raise ValueError(
            f"from_records: {str(config.folder)!r} has runs at {config.scaling.along} "
            f"= {left} too: ask for these as well."
        )
    return Runs.read(config.folder, protocol(config.protocol, config.given_up)).known
