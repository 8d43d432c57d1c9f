"""Numbers drawn at a larger size are those of the size that was asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow
from jaxflow import _draws
from jaxflow._draws import draw

KEY = jax.random.key(5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("shape", [(1,), (9,), (1511,), (37, 1), (13, 101), (200, 7)])
def test_the_numbers_are_those_of_the_law(shape, dtype):
    for law, bounds in (
        (jax.random.normal, ()),
        (jax.random.uniform, (1, 2)),
        (jax.random.rademacher, ()),
    ):
        found = draw(law, KEY, shape, dtype, *bounds)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, law(KEY, shape, dtype, *bounds))


def test_the_triangle_of_bartlett_is_drawn_from_the_laws_as_they_stand():
    n, d = 11, 7
    below_key, diagonal_key = jax.random.split(KEY)
    found = jaxflow._initialisation.bartlett(KEY, n, d, jnp.float64)
    below = np.tril(jax.random.normal(below_key, (n, d)), -1)
    np.testing.assert_array_equal(np.tril(found, -1), below)
    squares = jax.random.chisquare(diagonal_key, 7.0 - jnp.arange(7.0))
    np.testing.assert_array_equal(np.diag(found), jnp.sqrt(squares))


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
        draw(recorded(sizes), KEY, (n, 100), jnp.float32)
    assert len(set(sizes)) == 4
    assert all(size < 1.25 * n * 100 for (size,), n in zip(sizes, grid, strict=True))


@pytest.mark.parametrize("why", ["many", "another generator", "another order"])
def test_else_the_law_is_asked_for_what_is_wanted(why, monkeypatch):
    key = KEY
    if why == "many":
        monkeypatch.setattr(_draws, "_LARGE", 100)
    elif why == "another generator":
        key = jax.random.key(5, impl="rbg")
    else:
        monkeypatch.setattr(_draws, "_begins_alike", lambda key: False)
    sizes: list[tuple[int, ...]] = []
    found = draw(recorded(sizes), key, (11, 13), jnp.float32)
    assert sizes == [(11, 13)]
    expected = jax.random.normal(key, (11, 13), jnp.float32)
    np.testing.assert_array_equal(found, expected)


def test_other_settings_of_the_generator_are_noticed():
    assert _draws._begins_alike(KEY)
    assert _draws._begins_alike(jax.random.PRNGKey(5))
    with jax.threefry_partitionable(False):
        assert not _draws._begins_alike(KEY)
