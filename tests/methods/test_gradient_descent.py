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


def _by_hand(optimizer, x, y, theta, steps):
    """A loop over an optimiser that is told p L, without jaxflow."""

    def value_of(theta):
        w, a = theta
        h = jnp.maximum(w @ x.T, 0).T @ a / len(a)
        return 0.5 * len(a) * jnp.mean((y - h) ** 2)

    memory = optimizer.init(theta)
    for _ in range(steps):
        value, gradient = jax.value_and_grad(value_of)(theta)
        updates, memory = optimizer.update(
            gradient, memory, theta, value=value, grad=gradient, value_fn=value_of
        )
        theta = optax.apply_updates(theta, updates)
    return theta


TOLD = {
    "reduce_on_plateau": lambda: optax.chain(
        optax.sgd(8.0), optax.contrib.reduce_on_plateau(patience=1, rtol=0.1)
    ),
    "polyak": lambda: optax.polyak_sgd(),
    "lbfgs": lambda: optax.lbfgs(),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param("reduce_on_plateau", float, marks=pytest.mark.slow),
        pytest.param("reduce_on_plateau", np.float32, marks=pytest.mark.slow),
        pytest.param("polyak", float, marks=pytest.mark.slow),
        pytest.param("lbfgs", float, marks=pytest.mark.slow),
        pytest.param("lbfgs", np.float32, marks=pytest.mark.slow),
    ],
)
def test_optimisers_that_are_told_the_value(name, dtype):
    x, y, w, a = (part.astype(dtype) for part in problems.without_kinks())
    steps = 12
    with jax.numpy_dtype_promotion("standard"):
        method = jaxflow.GradientDescent(TOLD[name]())
        run = jaxflow.simulate(
            jaxflow.Dataset(x, y),
            jaxflow.Network(w, a),
            method,
            times=[0.0, steps],
            observe={},
        )
        start = (jnp.asarray(w), jnp.asarray(a))
        w_end, a_end = _by_hand(TOLD[name](), x, y, start, steps)
    assert int(run.stats["steps"]) == steps
    assert run.loss[1] < run.loss[0]
    accuracy = 1e-9 if dtype is float else 2e-3
    assert_allclose(run.final.w, w_end, rtol=accuracy, atol=accuracy)
    assert_allclose(run.final.a, a_end, rtol=accuracy, atol=accuracy)
    assert run.final.w.dtype == dtype


@pytest.mark.slow
def test_a_schedule_of_learning_rates():
    """By optax.sgd, whose first step of rate 1 is one of descent's."""
    x, y, w, a = problems.without_kinks()
    data, network = jaxflow.Dataset(x, y), jaxflow.Network(w, a)
    with jax.numpy_dtype_promotion("standard"):
        method = jaxflow.GradientDescent(optax.sgd(lambda count: 0.2 / (1 + count)))
        run = jaxflow.simulate(data, network, method, times=[2.0], observe={})
    for rate in (0.2, 0.1):
        dw, da = reference.velocity(x, y, w, a)
        w, a = w + rate * dw, a + rate * da
    assert_allclose(run.final.w, w, atol=1e-13)
    assert_allclose(run.final.a, a, atol=1e-13)


def test_what_an_optimiser_cannot_be_told():
    x, y, w, a = problems.without_kinks()
    gram = jaxflow.Dataset(jaxflow.GramInputs(x @ x.T), y)
    projected = jaxflow.Network(w @ x.T, a)

    def update(updates, state, params=None, *, hessian, **rest):
        return updates, state

    odd = optax.GradientTransformationExtraArgs(lambda params: (), update)
    for optimizer, message in (
        (optax.lbfgs(), "line.*GramInputs.*Dataset"),
        (odd, "value, grad and value_fn.*hessian"),
    ):
        method = jaxflow.GradientDescent(optimizer)
        with (
            jax.numpy_dtype_promotion("standard"),
            pytest.raises(ValueError, match=message),
        ):
            jaxflow.simulate(gram, projected, method, times=[1.0], observe={})


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
