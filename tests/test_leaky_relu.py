"""Leaky ReLU: in every function, on every geometry, by every method."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow
from jaxflow import theory
from jaxflow._methods.kinks import LeakyKinks, Step

from . import reference
from .problems import antipodal_array, correlated, orthogonal_array, without_kinks

KINDS = ("dense", "gram", "orthogonal", "antipodal")
SLOPE = 0.2
FLOW = jaxflow.EventFlow(1e-10)


def of_kind(kind: str, p: int = 4, seed: int = 0) -> tuple[Any, Any, Any, Any]:
    """(x, y, w, a) of which a `Dataset` has the given geometry."""
    if kind == "antipodal":
        x = antipodal_array(4, 6, seed)[2]
    elif kind == "orthogonal":
        x = orthogonal_array(7, 9, seed)[1]
    else:
        n, d = {"dense": (12, 4), "gram": (6, 5)}[kind]
        return correlated(n=n, d=d, p=p, seed=seed)
    rng = np.random.default_rng(seed)
    y = rng.choice([-1.0, 1.0], len(x)) * rng.uniform(1, 2, len(x))
    w = rng.normal(size=(p, x.shape[1]))
    a = rng.choice([-1.0, 1.0], p) * (np.linalg.norm(w, axis=1) + 0.3)
    return x, y, w, a


def given(
    x: Any, y: Any, w: Any, a: Any, slope: Any = SLOPE, dtype: Any = float
) -> tuple[jaxflow.Dataset, jaxflow.Network]:
    x, y, w, a = (np.asarray(part, dtype) for part in (x, y, w, a))
    network = jaxflow.Network(w, a, negative_slope=slope)
    return jaxflow.Dataset(x, y), network


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_at_rest_is_that_of_numpy(kind):
    x, y, w, a = of_kind(kind)
    data, network = given(x, y, w, a)
    assert data.geometry == kind
    z = w @ x.T
    outputs = a @ np.maximum(z, SLOPE * z) / len(a)
    np.testing.assert_allclose(jaxflow.predict(network, x), outputs, atol=1e-13)
    np.testing.assert_allclose(jaxflow.residuals(data, network), y - outputs)
    expected = reference.loss(x, y, w, a, SLOPE)
    np.testing.assert_allclose(jaxflow.loss(data, network), expected, rtol=1e-13)
    for found, wanted in zip(
        jaxflow.velocity(data, network),
        reference.velocity(x, y, w, a, SLOPE),
        strict=True,
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-13)


def test_the_same_with_weights_that_are_projections():
    norms, x = orthogonal_array(5, 5)
    _, y, w, a = of_kind("orthogonal")
    y, w = y[:5], w[:, :5]
    data = jaxflow.Dataset(jaxflow.OrthogonalInputs(norms), y)
    network = jaxflow.Network(w, a, np.sum(w**2, axis=1), negative_slope=SLOPE)
    found, a_velocity = jaxflow.velocity(data, network)
    frame = x / norms[:, None]
    expected = reference.velocity(x, y, w @ frame, a, SLOPE)
    np.testing.assert_allclose(found @ frame, expected[0], atol=1e-13)
    np.testing.assert_allclose(a_velocity, expected[1], atol=1e-13)


def test_a_slope_of_zero_is_a_relu():
    _, network = given(*of_kind("dense"), slope=0)
    assert network.negative_slope is None
    assert "negative_slope" not in repr(network)
    assert "negative_slope=0.2" in repr(given(*of_kind("dense"))[1])


@pytest.mark.parametrize("slope", (-0.1, 1, 1.5, np.nan, [0.1, 0.2], "steep"))
def test_other_slopes_are_refused(slope):
    with pytest.raises(ValueError, match="negative_slope must be"):
        jaxflow.Network(np.ones((2, 2)), np.ones(2), negative_slope=slope)
    with pytest.raises(ValueError, match="negative_slope must be"):
        jaxflow.sample_problem(jax.random.key(0), n=3, d=4, negative_slope=slope)


@pytest.mark.parametrize("slope", (1 - 1e-10, 1e-50))
def test_slopes_that_single_precision_rounds_away_are_refused(slope):
    w, key = np.ones((2, 2), np.float32), jax.random.key(0)
    with pytest.raises(ValueError, match="in float32"):
        jaxflow.Network(w, w[0], negative_slope=slope)
    laws: dict[str, Any] = {"n": 3, "d": 4, "negative_slope": slope, "dtype": "float32"}
    with pytest.raises(ValueError, match="in float32"):
        jaxflow.sample_problem(key, **laws)
    held = jaxflow.Network(np.ones((2, 2)), np.ones(2), negative_slope=slope)
    assert held.negative_slope == slope


def test_two_slopes_for_one_network_are_refused():
    def init(key, data, d, p):
        return jaxflow.Network(jnp.ones((p, d)), jnp.ones(p), negative_slope=0.1)

    key = jax.random.key(0)
    sizes: dict[str, Any] = {"p": 2, "inputs": np.eye(3, 4) + 0.1}
    _, network = jaxflow.sample_problem(key, **sizes, init=init)
    assert np.asarray(network.negative_slope) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="has a negative_slope of its own"):
        jaxflow.sample_problem(key, **sizes, init=init, negative_slope=0.2)


def test_what_holds_for_a_relu_only_is_refused():
    x, y, w, a = of_kind("orthogonal")
    s = jaxflow.Snapshot.of(*given(x, y, w, a))
    for statement in (
        theory.curvature_floor,
        theory.extinction_time,
        theory.ceiling_constant,
        lambda s: theory.curvature_ceiling(s, 1.0),
        theory.unfitted_loss,
        theory.printed.extinction_time,
        theory.printed.ceiling_constant,
    ):
        with pytest.raises(ValueError, match="negative_slope"):
            statement(s)
    with pytest.raises(ValueError, match=r"FilippovFlow\(\)"):
        jaxflow.simulate(
            *given(*of_kind("antipodal")), jaxflow.RungeKuttaFlow(), times=[1.0]
        )


# --- the flow -------------------------------------------------------------------------


def distance(final, w, a):
    w_off, a_off = np.asarray(final.w) - w, np.asarray(final.a) - a
    return max(np.max(np.abs(w_off)), np.max(np.abs(a_off)))


@pytest.mark.slow
@pytest.mark.parametrize("slope", (1e-3, 0.2, 0.9))
@pytest.mark.parametrize("seed", range(2))
def test_correlated_inputs_event_by_event(slope, seed):
    x, y, w, a = correlated(n=12, d=4, p=3, seed=seed)
    w_end, a_end, met = reference.correlated_flow(x, y, w, a, end=8.0, slope=slope)
    assert met > 3
    problem = given(x, y, w, a, slope)
    for method, error in (
        (jaxflow.EventFlow(1e-9), 1e-8),
        (jaxflow.FilippovFlow(1e-6), 1e-3),
    ):
        sol = jaxflow.simulate(*problem, method, times=[8.0])
        assert distance(sol.final, w_end, a_end) < error
        assert sol.stats["loss_increases"] == 0
        assert sol.stats["balance_drift"] < error


@pytest.mark.slow
@pytest.mark.parametrize("slope", (1e-3, 0.3))
def test_orthogonal_inputs_event_by_event(slope):
    came_back = 0
    for seed in range(4):
        x, y, w, a = of_kind("orthogonal", seed=seed)
        a = 0.3 * a
        problem = given(x, y, w, a, slope)
        w_end, a_end, met = reference.correlated_flow(x, y, w, a, end=30.0, slope=slope)
        for method, error in (
            (jaxflow.GradientFlow(1e-10), 1e-6),
            (jaxflow.EventFlow(1e-9), 1e-8),
            (jaxflow.FilippovFlow(1e-6), 1e-2),
        ):
            sol = jaxflow.simulate(*problem, method, times=[30.0])
            assert distance(sol.final, w_end, a_end) < error
        came_back += int(np.sum((w @ x.T < 0) & (w_end @ x.T > 0)))
        assert met
    # A ReLU has none of these; with a small slope a pair takes its time.
    assert came_back or slope < 0.01


@pytest.mark.slow
def test_runge_kutta_on_orthogonal_inputs_with_kinks():
    """With errors of the size of those of a ReLU, which has 6 kinks here."""
    x, y, w, a = of_kind("orthogonal", seed=1)
    problem = given(x, y, w, 0.3 * a, 0.1)
    exact = jaxflow.simulate(*problem, jaxflow.EventFlow(1e-11), times=[30.0]).final
    for rtol, error in ((1e-4, 3e-4), (1e-7, 2e-5), (1e-9, 1e-6)):
        sol = jaxflow.simulate(*problem, jaxflow.RungeKuttaFlow(rtol), times=[30.0])
        assert sol.stats["kink_crossings"] == 8
        assert distance(sol.final, exact.w, exact.a) < error


@pytest.mark.parametrize("slope", (0.0, 1e-38, 0.25))
def test_a_corner_of_long_inputs(slope):
    """1/s times a length above 4 is beyond what the dtype holds where s is 0."""
    norms = np.array([1, 5, 8], np.float32)
    slope = jnp.float32(slope)
    kinks = LeakyKinks(jaxflow.OrthogonalInputs(norms), slope)
    before = jnp.array([[1, 0.5, -1], [-1, -1, 0.25]], jnp.float32)
    after = jnp.array([[0.5, -0.25, -1.5], [-1, -0.5, 0.125]], jnp.float32)
    a, r = jnp.zeros(2, jnp.float32), jnp.zeros(3, jnp.float32)
    step = Step(before, after, a, a, r, r, jnp.ones((), jnp.float32))
    size, fall = kinks.bends(step, kinks.begin(before, None))
    bend = (1 - np.float32(slope) ** 2) * np.array([[0, 5, 0], [0, 0, 0]])
    np.testing.assert_allclose(size, 0.5 * bend, rtol=1e-6)
    np.testing.assert_allclose(fall, 0.75 * bend, rtol=1e-6)


@pytest.mark.slow
def test_antipodal_inputs_event_by_event():
    slides = 0
    for seed in range(4):
        m = 3
        positive, negative, x = antipodal_array(m, m, seed)
        frame = x[:m] / positive[:, None]
        _, y, w, a = of_kind("antipodal", seed=seed)
        y, w = y[: 2 * m], w[:, :m]
        u, a_end, reached, _ = reference.antipodal_flow(
            positive, negative, y, w @ frame.T, a, end=8.0, slope=SLOPE
        )
        problem = given(x, y, w, a)
        assert problem[0].geometry == "antipodal"
        for method, error in (
            (jaxflow.EventFlow(1e-9), 1e-8),
            (jaxflow.FilippovFlow(1e-6), 3e-4),
        ):
            sol = jaxflow.simulate(*problem, method, times=[8.0])
            assert distance(sol.final, u @ frame, a_end) < error
            slides += float(sol.stats["sliding_share"]) > 0
        assert reached
    assert slides


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    (
        jaxflow.EventFlow(1e-9),
        jaxflow.FilippovFlow(1e-6),
        jaxflow.LiteralFlow(1e-9),
        jaxflow.GradientFlow(1e-9),
    ),
    ids=lambda m: type(m).__name__,
)
def test_without_kinks_it_is_dop853(method):
    x, y, w, a = without_kinks()
    times = np.array([0.0, 0.5, 1.0])
    losses, w_end, a_end = reference.flow(x, y, w, a, times, SLOPE)
    sol = jaxflow.simulate(*given(x, y, w, a), method, times=times)
    error = 5e-4 if isinstance(method, jaxflow.FilippovFlow) else 1e-7
    np.testing.assert_allclose(sol.loss, losses, rtol=error)
    assert distance(sol.final, w_end, a_end) < error


@pytest.mark.slow
def test_with_a_slope_near_one_it_is_a_linear_network():
    x, y, w, a = of_kind("dense")
    _, w_end, a_end = reference.flow(x, y, w, a, [5.0], 1.0)
    sol = jaxflow.simulate(*given(x, y, w, a, 1 - 1e-10), FLOW, times=[5.0])
    assert distance(sol.final, w_end, a_end) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("kind", ("dense", "orthogonal"))
def test_both_symmetries(kind):
    x, y, w, a = of_kind(kind)
    method, end = jaxflow.GradientFlow(1e-6), 6.0
    plain = jaxflow.simulate(*given(x, y, w, a), method, times=[end])
    s = 2.0**-20
    small = jaxflow.simulate(
        *given(x, s**2 * y, s * w, s * a), method, times=[end / s**2]
    )
    assert distance(plain.final, small.final.w / s, small.final.a / s) < 1e-8
    s = 2.0**8
    wide = jaxflow.simulate(*given(s * x, s * y, w, a), method, times=[end / s**2])
    assert distance(plain.final, wide.final.w, wide.final.a) < 1e-8


@pytest.mark.slow
def test_a_neuron_at_the_origin_leaves_it():
    """As descent does, by σ'(0) = s; a ReLU stays."""
    x = np.array([[1.0, 0.3], [-0.4, 1.0], [0.5, -1.0]])
    y = np.array([1.0, -1.5, 1.2])
    w, a = np.array([[0.0, 0.0], [0.3, 0.2]]), np.array([0.8, -0.5])
    flow = jaxflow.simulate(*given(x, y, w, a), FLOW, times=[2.0])
    rate = 1e-4
    w_end, a_end = reference.descent(x, y, w, a, rate, round(2.0 / rate), SLOPE)
    assert distance(flow.final, w_end, a_end) < 1e-3
    relu = jaxflow.simulate(*given(x, y, w, a, 0), FLOW, times=[2.0])
    np.testing.assert_array_equal(relu.final.w[0], 0)


@pytest.mark.slow
def test_one_number_of_everything():
    """u = a w, n = d = p = 1, x = 1, y = −1, below the kink: w' = s a r, a' = s w r."""
    for dtype, rtol in ((np.float64, 1e-9), (np.float32, 1e-4)):
        data, network = given([[1.0]], [-1.0], [[-0.5]], [0.7], dtype=dtype)
        sol = jaxflow.simulate(data, network, jaxflow.EventFlow(rtol), times=[4.0])
        _, w, a = reference.flow(
            np.eye(1), np.array([-1.0]), np.array([[-0.5]]), np.array([0.7]), [4.0], 0.2
        )
        assert sol.final.w.dtype == dtype
        assert distance(sol.final, w, a) < 10 * rtol


# --- descent --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_descent_is_that_of_numpy(kind):
    x, y, w, a = of_kind(kind)
    w_end, a_end = reference.descent(x, y, w, a, 0.05, 200, SLOPE)
    sol = jaxflow.simulate(
        *given(x, y, w, a), jaxflow.GradientDescent(0.05), times=[10.0]
    )
    assert distance(sol.final, w_end, a_end) < 1e-11
    assert np.asarray(sol.final.negative_slope) == pytest.approx(SLOPE)


# --- what is recorded -----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_curvatures_and_kernels(kind):
    x, y, w, a = of_kind(kind)
    data, network = given(x, y, w, a)
    h, end = 1e-4, 5.0
    times = [0.0, 0.3, end - h, end, end + h]
    sol = jaxflow.simulate(data, network, FLOW, times=times)
    # μ = −d/dt log L.
    slope = -np.log(sol.loss[4] / sol.loss[2]) / (2 * h)
    np.testing.assert_allclose(sol.curvature[3], slope, rtol=1e-5)
    bounds = sol.observables
    assert np.all(bounds["lower_bound"] <= sol.curvature)
    assert np.all(sol.curvature <= bounds["upper_bound"])

    z = w @ x.T
    gates = np.where(z > 0, 1, SLOPE)
    on = gates * z
    kernel = on.T @ on + (x @ x.T) * ((gates * a[:, None] ** 2).T @ gates)
    kernel /= z.size
    matrix = theory.curvature_matrix(data, network)
    np.testing.assert_allclose(matrix, 2 * kernel, atol=1e-12)
    tangent = jaxflow.tangent_kernel(data, network)
    ends = np.linalg.eigvalsh(kernel)[[0, -1]]
    np.testing.assert_allclose(
        [tangent.smallest, tangent.largest], ends, atol=1e-6 * ends[1]
    )

    def p_loss(parameters):
        w, a = parameters[:w_size].reshape(len(a_now), -1), parameters[w_size:]
        z = w @ x.T
        h = a @ jnp.where(z > 0, z, SLOPE * z) / len(a_now)
        return len(a_now) * jnp.mean((y - h) ** 2) / 2

    w_size, a_now = w.size, a
    hessian = jax.hessian(p_loss)(jnp.concatenate([w.ravel(), a]))
    largest = np.linalg.eigvalsh(hessian)[-1]
    np.testing.assert_allclose(jaxflow.sharpness(data, network), largest, rtol=1e-5)


@pytest.mark.slow
def test_the_kernel_along_a_slide():
    """From the multipliers of a run, and found again at rest."""
    x, y, w, a = correlated(n=12, d=4, p=3, seed=1)
    data, network = given(x, y, w, a)
    observe = {
        "kernel": lambda s: s.tangent_kernel.smallest,
        "multipliers": lambda s: s.multipliers,
    }
    sol = jaxflow.simulate(data, network, FLOW, times=[8.0], observe=observe)
    values = np.asarray(sol.observables["multipliers"][0])
    assert np.all((values >= SLOPE) & (values <= 1))
    assert np.any((values > SLOPE) & (values < 1))
    at_rest = jaxflow.tangent_kernel(data, sol.final)
    assert np.sum(at_rest.slides) == np.sum((values > SLOPE) & (values < 1))
    np.testing.assert_allclose(
        at_rest.smallest, sol.observables["kernel"][0], atol=1e-8
    )


# --- transformations and ensembles ----------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "method"),
    (("dense", FLOW), ("orthogonal", jaxflow.RungeKuttaFlow(1e-8))),
)
def test_slopes_can_be_mapped_over(kind, method):
    """0 among them, which is not known to be a ReLU then."""
    x, y, w, a = of_kind(kind)
    data = jaxflow.Dataset(x, y)

    def final_loss(slope):
        network = jaxflow.Network(w, a, negative_slope=slope)
        return jaxflow.simulate(data, network, method, times=[3.0]).final_loss

    slopes = jnp.array([0.0, 0.1, 0.4])
    found = jax.jit(jax.vmap(final_loss))(slopes)
    np.testing.assert_allclose(found, [final_loss(s) for s in slopes], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ("sphere", "orthogonal", "antipodal"))
def test_an_ensemble_runs_what_simulate_runs(inputs, tmp_path):
    key, times = jax.random.key(4), [0.0, 2.0, 6.0]
    flow = jaxflow.EventFlow if inputs != "orthogonal" else jaxflow.GradientFlow
    methods = {"descent": jaxflow.GradientDescent(0.2), "flow": flow(1e-4)}
    settings: dict[str, Any] = {"d": 7, "p": 3, "inputs": inputs, "negative_slope": 0.3}

    def runs(**more):
        return jaxflow.simulate_ensemble(
            key,
            n=6,
            seeds=2,
            method=methods,
            times=times,
            folder=tmp_path,
            progress=False,
            **{**settings, **more},
        )

    found = runs()
    for label, method in methods.items():
        own = jaxflow.run_key(key, 6, 7, 3, 1)
        problem = jaxflow.sample_problem(own, n=6, **settings)
        sol = jaxflow.simulate(*problem, method, times=times)
        one = found.sel(dynamics=label, seed=1)
        np.testing.assert_array_equal(one.loss, sol.loss)
        np.testing.assert_array_equal(one.curvature, sol.curvature)
    with pytest.raises(ValueError, match=r"negative_slope was 0\.3 and is 0\.4"):
        runs(negative_slope=0.4)
    with pytest.raises(ValueError, match=r"negative_slope was 0\.3 and is nothing"):
        runs(negative_slope=0.0)
