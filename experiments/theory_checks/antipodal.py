"""Appendix C.2: 2d antipodal inputs in dimension d, and pairs that open up."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxflow
from jaxflow import theory

from .common import Row, Size, each, problems, time_scale, trajectories, verdict

FLOW = jaxflow.GradientFlow(rtol=1e-6)
EPSILON = 0.05


def learned(sampled: Any, method: Any, n: int, p: int) -> tuple[Any, Any]:
    """Whether each run's loss passes the certificate, and whether 𝓘 held."""
    end = 20 * time_scale(n, p)
    sol = trajectories(sampled, method, jnp.array([0.5, 1.0]) * end)
    covered, level = each(
        lambda d, w: (
            jaxflow.Snapshot.of(d, w).covered,
            jaxflow.certificate(d.targets, n),
        ),
        *sampled,
    )
    return sol.final_loss < level, covered


def exact_pairs(size: Size, key: Any) -> dict[str, float]:
    """n = 2d examples in dimension d, at the width of Theorem 1 and a smaller one."""
    numbers: dict[str, float] = {"runs": 0}
    seeds = size.of(100, 20)
    for d in size.of((20, 100), (20,)):
        n = 2 * d
        for p in (int(theory.theorem_width(n, EPSILON)), 12):
            keys = jax.random.split(jax.random.fold_in(key, 100 * d + p), seeds)
            sampled = problems(keys, n=n, d=d, p=p, inputs="antipodal")
            converged, covered = learned(sampled, FLOW, n, p)
            name = f"d = {d}, n = {n}, p = {p}"
            numbers[f"P(converged), {name}"] = float(np.mean(converged))
            numbers[f"P(𝓘), {name}"] = float(np.mean(covered))
            numbers[f"𝓘 without convergence, {name}"] = int(
                np.sum(covered & ~converged)
            )
            # A neuron may cross from one input of a pair to the other.
            numbers[f"convergence without 𝓘, {name}"] = int(
                np.sum(converged & ~covered)
            )
            numbers["runs"] += seeds
    return numbers


def opened_gram(m: int, angle: Any) -> Any:
    """K of m pairs (e_i, −cos φ e_i + sin φ f_i), with the e_i and f_i orthonormal.

    At φ = 0 the pairs are antipodal, at π/2 all inputs are orthogonal.
    """
    eye = jnp.eye(m)
    cross = -jnp.cos(angle) * eye
    return jnp.block([[eye, cross], [cross, eye]])


def opened_problem(
    key: Any, m: int, p: int, angle: Any
) -> tuple[jaxflow.Dataset, jaxflow.Network]:
    target_key, init_key = jax.random.split(key)
    n = 2 * m
    y = jaxflow.uniform_targets(target_key, n, jnp.result_type(float))
    # A square root of K whose rows are the inputs, so that φ = 0 needs no inverse.
    e, zero = jnp.eye(m), jnp.zeros((m, m))
    x = jnp.block([[e, zero], [-jnp.cos(angle) * e, jnp.sin(angle) * e]])
    rows = jax.random.normal(init_key, (p, n)) / n**0.5
    size_key, sign_key = jax.random.split(jax.random.fold_in(init_key, 1))
    norms = jnp.sum(rows**2, axis=1)
    a = jnp.sqrt(norms) + jax.random.exponential(size_key, (p,))
    a = a * jax.random.rademacher(sign_key, (p,), a.dtype)
    inputs = jaxflow.GramInputs(opened_gram(m, angle))
    return jaxflow.Dataset(inputs, y), jaxflow.Network(rows @ x.T, a, norms)


def opening(size: Size, key: Any) -> dict[str, float]:
    """P(converged) as the angle opens from antipodal to orthogonal."""
    m = size.of(20, 6)
    n = 2 * m
    p = int(theory.theorem_width(n, EPSILON))
    seeds = size.of(60, 12)
    keys = jax.random.split(key, seeds)
    method = jaxflow.GradientDescent(0.1)
    numbers: dict[str, float] = {"opening runs": 0}
    one = jax.jit(
        jax.vmap(opened_problem, (0, None, None, None)), static_argnums=(1, 2)
    )
    limit = 0.5 / n**0.5
    for degrees in size.of((0, 1, 5, 15, 30, 45, 60, 75, 90), (0, 10, 90)):
        angle = jnp.asarray(np.deg2rad(degrees))
        sampled = one(keys, m, p, angle)
        converged, covered = learned(sampled, method, n, p)
        gram = opened_gram(m, angle)
        name = f"angle {degrees}°"
        numbers[f"P(converged), {name}"] = float(np.mean(converged))
        numbers[f"converged given 𝓘, {name}"] = float(np.mean(converged[covered]))
        numbers[f"N₂/limit of eq. 86, {name}"] = float(
            theory.antipodal_interaction(gram) / limit
        )
        numbers[f"N/limit of eq. 4, {name}"] = float(np.cos(angle) / limit)
        numbers["opening runs"] += seeds
    return numbers


def check(size: Size, key: Any) -> list[Row]:
    keys = jax.random.split(key, 2)
    exact = exact_pairs(size, keys[0])
    wide = [
        v
        for k, v in exact.items()
        if k.startswith("P(converged)") and not k.endswith("p = 12")
    ]
    failed = sum(v for k, v in exact.items() if k.startswith("𝓘 without"))
    more = sum(v for k, v in exact.items() if k.startswith("convergence without"))
    opened = opening(size, keys[1])
    shares = [v for k, v in opened.items() if k.startswith("converged given")]
    beyond = [
        share
        for share, (k, v) in zip(
            shares,
            [(k, v) for k, v in opened.items() if k.startswith("N₂")],
            strict=True,
        )
        if v > 1
    ]
    return [
        Row(
            "Appendix C.2 (eq. 86), 2d antipodal inputs",
            verdict(min(wide) >= 1 - EPSILON and failed == 0),
            "—",
            f"P(converged) ≥ {min(wide):.3f} for ε = {EPSILON}; 𝓘 without "
            f"convergence in {failed:.0f} runs, convergence without 𝓘 in {more:.0f}",
            f"{exact['runs']:.0f} runs",
            exact,
        ),
        Row(
            "Appendix C.2, nearly antipodal inputs (left open)",
            "no statement",
            "—",
            f"converged given 𝓘 at every angle: ≥ {min(shares):.3f}; beyond eq. 86: ≥ "
            f"{min(beyond):.3f}",
            f"{opened['opening runs']:.0f} runs",
            opened,
        ),
    ]
