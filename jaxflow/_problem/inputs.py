"""The geometry of the inputs: what a neuron's weights look like in memory.

The flow of h(x) = (1/p) Σ_j a_j (w_j·x)_+ sees the inputs through their Gram matrix
K_ik = x_i·x_k alone: with z_ji = w_j·x_i and r_i the residuals,

    d/dt w_j = (a_j/n) Σ_i r_i 1[z_ji > 0] x_i   implies
    d/dt z_j = (a_j/n) K (1[z_j > 0] ∘ r),

and ‖w_j‖² follows from the invariant a_j² − ‖w_j‖² (Lemma 1). A geometry is therefore
free to store the weights as it likes, as long as it offers two linear maps: from the
weights to the preactivations z (p, n), and back from a (p, n) array of cotangents C to
the shape of the weights (w_j ↦ Σ_i C_ji x_i). The rest of the library knows no more.

| geometry     | stores per neuron                | one velocity |
|--------------|----------------------------------|--------------|
| dense        | w_j, d numbers                   | 4 n d p flop |
| Gram         | z_j, n numbers                   | 2 n² p flop  |
| orthogonal   | ⟨w_j, x_i/‖x_i‖⟩, n numbers      | O(n p)       |
| antipodal    | ⟨w_j, x_i/‖x_i‖⟩, n/2 numbers    | O(n p)       |
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse.linalg import lobpcg_standard
from jaxtyping import Array, Float

from .._checks import (
    as_float_array,
    as_scalar,
    check_positive,
    check_whole,
    is_concrete,
)
from .._linalg import extend, product
from .._types import ArrayLike, Examples, Neurons, Number, Pairs, Scalar, Weights

# Up to this many examples a full eigenvalue decomposition is the quickest exact way to
# the spectral norm of the interactions; above it LOBPCG finds the two ends.
_LARGEST_DECOMPOSED = 1024


class AbstractInputs(eqx.Module):
    """Inputs x_1 … x_n, as far as the flow can see them."""

    # Examples come in so many blocks of equal length, each of which is padded.
    blocks: ClassVar[int] = 1

    @property
    @abc.abstractmethod
    def num_examples(self) -> int:
        """n."""

    @property
    @abc.abstractmethod
    def num_coordinates(self) -> int:
        """m, the number of coordinates stored per neuron."""

    @property
    @abc.abstractmethod
    def norms(self) -> Examples:
        """‖x_i‖, shape (n,)."""

    @property
    def dimension(self) -> int | None:
        """d, where it is known. Only some laws of the weights depend on it."""
        return None

    @property
    def frame_size(self) -> int:
        """How many coordinates `on_frame` takes."""
        return self.num_coordinates

    def on_frame(self, coordinates: Weights) -> Pairs:
        """z_ji of vectors that are given by their coordinates in an orthonormal basis
        of a space which holds the inputs, (p, `frame_size`) -> (p, n)."""
        return self.preactivations(coordinates)

    @abc.abstractmethod
    def preactivations(self, weights: Weights) -> Pairs:
        """z_ji = w_j·x_i, shape (p, n)."""

    @abc.abstractmethod
    def adjoint(self, cotangent: Pairs) -> Weights:
        """Σ_i C_ji x_i in the stored coordinates, shape (p, m)."""

    def projections(self, weights: Weights) -> Pairs:
        """z_ji up to a positive factor per example, `scaled`, that is cheaper to apply
        to n numbers than to n p. By default the factor is 1."""
        return self.preactivations(weights)

    def scaled(self, values: Examples) -> Examples:
        """`values` times that factor."""
        return values

    def projections_adjoint(self, cotangent: Pairs) -> Weights:
        """The adjoint of `projections`."""
        return self.adjoint(cotangent)

    def preactivations_of_change(self, change: Weights) -> Pairs:
        """The change of `preactivations` with a change of the weights."""
        return self.preactivations(change)

    def projections_of_change(self, change: Weights) -> Pairs:
        """`projections`, of a change of the weights."""
        return self.projections(change)

    @abc.abstractmethod
    def squared_norms(self, weights: Weights) -> Neurons:
        """‖w_j‖² of weights that have no part outside the span of the inputs, (p,)."""

    def squared_norms_of_change(self, change: Weights) -> Neurons:
        """‖change of w_j‖² in R^d, (p,)."""
        # On a CPU a product with ones is quicker than a sum.
        return product(jnp.square(change), jnp.ones_like(change[0]))

    @abc.abstractmethod
    def gram(self) -> Float[Array, "n n"]:
        """K = XᵀX, shape (n, n)."""

    @abc.abstractmethod
    def padded(self, n: int, p: int) -> "AbstractInputs":
        """These inputs with zero vectors appended, up to n; what is stored per neuron
        with zeros, up to p."""

    def bare(self) -> "AbstractInputs":
        """These inputs without what only laws of the weights want to know: the
        dimension, and a factor of K."""
        return self

    def with_bias(self, size: Number) -> "AbstractInputs":
        """The inputs (x_i, b) in R^{d+1}: a network of these has biases (footnote 1 of
        the paper), neuron j the bias b w_{j,d+1}.

            data = jaxflow.Dataset(jaxflow.DenseInputs(x).with_bias(0.1), y)

        K_ik becomes x_i·x_k + b², exactly. Dense inputs stay dense, with a last column
        b. All others become `GramInputs`, orthogonal ones too, since they are not
        orthogonal any more: n² numbers are stored then.

        - `size`: b > 0, one number. Assumption 2 wants it small.

        Raises a ValueError when `size` is not a positive finite number.
        """
        b = as_scalar("size", size).astype(self.dtype)
        frame = self.on_frame(jnp.eye(self.frame_size, dtype=self.dtype)).T
        return _gram_with_bias(self, b, _with_column(frame, b))

    def adjoint_squared_norms(self, cotangent: Pairs) -> Neurons:
        """‖Σ_i C_ji x_i‖² in R^d, shape (p,)."""
        return jnp.sum(self.adjoint(cotangent) ** 2, axis=1)

    def times_gram(self, v: Float[Array, "n k"]) -> Float[Array, "n k"]:
        """K v."""
        return product(self.gram(), v)

    def interaction(self) -> Scalar:
        """‖XᵀX − D_X‖, the operator norm that Assumption 2 (eq. 4) bounds."""
        if self.num_examples <= _LARGEST_DECOMPOSED:
            gram = self.gram()
            off = gram - jnp.diag(jnp.diag(gram))
            return jnp.max(jnp.abs(jnp.linalg.eigvalsh(off)))
        # K − D lies between −max‖x‖² and its trace; shifting by either end makes the
        # end that is sought the largest eigenvalue of a positive semidefinite map, as
        # LOBPCG wants it.
        squares = self.norms**2

        def off_diagonal(v: Array) -> Array:
            return self.times_gram(v) - squares[:, None] * v

        start = jax.random.normal(jax.random.key(0), (self.num_examples, 4), self.dtype)
        floor = jnp.max(squares)
        top = _largest(lambda v: off_diagonal(v) + floor * v, start) - floor
        ceiling = jnp.maximum(top, floor)
        bottom = ceiling - _largest(lambda v: ceiling * v - off_diagonal(v), start)
        return jnp.maximum(top, -bottom)

    @property
    def dtype(self) -> np.dtype:
        return jax.tree.leaves(self)[0].dtype


class DenseInputs(AbstractInputs):
    """Inputs given by their coordinates; a neuron stores w_j in R^d.

    **Arguments:**

    - `x`: the inputs, shape (n, d), floating point. The Gram matrix is never formed by
      a velocity.

    Raises a ValueError when `x` is not finite, is empty, or has a row of zeros.
    """

    x: Float[Array, "n d"]

    def __init__(self, x: ArrayLike):
        self.x = as_float_array("x", x, 2)
        if is_concrete(self.x):
            _check_no_zero_input(np.max(np.abs(np.asarray(self.x)), axis=1))

    @property
    def num_examples(self) -> int:
        return self.x.shape[0]

    @property
    def num_coordinates(self) -> int:
        return self.x.shape[1]

    @property
    def dimension(self) -> int:
        return self.x.shape[1]

    @property
    def norms(self) -> Examples:
        return jnp.linalg.norm(self.x, axis=1)

    def preactivations(self, weights: Weights) -> Pairs:
        return product(weights, self.x.T)

    def adjoint(self, cotangent: Pairs) -> Weights:
        return product(cotangent, self.x)

    def squared_norms(self, weights: Weights) -> Neurons:
        return jnp.sum(weights**2, axis=1)

    def padded(self, n: int, p: int) -> "AbstractInputs":
        return eqx.tree_at(lambda s: s.x, self, extend(self.x, 0, n))

    def with_bias(self, size: Number) -> "DenseInputs":
        b = as_scalar("size", size).astype(self.dtype)
        return DenseInputs(_with_column(self.x, b))

    def gram(self) -> Float[Array, "n n"]:
        return product(self.x, self.x.T)

    def times_gram(self, v: Float[Array, "n k"]) -> Float[Array, "n k"]:
        # K itself is never formed.
        return product(self.x, product(self.x.T, v))


class _AbstractGram(AbstractInputs):
    """What the two geometries that hold K share; they store n numbers per neuron."""

    matrix: eqx.AbstractVar[Float[Array, "n n"]]

    @property
    def num_examples(self) -> int:
        return self.matrix.shape[0]

    @property
    def num_coordinates(self) -> int:
        return self.matrix.shape[0]

    @property
    def norms(self) -> Examples:
        return jnp.sqrt(jnp.diag(self.matrix))

    def gram(self) -> Float[Array, "n n"]:
        return self.matrix

    def padded(self, n: int, p: int) -> "AbstractInputs":
        matrix = extend(extend(self.matrix, 0, n), 1, n)
        return eqx.tree_at(lambda s: s.matrix, self, matrix)

    def adjoint_squared_norms(self, cotangent: Pairs) -> Neurons:
        return jnp.sum(cotangent * product(cotangent, self.matrix), axis=1)


class GramInputs(_AbstractGram):
    """Inputs given by their Gram matrix; a neuron stores its preactivations z_j in R^n.

    The dimension d does not appear: d = 10⁹ costs what d = n costs.

    **Arguments:**

    - `gram`: K = XᵀX, shape (n, n), symmetric positive semidefinite.
    - `dimension`: d, for laws that depend on it; a run does not.
    - `factor`: F, shape (n, m), with K = F Fᵀ, if it is known. Directions are then
      drawn without an eigenvalue decomposition of K.

    Raises a ValueError when `gram` is not a square symmetric matrix of finite numbers
    with a positive diagonal.
    """

    matrix: Float[Array, "n n"]
    factor: Float[Array, "n m"] | None
    dimension: int | None = eqx.field(static=True, default=None)

    def __init__(
        self,
        gram: ArrayLike,
        dimension: int | None = None,
        factor: ArrayLike | None = None,
    ):
        self.matrix = as_float_array("gram", gram, 2)
        self.factor = None if factor is None else as_float_array("factor", factor, 2)
        self.dimension = _as_dimension(dimension, 1)
        if self.factor is not None and self.factor.shape[0] != self.matrix.shape[0]:
            raise ValueError(
                f"factor must be (n, m) for gram {self.matrix.shape}, got shape "
                f"{self.factor.shape}."
            )
        if self.dimension is not None and self.frame_size > self.dimension:
            raise ValueError(
                f"factor must be (n, m) with m at most the dimension {self.dimension}, "
                f"got shape {self.factor.shape}."  # type: ignore[union-attr]
            )
        if self.matrix.shape[0] != self.matrix.shape[1]:
            raise ValueError(
                f"gram must be square (n, n), got shape {self.matrix.shape}. "
                "For coordinates (n, d) use DenseInputs(x)."
            )
        if is_concrete(self.matrix):
            matrix = np.asarray(self.matrix)
            diagonal = np.diag(matrix)
            _check_no_zero_input(diagonal)
            check_positive("the diagonal of gram", diagonal)
        # With a factor K is what it has to be, up to rounding.
        if is_concrete(self.matrix) and factor is None:
            slack = 64 * np.finfo(matrix.dtype).eps * np.max(diagonal)
            if not np.all(np.abs(matrix - matrix.T) <= slack):
                raise ValueError("gram must be symmetric: gram[i, k] == gram[k, i].")
            lengths = np.sqrt(diagonal)
            if not np.all(np.abs(matrix) <= np.outer(lengths, lengths) + slack):
                raise ValueError(
                    "gram must be positive semidefinite, but some |gram[i, k]| exceeds "
                    "sqrt(gram[i, i] gram[k, k])."
                )

    @property
    def frame_size(self) -> int:
        if self.factor is not None:
            return self.factor.shape[1]
        return min(self.num_examples, self.dimension or self.num_examples)

    def on_frame(self, coordinates: Weights) -> Pairs:
        return product(coordinates, self.root().T)

    def bare(self) -> "GramInputs":
        if self.dimension is None and self.factor is None:
            return self
        return GramInputs(self.matrix)

    def with_bias(self, size: Number) -> "GramInputs":
        b = as_scalar("size", size).astype(self.dtype)
        # A factor that is not known is left for those who need it.
        factor = None if self.factor is None else _with_column(self.factor, b)
        return _gram_with_bias(self, b, factor)

    def root(self) -> Float[Array, "n m"]:
        """F with K = F Fᵀ; m = min(n, d) where it has to be found.

        Raises a ValueError where the inputs do not fit into the dimension.
        """
        if self.factor is not None:
            return self.factor
        values, vectors = jnp.linalg.eigh(self.matrix)
        eps = jnp.finfo(values.dtype).eps
        rank = values > values[-1] * self.num_examples * eps
        if is_concrete(rank) and np.sum(rank) > self.frame_size:
            raise ValueError(
                f"the Gram matrix has rank {np.sum(rank)}: its inputs do not fit into "
                f"dimension d = {self.dimension}."
            )
        root = vectors * jnp.sqrt(jnp.maximum(values, 0))[None, :]
        return root[:, -self.frame_size :]

    def preactivations(self, weights: Weights) -> Pairs:
        return weights

    def adjoint(self, cotangent: Pairs) -> Weights:
        return product(cotangent, self.matrix)

    def squared_norms(self, weights: Weights) -> Neurons:
        # zᵀ K⁺ z; directions in which K vanishes to rounding carry no weight.
        values, vectors = jnp.linalg.eigh(self.matrix)
        floor = values[-1] * self.num_examples * jnp.finfo(values.dtype).eps
        inverse = jnp.where(values > floor, 1 / jnp.maximum(values, floor), 0)
        components = product(weights, vectors)
        return jnp.sum(components**2 * inverse[None, :], axis=1)


class GramCoefficients(_AbstractGram):
    """The Gram geometry as a run holds it: w_j(t) = w_j(0) + Σ_i B_ji(t) x_i.

    A neuron stores the coefficients B_j in R^n. It costs one product with K per
    velocity, as storing z does, but w_j(t) and ‖w_j(t)‖² follow without inverting K,
    whose condition number is of order n² when n is near d.

    **Arguments:**

    - `matrix`: K, shape (n, n).
    - `origin`: z(0), shape (p, n): the preactivations where B = 0.
    """

    matrix: Float[Array, "n n"]
    origin: Float[Array, "p n"]

    def padded(self, n: int, p: int) -> "AbstractInputs":
        origin = extend(extend(self.origin, 0, p), 1, n)
        return eqx.tree_at(lambda s: s.origin, super().padded(n, p), origin)

    def displacement(self, weights: Weights) -> Pairs:
        """z(t) − z(0) = B K."""
        return product(weights, self.matrix)

    def preactivations(self, weights: Weights) -> Pairs:
        return self.origin + self.displacement(weights)

    def adjoint(self, cotangent: Pairs) -> Weights:
        return cotangent

    def preactivations_of_change(self, change: Weights) -> Pairs:
        return self.displacement(change)

    def projections_of_change(self, change: Weights) -> Pairs:
        return self.displacement(change)

    def squared_norms_of_change(self, change: Weights) -> Neurons:
        return jnp.sum(change * self.displacement(change), axis=1)

    def squared_norms(self, weights: Weights) -> Neurons:
        # ‖w(t)‖² − ‖w(0)‖²: the constant that a run adds supplies the rest.
        inner = 2 * self.origin + self.displacement(weights)
        return jnp.sum(weights * inner, axis=1)


class OrthogonalInputs(AbstractInputs):
    """Pairwise orthogonal inputs; a neuron stores u_ji = ⟨w_j, x_i/‖x_i‖⟩ in R^n.

    **Arguments:**

    - `norms`: ‖x_i‖, shape (n,), positive. Orthonormal inputs are `jnp.ones(n)`.
    - `dimension`: d ≥ n, for laws that depend on it; a run does not.

    Raises a ValueError when a norm is not a positive finite number, or the dimension
    holds fewer orthogonal inputs.
    """

    lengths: Examples
    dimension: int | None = eqx.field(static=True, default=None)

    def __init__(self, norms: ArrayLike, dimension: int | None = None):
        self.lengths = as_float_array("norms", norms, 1)
        check_positive("norms", self.lengths)
        self.dimension = _as_dimension(dimension, self.num_coordinates)

    @property
    def num_examples(self) -> int:
        return self.lengths.shape[0]

    @property
    def num_coordinates(self) -> int:
        return self.lengths.shape[0]

    @property
    def norms(self) -> Examples:
        return self.lengths

    def bare(self) -> "OrthogonalInputs":
        return self if self.dimension is None else OrthogonalInputs(self.lengths)

    def preactivations(self, weights: Weights) -> Pairs:
        return weights * self.lengths[None, :]

    def adjoint(self, cotangent: Pairs) -> Weights:
        return cotangent * self.lengths[None, :]

    def projections(self, weights: Weights) -> Pairs:
        return weights

    def scaled(self, values: Examples) -> Examples:
        return values * self.lengths

    def projections_adjoint(self, cotangent: Pairs) -> Weights:
        return cotangent

    def squared_norms(self, weights: Weights) -> Neurons:
        return jnp.sum(weights**2, axis=1)

    def padded(self, n: int, p: int) -> "AbstractInputs":
        return eqx.tree_at(lambda s: s.lengths, self, extend(self.lengths, 0, n))

    def gram(self) -> Float[Array, "n n"]:
        return jnp.diag(self.lengths**2)

    def interaction(self) -> Scalar:
        return jnp.zeros((), self.lengths.dtype)


class AntipodalInputs(AbstractInputs):
    """Orthogonal pairs of opposite inputs (Appendix C.2): n = 2m examples in R^m.

    With an orthonormal family e_1 … e_m, example i is ρ⁺_i e_i and example m + i is
    −ρ⁻_i e_i. A neuron stores u_ji = ⟨w_j, e_i⟩ in R^m, so at most one example of each
    pair is active on it.

    **Arguments:**

    - `positive`: ρ⁺, shape (m,), positive.
    - `negative`: ρ⁻, shape (m,), positive.
    - `dimension`: d ≥ m, for laws that depend on it; a run does not.

    Raises a ValueError when a norm is not a positive finite number, the two lengths
    disagree, or the dimension holds fewer orthogonal pairs.
    """

    positive: Float[Array, " m"]
    negative: Float[Array, " m"]
    dimension: int | None = eqx.field(static=True, default=None)
    blocks: ClassVar[int] = 2

    def __init__(
        self,
        positive: ArrayLike,
        negative: ArrayLike,
        dimension: int | None = None,
    ):
        self.positive = as_float_array("positive", positive, 1)
        self.negative = as_float_array("negative", negative, 1)
        if self.positive.shape != self.negative.shape:
            raise ValueError(
                "positive and negative must have one norm per antipodal pair each, got "
                f"shapes {self.positive.shape} and {self.negative.shape}."
            )
        check_positive("positive", self.positive)
        check_positive("negative", self.negative)
        self.dimension = _as_dimension(dimension, self.num_coordinates)

    @property
    def num_examples(self) -> int:
        return 2 * self.positive.shape[0]

    @property
    def num_coordinates(self) -> int:
        return self.positive.shape[0]

    @property
    def norms(self) -> Examples:
        return jnp.concatenate([self.positive, self.negative])

    def bare(self) -> "AntipodalInputs":
        if self.dimension is None:
            return self
        return AntipodalInputs(self.positive, self.negative)

    def preactivations(self, weights: Weights) -> Pairs:
        return jnp.concatenate(
            [weights * self.positive[None, :], -weights * self.negative[None, :]],
            axis=1,
        )

    def adjoint(self, cotangent: Pairs) -> Weights:
        positive, negative = jnp.split(cotangent, 2, axis=1)
        return positive * self.positive[None, :] - negative * self.negative[None, :]

    def projections(self, weights: Weights) -> Pairs:
        return jnp.concatenate([weights, -weights], axis=1)

    def scaled(self, values: Examples) -> Examples:
        return values * self.norms

    def projections_adjoint(self, cotangent: Pairs) -> Weights:
        positive, negative = jnp.split(cotangent, 2, axis=1)
        return positive - negative

    def squared_norms(self, weights: Weights) -> Neurons:
        return jnp.sum(weights**2, axis=1)

    def padded(self, n: int, p: int) -> "AbstractInputs":
        return eqx.tree_at(
            lambda s: (s.positive, s.negative),
            self,
            (extend(self.positive, 0, n // 2), extend(self.negative, 0, n // 2)),
        )

    def gram(self) -> Float[Array, "n n"]:
        cross = jnp.diag(-self.positive * self.negative)
        return jnp.block(
            [[jnp.diag(self.positive**2), cross], [cross, jnp.diag(self.negative**2)]]
        )

    def interaction(self) -> Scalar:
        return jnp.max(self.positive * self.negative)


def _with_column(rows: Float[Array, "n m"], b: Scalar) -> Float[Array, "n m+1"]:
    column = jnp.broadcast_to(b, (rows.shape[0], 1)).astype(rows.dtype)
    return jnp.concatenate([rows, column], axis=1)


def _gram_with_bias(
    inputs: AbstractInputs, b: Scalar, factor: Float[Array, "n m"] | None
) -> GramInputs:
    dimension = None if inputs.dimension is None else inputs.dimension + 1
    return GramInputs(inputs.gram() + b**2, dimension, factor)


def _as_dimension(dimension: Any, least: int) -> int | None:
    """`dimension` as an integer that holds `least` orthogonal directions."""
    if dimension is None:
        return None
    dimension = check_whole("dimension", dimension)
    if dimension < least:
        raise ValueError(
            f"dimension = {dimension} holds no more orthogonal directions than that, "
            f"but the inputs have {least}."
        )
    return dimension


def _check_no_zero_input(sizes: np.ndarray) -> None:
    zeros = np.flatnonzero(sizes == 0)
    if zeros.size:
        raise ValueError(
            f"input x[{int(zeros[0])}] is the zero vector. The network is 0 there "
            "whatever its weights; leave that example out."
        )


def _largest(linear_map: Any, start: Float[Array, "n k"]) -> Scalar:
    values, _, _ = lobpcg_standard(linear_map, start, m=200)
    return values[0]
