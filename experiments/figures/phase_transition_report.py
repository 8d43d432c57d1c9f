"""Figures and table of the phase transition, from its records alone."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import xarray as xr
from scipy.interpolate import PchipInterpolator
from scipy.stats import linregress
from scipy.stats import t as student

from jaxflow import theory

from ..common.output import STYLE, markdown_table, write_figure, write_text

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SIZE_COLOURS = plt.get_cmap("viridis")
GROUP_COLOURS = ("#1b6ca8", "#c1440e", "#4a7c2c", "#7b4ba0")
# The closed form is followed to here in log10(n).
EXPONENTS = (2, 3, 4, 5, 6, 8, 10, 15, 20, 25, 30)


def sketch(folder: Path, records: xr.Dataset) -> None:
    """Writes the main figure alone."""
    with plt.rc_context(STYLE):
        figure = transition_figure(records, measure(records))
        write_figure(folder, figure, "phase_transition")


def write(folder: Path, records: xr.Dataset) -> str:
    """Writes the figures and summary.md into `folder`; returns the summary."""
    measured = measure(records)
    with plt.rc_context(STYLE):
        write_figure(folder, transition_figure(records, measured), "phase_transition")
        write_figure(folder, closed_form_figure(records), "closed_form")
    summary = _summary(records, measured)
    write_text(folder, "summary.md", summary)
    return summary


def flow_of(
    run: xr.Dataset, target_norm: float, cosine: float = 1.0
) -> theory.GroupFlow:
    """The exact solution for a run's group."""
    log_np = np.log(float(run.n) * float(run.p))
    return theory.GroupFlow(log_np, target_norm, cosine, 1.0)


def crossing(tau: np.ndarray, relative_loss: np.ndarray, level: float) -> float:
    """The time at which a sampled relative loss falls to `level`; NaN if never."""
    keep = np.concatenate([[True], np.diff(tau) > 0])
    tau, values = tau[keep], np.log(relative_loss[keep])
    if not values[0] > np.log(level) > values[-1]:
        return np.nan
    roots = PchipInterpolator(tau, values - np.log(level)).roots(extrapolate=False)
    return float(roots[0])


def measure(records: xr.Dataset) -> xr.Dataset:
    """Transition times, windows and curvatures of the runs with c₀ = 1."""
    epsilon = records.attrs["epsilon"]
    runs = records.isel(run=np.flatnonzero(records.cosine == 1.0))
    shape = (runs.sizes["run"], runs.sizes["group"])
    half, window = np.full(shape, np.nan), np.full(shape, np.nan)
    for i, j in np.ndindex(*shape):
        run = runs.isel(run=i)
        relative = run.group_loss.values[:, j] / (0.5 * float(run.group[j]) ** 2)
        tau = run.tau.values
        half[i, j] = crossing(tau, relative, 0.5)
        window[i, j] = crossing(tau, relative, epsilon) - crossing(
            tau, relative, 1 - epsilon
        )
    return xr.Dataset(
        {
            "n": runs.n,
            "p": runs.p,
            "method": runs.method,
            "half": (("run", "group"), half),
            "window": (("run", "group"), window),
            "first_curvature": runs.curvature.isel(step=0, drop=True),
            "last_curvature": runs.curvature.isel(step=-1, drop=True),
        },
        coords={"group": runs.group},
    )


class Fit(NamedTuple):
    """A straight line, with the half-width of its slope's 95 % interval."""

    slope: float
    half_width: float
    intercept: float

    def __str__(self) -> str:
        return f"{self.slope:.4f} ± {self.half_width:.2g}"


def fit_line(x: np.ndarray, y: np.ndarray) -> Fit:
    """Least squares with a 95 % interval of the slope (Student's t)."""
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    if len(x) < 3:
        return Fit(np.nan, np.nan, np.nan)
    line = linregress(x, y)
    quantile = float(student.ppf(0.975, len(x) - 2))
    return Fit(line.slope, quantile * line.stderr, line.intercept)


def size_label(n: float) -> str:
    """n as a power of ten where it is one."""
    exponent = np.log10(n)
    if abs(exponent - round(exponent)) < 1e-9:
        return f"$n=10^{{{round(exponent)}}}$"
    return f"$n={n:g}$"


def size_colour(exponent: float) -> tuple[float, ...]:
    """A colour for n = 10^exponent: most of the range to the sizes simulated."""
    position = (exponent - 2) / 5 if exponent <= 6 else 0.8 + (exponent - 6) / 170
    return SIZE_COLOURS(min(max(position, 0.0), 0.95))


def transition_figure(records: xr.Dataset, measured: xr.Dataset) -> plt.Figure:
    figure, axes = plt.subplots(2, 2, figsize=(7.2, 5.6))
    _draw_losses(axes[0, 0], records)
    _draw_times(axes[0, 1], measured)
    _draw_windows(axes[1, 0], measured, records.attrs["epsilon"])
    _draw_curvatures(axes[1, 1], records)
    for axis, letter in zip(axes.flat, "abcd", strict=True):
        axis.set_title(f"({letter})", loc="left")
    return figure


def _flows(records: xr.Dataset) -> list[xr.Dataset]:
    chosen = (records.cosine == 1.0) & (records.method == "flow")
    return [records.isel(run=i) for i in np.flatnonzero(chosen)]


def _draw_losses(axis: plt.Axes, records: xr.Dataset) -> None:
    runs = _flows(records)
    sizes = [size_label(float(run.n)) for run in (runs[0], runs[-1])]
    for k, run in enumerate(runs):
        shade = size_colour(np.log10(float(run.n)))
        # One entry for all sizes, in the colour of the middle one; (d) names each.
        label = f"flow, {sizes[0]} … {sizes[1]}" if k == len(runs) // 2 else None
        axis.plot(run.tau, run.loss, color=shade, label=label)
        descent = (records.method == "descent") & (records.n == run.n)
        for i in np.flatnonzero(descent):
            other = records.isel(run=i)
            axis.plot(other.tau[::20], other.loss[::20], ".", color=shade, markersize=3)
    tau = np.linspace(0, float(runs[0].tau[-1]), 600)
    targets = runs[0].group.values
    p = len(targets)
    for exponent in (15, 30):
        exact = [
            np.asarray(theory.GroupFlow(exponent * np.log(10) + np.log(p), D).loss(tau))
            for D in targets
        ]
        axis.plot(
            tau,
            np.mean(exact, axis=0),
            "--",
            color="#b0272f" if exponent == 30 else "#e08214",
            label=f"closed form, $n=10^{{{exponent}}}$",
        )
    limit = np.mean(
        [np.asarray(theory.GroupFlow(1.0, D).limit(tau)) for D in targets], 0
    )
    axis.plot(tau, limit, color="black", lw=1, label="limit (Theorem 2)")
    axis.plot([], [], ".", color="grey", label="gradient descent")
    axis.set_xlabel(r"time $t/t_n$")
    axis.set_ylabel(r"loss $L_n$")
    axis.set_ylim(0, None)
    axis.legend(loc="upper right")


def _draw_times(axis: plt.Axes, measured: xr.Dataset) -> None:
    log_n = np.array(EXPONENTS) * np.log(10)
    p = measured.sizes["group"]
    for j, target in enumerate(measured.group.values):
        colour = GROUP_COLOURS[j % 4]
        exact = theory.GroupFlow(log_n + np.log(p), target).time_at(0.5)
        axis.plot(1 / (log_n + np.log(p)), exact, "-", color=colour)
        _points(axis, measured, "half", j, colour)
        axis.plot(
            0,
            1 / target,
            "*",
            color=colour,
            markersize=9,
            clip_on=False,
            zorder=5,
            label=rf"$1/\|D_j\|={1 / target:g}$, Theorem 2",
        )
    axis.plot([], [], "-", color="grey", label=r"closed form, $n\leq 10^{30}$")
    _point_legend(axis)
    axis.set_xlim(0, None)
    axis.set_xlabel(r"$1/\log(np)$")
    axis.set_ylabel(r"time of $L_j=\|D_j\|^2/4$, in $t_n$")
    axis.set_ylim(0.42, 1.32)
    axis.legend(loc="upper right", ncols=2, columnspacing=0.8, handlelength=1.4)


def _draw_windows(axis: plt.Axes, measured: xr.Dataset, epsilon: float) -> None:
    log_np = np.array(EXPONENTS) * np.log(10) + np.log(measured.sizes["group"])
    for j, target in enumerate(measured.group.values):
        colour = GROUP_COLOURS[j % 4]
        exact = np.asarray(theory.GroupFlow(log_np, target).window(epsilon))
        label = rf"closed form, $\|D_j\|={target:g}$"
        axis.plot(log_np, exact, "-", color=colour, label=label)
        printed = theory.printed.window(epsilon, target, log_np)
        axis.plot(log_np, printed, ":", color=colour)
        _points(axis, measured, "window", j, colour, inverse=False)
        slope = window_fit(measured, j).slope
        axis.annotate(
            f"slope {slope:.3f}",
            (log_np[-4], exact[-4]),
            xytext=(0, 6) if j == 0 else (-30, -14),
            textcoords="offset points",
            fontsize=7.5,
            color=colour,
        )
    axis.plot([], [], ":", color="grey", label="as eq. 12 and 74 print it")
    _point_legend(axis)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(r"$\log(np)$")
    axis.set_ylabel(rf"window $/\,t_n$, $\varepsilon={epsilon:g}$")
    axis.set_xticks([6, 10, 20, 40, 70], ["6", "10", "20", "40", "70"])
    axis.minorticks_off()
    axis.set_ylim(5e-3, 12)
    axis.legend(loc="upper right", ncols=2, columnspacing=0.8, handlelength=1.4)


def window_fit(measured: xr.Dataset, j: int) -> Fit:
    """The exponent of log(np) in the simulated windows of a group."""
    flow = measured.isel(run=np.flatnonzero(measured.method == "flow"))
    log_np = np.log(flow.n.values * flow.p.values)
    return fit_line(np.log(log_np), np.log(flow.window.values[:, j]))


def _draw_curvatures(axis: plt.Axes, records: xr.Dataset) -> None:
    for run in _flows(records):
        exponent = np.log10(float(run.n))
        shade = size_colour(exponent)
        axis.plot(run.tau, run.curvature, color=shade)
        axis.annotate(
            size_label(float(run.n)),
            (float(run.tau[-1]), float(run.curvature[-1])),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            fontsize=7.5,
            color=shade,
        )
        exact = exact_curvature(run)
        axis.plot(run.tau[::25], exact[::25], "+", color=shade, markersize=5)
        scale = np.sqrt(float(run.n) * float(run.p))
        axis.plot(
            [1.35, float(run.tau[-1])],
            [4 * float(run.group.min()) / scale] * 2,
            ":",
            color="black",
            lw=0.9,
        )
    axis.plot([], [], "-", color="grey", label="flow")
    axis.plot([], [], "+", color="grey", label="closed form")
    axis.plot([], [], ":", color="black", label=r"$4\min\|D_j\|/\sqrt{np}$")
    axis.set_yscale("log")
    axis.set_ylim(1e-6, 5)
    axis.set_xlabel(r"time $t/t_n$")
    axis.set_ylabel(r"curvature $\mu(t)$ (1/time)")
    axis.legend(ncols=3, loc="upper left", columnspacing=1.0)


def exact_curvature(run: xr.Dataset) -> np.ndarray:
    """μ = −L'/L of the closed form at a run's times."""
    flows = [flow_of(run, float(target)) for target in run.group]

    def log_loss(tau: jax.Array) -> jax.Array:
        return jnp.log(sum(flow.loss(tau) for flow in flows))

    slope = jax.vmap(jax.grad(log_loss))(jnp.asarray(run.tau.values))
    return -np.asarray(slope) / float(run.time_scale)


def _points(
    axis: plt.Axes,
    measured: xr.Dataset,
    name: str,
    j: int,
    colour: str,
    inverse: bool = True,
) -> None:
    for method, marker in (("flow", "o"), ("descent", "x")):
        rows = measured.isel(run=np.flatnonzero(measured.method == method), group=j)
        log_np = np.log(rows.n.values * rows.p.values)
        axis.plot(
            1 / log_np if inverse else log_np,
            rows[name].values,
            marker,
            color=colour,
            markersize=5,
            fillstyle="none",
        )


def _point_legend(axis: plt.Axes) -> None:
    axis.plot([], [], "o", color="grey", fillstyle="none", label="flow")
    axis.plot([], [], "x", color="grey", label="gradient descent")


def closed_form_figure(records: xr.Dataset) -> plt.Figure:
    """c₀ < 1: the simulated ‖w_j‖² against the exact solution and eq. 55."""
    runs = _cosine_runs(records)
    figure, axes = plt.subplots(1, len(runs), figsize=(7.2, 2.7), sharey=True)
    for axis, run in zip(np.atleast_1d(axes), runs, strict=True):
        exact, printed = norm_errors(run, 0)
        tau = run.tau.values
        axis.plot(tau, 100 * printed, color=GROUP_COLOURS[1], label="eq. 55 as printed")
        axis.plot(tau, 100 * exact, "--", color=GROUP_COLOURS[0], label="corrected")
        axis.set_title(rf"$c_0={float(run.cosine):g}$", loc="left")
        axis.set_xlabel(r"time $t/t_n$")
    first = np.atleast_1d(axes)[0]
    first.set_ylabel(r"closed form $-$ simulated $\|w_1\|^2$ (%)")
    np.atleast_1d(axes)[-1].legend()
    return figure


def _cosine_runs(records: xr.Dataset) -> list[xr.Dataset]:
    chosen = (records.n == records.attrs["cosine_size"]) & (records.method == "flow")
    runs = [records.isel(run=i) for i in np.flatnonzero(chosen)]
    return sorted(runs, key=lambda run: float(run.cosine))


def norm_errors(run: xr.Dataset, j: int) -> tuple[np.ndarray, np.ndarray]:
    """(closed form − simulated)/simulated ‖w_j‖²: corrected, and as printed."""
    flow = flow_of(run, float(run.group[j]), float(run.cosine))
    tau = run.tau.values
    exact = np.exp(np.asarray(flow.log_squared_norm(tau)))
    times = tau * float(run.time_scale)
    printed = np.asarray(
        theory.printed.squared_norm(times, float(run.n), float(run.p), flow)
    )
    simulated = run.squared_norm.values[:, j]
    return exact / simulated - 1, printed / simulated - 1


def cosine_error(run: xr.Dataset, j: int) -> float:
    """The largest |closed form − simulated| of cos(w_j, s_j y)."""
    flow = flow_of(run, float(run.group[j]), float(run.cosine))
    exact = np.asarray(flow.cosine_at(run.tau.values))
    return float(np.abs(exact - run.group_cosine.values[:, j]).max())


def _summary(records: xr.Dataset, measured: xr.Dataset) -> str:
    flow = measured.isel(run=np.flatnonzero(measured.method == "flow"))
    log_np = np.log(flow.n.values * flow.p.values)
    largest = int(flow.n.values.argmax())
    epsilon = records.attrs["epsilon"]
    rows = []

    def row(name: str, paper: str, exact: float, value: float) -> None:
        difference = abs(value / exact - 1)
        rows.append(
            [name, paper, f"{exact:.6g}", f"{value:.6g}", f"{100 * difference:.2g} %"]
        )

    n = int(flow.n[largest])
    for j, target in enumerate(flow.group.values):
        exact = flow_of(flow.isel(run=largest), float(target))
        row(
            f"time of half the loss, ‖D‖ = {target:g}, n = {n} (units of t_n)",
            f"→ {1 / target:g}",
            float(exact.time_at(0.5)),
            float(flow.half[largest, j]),
        )
    for j, target in enumerate(flow.group.values):
        constant = 2 * np.log(float(theory.window_constant(epsilon))) / target
        printed = float(theory.printed.window(epsilon, target, 1.0))
        row(
            f"window × log(np), ε = {epsilon:g}, ‖D‖ = {target:g}, n = {n}",
            f"{printed:.4g} (eq. 12, 74)",
            constant,
            float(flow.window[largest, j] * log_np[largest]),
        )
    for j, target in enumerate(flow.group.values):
        fit = window_fit(measured, j)
        row(f"exponent of log(np) in the window, ‖D‖ = {target:g}", "−1", -1, fit.slope)
        rows[-1][3] = str(fit)
    log_n = np.log(flow.n.values)
    exact_curvatures = np.array(
        [exact_curvature(run)[[0, -1]] for run in _flows(records)]
    )
    for index, (name, paper, values) in enumerate(
        (
            ("exponent of n in μ(0)", "−1", flow.first_curvature.values),
            ("exponent of n in μ at the last time", "−1/2", flow.last_curvature.values),
        )
    ):
        fit = fit_line(log_n, np.log(values))
        expected = fit_line(log_n, np.log(exact_curvatures[:, index])).slope
        row(name, paper, expected, fit.slope)
        rows[-1][3] = str(fit)
    header = [
        "quantity",
        "paper",
        "theory (exact, this n)",
        "measured (flow)",
        "difference",
    ]
    return "\n".join(
        [
            "# Phase transition (Theorem 2, Figure 1)",
            "",
            "Made by `python -m experiments.figures.phase_transition`. “Theory” is the "
            "corrected closed form at the n that was simulated; “paper” is what is "
            "printed, a limit as n → ∞. Intervals are 95 % (least squares over the "
            "simulated n).",
            "",
            markdown_table(header, rows),
            _limit_table(flow),
            _cosine_table(records),
            _health(records),
        ]
    )


def _limit_table(flow: xr.Dataset) -> str:
    """How slowly t/t_n tends to 1/‖D‖: the closed form to n = 10³⁰."""
    p = flow.sizes["group"]
    rows = []
    log_np = np.array(EXPONENTS) * np.log(10) + np.log(p)
    times = {
        target: np.asarray(theory.GroupFlow(log_np, target).time_at(0.5))
        for target in flow.group.values
    }
    for k, exponent in enumerate(EXPONENTS):
        rows.append(
            [f"10^{exponent}", *(f"{times[target][k]:.4f}" for target in times)]
        )
    fits = [
        str(fit_line(np.log(log_np), np.log(np.abs(times[target] - 1 / target))))
        for target in times
    ]
    rows.append(["limit", *(f"{1 / target:.4f}" for target in times)])
    rows.append(["exponent of log(np) in the distance to it", *fits])
    header = ["n", *(f"t/t_n at half the loss, ‖D‖ = {target:g}" for target in times)]
    return (
        "The transition time tends to its limit as 1/log(np) does; closed form:\n\n"
        + markdown_table(header, rows)
    )


def _cosine_table(records: xr.Dataset) -> str:
    rows = []
    for run in _cosine_runs(records):
        errors = [norm_errors(run, j) for j in range(run.sizes["group"])]
        exact = max(np.abs(e).max() for e, _ in errors)
        printed = max(np.abs(e).max() for _, e in errors)
        cosine = max(cosine_error(run, j) for j in range(run.sizes["group"]))
        rows.append(
            [
                f"{float(run.cosine):g}",
                f"{exact:.2g}",
                f"{100 * printed:.3g} %",
                f"{cosine:.2g}",
            ]
        )
    header = [
        "c₀",
        "largest relative error of ‖w‖², corrected",
        "the same, eq. 55 as printed",
        "largest error of cos, rate γ",
    ]
    size = records.attrs["cosine_size"]
    return (
        f"The closed form for c₀ < 1, against the simulated flow at n = {size}:\n\n"
        + markdown_table(header, rows)
    )


def _health(records: xr.Dataset) -> str:
    rows = []
    for i in range(records.sizes["run"]):
        run = records.isel(run=i)
        method = str(run.method.values)
        if method == "descent":
            method += f", learning rate {float(run.learning_rate):.3g}"
        rows.append(
            [
                str(int(run.n)),
                f"{float(run.cosine):g}",
                method,
                str(int(run.velocity_evaluations)),
                f"{float(run.balance_drift.max()):.1e}",
                str(int(run.loss_increases)),
            ]
        )
    header = ["n", "c₀", "method", "velocity evaluations", "balance drift", "rises"]
    return (
        "What the runs cost, the largest relative drift of a² − ‖w‖² (Lemma 1), and "
        "the number of steps on which the loss rose:\n\n" + markdown_table(header, rows)
    )
