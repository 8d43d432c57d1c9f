"""The largest eigenvalue of the Hessian of the loss, in the units of the flow.

Descent with learning rate η moves (w, a) by −η p∇L, so the Hessian that counts is that
of p L. Away from kinks, with s_j = Π_j (1/n) Σ_i r_i 1_ji x_i, it is

    p∇²L = G Gᵀ − Σ_j (s_j e_jᵀ + e_j s_jᵀ),

where the n columns of G are the ∇h(x_i) √(p/n), so that GᵀG = M is the tangent kernel,
e_j is the direction of a_j, and s_j stands for its move of w_j. Π_j and what slides are
those of `tangent_kernel.py`: where pairs slide it is the Hessian along the slide.

Where w and a are trained at rates R of their own, descent is governed by √R p∇²L √R,
which is this with the parts of G and s_j times the square roots of the rates.

Its eigenvectors with eigenvalues other than zero lie in the span of n + 2p vectors,
F = [G, e_j √‖s_j‖, s_j/√‖s_j‖], so a vector is held by n + 2p coefficients v, whatever
the geometry. p∇²L (F v) = F C N v with N = FᵀF, which is applied and never formed, and
C, which keeps the first n coefficients and exchanges the others with their sign turned.
A Lanczos iteration in the inner product vᵀN v, with full reorthogonalisation, finds the
largest eigenvalue; when its basis is full it starts again from the best vector.
"""

from typing import NamedTuple

import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._linalg import product
from .._types import Examples, Neurons, PairMask, Pairs, Scalar, Weights
from .._xla import compiled
from .inputs import AbstractInputs
from .run_problem import Problem
from .tangent_kernel import (
    active_parts,
    at_rates,
    kernel_inputs,
    moved_by,
    orthogonalised,
    removed_at,
    sliding_at,
)

# Vectors of the basis, and how often it is filled at most.
_BASIS, _RESTARTS = 64, 50
# The residual of the Ritz pair at which the iteration ends, relative to its value. The
# error of the value is at most the residual, and of the size of its square.
_RESIDUAL = 5e-7

_NO_GRADIENT = (
    "sharpness has no reverse-mode gradient (jax.grad), since it is found by an "
    "iteration of unknown length. Take forward mode, jax.jvp or jax.jacfwd."
)


def sharpness_at(
    problem: Problem, weights: Weights, a: Neurons, multipliers: Pairs | None = None
) -> Scalar:
    """λ_max of the Hessian of p L in the coordinates of a run; `multipliers` as for
    `kernel_at`. NaN where more pairs of a neuron slide than there is room for."""
    sliding = sliding_at(problem, weights, a, multipliers, None)
    value = _sharpness(problem, weights, a, *sliding)
    return eqxi.nondifferentiable_backward(value, msg=_NO_GRADIENT)


class _Span(NamedTuple):
    """F. `pushes`: the C_ji with s_j = Σ_i C_ji x_i, up to the sign of a_j, which a
    turn of all w_j by theirs takes out. `roots`: √‖s_j‖. `rate`: 1/√(np)."""

    inputs: AbstractInputs
    activations: Pairs
    sizes: Pairs
    pushes: Pairs
    roots: Neurons
    removed: Float[Array, "p k m"] | None
    rate: Scalar

    def times_gram(self, v: Float[Array, " s"]) -> Float[Array, " s"]:
        """N v."""
        p, n = self.activations.shape
        first, second, third = v[:n], v[n : n + p], v[n + p :]
        safe = jnp.where(self.roots > 0, self.roots, 1)
        cotangent = self.rate * self.sizes * first[None, :]
        cotangent += self.pushes * (third / safe)[:, None]
        moved = moved_by(self.inputs, cotangent, self.removed)
        a_moved = self.rate * product(self.activations, first) + self.roots * second
        along = jnp.sum(self.sizes * moved, axis=0)
        along += product(a_moved, self.activations)
        pushed = jnp.sum(self.pushes * moved, axis=1) / safe
        return jnp.concatenate([self.rate * along, self.roots * a_moved, pushed])

    def turned(self, v: Float[Array, " s"]) -> Float[Array, " s"]:
        """C v."""
        p, n = self.activations.shape
        return jnp.concatenate([v[:n], -v[n + p :], -v[n : n + p]])


@compiled
def _sharpness(
    problem: Problem,
    weights: Weights,
    a: Neurons,
    slides: PairMask,
    enough: Bool[Array, ""],
    room: int,
) -> Scalar:
    z = problem.inputs.preactivations(weights)
    inputs = kernel_inputs(problem, z)
    activations, sizes = active_parts(problem, z, a, slides)
    removed = removed_at(inputs, slides, room)
    residuals: Examples = problem.residuals(activations, a)
    active = activations > 0
    activations, sizes = at_rates(problem, activations, sizes)
    signs = jnp.where(a < 0, -1, 1).astype(a.dtype) / problem.n
    pushes = signs[:, None] * residuals[None, :]
    if problem.slope is None:
        pushes = jnp.where(active, pushes, 0)
    else:
        pushes = jnp.where(slides, 0, problem.derivatives(z)) * pushes
    if problem.rates is not None:
        pushes = jnp.sqrt(problem.rates.w * problem.rates.a) * pushes
    pairs = jnp.where(enough, problem.n * problem.p, jnp.nan)
    rate = 1 / jnp.sqrt(pairs)
    root = _root_of_scale(inputs, activations, sizes, pushes, rate)
    activations, sizes = activations / root, sizes / root
    pushes = pushes / root / root
    squares = jnp.sum(pushes * moved_by(inputs, pushes, removed), axis=1)
    span = _Span(
        inputs=inputs,
        activations=activations,
        sizes=sizes,
        pushes=pushes,
        roots=jnp.sqrt(jnp.sqrt(jnp.maximum(squares, 0))),
        removed=removed,
        rate=rate,
    )
    return root * (root * _largest(span, a.dtype))


def _root_of_scale(
    inputs: AbstractInputs,
    activations: Pairs,
    sizes: Pairs,
    pushes: Pairs,
    rate: Scalar,
) -> Scalar:
    """About the square root of the entries of the Hessian.

    The iteration multiplies several of them, which float32 could not hold. Dividing by
    a power of two rounds nothing.
    """
    norms = inputs.norms[None, :]
    found = jnp.maximum(
        rate * jnp.maximum(jnp.max(jnp.abs(activations)), jnp.max(sizes * norms)),
        jnp.sqrt(jnp.max(jnp.abs(pushes) * norms)),
    )
    _, exponent = jnp.frexp(jax.lax.stop_gradient(found))
    return jnp.ldexp(jnp.ones_like(found), exponent)


class _Lanczos(NamedTuple):
    """`basis`: rows that are orthonormal by N, zero beyond those that there are;
    `images`: N of each; `projected`: the Hessian on them."""

    basis: Float[Array, "k s"]
    images: Float[Array, "k s"]
    projected: Float[Array, "m m"]
    length: Scalar


class _Found(NamedTuple):
    """The best vector so far, its value, and the residual of both."""

    vector: Float[Array, " s"]
    value: Scalar
    residual: Scalar
    rounds: Int[Array, ""]


def _largest(span: _Span, dtype: jnp.dtype) -> Scalar:
    p, n = span.activations.shape
    count = n + 2 * p
    size = min(count, _BASIS)
    eps = jnp.finfo(dtype).eps
    zero = jnp.zeros((), dtype)

    def normalised(v: Array, least: Scalar) -> tuple[Array, Array, Scalar]:
        """v of length 1, N v, and the length that it had; zeros if that is rounding."""
        image = span.times_gram(v)
        length = jnp.sqrt(jnp.maximum(jnp.vdot(v, image), 0))
        length = jnp.where(length <= least, 0, length)
        factor = jnp.where(length == 0, 0, 1 / jnp.where(length == 0, 1, length))
        return factor * v, factor * image, length

    def extend(j: Array, state: _Lanczos) -> _Lanczos:
        basis, images, projected, _ = state
        following = span.turned(images[j])
        following, projected = orthogonalised(following, basis, images, projected, j)
        least = 16 * eps * jnp.max(jnp.abs(projected))
        row, image, length = normalised(following, least)
        return _Lanczos(
            basis.at[j + 1].set(row), images.at[j + 1].set(image), projected, length
        )

    def fill(found: _Found) -> _Found:
        row, image, _ = normalised(found.vector, zero)
        empty = jnp.zeros((size + 1, count), dtype)
        start = _Lanczos(
            empty.at[0].set(row),
            empty.at[0].set(image),
            jnp.zeros((size, size), dtype),
            zero,
        )
        basis, _, projected, length = jax.lax.fori_loop(0, size, extend, start)
        # Rows that are missing are eigenvalues 0, and the largest is never below: the
        # trace is that of G Gᵀ.
        values, vectors = jnp.linalg.eigh(projected)
        best = vectors[:, -1]
        residual = length * jnp.abs(best[-1])
        if size < _BASIS:
            # The basis has held all there is.
            residual = zero
        return _Found(
            product(best, basis[:size]), values[-1], residual, found.rounds + 1
        )

    def unfinished(found: _Found) -> Bool[Array, ""]:
        left = found.residual > _RESIDUAL * found.value
        return left & (found.rounds < _RESTARTS)

    random = jax.random.normal(jax.random.key(0), (count,), dtype)
    # What N makes zero is left out.
    first = span.turned(span.times_gram(random))
    start = _Found(first, zero, zero + jnp.inf, jnp.int32(0))
    return jnp.maximum(jax.lax.while_loop(unfinished, fill, start).value, 0)
