"""`CoveredInitialisation`: a law of networks, given that every example is activated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow
from jaxflow._sampling.covered_initialisation import CoveredInitialisation
from jaxflow.theory import coverage_probability


def covered(data, network):
    active = np.asarray(data.inputs.preactivations(network.w)) > 0
    agrees = np.asarray(network.a)[:, None] * np.asarray(data.targets)[None, :] > 0
    return bool(np.all(np.any(active & agrees, axis=0)))


@pytest.mark.parametrize("inputs", ["orthogonal", "sphere", "antipodal"])
def test_every_example_is_correctly_activated(inputs):
    for seed in range(3):
        data, network = jaxflow.sample_problem(
            jax.random.key(seed), n=20, d=40, p=8, inputs=inputs,
            init=CoveredInitialisation(),
        )  # fmt: skip
        assert covered(data, network)


def test_it_is_the_first_draw_that_will_do():
    law = jaxflow.Initialisation(first_layer_scale=0.01)
    data = jaxflow.sample_problem(jax.random.key(1), n=20, d=40)[0]
    later = 0
    for seed in range(8):
        key = jax.random.key(seed)
        network = CoveredInitialisation(law)(key, data, 40, 8)
        draws = (law(jax.random.fold_in(key, k), data, 40, 8) for k in range(1000))
        k, expected = next((k, x) for k, x in enumerate(draws) if covered(data, x))
        np.testing.assert_array_equal(network.w, expected.w)
        np.testing.assert_array_equal(network.a, expected.a)
        later += k > 0
    assert later > 0


def test_the_first_draw_will_do_as_often_as_lemma_5_says():
    n, p, runs = 20, 8, 150
    data = jaxflow.sample_problem(jax.random.key(1), n=n, d=40)[0]
    law = CoveredInitialisation(max_draws=1)

    def succeeds(seed):
        try:
            law(jax.random.key(seed), data, 40, p)
        except ValueError:
            return False
        return True

    positive = int(jnp.sum(data.targets > 0))
    chance = float(coverage_probability(positive, n - positive, p))
    share = np.mean([succeeds(seed) for seed in range(runs)])
    assert abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / runs)


def test_an_ensemble_draws_as_sample_problem_does():
    key, init = jax.random.key(3), CoveredInitialisation("uniform")
    runs = jaxflow.simulate_ensemble(
        key, n=20, d=40, p=8, seeds=3, init=init, times=[0, 5],
        method=jaxflow.GradientDescent(1.0), progress=False,
    )  # fmt: skip
    for seed in range(3):
        run_key = jaxflow.run_key(key, 20, 40, 8, seed)
        problem = jaxflow.sample_problem(run_key, n=20, d=40, p=8, init=init)
        start = runs.loss.isel(time=0).sel(seed=seed).item()
        assert start == pytest.approx(float(jaxflow.loss(*problem)), rel=1e-12)


def test_says_how_likely_it_was():
    with pytest.raises(ValueError, match=r"none of 5 draws .* at most .* 0\.26"):
        jaxflow.sample_problem(
            jax.random.key(0), n=10, d=40, p=3, init=CoveredInitialisation(max_draws=5)
        )
    with pytest.raises(ValueError, match="init must be"):
        CoveredInitialisation("gausian")
    with pytest.raises(ValueError, match="max_draws"):
        CoveredInitialisation(max_draws=0)


def test_refuses_to_be_traced():
    data = jaxflow.sample_problem(jax.random.key(1), n=5, d=10)[0]
    draw = lambda key: CoveredInitialisation()(key, data, 10, 20).a
    with pytest.raises(ValueError, match=r"before jax\.jit"):
        jax.jit(draw)(jax.random.key(0))
