"""What the flow conserves, and what it cannot see."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxflow
from tests import problems

TIMES = np.array([1.0, 10.0, 50.0, 200.0])

# Adaptive steps follow an error estimate, which is a small difference: rounding changes
# them in their fifth digit. Constant ones show what rounding does to the flow itself.
CONSTANT_STEPS = jaxflow.RungeKuttaFlow(
    controller=diffrax.ConstantStepSize(), first_step=0.25
)
METHODS = {"flow": CONSTANT_STEPS, "descent": jaxflow.GradientDescent(1.0)}


def test_balance_is_conserved_and_the_loss_never_rises():
    data, network = problems.small_orthogonal(jax.random.key(0), n=200, p=30)
    assert network.squared_norm is not None
    before = network.a**2 - network.squared_norm
    method = jaxflow.GradientFlow(rtol=1e-9)
    for end in (3.0, 10.0, 200.0):
        run = jaxflow.simulate(data, network, method, times=[0.5 * end, end])
        squares, norms = run.final.a**2, run.final.squared_norm
        assert norms is not None
        drift = jnp.max(jnp.abs(squares - norms - before) / (squares + norms))
        assert_allclose(drift, run.stats["balance_drift"], rtol=1e-4)
        assert float(drift) < 1e-8
        # Between two steps the weights are interpolated.
        assert float(run.observables["balance_drift"][0]) < 1e-6
        assert int(run.stats["loss_increases"]) == 0
    assert int(run.stats["kink_crossings"]) > 1000


def test_euler_drifts_at_first_order():
    data, network = problems.small_orthogonal(jax.random.key(0))
    drifts = [
        float(
            jaxflow.simulate(
                data, network, jaxflow.GradientDescent(rate), times=[20.0]
            ).stats["balance_drift"]
        )
        for rate in (0.4, 0.2, 0.1)
    ]
    assert drifts[0] / drifts[1] == pytest.approx(2, rel=0.15)
    assert drifts[1] / drifts[2] == pytest.approx(2, rel=0.15)


def test_a_drift_of_weights_that_are_nan_is_nan():
    data = jaxflow.Dataset(np.eye(2), [1.0, 2.0])
    network = jaxflow.Network(np.ones((2, 2)), np.ones(2))
    run = jaxflow.simulate(
        data, network, jaxflow.GradientDescent(1e200), times=[2e200], observe={}
    )
    assert run.result == jaxflow.Results.diverged
    assert np.isnan(run.stats["balance_drift"])
    # A neuron at the origin has none, beside one that moves.
    network = jaxflow.Network(np.diag([0.0, 1.0]), np.array([0.0, 1.0]))
    run = jaxflow.simulate(
        data, network, jaxflow.GradientDescent(0.5), times=[0.5], observe={}
    )
    w, a = run.final.w[1], run.final.a[1]
    expected = abs(a**2 - w @ w) / (a**2 + w @ w)
    assert_allclose(run.stats["balance_drift"], expected, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_permuting_neurons_changes_nothing(name):
    data, network = problems.small_orthogonal(jax.random.key(1))
    method = METHODS[name]
    order = np.random.default_rng(0).permutation(network.width)
    shuffled = jaxflow.Network(
        network.w[order], network.a[order], network.squared_norm[order]
    )
    one = jaxflow.simulate(data, network, method, times=TIMES)
    two = jaxflow.simulate(data, shuffled, method, times=TIMES)
    assert_allclose(one.loss[:3], two.loss[:3], rtol=1e-10)
    assert_allclose(one.loss[3], two.loss[3], atol=1e-12)
    assert_allclose(one.final.w[order], two.final.w, atol=1e-11)


@pytest.mark.parametrize(
    "kind",
    [
        "dense",
        pytest.param("orthogonal", marks=pytest.mark.slow),
        pytest.param("antipodal", marks=pytest.mark.slow),
    ],
)
def test_rotating_the_inputs_changes_nothing(kind):
    rng = np.random.default_rng(2)
    d, p = 9, 4
    x = {
        "dense": rng.normal(size=(20, d)),
        "orthogonal": problems.orthogonal_array(8, d)[1],
        "antipodal": problems.antipodal_array(8, d)[2],
    }[kind]
    y = rng.choice([-1.0, 1.0], len(x)) * rng.uniform(1, 2, len(x))
    w, a = rng.normal(size=(p, d)) / 3, rng.choice([-1.5, 1.5], p)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    method = jaxflow.GradientDescent(0.1) if kind == "dense" else CONSTANT_STEPS
    one = jaxflow.simulate(
        jaxflow.Dataset(x, y), jaxflow.Network(w, a), method, times=[1.0, 5.0]
    )
    two = jaxflow.simulate(
        jaxflow.Dataset(x @ turn, y),
        jaxflow.Network(w @ turn, a),
        method,
        times=[1.0, 5.0],
    )
    assert jaxflow.Dataset(x @ turn, y).geometry == kind
    assert_allclose(one.loss, two.loss, rtol=1e-9)
    assert_allclose(one.final.w @ turn, two.final.w, atol=1e-9)


@pytest.mark.slow
def test_scaling_out_the_width_leaves_the_function():
    # w/√p, a/√p turns the flow into plain −∇L for a network without 1/p: doubling
    # every neuron changes neither the function nor its flow.
    data, network = problems.small_orthogonal(jax.random.key(3))
    twice = jaxflow.Network(
        jnp.concatenate([network.w] * 2),
        jnp.concatenate([network.a] * 2),
        jnp.concatenate([network.squared_norm] * 2),
    )
    one = jaxflow.simulate(data, network, CONSTANT_STEPS, times=TIMES)
    two = jaxflow.simulate(data, twice, CONSTANT_STEPS, times=TIMES)
    assert_allclose(one.loss[:3], two.loss[:3], rtol=1e-10)
    assert_allclose(one.loss[3], two.loss[3], atol=1e-12)
