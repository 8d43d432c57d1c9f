"""One step of the flow of correlated inputs, through kinks and along them.

On correlated inputs the field of eq. 3 jumps where a preactivation changes sign, and
pairs slide along their kinks (see `multipliers.py`). An explicit scheme chatters
there, and its order and its error estimate mean nothing. The scheme here averages each
step's 1[z_ji > 0] over the step: with h the step, h₁ and h₂ the two steps before it,
and V₁, V₂ the mean velocities of z over those,

    z_½ = z + (h/2) (V₁ + β (h/2 + h₁)/(h₁ + h₂) (V₁ − V₂))   mid-step, β in [−2/3, 0]
    a_½ = a at mid-step from a' at the start and at (z_½, a_½)
    c   = (a_½/n) r(z_½, a_½) ∘ λ,   λ = the mean multipliers of the step
    w⁺  = w + h Σ_i c_i x_i,   z⁺ = w⁺·x_i,
    a⁺  = a + (h/n) Σ_i r_i λ_i (z_i + z⁺_i)/2.

It is of second order on smooth stretches, across kinks and along slides, for one
product with the inputs and one with their transpose per step. β = 0 is the two-step
Adams–Bashforth scheme, stable while h × (largest curvature) < 1; β = −2/3 is stable up
to 2, as explicit Euler is, with a larger error constant. β moves from one to the other
as the step approaches the bound.

The error of a step is estimated by the difference between z⁺ and the extrapolation
z + h (V₁ + (h + h₁)/(h₁ + h₂) (V₁ − V₂)): of r(z), relative to ‖r‖, and of each z_j,
relative to ‖z_j‖ or what |a_j| would give it.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from .._problem.run_problem import Field, Problem
from .._types import Examples, Neurons, PairMask, Pairs, Scalar, Weights
from .coupled_multipliers import coupled_masks
from .ends import rising
from .interactions import Interactions
from .multipliers import mean_mask

# The error estimate is the difference of the two predictions of r times this: the two
# differ by the extrapolation's error, which is larger than the scheme's own.
_ERROR_SHARE = 0.1
# The multipliers of a step are solved to this share of the tolerance.
_ACCURACY = 0.1
# The error of a residual is at least this many roundings.
_ROUNDINGS = 16


class Report(eqx.Module):
    """What has been counted; the next step does not need it."""

    accepted: Int[Array, ""]
    crossings: Int[Array, ""]
    increases: Int[Array, ""]
    sliding: Scalar
    residual: Scalar
    error: Scalar
    overflow: Int[Array, ""]


class Place(eqx.Module):
    """Where a run is, and the mean velocities that took it there."""

    time: Scalar
    weights: Weights
    a: Neurons
    z: Pairs
    residuals: Examples
    # V₁, V₂, and the cotangents c that V₁ is made of: V₁ = K c.
    velocity: Pairs
    older_velocity: Pairs
    cotangent: Pairs
    # What stands for 1[z > 0] here: the last step's multipliers of the pairs that
    # slide, the gates of the others.
    multipliers: Pairs
    # h₁, h₂; 0 while there is no history.
    last_step: Scalar
    older_step: Scalar
    # L here, and μ = p‖∇L‖²/L as the mean over the step that led here.
    loss: Scalar
    curvature: Scalar
    report: Report


class Scheme(eqx.Module):
    """The scheme on one problem. `interactions` is K, `largest_eigenvalue` its norm and
    `candidates` the S of `coupled_masks`."""

    problem: Problem
    interactions: Interactions
    largest_eigenvalue: Scalar
    accuracy: Scalar
    candidates: int = eqx.field(static=True)

    def __init__(self, problem: Problem, candidates: int, tolerance: Scalar):
        self.problem = problem
        self.interactions = Interactions(problem.inputs)
        self.largest_eigenvalue = self.interactions.largest_eigenvalue()
        self.accuracy = _ACCURACY * tolerance
        self.candidates = min(candidates, problem.inputs.num_examples)

    def start(self, weights: Weights, a: Neurons) -> tuple[Place, Field]:
        """The place at t = 0, and the field there."""
        problem = self.problem
        z = problem.inputs.preactivations(weights)
        field = problem.field_through(jax.nn.relu(z), z > 0, a)
        velocity = self.interactions.image(field.cotangent)
        zero, none = jnp.zeros((), a.dtype), jnp.int32(0)
        place = Place(
            time=zero,
            weights=weights,
            a=a,
            z=z,
            residuals=field.residuals,
            velocity=velocity,
            older_velocity=velocity,
            cotangent=field.cotangent,
            multipliers=(z > 0).astype(z.dtype),
            last_step=zero,
            older_step=zero,
            loss=problem.loss(field.residuals),
            curvature=problem.curvature(field),
            report=Report(none, none, none, zero, zero, zero, none),
        )
        return place, field

    def step(self, place: Place, h: Scalar, rate: Scalar) -> tuple[Place, Scalar]:
        """Where a step of length h leads, and its error relative to ‖r‖: NaN or inf
        where the step is unsound. `rate` is `fastest_rate(place)`."""
        problem, n = self.problem, self.problem.n
        z, a, r, v1 = place.z, place.a, place.residuals, place.velocity
        h1, h2 = place.last_step, place.older_step
        history = jnp.where(h1 + h2 > 0, h1 + h2, 1)
        change = v1 - place.older_velocity
        beta = jnp.clip(-4 / 3 * (h * rate - 0.5), -2 / 3, 0)
        z_mid = z + h / 2 * (v1 + beta * (h / 2 + h1) / history * change)
        on, on_mid = jax.nn.relu(z), jax.nn.relu(z_mid)
        slope = jnp.sum(on * r[None, :], axis=1) / n
        r_mid = problem.residuals(on_mid, a + h / 2 * slope)
        slope_mid = jnp.sum(on_mid * r_mid[None, :], axis=1) / n
        a_mid = a + h / 4 * (slope + slope_mid)
        r_mid = problem.residuals(on_mid, a_mid)
        gain = (a_mid / n)[:, None] * r_mid[None, :]
        masks = coupled_masks(
            self.interactions,
            z,
            v1,
            place.cotangent,
            gain,
            h,
            self.candidates,
            self.accuracy,
        )
        cotangent = gain * masks.values
        weights = place.weights + h * problem.inputs.adjoint(cotangent)
        z_new = problem.inputs.preactivations(weights)
        # Lemma 1 to the order of the scheme: both layers move by the same products.
        pull = masks.values * (0.5 * (z + z_new)) * r_mid[None, :]
        a_new = a + h * jnp.sum(pull, axis=1) / n
        r_new = problem.residuals(jax.nn.relu(z_new), a_new)
        velocity = (z_new - z) / h
        ahead = z + h * (v1 + (h + h1) / history * change)
        r_ahead = problem.residuals(jax.nn.relu(ahead), a_new)
        sums = self.sums(z_new, a_new)
        excess = jnp.linalg.norm(r_ahead - r_new) - self.rounding(sums)
        tiny = jnp.finfo(h.dtype).tiny
        size = jnp.maximum(jnp.linalg.norm(r), tiny)
        error = _ERROR_SHARE * jnp.maximum(excess, 0) / size
        each = _ERROR_SHARE * self.mean_share(ahead - z_new, z_new, a_new)
        error = jnp.maximum(error, each)
        error = jnp.where(jnp.all(jnp.isfinite(r_new)), error, jnp.inf)

        before, after = place.loss, problem.loss(r_new)
        # p‖∇L‖²/L over the step: ‖Σ_i c_i x_i‖² = c·Kc, and Kc is the velocity of z.
        squares = jnp.sum(cotangent * velocity) + jnp.sum(((a_new - a) / h) ** 2)
        curvature = squares / (problem.p * jnp.sqrt(before) * jnp.sqrt(after))
        jump = gain * self.interactions.squares[None, :]
        sliding = masks.sliding
        report = self._reported(place, h, jump, masks.values, velocity, z_new, sliding)
        report = eqx.tree_at(
            lambda s: (s.error, s.overflow, s.increases),
            report,
            (
                report.error + error,
                jnp.maximum(report.overflow, masks.overflow),
                report.increases + rising(problem, r, r_new, sums).astype(jnp.int32),
            ),
        )
        new = Place(
            time=place.time + h,
            weights=weights,
            a=a_new,
            z=z_new,
            residuals=r_new,
            velocity=velocity,
            older_velocity=v1,
            cotangent=cotangent,
            multipliers=jnp.where(sliding, masks.values, (z_new > 0).astype(z.dtype)),
            last_step=h,
            older_step=h1,
            loss=after,
            curvature=curvature,
            report=report,
        )
        return new, error

    def _reported(
        self,
        place: Place,
        h: Scalar,
        jump: Pairs,
        masks: Pairs,
        velocity: Pairs,
        z_new: Pairs,
        sliding: PairMask,
    ) -> Report:
        report, z = place.report, place.z
        drift = velocity - jump * masks
        crossed = ((z > 0) != (z_new > 0)) & ~sliding
        # How far the multipliers are from those that the step's true velocity asks for,
        # as a displacement of z in units of its root mean square.
        pairs = self.problem.n * self.problem.p
        missed = h * jnp.abs(jump * (mean_mask(z, drift, jump, h) - masks))
        size = jnp.sqrt(jnp.sum(z_new**2) / pairs)
        size = jnp.maximum(size, jnp.finfo(h.dtype).tiny)
        return Report(
            accepted=report.accepted + 1,
            crossings=report.crossings + jnp.sum(crossed, dtype=jnp.int32),
            increases=report.increases,
            sliding=jnp.sum(sliding, dtype=h.dtype) / pairs,
            residual=jnp.maximum(report.residual, jnp.max(missed) / size),
            error=report.error,
            overflow=report.overflow,
        )

    def fastest_rate(self, place: Place) -> Scalar:
        """An estimate of the largest eigenvalue of p∇²L without the residuals' part.

        Each neuron is taken to be on for the share of the examples on which it is on,
        chosen at random. On random inputs the estimate is 1.3 to 1.9 times too high.
        """
        n, a2 = self.problem.n, place.a**2
        on = jnp.sum(place.z > 0, axis=1, dtype=a2.dtype) / n
        mean_square = jnp.sum(self.interactions.squares) / n
        first = on**2 * self.largest_eigenvalue + on * (1 - on) * mean_square
        second = jnp.sum(jax.nn.relu(place.z) ** 2, axis=1)
        total = jnp.sum(a2 * first + second) / (n * self.problem.p)
        return jnp.maximum(total, jnp.finfo(total.dtype).tiny)

    def mean_share(self, change: Pairs, z: Pairs, a: Neurons) -> Scalar:
        """The change of each z_j, (p, n), relative to ‖z_j‖, or to the most that a w_j
        of length |a_j| may have; the root of the mean square."""
        most = self.largest_eigenvalue
        # Squares of 1e-20 are zero in float32.
        scale = jnp.maximum(jnp.max(jnp.abs(z), axis=1), jnp.abs(a) * jnp.sqrt(most))
        inverse = jnp.where(scale > 0, 1 / jnp.where(scale > 0, scale, 1), 0)[:, None]
        sizes = jnp.sum((z * inverse) ** 2, axis=1)
        sizes = jnp.maximum(sizes, (a * inverse[:, 0]) ** 2 * most)
        squares = jnp.sum((change * inverse) ** 2, axis=1)
        share = squares / jnp.where(sizes > 0, sizes, 1)
        return jnp.sqrt(jnp.sum(share) / self.problem.p)

    def sums(self, z: Pairs, a: Neurons) -> Examples:
        """(1/p) Σ_j |a_j| (z_ji)_+, (n,): the rounding of h is that of these."""
        total = jnp.sum(jnp.abs(a)[:, None] * jax.nn.relu(z), axis=0)
        return total / self.problem.p

    def rounding(self, sums: Examples) -> Scalar:
        """The error in ‖r‖ that no step can go below."""
        sizes = jnp.abs(self.problem.targets) + sums
        return _ROUNDINGS * jnp.finfo(sums.dtype).eps * jnp.linalg.norm(sizes)
