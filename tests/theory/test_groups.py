"""The closed form of the group initialisation against quadrature, and Theorem 2."""

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from jaxflow import theory


@pytest.mark.parametrize("cosine", [0.1, 0.5, 0.99, 1.0])
def test_solves_the_equations_of_the_group(cosine):
    # d/dt cos = γ (1 − cos²),  d/dt q = (2q/n) (S cos − q/p), S = D √k.
    n, p, size, q0 = 300, 3, 1.4, 0.7
    root = np.sqrt(n * p)

    def field(_, state):
        c, q = state
        return [size / root * (1 - c**2), 2 * q * (size * c / root - q / (n * p))]

    tau = np.linspace(0, 2.5, 26)
    times = tau * float(theory.time_scale(n, p))
    solution = solve_ivp(
        field,
        (0, times[-1]),
        [cosine, q0],
        method="DOP853",
        rtol=1e-11,
        atol=1e-13,
        t_eval=times,
    )
    flow = theory.GroupFlow(np.log(n * p), size, cosine, q0)
    assert_allclose(flow.cosine_at(tau), solution.y[0], rtol=1e-9)
    assert_allclose(np.exp(flow.log_squared_norm(tau)), solution.y[1], rtol=1e-8)
    phi = solution.y[1] / (size * root)
    exact = 0.5 * size**2 * (1 - 2 * solution.y[0] * phi + phi**2)
    assert_allclose(flow.loss(tau), exact, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("exponent", [4, 16, 100, 300])
def test_windows_for_any_n(exponent):
    for size in (0.5, 1.578, 3.0):
        flow = theory.GroupFlow(exponent * np.log(10), size)
        exact = flow.window(0.1)
        assert_allclose(exact, theory.window(0.1, size, flow.log_np), rtol=1e-9)
        level = 0.3
        assert_allclose(flow.relative_loss(flow.time_at(level)), level, rtol=1e-8)


def test_transition_times_tend_to_those_of_theorem_2_as_one_over_the_logarithm():
    logs = np.array([1e2, 1e3, 1e4])
    size = 1.3
    gaps = [
        abs(float(theory.GroupFlow(log_np, size).time_at(0.5)) - 1 / size)
        for log_np in logs
    ]
    slope = np.polyfit(np.log(logs), np.log(gaps), 1)[0]
    assert slope == pytest.approx(-1, abs=1e-3)
    assert_allclose(theory.transition_time(size), 1 / size)


def test_printed_forms_agree_at_cosine_one_only():
    n, p = 400, 4
    tau = np.linspace(0, 1.5, 16)
    times = tau * float(theory.time_scale(n, p))
    for cosine, agrees in ((1.0, True), (0.78, False)):
        flow = theory.GroupFlow(np.log(n * p), 1.5, cosine, 1.0)
        exact = np.exp(flow.log_squared_norm(tau))
        printed = theory.printed.squared_norm(times, n, p, flow)
        gap = np.max(np.abs(printed / exact - 1))
        assert gap < 1e-10 if agrees else 0.05 < gap < 0.15


def test_a_group_that_starts_below_the_level_has_no_time():
    flow = theory.GroupFlow(np.log(100.0), 1.0, 1.0, 9.0)
    assert np.isnan(flow.time_at(0.9))


def test_limit_is_a_step():
    flow = theory.GroupFlow(1.0, 2.0)
    assert_allclose(flow.limit(np.array([0.2, 0.49, 0.51])), [2.0, 2.0, 0.0])


@pytest.mark.slow
def test_works_under_vmap_and_grad():
    sizes = np.array([1.0, 2.0])
    flows = jax.vmap(lambda size: theory.GroupFlow(20.0, size).time_at(0.5))(sizes)
    assert flows.shape == (2,)
    rate = jax.grad(lambda tau: theory.GroupFlow(20.0).relative_loss(tau))
    assert float(rate(0.0)) < 0 and float(rate(1.0)) < 0


def test_times_broadcast_over_the_fields_and_reach_any_start():
    sizes = np.array([1.0, 2.0])
    both = theory.GroupFlow(20.0, sizes).time_at(0.5)
    each = [theory.GroupFlow(20.0, size).time_at(0.5) for size in sizes]
    assert_allclose(both, each)
    small = theory.GroupFlow(np.log(200.0), squared_norm=1e-12)
    assert_allclose(small.relative_loss(small.time_at(0.5)), 0.5, rtol=1e-9)


def test_time_scale_of_large_integers():
    assert_allclose(
        theory.time_scale(10**10, 2), np.sqrt(2e10) / 4 * np.log(2e10), rtol=1e-12
    )
