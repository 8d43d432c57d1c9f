"""Figure and table of `benchmarks.convergence_probability`, from its records alone."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from scipy.stats import beta

from experiments._output import STYLE, markdown_table, write_figure, write_text

matplotlib.use("Agg")
from matplotlib import pyplot as plt

METHODS = {
    "descent": ("gradient descent", "#c1440e", "o"),
    "flow": ("FilippovFlow", "#1b6ca8", "D"),
    "check": ("FilippovFlow, finer", "#4a7c2c", "x"),
}


def write(folder: Path, content: dict[str, Any]) -> str:
    """Writes convergence_probability.{md,png,pdf} into `folder`; returns the table."""
    with plt.rc_context(STYLE):
        write_figure(folder, _figure(content), "convergence_probability")
    text = _text(content)
    write_text(folder, "convergence_probability.md", text)
    return text


def interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The Clopper–Pearson interval of a probability."""
    tail = (1 - level) / 2
    low = beta.ppf(tail, successes, trials - successes + 1) if successes else 0.0
    full = successes == trials
    high = 1.0 if full else beta.ppf(1 - tail, successes + 1, trials - successes)
    return float(low), float(high)


def converged(runs: list[dict[str, Any]], horizon: float) -> int:
    return sum(
        run["converged"] and run["time"] <= horizon * run["unit"] * (1 + 1e-6)
        for run in runs
    )


def _select(content: dict[str, Any], n: int, method: str) -> list[dict[str, Any]]:
    return [r for r in content["runs"] if (r["n"], r["method"]) == (n, method)]


def _sizes(content: dict[str, Any]) -> list[int]:
    return sorted({run["n"] for run in content["runs"]})


def _figure(content: dict[str, Any]) -> Any:
    horizons = content["config"]["horizons"]
    figure, axes = plt.subplots(
        1, len(horizons), figsize=(6.6, 2.7), sharey=True, squeeze=False
    )
    sizes = _sizes(content)
    for axis, horizon in zip(axes[0], horizons, strict=True):
        for method, (label, colour, marker) in list(METHODS.items())[:2]:
            share, low, high = [], [], []
            for n in sizes:
                runs = _select(content, n, method)
                k = converged(runs, horizon)
                bounds = interval(k, len(runs))
                share.append(k / len(runs))
                low.append(share[-1] - bounds[0])
                high.append(bounds[1] - share[-1])
            shift = 6 if method == "flow" else -6
            axis.errorbar(
                np.array(sizes) + shift,
                share,
                [low, high],
                color=colour,
                marker=marker,
                ms=4,
                capsize=2,
                label=label,
            )
        axis.set_title(rf"by ${horizon:g}\,t_\infty$")
        axis.set_xlabel("n")
    axes[0, 0].set_ylabel("probability of convergence")
    axes[0, 0].legend()
    return figure


def _text(content: dict[str, Any]) -> str:
    config = content["config"]
    horizons = config["horizons"]
    table, criteria = [], []
    for n in _sizes(content):
        for method, (label, _, _) in METHODS.items():
            runs = _select(content, n, method)
            if not runs:
                continue
            cells = []
            for horizon in horizons:
                k = converged(runs, horizon)
                low, high = interval(k, len(runs))
                cells.append(
                    f"{k}/{len(runs)} = {k / len(runs):.2f} [{low:.2f}, {high:.2f}]"
                )
            work = np.mean([r["stats"]["velocity_evaluations"] for r in runs])
            table.append([str(n), str(runs[0]["p"]), label, *cells, f"{work:.0f}"])
            rises = [r["stats"]["loss_increases"] / r["stats"]["steps"] for r in runs]
            drifts = [run["stats"]["balance_drift"] for run in runs]
            last = [run for run in runs if len(run["top"]) > len(horizons)]
            tops = [run["top"][0] for run in runs]
            ends = [run["top"][-1] for run in last]
            left = [2 * n * run["final_loss"] for run in runs if not run["converged"]]
            criteria.append(
                [
                    str(n),
                    label,
                    f"{100 * np.mean(rises):.1f}",
                    f"{np.median(drifts):.0e}",
                    f"{np.mean(tops):.2f}",
                    f"{np.mean(ends):.2f}" if ends else "-",
                    f"{np.median(left):.1f}" if left else "-",
                ]
            )
    times = [f"converged by {h:g} t_∞" for h in horizons]
    return (
        "# The probability of convergence: gradient descent and the flow\n\n"
        f"`python -m benchmarks.convergence_probability`, d = {config['d']}, float32, "
        f"gradient descent at learning rate {config['learning_rate']:g}, "
        f"`FilippovFlow({config['tolerance']:g})`, the same problems for both; the "
        f"first {config['check_seeds']} seeds again at tolerance "
        f"{config['check_tolerance']:g} (finer). 95 % Clopper–Pearson intervals.\n\n"
        + markdown_table(["n", "p", "method", *times, "evaluations"], table)
        + "\nHow far descent is from the flow: the share of steps that raise the loss, "
        "the median drift of a_j² − ‖w_j‖², λ = the largest eigenvalue of the tangent "
        "kernel at the start and, for runs that get there, at the last horizon (a step "
        "η is stable below η λ = 2), and the median of Σ r² where a run did not "
        "converge.\n\n"
        + markdown_table(
            [
                "n",
                "method",
                "rising steps, %",
                "balance drift",
                "λ at 0",
                "λ at the end",
                "Σ r² left",
            ],
            criteria,
        )
    )
