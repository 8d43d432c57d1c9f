"""Real images: handwritten digits, 3 against 8, beside random inputs of their size.

    python -m experiments.gallery.digits

The images come with scikit-learn (8 × 8 pixels; `pip install -e '.[docs]'`). They all
lie in one quarter of the sphere, far from the weakly interacting inputs of the paper.
What that changes is seen beside as many random directions with the same labels.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import jaxflow

from ..common.protocols import last_time
from ..known_results.common import BLUE, GREY, ORANGE, Finding, produce

DIGITS = (3, 8)
KINDS = ("digits", "random")


@dataclasses.dataclass(frozen=True)
class Config:
    """Digits, and random inputs of their size."""

    n: int = 100
    """The number of images that are learned from; the others test."""
    p: int = 100
    """The number of neurons."""
    last: float = 3000.0
    """The last time."""
    seed: int = 0
    output: Path = Path("results/gallery/digits")
    redraw: bool = False
    """Draw again from the records, without simulating."""


def images(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """All images of the two digits in random order, of mean square norm 1, and their
    labels ±1."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the digits come with scikit-learn: pip install -e '.[docs]'."
        ) from error
    every = load_digits()
    kept = np.isin(every.target, DIGITS)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(kept))
    x, digit = every.data[order], every.target[order]
    norm = np.sqrt(np.mean(np.sum(x**2, axis=1)))
    return x / norm, np.where(digit == DIGITS[0], 1.0, -1.0)


def cosines(x: np.ndarray) -> np.ndarray:
    """Between all pairs of different rows."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return (x @ x.T)[np.triu_indices(len(x), 1)]


def simulate(config: Config) -> xr.Dataset:
    x, y = images(config.seed)
    if not 2 <= config.n < len(y):
        raise ValueError(
            f"n must be from 2 to {len(y) - 1}, which leaves an image of {len(y)} to "
            f"test, got {config.n}."
        )
    seen, unseen = (x[: config.n], y[: config.n]), (x[config.n :], y[config.n :])
    drawn = np.random.default_rng(config.seed + 1).normal(size=seen[0].shape)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    times = np.concatenate([[0.0], np.geomspace(0.5, config.last, 119)])

    def wrong(s: jaxflow.Snapshot) -> jax.Array:
        """The share of the images that were not learned from whose sign is missed."""
        said = jnp.sign(jaxflow.predict(s.network, unseen[0]))
        return jnp.mean(said != unseen[1])

    runs = []
    for inputs in (seen[0], drawn):
        # --8<-- [start:run]
        data, network = jaxflow.sample_problem(
            jax.random.key(config.seed),
            p=config.p,
            inputs=inputs,
            targets=seen[1],
            dtype=jnp.float64,
        )
        sol = jaxflow.simulate(
            data, network, jaxflow.GradientFlow(rtol=1e-5), times=times,
            observe={"wrong": wrong},
        )  # fmt: skip
        # --8<-- [end:run]
        assumptions = jaxflow.theory.check_assumptions(data, network)
        run = {
            "loss": ("time", np.asarray(sol.loss)),
            "wrong": ("time", np.asarray(sol.observables["wrong"])),
            "cosine": ("pair", cosines(inputs)),
            "excess": 1 / float(assumptions.interaction_margin),
            "certificate": float(jaxflow.certificate(data.targets, config.n)),
        }
        runs.append(xr.Dataset(run, {"time": times}))
    records = xr.concat(runs, xr.Variable("inputs", list(KINDS)))
    return records.assign_attrs(last_time=last_time(config.n, config.p))


def certified(run: xr.Dataset) -> float:
    """The first recorded time at which no example can be left out any more."""
    below = run.loss.values < float(run.certificate)
    return float(run.time[np.argmax(below)]) if below.any() else np.inf


def findings(records: xr.Dataset) -> list[Finding]:
    rows = []
    for kind in KINDS:
        run = records.sel(inputs=kind)
        excess, met = float(run.excess), certified(run) / records.last_time
        cosine = float(np.median(run.cosine))
        rows += [
            Finding(f"interaction over what Assumption 2 allows, {kind}", None, excess),
            Finding(f"median cosine of two inputs, {kind}", None, cosine),
            Finding(f"certificate met, over t_∞, {kind}", None, met),
            # A run that has fitted its examples to rounding has ended before.
            Finding(f"last loss, {kind}", 0, float(run.loss.dropna("time")[-1])),
        ]
    wrong = float(records.wrong.sel(inputs="digits")[-1])
    return [*rows, Finding("share of unseen images that are wrong", None, wrong)]


def draw(records: xr.Dataset) -> Figure:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8.4, 2.9))
    time = records.time.values
    for kind, colour, style in zip(KINDS, (BLUE, ORANGE), ("-", "--"), strict=True):
        run = records.sel(inputs=kind)
        shape = {"color": colour, "ls": style}
        bins = np.linspace(-0.6, 1, 65)
        left.hist(run.cosine, bins, histtype="step", density=True, label=kind, **shape)
        middle.loglog(time, run.loss, label=kind, **shape)
    left.set(xlabel="cosine of two inputs", ylabel="density")
    left.legend(loc="upper left")
    certificate = float(records.certificate[0])
    middle.axhline(certificate, color=GREY, ls=":", label="certificate")
    middle.axvline(records.last_time, color=GREY, lw=1, label=r"$t_\infty$")
    middle.set(xlabel="flow time", ylabel="loss $L(t)$", ylim=(1e-6, 1))
    middle.legend(loc="lower left")
    right.semilogx(time, 100 * records.wrong.sel(inputs="digits"), color=BLUE)
    right.set(xlabel="flow time", ylabel="unseen images that are wrong (%)")
    right.set(ylim=(0, None))
    return figure


if __name__ == "__main__":
    produce(tyro.cli(Config), "digits", simulate, findings, draw, "gallery")
