"""The tangent kernel against its formula, formed in NumPy from the coordinates."""

import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow
from tests import problems

KINDS = ("dense", "gram", "orthogonal", "antipodal")


def drawn(kind, n=30, d=12, p=7, seed=0):
    """(x, y, w, a) whose inputs have that geometry."""
    rng = np.random.default_rng(seed)
    if kind == "dense":
        x = rng.normal(size=(n, d))
    elif kind == "gram":
        x = rng.normal(size=(n, n))
    elif kind == "orthogonal":
        x = problems.orthogonal_array(n, n + 5, seed)[1]
    else:
        x = problems.antipodal_array(n // 2, n, seed)[2]
    y = rng.choice([-1.0, 1.0], n) * rng.uniform(1, 2, n)
    w = rng.normal(size=(p, x.shape[1])) / np.sqrt(x.shape[1])
    return x, y, w, rng.choice([-1.0, 1.0], p) * rng.uniform(0.5, 2, p)


def formed(x, w, a, slides=None, z=None):
    """M, from its formula. `z` where its rounding decides which pairs are active."""
    z = w @ x.T if z is None else z
    slides = np.zeros(z.shape, bool) if slides is None else slides
    active = (z > 0) & ~slides
    sizes, activations = active * np.abs(a)[:, None], active * z
    matrix = (x @ x.T) * (sizes.T @ sizes) + activations.T @ activations
    for j in np.flatnonzero(slides.any(axis=1)):
        _, values, axes = np.linalg.svd(x[slides[j]], full_matrices=False)
        parts = sizes[j][:, None] * x @ axes[values > 1e-9 * values[0]].T
        matrix -= parts @ parts.T
    return matrix / z.size


def agree(kernel, matrix, relative=1e-6):
    """Both ends to 1e-6 of λ_max, the largest besides to that of itself."""
    values = np.linalg.eigvalsh(matrix)
    slack = relative * values[-1]
    np.testing.assert_allclose(kernel.smallest, values[0], rtol=0, atol=slack)
    np.testing.assert_allclose(kernel.largest, values[-1], rtol=0, atol=slack)
    assert kernel.smallest >= 0
    assert float(kernel.error) <= slack


def both(x, y, w, a, dtype=jnp.float64):
    data = jaxflow.Dataset(jnp.asarray(x, dtype), jnp.asarray(y, dtype))
    return data, jaxflow.Network(jnp.asarray(w, dtype), jnp.asarray(a, dtype))


def rounded(dtype, *arrays):
    """As the library sees them, in float64: rounding of the inputs is not its error."""
    return [np.asarray(array, dtype).astype(float) for array in arrays]


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_the_operator_and_its_ends(kind, dtype):
    for seed in range(3):
        x, y, w, a = rounded(dtype, *drawn(kind, seed=seed))
        data, network = both(x, y, w, a, dtype)
        assert data.geometry == kind
        kernel = jaxflow.tangent_kernel(data, network)
        matrix = formed(x, w, a)
        agree(kernel, matrix)
        v = np.random.default_rng(seed).normal(size=len(x))
        size = np.linalg.norm(matrix @ v)
        error = np.asarray(kernel.times(v)) - matrix @ v
        assert np.linalg.norm(error) <= 20 * jnp.finfo(dtype).eps * size
        assert kernel.smallest.dtype == kernel.times(v).dtype == dtype


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 5), (6, 3, 1), (1, 1, 4)])
@pytest.mark.parametrize("kind", ["dense", "orthogonal"])
def test_one_example_and_one_neuron(kind, shape):
    n, d, p = shape
    x, y, w, a = drawn("orthogonal" if kind == "orthogonal" else "dense", n, d, p)
    if kind == "dense":
        x = jaxflow.DenseInputs(x)
    for sign in (1, -1):
        data, network = jaxflow.Dataset(x, y), jaxflow.Network(sign * w, a)
        array = np.asarray(getattr(x, "x", x))
        kernel = jaxflow.tangent_kernel(data, network)
        agree(kernel, formed(array, sign * w, a))


@pytest.mark.parametrize("kind", KINDS)
def test_a_dead_network_has_no_spectrum(kind):
    """At the origin, and where every pair is off."""
    x, y, w, a = drawn(kind)
    off = -np.linalg.pinv(x).sum(axis=1)
    if kind == "dense":
        x, off = np.abs(x), -np.ones(x.shape[1])
    for dead in (np.zeros_like(w), np.tile(off, (len(w), 1))):
        if kind == "antipodal" and dead.any():
            # One of two opposite inputs is on.
            continue
        kernel = jaxflow.tangent_kernel(*both(x, y, dead, a))
        assert kernel.smallest == kernel.largest == 0
        assert not np.any(kernel.times(np.ones(len(x))))


def diagonal_plus_rank(lengths, u, a):
    """M on orthogonal inputs that are given by their lengths."""
    z = np.where(u > 0, u * lengths, 0)
    diagonal = lengths**2 * np.sum(np.where(u > 0, a[:, None] ** 2, 0), axis=0)
    return (np.diag(diagonal) + z.T @ z) / u.size


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("p", [1, 2, 6])
def test_bisection_where_the_diagonal_has_ties(p, dtype):
    """Equal lengths and equal |a|: many D_i are equal, some zero, and eigenvalues lie
    exactly on them."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n = 40
        u = rng.normal(size=(p, n)) + rng.choice([0.0, 2.0])
        if seed % 3 == 0:
            # One example lies at the least D by itself, and far below the others.
            u[:, 0], u[0, 0] = -1.0, 1e-3
        lengths = np.ones(n) if seed % 2 else rng.choice([1.0, 1.0 + 1e-5, 3.0], n)
        a = rng.choice([-1.0, 1.0], p) * (1.0 if seed % 5 else 1e-3)
        lengths, u, a = rounded(dtype, lengths, u, a)
        data = jaxflow.Dataset(
            jaxflow.OrthogonalInputs(jnp.asarray(lengths, dtype)), jnp.ones(n, dtype)
        )
        network = jaxflow.Network(jnp.asarray(u, dtype), jnp.asarray(a, dtype))
        agree(jaxflow.tangent_kernel(data, network), diagonal_plus_rank(lengths, u, a))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("kind", KINDS)
def test_a_scale_of_the_weights_scales_the_kernel(kind, scale):
    x, y, w, a = drawn(kind)
    kernel = jaxflow.tangent_kernel(*both(x, y, scale * w, scale * a))
    agree(kernel, scale**2 * formed(x, w, a))


def test_products_that_are_many_restart():
    """A spectrum that is dense at its lower end, more of it than the basis holds."""
    x, y, w, a = drawn("dense", n=700, d=30, p=24)
    network = both(x, y, w, a)
    values = np.linalg.eigvalsh(formed(x, w, a))
    assert values[20] < 0.01 * values[-1]
    agree(jaxflow.tangent_kernel(*network), formed(x, w, a))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_two_thousand_examples(kind, dtype):
    n = 2000
    x, y, w, a = drawn(kind, n=n, d=100, p=37)
    x, y, w, a = rounded(dtype, x, y, w, a)
    data, network = both(x, y, w, a, dtype)
    assert data.geometry == kind
    state = jaxflow.Snapshot.of(data, network, interaction=0.0)
    slides = np.zeros((37, n), bool)
    if kind in ("dense", "gram"):
        rng = np.random.default_rng(1)
        for j in range(0, 37, 3):
            slides[j, rng.choice(n, 1 + j, replace=False)] = True
    multipliers = np.where(slides, 0.5, w @ x.T > 0)
    state = eqx.tree_at(
        lambda s: s.multipliers,
        state,
        jnp.asarray(multipliers, dtype),
        is_leaf=lambda leaf: leaf is None,
    )
    agree(state.tangent_kernel, formed(x, w, a, slides))


# --- pairs that slide -----------------------------------------------------------------


def held(x, y, w, a, near):
    """By enumeration: the pairs of `near` that slide, where no two inputs share a kink.

    For each neuron all states (off, on, held) of its pairs near the kink are tried; one
    alone agrees with the speeds that it gives.
    """
    z = w @ x.T
    r = y - a @ np.maximum(z, 0) / len(a)
    slides = np.zeros(z.shape, bool)
    for j in range(len(a)):
        push = a[j] * r / len(x)
        found = []
        where = np.flatnonzero(near[j] & (push < 0))
        for code in np.ndindex(*[3] * len(where)):
            state = np.array(code, int)
            gates = (z[j] > 0).astype(float)
            gates[where] = state == 1
            free = where[state == 2]
            k = x[free] @ x[free].T
            drift = x[free] @ ((gates * push) @ x)
            gates[free] = np.linalg.solve(k * push[free][None, :], -drift)
            speed = x[where] @ ((gates * push) @ x)
            within = (gates[free] > 0) & (gates[free] < 1)
            if np.all(within) and np.all(
                (state == 2) | np.where(state == 1, speed > 0, speed < 0)
            ):
                found.append(free)
        assert len(found) == 1
        slides[j, found[0]] = True
    return slides


def at_kinks(seed, n=9, d=5, p=4, angle=None, count=3):
    """A problem with `count` pairs of each neuron exactly on their kinks, all pushed
    onto it from above, and others that are active."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    if angle is not None:
        x[1] = x[0] + angle * rng.normal(size=d)
        x[3] = -2 * x[2] + angle * rng.normal(size=d)
    w, a = rng.normal(size=(p, d)), rng.uniform(0.2, 2, p)
    near = np.zeros((p, n), bool)
    for j in range(p):
        # Of four inputs, where they are nearly collinear.
        some = rng.choice(n if angle is None else 4, count, replace=False)
        near[j, some] = True
        _, _, axes = np.linalg.svd(x[some])
        w[j] -= w[j] @ axes[:count].T @ axes[:count]
        active = np.sum((w[j] @ x.T > 0) & ~near[j])
        if 2 * active < n - count:
            w[j] *= -1
    y = np.where(near.any(axis=0), -rng.uniform(0.1, 3, n), rng.normal(size=n))
    return x, y, w, a, near


@pytest.mark.parametrize("kind", ["dense", "gram"])
@pytest.mark.parametrize("angle", [None, 1e-2, 1e-4])
def test_slides_of_a_network_at_rest(kind, angle):
    total = 0
    for seed in range(12):
        x, y, w, a, near = at_kinks(seed, angle=angle)
        expected = held(x, y, w, a, near)
        data, network = both(x, y, w, a)
        if kind == "dense":
            data = jaxflow.Dataset(jaxflow.DenseInputs(x), y)
        assert data.geometry == kind
        kernel = jaxflow.tangent_kernel(data, network, rounding=1e-13)
        np.testing.assert_array_equal(kernel.slides, expected)
        agree(kernel, formed(x, w, a, expected))
        total += int(expected.sum())
    assert total >= 12


@pytest.mark.slow
def test_slides_in_float32():
    for seed in range(12):
        x, y, w, a, near = at_kinks(seed)
        expected = held(x, y, w, a, near)
        data, network = both(x, y, w, a, jnp.float32)
        kernel = jaxflow.tangent_kernel(data, network)
        np.testing.assert_array_equal(kernel.slides, expected)
        x, w, a, z = rounded(
            jnp.float32, x, w, a, jaxflow.Snapshot.of(data, network).preactivations
        )
        agree(kernel, formed(x, w, a, expected, z))


def test_collinear_inputs_share_a_kink():
    """x₂ = −c x₁ are held when g₁ + c g₂ < 0, though one of both may be pushed off; two
    that are equal count as one."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        x = rng.normal(size=(4, 3))
        x[1] = rng.choice([-0.5, 2.0]) * x[0]
        w, a = rng.normal(size=(1, 3)), rng.normal(size=1)
        w -= (w @ x[0])[:, None] * x[0] / (x[0] @ x[0])
        y = rng.normal(size=4)
        z = w @ x.T
        near = np.abs(z) < 1e-12
        r = y - a @ np.maximum(np.where(near, 0, z), 0)
        g = a[0] * r / 4
        others = np.where(near[0], 0, z[0] > 0) @ (g[:, None] * x)
        ratio = x[1] @ x[0] / (x[0] @ x[0])
        above = others + g[0] * x[0] + (g[1] * x[1] if ratio > 0 else 0)
        below = others + (g[1] * x[1] if ratio < 0 else 0)
        expected = bool(above @ x[0] < 0 < below @ x[0])
        data = jaxflow.Dataset(jaxflow.DenseInputs(x), y)
        kernel = jaxflow.tangent_kernel(data, jaxflow.Network(w, a), rounding=1e-12)
        np.testing.assert_array_equal(kernel.slides[0, :2], expected)
        seen.add((expected, bool(ratio > 0), bool(g[0] * g[1] > 0)))
    assert len(seen) == 8


def test_the_kernel_is_minus_the_rate_of_the_residuals_along_a_slide():
    """One neuron that slides along one of three inputs, by the field itself."""
    for seed in range(40):
        x, y, w, a, near = at_kinks(seed, n=3, d=2, p=1, count=1)
        data = jaxflow.Dataset(jaxflow.DenseInputs(x), y)
        kernel = jaxflow.tangent_kernel(data, jaxflow.Network(w, a), rounding=1e-13)
        if not bool(jnp.any(kernel.slides)):
            continue
        z = np.where(near, 0, w @ x.T)[0]
        r = y - a[0] * np.maximum(z, 0)
        tangent = np.array([-x[near[0]][0][1], x[near[0]][0][0]])
        tangent /= np.linalg.norm(tangent)
        velocity = (a[0] / 3) * (r * (z > 0)) @ x
        velocity = velocity @ tangent * tangent
        rate = -a[0] * (z > 0) * (x @ velocity) - r @ np.maximum(z, 0) / 3 * z * (z > 0)
        np.testing.assert_allclose(-kernel.times(r), rate, rtol=1e-12, atol=1e-14)
        return
    raise AssertionError("no neuron slides")


CASES = json.loads(
    (Path(__file__).parents[1] / "methods" / "flow_correlated.json").read_text()
)


def rate(data, network, rounding=None):
    """(2 rᵀMr/‖r‖², the largest that it could be)."""
    kernel = jaxflow.tangent_kernel(data, network, rounding)
    r = jaxflow.residuals(data, network)
    rayleigh = jnp.sum(r * kernel.times(r)) / jnp.sum(r**2)
    return float(2 * rayleigh), float(2 * kernel.largest)


@pytest.mark.slow
@pytest.mark.parametrize("geometry", ["chosen", "dense"])
def test_the_curvature_of_flows_integrated_elsewhere(geometry):
    """μ at the end of 26 flows with slides, collinear inputs and dead neurons."""
    for case in CASES:
        data = jaxflow.Dataset(np.array(case["x"]), np.array(case["y"]))
        if geometry == "dense":
            data = jaxflow.Dataset(data.inputs, data.targets)
        network = jaxflow.Network(np.array(case["final_w"]), np.array(case["final_a"]))
        mu, most = rate(data, network, rounding=1e-8)
        expected = case["curvature"][-1]
        np.testing.assert_allclose(mu, expected, rtol=1e-8, atol=1e-14 * most)


@pytest.mark.slow
def test_the_end_of_a_run_is_at_its_kinks_to_rounding():
    """Two flows that leave slides at 5e-14 and 8e-15 of ‖w‖‖x‖."""
    for case in (CASES[2], CASES[6]):
        data = jaxflow.Dataset(np.array(case["x"]), np.array(case["y"]))
        sol = jaxflow.simulate(
            data,
            jaxflow.Network(np.array(case["w"]), np.array(case["a"])),
            jaxflow.EventFlow(1e-9),
            times=case["times"],
            observe={"slides": lambda s: s.tangent_kernel.slides},
        )
        slides = np.asarray(sol.observables["slides"][-1], bool)
        assert slides.any()
        kernel = jaxflow.tangent_kernel(data, sol.final)
        np.testing.assert_array_equal(kernel.slides, slides)
        mu, most = rate(data, sol.final)
        expected = case["curvature"][-1]
        np.testing.assert_allclose(mu, expected, rtol=1e-5, atol=1e-14 * most)


def test_antipodal_pairs_are_held_when_both_sides_push():
    x = np.concatenate([np.eye(3), -2 * np.eye(3)])
    w, a = np.array([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]), np.array([1.0, 0.1])
    y = np.array([-1.0, -1.0, 1.0, -1.0, 1.0, 1.0])
    data = jaxflow.Dataset(x, y)
    assert data.geometry == "antipodal"
    kernel = jaxflow.tangent_kernel(data, jaxflow.Network(w, a))
    expected = np.zeros((2, 6), bool)
    expected[0, [0, 3]] = True
    np.testing.assert_array_equal(kernel.slides, expected)
    agree(kernel, formed(x, w, a, expected))


@pytest.mark.slow
def test_nearly_collinear_slides_stay_bounded():
    """However near they are, the kernel lies between zero and that without slides."""
    for angle in (0.0, 1e-15, 1e-12, 1e-8, 1e-5):
        for kind in ("dense", "gram"):
            x, y, w, a = drawn(kind, n=16, d=7, p=3)
            x[1] = 3 * x[0] + angle * x[2]
            data, network = both(x, y, w, a)
            if kind == "dense":
                data = jaxflow.Dataset(jaxflow.DenseInputs(x), y)
            state = jaxflow.Snapshot.of(data, network)
            multipliers = np.where(w @ x.T > 0, 1.0, 0.0)
            multipliers[:, :2] = 0.5
            state = eqx.tree_at(
                lambda s: s.multipliers,
                state,
                jnp.asarray(multipliers),
                is_leaf=lambda leaf: leaf is None,
            )
            kernel = state.tangent_kernel
            free = jaxflow.tangent_kernel(data, network)
            assert 0 <= kernel.smallest <= kernel.largest <= free.largest
            if angle in (0.0, 1e-5):
                agree(kernel, formed(x, w, a, (multipliers == 0.5)))


# --- how it is called -----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_under_jit_and_vmap(kind):
    x, y, w, a = drawn(kind)
    data, _ = both(x, y, w, a)
    many = jnp.asarray(np.random.default_rng(3).normal(size=(3, *w.shape)))

    @jax.jit
    @jax.vmap
    def ends(w):
        kernel = jaxflow.tangent_kernel(data, jaxflow.Network(w, jnp.asarray(a)))
        return kernel.smallest, kernel.largest, kernel.error

    for i, (smallest, largest, _) in enumerate(zip(*ends(many), strict=True)):
        values = np.linalg.eigvalsh(formed(x, np.asarray(many[i]), a))
        assert abs(smallest - values[0]) <= 1e-6 * values[-1]
        assert abs(largest - values[-1]) <= 1e-6 * values[-1]


def test_slides_under_jit():
    x, y, w, a, _ = at_kinks(0)
    data = jaxflow.Dataset(jaxflow.DenseInputs(x), y)
    alone = jaxflow.tangent_kernel(data, jaxflow.Network(w, a), rounding=1e-13)
    assert bool(jnp.any(alone.slides))
    within = jax.jit(
        lambda w: jaxflow.tangent_kernel(data, jaxflow.Network(w, a), rounding=1e-13)
    )(jnp.asarray(w))
    np.testing.assert_array_equal(alone.slides, within.slides)
    np.testing.assert_allclose(alone.largest, within.largest, rtol=1e-12)


@pytest.mark.slow
def test_slides_that_find_no_room():
    """More than 128 copies of one input on one kink."""
    x = np.concatenate([np.tile([[1.0, 0.0]], (130, 1)), [[1.0, 1.0]]])
    y = np.concatenate([-np.ones(130), [100.0]])
    w, a = np.array([[0.0, 1.0]]), np.array([1.0])
    data = jaxflow.Dataset(x, y)
    kernel = jaxflow.tangent_kernel(data, jaxflow.Network(w, a))
    assert int(jnp.sum(kernel.slides)) == 130
    agree(kernel, formed(x, w, a, np.asarray(kernel.slides)))
    within = jax.jit(lambda w: jaxflow.tangent_kernel(data, jaxflow.Network(w, a)))
    assert np.isnan(within(jnp.asarray(w)).smallest)
    assert np.isnan(within(jnp.asarray(w)).largest)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gaussian", "orthogonal", "antipodal"])
def test_padding_takes_no_part(kind):
    """The runs of an ensemble are padded: their ends are those of the problem alone."""
    observe = {
        "smallest": jaxflow.smallest_kernel_eigenvalue,
        "largest": jaxflow.largest_kernel_eigenvalue,
    }
    n, p, d = 34, 5, 60
    runs = jaxflow.simulate_ensemble(
        jax.random.key(2),
        n=[n],
        d=d,
        p=p,
        seeds=2,
        inputs=kind,
        method=jaxflow.GradientDescent(0.5),
        times=[1.0, 2.0],
        observe=observe,
        dtype=jnp.float64,
    )
    for seed in range(2):
        key = jaxflow.run_key(jax.random.key(2), n=n, d=d, p=p, seed=seed)
        data, network = jaxflow.sample_problem(
            key, n=n, d=d, p=p, inputs=kind, dtype=jnp.float64
        )
        sol = jaxflow.simulate(
            data, network, jaxflow.GradientDescent(0.5), times=[1.0, 2.0], observe={}
        )
        kernel = jaxflow.tangent_kernel(data, sol.final)
        run = runs.isel(seed=seed).squeeze()
        top = float(kernel.largest)
        for name in ("smallest", "largest"):
            found = float(run[name].values[-1])
            assert abs(found - float(getattr(kernel, name))) <= 1e-6 * top


def test_the_observables_of_a_flow_that_slides():
    x, y, w, a = drawn("dense", n=24, d=4, p=4, seed=5)
    data, network = jaxflow.Dataset(jaxflow.DenseInputs(x), y), jaxflow.Network(w, a)
    sol = jaxflow.simulate(
        data,
        network,
        jaxflow.FilippovFlow(1e-4),
        times=[20.0, 40.0],
        observe={
            "smallest": jaxflow.smallest_kernel_eigenvalue,
            "largest": jaxflow.largest_kernel_eigenvalue,
            "multipliers": lambda s: s.multipliers,
            "z": lambda s: s.preactivations,
        },
    )
    shares = np.asarray(sol.observables["multipliers"][-1])
    slides = (shares > 0) & (shares < 1)
    assert slides.any()
    matrix = formed(x, np.asarray(sol.final.w), np.asarray(sol.final.a), slides)
    values = np.linalg.eigvalsh(matrix)
    for name, value in (("smallest", values[0]), ("largest", values[-1])):
        assert abs(sol.observables[name][-1] - value) <= 1e-6 * values[-1]


@pytest.mark.slow
def test_the_end_of_a_run_shows_the_least_eigenvalue():
    """μ → 2 λ_min, on the problem whose values were measured elsewhere: 12.8e-3, and
    2 λ_max = 227e-3."""
    data, network = jaxflow.sample_problem(
        jax.random.key(11), n=1000, d=2000, dtype=jnp.float64
    )
    sol = jaxflow.simulate(
        data,
        network,
        jaxflow.GradientDescent(1.0),
        times=[2000.0],
        observe={
            "smallest": jaxflow.smallest_kernel_eigenvalue,
            "largest": jaxflow.largest_kernel_eigenvalue,
        },
    )
    limit = 2 * sol.observables["smallest"][-1]
    np.testing.assert_allclose(sol.curvature[-1], limit, rtol=1e-3)
    np.testing.assert_allclose(limit, 12.8e-3, rtol=2e-3)
    np.testing.assert_allclose(2 * sol.observables["largest"][-1], 227e-3, rtol=5e-3)
    np.testing.assert_allclose(
        jaxflow.theory.limiting_curvature(data, sol.final), limit
    )


def test_what_is_passed_wrongly():
    x, y, w, a = drawn("dense")
    data, network = both(x, y, w, a)
    kernel = jaxflow.tangent_kernel(data, network)
    with pytest.raises(ValueError, match=r"one number per example, shape \(30,\)"):
        kernel.times(np.ones(29))
    with pytest.raises(ValueError, match="coordinates per neuron"):
        jaxflow.tangent_kernel(data, jaxflow.Network(w[:, :3], a))
    with pytest.raises(ValueError, match="rounding must be non-negative"):
        jaxflow.tangent_kernel(data, network, rounding=-1.0)
