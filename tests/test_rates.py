"""One layer at a time: w and a trained at rates of their own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import jaxflow
from jaxflow import theory

from . import reference
from .problems import correlated, without_kinks
from .test_leaky_relu import distance, given, of_kind

KINDS = ("dense", "gram", "orthogonal", "antipodal")
RATES = ((1.0, 0.0), (0.0, 1.0), (0.4, 2.5), (3.0, 0.0))


def methods(kind):
    found: list[Any] = [jaxflow.EventFlow(1e-9), jaxflow.FilippovFlow(1e-6)]
    if kind in ("orthogonal", "antipodal"):
        found.append(jaxflow.RungeKuttaFlow(1e-9))
    return [*found, jaxflow.LiteralFlow(1e-9)]


def reference_flow(x, y, w, a, rates, end, slope=0):
    """(w, a) by DOP853, where no pair comes to its kink."""

    def field(_, state):
        dw, da = reference.velocity(
            x, y, state[: w.size].reshape(w.shape), state[w.size :], slope
        )
        return np.concatenate([rates[0] * dw.ravel(), rates[1] * da])

    solution = solve_ivp(
        field,
        (0, end),
        np.concatenate([w.ravel(), a]),
        method="DOP853",
        rtol=1e-11,
        atol=1e-13,
    )
    state = solution.y[:, -1]
    return state[: w.size].reshape(w.shape), state[w.size :]


@pytest.mark.parametrize(
    "rates",
    ((0, 0), (-1, 1), (1, np.nan), (np.inf, 1), (1.0,), 1.0, (1, 2, 3), None, "wa"),
)
def test_other_rates_are_refused(rates):
    problem = given(*of_kind("dense"))
    with pytest.raises(ValueError, match="rates"):
        jaxflow.simulate(*problem, jaxflow.GradientDescent(), times=[1.0], rates=rates)


def test_an_optimizer_is_refused():
    import optax

    problem = given(*of_kind("dense"))
    method = jaxflow.GradientDescent(optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"optax\.multi_transform"):
        jaxflow.simulate(*problem, method, times=[1.0], rates=(1.0, 0.0))


@pytest.mark.slow
@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("slope", (0, 0.2))
def test_descent_is_that_of_numpy(rates, slope):
    for kind in KINDS:
        x, y, w, a = of_kind(kind)
        w_end, a_end = w, a
        for _ in range(100):
            dw, da = reference.velocity(x, y, w_end, a_end, slope)
            w_end = w_end + 0.05 * rates[0] * dw
            a_end = a_end + 0.05 * rates[1] * da
        sol = jaxflow.simulate(
            *given(x, y, w, a, slope),
            jaxflow.GradientDescent(0.05),
            times=[5.0],
            rates=rates,
        )
        assert distance(sol.final, w_end, a_end) < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("rates", RATES)
def test_without_kinks_it_is_dop853(rates):
    x, y, w, a = without_kinks()
    w_end, a_end = reference_flow(x, y, w, a, rates, 0.5)
    for method in methods("gram"):
        sol = jaxflow.simulate(*given(x, y, w, a, 0), method, times=[0.5], rates=rates)
        error = 1e-3 if isinstance(method, jaxflow.FilippovFlow) else 1e-7
        assert distance(sol.final, w_end, a_end) < error


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_positive_rates_are_the_flow_of_scaled_weights(kind):
    """w = c ŵ and a = â/c, kinks and slides included."""
    rates = (0.5, 3.0)
    c, pace = (rates[0] / rates[1]) ** 0.25, (rates[0] * rates[1]) ** 0.5
    x, y, w, a = of_kind(kind)
    plain = jaxflow.simulate(
        *given(x, y, w / c, a * c, 0),
        jaxflow.EventFlow(1e-10),
        times=[0.0, 3.0 * pace, 6.0 * pace],
    )
    for method in methods(kind)[:-1]:
        sol = jaxflow.simulate(
            *given(x, y, w, a, 0), method, times=[0.0, 3.0, 6.0], rates=rates
        )
        error = 1e-7 if isinstance(method, jaxflow.EventFlow) else 3e-3
        assert distance(sol.final, plain.final.w * c, plain.final.a / c) < error
        np.testing.assert_allclose(sol.loss, plain.loss, rtol=10 * error)
        assert sol.stats["balance_drift"] < error
        if isinstance(method, jaxflow.EventFlow):
            curvature = plain.curvature * pace
            np.testing.assert_allclose(sol.curvature, curvature, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", (np.float64, np.float32))
def test_a_alone_is_a_linear_equation(kind, dtype):
    """a' = Φᵀ(y − Φa/p)/n with the fixed features Φ = (z)_+."""
    x, y, w, a = of_kind(kind)
    p, n, end = len(a), len(y), 7.0
    features = np.maximum(w @ x.T, 0)
    matrix = features @ features.T / (n * p)
    at_rest = np.linalg.lstsq(matrix, features @ y / n, rcond=None)[0]
    a_end = at_rest + expm(-2 * end * matrix) @ (a - at_rest)
    problem = given(x, y, w, a, 0, dtype)
    single = dtype == np.float32
    for method in (jaxflow.GradientFlow(1e-5), *methods(kind)):
        if single and not isinstance(method, jaxflow.GradientFlow):
            continue
        sol = jaxflow.simulate(*problem, method, times=[end], rates=(0.0, 2.0))
        np.testing.assert_array_equal(sol.final.w, w.astype(dtype))
        assert sol.final.a.dtype == dtype
        loose = single or isinstance(method, jaxflow.FilippovFlow)
        assert distance(sol.final, w, a_end) < (1e-3 if loose else 1e-4)
        assert np.isnan(sol.stats["balance_drift"])


@pytest.mark.slow
def test_w_alone_with_one_neuron_and_one_example():
    """w' = a r x while w x > 0: r decays at the rate a² x²."""
    for rate in (1.0, 2.0):
        data, network = given([[2.0]], [3.0], [[0.1]], [0.7], 0)
        start = 3.0 - 0.7 * 0.2
        times = np.array([0.0, 0.3, 1.0])
        for method, error in (
            (jaxflow.EventFlow(1e-9), 1e-8),
            (jaxflow.FilippovFlow(1e-6), 1e-3),
        ):
            sol = jaxflow.simulate(
                data, network, method, times=times, rates=(rate, 0.0)
            )
            r = start * np.exp(-rate * 0.49 * 4 * times)
            np.testing.assert_allclose(sol.loss, r**2 / 2, rtol=error)
            np.testing.assert_allclose(sol.curvature, 2 * rate * 0.49 * 4, rtol=error)
            np.testing.assert_array_equal(sol.final.a, [0.7])


@pytest.mark.slow
def test_w_alone_through_kinks_is_the_limit_of_descent():
    x, y, w, a = correlated(n=12, d=4, p=3, seed=1)
    w_end, rate = w, 1e-4
    for _ in range(round(4.0 / rate)):
        w_end = w_end + rate * reference.velocity(x, y, w_end, a)[0]
    for method in (jaxflow.EventFlow(1e-9), jaxflow.FilippovFlow(1e-5)):
        sol = jaxflow.simulate(
            *given(x, y, w, a, 0), method, times=[4.0], rates=(1.0, 0.0)
        )
        assert sol.stats["kink_crossings"] > 0
        assert distance(sol.final, w_end, a) < 3e-3


@pytest.mark.slow
@pytest.mark.parametrize("rates", ((0.5, 3.0), (2.0, 0.0), (0.0, 2.0)))
@pytest.mark.parametrize("kind", ("dense", "antipodal"))
def test_what_is_recorded_is_of_that_flow(kind, rates):
    x, y, w, a = of_kind(kind)
    data, network = given(x, y, w, a, 0)
    observe = {
        **jaxflow.OBSERVABLES,
        "kernel": lambda s: s.tangent_kernel.largest,
        "rate_of_r": lambda s: s.tangent_kernel.times(s.residuals),
        "residuals": lambda s: s.residuals,
        "sharpness": jaxflow.sharpness,
        "balance": theory.balance,
    }
    h, end = 1e-4, 2.0
    times = [0.0, end - h, end, end + h]
    sol = jaxflow.simulate(
        data,
        network,
        jaxflow.EventFlow(1e-10),
        times=times,
        observe=observe,
        rates=rates,
    )
    seen = sol.observables
    slope = -np.log(sol.loss[3] / sol.loss[1]) / (2 * h)
    np.testing.assert_allclose(sol.curvature[2], slope, rtol=1e-5)
    change = (seen["residuals"][3] - seen["residuals"][1]) / (2 * h)
    np.testing.assert_allclose(-seen["rate_of_r"][2], change, atol=1e-5)
    assert np.all(seen["lower_bound"] <= sol.curvature)
    assert np.all(sol.curvature <= seen["upper_bound"])
    if 0 in rates:
        assert np.all(np.isnan(seen["balance"]))
        assert np.all(np.isnan(seen["balance_drift"]))
    else:
        start = a**2 / rates[1] - np.sum(w**2, axis=1) / rates[0]
        np.testing.assert_allclose(seen["balance"], np.tile(start, (4, 1)), atol=1e-7)

    def p_loss(parameters):
        w_now, a_now = parameters[: w.size].reshape(w.shape), parameters[w.size :]
        h = a_now @ jax.nn.relu(w_now @ x.T) / len(a)
        return len(a) * jnp.mean((y - h) ** 2) / 2

    roots = np.sqrt(np.repeat(rates, [w.size, a.size]))
    hessian = jax.hessian(p_loss)(jnp.concatenate([w.ravel(), a]))
    largest = np.linalg.eigvalsh(roots[:, None] * hessian * roots[None, :])[-1]
    np.testing.assert_allclose(seen["sharpness"][0], largest, rtol=1e-5)


@pytest.mark.slow
def test_what_holds_at_rates_1_is_refused_elsewhere():
    problem = given(*of_kind("orthogonal"), 0)
    for statement in (theory.curvature_floor, theory.extinction_time):
        with pytest.raises(ValueError, match="other rates"):
            jaxflow.simulate(
                *problem,
                jaxflow.GradientDescent(),
                times=[0.0],
                observe={"s": statement},
                rates=(1.0, 0.5),
            )


@pytest.mark.slow
def test_rates_of_1_change_no_bit_and_traced_ones_no_number():
    problem = given(*of_kind("dense"), 0)
    method, times = jaxflow.GradientDescent(0.1), [0.0, 5.0]
    plain = jaxflow.simulate(*problem, method, times=times)
    same = jaxflow.simulate(*problem, method, times=times, rates=(1, 1.0))
    np.testing.assert_array_equal(plain.final.w, same.final.w)

    def final_loss(rates):
        sol = jaxflow.simulate(*problem, method, times=times, rates=rates)
        return sol.final_loss, sol.result._value

    both = jnp.array([[1.0, 1.0], [1.0, 0.0], [-1.0, 1.0]])
    found, code = jax.jit(jax.vmap(final_loss))(both)
    np.testing.assert_allclose(found[0], plain.final_loss, rtol=1e-12)
    alone, _ = final_loss((1.0, 0.0))
    np.testing.assert_allclose(found[1], alone, rtol=1e-12)
    assert np.isnan(found[2])
    assert code[2] == jaxflow.Results.bad_times._value


@pytest.mark.slow
def test_a_frozen_network_that_cannot_move_is_at_rest():
    """w alone with a = 0."""
    x, y, w, a = of_kind("dense")
    problem = given(x, y, w, 0 * a, 0)
    for method in (jaxflow.EventFlow(1e-8), jaxflow.FilippovFlow(1e-4)):
        sol = jaxflow.simulate(*problem, method, times=[9.0], rates=(1.0, 0.0))
        assert sol.result == jaxflow.Results.stationary
        np.testing.assert_array_equal(sol.final.w, w)


@pytest.mark.slow
def test_an_ensemble_runs_what_simulate_runs(tmp_path):
    key, times, rates = jax.random.key(4), [0.0, 2.0, 6.0], (1.0, 0.0)
    methods = {
        "descent": jaxflow.GradientDescent(0.2),
        "flow": jaxflow.FilippovFlow(1e-3),
    }

    def runs(rates):
        return jaxflow.simulate_ensemble(
            key,
            n=6,
            d=5,
            p=3,
            seeds=2,
            inputs="sphere",
            method=methods,
            times=times,
            rates=rates,
            folder=tmp_path,
            progress=False,
        )

    found = runs(rates)
    own = jaxflow.run_key(key, 6, 5, 3, 1)
    problem = jaxflow.sample_problem(own, n=6, d=5, p=3, inputs="sphere")
    for label, method in methods.items():
        sol = jaxflow.simulate(*problem, method, times=times, rates=rates)
        one = found.sel(dynamics=label, seed=1)
        np.testing.assert_array_equal(one.loss, sol.loss)
        np.testing.assert_array_equal(one.curvature, sol.curvature)
    for other in ((1.0, 1.0), (1.0, 0.1)):
        with pytest.raises(ValueError, match="rates"):
            runs(other)
