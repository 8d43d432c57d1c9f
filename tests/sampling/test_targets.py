"""Targets that see the inputs: directions, teachers, laws of one's own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import jaxflow
from jaxflow._sampling.directions import orthogonal_preactivations
from tests import problems

KEY = jax.random.key(0)


def _geometries():
    """Each with its inputs as an array (n, d)."""
    norms, x = problems.orthogonal_array(6, 9)
    plus, minus, y = problems.antipodal_array(4, 7)
    dense = np.random.default_rng(3).normal(size=(6, 9))
    return {
        "dense": (jaxflow.DenseInputs(dense), dense),
        "gram": (jaxflow.GramInputs(dense @ dense.T, 9), dense),
        "factor": (jaxflow.GramInputs(dense @ dense.T, 9, dense), dense),
        "orthogonal": (jaxflow.OrthogonalInputs(norms, 9), x),
        "antipodal": (jaxflow.AntipodalInputs(plus, minus, 7), y),
    }


GEOMETRIES = _geometries()


def _covariance(z):
    """Of draws (draws, k, n): (k, n, k, n)."""
    return np.einsum("sji,slk->jilk", z, z) / len(z)


SLOW = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize("name", GEOMETRIES)
def test_directions_have_the_covariance_of_the_inputs(name):
    inputs, x = GEOMETRIES[name]
    d = x.shape[1]
    given = np.random.default_rng(1).normal(size=(3, d))
    keys = jax.random.split(KEY, 4000)
    random, fixed = jax.vmap(
        lambda key: [
            jaxflow.sample_preactivations(key, inputs, what) for what in (3, given)
        ]
    )(keys)
    gram = x @ x.T
    expected = np.einsum("jl,ik->jilk", np.eye(3), gram)
    spread = 6 * np.max(np.diag(gram)) / np.sqrt(len(keys))
    assert_allclose(_covariance(np.asarray(random)), expected, atol=spread)
    if name == "dense":
        assert_allclose(fixed, np.broadcast_to(given @ x.T, fixed.shape), rtol=1e-12)
        return
    # A rotation that is uniformly random: E[(v_j·x_i)(v_l·x_k)] = v_j·v_l K_ik/d.
    expected = np.einsum("jl,ik->jilk", given @ given.T, gram) / d
    size = np.max(np.diag(given @ given.T)) / d
    assert_allclose(_covariance(np.asarray(fixed)), expected, atol=size * spread)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gram", "orthogonal", "antipodal"])
def test_as_many_given_directions_as_dimensions_see_all_of_the_inputs(name):
    """With orthonormal v_1 … v_d: Σ_j (v_j·x_i)(v_j·x_k) = K_ik, in each draw."""
    inputs, x = GEOMETRIES[name]
    basis = np.linalg.qr(np.random.default_rng(2).normal(size=(x.shape[1],) * 2))[0]
    z = jaxflow.sample_preactivations(KEY, inputs, basis)
    assert_allclose(z.T @ z, x @ x.T, atol=1e-12)
    # More directions than dimensions, that depend on each other.
    twice = jaxflow.sample_preactivations(KEY, inputs, np.concatenate([basis, basis]))
    assert_allclose(twice[: len(basis)], twice[len(basis) :], atol=1e-12)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_an_orthogonal_teacher_of_d_neurons_sees_all_of_the_inputs(name):
    inputs, x = GEOMETRIES[name]
    d = x.shape[1]
    z = orthogonal_preactivations(KEY, inputs, d)
    assert_allclose(z.T @ z, d * x @ x.T, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=SLOW)])
def test_a_teacher_that_is_given_is_a_network(dtype):
    rng = np.random.default_rng(0)
    x, v, b = rng.normal(size=(20, 5)), rng.normal(size=(3, 5)), rng.normal(size=3)
    law = jaxflow.TeacherTargets(3, first_layer=v, second_layer=b, scale=2.0)
    data, _ = jaxflow.sample_problem(
        KEY, p=2, inputs=jnp.asarray(x, dtype), targets=law, dtype=dtype
    )
    assert data.targets.dtype == dtype
    expected = 2 * np.maximum(v @ x.T, 0).T @ b / 3
    assert_allclose(data.targets, expected, rtol=1e-5 if dtype == np.float32 else 1e-12)
    noisy = jaxflow.TeacherTargets(
        3, first_layer=v, second_layer=b, scale=2.0, noise=0.1
    )
    inputs = jaxflow.DenseInputs(x)
    noises = [noisy(jax.random.key(i), inputs) - expected for i in range(40)]
    assert stats.kstest(np.ravel(noises) / 0.1, "norm").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("second_layer", ["signs", "ones", "gaussian"])
def test_a_teacher_has_the_moments_of_its_laws(second_layer):
    law = jaxflow.TeacherTargets(4, second_layer=second_layer)
    inputs = jaxflow.OrthogonalInputs(jnp.array([1.0, 2.0]))
    keys = jax.random.split(KEY, 20_000)
    y = np.asarray(jax.vmap(lambda key: law(key, inputs))(keys))
    # (v·x)_+ has mean ‖x‖/√(2π) and mean square ‖x‖²/2.
    mean = np.array([1, 2]) / np.sqrt(2 * np.pi) * (second_layer == "ones")
    assert_allclose(y.mean(axis=0), mean, atol=0.03)
    square = np.array([1, 4]) / 2 / 4 + mean**2 * 3 / 4
    assert_allclose(np.mean(y**2, axis=0), square, rtol=0.06)


@pytest.mark.slow
def test_a_teacher_that_is_zero_everywhere_is_drawn_again():
    inputs, law = jaxflow.OrthogonalInputs([1.0]), jaxflow.TeacherTargets(1)
    keys = jax.random.split(KEY, 30)
    together = jax.vmap(lambda key: law(key, inputs))(keys)
    # Traced, alone and in a batch: half of the first draws are 0.
    alone = np.array([law(key, inputs) for key in keys])
    assert_array_equal(together, alone)
    assert np.all(alone != 0)


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["sphere", "orthogonal", "rademacher"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_teachers_of_the_smallest_problems(inputs, dtype):
    data, network = jaxflow.sample_problem(
        KEY, n=1, d=1, p=1, inputs=inputs, targets="teacher", dtype=dtype
    )
    assert data.targets.shape == (1,) and data.targets.dtype == dtype
    assert float(data.targets[0]) != 0 and np.isfinite(network.w).all()


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        ("orthogonal", jaxflow.OrthogonalInputs),
        pytest.param("sphere", jaxflow.GramInputs, marks=SLOW),
        pytest.param("antipodal", jaxflow.AntipodalInputs, marks=SLOW),
        pytest.param("sparse", jaxflow.DenseInputs, marks=SLOW),
        pytest.param(np.eye(4, 30), jaxflow.DenseInputs, marks=SLOW),
    ],
)
def test_a_law_of_ones_own_sees_the_geometry(inputs, kind):
    seen: dict[str, Any] = {}

    def targets(key, inputs, dtype):
        seen.update(n=inputs.num_examples, d=inputs.dimension, kind=type(inputs))
        return jnp.sin(jaxflow.sample_preactivations(key, inputs, 1)[0])

    data, _ = jaxflow.sample_problem(
        KEY, n=4, d=30, p=2, inputs=inputs, targets=targets
    )
    assert seen == {"n": 4, "d": 30, "kind": kind}
    # What only laws want to know is not carried along.
    assert kind is jaxflow.DenseInputs or data.inputs.dimension is None


@pytest.mark.slow
def test_a_factor_of_k_draws_what_k_draws():
    """The law of y does not depend on whether K comes with a factor."""
    x = GEOMETRIES["dense"][1]
    law = jaxflow.TeacherTargets(2)
    keys = jax.random.split(KEY, 4000)
    with_factor, without = (
        np.asarray(jax.vmap(lambda key, i=inputs: law(key, i))(keys))
        for inputs in (GEOMETRIES["factor"][0], jaxflow.GramInputs(x @ x.T))
    )
    for i in range(6):
        assert stats.ks_2samp(with_factor[:, i], without[:, i]).pvalue > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("first_layer", ["gaussian", "orthogonal", "given"])
def test_a_teacher_on_gram_inputs_agrees_in_law_with_explicit_inputs(first_layer):
    """Labels, kernels and final losses, K–S over 600 problems. The explicit inputs are
    formed and multiplied in NumPy."""
    n, d, p, k, problems = 6, 9, 5, 3, 600
    rng = np.random.default_rng(7)
    if first_layer == "given":
        # Far from orthogonal, so that the angles between them matter.
        layer = rng.normal(size=(k, d)) + 2.0
    law = jaxflow.TeacherTargets(
        k, first_layer=layer if first_layer == "given" else first_layer, noise=0.05
    )
    method, times = jaxflow.GradientDescent(0.1), [20.0]

    @jax.vmap
    def of_gram(key):
        data, network = jaxflow.sample_problem(
            key, n=n, d=d, p=p, inputs="sphere", targets=law
        )
        run = jaxflow.simulate(data, network, method, times=times, observe={})
        kernel = jax.vmap(jaxflow.tangent_kernel(data, network).times)(jnp.eye(n))
        return data.targets, data.inputs.gram(), kernel, run.loss[0]

    y, gram, kernel, loss = map(
        np.asarray, of_gram(jax.random.split(jax.random.key(1), problems))
    )

    def explicit():
        x = rng.normal(size=(n, d))
        x *= rng.uniform(1, 2, size=(n, 1)) / np.linalg.norm(x, axis=1, keepdims=True)
        v = layer if first_layer == "given" else rng.normal(size=(k, d))
        if first_layer == "orthogonal":
            q, r = np.linalg.qr(rng.normal(size=(d, k)))
            v = np.sqrt(d) * (q * np.sign(np.diag(r))).T
        b = rng.choice([-1.0, 1.0], size=k)
        y = np.maximum(v @ x.T, 0).T @ b / k + 0.05 * rng.normal(size=n)
        w = rng.normal(size=(p, d)) / np.sqrt(d)
        a = np.linalg.norm(w, axis=1) + rng.exponential(size=p)
        a *= rng.choice([-1.0, 1.0], size=p)
        z = w @ x.T
        on = a[:, None] * (z > 0)
        kernel = (x @ x.T * (on.T @ on) + np.maximum(z, 0).T @ np.maximum(z, 0)) / n / p
        return x, y, w, a, kernel

    drawn = [explicit() for _ in range(problems)]
    xs, ys, ws, as_, kernels = map(np.array, zip(*drawn, strict=True))

    @jax.vmap
    def of_explicit(x, y, w, a):
        data, network = jaxflow.Dataset(x, y), jaxflow.Network(w, a)
        run = jaxflow.simulate(data, network, method, times=times, observe={})
        return run.loss[0]

    losses = np.asarray(of_explicit(xs, ys, ws, as_))
    grams = xs @ np.swapaxes(xs, 1, 2)
    # How labels go along with the inputs.
    aligned, aligned_too = (
        np.einsum("si,sik,sk->s", *given) for given in ((y, gram, y), (ys, grams, ys))
    )
    for one, other in (
        (y[:, 0], ys[:, 0]),
        (y[:, 0] * y[:, 1], ys[:, 0] * ys[:, 1]),
        (np.sum(y**2, axis=1), np.sum(ys**2, axis=1)),
        (aligned, aligned_too),
        (gram[:, 0, 1], grams[:, 0, 1]),
        (kernel[:, 0, 1], kernels[:, 0, 1]),
        (np.linalg.eigvalsh(kernel)[:, 0], np.linalg.eigvalsh(kernels)[:, 0]),
        (loss, losses),
    ):
        assert stats.ks_2samp(one, other).pvalue > 1e-3
