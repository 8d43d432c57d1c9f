"""One step of the flow of correlated inputs, through kinks and along them.

On correlated inputs the field of eq. 3 jumps where a preactivation changes sign, and
pairs slide along their kinks (see `multipliers.py`). An explicit scheme chatters
there, and its order and its error estimate mean nothing. The scheme here averages each
step's 1[z_ji > 0] over the step, and its residuals. With h the step, h₁ and h₂ the two
steps before it, and V₁, V₂ the mean velocities of z over those (of a likewise):

 1. r̂ = r at z + (h/2) (V₁ + β (h/2 + h₁)/(h₁ + h₂) (V₁ − V₂)), a prediction of the
    mean of r over the step, (n,); β in [−2/3, 0].
 2. r̄ = r̄₁ + (1 − S)(r̂ − r̄₁): where a mode of r is too fast for the step, what the
    step before had for r̄ counts more (`stiff_modes.py`).
 3. V̂ = K ĉ, ĉ = (a_½/n) r̄ ∘ λ₁, (p, n): the velocity, were the multipliers those of
    the step before.
 4. λ, the mean multipliers of the step, of the pairs that V̂ takes to their kinks
    (`coupled_multipliers.py`), and c = (a_½/n) r̄ ∘ λ.
 5. w⁺ = w + h q Σ_i c_i x_i,   z⁺ = w⁺·x_i,
    a⁺ = a + (h/n) Σ_i r̄_i λ_i (z_i + z⁺_i)/2,
    with q = (a + a⁺)/(2 a_½), so that a² − ‖w‖² is conserved exactly.

So the multipliers belong to the very step that they are used in: a pair that slides
ends it on its kink. (Taken from the velocity of the step before, they alternate from
step to step, by a tenth and more, and the error of that bounds the step.) Second order
on smooth stretches, across kinks and along slides.

Without S, β = 0 is stable while h × (largest eigenvalue of the tangent kernel) < 1, and
β = −2/3 up to 2, as explicit Euler is, with a larger error constant. β moves from one
to the other as the step approaches the bound; with S, that of what S leaves alone.

The error of a step is estimated by the difference between z⁺ and the extrapolation
z + h (V₁ + (h + h₁)/(h₁ + h₂) (V₁ − V₂)): of r(z), relative to ‖r‖, and of each z_j,
relative to ‖z_j‖ or what |a_j| would give it.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from .._linalg import inverse, nonzero, product
from .._problem.activation import between
from .._problem.run_problem import Field, Problem
from .._types import Examples, Neurons, PairMask, Pairs, Scalar, Weights
from .._xla import only_where_needed
from .coupled_multipliers import Masks, coupled_masks
from .ends import rising
from .interactions import Interactions
from .step_size import StepError
from .stiff_modes import Outliers, StiffModes

# The error of a step is taken to be the difference of the two predictions times this:
# the two differ by the error of the extrapolation, larger than that of the scheme. And
# what is reported of it, so that the sum over a run is of the size of the run's error.
_ERROR_SHARE, _REPORTED = 0.25, 0.2
# The multipliers of a step are solved to this share of the tolerance.
_ACCURACY = 0.1
# The modes of the tangent kernel are looked at again after so many steps.
_FOLLOWING = 8
# The a that a step is made with is corrected by less than this share.
_CORRECTED = 0.5
# The error of a residual is at least this many roundings, and a preactivation of no
# more is none.
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
    # V₁, V₂ of z and of a, and r̄₁.
    velocity: Pairs
    older_velocity: Pairs
    a_velocity: Neurons
    older_a_velocity: Neurons
    mean_residuals: Examples
    # What stands for 1[z > 0], or σ'(z), here: the last step's multipliers of the
    # pairs that slide, the gates of the others.
    multipliers: Pairs
    outliers: Outliers
    # h₁, h₂; 0 while there is no history.
    last_step: Scalar
    older_step: Scalar
    # (1/p) Σ_j |a_j| |σ(z_ji)|.
    sums: Examples
    # L here, and μ = p‖∇L‖²/L as the mean over the step that led here.
    loss: Scalar
    curvature: Scalar
    report: Report


class Scheme(eqx.Module):
    """The scheme on one problem. `interactions` is K, `stiff` knows its largest
    eigenvalues and `sizes` the sizes of the neurons; `candidates` is the S of
    `coupled_masks` and `accuracy` what these solve for."""

    problem: Problem
    interactions: Interactions
    stiff: StiffModes
    sizes: StepError
    accuracy: Scalar
    candidates: int = eqx.field(static=True)

    def __init__(
        self,
        problem: Problem,
        weights: Weights,
        a: Neurons,
        candidates: int,
        tolerance: Scalar,
    ):
        self.problem = problem
        self.sizes = StepError.at_start(problem, weights, a, tolerance)
        self.interactions = Interactions(problem.inputs)
        self.stiff = StiffModes(problem)
        self.accuracy = _ACCURACY * tolerance
        self.candidates = min(candidates, problem.inputs.num_examples)

    def start(self, weights: Weights, a: Neurons) -> tuple[Place, Field]:
        """The place at t = 0, and the field there."""
        problem = self.problem
        z = problem.inputs.preactivations(weights)
        derivatives = problem.derivatives(z)
        field = problem.field_through(problem.activations(z), derivatives, a)
        velocity = self.interactions.image(problem.at_rate_w(field.cotangent))
        a_velocity = problem.at_rate_a(field.a_velocity)
        gates = derivatives.astype(z.dtype)
        zero, none = jnp.zeros((), a.dtype), jnp.int32(0)
        place = Place(
            time=zero,
            weights=weights,
            a=a,
            z=z,
            residuals=field.residuals,
            velocity=velocity,
            older_velocity=velocity,
            a_velocity=a_velocity,
            older_a_velocity=a_velocity,
            mean_residuals=field.residuals,
            multipliers=gates,
            outliers=self.stiff.start(z, a, gates),
            last_step=zero,
            older_step=zero,
            sums=self.residuals(z, a)[1],
            loss=problem.loss(field.residuals),
            curvature=problem.curvature(field),
            report=Report(none, none, none, zero, zero, zero, none),
        )
        return place, field

    def step(
        self, place: Place, h: Scalar, count: Int[Array, ""], exact: Bool[Array, ""]
    ) -> tuple[Place, Scalar, Bool[Array, ""]]:
        """Where a step of length h leads, the `count`-th of the run; its error relative
        to ‖r‖, NaN or inf where the step is unsound; and whether it is too long for the
        kinks that it meets. `exact`: whether pairs that slide have to end on their
        kinks to rounding."""
        # More kinks than there is room for take many times as long. A shorter step
        # meets fewer, unless it is so short that these are slides.
        crowds = h * self.fastest_rate(place) <= 1
        problem, n = self.problem, self.problem.n
        z, a, r, v1 = place.z, place.a, place.residuals, place.velocity
        h1, h2 = place.last_step, place.older_step
        history = jnp.where(h1 + h2 > 0, h1 + h2, 1)
        change = v1 - place.older_velocity
        beta = jnp.clip(-4 / 3 * (h * self.rate(place) - 0.5), -2 / 3, 0)
        bend = beta * (h / 2 + h1) / history
        z_mid = z + h / 2 * (v1 + bend * change)
        a_change = place.a_velocity - place.older_a_velocity
        a_mid = a + h / 2 * (place.a_velocity + bend * a_change)
        r_mid, _ = self.residuals(z_mid, a_mid)
        previous = place.mean_residuals
        mean = previous + self.stiff.damped(
            place.outliers, place.multipliers, a, h, r_mid - previous
        )
        gain = (problem.at_rate_w(a_mid) / n)[:, None] * mean[None, :]
        predicted = gain * place.multipliers
        masks = coupled_masks(
            self.interactions,
            z,
            self.interactions.image(predicted),
            *self._above_slope(gain, predicted),
            h,
            self.candidates,
            jnp.where(exact, 0, self.accuracy),
            crowds,
        )
        multipliers = self._with_slope(masks.values)
        # Lemma 1, exactly: a² − ‖w‖² stays what it is if both layers move by the same
        # products, w with the a, and a with the w, halfway. The a that λ was solved
        # with is a prediction, which `ratio` corrects; what slides stays on its kink.
        moved = h * problem.inputs.adjoint(gain * multipliers)
        # One product for both: where the step leads without the correction.
        shift = problem.inputs.preactivations(place.weights + moved) - z
        now, bent = (product(multipliers * v, mean) / n for v in (z, shift))
        ratio = (2 * a + h * problem.at_rate_a(now)) / nonzero(
            2 * a_mid - 0.5 * h * problem.at_rate_a(bent)
        )
        # Where a_j comes to zero there is nothing to correct.
        ratio = jnp.where(jnp.abs(ratio - 1) < _CORRECTED, ratio, 1)
        weights = place.weights + ratio[:, None] * moved
        z_new = self._without_rounding(z + ratio[:, None] * shift, place.weights, a)
        slope = now + 0.5 * ratio * bent
        a_velocity = problem.at_rate_a(slope)
        a_new = a + h * a_velocity
        velocity = (z_new - z) / h
        ahead = z + h * (v1 + (h + h1) / history * change)
        r_new, sums = self.residuals(z_new, a_new)
        on, foreseen = problem.activations(z_new), problem.activations(ahead)
        missed = self._mean(foreseen - on, a_new)
        inverse_sizes = inverse(self.sizes.sizes(problem, weights, a_new))
        each = self.largest_share(ahead - z_new, weights, a_new)
        if problem.rates is not None:
            # The extrapolation of z says nothing of a, which may be all that moves.
            beyond = a + h * (place.a_velocity + (h + h1) / history * a_change) - a_new
            missed += self._mean(on, beyond)
            each = jnp.maximum(each, jnp.max(jnp.abs(beyond) * inverse_sizes))
        excess = jnp.linalg.norm(missed) - self.rounding(sums)
        tiny = jnp.finfo(h.dtype).tiny
        size = jnp.maximum(jnp.linalg.norm(r), tiny)
        error = _ERROR_SHARE * jnp.maximum(jnp.maximum(excess, 0) / size, each)
        error = jnp.where(jnp.all(jnp.isfinite(r_new)), error, jnp.inf)

        before, after = place.loss, problem.loss(r_new)
        # p‖∇L‖²/L over the step: ‖Σ_i c_i x_i‖² = c·Kc, and Kc is the velocity of z.
        # Of the gradient each part is at its rate once.
        pulls = ratio * a_mid * product(multipliers * velocity, mean) / n
        squares = jnp.sum(pulls) + jnp.sum(a_velocity * slope)
        curvature = squares / (problem.p * jnp.sqrt(before) * jnp.sqrt(after))
        rises = rising(problem, r, r_new, sums)
        doubt = jnp.max(masks.doubt * inverse_sizes)
        slid = between(place.multipliers, problem.slope)
        # Pairs that slide are repelled once a_j has changed its sign: nothing tells to
        # which side.
        forks = jnp.any(slid & ((a > 0) != (a_new > 0))[:, None])
        uncertain = _REPORTED * error + doubt + forks.astype(z.dtype)
        report = self._reported(place, masks, z_new, slid, uncertain, rises=rises)
        multipliers = jnp.where(
            masks.sliding, multipliers, problem.derivatives(z_new).astype(z.dtype)
        )
        # By the count of all steps, which is the same for runs in lockstep.
        outliers = only_where_needed(
            count % _FOLLOWING == 0,
            lambda: self.stiff.followed(place.outliers, z_new, a_new, multipliers),
            place.outliers,
        )
        new = Place(
            time=place.time + h,
            weights=weights,
            a=a_new,
            z=z_new,
            residuals=r_new,
            velocity=velocity,
            older_velocity=v1,
            a_velocity=a_velocity,
            older_a_velocity=place.a_velocity,
            mean_residuals=mean,
            multipliers=multipliers,
            outliers=outliers,
            last_step=h,
            older_step=h1,
            sums=sums,
            loss=after,
            curvature=curvature,
            report=report,
        )
        return new, error, (masks.overflow > 0) & ~crowds

    def rate(self, place: Place) -> Scalar:
        """An estimate of the largest eigenvalue of the tangent kernel that bounds the
        step."""
        return self.stiff.rate(place.outliers, place.a)

    def fastest_rate(self, place: Place) -> Scalar:
        """About the largest eigenvalue of the tangent kernel."""
        return self.stiff.largest(place.outliers, place.multipliers, place.a)

    def evaluations(self, steps: Array) -> Array:
        """How many products with the inputs and with their transpose so many steps
        took: two per step, two at the start, and those that look for modes."""
        return 2 + 2 * steps + self.stiff.evaluations(-(-steps // _FOLLOWING))

    def _reported(
        self,
        place: Place,
        masks: Masks,
        z_new: Pairs,
        slid: PairMask,
        error: Scalar,
        *,
        rises: Bool[Array, ""],
    ) -> Report:
        report = place.report
        # A pair that slid lay on its kink to rounding: its sign says nothing.
        crossed = ((place.z > 0) != (z_new > 0)) & ~masks.sliding & ~slid
        pairs = self.problem.n * self.problem.p
        return Report(
            accepted=report.accepted + 1,
            crossings=report.crossings + jnp.sum(crossed, dtype=jnp.int32),
            increases=report.increases + rises.astype(jnp.int32),
            sliding=jnp.sum(masks.sliding, dtype=pairs.dtype) / pairs,
            residual=jnp.maximum(report.residual, masks.residual),
            error=report.error + error,
            overflow=jnp.maximum(report.overflow, masks.overflow),
        )

    def _without_rounding(self, z: Pairs, weights: Weights, a: Neurons) -> Pairs:
        """Zero where a preactivation is only rounding: σ'(0) = 0, and a neuron that
        comes to its last kink and is dead must not be brought to life by its sign."""
        sizes = self.sizes.sizes(self.problem, weights, a)
        norms = self.problem.inputs.norms
        least = _ROUNDINGS * jnp.finfo(z.dtype).eps * sizes[:, None] * norms[None, :]
        return jnp.where(jnp.abs(z) <= least, 0, z)

    def residuals(self, z: Pairs, a: Neurons) -> tuple[Examples, Examples]:
        """r, and (1/p) Σ_j |a_j| |σ(z_ji)|, whose rounding is that of r; (n,) each."""
        problem, on = self.problem, self.problem.activations(z)
        if problem.slope is None:
            h, sums = product(jnp.stack([a, jnp.abs(a)]), on) / problem.p
        else:
            h = product(a, on) / problem.p
            sums = product(jnp.abs(a), jnp.abs(on)) / problem.p
        return problem.targets - h, sums

    def _mean(self, activations: Pairs, a: Neurons) -> Examples:
        """(1/p) Σ_j a_j σ(z_ji). On a CPU XLA merges into a product of one row what the
        matrix is made of, and takes five times as long; of two rows it does not."""
        return product(jnp.stack([a, a]), activations)[0] / self.problem.p

    def _above_slope(self, gain: Pairs, predicted: Pairs) -> tuple[Pairs, Pairs]:
        """What of the cotangents `predicted`, and of their `gain` per unit, is left to
        a multiplier in [0, 1]. With a leaky ReLU λ is s + (1 − s) λ₀: the part s is
        there on either side, and z' = F + s g + (1 − s) g λ₀ with the own push g is
        again the equation of `multipliers.py`."""
        slope = self.problem.slope
        if slope is None:
            return predicted, gain
        return predicted - slope * gain, (1 - slope) * gain

    def _with_slope(self, values: Pairs) -> Pairs:
        """λ of such multipliers."""
        slope = self.problem.slope
        return values if slope is None else slope + (1 - slope) * values

    def largest_share(self, change: Pairs, weights: Weights, a: Neurons) -> Scalar:
        """The change of z_j, (p, n), relative to the most that a neuron of the size of
        (w_j, a_j) may have; of the neuron for which it is largest."""
        sizes = self.sizes.sizes(self.problem, weights, a)
        most = sizes * jnp.sqrt(self.stiff.values[-1])
        # Squares of 1e-20 are zero in float32.
        shares = change * inverse(most)[:, None]
        return jnp.max(jnp.linalg.norm(shares, axis=1))

    def rounding(self, sums: Examples) -> Scalar:
        """The error in ‖r‖ that no step can go below."""
        sizes = jnp.abs(self.problem.targets) + sums
        return _ROUNDINGS * jnp.finfo(sums.dtype).eps * jnp.linalg.norm(sizes)
