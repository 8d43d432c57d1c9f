"""Inputs that are whitened but not Gaussian, and inputs with a bias."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jaxflow
from tests import problems

KEY = jax.random.key(0)
SLOW = pytest.mark.slow


@pytest.mark.parametrize("inputs", ["rademacher", "sparse"])
@pytest.mark.parametrize("d", [1, *(pytest.param(d, marks=SLOW) for d in (2, 7))])
def test_whitened_inputs(inputs, d):
    """E x = 0 and E[x xᵀ] = I/d (Lemma 3), and no input is zero."""
    n = 20_000
    sampled = jaxflow.sample_inputs(KEY, n=n, d=d, inputs=inputs)
    assert isinstance(sampled, jaxflow.DenseInputs)
    x = np.asarray(sampled.x)
    assert_allclose(x.mean(axis=0), 0, atol=5 / np.sqrt(n * d))
    assert_allclose(x.T @ x / n, np.eye(d) / d, atol=5 / np.sqrt(n) / d)
    assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-12)
    per_input = np.sum(x != 0, axis=1)
    assert_array_equal(per_input, d if inputs == "rademacher" else -(-d // 3))


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["rademacher", "sparse"])
def test_whitened_inputs_are_a_problem_like_others(inputs):
    for n, d, dtype in ((4, 9, np.float32), (30, 5, np.float64)):
        data, network = jaxflow.sample_problem(
            KEY, n=n, d=d, p=3, inputs=inputs, dtype=dtype
        )
        assert data.targets.dtype == network.w.dtype == dtype
        assert network.w.shape == (3, d)
        # The flow takes the cheapest geometry, whichever that is.
        assert (data.geometry == "dense") == (n > 2 * d)


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["rademacher", "sparse"])
def test_an_ensemble_of_whitened_inputs_runs_what_is_sampled(inputs):
    method, times = jaxflow.GradientDescent(0.5), [0.0, 4.0]
    settings = {"d": 9, "p": 3, "inputs": inputs}
    runs = jaxflow.simulate_ensemble(
        KEY, n=[1, 2, 11, 30], seeds=3, method=method, times=times, **settings
    )
    for n in (1, 2, 11, 30):
        for seed in range(3):
            key = jaxflow.run_key(KEY, n, 9, 3, seed)
            data, network = jaxflow.sample_problem(key, n=n, **settings)
            run = jaxflow.simulate(data, network, method, times=times, observe={})
            assert_array_equal(runs.loss.sel(n=n, seed=seed), run.loss)


# --- with a bias ----------------------------------------------------------------------

LAWS = ["sphere", "gaussian", "orthogonal", "antipodal", "sparse"]


@pytest.mark.parametrize("n, d", [(6, 9), pytest.param(40, 9, marks=SLOW)])
@pytest.mark.parametrize(
    "inputs",
    [pytest.param(x, marks=[] if x == "orthogonal" else SLOW) for x in LAWS],
)
def test_a_bias_adds_its_square_to_each_entry_of_k(inputs, n, d):
    if n > d and inputs in ("orthogonal", "antipodal"):
        pytest.skip("more than the dimension holds")
    plain, _ = jaxflow.sample_problem(KEY, n=n, d=d, p=3, inputs=inputs)
    data, network = jaxflow.sample_problem(KEY, n=n, d=d, p=3, inputs=inputs, bias=0.3)
    gram = np.asarray(plain.inputs.gram())
    assert_allclose(data.inputs.gram(), gram + 0.09, rtol=1e-13)
    assert_array_equal(data.targets, plain.targets)
    if isinstance(data.inputs, jaxflow.DenseInputs):
        assert_array_equal(data.inputs.x[:, -1], 0.3)
        assert network.w.shape == (3, d + 1)


@pytest.mark.parametrize(
    "inputs",
    [
        jaxflow.OrthogonalInputs([1.0]),
        jaxflow.AntipodalInputs([1.0], [2.0]),
        jaxflow.GramInputs([[4.0]]),
        jaxflow.DenseInputs([[2.0]]),
    ],
    ids=lambda inputs: type(inputs).__name__,
)
@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_biases_of_every_size_on_one_example(inputs, dtype):
    inputs = jax.tree.map(lambda leaf: leaf.astype(dtype), inputs)
    for size in (1e-20, 1e-3, 1e6):
        with_bias = jax.jit(lambda x, b: x.with_bias(b))(inputs, size)
        eager = inputs.with_bias(size)
        assert eager.dtype == dtype
        expected = inputs.gram() + np.asarray(size, dtype) ** 2
        for one in (with_bias, eager):
            assert_allclose(one.gram(), expected, rtol=1e-6)
        root = eager.on_frame(jnp.eye(eager.frame_size, dtype=dtype))
        assert_allclose(root.T @ root, expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gram", "orthogonal", "antipodal"])
def test_the_flow_with_a_bias_is_that_of_explicit_inputs(name):
    """Against dense inputs with a column of b's, in R^{d+1}."""
    norms, orthogonal = problems.orthogonal_array(6, 9)
    plus, minus, opposite = problems.antipodal_array(3, 9)
    correlated = np.random.default_rng(3).normal(size=(6, 9))
    inputs, x = {
        "gram": (jaxflow.GramInputs(correlated @ correlated.T), correlated),
        "orthogonal": (jaxflow.OrthogonalInputs(norms), orthogonal),
        "antipodal": (jaxflow.AntipodalInputs(plus, minus), opposite),
    }[name]
    rng = np.random.default_rng(4)
    w, y = rng.normal(size=(4, 10)), rng.normal(size=6)
    explicit = np.column_stack([x, np.full(6, 0.7)])
    a = np.linalg.norm(w, axis=1) * [1, -1, 1, -1]
    squares = np.sum(w**2, axis=1)
    of_gram, of_dense = (
        jaxflow.simulate(
            jaxflow.Dataset(given, y),
            network,
            jaxflow.GradientDescent(0.05),
            times=np.linspace(0, 10, 5),
            observe={},
        ).loss
        for given, network in (
            (inputs.with_bias(0.7), jaxflow.Network(w @ explicit.T, a, squares)),
            (jaxflow.DenseInputs(explicit), jaxflow.Network(w, a)),
        )
    )
    assert of_gram[-1] < of_gram[0]
    assert_allclose(of_gram, of_dense, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("inputs", LAWS)
def test_an_ensemble_with_a_bias_runs_what_is_sampled(inputs):
    method, times = jaxflow.GradientDescent(0.2), [0.0, 4.0]
    settings = {"d": 12, "p": 3, "inputs": inputs, "bias": 0.5, "targets": "teacher"}
    runs = jaxflow.simulate_ensemble(
        KEY, n=[2, 10], seeds=2, method=method, times=times, **settings
    )
    for n in (2, 10):
        key = jaxflow.run_key(KEY, n, 12, 3, 1)
        data, network = jaxflow.sample_problem(key, n=n, **settings)
        run = jaxflow.simulate(data, network, method, times=times, observe={})
        assert_array_equal(runs.loss.sel(n=n, seed=1), run.loss)
