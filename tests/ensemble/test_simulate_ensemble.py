"""`simulate_ensemble`: the runs are those of `simulate`, to the last bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from numpy.testing import assert_allclose, assert_array_equal

import jaxflow
from jaxflow._ensemble import resources
from jaxflow._ensemble.grid import check_key
from jaxflow._ensemble.program import Program, Work, prepare, stack, working_bytes
from jaxflow._problem import padding
from jaxflow._problem.size_buckets import bucket_size, row_bucket_size
from jaxflow._simulate import check_observers

KEY = jax.random.key(5)
TIMES = (0.0, 3.0, 30.0)
DESCENT = jaxflow.GradientDescent(0.5)


def ensemble(**kwargs):
    settings = {
        "n": 20,
        "d": 40,
        "p": 6,
        "seeds": 3,
        "method": DESCENT,
        "times": TIMES,
        "progress": False,
    }
    return jaxflow.simulate_ensemble(KEY, **{**settings, **kwargs})


def alone(n, d, p, seed, method=DESCENT, times=TIMES, stop=(), **laws):
    data, network = jaxflow.sample_problem(
        jaxflow.run_key(KEY, n, d, p, seed), n=n, d=d, p=p, **laws
    )
    return jaxflow.simulate(data, network, method, times=times, stop=stop, observe={})


def assert_same(run, row):
    """Every number of a Solution and of a row of an ensemble, to the last bit."""
    for name in ("loss", "curvature", "average_curvature", "final_loss", "final_time"):
        assert_array_equal(getattr(run, name), row[name].values)
    assert_array_equal(run.times, row["t"].values)
    for name in ("steps", "velocity_evaluations", "loss_increases", "balance_drift"):
        if name != "balance_drift":
            assert_array_equal(run.stats[name], row[name].values)
        else:
            assert_allclose(run.stats[name], row[name].values, rtol=1e-6, atol=1e-14)
    assert int(row["result"]) == int(run.result._value)
    assert bool(row["converged"]) == bool(run.result == jaxflow.Results.loss_below)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(
    ("inputs", "n", "d"),
    [
        ("orthogonal", 37, 60),
        pytest.param("antipodal", 38, 60, marks=pytest.mark.slow),
        ("sphere", 70, 20),
        pytest.param("sphere", 37, 60, marks=pytest.mark.slow),
    ],
)
def test_runs_are_those_of_simulate(inputs, n, d, dtype):
    stop = jaxflow.LossBelow(0.02), jaxflow.LossFallen(0.015)
    laws = {"inputs": inputs, "dtype": dtype}
    runs = ensemble(n=n, d=d, p=11, stop=stop, **laws)
    for seed in range(3):
        run = alone(n, d, 11, seed, stop=stop, **laws)
        assert_same(run, runs.sel(seed=seed))
    assert np.isnan(runs.loss).any() == (runs.final_time < TIMES[-1]).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "n", "d", "method"),
    [
        ("orthogonal", 37, 60, jaxflow.GradientFlow(1e-5)),
        ("sphere", 50, 20, jaxflow.FilippovFlow(1e-3)),
    ],
)
def test_flows_are_those_of_simulate(inputs, n, d, method):
    runs = ensemble(n=n, d=d, method=method, inputs=inputs, seeds=2)
    for seed in range(2):
        assert_same(alone(n, d, 6, seed, method, inputs=inputs), runs.sel(seed=seed))


@pytest.mark.slow
def test_batch_and_company_change_no_bit():
    few = ensemble(seeds=1)
    # 7 runs; then 64, among other n that share its program.
    seven = ensemble(seeds=range(7))
    many = ensemble(n=range(13, 21), seeds=8).sel(n=20)
    for runs in (seven, many):
        for name in few.data_vars:
            if "seed" in few[name].dims:
                assert_array_equal(few[name].isel(seed=0), runs[name].isel(seed=0))


@pytest.mark.slow
def test_one_compilation_serves_a_bucket():
    runs = ensemble(n=range(65, 69), d=100, p=[5, 6], seeds=2)
    assert runs.attrs["compilations"] == 2  # p = 5 and p = 6 are buckets of their own
    # Laws in NumPy, since parts of those of the package compile for each n.
    twenty = ensemble(
        n=range(1025, 1065, 2),
        d=2000,
        p=35,
        times=[2.0],
        seeds=1,
        targets=lambda key, inputs, dtype: np.ones(inputs.num_examples),
        init=lambda key, data, d, p: jaxflow.Network(
            np.ones((p, data.num_examples)), np.ones(p)
        ),
    )
    assert twenty.sizes["n"] == 20
    assert twenty.attrs["compilations"] == 1


def test_buckets_waste_little():
    counts = np.arange(1, 5000)
    sizes = np.array([bucket_size(int(count)) for count in counts])
    assert np.all(sizes >= counts)
    assert np.all([bucket_size(int(r)) == r for r in sizes])
    # Of n p pairs less than 15 % are padding, whatever n and p.
    assert (1 - (counts / sizes).min() ** 2) < 0.15
    assert len(np.unique(sizes)) < 170


@pytest.mark.slow
def test_padding_only_rounds(monkeypatch):
    """Sums over more zeros may be taken in another order: one unit in the last place
    per step, which a stable stretch does not amplify."""
    # A width that no other test has, so that each size is compiled here.
    sizes = {"n": 37, "d": 60, "p": 35}
    assert (row_bucket_size(37), bucket_size(35)) == (38, 36)
    padded = alone(**sizes, seed=0)
    for name in ("bucket_size", "row_bucket_size"):
        monkeypatch.setattr(padding, name, lambda count: count)
    jax.clear_caches()
    plain = alone(**sizes, seed=0)
    assert_allclose(padded.loss, plain.loss, rtol=1e-13)
    assert_array_equal(padded.stats["steps"], plain.stats["steps"])
    jax.clear_caches()


def test_lockstep_agrees_to_rounding():
    runs = ensemble(inputs="sphere", d=8, stop=jaxflow.LossBelow(0.1))
    together = ensemble(
        inputs="sphere", d=8, stop=jaxflow.LossBelow(0.1), lockstep=True
    )
    assert_allclose(together.loss, runs.loss, rtol=1e-12)
    assert_array_equal(together.steps, runs.steps)
    assert_array_equal(together.result, runs.result)
    # The slowest run decides, and zeros are computed.
    most = int(runs.steps.max())
    expected = float(runs.steps.sum()) / (most * 3)
    assert together.attrs["useful_share"] == pytest.approx(expected)


@pytest.mark.slow
def test_axes_and_coordinates():
    runs = ensemble(n=[10, 12], d=[40, 50], p=[3, 4], seeds=[7, 2])
    assert runs.loss.dims == ("n", "d", "p", "seed", "time")
    assert runs.loss.shape == (2, 2, 2, 2, 3)
    assert_array_equal(runs.seed, [7, 2])
    assert_array_equal(runs.time, TIMES)
    assert_same(alone(12, 40, 4, 2), runs.sel(n=12, d=40, p=4, seed=2))
    ruled = ensemble(n=[10, 40], p=None, epsilon=0.1, seeds=1)
    expected = [jaxflow.width_rule(n, 0.1) for n in (10, 40)]
    assert_array_equal(ruled.p, expected)
    assert ruled.p.dims == ("n",)
    zipped = ensemble(n=[10, 12], p=[4, 3], grid="zip", seeds=2)
    assert zipped.loss.dims == ("cell", "seed", "time")
    assert_same(alone(12, 40, 3, 1), zipped.isel(cell=1, seed=1))
    assert_array_equal(ensemble(n=[10, 12], p=lambda n: n // 2, seeds=1).p, [5, 6])


@pytest.mark.slow
def test_several_methods_see_the_same_problems():
    methods = {"half": DESCENT, "flow": jaxflow.GradientFlow(1e-6)}
    runs = ensemble(method=methods, seeds=2)
    assert runs.loss.dims == ("dynamics", "seed", "time")
    assert_array_equal(runs.loss.sel(dynamics="half")[..., 0], runs.loss[1, ..., 0])
    assert_same(alone(20, 40, 6, 1), runs.sel(dynamics="half", seed=1))
    assert np.all(np.isnan(runs.sliding_share))


def test_times_may_follow_the_sizes():
    runs = ensemble(n=[10, 20], times=lambda n, d, p: [n / 2, n * p], seeds=2)
    assert_array_equal(runs.t, [[5, 60], [10, 120]])
    assert "time" not in runs.coords
    assert_same(alone(20, 40, 6, 1, times=[10.0, 120.0]), runs.sel(n=20, seed=1))


@pytest.mark.slow
def test_observables_see_what_is_there():
    hidden = ("squared_norm", "balance_drift")
    observe = {
        **{k: v for k, v in jaxflow.OBSERVABLES.items() if k not in hidden},
        "present": lambda s: jnp.sum(s.present),
    }
    runs = ensemble(n=37, d=60, p=33, observe=observe, seeds=1)
    data, network = jaxflow.sample_problem(
        jaxflow.run_key(KEY, 37, 60, 33, 0), n=37, d=60, p=33
    )
    run = jaxflow.simulate(data, network, DESCENT, times=TIMES)
    assert_array_equal(runs.present.values.ravel(), [37] * 3)
    for name in observe:
        if name != "present":
            assert_allclose(
                runs[name].values.ravel(), run.observables[name], rtol=1e-12, atol=1e-14
            )


def test_progress_tells_the_time_left():
    seen: list[jaxflow.Progress] = []
    ensemble(n=[20, 40], seeds=40, progress=seen.append)
    assert [p.done for p in seen] == sorted({p.done for p in seen})
    assert seen[-1].done == seen[-1].total == 80
    assert seen[-1].seconds_left == 0
    assert all(p.seconds_left is not None and p.seconds_left >= 0 for p in seen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"n": []}, "n must hold at least one"),
        ({"n": [10, 2.5]}, "n must be an integer, got 2.5"),
        ({"p": 0}, "p must be at least 1"),
        ({"d": "40"}, "d must be an integer"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"seeds": [1, 1]}, "seeds must be different"),
        ({"seeds": [-1]}, "seeds must be integers ≥ 0"),
        ({"times": [-1.0]}, "times must be ≥ 0"),
        ({"times": [1.0, 1.0]}, "increase strictly"),
        ({"times": lambda n, d, p: [1.0] * n, "n": [2, 3]}, "increase strictly"),
        (
            {"times": lambda n, d, p: [*range(n)], "n": [2, 3]},
            "equally many times for every n, d, p, got between 2 and 3",
        ),
        ({"grid": "all"}, "grid must be one of 'product', 'zip'"),
        ({"grid": "zip", "n": [1, 2], "p": [1, 2, 3]}, "equal lengths, got n: 2, p: 3"),
        ({"inputs": "spherical"}, "inputs must be one of"),
        ({"init": "zeros"}, "init must be one of"),
        ({"method": 1.0}, "method must be a method such as"),
        ({"method": {}}, "at least one method"),
        ({"stop": 1e-3}, "stop must be a condition"),
        ({"memory": -1}, "memory must be positive"),
        ({"devices": []}, "at least one jax device"),
        ({"devices": ["cpu"]}, "devices must be jax devices"),
        ({"memory": 1000}, "one run.* takes about .* MiB, but memory"),
        ({"observe": jaxflow.OBSERVABLES}, "'balance_drift' is a variable of every"),
        ({"observe": {"seed": lambda s: s.loss}}, "'seed' is a variable of every"),
        ({"observe": {"r": lambda s: {"a": s.loss}}}, "'r' must return one array"),
        ({"n": [4, 4]}, "must not repeat"),
        ({"n": 50}, "holds at most 40 orthogonal inputs"),
        ({"dtype": int}, "dtype must be floating point"),
        (
            {"n": [10, 40], "observe": {"r": lambda s: s.residuals}},
            "'r' must have one shape for all runs, got",
        ),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        ensemble(**change)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "n", "d", "method"),
    [
        ("orthogonal", 100, 200, DESCENT),
        pytest.param(
            *("orthogonal", 100, 200, jaxflow.GradientFlow(1e-5)),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("sphere", 200, 30, jaxflow.FilippovFlow(1e-3)), marks=pytest.mark.slow
        ),
        ("sphere", 100, 200, DESCENT),
    ],
)
def test_the_memory_of_a_run_is_foreseen(inputs, n, d, method):
    data, network = jaxflow.sample_problem(KEY, n=n, d=d, p=20, inputs=inputs)
    run = prepare(data, network, method.lean(), TIMES)
    mesh = Mesh(np.array(jax.devices()[:1]), ("run",))
    program = Program(check_observers({}), mesh, lockstep=True)
    work = Work.of_methods({"": method}, (jaxflow.LossBelow(),))[""]
    told = program.compile(stack([run] * 4, 4), work).memory_analysis()
    taken = (
        told.temp_size_in_bytes
        + told.argument_size_in_bytes
        + told.output_size_in_bytes
    )
    assert 0.5 < taken / (4 * working_bytes(run, method)) < 1.1


def test_the_key_is_checked():
    check_key(KEY)
    check_key(jax.random.PRNGKey(0))
    with pytest.raises(ValueError, match=r"key must be a jax\.random\.key"):
        check_key(0)


@pytest.mark.slow
def test_precision_may_be_set_for_a_while():
    before = ensemble()
    with jax.enable_x64(False):
        single = ensemble()
        assert_same(alone(20, 40, 6, 1), single.sel(seed=1))
    assert single.loss.dtype == np.float32
    assert_array_equal(ensemble().loss, before.loss)


def test_keys_are_distinct():
    keys = {
        tuple(np.asarray(jax.random.key_data(jaxflow.run_key(KEY, *numbers))).tolist())
        for numbers in [(1, 2, 3, 4), (2, 1, 3, 4), (1, 2, 4, 3), (1, 2, 3, 5)]
    }
    assert len(keys) == 4
    with pytest.raises(ValueError, match="seed must lie between 0 and"):
        jaxflow.run_key(KEY, 1, 2, 3, -1)


@pytest.mark.slow
def test_programs_are_released_before_they_are_too_many(monkeypatch):
    def run():
        return jaxflow.simulate_ensemble(
            jax.random.key(0),
            n=[5, 6, 7],
            d=9,
            p=4,
            seeds=2,
            method=jaxflow.GradientDescent(0.5),
            times=[3.0],
        )

    released = []
    monkeypatch.setattr(resources.jax, "clear_caches", lambda: released.append(1))
    before = run()
    monkeypatch.setattr(resources, "_map_limit", lambda: None)
    run()
    assert released == []
    monkeypatch.setattr(resources, "_map_limit", lambda: 10)
    monkeypatch.setattr(resources, "memory_maps", lambda: 7)
    run()
    assert released == []
    monkeypatch.undo()
    monkeypatch.setattr(resources, "_map_limit", lambda: 10)
    monkeypatch.setattr(resources, "memory_maps", lambda: 8)
    # What is computed does not change when jax forgets in between.
    assert_array_equal(run().loss.values, before.loss.values)
