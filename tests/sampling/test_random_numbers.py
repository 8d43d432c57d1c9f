"""Numbers drawn at a larger size are those of the size that was asked for."""

import jax
import jax.numpy as jnp
import pytest
from numpy.testing import assert_array_equal

import jaxflow
from jaxflow._sampling import random_numbers as _draws
from jaxflow._sampling.random_numbers import chi_squares, draw_numbers

KEY = jax.random.key(5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("shape", [(9,), (1511,), (37, 1), (13, 101), (1301, 100)])
def test_the_numbers_are_those_of_the_law(shape, dtype):
    for law, bounds in (
        (jax.random.normal, ()),
        (jax.random.exponential, ()),
        (jax.random.uniform, (1, 2)),
        (jax.random.uniform, (-0.1, 0.1)),
        (jax.random.rademacher, ()),
    ):
        found = draw_numbers(law, KEY, shape, dtype, *bounds)
        assert found.dtype == dtype
        assert_array_equal(found, law(KEY, shape, dtype, *bounds))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("freedom, fall, count", [(11, 1, 11), (30, 1, 9), (7, 0, 37)])
def test_the_squares_are_those_of_the_law(freedom, fall, count, dtype):
    found = draw_numbers(chi_squares(freedom, fall), KEY, (count,), dtype)
    degrees = jnp.asarray(freedom - fall * jnp.arange(count), dtype)
    assert_array_equal(found, jax.random.chisquare(KEY, degrees, (count,), dtype))


@pytest.mark.slow
@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize(
    "n, d, inputs, init",
    [
        pytest.param(131, 10, "sphere", "gaussian", marks=pytest.mark.slow),
        pytest.param(37, 33, "gaussian", "uniform", marks=pytest.mark.slow),
        (45, 70, "orthogonal", "gaussian"),
        (45, 70, "orthogonal", "uniform"),
    ],
)
def test_a_problem_is_the_same_by_plain_draws(n, d, inputs, init, x64, monkeypatch):
    def drawn():
        sizes = {"n": n, "d": d, "p": 11}
        return jaxflow.sample_problem(KEY, **sizes, inputs=inputs, init=init)

    with jax.enable_x64(x64):
        larger = drawn()
        monkeypatch.setattr(_draws, "_LARGE", 0)
        plain = drawn()
    assert plain[0].targets.dtype == (jnp.float64 if x64 else jnp.float32)
    jax.tree.map(assert_array_equal, larger, plain)


def recorded(sizes):
    """A law that notes what it is asked for."""

    def law(key, shape, dtype):
        sizes.append(shape)
        return jax.random.normal(key, shape, dtype)

    return law


def test_a_sweep_asks_for_few_sizes():
    sizes: list[tuple[int, ...]] = []
    grid = range(1300, 2101, 50)
    for n in grid:
        draw_numbers(recorded(sizes), KEY, (n, 100), jnp.float32)
    assert len(set(sizes)) == 4
    assert all(size < 1.25 * n * 100 for (size,), n in zip(sizes, grid, strict=True))


@pytest.mark.parametrize(
    "why", ["many numbers", "another generator", "another order", "within a program"]
)
def test_else_the_law_is_asked_for_what_is_wanted(why, monkeypatch):
    sizes: list[tuple[int, ...]] = []

    def draw(key):
        return draw_numbers(recorded(sizes), key, (11, 13), jnp.float32)

    key = KEY
    if why == "many numbers":
        monkeypatch.setattr(_draws, "_LARGE", 100)
    elif why == "another generator":
        key = jax.random.key(5, impl="rbg")
    elif why == "within a program":
        draw = jax.jit(draw)
    with jax.threefry_partitionable(why != "another order"):
        found = draw(key)
        assert sizes == [(11, 13)]
        assert_array_equal(found, jax.random.normal(key, (11, 13), jnp.float32))


def test_a_key_of_the_old_style_serves_too():
    key = jax.random.PRNGKey(5)
    found = draw_numbers(jax.random.normal, key, (9,), jnp.float32)
    assert _draws._begins_alike(key)
    assert_array_equal(found, jax.random.normal(key, (9,), jnp.float32))
