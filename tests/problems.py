"""Small problems that several tests share."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxflow


def without_kinks(n=12, d=30, p=5, seed=0):
    """(x, y, w, a) whose preactivations stay far from zero for a while."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) / np.sqrt(d)
    y = rng.choice([-1.0, 1.0], n) * rng.uniform(1, 2, n)
    z = rng.choice([-1.0, 1.0], (p, n)) * rng.uniform(1, 2, (p, n))
    w = z @ np.linalg.pinv(x).T + 0.1 * _outside(rng, x, p)
    a = rng.choice([-1.0, 1.0], p) * rng.uniform(0.5, 1.5, p)
    return x, y, w, a


def _outside(rng, x, p):
    g = rng.normal(size=(p, x.shape[1]))
    return g - g @ np.linalg.pinv(x) @ x


def orthogonal_array(n, d, seed=0):
    """(norms, x): an orthogonal family as an array (n, d)."""
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.normal(size=(d, n)))[0].T
    norms = rng.uniform(1, 2, n)
    return norms, norms[:, None] * q


def antipodal_array(m, d, seed=0):
    norms, x = orthogonal_array(m, d, seed)
    other = np.random.default_rng(seed + 1).uniform(1, 2, m)
    return norms, other, np.concatenate([x, -x / norms[:, None] * other[:, None]])


def small_orthogonal(key, n=40, p=12, dtype=jnp.float64):
    return jaxflow.sample_problem(key, n=n, d=2 * n, p=p, dtype=dtype)


def correlated(n=60, d=15, p=10, seed=0, dtype=float):
    """(x, y, w, a): labels of both signs, and |a_j| above ‖w_j‖."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    x *= (rng.uniform(1, 2, n) / np.linalg.norm(x, axis=1))[:, None]
    y = rng.choice([-1.0, 1.0], n) * rng.uniform(1, 2, n)
    w = rng.normal(size=(p, d)) / np.sqrt(d)
    a = np.linalg.norm(w, axis=1) + rng.exponential(1, p)
    a *= rng.choice([-1.0, 1.0], p)
    return tuple(array.astype(dtype) for array in (x, y, w, a))


def runs_that_end_early(times, **more):
    """Six runs of descent, of which some come below the level and others do not."""
    return jaxflow.simulate_ensemble(
        jax.random.key(5),
        n=20,
        d=40,
        p=8,
        seeds=6,
        method=jaxflow.GradientDescent(0.5),
        times=times,
        stop=jaxflow.LossBelow(),
        **more,
    )
