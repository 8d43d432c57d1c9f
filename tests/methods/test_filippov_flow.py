"""Sliding against closed forms, DOP853, small Euler steps and the scheme itself."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

import jaxflow
from jaxflow._methods import coupled_multipliers, interactions
from jaxflow._problem.inputs import DenseInputs
from jaxflow._problem.run_problem import Problem
from tests import problems, reference
from tests.problems import correlated

# ---------------------------------------------------------------- closed forms, p = 1
#
# Two or three inputs in the plane, one neuron with a > 0 and w = (v, u). Input 1 is
# (1, 0) with y_1 < 0, so that its kink is v = 0, and it attracts. While the neuron
# slides, v = 0 and the multiplier of input 1 is λ = −Σ_k c_k r_k/y_1, where the other
# inputs are (c_k, s_k), all active. With Y = Σ s_k y_k and Q = Σ s_k²:
# u' = (a/n) (Y − Q a u), a' = (u/n) (Y − Q a u). Then (a + u, a − u) = (P e^θ, M e^−θ),
# and E = e^{2θ} solves a Riccati equation with constant coefficients.


def _slide(total, squares, n, u, a):
    plus, minus = a + u, a - u
    alpha, beta = squares * plus**2 / 4, squares * minus**2 / 4
    root = math.sqrt(total**2 + 4 * alpha * beta)
    high, low = (total + root) / (2 * alpha), (total - root) / (2 * alpha)
    start = (1 - low) / (high - 1)

    def at(t):
        k = start * math.exp(2 * root * t / n)
        e = math.sqrt((high * k + low) / (1 + k))
        return (plus * e - minus / e) / 2, (plus * e + minus / e) / 2

    return at


def _smooth(x, y, w, a, n, duration):
    """With every given input active, by DOP853."""

    def field(_, state):
        r = y - state[2] * (x @ state[:2])
        return np.r_[state[2] / n * (r @ x), r @ (x @ state[:2]) / n]

    end = solve_ivp(
        field, (0, duration), np.r_[w, a], method="DOP853", rtol=1e-13, atol=1e-14
    )
    return end.y[:, -1]


def _entering():
    """z_1 < 0 at first; (a, w) follow a logistic until the kink is met, then slide."""
    c, s = 0.6, 0.8
    x, y = np.array([[1.0, 0.0], [c, s]]), np.array([-1.0, 1.5])
    a, v = 0.7, -0.15
    met = a - v / c

    def logit(a):
        return math.log(a**2 / (y[1] - a**2))

    entry = (logit(met) - logit(a)) / y[1]
    sliding = _slide(s * y[1], s * s, 2, met / s, met)

    def exact(t):
        if t > entry:
            u, end = sliding(t - entry)
            return np.array([0.0, u, end])
        end = math.sqrt(y[1] / (1 + math.exp(-logit(a) - y[1] * t)))
        first = v + c * (end - a)
        return np.array([first, (end - c * first) / s, end])

    times = [0.5 * entry, entry + 0.6, entry + 3]
    return x, y, np.array([v, (a - c * v) / s]), a, times, exact


def _leaving(second, third, y, side):
    """On the kink at first; λ reaches 0 (`side` −1) or 1 (+1) at a known time."""
    x, y = np.array([[1.0, 0.0], second, third]), np.array(y)
    u, a = 0.5, 1.0
    sliding = _slide(x[1:, 1] @ y[1:], x[1:, 1] @ x[1:, 1], 3, u, a)
    level = 0 if side < 0 else -y[0]
    product = (x[1:, 0] @ y[1:] - level) / (x[1:, 0] @ x[1:, 1])
    leave = brentq(lambda t: math.prod(sliding(t)) - product, 0, 200)
    active = [1, 2] if side < 0 else [0, 1, 2]

    def exact(t):
        if t <= leave:
            return np.r_[0.0, sliding(t)]
        first, second = sliding(leave)
        return _smooth(x[active], y[active], [0.0, first], second, 3, t - leave)

    return x, y, np.array([0.0, u]), a, [0.7 * leave, leave + 0.7, leave + 3], exact


CLOSED_FORMS = {
    "entering": _entering(),
    "leaving below": _leaving([0.8, 0.6], [-0.3, 0.91**0.5], [-1.0, 1.0, 2.0], side=-1),
    "leaving above": _leaving([0.3, 0.91**0.5], [-0.8, 0.6], [-0.4, 2.0, 0.5], side=1),
}
# Sums in another order decide by a rounding on one more iteration for the multipliers,
# which are solved to 1e-5 of the pushes at tolerance 1e-4.
DECIDED_BY_ROUNDING = 1e-6

closed_forms = pytest.mark.parametrize("case", CLOSED_FORMS.values(), ids=CLOSED_FORMS)


def _in_steps_of(step):
    """A tolerance so large that it never shortens a step."""
    return jaxflow.FilippovFlow(1e9, first_step=step, largest_step=step)


def _error(case, time, method, inputs=np.asarray):
    x, y, w, a, _, exact = case
    data, network = jaxflow.Dataset(inputs(x), y), jaxflow.Network([w], [a])
    run = jaxflow.simulate(data, network, method, times=[time], observe={})
    assert int(run.stats["loss_increases"]) == 0
    reached = np.r_[run.final.w[0], run.final.a]
    return np.max(np.abs(reached - exact(time)))


@closed_forms
@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param(np.asarray, id="gram", marks=pytest.mark.slow),
        pytest.param(DenseInputs, id="dense"),
    ],
)
def test_second_order_before_along_and_after_a_slide(case, inputs):
    counts = (64, 128, 256)
    for time in case[4]:
        errors = []
        for count in counts:
            step = time / count
            fixed = _in_steps_of(step)
            errors.append(_error(case, time, fixed, inputs))
        order = np.log2(errors[0] / errors[-1]) / 2
        assert order == pytest.approx(2, abs=0.2)
        assert errors[-1] < 2e-5


@closed_forms
def test_error_follows_the_tolerance_across_a_slide(case):
    errors = [
        max(_error(case, t, jaxflow.FilippovFlow(tolerance)) for t in case[4])
        for tolerance in (1e-4, 1e-6, 1e-8)
    ]
    # Between local tolerances of a second-order scheme the error falls by 100^(2/3).
    # How a step falls on the kink is chance, so both are held against the first.
    assert errors[0] < 1e-2
    assert errors[1] < errors[0] / 5
    assert errors[2] < errors[0] / 64


def test_the_slide_is_reported():
    x, y, w, a, times, _ = CLOSED_FORMS["entering"]
    data, network = jaxflow.Dataset(x, y), jaxflow.Network([w], [a])
    shares = [
        float(
            jaxflow.simulate(
                data, network, jaxflow.FilippovFlow(1e-5), times=[t], observe={}
            ).stats["sliding_share"]
        )
        for t in times
    ]
    assert shares == [0, 0.5, 0.5]


# ------------------------------------------------------------------------- networks


def _run(arrays, method, times, **kwargs):
    x, y, w, a = arrays
    return jaxflow.simulate(
        jaxflow.Dataset(x, y), jaxflow.Network(w, a), method, times=times, **kwargs
    )


@pytest.mark.slow
def test_agrees_with_dop853_where_no_pair_meets_its_kink():
    x, y, w, a = problems.without_kinks()
    times = np.array([0.5, 1.0, 2.0])
    losses, w_end, _ = reference.flow(x, y, w, a, times)
    errors = []
    for count in (32, 64, 128):
        step = 2.0 / count
        method = _in_steps_of(step)
        run = _run((x, y, w, a), method, times)
        assert int(run.stats["kink_crossings"]) == 0
        assert float(run.stats["sliding_share"]) == 0
        errors.append([np.max(np.abs(run.loss / losses - 1)), _gap(run, w_end)])
    orders = np.log2(np.array(errors[0]) / np.array(errors[-1])) / 2
    assert_allclose(orders, 2, atol=0.15)
    fine = _run((x, y, w, a), jaxflow.FilippovFlow(1e-8), times)
    assert_allclose(fine.loss, losses, rtol=1e-5)


def _gap(run, w):
    return np.linalg.norm(run.final.w - w) / np.linalg.norm(w)


@pytest.mark.slow
def test_the_limit_is_that_of_small_euler_steps():
    arrays = correlated(n=16, d=5, p=4, seed=1)
    times = np.array([2.0, 5.0, 10.0])
    run = _run(arrays, jaxflow.FilippovFlow(1e-7), times, observe={})
    assert float(run.stats["sliding_share"]) > 0
    coarse, fine = (
        _run(arrays, jaxflow.GradientDescent(rate), times, observe={})
        for rate in (2e-4, 1e-4)
    )
    # Richardson; what is left is the chatter, which is not smooth in the step.
    assert_allclose(run.loss, 2 * fine.loss - coarse.loss, rtol=1e-4)
    assert _gap(run, 2 * fine.final.w - coarse.final.w) < 1e-4


@pytest.mark.parametrize(
    "tolerance", [pytest.param(1e-3, marks=pytest.mark.slow), 1e-5]
)
def test_loss_never_rises_and_lemma_1_holds(tolerance):
    times = np.linspace(0, 100, 101)
    run = _run(correlated(), jaxflow.FilippovFlow(tolerance), times, observe={})
    assert run.result == jaxflow.Results.reached_time
    assert_allclose(run.times, times)
    assert np.all(np.diff(run.loss) <= 0)
    stats = {name: float(value) for name, value in run.stats.items()}
    assert stats["loss_increases"] == 0
    assert stats["kink_crossings"] > 100
    assert 0 < stats["sliding_share"] < 0.3
    assert stats["overflow"] == 0
    assert stats["estimated_error"] <= tolerance * stats["accepted_steps"]
    assert stats["balance_drift"] < 10 * tolerance
    assert stats["accepted_steps"] + stats["rejected_steps"] == stats["steps"]


@pytest.mark.slow
def test_dense_and_gram_give_the_same_trajectory():
    x, y, w, a = correlated(n=24, d=15, p=6)
    gram = jaxflow.Dataset(x, y)
    assert gram.geometry == "gram"
    runs = [
        jaxflow.simulate(
            data,
            jaxflow.Network(w, a),
            jaxflow.FilippovFlow(1e-4),
            times=[2.0, 5.0],
            observe={},
        )
        for data in (gram, jaxflow.Dataset(DenseInputs(x), y))
    ]
    assert abs(int(runs[0].stats["steps"]) - int(runs[1].stats["steps"])) <= 2
    assert float(runs[0].stats["sliding_share"]) > 0
    assert_allclose(runs[0].loss, runs[1].loss, rtol=DECIDED_BY_ROUNDING)
    assert_allclose(runs[0].final.w, runs[1].final.w, atol=DECIDED_BY_ROUNDING)


@pytest.mark.slow
def test_without_forming_the_gram_matrix(monkeypatch):
    arrays, method = correlated(n=24, d=6, p=4), jaxflow.FilippovFlow(1e-4)
    looked_up = _run(arrays, method, [2.0, 5.0], observe={})
    monkeypatch.setattr(interactions, "_CACHED_GRAM", 0)
    # Another static argument, so that nothing compiled before is used again.
    method = jaxflow.FilippovFlow(1e-4, max_steps=99_999)
    computed = _run(arrays, method, [2.0, 5.0], observe={})
    assert_allclose(computed.loss, looked_up.loss, rtol=1e-6)


@pytest.mark.slow
def test_refinement_changes_the_loss_by_little():
    times = [5.0, 20.0, 50.0]
    coarse, fine, finest = (
        _run(correlated(), jaxflow.FilippovFlow(tolerance), times, observe={})
        for tolerance in (1e-4, 1e-5, 1e-6)
    )
    assert_allclose(coarse.loss, finest.loss, rtol=3e-2)
    assert_allclose(fine.loss, finest.loss, rtol=3e-3)


@pytest.mark.slow
def test_float32():
    times = [5.0, 20.0]
    method = jaxflow.FilippovFlow(1e-4)
    single = _run(correlated(dtype=np.float32), method, times, observe={})
    double = _run(correlated(), method, times, observe={})
    assert single.loss.dtype == jnp.float32
    assert single.result == jaxflow.Results.reached_time
    # Not closer than the tolerance: rounding decides on which side of a kink a pair
    # goes as a truncation error would.
    assert_allclose(single.loss, double.loss, rtol=1e-2)


@pytest.mark.slow
def test_vmap_is_close_to_a_loop():
    batch = [correlated(seed=seed) for seed in range(3)]
    times = jnp.array([1.0, 5.0])

    @jax.vmap
    def together(x, y, w, a):
        run = jaxflow.simulate(
            jaxflow.Dataset(x, y),
            jaxflow.Network(w, a),
            jaxflow.FilippovFlow(1e-4),
            times=times,
            observe={},
        )
        return run.loss, run.stats["steps"]

    losses, steps = together(*(jnp.stack(arrays) for arrays in zip(*batch)))  # noqa: B905
    for index, arrays in enumerate(batch):
        alone = _run(arrays, jaxflow.FilippovFlow(1e-4), times, observe={})
        # Rounding decides which way a pair goes that grazes its kink, and with it how
        # many steps are rejected there. Until the first such pair the two are alike.
        assert_allclose(steps[index], alone.stats["steps"], rtol=0.05)
        assert_allclose(losses[index][0], alone.loss[0], rtol=1e-10)
        # Grown along the trajectory; still far below its error.
        assert_allclose(losses[index], alone.loss, rtol=1e-4)


@pytest.mark.slow
def test_padding_changes_nothing():
    x, y, w, a = correlated(n=20, d=5, p=4)
    targets = jnp.pad(y, (0, 3))
    # Only while tracing may an input be zero.
    inputs = DenseInputs(np.ones((23, 5)))
    inputs = eqx.tree_at(lambda i: i.x, inputs, jnp.pad(x, ((0, 3), (0, 0))))
    padded_w, padded_a = jnp.pad(w, ((0, 2), (0, 0))), jnp.pad(a, (0, 2))

    @eqx.filter_jit
    def run(n, p):
        problem = Problem(inputs, targets, jnp.zeros_like(padded_a), n, p)
        return jaxflow.FilippovFlow().run(
            problem,
            padded_w,
            padded_a,
            jnp.array([2.0, 5.0]),
            (jaxflow.Stationary(),),
            lambda time, w, a, multipliers: {"loss": problem.loss_at(w, a)},
        )

    padded = run(jnp.array(20.0), jnp.array(4.0))
    plain = _run((x, y, w, a), jaxflow.FilippovFlow(), [2.0, 5.0], observe={})
    # Sums in another order, grown along the slides.
    assert_allclose(padded.rows["loss"], plain.loss, rtol=1e-6)
    assert_allclose(padded.a[4:], 0)
    for name in ("sliding_share", "kink_crossings", "estimated_error"):
        assert_allclose(padded.stats[name], plain.stats[name], rtol=2e-2)


@pytest.mark.slow
def test_new_numbers_do_not_compile_anew():
    arrays = correlated(n=20, d=5, p=4)

    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def final_loss(method):
        return _run(arrays, method, [3.0], observe={}).final_loss

    def method(scale):
        return jaxflow.FilippovFlow(
            1e-4 * scale, first_step=0.01 * scale, largest_step=1.0 * scale
        )

    eager = _run(arrays, method(2), [3.0], observe={}).final_loss
    assert float(final_loss(method(1))) != float(final_loss(method(2)))
    assert_allclose(final_loss(method(2)), eager, rtol=DECIDED_BY_ROUNDING)


# ----------------------------------------------------------------- how a run can end


@pytest.mark.slow
def test_stops_where_the_loss_meets_the_level():
    arrays = correlated(n=20, d=10, p=10)
    start = float(_run(arrays, jaxflow.FilippovFlow(), [0.0]).loss[0])
    level = 0.3 * start
    run = _run(
        arrays,
        jaxflow.FilippovFlow(1e-6),
        [1e-3, 1e4],
        stop=(jaxflow.Stationary(1e-9), jaxflow.LossBelow(level)),
    )
    assert run.result == jaxflow.Results.loss_below
    assert_allclose(run.final_loss, level, rtol=2e-6)
    assert float(run.final_loss) <= level
    assert np.isnan(run.loss[1])
    through = _run(arrays, jaxflow.FilippovFlow(1e-6), [float(run.final_time)])
    assert_allclose(through.loss[0], level, rtol=1e-4)


def test_stops_where_nothing_moves():
    # Input 1 is never active and y_1 stays unfitted: the loss tends to y_1²/4.
    x, y, w, a, _, _ = CLOSED_FORMS["entering"]
    arrays = x, y, w[None], np.array([a])
    run = _run(arrays, jaxflow.FilippovFlow(1e-6), [1e4], stop=jaxflow.Stationary(1e-2))
    assert run.result == jaxflow.Results.stationary
    assert 1 < float(run.final_time) < 1e3
    assert_allclose(run.final_loss, 0.25, rtol=1e-2)


def test_a_stop_that_holds_at_the_start_takes_no_step():
    run = _run(
        correlated(n=20, d=5, p=4),
        jaxflow.FilippovFlow(),
        [0.0, 1.0],
        stop=jaxflow.LossBelow(1e9),
    )
    assert run.result == jaxflow.Results.loss_below
    assert int(run.stats["steps"]) == 0 == float(run.final_time)
    assert np.isfinite(run.loss[0])


def test_too_few_steps_are_reported():
    run = _run(
        correlated(n=20, d=5, p=4),
        jaxflow.FilippovFlow(max_steps=5),
        [1.0, 100.0],
    )
    assert run.result == jaxflow.Results.max_steps_reached
    assert int(run.stats["steps"]) == 5


def test_an_infinite_loss_is_reported():
    x, y, w, a = correlated(n=20, d=5, p=4)
    run = _run((x, y, 1e200 * w, a), jaxflow.FilippovFlow(), [1.0], observe={})
    assert run.result == jaxflow.Results.diverged


@pytest.mark.slow
def test_converges_to_rounding_without_stalling():
    run = _run(correlated(n=6, d=12, p=12, seed=3), jaxflow.FilippovFlow(), [1e3])
    assert run.result == jaxflow.Results.exhausted
    assert float(run.final_loss) < 1e-20


# ------------------------------------------------------- the choice made for the user


@pytest.mark.slow
def test_the_flow_chooses_it_on_correlated_inputs_alone():
    arrays = correlated(n=60, d=15, p=10)
    chosen = _run(arrays, jaxflow.GradientFlow(), [5.0], observe={})
    named = _run(arrays, jaxflow.FilippovFlow(1e-4), [5.0], observe={})
    assert "sliding_share" in chosen.stats
    assert_allclose(chosen.loss, named.loss, rtol=1e-12)
    literal = _run(arrays, jaxflow.LiteralFlow(1e-3), [1.0])
    assert "sliding_share" not in literal.stats
    data, network = problems.small_orthogonal(jax.random.key(0))
    smooth = jaxflow.simulate(data, network, jaxflow.GradientFlow(), times=[1.0])
    assert "sliding_share" not in smooth.stats


@pytest.mark.slow
def test_on_orthogonal_inputs_it_agrees_with_the_exact_treatment():
    data, network = problems.small_orthogonal(jax.random.key(0), n=12, p=4)
    runs = [
        jaxflow.simulate(data, network, method, times=[10.0], observe={})
        for method in (
            jaxflow.GradientFlow(1e-9),
            jaxflow.FilippovFlow(1e-7),
        )
    ]
    assert_allclose(runs[1].loss, runs[0].loss, rtol=1e-4)


@pytest.mark.slow
def test_antipodal_inputs_are_what_their_arrays_are():
    positive, negative, x = problems.antipodal_array(3, 3, seed=3)
    rng = np.random.default_rng(3)
    y = rng.choice([-1.0, 1.0], 6) * rng.uniform(1, 2, 6)
    u, a = rng.normal(size=(4, 3)), 2 * rng.normal(size=4)
    method, times = jaxflow.FilippovFlow(1e-7), [2.0, 6.0]
    runs = [
        jaxflow.simulate(
            jaxflow.Dataset(inputs, y), jaxflow.Network(w, a), method, times=times
        )
        for inputs, w in (
            (jaxflow.AntipodalInputs(positive, negative), u),
            (DenseInputs(x), u @ (x[:3] / positive[:, None])),
        )
    ]
    assert float(runs[0].stats["sliding_share"]) > 0
    assert_allclose(runs[0].loss, runs[1].loss, rtol=1e-6)
    assert int(runs[0].stats["steps"]) < 2 * int(runs[1].stats["steps"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"first_step": -1.0}, "first_step must be positive"),
        ({"largest_step": 0.0}, "largest_step must be positive"),
        ({"sliding_candidates": 0}, "sliding_candidates must be at least 1"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
    ],
)
def test_says_what_is_wrong_with_an_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        jaxflow.FilippovFlow(**arguments)


def test_the_flow_shows_which_method_it_takes():
    flow = jaxflow.GradientFlow(1e-8, first_step=0.1, max_steps=7)
    x, y, _, _ = correlated(n=20, d=5, p=4)
    sliding = flow.method(jaxflow.Dataset(x, y))
    assert isinstance(sliding, jaxflow.FilippovFlow)
    assert_allclose(sliding.tolerance, 1e-5)
    held = flow.method(jaxflow.OrthogonalInputs([1.0, 2.0]))
    assert isinstance(held, jaxflow.RungeKuttaFlow)
    assert_allclose(held.rtol, 1e-8)
    for method in (sliding, held):
        assert method.first_step is not None
        assert_allclose(method.first_step, 0.1)
        assert method.max_steps == 7


@pytest.mark.slow
def test_curvature_counts_sliding_pairs_by_their_multipliers():
    data, network = jaxflow.sample_problem(
        jax.random.key(0), n=150, d=15, p=20, inputs="sphere"
    )
    step = 0.02
    times = np.array([20.0 - step, 20.0, 20.0 + step])

    def literal(s):
        return s.problem.curvature(s.problem.field(s.weights, s.a))

    run = jaxflow.simulate(
        data,
        network,
        jaxflow.FilippovFlow(1e-6),
        times=times,
        observe={"literal": literal},
    )
    rate = (np.log(run.loss[0]) - np.log(run.loss[2])) / (2 * step)
    assert float(run.stats["sliding_share"]) > 0.005
    assert_allclose(run.curvature[1], rate, rtol=5e-3)
    # With σ'(0) = 0 or 1 in their place it is another number altogether.
    assert abs(float(run.observables["literal"][1]) / rate - 1) > 0.02


@pytest.mark.parametrize("n", [1, 31, 32, 33, 100, 1100])
@pytest.mark.parametrize("share", [0, 0.02, 0.3, 1])
def test_indices_are_those_of_a_plain_search(n, share):
    chosen = np.random.default_rng(n).random((5, n)) < share
    for first, count in [(0, 1), (0, min(5, n)), (0, min(64, n)), (n // 3, 1 + n // 2)]:
        expected = np.full((5, count), n)
        for row, entries in zip(expected, chosen, strict=True):
            found = np.flatnonzero(entries)[first : first + count]
            row[: len(found)] = found
        indices = coupled_multipliers._indices(jnp.array(chosen), first, count)
        assert_array_equal(indices, expected)


@pytest.mark.slow
def test_a_run_that_a_stop_ends_lies_on_its_kinks():
    """So that the tangent kernel knows its slides."""
    for seed in range(3):
        data, network = jaxflow.sample_problem(
            jax.random.key(seed), n=90, d=10, p=8, inputs="sphere", dtype=jnp.float64
        )
        run = jaxflow.simulate(
            data,
            network,
            jaxflow.FilippovFlow(1e-3),
            times=[3000.0],
            stop=jaxflow.Stationary(1e-4),
            observe={},
        )
        assert run.result == jaxflow.Results.stationary
        w, x = np.asarray(run.final.w), np.asarray(data.x)
        sizes = np.linalg.norm(w, axis=1)[:, None] * np.linalg.norm(x, axis=1)
        heights = np.abs(w @ x.T) / sizes
        assert np.any(heights < 1e-12)
        assert not np.any((heights >= 1e-12) & (heights < 1e-7))
