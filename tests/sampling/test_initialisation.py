"""Initial networks of every scale, by name and by parts."""

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import jaxflow
from jaxflow import theory

KEY = jax.random.key(0)


def draw(init, inputs="orthogonal", n=10, d=20, p=3, **kwargs):
    return jaxflow.sample_problem(
        KEY, n=n, d=d, p=p, inputs=inputs, init=init, **kwargs
    )


@pytest.mark.parametrize(
    "inputs",
    [
        "orthogonal",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("sphere", "dense")),
    ],
)
@pytest.mark.parametrize(
    "dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]
)
def test_a_scale_multiplies_both_layers(inputs, dtype):
    n = 50 if inputs == "dense" else 10
    inputs = "gaussian" if inputs == "dense" else inputs
    for layer in ("exponential", "balanced", "gaussian", "uniform"):
        plain, scaled, tilted = (
            draw(
                jaxflow.Initialisation("gaussian", layer, *scales),
                inputs=inputs,
                n=n,
                dtype=dtype,
            )[1]
            for scales in (
                (),
                (1e-20,),
                (0.5, 0.25),
            )
        )
        s = np.asarray(1e-20, dtype)
        assert_array_equal(scaled.w, s * plain.w)
        assert_array_equal(scaled.a, s * plain.a)
        assert_array_equal(tilted.w, 0.125 * plain.w)
        assert_array_equal(tilted.a, 0.5 * plain.a)
        if plain.squared_norm is None:
            continue
        assert_allclose(tilted.squared_norm, 0.125**2 * plain.squared_norm, rtol=1e-6)
        # In float32 ‖w‖² is less than any number.
        assert_allclose(scaled.squared_norm, 1e-40 * plain.squared_norm, atol=1e-45)


@pytest.mark.slow
def test_the_names():
    data, small = draw("small")
    assert_allclose(np.abs(small.a), np.sqrt(small.squared_norm), rtol=1e-12)
    assert_allclose(np.abs(small.a), 1e-3, rtol=0.6)
    p, d = 2000, 12
    _, he = draw("he", inputs="gaussian", n=30, d=d, p=p)
    assert stats.kstest(np.ravel(he.w) * np.sqrt(d / 2), "norm").pvalue > 1e-3
    assert stats.kstest(he.a * np.sqrt(p / 2), "norm").pvalue > 1e-3
    data, torch = draw("pytorch", inputs="gaussian", n=30, d=d, p=p)
    for weights, fan_in in ((torch.w, d), (torch.a, p)):
        law = stats.uniform(-1, 2)
        assert stats.kstest(np.ravel(weights) * np.sqrt(fan_in), law.cdf).pvalue > 1e-3
    # Footnote 3.
    assert float(theory.check_assumptions(data, torch).asymmetry_margin) < 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["he", "pytorch"])
def test_the_names_on_inputs_that_are_projected(name):
    """‖w‖² and a have the same laws there."""
    draws = jax.vmap(
        lambda key: jaxflow.sample_problem(
            key, n=8, d=30, p=6, inputs="sphere", init=name
        )[1]
    )(jax.random.split(KEY, 400))
    squares, a = np.ravel(np.asarray(draws.squared_norm)), np.ravel(draws.a)
    if name == "he":
        assert stats.kstest(squares * 15, stats.chi2(30).cdf).pvalue > 1e-4
        assert stats.kstest(a * np.sqrt(3), "norm").pvalue > 1e-4
    else:
        assert_allclose(np.mean(squares), 1 / 3, rtol=0.02)
        assert stats.kstest(a * np.sqrt(6), stats.uniform(-1, 2).cdf).pvalue > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["orthogonal", "sphere"])
def test_the_flow_leaves_a_start_of_1e_20_in_both_precisions(inputs):
    """The loss halves when the fastest neuron has grown to order one: on the way there
    the growth is linear, so the time goes with −log of the scale."""
    halved = {}
    for scale in (1e-10, 1e-20):
        init = jaxflow.Initialisation(second_layer="balanced", scale=scale)
        drawn = draw(init, inputs=inputs, n=6, d=8, p=5)
        for dtype in (np.float32, np.float64):
            data, network = jax.tree.map(lambda leaf, t=dtype: leaf.astype(t), drawn)
            level = 0.7 * jaxflow.loss(data, network)
            run = jaxflow.simulate(
                data,
                network,
                jaxflow.GradientFlow(1e-5),
                times=[2000.0],
                stop=jaxflow.LossBelow(level),
                observe={},
            )
            assert "fell below" in run.message, run.message
            halved[scale, dtype] = float(run.final_time)
    for scale in (1e-10, 1e-20):
        both = halved[scale, np.float32], halved[scale, np.float64]
        assert_allclose(*both, rtol=1e-4)
    ratio = halved[1e-20, np.float64] / halved[1e-10, np.float64]
    assert 1.7 < ratio < 2.05
