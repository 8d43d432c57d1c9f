"""Random problems: the laws of the data and of the initial networks.

`sample_problem` draws one (Dataset, Network). Its parts are laws, named or given by the
user as functions:

    inputs:  (key, n, d, dtype)      -> array (n, d) or an Inputs object
    targets: (key, n, dtype)         -> array (n,)
    init:    (key, data, d, p)       -> Network

Where n < 2d the inputs uniform on the sphere or Gaussian are sampled through their Gram
matrix, and neither the inputs nor the weights are ever formed in R^d. A Gaussian matrix
G (n, d) is R Q with Q's rows orthonormal, uniformly random and independent of R, and R
(n, min(n, d)) lower trapezoidal: R_ik ~ N(0, 1) below the diagonal, R_ii² ~ χ²_{d−i+1}
(Bartlett). So d = 10⁹ costs what d = n costs. In the basis Q the weights w ~ N(0, I/d)
have coordinates N(0, 1/d), and what ‖w‖² has beyond them is χ²_{d−m}/d.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ._checks import (
    as_float_array,
    check_choice,
    check_count,
    check_positive,
    is_concrete,
)
from ._inputs import (
    AbstractInputs,
    AntipodalInputs,
    DenseInputs,
    GramInputs,
    OrthogonalInputs,
    product,
)
from ._network import Dataset, Network
from ._types import Examples, Neurons

# Weights whose law has no simple projection are drawn this many coordinates at a time.
_BLOCK = 65_536

InputLaw = Callable[[PRNGKeyArray, int, int, Any], Any]
TargetLaw = Callable[[PRNGKeyArray, int, Any], Any]
InitLaw = Callable[[PRNGKeyArray, Dataset, int, int], Network]


def width_rule(n: int, epsilon: float = 0.05) -> int:
    """The least p with n (3/4)^p < ε: p = ⌊log(n/ε)/log(4/3)⌋ + 1 (Lemma 5).

    With it, each of n examples is correctly activated by some neuron with probability
    at least 1 − ε. n = 1650 gives 37.
    """
    n = check_count("n", n)
    if not 0 < epsilon < 1:
        raise ValueError(f"epsilon must lie between 0 and 1, got {epsilon}.")
    return math.floor(math.log(n / epsilon) / math.log(4 / 3)) + 1


def sample_problem(
    key: PRNGKeyArray,
    *,
    n: int,
    d: int,
    p: int | None = None,
    inputs: str | InputLaw = "orthogonal",
    targets: str | TargetLaw = "uniform",
    init: "str | InitLaw" = "gaussian",
    epsilon: float = 0.05,
    dtype: Any = None,
) -> tuple[Dataset, Network]:
    """Draws a dataset and an initial network (Appendix B).

    **Arguments:**

    - `key`: a `jax.random.key`. The data, the targets and the network have keys of
      their own.
    - `n`, `d`, `p`: examples, dimension, neurons; p by `width_rule(n, epsilon)` if left
      out.
    - `inputs`: "sphere" (uniform directions, ‖x‖ ~ U[1, 2]), "orthogonal" (a family
      with ‖x‖ ~ U[1, 2]), "orthonormal", "gaussian" (N(0, I/d)), "antipodal"
      (orthogonal pairs of opposite vectors, ‖x‖ ~ U[1, 2]), or a law of your own.
    - `targets`: "uniform" (y ~ U([−2, −1] ∪ [1, 2])), or a law of your own.
    - `init`: "gaussian" (w ~ N(0, I/d), |a| − ‖w‖ ~ Exp(1)), "uniform" (the same with
      the coordinates of w ~ U(±1/√d)), "balanced" (w ~ N(0, I/d), a = ±‖w‖), an
      `Initialisation`, a `GroupInitialisation`, or a law of your own.
    - `dtype`: floating point; jax's default if left out.

    Raises a ValueError when a size is not a positive integer, a name is unknown, or
    more orthogonal inputs are asked for than the dimension holds.
    """
    n, d = check_count("n", n), check_count("d", d)
    p = width_rule(n, epsilon) if p is None else check_count("p", p)
    dtype = _float_dtype(dtype)
    input_key, target_key, init_key = jax.random.split(key, 3)
    sampled, factor = _draw_inputs(inputs, input_key, n, d, dtype)
    if isinstance(targets, str):
        check_choice("targets", targets, TARGET_LAWS)
        targets = TARGET_LAWS[targets]
    data = Dataset(sampled, targets(target_key, n, dtype))
    if isinstance(init, str):
        check_choice("init", init, INITIALISATIONS)
        init = INITIALISATIONS[init]
    if isinstance(init, Initialisation):
        return data, init.draw(init_key, data, d, p, factor)
    return data, init(init_key, data, d, p)


def sample_inputs(
    key: PRNGKeyArray,
    *,
    n: int,
    d: int,
    inputs: str | InputLaw = "orthogonal",
    dtype: Any = None,
) -> AbstractInputs:
    """Draws the inputs alone, as `sample_problem` does."""
    dtype = _float_dtype(dtype)
    return _draw_inputs(inputs, key, check_count("n", n), check_count("d", d), dtype)[0]


def _float_dtype(dtype: Any) -> Any:
    dtype = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype must be floating point, got {dtype}.")
    return dtype


def uniform_targets(key: PRNGKeyArray, n: int, dtype: Any) -> Examples:
    """y ~ U([−2, −1] ∪ [1, 2])."""
    size_key, sign_key = jax.random.split(key)
    sizes = jax.random.uniform(size_key, (n,), dtype, 1, 2)
    return sizes * jax.random.rademacher(sign_key, (n,), dtype)


def group_targets(signs: Any, sizes: Any = None) -> TargetLaw:
    """A law of targets in len(signs) groups of equal size, one sign each (Section 4).

    - `signs`: s_j = ±1, shape (p,).
    - `sizes`: |y_i| in each group, shape (p,), constant within it; ~ U[1, 2] per
      example if left out.
    """
    signs = as_float_array("signs", signs, 1)
    if is_concrete(signs) and not np.all(np.abs(np.asarray(signs)) == 1):
        raise ValueError(f"signs must be +1 or −1, got {signs}.")
    if sizes is not None:
        sizes = as_float_array("sizes", sizes, 1)
        check_positive("sizes", sizes)
        if sizes.shape != signs.shape:
            raise ValueError(
                f"sizes must have one entry per group, {signs.shape}, got "
                f"{sizes.shape}."
            )

    def law(key: PRNGKeyArray, n: int, dtype: Any) -> Examples:
        per_group = _group_size(n, signs.shape[0])
        if sizes is None:
            magnitudes = jax.random.uniform(key, (n,), dtype, 1, 2)
        else:
            magnitudes = jnp.repeat(sizes.astype(dtype), per_group)
        return magnitudes * jnp.repeat(signs.astype(dtype), per_group)

    return law


class Initialisation(eqx.Module):
    """Independent neurons: a law of w, and a given ‖w‖.

    **Arguments:**

    - `first_layer`: "gaussian" (w ~ N(0, I/d)) or "uniform" (coordinates ~ U(±1/√d)).
    - `second_layer`: "exponential" (|a| − ‖w‖ ~ Exp(1), which satisfies Assumption 1)
      or "balanced" (|a| = ‖w‖); signs are fair coins.
    - `scale`: w is multiplied by it after a is drawn.
    """

    first_layer: str = eqx.field(static=True, default="gaussian")
    second_layer: str = eqx.field(static=True, default="exponential")
    scale: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        check_choice("first_layer", self.first_layer, ("gaussian", "uniform"))
        check_choice("second_layer", self.second_layer, ("exponential", "balanced"))
        check_positive("scale", self.scale)

    def __call__(self, key: PRNGKeyArray, data: Dataset, d: int, p: int) -> Network:
        return self.draw(key, data, d, p, None)

    def draw(
        self,
        key: PRNGKeyArray,
        data: Dataset,
        d: int,
        p: int,
        factor: Float[Array, "n m"] | None,
    ) -> Network:
        """`factor`: for Gram inputs, a known F with K = F Fᵀ."""
        w_key, rest_key, size_key, sign_key = jax.random.split(key, 4)
        inputs, dtype = data.inputs, data.targets.dtype
        if isinstance(inputs, DenseInputs):
            w = self._rows(w_key, p, inputs.num_coordinates, dtype)
            norms = jnp.sum(w**2, axis=1)
            stored = w
        else:
            if isinstance(inputs, GramInputs) and factor is None:
                factor = _square_root(inputs, d)
            m = inputs.num_coordinates if factor is None else factor.shape[1]
            stored, outside = self._coordinates(w_key, rest_key, p, d, m, dtype)
            norms = jnp.sum(stored**2, axis=1) + outside
            if factor is not None:
                stored = product(stored, factor.T)
        sizes = jnp.sqrt(norms)
        if self.second_layer == "exponential":
            sizes = sizes + jax.random.exponential(size_key, (p,), dtype)
        a = sizes * jax.random.rademacher(sign_key, (p,), dtype)
        if isinstance(inputs, DenseInputs):
            return Network(self.scale * stored, a)
        return Network(self.scale * stored, a, self.scale**2 * norms)

    def _rows(self, key: PRNGKeyArray, p: int, d: int, dtype: Any) -> Array:
        if self.first_layer == "gaussian":
            return jax.random.normal(key, (p, d), dtype) / math.sqrt(d)
        bound = 1 / math.sqrt(d)
        return jax.random.uniform(key, (p, d), dtype, -bound, bound)

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
            coordinates = jax.random.normal(key, (p, m), dtype) / math.sqrt(d)
            outside = jnp.zeros(p, dtype)
            if d > m:
                outside = jax.random.chisquare(rest_key, d - m, (p,), dtype) / d
            return coordinates, outside
        # Not rotation-invariant by itself, but the directions are uniformly random. An
        # orthonormal basis of the span of the p vectors is, relative to them, a random
        # p-frame; its m first coordinates are (A Aᵀ + B Bᵀ)^{−1/2} A up to a rotation,
        # with A (p, m) Gaussian and B Bᵀ Wishart with d − m degrees of freedom.
        if p > d:
            raise ValueError(
                "the uniform law with projected inputs wants p ≤ d, got "
                f"p = {p}, d = {d}. Pass the inputs as an array (n, d) instead."
            )
        scatter_of_rows = self._scatter(key, p, d, dtype)
        near_key, far_key = jax.random.split(rest_key)
        near = jax.random.normal(near_key, (p, m), dtype)
        scatter = product(near, near.T)
        if d > m:
            far = _bartlett(far_key, p, d - m, dtype)
            scatter = scatter + product(far, far.T)
        frame = jax.scipy.linalg.solve_triangular(
            jnp.linalg.cholesky(scatter), near, lower=True
        )
        coordinates = product(jnp.linalg.cholesky(scatter_of_rows), frame)
        outside = jnp.diag(scatter_of_rows) - jnp.sum(coordinates**2, axis=1)
        return coordinates, jnp.maximum(outside, 0)

    def _scatter(self, key: PRNGKeyArray, p: int, d: int, dtype: Any) -> Array:
        """W Wᵀ for p rows of the law in R^d, a block of coordinates at a time."""
        blocks, rest = divmod(d, _BLOCK)
        scale = math.sqrt(_BLOCK / d)

        def add(i: Any, total: Array) -> Array:
            rows = scale * self._rows(jax.random.fold_in(key, i), p, _BLOCK, dtype)
            return total + product(rows, rows.T)

        total = jax.lax.fori_loop(0, blocks, add, jnp.zeros((p, p), dtype))
        if rest:
            last = self._rows(jax.random.fold_in(key, blocks), p, rest, dtype)
            total = total + rest / d * product(last, last.T)
        return total


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
        if not 0 < self.cosine <= 1:
            raise ValueError(f"cosine must lie in (0, 1], got {self.cosine}.")
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
        k = _group_size(data.num_examples, p)
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


def _group_size(n: int, p: int) -> int:
    if n % p:
        raise ValueError(
            f"n = {n} examples do not form p = {p} groups of equal size; take n a "
            "multiple of p."
        )
    return n // p


Sampled = tuple[Any, Float[Array, "n m"] | None]


def _draw_inputs(
    law: str | InputLaw, key: PRNGKeyArray, n: int, d: int, dtype: Any
) -> Sampled:
    """The inputs and, where they are Gram, a factor F with K = F Fᵀ."""
    if callable(law):
        return law(key, n, d, dtype), None
    check_choice("inputs", law, INPUT_LAWS)
    return INPUT_LAWS[law](key, n, d, dtype)


def _norms(key: PRNGKeyArray, n: int, dtype: Any) -> Examples:
    return jax.random.uniform(key, (n,), dtype, 1, 2)


def _sphere(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Sampled:
    direction_key, norm_key = jax.random.split(key)
    rows = _gaussian_rows(direction_key, n, d, dtype)
    lengths = jnp.linalg.norm(rows, axis=1, keepdims=True)
    return _dense_or_gram(
        rows / lengths * _norms(norm_key, n, dtype)[:, None], n < 2 * d
    )


def _gaussian(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Sampled:
    return _dense_or_gram(_gaussian_rows(key, n, d, dtype) / math.sqrt(d), n < 2 * d)


def _orthogonal(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Sampled:
    _check_room(n, d, "orthogonal inputs")
    return OrthogonalInputs(_norms(key, n, dtype)), None


def _orthonormal(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Sampled:
    _check_room(n, d, "orthonormal inputs")
    return OrthogonalInputs(jnp.ones(n, dtype)), None


def _antipodal(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Sampled:
    if n % 2:
        raise ValueError(f"antipodal inputs come in pairs: n must be even, got {n}.")
    _check_room(n // 2, d, "antipodal pairs")
    positive, negative = jnp.split(_norms(key, n, dtype), 2)
    return AntipodalInputs(positive, negative), None


def _check_room(count: int, d: int, what: str) -> None:
    if count > d:
        raise ValueError(
            f"dimension d = {d} holds at most {d} {what}, but {count} were asked for."
        )


def _gaussian_rows(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Array:
    """A Gaussian matrix (n, d), or where n < 2d the same seen in a basis of its span,
    (n, min(n, d))."""
    if n < 2 * d:
        return _bartlett(key, n, d, dtype)
    return jax.random.normal(key, (n, d), dtype)


def _bartlett(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Array:
    """R (n, min(n, d)) lower trapezoidal with R Rᵀ ~ Wishart(I_n, d)."""
    below_key, diagonal_key = jax.random.split(key)
    m = min(n, d)
    freedom = jnp.asarray(d, dtype) - jnp.arange(m, dtype=dtype)
    diagonal = jnp.sqrt(jax.random.chisquare(diagonal_key, freedom, (m,), dtype))
    below = jnp.tril(jax.random.normal(below_key, (n, m), dtype), -1)
    return below.at[jnp.arange(m), jnp.arange(m)].set(diagonal)


def _dense_or_gram(rows: Array, as_gram: bool) -> Sampled:
    if not as_gram:
        return DenseInputs(rows), None
    return GramInputs(product(rows, rows.T)), rows


def _square_root(inputs: GramInputs, d: int) -> Array:
    """F (n, min(n, d)) with K = F Fᵀ."""
    values, vectors = jnp.linalg.eigh(inputs.matrix)
    rank = values > values[-1] * inputs.num_examples * jnp.finfo(values.dtype).eps
    if is_concrete(rank) and np.sum(rank) > d:
        raise ValueError(
            f"the Gram matrix has rank {np.sum(rank)}: its inputs do not fit into "
            f"dimension d = {d}."
        )
    root = vectors * jnp.sqrt(jnp.maximum(values, 0))[None, :]
    return root[:, -min(inputs.num_examples, d) :]


INPUT_LAWS: dict[str, Callable[[PRNGKeyArray, int, int, Any], Sampled]] = {
    "sphere": _sphere,
    "orthogonal": _orthogonal,
    "orthonormal": _orthonormal,
    "gaussian": _gaussian,
    "antipodal": _antipodal,
}
TARGET_LAWS: dict[str, TargetLaw] = {"uniform": uniform_targets}
INITIALISATIONS: dict[str, Initialisation] = {
    "gaussian": Initialisation(),
    "uniform": Initialisation(first_layer="uniform"),
    "balanced": Initialisation(second_layer="balanced"),
}
