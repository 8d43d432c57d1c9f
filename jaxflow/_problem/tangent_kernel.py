"""The tangent kernel of a network on its data, and the ends of its spectrum.

While no pair changes its state the residuals obey r' = −M r with

    M = (1/np) Σ_j P_j (a_j² XᵀΠ_jX + z_j z_jᵀ) P_j,

where P_j keeps the examples on which neuron j is active, and Π_j projects off the
inputs along whose kinks it slides: there the flow keeps z_ji = 0, so that w_j moves
orthogonally to x_i. Late in a run μ tends to 2 λ_min(M), and gradient descent bounces
where its learning rate exceeds 2/λ_max(M).

With a leaky ReLU σ'(z_ji) stands for what is 1 on an active pair, P_j = diag(σ'(z_j))
off the slides, and z_j in M is z_j where it does not slide.

Where a run trains w and a at rates of their own, the two terms count at these rates.

**Orthogonal and antipodal inputs.** Two examples that are active on one neuron are
orthogonal, so M is a diagonal D_i = ‖x_i‖² Σ_j a_j² 1_ji/(np) plus a matrix ZᵀZ of rank
p. Either end is found by bisection: M − σ is definite where a matrix of about the size
of p, a Schur complement, has a Cholesky factor. Both matrices move by at least the
change of σ, so rounding in them moves the ends by no more than itself.

**Other inputs,** and antipodal ones with a leaky ReLU. M is applied, never formed, and
a Lanczos iteration with full reorthogonalisation finds both ends. It restarts with the
Ritz vectors next to them when its basis is full, and ends by the residuals of the Ritz
pairs.

**Which pairs slide.** A method that knows says so by its multipliers. For a network at
rest they are those that lie on their kink to rounding and are held there: the
multipliers of a neuron solve a convex problem (`_multipliers`), and what slides are the
pairs whose multiplier is neither 1 nor 0, or the slope. Collinear inputs share one
kink, and slide or leave it together.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._checks import as_float_array, as_scalar, is_concrete
from .._linalg import product
from .._types import (
    ArrayLike,
    Examples,
    Neurons,
    Number,
    PairMask,
    Pairs,
    Scalar,
    Weights,
)
from .._xla import compiled
from .activation import between, gated
from .dataset import Dataset
from .inputs import (
    AbstractInputs,
    AntipodalInputs,
    DenseInputs,
    GramCoefficients,
    OrthogonalInputs,
)
from .network import Network, check_fit
from .run_problem import Problem, counts, to_run_coordinates
from .size_buckets import bucket_size

# A pair is at its kink within so many roundings of ‖w_j‖‖x_i‖. A product w_j·x_i rounds
# by about one; a run leaves its slides at up to some hundred. In double precision no
# pair comes as near by chance. In single precision, of 10⁵ random ones in R¹⁰⁰ a dozen
# lie within a hundred roundings, and one within 4 in every second network.
_AT_KINK, _AT_KINK_DOUBLE = 4, 4096
# Pairs of one neuron that may slide where their number cannot be looked at, under jit
# and vmap. It costs as many vectors for each neuron. Generically at most d − 1 slide.
_ROOM = 128
# Vectors of the Lanczos basis; of these, the Ritz vectors at the lower and the upper
# end that a restart keeps. The lower end is the one that converges slowly.
_BASIS, _LOWER, _UPPER = 64, 24, 6
# Newton steps for the multipliers; about 25 are taken.
_STEPS = 100
# The residuals of the Ritz pairs at which it ends, relative to λ_max.
_RESIDUAL = 5e-7
# A restart takes some 35 products; what has not converged by then never will.
_RESTARTS = 400
# Up to this many examples per neuron M is formed on orthogonal inputs, which is quicker
# there than bisection.
_FORMED = 4


class TangentKernel(eqx.Module):
    """M = (1/np) Σ_j P_j (a_j² XᵀΠ_jX + z_j z_jᵀ) P_j, applied without being formed.

    - `smallest`, `largest`: λ_min and λ_max over the examples, shape ().
    - `error`: how far they may be off, shape (): the residual of the Ritz pairs, the
      width of the last bracket, or 8 roundings of λ_max. At most 1e-6 λ_max, unless the
      iteration was cut short.
    - `slides`: which pairs slide, shape (p, n).

    Under padding the arrays are longer than the problem; what is padded takes no part.
    Where more pairs of a neuron slide than there is room for, which can happen under
    `jax.jit` and `jax.vmap` alone, all numbers are NaN.
    """

    inputs: AbstractInputs
    # (z_ji)_+ and |a_j| of the pairs that are active and do not slide, else 0; of a
    # leaky ReLU σ(z_ji) and |a_j| σ'(z_ji). Times √rate_a and √rate_w.
    activations: Pairs
    sizes: Pairs
    slides: PairMask
    # For each neuron an orthonormal basis q of the span of the inputs that slide: q
    # itself for dense inputs, the q·x_i for others. None where none slides.
    removed: Float[Array, "p k m"] | None
    pairs: Scalar
    smallest: Scalar
    largest: Scalar
    error: Scalar

    def times(self, v: ArrayLike) -> Examples:
        """M v, shape (n,), from v of shape (n,).

        Raises a ValueError when v has another shape.
        """
        vector = as_float_array("v", v, 1)
        if vector.shape != self.activations.shape[1:]:
            raise ValueError(
                f"v must hold one number per example, shape "
                f"{self.activations.shape[1:]}, got {vector.shape}."
            )
        vector = vector.astype(self.activations.dtype)
        return _times(
            self.inputs, self.activations, self.sizes, self.removed, self.pairs, vector
        )


def tangent_kernel(
    data: Dataset, network: Network, rounding: Number | None = None
) -> TangentKernel:
    """The tangent kernel M of a network on its data: the flow's r' = −M r.

        kernel = jaxflow.tangent_kernel(data, sol.final)
        2 * kernel.smallest                 # the limit of μ(t)
        2 / kernel.largest                  # the learning rate at which descent bounces
        kernel.times(jaxflow.residuals(data, sol.final))

    **Arguments:**

    - `data`, `network`: any geometry.
    - `rounding`: a pair (j, i) lies on its kink when |w_j·x_i| is at most this number
      times ‖w_j‖‖x_i‖. Left out, 4096 roundings of float64, 9.1e-13, and 4 of float32,
      4.8e-7, where more would take in pairs that are there by chance. What a run in
      float32 leaves near its kinks, or a method that only stays near them, asks for
      more; the snapshots of a run know its slides.

    The eigenvalues are those of the examples' space, so λ_min is 0 where M is singular.
    Works under `jax.jit` and `jax.vmap`.

    Raises a ValueError when the network does not fit the data, or `rounding` is
    negative.
    """
    check_fit(data, network)
    if rounding is not None:
        rounding = as_scalar("rounding", rounding, strictly=False)
    problem, weights, a = to_run_coordinates(
        data, network, *counts(data, network), reduce=True
    )
    return kernel_at(problem, weights, a, rounding=rounding)


def kernel_at(
    problem: Problem,
    weights: Weights,
    a: Neurons,
    multipliers: Pairs | None = None,
    rounding: Array | None = None,
) -> TangentKernel:
    """The same in the coordinates of a run. Where `multipliers` are given, the pairs of
    those strictly between 0 and 1 slide, or the slope and 1 for a leaky ReLU; else the
    network is taken to be at rest."""
    return _kernel(
        problem, weights, a, *sliding_at(problem, weights, a, multipliers, rounding)
    )


def sliding_at(
    problem: Problem,
    weights: Weights,
    a: Neurons,
    multipliers: Pairs | None,
    rounding: Array | None,
) -> tuple[PairMask, Bool[Array, ""], int]:
    """Which pairs slide, whether there was room to tell, and for how many of one neuron
    room is needed from here on."""
    enough = jnp.ones((), bool)
    if multipliers is not None:
        slides = between(multipliers, problem.slope)
    elif isinstance(problem.inputs, OrthogonalInputs):
        # Nothing pushes a pair back onto its kink: it goes on to the other side.
        slides = jnp.zeros((a.shape[0], problem.inputs.num_examples), bool)
    else:
        slides = _near_kink(problem, weights, a, rounding)
    if _is_diagonal(problem):
        # No active example has a part along one that slides.
        return slides, enough, 0
    if multipliers is None:
        room = _room(slides)
        enough = _fits(slides, room)
        if room:
            slides = _held(problem, weights, a, slides, room)
    room = _room(slides)
    return slides, enough & _fits(slides, room), room


def _is_diagonal(problem: Problem) -> bool:
    """Whether no two examples that are active on one neuron have an inner product. With
    a leaky ReLU both of an opposite pair are active."""
    inputs = problem.inputs
    antipodal = isinstance(inputs, AntipodalInputs) and problem.slope is None
    return antipodal or isinstance(inputs, OrthogonalInputs)


def kernel_inputs(problem: Problem, z: Pairs) -> AbstractInputs:
    """The inputs by which M is applied: those of the problem, or their Gram matrix."""
    inputs = problem.inputs
    if isinstance(inputs, AntipodalInputs) and not _is_diagonal(problem):
        return GramCoefficients(inputs.gram(), z)
    return inputs


def _room(mask: PairMask) -> int:
    """How many pairs of one neuron there is room for: enough, where it can be seen."""
    if is_concrete(mask):
        most = int(jnp.max(jnp.sum(mask, axis=1)))
        return min(bucket_size(most, 1), mask.shape[1]) if most else 0
    return min(mask.shape[1], _ROOM)


def _fits(mask: PairMask, room: int) -> Bool[Array, ""]:
    return jnp.max(jnp.sum(mask, axis=1)) <= room


def _pick(mask: PairMask, room: int) -> tuple[Int[Array, "p S"], Bool[Array, "p S"]]:
    """Where each row holds its true entries, and which of these indices are real."""
    present, index = jax.lax.top_k(mask.astype(jnp.int32), room)
    return index, present > 0


def _put(index: Int[Array, "p S"], values: Bool[Array, "p S"], n: int) -> PairMask:
    """The mask (p, n) with `values` at `index`."""
    where = jnp.where(values, index, n)
    empty = jnp.zeros((index.shape[0], n), bool)
    return jax.vmap(lambda row, at: row.at[at].set(True, mode="drop"))(empty, where)


def _unit_rows(inputs: AbstractInputs, index: Int[Array, "p S"]) -> Array:
    """x_i/‖x_i‖ for the examples at `index`, (p, S, d), or their inner products with
    all inputs, (p, S, n)."""
    rows = inputs.x if isinstance(inputs, DenseInputs) else inputs.gram()
    # One that is padded has no length; it is never present.
    lengths = inputs.norms[index]
    return rows[index] / jnp.where(lengths == 0, 1, lengths)[:, :, None]


def _cosines(inputs: AbstractInputs, index: Int[Array, "p S"], rows: Array) -> Array:
    """Of the angles between the examples at `index`, (p, S, S)."""
    if isinstance(inputs, DenseInputs):
        return product(rows, jnp.swapaxes(rows, 1, 2))
    lengths = inputs.norms[index][:, None, :]
    inner = jnp.take_along_axis(rows, index[:, None, :], axis=2)
    return inner / jnp.where(lengths == 0, 1, lengths)


# --- which pairs slide ----------------------------------------------------------------


@compiled
def _near_kink(
    problem: Problem, weights: Weights, a: Neurons, rounding: Array | None
) -> PairMask:
    """The pairs that lie on their kink to rounding; for a ReLU on antipodal inputs only
    those that are held there, onto which both sides push."""
    inputs = problem.inputs
    z = inputs.preactivations(weights)
    if rounding is None:
        eps = float(jnp.finfo(z.dtype).eps)
        factor = (_AT_KINK_DOUBLE if eps < 1e-12 else _AT_KINK) * eps
        rounding = jnp.asarray(factor, z.dtype)
    sizes = jnp.sqrt(jnp.maximum(problem.squared_norms(weights), 0))
    bound = rounding.astype(z.dtype) * sizes[:, None] * inputs.norms[None, :]
    # A neuron at the origin has no kink to slide along.
    near = (jnp.abs(z) <= bound) & (bound > 0)
    if isinstance(inputs, AntipodalInputs) and _is_diagonal(problem):
        r = problem.residuals(jax.nn.relu(z), a)
        onto = jnp.all((a[:, None] * r[None, :] < 0).reshape(len(a), 2, -1), axis=1)
        near &= jnp.concatenate([onto, onto], axis=1)
    return near


@compiled
def _held(
    problem: Problem, weights: Weights, a: Neurons, near: PairMask, room: int
) -> PairMask:
    """Which of the pairs that are near their kink are held there.

    Collinear inputs share a kink. With g the pushes a_j r_i‖x_i‖/n, the speed above it
    is that below plus Σ g over the group: those along it are on above, those against it
    below. So a group can hold where Σ g < 0, whatever the single signs.
    """
    inputs, n = problem.inputs, near.shape[1]
    z = inputs.preactivations(weights)
    r = problem.residuals(problem.activations(z), a)
    cotangent = (a / problem.n)[:, None] * r[None, :]
    index, present = _pick(near, room)

    def pick(values: Pairs) -> Float[Array, "p S"]:
        return jnp.take_along_axis(values, index, axis=1)

    cosines = _cosines(inputs, index, _unit_rows(inputs, index))
    both = present[:, :, None] & present[:, None, :]
    rounding = 8 * jnp.finfo(z.dtype).eps
    own = jnp.eye(room, dtype=bool)[None]
    first = jnp.argmax(both & ((jnp.abs(cosines) >= 1 - rounding) | own), axis=2)
    lengths = jnp.broadcast_to(inputs.norms[None, :], z.shape)
    g = jnp.where(present, pick(cotangent * lengths), 0)
    # Over all of a group, at its first.
    member = present[:, :, None] & jax.nn.one_hot(first, room, dtype=bool)
    push = jnp.sum(jnp.where(member, g[:, :, None], 0), axis=1)
    attracts = push < 0
    along = jnp.take_along_axis(cosines, first[:, :, None], axis=2)[:, :, 0] > 0

    # The field with every group that attracts below its kink.
    attracted = present & jnp.take_along_axis(attracts, first, axis=1)
    inside, below = (_put(index, m, n) for m in (attracted, attracted & ~along))
    slope = problem.slope
    base = gated(cotangent, jnp.where(inside, below, z > 0), slope)
    if slope is not None:
        # What is left to λ₀ of λ = s + (1 − s) λ₀.
        push = (1 - slope) * push
    # The linear part alone: the geometry of a run may have an origin.
    drift = pick(inputs.times_gram(base.T).T / jnp.where(lengths == 0, 1, lengths))
    sliding = _multipliers(
        cosines, jnp.where(attracts, -push, 0), jnp.where(attracts, drift, 0)
    )
    return _put(index, attracted & jnp.take_along_axis(sliding, first, axis=1), n)


def _multipliers(
    cosines: Float[Array, "p S S"],
    limits: Float[Array, "p S"],
    drift: Float[Array, "p S"],
) -> Bool[Array, "p S"]:
    """Where the multipliers λ of each neuron lie strictly between 0 and 1.

    The speeds z' = drift − C (limits ∘ λ) are to vanish there, be ≤ 0 where λ = 0 and
    ≥ 0 where λ = 1: the optimality conditions of ½ ν·Cν − drift·ν on the box
    0 ≤ ν = limits ∘ λ ≤ limits. An interior point method solves it also where C is
    nearly singular. A limit of 0 leaves a pair out.
    """
    dtype = limits.dtype
    eps = jnp.finfo(dtype).eps
    real = limits > 0
    most = jnp.max(limits, axis=1, keepdims=True)
    scale = most * jnp.maximum(most, jnp.max(jnp.abs(drift), axis=1, keepdims=True))
    scale = jnp.where(scale > 0, scale, 1)
    quadratic = limits[:, :, None] * cosines * limits[:, None, :] / scale[:, :, None]
    linear = limits * drift / scale
    diagonal = jnp.eye(limits.shape[1], dtype=dtype)[None]
    # Rounding must not make the matrix of a step indefinite. The step is then inexact,
    # what it converges to is not.
    guard = 4 * limits.shape[1] * eps * limits**2 / scale + jnp.finfo(dtype).tiny
    # Products λ × dual that leave no doubt about which of both vanishes.
    target = float(eps) ** 1.5

    def unfinished(state: Any) -> Bool[Array, ""]:
        x, rest, lower, upper, count = state
        gap = jnp.where(real, jnp.maximum(lower * x, upper * rest), 0)
        return (count < _STEPS) & (jnp.max(gap) > target)

    def newton(state: Any) -> Any:
        # `rest` is 1 − λ, held apart: it tends to zero without cancellation.
        x, rest, lower, upper, count = state
        gap = jnp.where(real, lower * x + upper * rest, 0)
        number = jnp.maximum(2 * jnp.sum(real, axis=1, keepdims=True), 1).astype(dtype)
        centre = 0.1 * jnp.sum(gap, axis=1, keepdims=True) / number
        slope = jnp.einsum("jab,jb->ja", quadratic, x, precision="highest") - linear
        weight = jnp.where(real, lower / x + upper / rest, 1)
        matrix = quadratic + diagonal * (weight + guard)[:, :, None]
        right = jnp.where(real, -slope + centre / x - centre / rest, 0)
        factor, _ = jax.scipy.linalg.cho_factor(matrix)
        move = jax.vmap(lambda f, b: jax.scipy.linalg.cho_solve((f, False), b))(
            factor, right
        )
        moves = (
            move,
            -move,
            (centre - lower * move) / x - lower,
            (centre + upper * move) / rest - upper,
        )
        step = jnp.ones_like(centre)
        for value, change in zip(state, moves, strict=False):
            falls = real & (change < 0)
            far = jnp.where(falls, -value / jnp.where(falls, change, -1), jnp.inf)
            step = jnp.minimum(step, 0.99 * jnp.min(far, axis=1, keepdims=True))
        moved = [v + step * c for v, c in zip(state, moves, strict=False)]
        return (*moved, count + 1)

    ones = jnp.ones_like(limits)
    start = (0.5 * ones, 0.5 * ones, ones, ones, jnp.int32(0))
    x, rest, lower, upper, _ = jax.lax.while_loop(unfinished, newton, start)
    # The duals are speeds times limits: they are compared as speeds.
    unit = jnp.where(real, most / jnp.where(real, limits, 1), 1)
    return real & (x > lower * unit) & (rest > upper * unit)


# --- the operator ---------------------------------------------------------------------


@compiled
def _kernel(
    problem: Problem,
    weights: Weights,
    a: Neurons,
    slides: PairMask,
    enough: Bool[Array, ""],
    room: int,
) -> TangentKernel:
    z = problem.inputs.preactivations(weights)
    inputs = kernel_inputs(problem, z)
    activations, sizes = at_rates(problem, *active_parts(problem, z, a, slides))
    pairs = jnp.where(enough, problem.n * problem.p, jnp.nan)
    removed = removed_at(inputs, slides, room)
    # M_ii, as large as it is where nothing slides.
    squares = jnp.sum(sizes**2, axis=0) * inputs.norms**2 / pairs
    present = inputs.norms > 0
    if _is_diagonal(problem):
        ends = _ends_of_diagonal(squares, activations / jnp.sqrt(pairs), present)
    else:
        scale = jnp.max(squares + jnp.sum(activations**2, axis=0) / pairs)
        scale = jnp.where(scale == 0, 1, scale)

        def scaled(v: Examples) -> Examples:
            return _times(inputs, activations, sizes, removed, pairs * scale, v)

        smallest, largest, error = _ends_by_lanczos(scaled, present, a.dtype)
        ends = scale * smallest, scale * largest, scale * error
    return TangentKernel(inputs, activations, sizes, slides, removed, pairs, *ends)


def active_parts(
    problem: Problem, z: Pairs, a: Neurons, slides: PairMask
) -> tuple[Pairs, Pairs]:
    """(z_ji)_+ and |a_j| of the pairs that are active and do not slide, else 0; of a
    leaky ReLU σ(z_ji) and |a_j| σ'(z_ji)."""
    active = (z > 0) & ~slides
    if problem.slope is None:
        return jnp.where(active, z, 0), jnp.where(active, jnp.abs(a)[:, None], 0)
    gates = jnp.where(slides, 0, problem.derivatives(z))
    return gates * z, gates * jnp.abs(a)[:, None]


def at_rates(problem: Problem, activations: Pairs, sizes: Pairs) -> tuple[Pairs, Pairs]:
    """These times the square root of the rates, so that their squares move r."""
    if problem.rates is None:
        return activations, sizes
    return jnp.sqrt(problem.rates.a) * activations, jnp.sqrt(problem.rates.w) * sizes


def removed_at(
    inputs: AbstractInputs, slides: PairMask, room: int
) -> Float[Array, "p k m"] | None:
    """`TangentKernel.removed`."""
    if not room:
        return None
    return jax.lax.cond(
        jnp.any(slides), _basis, _no_basis, inputs, *_pick(slides, room)
    )


def _basis(
    inputs: AbstractInputs, index: Int[Array, "p S"], present: Bool[Array, "p S"]
) -> Float[Array, "p k m"]:
    """Orthonormal vectors that span the inputs at `index`: themselves for dense inputs,
    else their inner products with all inputs. Zero beyond the rank, to rounding."""
    rows = jnp.where(present[:, :, None], _unit_rows(inputs, index), 0)
    room = index.shape[1]
    eps = jnp.finfo(rows.dtype).eps
    if isinstance(inputs, DenseInputs):
        _, values, vectors = jnp.linalg.svd(rows, full_matrices=False)
        least = 4 * max(rows.shape[1:]) * eps
        return jnp.where((values > least)[:, :, None], vectors, 0)
    cosines = _cosines(inputs, index, rows)
    both = present[:, :, None] & present[:, None, :]
    values, vectors = jnp.linalg.eigh(jnp.where(both, cosines, 0))
    large = values > 8 * room * eps
    inverse = jnp.where(large, 1 / jnp.sqrt(jnp.where(large, values, 1)), 0)
    return product(jnp.swapaxes(vectors * inverse[:, None, :], 1, 2), rows)


def _no_basis(
    inputs: AbstractInputs, index: Int[Array, "p S"], present: Bool[Array, "p S"]
) -> Float[Array, "p k m"]:
    like = eqx.filter_eval_shape(_basis, inputs, index, present)
    return jnp.zeros(like.shape, like.dtype)


def _times(
    inputs: AbstractInputs,
    activations: Pairs,
    sizes: Pairs,
    removed: Float[Array, "p k m"] | None,
    pairs: Scalar,
    v: Examples,
) -> Examples:
    """M v."""
    moved = moved_by(inputs, sizes * v[None, :], removed)
    moved = jnp.sum(sizes * moved, axis=0)
    return (moved + product(product(activations, v), activations)) / pairs


def moved_by(
    inputs: AbstractInputs, cotangent: Pairs, removed: Float[Array, "p k m"] | None
) -> Pairs:
    """By what z changes where each w_j moves by Π_j Σ_i C_ji x_i, at the pairs that are
    active. C is zero at all others."""
    if isinstance(inputs, OrthogonalInputs | AntipodalInputs):
        return cotangent * inputs.norms[None, :] ** 2
    if isinstance(inputs, DenseInputs):
        velocity = _projected(inputs.adjoint(cotangent), removed, None)
        return inputs.preactivations(velocity)
    return _projected(product(cotangent, inputs.gram()), removed, cotangent)


def _projected(
    values: Float[Array, "p m"],
    removed: Float[Array, "p k m"] | None,
    cotangent: Pairs | None,
) -> Float[Array, "p m"]:
    """Each row without its part in the span of `removed`: the row is a vector, or the
    inner products with all inputs of the one that has the coefficients `cotangent`."""
    if removed is None:
        return values
    row = values if cotangent is None else cotangent
    parts = jnp.einsum("jsm,jm->js", removed, row, precision="highest")
    return values - jnp.einsum("jsm,js->jm", removed, parts, precision="highest")


# --- the ends of the spectrum ---------------------------------------------------------

_Ends = tuple[Scalar, Scalar, Scalar]


def _ends_of_diagonal(
    diagonal: Examples, factor: Pairs, present: Bool[Array, " n"]
) -> _Ends:
    """(λ_min, λ_max, error) of M = D + ZᵀZ over the examples that are present, with
    `factor` Z, (p, n)."""
    p, n = factor.shape
    eps = jnp.finfo(diagonal.dtype).eps
    own = diagonal + jnp.sum(factor**2, axis=0)
    top = jnp.max(own)
    if n <= _FORMED * p:
        # What is padded becomes an eigenvalue that is no end.
        inner = product(factor.T, factor) + jnp.diag(jnp.where(present, diagonal, top))
        values = jnp.linalg.eigvalsh(inner)
        return jnp.maximum(values[0], 0), values[-1], 8 * eps * values[-1]
    identity = jnp.eye(p, dtype=factor.dtype)
    bound = jnp.max(diagonal) + jnp.sum(factor**2)
    tiny = jnp.finfo(diagonal.dtype).tiny

    def below_all(sigma: Scalar) -> Bool[Array, ""]:
        """Whether M < σ, for σ > max D: whether Z(σ − D)⁻¹Zᵀ < 1."""
        weights = 1 / jnp.maximum(sigma - diagonal, tiny)
        return ~_is_definite(identity - _inner(factor, weights))

    # The examples with the least D are kept in the Schur complement, so that what is
    # eliminated is definite: λ_min is at most the (p + 1)-th least D.
    kept = min(n, 2 * p)
    least = jnp.where(present, diagonal, 2 * bound)
    order = jnp.argsort(least)
    inside, outside = order[:kept], order[kept:]
    z_inside, z_outside = factor[:, inside], factor[:, outside]

    def below_some(sigma: Scalar) -> Bool[Array, ""]:
        """Whether not M > σ, for σ < D on all examples that are eliminated."""
        weights = 1 / jnp.maximum(least[outside] - sigma, tiny)
        root = jnp.linalg.cholesky(identity + _inner(z_outside, weights))
        reach = jax.scipy.linalg.solve_triangular(root, z_inside, lower=True)
        complement = product(reach.T, reach) + jnp.diag(least[inside] - sigma)
        return ~_is_definite(complement)

    ceiling = jnp.minimum(jnp.min(jnp.where(present, own, bound)), least[order[p]])
    width = eps * top
    low, low_width = _bisect(below_some, jnp.min(least), ceiling, width)
    high, high_width = _bisect(lambda s: ~below_all(s), top, bound, width)
    return low, high, jnp.maximum(jnp.maximum(low_width, high_width), 8 * eps * high)


def _inner(factor: Float[Array, "p k"], weights: Float[Array, " k"]) -> Array:
    """Z W Zᵀ."""
    return product(factor * weights[None, :], factor.T)


def _is_definite(matrix: Float[Array, "k k"]) -> Bool[Array, ""]:
    return jnp.all(jnp.isfinite(jnp.linalg.cholesky(matrix)))


def _bisect(
    beyond: Callable[[Scalar], Bool[Array, ""]],
    low: Scalar,
    high: Scalar,
    width: Scalar,
) -> tuple[Scalar, Scalar]:
    """Where `beyond` turns true between low and high, and how far off it may be."""

    def wide(bracket: tuple[Scalar, Scalar, Array]) -> Bool[Array, ""]:
        low, high, count = bracket
        return (high - low > width) & (count < 200)

    def halve(bracket: tuple[Scalar, Scalar, Array]) -> tuple[Scalar, Scalar, Array]:
        low, high, count = bracket
        middle = low + 0.5 * (high - low)
        right = beyond(middle)
        return (
            jnp.where(right, low, middle),
            jnp.where(right, middle, high),
            count + 1,
        )

    low, high, _ = jax.lax.while_loop(wide, halve, (low, high, jnp.int32(0)))
    return low + 0.5 * (high - low), high - low


def orthogonalised(
    image: Float[Array, " s"],
    basis: Float[Array, "k s"],
    images: Float[Array, "k s"],
    projected: Float[Array, "m m"],
    j: Array,
) -> tuple[Float[Array, " s"], Float[Array, "m m"]]:
    """A step of Lanczos, with full reorthogonalisation: the operator's `image` of row j
    of the basis without its parts along all rows, which become row and column j of
    `projected`. `images` are the rows times the matrix of the inner product: the basis
    itself where that is the usual one."""
    column = jnp.zeros(basis.shape[0], basis.dtype)
    # Twice, as the first time leaves the rounding of what it takes away.
    for _ in range(2):
        parts = product(images, image)
        image = image - product(parts, basis)
        column = column + parts
    column = column[: projected.shape[0]]
    return image, projected.at[:, j].set(column).at[j, :].set(column)


class _Lanczos(eqx.Module):
    """`basis`: orthonormal rows, zero beyond those that there are; `projected`: the
    operator on them. `filled`: how many of them a restart kept. `top`: the Ritz vector
    of the upper end."""

    basis: Float[Array, "k n"]
    projected: Float[Array, "m m"]
    filled: Int[Array, ""]
    restarts: Int[Array, ""]
    ends: _Ends
    top: Float[Array, " n"]


def _ends_by_lanczos(
    times: Callable[[Examples], Examples], present: Bool[Array, " n"], dtype: Any
) -> _Ends:
    """(λ_min, λ_max, error) of a positive semidefinite operator on the examples that
    are present."""
    n = present.shape[0]
    size = min(n, _BASIS)
    eps = jnp.finfo(dtype).eps
    start = jax.random.normal(jax.random.key(0), (n,), dtype)
    start = jnp.where(present, start, 0)
    start /= jnp.linalg.norm(start)
    nothing = jnp.zeros((), dtype)

    def extend(
        j: Array, state: tuple[Array, Array, Scalar]
    ) -> tuple[Array, Array, Scalar]:
        basis, projected, _ = state
        image = times(basis[j])
        image, projected = orthogonalised(image, basis, basis, projected, j)
        length = jnp.linalg.norm(image)
        # The basis spans an invariant subspace: what is left is rounding.
        ended = length <= 16 * eps * jnp.max(jnp.abs(projected))
        length = jnp.where(ended, 0, length)
        following = jnp.where(ended, 0, image / jnp.where(ended, 1, length))
        return basis.at[j + 1].set(following), projected, length

    def cycle(state: _Lanczos) -> _Lanczos:
        basis, projected, length = jax.lax.fori_loop(
            state.filled, size, extend, (state.basis, state.projected, nothing)
        )
        # Rows that are missing become eigenvalues that are no end.
        real = jnp.any(basis[:size] != 0, axis=1)
        inside = projected[0, 0]
        filled = jnp.where(real[:, None] & real[None, :], projected, 0)
        filled = filled + jnp.diag(jnp.where(real, 0, inside))
        values, vectors = jnp.linalg.eigh(filled)
        off = length * jnp.maximum(jnp.abs(vectors[-1, 0]), jnp.abs(vectors[-1, -1]))
        ends = (jnp.maximum(values[0], 0), values[-1], off)
        top = product(vectors[:, -1], basis[:size])
        count = state.restarts + 1
        if size < _BASIS:
            # The basis has held all there is.
            return _Lanczos(basis, projected, jnp.int32(size), count, ends, top)
        chosen = jnp.concatenate([jnp.arange(_LOWER), jnp.arange(size - _UPPER, size)])
        kept = len(chosen)
        rotated = product(vectors[:, chosen].T, basis[:size])
        basis = jnp.zeros_like(basis).at[:kept].set(rotated).at[kept].set(basis[size])
        projected = jnp.zeros_like(projected)
        projected = projected.at[:kept, :kept].set(jnp.diag(values[chosen]))
        return _Lanczos(basis, projected, jnp.int32(kept), count, ends, top)

    def unfinished(state: _Lanczos) -> Bool[Array, ""]:
        _, largest, off = state.ends
        return (off > _RESIDUAL * largest) & (state.restarts < _RESTARTS)

    first = _Lanczos(
        basis=jnp.zeros((size + 1, n), dtype).at[0].set(start),
        projected=jnp.zeros((size, size), dtype),
        filled=jnp.int32(0),
        restarts=jnp.int32(0),
        ends=(nothing, nothing, nothing + jnp.inf),
        top=start,
    )
    last = jax.lax.while_loop(unfinished, cycle, first)
    smallest, largest, off = last.ends
    # Some ten roundings of λ_max gather in `projected`. The residual of the Ritz pair
    # holds them, and what is summed up in it is small, so that sums round no more.
    # Where all eigenvalues are equal the vector may be one of the missing rows, zero.
    residual = times(last.top) - largest * last.top
    square = jnp.vdot(last.top, last.top)
    largest += jnp.vdot(last.top, residual) / jnp.where(square > 0, square, 1)
    return smallest, largest, jnp.maximum(off, 8 * eps * largest)
