"""The flow on orthogonal and antipodal inputs has no scale of its own: small starts,
the end of a run, and the two scalings that map solutions to solutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jaxflow
from jaxflow import theory

ORTHOGONAL = jaxflow.OrthogonalInputs([1.0])
ANTIPODAL = jaxflow.AntipodalInputs([1.0], [1.0])
DENSE = jaxflow.DenseInputs([[1.0]])


def _half_time(start):
    """When L = L(0)/2 for n = d = p = 1, x = y = 1, w = a = start: u = a² solves
    u' = 2 u (1 − u)."""
    end = 1 - (1 - start**2) / np.sqrt(2)
    return 0.5 * (np.log(end / (1 - end)) - 2 * np.log(start) + np.log1p(-(start**2)))


@pytest.mark.parametrize(
    ("rtol", "dtype", "accuracy"),
    [
        (1e-6, "float64", 1e-6),
        pytest.param(1e-9, "float64", 1e-8, marks=pytest.mark.slow),
        pytest.param(1e-6, "float32", 1e-5, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    ("inputs", "method"),
    [
        (ORTHOGONAL, jaxflow.RungeKuttaFlow),
        pytest.param(ANTIPODAL, jaxflow.RungeKuttaFlow, marks=pytest.mark.slow),
        pytest.param(DENSE, jaxflow.LiteralFlow, marks=pytest.mark.slow),
    ],
    ids=["orthogonal", "antipodal", "literal"],
)
def test_leaves_the_saddle_in_time(inputs, method, rtol, dtype, accuracy):
    n = inputs.num_examples
    inputs = jax.tree.map(lambda leaf: leaf.astype(dtype), inputs)
    data = jaxflow.Dataset(inputs, np.array([1.0, 0.0][:n], dtype))
    for start in (1e-2, 1e-8, 1e-20):
        network = jaxflow.Network(
            np.full((1, 1), start, dtype), np.full(1, start, dtype)
        )
        right = n * _half_time(start)
        level = jaxflow.loss(data, network) / 2
        for times in ([3 * right], np.linspace(0, 3 * right, 23)):
            run = jaxflow.simulate(
                data,
                network,
                method(rtol),
                times=np.asarray(times, dtype),
                stop=jaxflow.LossBelow(level),
                observe={},
            )
            assert run.result == jaxflow.Results.loss_below
            assert_allclose(run.final_time, right, rtol=accuracy)


def _end_of_a_run(key, rtol, dtype, multiples, **sizes):
    data, network = jaxflow.sample_problem(jax.random.key(key), dtype=dtype, **sizes)
    end = theory.time_scale(data.num_examples, network.width)
    run = jaxflow.simulate(
        data,
        network,
        jaxflow.RungeKuttaFlow(rtol),
        times=np.asarray(multiples * float(end), dtype),
        observe={},
    )
    return data, run


@pytest.mark.parametrize(
    ("sizes", "tolerances"),
    [
        pytest.param({"n": 100, "d": 200}, (1e-4, 1e-6, 1e-8), marks=pytest.mark.slow),
        pytest.param(
            {"n": 1000, "d": 2000},
            (1e-4, 1e-5, 1e-6, 1e-7, 1e-8),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["n=100", "n=1000"],
)
def test_the_curvature_is_right_to_the_end(sizes, tolerances):
    """The scheme that is bound by stability would report its own noise: 2 λ_max."""
    multiples = np.arange(1, 41) / 2
    for key in (11, 12):
        data, fine = _end_of_a_run(key, 1e-10, "float64", multiples, **sizes)
        limit = float(theory.limiting_curvature(data, fine.final))
        for rtol in tolerances:
            _, run = _end_of_a_run(key, rtol, "float64", multiples, **sizes)
            assert run.result == jaxflow.Results.exhausted
            shown = np.isfinite(run.loss) & np.isfinite(fine.loss)
            assert np.min(np.asarray(fine.loss)[shown]) < 1e-24
            assert_allclose(run.loss[shown], fine.loss[shown], rtol=1e-2)
            assert_allclose(run.curvature[shown], fine.curvature[shown], rtol=1e-2)
            late = shown & (multiples >= 8)
            assert_allclose(run.curvature[late], limit, rtol=1e-2)
            assert_array_equal(np.isnan(run.curvature), np.isnan(run.average_curvature))
            assert int(run.stats["loss_increases"]) == 0


@pytest.mark.slow
def test_the_end_in_float32():
    data, network = jaxflow.sample_problem(jax.random.key(11), n=1000, d=2000)
    end = float(theory.time_scale(1000, network.width))
    times = end * np.array([1.0, 1.5, 2.0, 20.0])
    right = jaxflow.simulate(
        data, network, jaxflow.RungeKuttaFlow(1e-9), times=times, observe={}
    )
    data, network = jax.tree.map(lambda x: x.astype("float32"), (data, network))
    for rtol in (1e-4, 1e-5):
        run = jaxflow.simulate(
            data, network, jaxflow.RungeKuttaFlow(rtol), times=times, observe={}
        )
        assert run.loss.dtype == jnp.float32
        assert_allclose(run.loss[:3], right.loss[:3], rtol=1e-2)
        assert_allclose(run.curvature[:3], right.curvature[:3], rtol=1e-2)
        assert run.result == jaxflow.Results.exhausted
        assert np.isnan(run.curvature[3])


@pytest.mark.slow
def test_descent_is_exhausted_too_and_never_shows_noise():
    data, network = jaxflow.sample_problem(jax.random.key(0), n=20, d=40)
    times = np.array([1.0, 500.0, 2000.0, 4000.0])
    run = jaxflow.simulate(data, network, jaxflow.GradientDescent(1.0), times=times)
    assert run.result == jaxflow.Results.exhausted
    limit = float(theory.limiting_curvature(data, run.final))
    shown = np.isfinite(run.curvature)
    assert shown[0] and not shown[-1]
    assert_allclose(run.curvature[shown][-1], limit, rtol=0.5)


@pytest.mark.parametrize("power", [pytest.param(-20, marks=pytest.mark.slow), 20])
def test_two_exact_symmetries(power):
    """(w, a, y, t) → (s w, s a, s² y, t/s²) and (x, y, t) → (s x, s y, t/s²): the same
    steps, and for s a power of two the same bits."""
    data, network = jaxflow.sample_problem(jax.random.key(2), n=30, d=40)
    norms, y = data.reduced.norms, data.targets
    w = jax.random.normal(jax.random.key(3), (network.width, 30))
    w *= jnp.linalg.norm(network.w, axis=1, keepdims=True) / jnp.sqrt(30)
    a, times = network.a, np.linspace(0, 60, 7)
    s = 2.0**power

    def run(x_scale, y_scale, w_scale, t_scale):
        inputs = jaxflow.OrthogonalInputs(x_scale * norms)
        return jaxflow.simulate(
            jaxflow.Dataset(inputs, y_scale * y),
            jaxflow.Network(w_scale * w, w_scale * a),
            jaxflow.RungeKuttaFlow(1e-6),
            times=t_scale * times,
            observe={},
        )

    plain = run(1, 1, 1, 1)
    weights, inputs = run(1, s**2, s, s**-2), run(s, s, 1, s**-2)
    for scaled, of_loss, of_weights in ((weights, s**4, s), (inputs, s**2, 1)):
        assert int(scaled.stats["steps"]) == int(plain.stats["steps"])
        assert_array_equal(scaled.loss, of_loss * plain.loss)
        assert_array_equal(scaled.final.w, of_weights * plain.final.w)
        assert_array_equal(scaled.final.a, of_weights * plain.final.a)


@pytest.mark.parametrize(
    "method",
    [
        jaxflow.RungeKuttaFlow(),
        jaxflow.GradientDescent(0.1),
        pytest.param(jaxflow.EventFlow(), marks=pytest.mark.slow),
        pytest.param(jaxflow.FilippovFlow(), marks=pytest.mark.slow),
    ],
    ids=lambda method: type(method).__name__,
)
def test_ends_at_which_nothing_moves_have_codes_of_their_own(method):
    inputs = jaxflow.OrthogonalInputs([1.0, 2.0])
    y = [1.0, -1.0]
    cases = [
        # The second example is never active, the first is fitted.
        ([[1.0, -1.0]], [1.0], jaxflow.Results.stationary),
        ([[-1.0, -1.0], [-2.0, -0.5]], [1.0, -2.0], jaxflow.Results.dead),
        ([[0.0, 0.0]], [0.0], jaxflow.Results.at_origin),
    ]
    for w, a, result in cases:
        run = jaxflow.simulate(
            jaxflow.Dataset(inputs, y),
            jaxflow.Network(w, a),
            method,
            times=[0.0, 300.0, 1000.0],
            observe={},
        )
        assert run.result == result
        assert float(run.final_time) == 1000.0
        assert np.all(np.isfinite(run.loss)) and float(run.loss[-1]) > 0.2
        assert_allclose(run.loss[-1], run.loss[1], rtol=1e-9)
        assert int(run.stats["steps"]) < 20_000
