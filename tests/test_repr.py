"""What objects print."""

import diffrax
import jax
import jax.numpy as jnp
import optax
import pytest

import jaxflow

from .problems import without_kinks


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (jaxflow.GradientFlow(rtol=1e-5), "GradientFlow(rtol=1e-05)"),
        (jaxflow.GradientFlow(), "GradientFlow(rtol=1e-06)"),
        (jaxflow.GradientFlow(jnp.float32(1e-5)), "GradientFlow(rtol=1e-05)"),
        (jaxflow.EventFlow(1e-7, max_steps=3), "EventFlow(rtol=1e-07, max_steps=3)"),
        (
            jaxflow.FilippovFlow(first_step=0.5),
            "FilippovFlow(tolerance=0.0001, first_step=0.5)",
        ),
        (
            jaxflow.RungeKuttaFlow(solver=diffrax.Tsit5()),
            "RungeKuttaFlow(rtol=1e-06, solver=Tsit5())",
        ),
        (
            jaxflow.GradientDescent(0.1, optax.adam(1e-2), count_crossings=False),
            "GradientDescent(learning_rate=0.1, optimizer=<optax transformation>, "
            "count_crossings=False)",
        ),
        (jaxflow.LossBelow(), "LossBelow()"),
        (jaxflow.LossFallen(1e-6), "LossFallen(to=1e-06)"),
        (jaxflow.Stationary(1e-3), "Stationary(tolerance=0.001)"),
    ],
)
def test_settings_print_as_the_call_that_makes_them(value, text):
    assert repr(value) == text


def test_a_traced_setting_prints_its_shape():
    seen = []
    jax.jit(lambda rate: seen.append(repr(jaxflow.GradientDescent(rate))))(0.5)
    assert seen == ["GradientDescent(learning_rate=weak_f64[])"]


def test_a_solution_prints_its_outcome_first():
    x, y, w, a = without_kinks()
    data, network = jaxflow.Dataset(x, y), jaxflow.Network(w, a)
    method, times = jaxflow.GradientDescent(0.5), [0.0, 1.0]
    sol = jaxflow.simulate(data, network, method, times=times, observe={}, stop=None)
    first, second = repr(sol).splitlines()[1:3]
    assert first == "  message='The run reached the last requested time.',"
    assert second == "  final_time=1.0,"
    told = repr(sol.stats)
    assert told.startswith("{'velocity_evaluations': 3, 'steps': 2, ")
    assert eval(told) == {name: value.item() for name, value in sol.stats.items()}
    # A dictionary as before, through the transformations too.
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), sol)
    assert batch.stats["steps"].shape == (2,)
    assert repr(batch).splitlines()[1] == "  result=[0, 0],"
    doubled = jax.tree.map(lambda leaf: 2 * leaf, sol.stats)
    assert doubled["steps"] == 4 and list(doubled) == list(sol.stats)
