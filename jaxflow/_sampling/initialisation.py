"""The laws of the initial networks.

Independent neurons (`Initialisation`) or the groups of Section 4
(`GroupInitialisation`). For inputs that are known by their Gram matrix or by their
norms, the weights are drawn in the coordinates that the geometry stores. In a basis of
the span of the inputs, w ~ N(0, I/d) has coordinates N(0, 1/d), and what ‖w‖² has
beyond them is χ²_{d−m}/d.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from .._checks import (
    cast,
    check_between,
    check_choice,
    check_positive,
    check_single,
    is_concrete,
)
from .._linalg import product
from .._problem.dataset import Dataset
from .._problem.inputs import (
    AbstractInputs,
    DenseInputs,
    GramInputs,
    OrthogonalInputs,
)
from .._problem.network import Network, check_fit
from .._types import Neurons
from .directions import random_frame
from .inputs import placed
from .random_numbers import chi_squares, draw_numbers

InitLaw = Callable[[PRNGKeyArray, Dataset, int, int], Network]

# Weights whose law has no simple projection are drawn this many coordinates at a time.
_BLOCK = 65_536
_SECOND_LAYERS = ("exponential", "balanced", "gaussian", "uniform")


class Initialisation(eqx.Module):
    """Independent neurons: a law of w, and a law of a.

        init = jaxflow.Initialisation(second_layer="balanced", scale=1e-8)
        data, network = jaxflow.sample_problem(key, n=20, d=50, init=init)

    **Arguments:**

    - `first_layer`: "gaussian" (w ~ N(0, I/d)) or "uniform" (coordinates ~ U(±1/√d)).
    - `second_layer`: "exponential" (|a| − ‖w‖ ~ Exp(1), which satisfies Assumption 1)
      or "balanced" (|a| = ‖w‖), with signs that are fair coins; "gaussian"
      (a ~ N(0, 1/p)) or "uniform" (a ~ U(±1/√p)), which do not look at w and break
      Assumption 1 (|a| ≥ ‖w‖; footnote 3).
    - `scale`: both w and a are multiplied by it. A small one starts near the saddle at
      the origin; 1e-20 works in float32 too. (There ‖w‖² underflows, and is 0 where
      a network stores it.) `scale=p**0.5` gives the flow of a network without the
      factor 1/p whose weights have these laws.
    - `first_layer_scale`: w alone is multiplied by it too, after a is drawn.

    Raises a ValueError when a name is unknown, or a scale is not a positive number that
    the precision of the data holds.
    """

    first_layer: str = eqx.field(static=True, default="gaussian")
    second_layer: str = eqx.field(static=True, default="exponential")
    scale: float = eqx.field(static=True, default=1.0)
    first_layer_scale: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        check_choice("first_layer", self.first_layer, ("gaussian", "uniform"))
        check_choice("second_layer", self.second_layer, _SECOND_LAYERS)
        for name in ("scale", "first_layer_scale"):
            check_single(name, getattr(self, name))
            check_positive(name, getattr(self, name))

    def __call__(self, key: PRNGKeyArray, data: Dataset, d: int, p: int) -> Network:
        return self.draw(key, data, d, p, placed(data.inputs, d))

    def draw(
        self,
        key: PRNGKeyArray,
        data: Dataset,
        d: int,
        p: int,
        inputs: AbstractInputs,
    ) -> Network:
        """`inputs`: those of `data`, which know d, and perhaps a factor of K."""
        w_key, rest_key, size_key, sign_key = jax.random.split(key, 4)
        dtype = data.targets.dtype
        w_scale = self._scale_of_w(dtype)
        if isinstance(inputs, DenseInputs):
            d = inputs.num_coordinates
            w = _of_fan_in(self.first_layer, w_key, (p, d), d, dtype)
            norms = jnp.sum(w**2, axis=1)
            stored = w
        else:
            m = inputs.frame_size
            stored, outside = self._coordinates(w_key, rest_key, p, d, m, dtype)
            norms = jnp.sum(stored**2, axis=1) + outside
            if isinstance(inputs, GramInputs):
                stored = inputs.on_frame(stored)
        a = self.scale * self._second_layer(size_key, sign_key, jnp.sqrt(norms))
        if isinstance(inputs, DenseInputs):
            return Network(w_scale * stored, a)
        return Network(w_scale * stored, a, w_scale * w_scale * norms)

    def _scale_of_w(self, dtype: Any) -> float:
        scale = self.scale * self.first_layer_scale
        limits = jnp.finfo(dtype)
        least, most = float(limits.tiny), float(limits.max)
        for name, value in (("scale", self.scale), ("the scale of w", scale)):
            if not least <= value <= most:
                raise ValueError(
                    f"{name} must be a number that {jnp.dtype(dtype)} can hold, "
                    f"between {least:.3g} and {most:.3g}, got {value:.3g}."
                )
        return scale

    def _second_layer(
        self, size_key: PRNGKeyArray, sign_key: PRNGKeyArray, sizes: Neurons
    ) -> Neurons:
        """a, given ‖w‖."""
        p, dtype = sizes.shape[0], sizes.dtype
        if self.second_layer in ("gaussian", "uniform"):
            return _of_fan_in(self.second_layer, size_key, (p,), p, dtype)
        if self.second_layer == "exponential":
            sizes = sizes + draw_numbers(jax.random.exponential, size_key, (p,), dtype)
        return sizes * draw_numbers(jax.random.rademacher, sign_key, (p,), dtype)

    def _coordinates(
        self,
        key: PRNGKeyArray,
        rest_key: PRNGKeyArray,
        p: int,
        d: int,
        m: int,
        dtype: Any,
    ) -> tuple[Array, Neurons]:
        """Coordinates of p vectors of R^d on m random orthonormal directions, (p, m),
        and the squared norm of what lies outside them, (p,)."""
        if self.first_layer == "gaussian":
            coordinates = draw_numbers(jax.random.normal, key, (p, m), dtype)
            coordinates = coordinates / math.sqrt(d)
            outside = jnp.zeros(p, dtype)
            if d > m:
                outside = draw_numbers(chi_squares(d - m), rest_key, (p,), dtype)
                # An integer would have to fit into 32 bits.
                outside = outside / float(d)
            return coordinates, outside
        # Not rotation-invariant by itself, but the directions are uniformly random. An
        # orthonormal basis of the span of the p vectors is, relative to them, a random
        # p-frame.
        if p > d:
            raise ValueError(
                "the uniform law with projected inputs wants p ≤ d, got "
                f"p = {p}, d = {d}. Pass the inputs as an array (n, d) instead."
            )
        scatter_of_rows = self._scatter(key, p, d, dtype)
        frame = random_frame(rest_key, p, m, d, dtype)
        coordinates = product(jnp.linalg.cholesky(scatter_of_rows), frame)
        outside = jnp.diag(scatter_of_rows) - jnp.sum(coordinates**2, axis=1)
        return coordinates, jnp.maximum(outside, 0)

    def _scatter(self, key: PRNGKeyArray, p: int, d: int, dtype: Any) -> Array:
        """W Wᵀ for p rows of the law in R^d, a block of coordinates at a time."""
        blocks, rest = divmod(d, _BLOCK)
        scale = math.sqrt(_BLOCK / d)

        def block(i: Any, size: int) -> Array:
            own = jax.random.fold_in(key, i)
            return _of_fan_in(self.first_layer, own, (p, size), size, dtype)

        def add(i: Any, total: Array) -> Array:
            rows = scale * block(i, _BLOCK)
            return total + product(rows, rows.T)

        total = jax.lax.fori_loop(0, blocks, add, jnp.zeros((p, p), dtype))
        if rest:
            last = block(blocks, rest)
            total = total + rest / d * product(last, last.T)
        return total


def _of_fan_in(
    law: str, key: PRNGKeyArray, shape: tuple[int, ...], fan_in: int, dtype: Any
) -> Array:
    """N(0, 1/fan_in), or "uniform" within ±1/√fan_in."""
    if law == "gaussian":
        normal = draw_numbers(jax.random.normal, key, shape, dtype)
        return normal / math.sqrt(fan_in)
    bound = 1 / math.sqrt(fan_in)
    return draw_numbers(jax.random.uniform, key, shape, dtype, -bound, bound)


class GroupInitialisation(eqx.Module):
    """The group initialisation of Section 4 (eq. 9), on orthogonal inputs.

    The n examples form p groups of k = n/p; neuron j is active on group j alone, lies
    in its positive cone, and a_j = s_j ‖w_j‖ with s_j the sign of the group's targets.

    **Arguments:**

    - `cosine`: c₀ = cos(w_j(0), s_j y^j), in (0, 1]. At 1, w_j(0) points along the
      targets of its group. Below 1, examples with small targets get more weight.
    - `norm`: ‖w_j(0)‖.

    Raises a ValueError when p does not divide n, the signs within a group differ, or no
    vector of the positive cone has the cosine.
    """

    cosine: float = eqx.field(static=True, default=1.0)
    norm: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        for name, value in (("cosine", self.cosine), ("norm", self.norm)):
            check_single(name, value)
        check_between("cosine", self.cosine, 0, 1, ends="]")
        check_positive("norm", self.norm)

    def __call__(self, key: PRNGKeyArray, data: Dataset, d: int, p: int) -> Network:
        inputs = data.inputs
        if not isinstance(inputs, OrthogonalInputs) or (
            is_concrete(inputs.norms)
            and not np.allclose(inputs.norms, 1, rtol=1e-6, atol=0)
        ):
            raise ValueError(
                "the group initialisation wants orthonormal inputs, such as "
                "OrthogonalInputs(jnp.ones(n)) or sample_problem(inputs='orthonormal')."
            )
        k = group_size(data.num_examples, p)
        groups = data.targets.reshape(p, k)
        signs = jnp.sign(groups[:, 0])
        if is_concrete(groups):
            values = np.asarray(groups)
            if not np.all(values * values[:, :1] > 0):
                raise ValueError(
                    "all targets of a group must have one sign; see "
                    "group_targets(signs)."
                )
        sizes = jnp.abs(groups)
        along = sizes / jnp.linalg.norm(sizes, axis=1, keepdims=True)
        c = self.cosine
        direction = along
        if c < 1:
            # The examples with the smallest targets make the least cosine with `along`;
            # between the two, every vector is positive and one has cosine c.
            few = max(1, int(k * c**2 / 4))
            rank = jnp.argsort(jnp.argsort(sizes, axis=1), axis=1)
            aside = (rank < few).astype(along.dtype) / math.sqrt(few)
            overlap = jnp.sum(aside * along, axis=1, keepdims=True)
            if is_concrete(overlap) and np.any(np.asarray(overlap) >= c):
                raise ValueError(
                    f"with k = {k} examples per group no weights in the positive cone "
                    f"have cosine {c}; ask for more than {np.max(overlap):.3g}."
                )
            across = (aside - overlap * along) / jnp.sqrt(1 - overlap**2)
            direction = c * along + math.sqrt(1 - c**2) * across
        own = jnp.eye(p, dtype=along.dtype)[:, :, None]
        w = self.norm * (own * direction[None, :, :]).reshape(p, p * k)
        return Network(w, signs * self.norm)


def as_network(value: Any, data: Dataset, p: int) -> Network:
    """What a law returned, in the precision of the data."""
    if not isinstance(value, Network):
        raise ValueError(
            "the law init must return a jaxflow.Network(w, a), got "
            f"{type(value).__name__}."
        )
    if value.width != p:
        raise ValueError(
            f"the law init must return a network of p = {p} neurons, got {value.width}."
        )
    check_fit(data, value)
    return cast(value, data.targets.dtype)


INITIALISATIONS: dict[str, Initialisation] = {
    "gaussian": Initialisation(),
    "uniform": Initialisation(first_layer="uniform"),
    "balanced": Initialisation(second_layer="balanced"),
    "small": Initialisation(second_layer="balanced", scale=1e-3),
    "he": Initialisation(second_layer="gaussian", scale=math.sqrt(2)),
    "pytorch": Initialisation(first_layer="uniform", second_layer="uniform"),
}


def group_size(n: int, p: int) -> int:
    if n % p:
        raise ValueError(
            f"n = {n} examples do not form p = {p} groups of equal size; take n a "
            "multiple of p."
        )
    return n // p
