"""Proposition 3: where the second layer collapses, against condition (77)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxflow
from jaxflow import theory

from .common import Row, Size, verdict

FLOW = jaxflow.GradientFlow(rtol=1e-7)
DELTA = 1e-4


def lost(z: Any, a: Any, target: Any, ratio: Any) -> Any:
    """Whether the loss stays at y₂²/4 or above, since no neuron is active on example 2;
    and the final loss over that at the start.

    z (2, 2) preactivations, a (2,), y₁ = target > 0, y₂ = −ratio · target.
    """
    y = target * jnp.stack([jnp.ones_like(ratio), -ratio])
    data = jaxflow.Dataset(jaxflow.OrthogonalInputs(jnp.ones(2)), y)
    network = jaxflow.Network(z, a)
    # Everything happens within a few times 1/y₁ and 1/|y₂|; this is far beyond. Late in
    # a run the step is bounded by 1/y₁, so λ must not be too small for max_steps.
    horizon = 60 / (ratio * target)
    sol = jaxflow.simulate(
        data, network, FLOW, times=horizon * jnp.array([0.5, 1.0]), observe=OBSERVE
    )
    floor = sol.observables["unfitted"][-1]
    left = sol.final_loss / jaxflow.loss(data, network)
    return floor >= y[1] ** 2 / 4 * (1 - 1e-9), left


OBSERVE = {"unfitted": theory.unfitted_loss}


def draw(key: Any, scale: float, low: float, high: float, target: float) -> Any:
    """Random z in [scale/2, scale], |a| ≤ δ, and λ log-uniform in [low, high]."""
    z_key, a_key, ratio_key = jax.random.split(key, 3)
    z = jax.random.uniform(z_key, (2, 2), float, 0.5 * scale, scale)
    a = DELTA * scale * jax.random.uniform(a_key, (2,), float, -1, 1)
    spread = jax.random.uniform(ratio_key, (), float, np.log(low), np.log(high))
    return z, a, jnp.asarray(target), jnp.exp(spread)


def no_lower_limit(z: Any, target: Any) -> theory.CollapseRange:
    """0 ≤ λ ≤ min z/max z."""
    whole = theory.collapse_range(z, target)
    return theory.CollapseRange(jnp.zeros_like(whole.lower), whole.upper)


FORMS = {
    "no lower limit": no_lower_limit,
    "printed": theory.printed.collapse_range,
    "eq. 85": theory.printed.proof_collapse_range,
    "invariant": theory.collapse_range,
}


def sweep(size: Size, key: Any) -> dict[str, float]:
    """The share of runs in which example 2 is lost, inside each range, by y₁/z² with z
    the largest possible preactivation: the only number that matters besides λ."""
    count = size.of(400, 60)
    scales = size.of((0.1, 1.0, 10.0, 100.0), (1.0, 100.0))
    strengths = size.of((1.0, 10.0, 100.0, 1e3, 1e4), (1.0, 1e3))
    numbers: dict[str, float] = {"runs": 0, "undecided runs": 0}
    for i, strength in enumerate(strengths):
        inside = dict.fromkeys(FORMS, 0)
        learned = dict.fromkeys(FORMS, 0)
        for j, scale in enumerate(scales):
            keys = jax.random.split(jax.random.fold_in(key, 100 * i + j), count)
            target = strength * scale**2
            z, a, y, ratio = jax.vmap(
                lambda k, s=scale, t=target: draw(k, s, 0.01, 3.0, t)
            )(keys)
            gone, left = map(np.asarray, jax.vmap(lost)(z, a, y, ratio))
            fitted = left < 1e-6
            numbers["runs"] += count
            for form, function in FORMS.items():
                told = np.asarray(
                    jax.vmap(lambda z, y, r, f=function: f(z, y).contains(r))(
                        z, y, ratio
                    )
                )
                inside[form] += int(np.sum(told))
                learned[form] += int(np.sum(told & fitted))
                if form == "no lower limit":
                    numbers["undecided runs"] += int(np.sum(told & ~gone & ~fitted))
        for form in FORMS:
            name = f"{form}, y₁/z² = {strength:g}"
            numbers[f"runs inside, {name}"] = inside[form]
            numbers[f"of these learned, {name}"] = learned[form]
    return numbers


def total(numbers: dict[str, float], what: str, form: str, strong: bool) -> float:
    """Over all y₁/z², or those ≥ 100."""
    return sum(
        value
        for name, value in numbers.items()
        if name.startswith(f"{what}, {form}")
        and (not strong or float(name.split("= ")[1]) >= 100)
    )


def check(size: Size, key: Any) -> list[Row]:
    numbers = sweep(size, key)

    def share(form: str, strong: bool) -> str:
        learned = total(numbers, "of these learned", form, strong)
        inside = total(numbers, "runs inside", form, strong)
        return f"{learned:.0f} of {inside:.0f}"

    return [
        Row(
            "Proposition 3 (eq. 77)",
            verdict(
                total(numbers, "of these learned", "printed", True) == 0,
                "where “y₁ large enough” is y₁ ≥ 100 z²",
            ),
            verdict(
                total(numbers, "of these learned", "no lower limit", True) == 0,
                "any λ from 0.01 to min z/max z, for y₁ ≥ 100 z²",
            ),
            "runs inside the range that learned example 2 after all: eq. 77 "
            f"{share('printed', False)} ({share('printed', True)} for y₁ ≥ 100 z²), "
            f"eq. 85 {share('eq. 85', False)}, eq. 85 made invariant "
            f"{share('invariant', False)}; no lower limit, y₁ ≥ 100 z², "
            f"{share('no lower limit', True)}; undecided "
            f"{numbers['undecided runs']:.0f}",
            f"{numbers['runs']:.0f} runs",
            numbers,
        )
    ]
