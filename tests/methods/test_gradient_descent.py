"""Gradient descent is the textbook update, with optax's transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

import jaxflow
from tests import problems, reference


@pytest.mark.parametrize("geometry", ["dense", "gram", "orthogonal", "antipodal"])
def test_is_the_textbook_update_after_1000_steps(geometry):
    x, y, w, a = problems.without_kinks(seed=2)
    if geometry == "orthogonal":
        _, x = problems.orthogonal_array(12, 30)
    if geometry == "antipodal":
        *_, x = problems.antipodal_array(6, 30)
    data = jaxflow.Dataset(jaxflow.DenseInputs(x) if geometry == "dense" else x, y)
    assert data.geometry == geometry
    network = jaxflow.Network(w, a)
    run = jaxflow.simulate(
        data, network, jaxflow.GradientDescent(0.1), times=[50.0, 100.0]
    )
    w_end, a_end = reference.descent(x, y, w, a, 0.1, 1000)
    assert_allclose(run.final.w, w_end, atol=1e-11)
    assert_allclose(run.final.a, a_end, atol=1e-11)
    assert_allclose(run.loss[1], reference.loss(x, y, w_end, a_end), rtol=1e-8)
    assert int(run.stats["steps"]) == 1000


def test_adam_keeps_the_coordinates_of_the_network():
    x, y, w, a = problems.without_kinks()
    data, network = jaxflow.Dataset(x, y), jaxflow.Network(w, a)
    assert data.geometry == "gram"
    # optax mixes dtypes itself.
    with jax.numpy_dtype_promotion("standard"):
        method = jaxflow.GradientDescent(1.0, optax.adam(1e-2))
        run = jaxflow.simulate(data, network, method, times=[50.0])
        optimizer = optax.adam(1e-2)
        theta = (jnp.asarray(w), jnp.asarray(a))
        memory = optimizer.init(theta)
        for _ in range(50):
            velocity = reference.velocity(x, y, *map(np.asarray, theta))
            gradient = jax.tree.map(lambda v: -jnp.asarray(v), velocity)
            updates, memory = optimizer.update(gradient, memory, theta)
            theta = optax.apply_updates(theta, updates)
    assert_allclose(run.final.w, theta[0], atol=1e-10)
    assert_allclose(run.final.a, theta[1], atol=1e-10)


@pytest.mark.slow
def test_times_are_rounded_to_steps():
    data, network = problems.small_orthogonal(jax.random.key(0))
    run = jaxflow.simulate(
        data, network, jaxflow.GradientDescent(0.5), times=[0.0, 1.1, 2.0]
    )
    assert_allclose(run.times, [0.0, 1.0, 2.0])
    assert_allclose(run.loss[0], jaxflow.loss(data, network))


@pytest.mark.parametrize(
    "method",
    [
        jaxflow.GradientDescent(1.0),
        pytest.param(jaxflow.GradientFlow(), marks=pytest.mark.slow),
    ],
)
def test_a_loss_that_overflows_is_reported(method):
    data, network = problems.small_orthogonal(jax.random.key(0))
    huge = jaxflow.Network(1e160 * network.w, 1e160 * network.a)
    run = jaxflow.simulate(data, huge, method, times=[1.0, 2.0])
    assert run.message.startswith("The loss became infinite or NaN")
    assert np.isnan(run.loss[-1])


@pytest.mark.slow
def test_what_happens_on_the_last_step_is_seen():
    data, network = jaxflow.Dataset(np.eye(1), [1.0]), jaxflow.Network([[1.0]], [0.1])
    run = jaxflow.simulate(data, network, jaxflow.GradientDescent(1e200), times=[1e200])
    assert run.message.startswith("The loss became infinite or NaN")
    data, network = problems.small_orthogonal(jax.random.key(0))
    free = jaxflow.simulate(data, network, jaxflow.GradientDescent(1.0), times=[9.0])
    run = jaxflow.simulate(
        data,
        network,
        jaxflow.GradientDescent(1.0),
        times=[9.0],
        stop=jaxflow.LossBelow(float(free.loss[0])),
    )
    assert float(run.final_time) == 9.0
    assert run.result == jaxflow.Results.loss_below


@pytest.mark.parametrize("make", [optax.sgd, optax.rmsprop, optax.lion])
def test_optax_transformations_are_accepted(make):
    data, network = problems.small_orthogonal(jax.random.key(0))
    with jax.numpy_dtype_promotion("standard"):
        method = jaxflow.GradientDescent(1.0, make(1e-3))
        run = jaxflow.simulate(data, network, method, times=[100.0])
    assert float(run.loss[0]) < float(jaxflow.loss(data, network))


def test_steps_that_raise_the_loss_are_counted():
    data, network = problems.small_orthogonal(jax.random.key(0))
    for rate, rises in ((30.0, True), (0.5, False)):
        run = jaxflow.simulate(
            data, network, jaxflow.GradientDescent(rate), times=[100 * rate]
        )
        assert (int(run.stats["loss_increases"]) > 0) == rises


def test_stops_at_the_first_step_below_the_level():
    data, network = problems.small_orthogonal(jax.random.key(0))
    times = np.arange(0.0, 200.0)
    free = jaxflow.simulate(data, network, jaxflow.GradientDescent(1.0), times=times)
    level = 0.3 * float(free.loss[0])
    first = int(np.argmax(np.asarray(free.loss) <= level))
    run = jaxflow.simulate(
        data,
        network,
        jaxflow.GradientDescent(1.0),
        times=times,
        stop=jaxflow.LossBelow(level),
    )
    assert float(run.final_time) == first
    assert_allclose(run.loss[: first + 1], free.loss[: first + 1])
    assert np.all(np.isnan(run.loss[first + 1 :]))
    assert np.all(np.asarray(run.observables["active_pairs"])[first + 1 :] == -1)
    assert float(run.final_loss) == float(jaxflow.loss(data, run.final))
