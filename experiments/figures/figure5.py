"""Figure 5: how the curvature at the end of a run falls with n, on orthogonal inputs.

    python -m experiments.figures.figure5 --protocol released --size full

Four measures at the last time of each run, in dimension 2000 (Appendix B, experiment
2): the local-PL curvature μ, its average ⟨μ⟩ over the run, and the two bounds of Lemma
6 with the constants of Appendix B. Conjecture 1 says ⟨μ_∞⟩ = C/√n.

- `paper`: w(0) ~ N(0, I/d), learning rate 1 to t_∞; μ = log(L(t_∞ − 1)/L(t_∞)).
- `released`: coordinates of w(0) ~ U(±1/√d), times 0.01 after a is drawn; drawn again
  until every example is correctly activated; ten times the epochs, but a run ends where
  L ≤ 10⁻⁶/(2n), as theirs did; μ = the mean over the last 100 steps of
  2 (L_t − L_{t+1})/(L_t + L_{t+1}).
- `flow`: the gradient flow from the paper's w(0) to t_∞; μ is −L'/L itself.

In float64. In float32 the loss stays at 10⁻¹² (n = 1000), where μ is rounding; runs of
`released` end above that, but to 10 t_∞ without an end not even float64 would do.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import tyro
import xarray as xr

import jaxflow
from jaxflow import CoveredInitialisation

from ..common.output import read_records, write_config, write_records
from ..common.protocols import LEARNING_RATE, Name, Size, folder, last_time
from . import figure5_plot as _figure5_plot

# The loss at which a run of `released` ends, in units of 1/(2n).
SMALL_LOSS = 1e-6
# Of the flow. μ is then within 5e-7 of that at rtol 1e-11 at t_∞, and within 2e-5 at
# 2 t_∞, where residuals are near 10⁻⁶ (n = 1000 and 2000, three seeds each); at rtol
# 1e-6 it would be rounding there.
RTOL = 1e-9


class SmallLoss(jaxflow.AbstractStop):
    """Ends a run where L ≤ share/(2n)."""

    share: float = eqx.field(static=True)
    result = jaxflow.Results.loss_below

    def margin(self, problem: Any, loss: Any, curvature: Any) -> Any:
        tiny = jnp.finfo(loss.dtype).tiny
        return jnp.log(jnp.maximum(loss, tiny)) - jnp.log(self.share / (2 * problem.n))


def lower(s: jaxflow.Snapshot) -> Any:
    """μ_low = (2/n) min_i (1/p) Σ_j a_j² 1_ji (Appendix B): Lemma 6 with C_x⁻ = 1."""
    least = jnp.min(jnp.where(s.present, _covered(s), jnp.inf))
    return 2 / s.problem.n * least


def upper(s: jaxflow.Snapshot) -> Any:
    """μ_upp = (16/n) max_i (1/p) Σ_j a_j² 1_ji (Appendix B): Lemma 6 with C_x⁺ = 2."""
    return 16 / s.problem.n * jnp.max(_covered(s))


def _covered(s: jaxflow.Snapshot) -> Any:
    squares = (s.a**2)[:, None]
    return jnp.sum(jnp.where(s.active, squares, 0), axis=0) / s.problem.p


OBSERVE = {
    "lower": lower,
    "upper": upper,
    # The same with the norms of the run, and with ‖w_j‖² in the upper one.
    "proved_lower": jaxflow.OBSERVABLES["lower_bound"],
    "proved_upper": jaxflow.OBSERVABLES["upper_bound"],
    "uncovered": jaxflow.OBSERVABLES["inactive_examples"],
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Figure 5: the curvature against n on orthogonal inputs."""

    protocol: Name = "released"
    size: Size = "quick"
    """full: the paper's numbers of runs or more. quick: under two minutes."""
    sizes: tuple[int, ...] = ()
    """n; by default what `size` says."""
    seeds: int = 0
    """Networks for each n; by default what `size` says."""
    dimension: int = 2000
    """d."""
    window: int = 100
    """The number of steps that μ of `released` is a mean over."""
    horizons: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Where runs are looked at, in units of t_∞; 1 among them. Not for `released`."""
    rows: int = 200
    """How many times a run of `released` is looked at in 10 t_∞."""
    seed: int = 0
    output: Path = Path("results")
    redraw: bool = False
    """Draw again from the records, without simulating."""

    def __post_init__(self) -> None:
        if 1.0 not in self.horizons:
            raise ValueError(f"horizons must include 1 (t_∞), got {self.horizons}.")
        if len(set(self.n)) < 2 or min(self.n) < 2 or max(self.n) > self.dimension:
            raise ValueError(
                "sizes must be at least two different numbers between 2 and the "
                f"dimension {self.dimension}, got {self.n}."
            )
        if self.runs < 2:
            raise ValueError(f"seeds must be at least 2, got {self.seeds}.")
        if self.window < 2:
            raise ValueError(f"window must be at least 2 steps, got {self.window}.")

    @property
    def n(self) -> tuple[int, ...]:
        if self.sizes:
            return self.sizes
        if self.size == "quick":
            return (1000, 1200, 1400, 1600, 1800, 2000)
        if self.protocol == "released":
            return tuple(range(1000, 2001, 100))
        return tuple(range(1000, 2001, 50))

    @property
    def runs(self) -> int:
        if self.seeds:
            return self.seeds
        if self.size == "quick":
            return 8
        return 100 if self.protocol == "released" else 25

    @property
    def folder(self) -> Path:
        return folder(self.output, "figure5", self.protocol, self.size)

    def init(self) -> Any:
        if self.protocol == "released":
            law = jaxflow.Initialisation(first_layer="uniform", first_layer_scale=0.01)
            return CoveredInitialisation(law)
        return "gaussian"

    def method(self) -> jaxflow.AbstractMethod:
        if self.protocol == "flow":
            return jaxflow.GradientFlow(rtol=RTOL)
        return jaxflow.GradientDescent(LEARNING_RATE)

    def times(self, n: int, d: int, p: int) -> np.ndarray:
        """0 and, for each horizon, what the measures need: the last time, the one
        before it, and the first of the window. For `released` a grid, since where it
        ends is not known beforehand."""
        if self.protocol == "released":
            return np.round(np.linspace(0, 10 * last_time(n, p), self.rows + 1))
        ends = [np.floor(horizon * last_time(n, p)) for horizon in self.horizons]
        times = [0.0, *(end - back for end in ends for back in (self.window, 1, 0))]
        if np.any(np.diff(times) <= 0):
            raise ValueError(
                f"the horizons of n = {n} are closer than window = {self.window} steps."
            )
        return np.array(times)


def simulate(config: Config) -> xr.Dataset:
    """The measures of every run, dims (n, seed, horizon)."""
    runs = jaxflow.simulate_ensemble(
        jax.random.key(config.seed),
        n=list(config.n),
        d=config.dimension,
        seeds=config.runs,
        method=config.method(),
        times=config.times,
        stop=SmallLoss(SMALL_LOSS) if config.protocol == "released" else (),
        init=config.init(),
        dtype=jnp.float64,
        observe=OBSERVE,
        folder=config.folder / "runs",
    )
    return measure(config, runs.load())


def measure(config: Config, runs: xr.Dataset) -> xr.Dataset:
    """The four measures, as the protocol defines them, at each horizon."""
    wanted = {k: runs[k].transpose("n", "seed", "time").values for k in _ROWS}
    wanted["time"] = runs.t.broadcast_like(runs.loss).transpose(*_DIMS).values
    shape = wanted["loss"].shape[:2]
    if config.protocol == "released":
        last = np.sum(np.isfinite(wanted["loss"]), axis=2, keepdims=True) - 1
        # 2 (x − y)/(x + y) is log(x/y) to (1 − y/x)²/12, so that the mean over a window
        # needs the losses at its ends alone: rows at most a grid spacing off.
        spacing = np.diff(wanted["time"][:, :, :2], axis=2)
        first = last - np.ceil(config.window / spacing).astype(int)
        if np.any(first < 0):
            raise ValueError(
                f"a run ended before window = {config.window} steps were made."
            )
        before = last
    else:
        count = len(config.horizons)
        last = np.broadcast_to(3 * np.arange(count) + 3, (*shape, count))
        before, first = last - 1, last - 2
    at = lambda name, index: np.take_along_axis(wanted[name], index, axis=2)
    start = wanted["loss"][:, :, :1]
    # Between two rows a run of `released` goes on to where it ends.
    end, end_time = at("loss", last), at("time", last)
    if config.protocol == "released":
        end = runs.final_loss.transpose("n", "seed").values[:, :, None]
        end_time = runs.final_time.transpose("n", "seed").values[:, :, None]
    window = at("time", last) - at("time", first)
    mu_window = np.log(at("loss", first) / at("loss", last)) / window
    exact = at("curvature", last)
    if config.protocol == "released":
        mu = mu_window
    elif config.protocol == "paper":
        mu = np.log(at("loss", before) / end) / LEARNING_RATE
    else:
        mu = exact
    values = {
        "mu": mu,
        "average_mu": np.log(start / end) / end_time,
        "lower": at("lower", last),
        "upper": at("upper", last),
        "mu_window": mu_window,
        "mu_exact": exact,
        "proved_lower": at("proved_lower", last),
        "proved_upper": at("proved_upper", last),
        "uncovered": at("uncovered", last),
        "loss": end,
        "time": end_time,
    }
    horizons = (10.0,) if config.protocol == "released" else config.horizons
    dims = ("n", "seed", "horizon")
    records = xr.Dataset({name: (dims, value) for name, value in values.items()})
    widths = [jaxflow.width_rule(n) for n in config.n]
    return records.assign_coords(
        n=list(config.n), seed=runs.seed, horizon=list(horizons), p=("n", widths)
    ).assign_attrs(
        protocol=config.protocol,
        dimension=config.dimension,
        main_horizon=horizons[0] if config.protocol == "released" else 1.0,
    )


_DIMS = ("n", "seed", "time")
_ROWS = ("loss", "curvature", *OBSERVE)


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    if not config.redraw:
        records = simulate(config)
        write_config(config.folder, config, "experiments.figures.figure5")
        write_records(config.folder, records)
    table = _figure5_plot.write(config.folder, read_records(config.folder))
    sys.stdout.write(table)


if __name__ == "__main__":
    main(tyro.cli(Config))
