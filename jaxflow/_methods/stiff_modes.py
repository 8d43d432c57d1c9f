"""The fast modes of the residuals, so that a step need not follow them.

While no pair changes its state r' = −M r, with M the tangent kernel over n p. A few of
its eigenvalues are far above the others, and an explicit step is bound by the largest.
Let A ≈ M be cheap to apply to and of low rank. With r̂ an explicit prediction of the
mean of r over the step, and r̄₁ the mean over the step before, the mean is taken to be

    r̄ = r̄₁ + (1 − S)(r̂ − r̄₁),   S = (hA)²/(1 + hA + (hA)²).

S is of second order in hA: what a step resolves, it leaves as it is, whatever A is. A
fast mode (hA ≫ 1) moves by 1/(hA) of what an explicit step would have it move: an
eigenvalue m of M for which A has α is stable while h m < 1 + 2 (hα)²/(1 + hα) (from the
recursion of (r, r̄₁) with r̂ = r − (h/2) M r̄₁, r⁺ = r − h M r̄).

A has two parts:

- c K, with c = Σ_j a_j² q_j/(np), q_j the share of pairs of examples that are both
  active on neuron j: M without its zzᵀ, if the gates did not depend on the examples.
  The eigenvectors of K are found once.
- the largest eigenvalues of M − cK, by subspace iteration, which goes on from step to
  step. That the activations have a mean is one of them.

What is left bounds the step: the last eigenvalue of that iteration.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._linalg import product
from .._problem.inputs import AbstractInputs, DenseInputs
from .._problem.run_problem import Problem
from .._types import Examples, Neurons, Pairs, Scalar
from .._xla import compiled_separately

# Eigenvectors of K that are kept, and the iterations that find them where K has more
# than those.
MOST_MODES, _ITERATIONS = 128, 3
# Eigenvalues of M − cK that are followed, all but the last of them as part of A, and
# the iterations at the start.
_FOLLOWED, _LOOKS = 3, 3
# The last one is found from below.
_SAFETY = 1.2


class Outliers(eqx.Module):
    """The largest eigenvalues of M − cK, over the mean of a_j², and their vectors."""

    values: Float[Array, " m"]
    vectors: Float[Array, "m n"]


class StiffModes(eqx.Module):
    """A, on one problem. `vectors`, `values`: of K, (n, k) and (k,). `rows`: the same
    vectors, (k, n). On a CPU a matrix that lies across its product with a vector takes
    ten times as long."""

    problem: Problem
    vectors: Float[Array, "n k"]
    rows: Float[Array, "k n"]
    values: Float[Array, " k"]

    def __init__(self, problem: Problem):
        self.problem = problem
        self.vectors, self.values = _largest(problem.inputs)
        # The branches of a conditional hand on what really lies in memory so.
        self.rows = compiled_separately(lambda _, v: v.T, problem, self.vectors)

    def start(self, z: Pairs, a: Neurons, gates: Pairs) -> Outliers:
        n = z.shape[1]
        count = min(_FOLLOWED, n)
        # Of these only the space counts.
        vectors = _start(self.problem.inputs, count).T
        found = Outliers(jnp.zeros(count, z.dtype), vectors)
        return jax.lax.fori_loop(
            0, _LOOKS, lambda _, found: self.followed(found, z, a, gates), found
        )

    def followed(
        self, outliers: Outliers, z: Pairs, a: Neurons, gates: Pairs
    ) -> Outliers:
        """By one more iteration. `gates`: what stands for 1[z > 0], or for σ'(z)."""
        vectors = outliers.vectors
        images = jax.lax.map(lambda v: self._rest_times(v, z, a, gates), vectors)
        values = jnp.sum(vectors * images, axis=1)
        order = jnp.argsort(-values)
        scale = self._mean_square(a)
        return Outliers(
            values[order] / jnp.where(scale > 0, scale, 1),
            _orthonormal(images[order], vectors[order]),
        )

    def evaluations(self, looks: Array) -> Array:
        """The products with the inputs and their transpose of so many iterations."""
        return min(_FOLLOWED, self.vectors.shape[0]) * (_LOOKS + looks)

    def rate(self, outliers: Outliers, a: Neurons) -> Scalar:
        """An estimate of the largest eigenvalue of M − A."""
        rate = _SAFETY * outliers.values[-1] * self._mean_square(a)
        return jnp.maximum(rate, jnp.finfo(a.dtype).tiny)

    def largest(self, outliers: Outliers, gates: Pairs, a: Neurons) -> Scalar:
        """A bound of the largest eigenvalue of M, of about its size."""
        most = self._coefficient(gates, a) * self.values[-1]
        most += jnp.maximum(outliers.values[0], 0) * self._mean_square(a)
        return jnp.maximum(most, jnp.finfo(a.dtype).tiny)

    def damped(
        self, outliers: Outliers, gates: Pairs, a: Neurons, h: Scalar, v: Examples
    ) -> Examples:
        """(1 − S) v."""
        damping = _damping(h * self._coefficient(gates, a) * self.values)
        v = v - product(self.vectors, damping * product(self.rows, v))
        values = h * self._mean_square(a) * jnp.maximum(outliers.values[:-1], 0)
        vectors = outliers.vectors[:-1]
        return v - product(_damping(values) * product(vectors, v), vectors)

    def _rest_times(self, v: Examples, z: Pairs, a: Neurons, gates: Pairs) -> Examples:
        """(M − cK) v."""
        inputs, n, p = self.problem.inputs, self.problem.n, self.problem.p
        pushed = self.problem.at_rate_w(a**2)[:, None] * gates * v[None, :]
        back = gates * inputs.preactivations_of_change(inputs.adjoint(pushed))
        on = self.problem.activations(z)
        second = self.problem.at_rate_a(product(on, v))
        whole = (jnp.sum(back, axis=0) + product(second, on)) / (n * p)
        values = self._coefficient(gates, a) * self.values
        return whole - product(self.vectors, values * product(self.rows, v))

    def _coefficient(self, gates: Pairs, a: Neurons) -> Scalar:
        """c."""
        n, p = self.problem.n, self.problem.p
        if self.problem.slope is None:
            on = jnp.sum(gates, axis=1)
            both = on * jnp.maximum(on - 1, 0) / (n * jnp.maximum(n - 1, 1))
        else:
            # The mean product of two of them; padded examples have the slope too.
            gates = jnp.where(self.problem.inputs.norms > 0, gates, 0)
            both = jnp.sum(gates, axis=1) ** 2 - jnp.sum(gates**2, axis=1)
            both = both / (n * jnp.maximum(n - 1, 1))
        return self.problem.at_rate_w(jnp.sum(a**2 * both)) / (n * p)

    def _mean_square(self, a: Neurons) -> Scalar:
        return jnp.sum(a**2) / self.problem.p


def _largest(inputs: AbstractInputs) -> tuple[Float[Array, "n k"], Float[Array, " k"]]:
    """The largest eigenvalues of K, in ascending order, and their vectors."""
    if isinstance(inputs, DenseInputs) and inputs.num_coordinates <= MOST_MODES:
        values, turn = jnp.linalg.eigh(product(inputs.x.T, inputs.x))
        vectors = product(inputs.x, turn)
        # K's rank may be less than d: vectors of length zero are left out.
        least = inputs.num_examples * jnp.finfo(values.dtype).eps * values[-1]
        inverse = jnp.where(values > least, 1 / jnp.sqrt(jnp.maximum(values, least)), 0)
        return vectors * inverse[None, :], jnp.where(values > least, values, 0)
    n = inputs.num_examples
    v = jnp.linalg.qr(_start(inputs, min(n, MOST_MODES)))[0]
    for _ in range(_ITERATIONS):
        v = jnp.linalg.qr(inputs.times_gram(v))[0]
    values, turn = jnp.linalg.eigh(product(v.T, inputs.times_gram(v)))
    return product(v, turn), values


def _start(inputs: AbstractInputs, count: int) -> Float[Array, "n k"]:
    """Vectors of no direction in particular, the same for however much padding."""
    n = inputs.num_examples
    example, mode = jnp.arange(1.0, n + 1)[:, None], jnp.arange(1.0, count + 1)[None, :]
    vectors = jnp.cos(1.7 * example * mode + example).astype(inputs.dtype)
    return jnp.where(inputs.norms[:, None] > 0, vectors, 0)


def _orthonormal(
    vectors: Float[Array, "m n"], others: Float[Array, "m n"]
) -> Float[Array, "m n"]:
    """By Gram and Schmidt, row by row, twice; where a row vanishes, from another. A
    loop, since the compiler takes longer for each line than the run does."""

    def unit(row: Array, otherwise: Array) -> Array:
        size = jnp.linalg.norm(row)
        return jnp.where(size > 0, row / jnp.where(size > 0, size, 1), otherwise)

    def with_row(number: Array, rows: Array) -> Array:
        row = unit(vectors[number], others[number])
        # The rows from here on are still zero.
        for _ in range(2):
            row = row - product(product(rows, row), rows)
            row = unit(row, row)
        return rows.at[number].set(row)

    return jax.lax.fori_loop(0, len(vectors), with_row, jnp.zeros_like(vectors))


def _damping(x: Array) -> Array:
    return x**2 / (1 + x + x**2)
