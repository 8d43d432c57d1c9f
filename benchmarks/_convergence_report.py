"""Figure and table of `benchmarks.convergence_probability`, from its records alone."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from experiments.common.output import STYLE, markdown_table, write_figure, write_text
from jaxflow import statistics

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
            selected = [_select(content, n, method) for n in sizes]
            share = statistics.proportion(
                [converged(runs, horizon) for runs in selected],
                [len(runs) for runs in selected],
            )
            shift = 6 if method == "flow" else -6
            axis.errorbar(
                np.array(sizes) + shift,
                share.estimate,
                [share.estimate - share.low, share.high - share.estimate],
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
                share = statistics.proportion(k, len(runs))
                cells.append(
                    f"{k}/{len(runs)} = {share.estimate:.2f} "
                    f"[{share.low:.2f}, {share.high:.2f}]"
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
        + _by_rises(content)
        + _eigenvalues(content)
    )


def _by_rises(content: dict[str, Any]) -> str:
    """What becomes of descent's runs, by whether their loss ever rose."""
    flows = {(r["n"], r["seed"]): r for r in content["runs"] if r["method"] == "flow"}
    descents = [run for run in content["runs"] if run["method"] == "descent"]
    lines = []
    for name, rose in (("never", False), ("on some steps", True)):
        runs = [r for r in descents if (r["stats"]["loss_increases"] > 0) == rose]
        if not runs:
            continue
        shares = [
            100 * r["stats"]["loss_increases"] / r["stats"]["steps"] for r in runs
        ]
        drifts = [run["stats"]["balance_drift"] for run in runs]
        done = [run for run in runs if run["converged"]]
        both = [(run, flows.get((run["n"], run["seed"]))) for run in done]
        ratios = [a["time"] / b["time"] for a, b in both if b and b["converged"]]
        lines.append(
            [
                name,
                str(len(runs)),
                _range(shares, ".3g"),
                f"{len(done)}/{len(runs)}",
                _range(ratios, ".2f"),
                _range(drifts, ".4f"),
            ]
        )
    flow_drift = max(run["stats"]["balance_drift"] for run in flows.values())
    return (
        "\nRuns of descent by whether the loss ever rose: the share of steps on which "
        "it did, how many converged, their times as multiples of the flow's, and the "
        f"drift of a_j² − ‖w_j‖² (of the flow at most {flow_drift:.1e}). From the "
        "least to the greatest.\n\n"
        + markdown_table(
            ["the loss rose", "runs", "%", "converged", "time", "drift"], lines
        )
    )


def _eigenvalues(content: dict[str, Any]) -> str:
    """λ of the flow at 0 and at the first horizon, and of descent that failed."""
    lines = []
    for n in _sizes(content):
        flow = [run["top"] for run in _select(content, n, "flow")]
        failed = [r for r in _select(content, n, "descent") if not r["converged"]]
        lines.append(
            [
                str(n),
                _range([top[0] for top in flow], ".2f"),
                _range([top[1] for top in flow if len(top) > 1], ".2f"),
                _range([run["top"][-1] for run in failed], ".2f"),
            ]
        )
    first = content["config"]["horizons"][0]
    header = ["n", "flow, at 0", f"flow, at {first:g} t_∞"]
    return "\nλ from the least to the greatest:\n\n" + markdown_table(
        [*header, "descent that did not converge, at the end"], lines
    )


def _range(values: list[float], digits: str) -> str:
    return f"{min(values):{digits}}–{max(values):{digits}}" if values else "–"
