"""Lemma 5 against Monte Carlo, and its second part against exact counts."""

from typing import Any

import jax
import numpy as np

import jaxflow
from jaxflow import theory

from .common import Row, Size, each, problems, verdict

N, D = 50, 400


def monte_carlo(size: Size, key: Any) -> dict[str, float]:
    """The frequency of 𝓘 in networks drawn on orthogonal data, against the exact
    probability given the signs of the targets, in standard errors."""
    draws, widths = size.of((20_000, (8, 12, 16, 20, 24, 30)), (1_000, (12, 20)))
    # The neurons are independent: the first p of a wide network are one of width p.
    data, wide = problems(jax.random.split(key, draws), n=N, d=D, p=max(widths))
    positive = np.sum(np.asarray(data.targets) > 0, axis=1)
    found: dict[str, float] = {"draws": draws * len(widths)}
    worst, above_union, below_product = 0.0, np.inf, np.inf
    for p in widths:
        networks = jax.tree.map(lambda leaf, p=p: leaf[:, :p], wide)
        covered = each(lambda d, w: jaxflow.Snapshot.of(d, w).covered, data, networks)
        exact = theory.coverage_probability(1.0 * positive, 1.0 * (N - positive), p)
        error = np.sqrt(np.sum(exact * (1 - exact))) / draws
        frequency = np.mean(covered)
        found[f"frequency, p = {p}"] = float(frequency)
        found[f"exact, p = {p}"] = float(np.mean(exact))
        found[f"union bound, p = {p}"] = float(theory.coverage_lower_bound(N, p))
        worst = max(worst, abs(float(frequency - np.mean(exact)) / error))
        above_union = min(
            above_union, found[f"exact, p = {p}"] - found[f"union bound, p = {p}"]
        )
        ceiling = float(theory.coverage_upper_bound(1.0 * N, p))
        below_product = min(below_product, ceiling - found[f"exact, p = {p}"])
    return found | {
        "worst deviation from exact, standard errors": worst,
        "least exact − union bound": float(above_union),
        "least (1 − 2^{−p})^n − exact": float(below_product),
    }


def necessity(size: Size) -> dict[str, float]:
    """How often P(𝓘) > 1 − ε although p ≤ 3 log(n/ε) − 2, by exact counts."""
    found: dict[str, float] = {"exact counts": 0, "violations": 0, "corrected": 0}
    epsilons = np.array([0.05, 0.2, 0.5, 0.8, 0.9])
    exponents = np.array(size.of(range(1, 301, 3), (1, 2, 3, 6, 100, 298)), float)
    for epsilon in epsilons:
        for n in 10.0**exponents:
            for positive in (n, n / 2):
                p = int(theory.printed.necessary_width(n, epsilon))
                q = int(theory.necessary_width(n, epsilon))
                if min(p, q) < 1:
                    continue
                miss = theory.coverage_failure(positive, n - positive, p)
                found["exact counts"] += 1
                found["violations"] += bool(miss < epsilon)
                miss = theory.coverage_failure(positive, n - positive, q)
                found["corrected"] += bool(miss < epsilon)
    for name, n, share, epsilon in (
        ("n = 1000, ε = 0.9, equal signs", 1e3, 1.0, 0.9),
        ("n = 1000, ε = 0.9, mixed signs", 1e3, 0.5, 0.9),
        ("n = 10^300, ε = 0.05, equal signs", 1e300, 1.0, 0.05),
        ("n = 10^300, ε = 0.5, mixed signs", 1e300, 0.5, 0.5),
    ):
        p = int(theory.printed.necessary_width(n, epsilon))
        miss = theory.coverage_failure(share * n, (1 - share) * n, p)
        found[f"p at {name}"] = p
        found[f"1 − P(𝓘) at {name}"] = float(miss)
    return found


def counterexample(size: Size, key: Any) -> dict[str, float]:
    """The first of those by simulation: n = 1000 positive targets, p as printed."""
    n, epsilon = 1000, 0.9
    draws = size.of(20_000, 500)
    p = int(theory.printed.necessary_width(n, epsilon))
    missed = 0
    for part in jax.random.split(key, size.of(20, 1)):
        keys = jax.random.split(part, draws // size.of(20, 1))
        data, networks = problems(keys, n=n, d=n, p=p, targets=positive_targets)
        covered = each(lambda d, w: jaxflow.Snapshot.of(d, w).covered, data, networks)
        missed += int(np.sum(~covered))
    return {
        "frequency of misses, n = 1000, ε = 0.9": missed / draws,
        "draws for it": draws,
    }


def positive_targets(key: Any, inputs: Any, dtype: Any) -> Any:
    return jax.random.uniform(key, (inputs.num_examples,), dtype, 1, 2)


def least_width(n: float, epsilon: float) -> int:
    """The least p with P(𝓘) ≥ 1 − ε, mixed signs, by bisection of the exact count."""
    low, high = 1, int(theory.sufficient_width(n, epsilon)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        miss = theory.coverage_failure(n / 2, n / 2, middle)
        low, high = (low, middle) if miss <= epsilon else (middle, high)
    return high


def growth(size: Size) -> dict[str, float]:
    """The least width over log n at ε = 0.05."""
    found = {}
    for exponent in size.of((2, 4, 8, 16, 32, 64, 128, 300), (4, 64)):
        n = 10.0**exponent
        found[f"least p/log n at n = 10^{exponent}"] = least_width(n, 0.05) / np.log(n)
    rule = jaxflow.width_rule(1650, 0.05)
    union = theory.examples_for_width(1.0 * rule, 0.05)
    return found | {
        "2/log 2": 2 / np.log(2),
        "1/log(4/3)": 1 / np.log(4 / 3),
        "width rule at n = 1650": rule,
        "examples for that width": float(union),
        "exact least p at n = 1650": least_width(1650.0, 0.05),
    }


def check(size: Size, key: Any) -> list[Row]:
    keys = jax.random.split(key, 2)
    first = monte_carlo(size, keys[0])
    second = necessity(size) | counterexample(size, keys[1])
    widths = growth(size)
    agrees = first["worst deviation from exact, standard errors"] < 4
    holds = agrees and first["least exact − union bound"] >= 0
    refuted = second["violations"] > 0
    return [
        Row(
            "Lemma 5, P(𝓘) ≥ 1 − ε for p ≥ 4 log(n/ε)",
            verdict(holds),
            verdict(agrees, "P(𝓘) exactly, for orthogonal inputs"),
            f"Monte Carlo within "
            f"{first['worst deviation from exact, standard errors']:.1f} standard "
            f"errors of the exact P(𝓘); union bound below it by ≥ "
            f"{first['least exact − union bound']:.1e}",
            f"{first['draws']:.0f} draws",
            first | widths,
        ),
        Row(
            "Lemma 5, P(𝓘) ≤ 1 − ε for p ≤ 3 log(n/ε) − 2",
            verdict(not refuted, "eq. 14 uses (ε/n)^{3 log 2} ≥ ε/n"),
            verdict(
                second["corrected"] == 0, "p ≤ log₂(n/log(1/(1−ε))), orthogonal inputs"
            ),
            f"violated at {second['violations']:.0f} of {second['exact counts']:.0f} "
            "(n, ε); n = 1000 equal signs, ε = 0.9, p = "
            f"{second['p at n = 1000, ε = 0.9, equal signs']:.0f}: 1 − P(𝓘) = "
            f"{second['1 − P(𝓘) at n = 1000, ε = 0.9, equal signs']:.3f} exactly, "
            f"{second['frequency of misses, n = 1000, ε = 0.9']:.3f} by simulation",
            f"{second['exact counts']:.0f} exact counts, "
            f"{second['draws for it']:.0f} draws",
            second,
        ),
    ]
