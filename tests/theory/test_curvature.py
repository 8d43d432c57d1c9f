"""Lemmas 1, 2, 6 and the constants of Theorem 1 as functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow
from experiments.theory_checks import curvature as checks
from experiments.theory_checks.common import QUICK
from jaxflow import theory

KINDS = ("orthogonal", "gaussian", "sphere", "antipodal")


def problem(kind, seed=0, n=12, d=20, p=7):
    return jaxflow.sample_problem(
        jax.random.key(seed), n=n, d=d, p=p, inputs=kind, dtype=jnp.float64
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_curvature_is_minus_the_logarithmic_derivative_of_the_loss(kind):
    data, network = problem(kind)
    w_velocity, a_velocity = jaxflow.velocity(data, network)
    h = 1e-6

    def moved(step):
        z = data.inputs.preactivations(network.w + step * w_velocity)
        a = network.a + step * a_velocity
        outputs = jnp.sum(a[:, None] * jax.nn.relu(z), axis=0) / network.width
        return jnp.log(jnp.mean((data.targets - outputs) ** 2))

    if kind in ("gaussian", "sphere"):
        # Stored as preactivations, which move by K times the coefficients.
        assert isinstance(data.inputs, jaxflow.GramInputs)
    slope = (moved(h) - moved(-h)) / (2 * h)
    np.testing.assert_allclose(theory.curvature(data, network), -slope, rtol=1e-6)


def spectrum(data, network):
    """Of (2/np) M, increasing: squared singular values of the outputs' derivatives by
    (w, a), which no rounding makes negative where an eigenvalue is 0."""
    z = data.inputs.preactivations(network.w)
    squares, axes = jnp.linalg.eigh(data.inputs.gram())
    # Vectors with the inner products of the inputs.
    x = axes * jnp.sqrt(jnp.maximum(squares, 0))[None, :]
    by_w = jnp.where(z > 0, network.a[:, None], 0)[:, :, None] * x[None, :, :]
    by_both = jnp.concatenate([by_w, jax.nn.relu(z)[:, :, None]], axis=2)
    derivatives = jnp.moveaxis(by_both, 1, 0).reshape(len(x), -1)
    sizes = jnp.linalg.svd(derivatives, compute_uv=False)
    return 2 / (len(x) * network.width) * sizes[::-1] ** 2


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_enclose_the_spectrum_and_the_curvature(kind):
    for seed in range(5):
        data, network = problem(kind, seed)
        state = jaxflow.Snapshot.of(data, network)
        formed = jnp.linalg.eigvalsh(theory.curvature_matrix(data, network))
        values = spectrum(data, network)
        np.testing.assert_allclose(formed, values, rtol=1e-9, atol=1e-14 * values[-1])
        mu = theory.curvature(data, network)
        low = theory.curvature_lower_bound(state)
        high = theory.curvature_upper_bound(state)
        assert low <= values[0] * (1 + 1e-9)
        assert values[0] <= mu <= values[-1]
        assert values[-1] <= high * (1 + 1e-9)
        for limit in (
            theory.limiting_curvature(data, network),
            theory.limiting_curvature(state),
        ):
            np.testing.assert_allclose(limit, values[0], atol=1e-14 * values[-1])


def test_fewer_parameters_than_examples_have_no_rate():
    """M is singular there, and rounding must not make its least eigenvalue negative."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        data = jaxflow.Dataset(rng.normal(size=(9, 2)), rng.normal(size=9))
        network = jaxflow.Network(rng.normal(size=(2, 2)), rng.normal(size=2))
        assert 0 <= theory.limiting_curvature(data, network) < 1e-12


def test_the_limit_says_what_it_takes():
    data, network = problem("orthogonal")
    state = jaxflow.Snapshot.of(data, network)
    for wrong in ((data,), (state, network)):
        with pytest.raises(TypeError, match="a Snapshot, or a Dataset and a Network"):
            theory.limiting_curvature(*wrong)


def test_bounds_are_the_observables_of_a_run():
    data, network = problem("sphere")
    state = jaxflow.Snapshot.of(data, network)
    sol = jaxflow.simulate(
        data, network, jaxflow.GradientDescent(0.1), times=[0.0, 1.0]
    )
    for name in ("lower_bound", "upper_bound"):
        function = getattr(theory, f"curvature_{name}")
        np.testing.assert_allclose(sol.observables[name][0], function(state))


def test_one_neuron_shows_what_the_printed_bounds_miss():
    found = checks.counterexamples()
    mu = found["μ at ‖x‖ = 2, w = a = 0.3"]
    np.testing.assert_allclose(mu, 2 * 4 * (0.09 + 0.09))
    np.testing.assert_allclose(found["upper as proved there"], mu)
    assert mu > found["eq. 15 upper there"]
    assert mu > found["eq. 22 first line there"]
    mu = found["μ at ‖x‖ = 1/2, w = 0.1, a = 1"]
    assert found["lower as proved there"] <= mu < found["eq. 15 lower there"]


@pytest.mark.slow
def test_lemma_6_along_runs():
    found = checks.violations(QUICK, jax.random.key(3))
    assert found["pairs"] >= 150
    assert found["lower violations"] == found["upper violations"] == 0
    assert found["printed_lower violations"] > 0


@pytest.mark.slow
def test_lemma_1_and_2_along_runs():
    first = checks.lemma_1(QUICK, jax.random.key(1))
    second = checks.lemma_2(QUICK, jax.random.key(1))
    assert first.printed == second.printed == "yes", (first, second)
    # The drift of explicit Euler is of first order, so the check can fail.
    assert 0.9 < first.numbers["order of descent"] < 1.1
    assert first.numbers["drift, descent, rate 0.05"] > 1e-3


def test_average_curvature_integrates():
    times = jnp.linspace(0, 3, 301)
    mean = theory.average_curvature(times, 1 + times)
    np.testing.assert_allclose(mean[1:], 1 + times[1:] / 2, rtol=1e-12)
    assert mean[0] == 1


def test_balance_is_what_lemma_1_keeps():
    data, network = problem("gaussian")
    norms = jnp.sqrt(jaxflow.squared_norms(data, network))
    balance = theory.balance(jaxflow.Snapshot.of(data, network))
    np.testing.assert_allclose(balance, network.a**2 - norms**2)
    assert jnp.all(balance > 0)


@pytest.mark.slow
def test_bound_6_fails_for_few_examples_and_holds_for_four():
    for n in (2, 3, 4):
        ratio, assumed = checks.floor_ratio(n)
        assert assumed
        assert ratio >= 2 * (1 - 1 / np.sqrt(n))
        assert (ratio < 1) == (n < 4)


def test_rate_constants():
    norms, targets = jnp.array([1.0, 2.0, 1.5, 2.0]), jnp.array([-1.0, 2.0, 1.0, 1.5])
    constant = theory.rate_constant(norms, targets)
    np.testing.assert_allclose(constant, 1.0 * 1.0 / 2.0)
    np.testing.assert_allclose(
        theory.proved_rate_constant(norms, targets), 2 * (1 - 1 / 4) * constant
    )
    np.testing.assert_allclose(
        theory.printed.proved_rate_constant(norms, targets),
        (2 - 2**0.5) * constant,
    )
    # Equal targets, n = 4: exactly the constant of the statement.
    np.testing.assert_allclose(
        theory.proved_rate_constant(norms, jnp.ones(4)),
        theory.rate_constant(norms, jnp.ones(4)),
    )


def test_widths():
    assert theory.theorem_width(100, 0.05) == np.ceil(4 * np.log(2000))
    assert theory.corollary_width(100, 0.05) == np.ceil(8 * np.log(2000))


@pytest.mark.slow
def test_state_works_under_jit_and_vmap():
    problems = [problem("gaussian", seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems)

    def numbers(data, network):
        state = jaxflow.Snapshot.of(data, network)
        return (
            theory.curvature_lower_bound(state),
            theory.curvature_upper_bound(state),
            theory.curvature_floor(state),
            state.covered,
        )

    batched = jax.jit(jax.vmap(numbers))(*stacked)
    for index, (data, network) in enumerate(problems):
        for many, one in zip(batched, numbers(data, network), strict=True):
            np.testing.assert_allclose(many[index], one, rtol=1e-10)
