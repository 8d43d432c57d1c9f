"""Lemma 5, Assumptions 1 and 2, Lemma 3."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow
from experiments.theory_checks import assumptions, initial
from experiments.theory_checks.common import QUICK
from jaxflow import theory


def by_enumeration(positive, negative, p):
    """P(𝓘) for orthogonal inputs from all patterns of signs, 2^{p(n+1)} of them."""
    n = positive + negative
    count = 0
    for signs in itertools.product((False, True), repeat=p):
        for active in itertools.product((False, True), repeat=p * n):
            rows = np.array(active).reshape(p, n)
            right = np.array(signs)[:, None] == (np.arange(n) < positive)[None, :]
            count += bool(np.all(np.any(rows & right, axis=0)))
    return count / 2 ** (p * (n + 1))


@pytest.mark.parametrize("positive, negative, p", [(1, 0, 3), (1, 1, 3), (2, 1, 2)])
def test_exact_probability_by_enumeration(positive, negative, p):
    exact = theory.coverage_probability(1.0 * positive, 1.0 * negative, p)
    np.testing.assert_allclose(exact, by_enumeration(positive, negative, p))


def test_one_example_makes_the_union_bound_exact():
    for p in (1, 5, 20, 64):
        np.testing.assert_allclose(
            theory.coverage_failure(1.0, 0.0, p), 0.75**p, rtol=1e-12
        )


@pytest.mark.slow
def test_bounds_order_and_monotony():
    n = 100.0
    exact = np.array([theory.coverage_probability(60.0, 40.0, p) for p in range(5, 60)])
    union = np.array([theory.coverage_lower_bound(n, p) for p in range(5, 60)])
    product = np.array([theory.coverage_upper_bound(n, p) for p in range(5, 60)])
    assert np.all(union <= exact + 1e-14)
    assert np.all(exact <= product + 1e-14)
    assert np.all(np.diff(exact) > 0)


def test_the_law_of_signs_enters():
    # With all a_j > 0 negative targets are never covered.
    few = theory.coverage_probability(5.0, 5.0, 10, 0.999)
    fair = theory.coverage_probability(5.0, 5.0, 10, 0.5)
    assert few < 0.02 < fair
    mirrored = theory.coverage_probability(3.0, 7.0, 10, 0.3)
    np.testing.assert_allclose(mirrored, theory.coverage_probability(7.0, 3.0, 10, 0.7))


def test_vectorised_and_jitted():
    n = jnp.array([10.0, 1e3, 1e300])
    many = jax.jit(lambda n: theory.coverage_failure(n / 2, n / 2, 40))(n)
    each = [theory.coverage_failure(x / 2, x / 2, 40) for x in n]
    np.testing.assert_allclose(many, jnp.stack(each))
    assert many.shape == (3,)


def test_width_rule_and_its_inverse():
    for n in (100, 1650, 2500):
        p = jaxflow.width_rule(n, 0.05)
        assert theory.examples_for_width(p, 0.05) > n
        assert theory.examples_for_width(p - 1, 0.05) <= n
        assert p <= theory.sufficient_width(n, 0.05)
        assert theory.coverage_failure(n / 2, n / 2, p) < 0.05
        assert theory.necessary_width(n, 0.05) < p


@pytest.mark.slow
def test_lemma_5_by_simulation():
    first, second = initial.check(QUICK, jax.random.key(2))
    assert first.printed.startswith("yes") and first.corrected.startswith("yes")
    assert second.printed.startswith("no") and second.corrected.startswith("yes")
    numbers = second.numbers
    exact = numbers["1 − P(𝓘) at n = 1000, ε = 0.9, equal signs"]
    frequency = numbers["frequency of misses, n = 1000, ε = 0.9"]
    error = np.sqrt(exact * (1 - exact) / numbers["draws for it"])
    assert abs(frequency - exact) < 4 * error
    assert exact < 0.9
    assert numbers["1 − P(𝓘) at n = 10^300, ε = 0.05, equal signs"] < 0.05


@pytest.mark.slow
def test_assumption_2_on_explicit_inputs():
    assert assumptions.agrees_with_dense(jax.random.key(0)) < 1e-12


def test_check_assumptions_reports_both_margins():
    y = jnp.ones(4)
    w, a = jnp.eye(4)[:2], jnp.array([1.5, -2.0])

    def measured(correlation, scale):
        gram = jnp.eye(4).at[0, 1].set(correlation).at[1, 0].set(correlation)
        # Preactivations of weights w = x_1, x_2, with ‖w‖ = 1.
        network = jaxflow.Network(w @ gram, scale * a, jnp.ones(2))
        data = jaxflow.Dataset(jaxflow.GramInputs(gram), y)
        return theory.check_assumptions(data, network)

    # The limit is 1/√4.
    found = measured(0.4, 1.0)
    np.testing.assert_allclose(found.interaction, 0.4)
    np.testing.assert_allclose(found.interaction_margin, 0.5 / 0.4)
    np.testing.assert_allclose(found.asymmetry_margin, 0.5)
    assert bool(found.holds)
    assert not bool(measured(0.6, 1.0).holds)
    assert not bool(measured(0.4, 0.5).holds)


def test_antipodal_interaction():
    inputs = jaxflow.AntipodalInputs(jnp.ones(4), jnp.full(4, 2.0))
    data = jaxflow.Dataset(inputs, jnp.ones(8))
    network = jaxflow.Network(jnp.eye(4), jnp.ones(4))
    gram = data.inputs.gram()
    assert theory.antipodal_interaction(gram) < 1e-12
    # Assumption 2 itself fails for such inputs.
    assert not bool(theory.check_assumptions(data, network).holds)
    shifted = gram + 0.1 * (1 - jnp.eye(8))
    assert theory.antipodal_interaction(shifted) > 0.5
    with pytest.raises(ValueError, match="even number"):
        theory.antipodal_interaction(jnp.eye(3))


def test_dimension_rule_inverts():
    d = theory.dimension_rule(20.0, 0.05, 17.0)
    np.testing.assert_allclose(theory.dimension_constant(d, 20.0, 0.05), 17.0)


@pytest.mark.long
def test_lemma_3_on_a_grid():
    row = next(
        row
        for row in assumptions.check(QUICK, jax.random.key(0))
        if row.statement == "Lemma 3"
    )
    assert row.printed.startswith("yes")
    assert row.numbers["P(A2), gaussian, 0.5, n = 20, d = 8 n²"] < 0.2
    assert row.numbers["P(A2), gaussian, 0.5, n = 20, d = 64 n²"] == 1
