"""Directions of R^d, as the inputs see them, whatever their geometry.

Of a vector v the flow sees v·x_i alone. With f_i the coordinates of x_i in an
orthonormal basis of a space that holds the inputs, v·x_i = u·f_i, where u are the
coordinates of v in that basis. So neither the inputs nor v are ever formed in R^d:

- v ~ N(0, I) has u ~ N(0, I), whatever the basis;
- of vectors that are given, or orthogonal, only their angles to each other count where
  the inputs are known up to a rotation. The basis is then uniformly random relative to
  them, and u are the first coordinates of a random frame.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import as_float_array, cast, check_count, check_kind
from .._linalg import product
from .._problem.inputs import AbstractInputs, DenseInputs
from .._types import ArrayLike, Pairs
from .random_numbers import bartlett, draw_numbers


def sample_preactivations(
    key: PRNGKeyArray, inputs: AbstractInputs, directions: int | ArrayLike
) -> Pairs:
    """v_j·x_i for directions v_j of R^d, shape (k, n), on every geometry.

        z = jaxflow.sample_preactivations(key, inputs, 3)   # of v_j ~ N(0, I), (3, n)
        z = jaxflow.sample_preactivations(key, inputs, jnp.eye(2, inputs.dimension))

    **Arguments:**

    - `key`: a `jax.random.key`.
    - `inputs`: a geometry, such as a law of targets is given.
    - `directions`: how many, k, for independent v_j ~ N(0, I); or the v_j themselves,
      shape (k, d). With `DenseInputs` these give v_j·x_i whatever the key. The other
      geometries know their inputs up to a rotation of R^d: then it is a random one,
      uniformly, which is what the laws "sphere", "gaussian", "orthogonal",
      "orthonormal" and "antipodal" mean.

    For v = Σ_i c_i x_i no key is needed: `inputs.preactivations(inputs.adjoint(c))`,
    with c of shape (k, n).

    Raises a ValueError when directions have another dimension than the inputs.
    """
    check_kind("inputs", inputs, AbstractInputs, "jaxflow.DenseInputs(x)")
    if isinstance(directions, int | np.integer) and not isinstance(directions, bool):
        count = check_count("directions", directions)
        shape = (count, inputs.frame_size)
        return inputs.on_frame(
            draw_numbers(jax.random.normal, key, shape, inputs.dtype)
        )
    return given_preactivations(key, inputs, directions)


def given_preactivations(
    key: PRNGKeyArray, inputs: AbstractInputs, directions: ArrayLike
) -> Pairs:
    """The same of directions (k, d)."""
    v = cast(as_float_array("directions", directions, 2), inputs.dtype)
    d = v.shape[1]
    known = inputs.dimension
    if d != known if known is not None else d < inputs.frame_size:
        raise ValueError(
            f"directions must be (k, d) with d = {known}, got shape {v.shape}."
            if known is not None
            else f"directions of shape {v.shape} lie in dimension {d}, but the inputs "
            f"span up to {inputs.frame_size}."
        )
    if isinstance(inputs, DenseInputs):
        return inputs.preactivations(v)
    # v = Rᵀ Q with the rows of Q orthonormal, r = min(k, d) of them.
    triangle = jnp.linalg.qr(v.T, mode="r")
    frame = random_frame(key, triangle.shape[0], inputs.frame_size, d, inputs.dtype)
    return inputs.on_frame(product(triangle.T, frame))


def orthogonal_preactivations(
    key: PRNGKeyArray, inputs: AbstractInputs, count: int
) -> Pairs:
    """v_j·x_i for orthogonal v_j of norm √d, uniformly random, (count, n)."""
    d = inputs.dimension
    if d is None:
        raise ValueError(
            "orthogonal directions depend on the dimension: give it to the inputs, as "
            "in OrthogonalInputs(norms, dimension=100)."
        )
    if count > d:
        raise ValueError(
            f"dimension d = {d} holds at most {d} orthogonal directions, but {count} "
            "were asked for."
        )
    frame = random_frame(key, count, inputs.frame_size, d, inputs.dtype)
    return inputs.on_frame(math.sqrt(d) * frame)


def random_frame(
    key: PRNGKeyArray, count: int, m: int, d: int, dtype: Any
) -> Float[Array, "k m"]:
    """The first m coordinates of `count` orthonormal vectors of R^d, uniformly random,
    count ≤ d: Gram–Schmidt of Gaussian vectors. Of their other d − m coordinates only
    the Wishart matrix matters, so there are at most `count` here."""
    near_key, far_key = jax.random.split(key)
    rows = draw_numbers(jax.random.normal, near_key, (count, m), dtype)
    if d > m:
        rows = jnp.concatenate([rows, bartlett(far_key, count, d - m, dtype)], axis=1)
    frame, triangle = jnp.linalg.qr(rows.T)
    # Which of ±v it is shall be that of Gram–Schmidt, not that of a library.
    return frame.T[:, :m] * jnp.sign(jnp.diag(triangle))[:, None]
