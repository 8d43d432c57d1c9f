"""`EventFlow` against right values, closed forms and symmetries.

`flow_correlated.json` holds 26 problems with kinks, slides, dead neurons, collinear and
opposite inputs, zero labels and small starts. Their values come from an independent
event-by-event integration (tolerance 1e-12), each confirmed by explicit Euler.
"""

import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jaxflow
from jaxflow._methods.event_field import Kinks
from jaxflow._problem.run_problem import counts, to_run_coordinates
from tests import problems, reference

CASES = json.loads((Path(__file__).parent / "flow_correlated.json").read_text())
# Those of one shape share a compiled program; the shapes of a core lane come first.
CORE = (3, 5)


def _shape(case):
    return len(case["x"]), len(case["a"])


def _run(case, method, dtype=jnp.float64, **kwargs):
    x, y, w, a = (jnp.asarray(case[name], dtype) for name in "xywa")
    data = jaxflow.Dataset(jaxflow.DenseInputs(x), y)
    return jaxflow.simulate(
        data,
        jaxflow.Network(w, a),
        method,
        **{"times": case["times"], "observe": {}, **kwargs},
    )


def _error(case, run):
    """The error of each (w_j, a_j) relative to the neuron's size, of L relative to
    itself, of μ relative to max(μ, 1/T); the largest."""
    w, a = np.array(case["final_w"]), np.array(case["final_a"])
    size = np.maximum(np.linalg.norm(w, axis=1), np.abs(a))
    neurons = np.maximum(
        np.linalg.norm(run.final.w - w, axis=1), np.abs(run.final.a - a)
    )
    loss = np.abs(run.loss / np.array(case["loss"]) - 1)
    mu = np.array(case["curvature"])
    curvature = np.abs(run.curvature - mu) / np.maximum(mu, 1 / case["times"][-1])
    return max(np.max(neurons / size), np.max(loss), np.max(curvature))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=f"{case['kind']}-{case['seed']}",
            marks=[] if _shape(case)[0] in CORE else [pytest.mark.slow],
        )
        for case in CASES
    ],
)
def test_right_values(case):
    for rtol in (1e-3, 1e-4, 1e-6, 1e-8, 1e-10):
        run = _run(case, jaxflow.EventFlow(rtol))
        # Some are dead, or at rest, by then; that is told by a code of its own.
        assert float(run.final_time) == case["times"][-1]
        assert bool(np.all(np.isfinite(run.curvature)))
        assert int(run.stats["loss_increases"]) == 0
        assert _error(case, run) < 10 * rtol


def _half_time(start):
    """When L = L(0)/2 for n = d = p = 1, x = y = 1, w = a = start: u = a² solves
    u' = 2 u (1 − u)."""
    end = 1 - (1 - start**2) / np.sqrt(2)
    return 0.5 * (np.log(end / (1 - end)) - 2 * np.log(start) + np.log1p(-(start**2)))


@pytest.mark.parametrize(
    "dtype, rtol",
    [(jnp.float64, 1e-9), (jnp.float32, 1e-5)],
)
@pytest.mark.slow
def test_leaves_the_saddle_in_time(dtype, rtol):
    one = jnp.ones((1, 1), dtype)
    data = jaxflow.Dataset(jaxflow.DenseInputs(one), one[0])
    for start in (1e-2, 1e-8, 1e-20):
        network = jaxflow.Network(start * one, start * one[0])
        half = float(jaxflow.loss(data, network)) / 2
        for times in ([200.0], np.linspace(1, 200, 50)):
            run = jaxflow.simulate(
                data,
                network,
                jaxflow.EventFlow(rtol),
                times=times,
                stop=jaxflow.LossBelow(half),
                observe={},
            )
            assert run.result == jaxflow.Results.loss_below
            error = float(run.final_time) / _half_time(start) - 1
            assert abs(error) < (1e-9 if rtol < 1e-6 else 2e-5)


@pytest.mark.slow
def test_two_exact_symmetries():
    """(w, a, y, t) → (s w, s a, s² y, t/s²) and (x, y, t) → (s x, s y, t/s²)."""
    case, method = CASES[3], jaxflow.EventFlow(1e-6)
    plain = _run(case, method)
    for s, q in (
        (2.0**20, 1.0),
        (2.0**-20, 1.0),
        (1.0, 2.0**10),
        (1e-6, 1.0),
        (1.0, 1e6),
    ):
        scaled = {
            "x": q * np.array(case["x"]),
            "y": s**2 * q * np.array(case["y"]),
            "w": s * np.array(case["w"]),
            "a": s * np.array(case["a"]),
            "times": np.array(case["times"]) / (s * q) ** 2,
        }
        run = _run(scaled, method)
        assert abs(int(run.stats["steps"]) - int(plain.stats["steps"])) <= 1
        if np.log2(s * q) % 1 == 0:
            assert_array_equal(run.final.w, s * plain.final.w)
            assert_array_equal(run.loss, s**4 * q**2 * plain.loss)
        else:
            assert_allclose(run.loss, s**4 * q**2 * plain.loss, rtol=1e-6)


@pytest.mark.slow
def test_balance_holds_and_the_loss_falls():
    data, network = jaxflow.sample_problem(
        jax.random.key(5), n=20, d=6, p=10, inputs="sphere"
    )
    times = np.linspace(0, 60, 40)
    run = jaxflow.simulate(
        data, network, jaxflow.EventFlow(1e-8), times=times, observe={}
    )
    assert run.result == jaxflow.Results.reached_time
    assert np.all(np.diff(run.loss) <= 1e-12 * run.loss[:-1])
    assert float(run.stats["balance_drift"]) < 1e-7
    assert 0 < float(run.stats["sliding_share"]) < 0.2
    # −d/dt log L = μ: the curvature counts slides by their multipliers.
    rates = -np.diff(np.log(run.loss)) / np.diff(times)
    middle = 0.5 * (run.curvature[1:] + run.curvature[:-1])
    assert np.median(np.abs(rates / middle - 1)) < 0.02


@pytest.mark.slow
def test_the_stepping_scheme_tends_to_it():
    data, network = jaxflow.sample_problem(
        jax.random.key(2), n=20, d=6, p=6, inputs="sphere"
    )
    times = [5.0, 20.0]
    exact = jaxflow.simulate(
        data, network, jaxflow.EventFlow(1e-9), times=times, observe={}
    )
    errors = []
    for tolerance in (1e-3, 1e-5, 1e-7):
        method = jaxflow.FilippovFlow(tolerance)
        run = jaxflow.simulate(data, network, method, times=times, observe={})
        errors.append(float(np.max(np.abs(run.loss / exact.loss - 1))))
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 1e-4


@pytest.mark.slow
def test_vmap_is_the_loop():
    case, method = CASES[3], jaxflow.EventFlow(1e-6)
    scales = jnp.array([0.5, 1.0, 2.0])
    x, y, w, a = (jnp.asarray(case[name]) for name in "xywa")
    data = jaxflow.Dataset(jaxflow.DenseInputs(x), y)

    def final(scale):
        network = jaxflow.Network(scale * w, scale * a)
        return jaxflow.simulate(data, network, method, times=[6.0], observe={})

    batch = jax.vmap(final)(scales)
    for i, scale in enumerate(scales):
        one = final(scale)
        assert_allclose(batch.loss[i], one.loss, rtol=1e-9)
        assert int(batch.stats["kink_crossings"][i]) == int(one.stats["kink_crossings"])


@pytest.mark.slow
def test_stops_are_located():
    case = CASES[3]
    level = 0.5 * (case["loss"][0] + case["loss"][1])
    run = _run(case, jaxflow.EventFlow(1e-8), stop=jaxflow.LossBelow(level))
    assert run.result == jaxflow.Results.loss_below
    assert_allclose(run.final_loss, level, rtol=1e-7)
    start = _run(case, jaxflow.EventFlow(1e-8), stop=jaxflow.LossBelow(1e9))
    assert int(start.stats["steps"]) == 0


def test_a_dead_network_stays():
    data = jaxflow.Dataset(jaxflow.DenseInputs([[1.0, 2.0], [2.0, 0.5]]), [1.0, -1.0])
    for w in (-np.ones((2, 2)), np.zeros((2, 2))):
        network = jaxflow.Network(w, [1.0, -2.0])
        run = jaxflow.simulate(
            data, network, jaxflow.EventFlow(), times=[1.0, 1e9], observe={}
        )
        assert_array_equal(run.final.w, w)
        assert_array_equal(run.loss, [0.5, 0.5])
        assert_array_equal(run.curvature, [0.0, 0.0])


@pytest.mark.slow
def test_a_loss_that_is_only_rounding_ends_the_run():
    data = jaxflow.Dataset(jaxflow.DenseInputs([[1.0, 0.5], [0.2, 1.0]]), [1.0, 1.5])
    network = jaxflow.Network([[0.5, 0.3], [0.1, 0.6]], [1.0, 0.9])
    run = jaxflow.simulate(
        data, network, jaxflow.EventFlow(1e-8), times=[1.0, 1e4], observe={}
    )
    assert run.result == jaxflow.Results.exhausted
    assert float(run.final_loss) < 1e-26
    assert np.isfinite(run.loss[0]) and np.isnan(run.loss[1])
    assert np.isnan(run.curvature[1])


def test_collinear_inputs_share_a_kink():
    x = np.array([[1.0, 2.0], [-2.0, -4.0], [0.5, 1.0], [1.0, 0.0]])
    data = jaxflow.Dataset(jaxflow.DenseInputs(x), np.ones(4))
    network = jaxflow.Network(np.ones((1, 2)), np.ones(1))
    problem, _, _ = to_run_coordinates(
        data, network, *counts(data, network), reduce=True
    )
    kinks = Kinks.of(problem)
    assert_array_equal(kinks.first, [0, 0, 0, 3])
    assert_array_equal(kinks.used, [True, False, False, True])
    norms = np.linalg.norm(x, axis=1)
    assert_allclose(kinks.lengths, norms * [1, -1, 1, 1])


@pytest.mark.slow
@pytest.mark.parametrize("rtol", [1e-3, 1e-5, 1e-6])
def test_antipodal_inputs_never_raise_the_loss(rtol):
    """Where a residual vanishes the ratio of the speeds on both sides of a kink has no
    bound. `GradientFlow` takes `EventFlow` for problems of this size."""
    rng = np.random.default_rng(0)
    times = jnp.linspace(0.2, 8, 40)
    method = jaxflow.GradientFlow(rtol)

    @jax.jit
    def flow(positive, negative, y, w, a):
        data = jaxflow.Dataset(jaxflow.AntipodalInputs(positive, negative), y)
        network = jaxflow.Network(w, a)
        return jaxflow.simulate(data, network, method, times=times, observe={})

    for _ in range(200):
        positive, negative = rng.uniform(1, 2, (2, 3))
        y = rng.choice([-1, 1], 6) * rng.uniform(1, 2, 6)
        run = flow(
            positive, negative, y, rng.normal(size=(3, 3)), 2 * rng.normal(size=3)
        )
        assert float(run.final_time) == times[-1]
        assert np.all(np.diff(run.loss) <= 1e-9)


@pytest.mark.slow
def test_kinks_on_antipodal_inputs_are_found_in_float32():
    """Where a residual tends to zero, the λ of the kinks that it pushes is known to few
    digits. The first two runs went on crossing kinks for ever, at L = 2e-3 and 1e-2;
    the third ended elsewhere."""
    end, results = 100.0, jaxflow.Results
    times = np.linspace(end / 20, end, 20, dtype="float32")
    for key, result in (
        (9, results.exhausted),
        (13, results.exhausted),
        (22, results.reached_time),
    ):
        data, network = jaxflow.sample_problem(
            jax.random.key(key), n=16, d=8, p=8, inputs="antipodal", dtype="float64"
        )
        pairs = data.reduced
        assert isinstance(pairs, jaxflow.AntipodalInputs)
        parts = pairs.positive, pairs.negative, data.targets, network.w, network.a
        u, a, _, released = reference.antipodal_flow(*map(np.asarray, parts), end=end)
        assert released > 0
        data, network = jax.tree.map(lambda x: x.astype("float32"), (data, network))
        flow = jaxflow.GradientFlow(1e-6, max_steps=400)
        run = jaxflow.simulate(data, network, flow, times=times, observe={})
        assert run.result == result
        assert_allclose(run.final.w, u, atol=2e-3)
        assert_allclose(run.final.a, a, atol=2e-3)
        assert np.all(np.diff(run.loss[np.isfinite(run.loss)]) <= 0)


@pytest.mark.slow
def test_numbers_do_not_compile_anew():
    case = CASES[3]

    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def final(method):
        return _run(case, method).stats["steps"]

    assert int(final(jaxflow.EventFlow(1e-4))) < int(final(jaxflow.EventFlow(1e-9)))


@pytest.mark.slow
def test_it_is_taken_for_small_problems():
    flow = jaxflow.GradientFlow(1e-5)
    data, network = jaxflow.sample_problem(
        jax.random.key(0), n=12, d=4, p=4, inputs="sphere"
    )
    assert isinstance(flow.method(data, 4), jaxflow.EventFlow)
    assert isinstance(flow.method(data, 400), jaxflow.FilippovFlow)
    assert isinstance(flow.method(data), jaxflow.FilippovFlow)
    pair = jaxflow.AntipodalInputs([1.0], [1.0])
    assert isinstance(flow.method(pair, 1), jaxflow.EventFlow)
    orthogonal = jaxflow.OrthogonalInputs([1.0])
    assert isinstance(flow.method(orthogonal, 1), jaxflow.RungeKuttaFlow)
    chosen = jaxflow.simulate(data, network, flow, times=[3.0], observe={})
    named = jaxflow.simulate(
        data, network, jaxflow.EventFlow(1e-5), times=[3.0], observe={}
    )
    assert_array_equal(chosen.loss, named.loss)


def test_bad_input():
    with pytest.raises(ValueError, match="rtol must be positive"):
        jaxflow.EventFlow(0.0)
    with pytest.raises(ValueError, match="max_steps must be at least 1"):
        jaxflow.EventFlow(max_steps=0)


@pytest.mark.slow
def test_agrees_with_dop853_without_kinks():
    x = np.array([[1.0, 0.3], [0.2, 1.0], [0.8, 0.9]])
    y, w = np.array([1.0, 1.2, 0.9]), np.array([[1.0, 0.8], [0.6, 0.9]])
    a = np.array([1.5, -0.4])
    losses, w_end, a_end = reference.flow(x, y, w, a, np.array([1.0, 5.0]))
    run = _run(
        {"x": x, "y": y, "w": w, "a": a, "times": [1.0, 5.0]}, jaxflow.EventFlow(1e-10)
    )
    assert_allclose(run.loss, losses, rtol=1e-7)
    assert_allclose(run.final.w, w_end, rtol=1e-7)
    assert_allclose(run.final.a, a_end, rtol=1e-7)


def _random_problem(n, d, p, seed):
    """Labels of both signs and size, and more of a_j than of ‖w_j‖, so that some
    neurons come to the origin."""
    x, y, w, a = problems.correlated(n, d, p, seed)
    return jaxflow.Dataset(jaxflow.DenseInputs(x), y), jaxflow.Network(w, a)


def _gap(run, right):
    """The largest error of a neuron, relative to its size."""
    size = np.maximum(np.linalg.norm(right.final.w, axis=1), np.abs(right.final.a))
    wrong = np.linalg.norm(run.final.w - right.final.w, axis=1)
    wrong = np.maximum(wrong, np.abs(run.final.a - right.final.a))
    return float(np.max(wrong / size))


@pytest.mark.slow
def test_a_kink_that_is_crossed_twice_within_a_step_is_noticed():
    """At loose tolerances steps are long, and a pair can cross and come back."""
    data, network = _random_problem(20, 5, 4, 0)

    def run(rtol, times):
        method = jaxflow.EventFlow(rtol)
        return jaxflow.simulate(data, network, method, times=times, observe={})

    right = run(1e-10, np.linspace(0, 5, 101))
    for rtol in (1e-4, 1e-6):
        assert _gap(run(rtol, [5.0]), right) < rtol


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "d", "p"), [(6, 1, 3), (8, 2, 4), (12, 3, 5), (20, 5, 4)]
)
def test_random_problems_do_not_depend_on_tolerance_and_times(n, d, p):
    passes, compared = 0, 0
    for seed in range(60):
        data, network = _random_problem(n, d, p, seed)
        runs = [
            jaxflow.simulate(
                data, network, jaxflow.EventFlow(rtol), times=times, observe={}
            )
            for rtol, times in (
                (1e-10, np.linspace(0, 10, 41)),
                (1e-4, [10.0]),
                (1e-6, [10.0]),
                (1e-6, np.linspace(0, 10, 41)),
            )
        ]
        assert not any(int(run.stats["loss_increases"]) for run in runs)
        if any(int(run.stats["origin_passes"]) for run in runs):
            # From there the flow has several solutions.
            passes += 1
            continue
        compared += 1
        assert all(float(run.final_time) == 10.0 for run in runs), seed
        assert _gap(runs[1], runs[0]) < 1e-4, seed
        assert max(_gap(run, runs[0]) for run in runs[2:]) < 1e-6, seed
    assert compared > 30
    # On a line all kinks are one, which is crossed as any other.
    assert passes == 0 if d == 1 else passes < 30


@pytest.mark.slow
def test_a_neuron_that_comes_to_the_origin_goes_straight_on_or_is_held():
    """As descent does in most cases. In others its last step before the origin decides
    by its rounding which of several solutions it takes."""
    agreed, held = [], []
    for seed in range(40):
        data, network = _random_problem(8, 2, 4, seed)
        times = np.linspace(0, 10, 41)
        run = jaxflow.simulate(
            data,
            network,
            jaxflow.EventFlow(1e-8),
            times=times,
            observe={"squares": jaxflow.OBSERVABLES["squared_norm"]},
        )
        if not int(run.stats["origin_passes"]):
            continue
        assert float(run.final_time) == 10.0
        descent = jaxflow.simulate(
            data, network, jaxflow.GradientDescent(1e-5), times=times[1:], observe={}
        )
        apart = np.max(np.abs(run.loss[1:] / descent.loss - 1))
        agreed.append(bool(apart < 1e-4))
        held.append(bool(np.any(np.asarray(run.observables["squares"]) < 1e-18)))
    assert any(held) and not all(held)
    assert sum(agreed) >= 0.8 * len(agreed)


@pytest.mark.parametrize("share", [1e-12, 1e-20])
def test_a_loss_that_is_hardly_known_any_more_is_located(share):
    """There r is a small difference of large numbers, and L jumps about the level by
    more than an event is located to."""
    data, network = jaxflow.sample_problem(
        jax.random.key(0), n=6, d=8, p=8, inputs="sphere", dtype=jnp.float64
    )
    run = jaxflow.simulate(
        data,
        network,
        jaxflow.EventFlow(1e-8),
        times=[0.0, 3000.0],
        stop=jaxflow.LossFallen(share),
        observe={},
    )
    assert run.result == jaxflow.Results.loss_below
    assert int(run.stats["steps"]) < 1000
    assert_allclose(run.final_loss, share * run.loss[0], rtol=1e-4)


def test_float32_at_huge_scales():
    """(w, a, y, t) → (s w, s a, s² y, t/s²) maps trajectories to trajectories."""
    data, network = jaxflow.sample_problem(
        jax.random.key(0), n=5, d=8, p=6, inputs="sphere", dtype=jnp.float32
    )
    found = []
    for scale in (1.0, 1e4, 1e8):
        run = jaxflow.simulate(
            jaxflow.Dataset(data.inputs, scale**2 * data.targets),
            jaxflow.Network(scale * network.w, scale * network.a),
            jaxflow.EventFlow(1e-6),
            times=[0.0, 3000 / scale**2],
            stop=jaxflow.LossFallen(1e-3),
            observe={},
        )
        assert run.result == jaxflow.Results.loss_below
        assert int(run.stats["steps"]) < 200
        found.append(float(run.final_time) * scale**2)
    assert_allclose(found, found[0], rtol=1e-4)
