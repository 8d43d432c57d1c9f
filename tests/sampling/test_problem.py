"""The laws of the data and of the networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import jaxflow


def test_width_rule():
    assert [jaxflow.width_rule(n) for n in (1000, 1650, 2500)] == [35, 37, 38]
    for n in (10, 777, 12345):
        p = jaxflow.width_rule(n, 0.1)
        assert n * 0.75**p < 0.1 <= n * 0.75 ** (p - 1)


@pytest.mark.parametrize("inputs", ["sphere", "gaussian", "orthogonal", "antipodal"])
@pytest.mark.parametrize("n, d", [(20, 30), (20, 12), (40, 12)])
def test_norms_and_correlations_of_the_inputs(inputs, n, d):
    if (inputs == "orthogonal" and n > d) or (inputs == "antipodal" and n > 2 * d):
        pytest.skip("more than the dimension holds")
    keys = jax.random.split(jax.random.key(1), 400)

    @jax.vmap
    def draw(key):
        return jaxflow.sample_inputs(key, n=n, d=d, inputs=inputs).gram()

    grams = np.asarray(draw(keys))
    squares = np.diagonal(grams, axis1=1, axis2=2).ravel()
    cosines = grams[:, 0, 1] / np.sqrt(grams[:, 0, 0] * grams[:, 1, 1])
    if inputs == "gaussian":
        assert stats.kstest(squares * d, stats.chi2(d).cdf).pvalue > 1e-4
    else:
        assert stats.kstest(np.sqrt(squares), stats.uniform(1, 1).cdf).pvalue > 1e-4
    if inputs in ("sphere", "gaussian"):
        # The cosine of two uniform directions: (1 + c)/2 ~ Beta((d−1)/2, (d−1)/2).
        law = stats.beta((d - 1) / 2, (d - 1) / 2)
        assert stats.kstest((1 + cosines) / 2, law.cdf).pvalue > 1e-4
    else:
        assert_allclose(cosines, 0, atol=1e-12)


def test_gram_sampling_has_the_rank_of_the_dimension():
    sampled = jaxflow.sample_inputs(jax.random.key(0), n=20, d=12, inputs="sphere")
    values = np.linalg.eigvalsh(np.asarray(sampled.gram()))
    assert np.sum(values > 1e-10) == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    "init", [pytest.param("gaussian", marks=pytest.mark.slow), "uniform", "balanced"]
)
@pytest.mark.parametrize("inputs, n, d", [("orthogonal", 8, 30), ("sphere", 8, 30)])
def test_law_of_the_weights_is_that_of_r_d(init, inputs, n, d):
    p = 6

    @jax.vmap
    def draw(key):
        data, network = jaxflow.sample_problem(
            key, n=n, d=d, p=p, inputs=inputs, init=init
        )
        z = data.inputs.preactivations(network.w)
        return z / data.inputs.norms[None, :], network.a, network.squared_norm

    z, a, squares = map(np.asarray, draw(jax.random.split(jax.random.key(2), 500)))
    variance = (1 / 3 if init == "uniform" else 1) / d
    sample = z[:, 0, 0]
    assert stats.kstest(sample, stats.norm(0, np.sqrt(variance)).cdf).pvalue > 1e-4
    assert_allclose(np.mean(z[:, 0, :] ** 2), variance, rtol=0.15)
    # Neurons are independent, so are directions of one neuron.
    assert abs(np.corrcoef(z[:, 0, 0], z[:, 1, 0])[0, 1]) < 0.2
    assert_allclose(np.mean(squares), variance * d, rtol=0.05)
    if init == "gaussian":
        assert stats.kstest(squares.ravel() * d, stats.chi2(d).cdf).pvalue > 1e-4
    excess = np.abs(a) - np.sqrt(squares)
    if init == "balanced":
        assert_allclose(excess, 0, atol=1e-12)
    else:
        assert stats.kstest(excess.ravel(), stats.expon.cdf).pvalue > 1e-4
    assert 0.4 < np.mean(a > 0) < 0.6


@pytest.mark.slow
def test_the_weights_outside_the_span_complete_the_norm():
    @jax.vmap
    def draw(key):
        data, network = jaxflow.sample_problem(key, n=8, d=30, p=4, inputs="sphere")
        assert network.squared_norm is not None
        inside = data.inputs.squared_norms(network.w)
        return network.squared_norm - inside

    outside = np.asarray(draw(jax.random.split(jax.random.key(3), 500))).ravel()
    assert stats.kstest(outside * 30, stats.chi2(22).cdf).pvalue > 1e-4


def test_targets_keep_away_from_zero():
    y = np.asarray(jaxflow.uniform_targets(jax.random.key(0), 4000, jnp.float64))
    assert stats.kstest(np.abs(y), stats.uniform(1, 1).cdf).pvalue > 1e-4
    assert 0.45 < np.mean(y > 0) < 0.55


@pytest.mark.slow
def test_a_billion_dimensions_cost_nothing():
    data, network = jaxflow.sample_problem(
        jax.random.key(0), n=200, d=10**9, inputs="sphere"
    )
    assert network.w.shape == (jaxflow.width_rule(200), 200)
    assert float(data.inputs.interaction()) < 4 * 4 * np.sqrt(200 / 1e9)
    run = jaxflow.simulate(
        data, network, jaxflow.GradientDescent(1.0), times=[200.0], observe={}
    )
    assert float(run.loss[0]) < 0.1 * float(jaxflow.loss(data, network))


@pytest.mark.parametrize("cosine", [0.3, 0.78, 1.0])
def test_group_initialisation_is_what_eq_9_asks(cosine):
    n, p = 60, 3
    data, network = jaxflow.sample_problem(
        jax.random.key(0),
        n=n,
        d=n,
        p=p,
        inputs="orthonormal",
        targets=jaxflow.group_targets([1, -1, 1]),
        init=jaxflow.GroupInitialisation(cosine=cosine, norm=2.0),
    )
    groups = np.asarray(data.targets).reshape(p, -1)
    w = np.asarray(network.w).reshape(p, p, -1)
    for j in range(p):
        assert np.all(w[j, j] > 0)
        assert np.all(np.delete(w[j], j, axis=0) == 0)
        own = np.abs(groups[j])
        c = w[j, j] @ own / np.linalg.norm(w[j, j]) / np.linalg.norm(own)
        assert_allclose(c, cosine, rtol=1e-12)
    assert_allclose(np.linalg.norm(w, axis=(1, 2)), 2.0)
    assert_allclose(network.a, 2.0 * np.sign(groups[:, 0]))


def test_laws_of_ones_own():
    def inputs(key, n, d, dtype):
        return jax.random.normal(key, (n, d), dtype)

    def targets(key, inputs, dtype):
        return jnp.ones(inputs.num_examples, dtype)

    def init(key, data, d, p):
        return jaxflow.Network(jnp.ones((p, d)), jnp.ones(p))

    data, network = jaxflow.sample_problem(
        jax.random.key(0), n=30, d=5, p=2, inputs=inputs, targets=targets, init=init
    )
    assert data.geometry == "dense"
    assert_allclose(data.targets, 1.0)
    assert_allclose(network.w, 1.0)


@pytest.mark.slow
def test_dtype_and_seeds():
    for dtype in (jnp.float32, jnp.float64):
        data, network = jaxflow.sample_problem(
            jax.random.key(0), n=10, d=20, p=3, inputs="sphere", dtype=dtype
        )
        assert {x.dtype for x in jax.tree.leaves((data, network))} == {jnp.dtype(dtype)}
    again = jaxflow.sample_problem(
        jax.random.key(0), n=10, d=20, p=3, inputs="sphere", dtype=dtype
    )
    for one, two in zip(
        jax.tree.leaves((data, network)), jax.tree.leaves(again), strict=True
    ):
        assert np.array_equal(one, two)
