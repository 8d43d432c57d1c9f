"""What happens to a pair (neuron j, example i) at its kink, z_ji = 0, within a step.

An adaptive Runge–Kutta scheme stalls on the jumps of 1[z_ji > 0]. On orthogonal and
antipodal inputs the jumps can be moved to the ends of the steps. Within a step every
pair keeps the side of its kink on which it started (its *gate*), and its coordinate
runs on below zero; what the network reads there is what the true flow would give. The
field within a step is then Lipschitz, and at the end of the step the coordinates are
put back to where the true flow has them.

**Orthogonal inputs.** u_ji' = (a_j/n) r_i ‖x_i‖ 1[u_ji > 0]. A pair that is off stays
off; one that is on switches off for good when it reaches zero. Within the step u_ji
runs on below zero: the network reads (u_ji)_+ and notices nothing. At its end u_ji is
set to zero, and its gate is closed.

**Orthogonal inputs, leaky ReLU.** u_ji' = (a_j/n) r_i ‖x_i‖ σ'(u_ji) has one sign on
both sides of zero, so that a pair never stays there, and may come back. Beyond zero its
speed is s times, or 1/s times, the speed before. Within the step u_ji runs on as before
and the network reads what that means on the other side; at its end u_ji is put there.

**Antipodal inputs.** u_ji' = (a_j/n) (r⁺_i ρ⁺_i 1[u_ji > 0] − r⁻_i ρ⁻_i 1[u_ji < 0]). A
pair that reaches zero from above passes to the other side when a_j r⁻_i > 0, and stays
at zero when both sides push onto it. The speed beyond zero is κ_i = −r⁻_i ρ⁻_i/(r⁺_i
ρ⁺_i) times the speed before (0 if that is negative), the same for every neuron, so the
coordinate that runs on as before, times κ_i, is the true one up to the change of κ_i
since the crossing; the end of the step corrects that to second order. A pair that is
held at zero leaves it when both sides come to push the same way; the end of the step
puts it where it has got to since, to second order. One that starts at exactly zero is
closed for good, by σ'(0) = 0.

In both geometries the activations keep a corner inside the step, which the quadrature
of d/dt a_j = (1/n) Σ_i r_i (z_ji)_+ sums to second order only. That error is known to
leading order from the two ends of the step (`bends`), and the step takes it off.

**Other inputs,** and antipodal ones with a leaky ReLU. The literal field: no gate is
held, and the crossings are counted.
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._linalg import product
from .._problem.activation import activate, derivative
from .._problem.inputs import AbstractInputs, AntipodalInputs, OrthogonalInputs
from .._types import Examples, Neurons, PairMask, Pairs, Scalar, Weights

# A ratio of speeds above this belongs to a residual that vanishes to rounding.
_LARGEST_RATIO = 1e6


class AbstractPattern(eqx.Module):
    """What is held fixed within a step."""

    @abc.abstractmethod
    def settle(self, weights: Weights) -> Weights:
        """Where the true flow has the weights that a step extended past a kink."""


class Step(eqx.Module):
    """The two ends of a step: stored weights, second layer, residuals, and its length
    over n, times the rate of w."""

    before: Weights
    after: Weights
    a_before: Neurons
    a: Neurons
    r_before: Examples
    r: Examples
    length: Scalar


class StepEnd(eqx.Module):
    """What a step hands to the next.

    - `weights`: where the true flow has them.
    - `carried`: what the next step has to know besides.
    - `reached`: how many pairs have reached their kink within the step.
    - `jumped`: whether some activation, and with it the residuals, jumps here.
    - `regated`: whether some gate changes.
    """

    weights: Weights
    carried: Any
    reached: Int[Array, ""]
    jumped: Bool[Array, ""]
    regated: Bool[Array, ""]


class AbstractKinks(eqx.Module):
    """How one geometry carries its pairs through a step.

    `exact`: whether kinks make no error of which the estimate of a step knows nothing.
    """

    exact: ClassVar[bool] = True

    @abc.abstractmethod
    def start(self, weights: Weights, a: Neurons, r: Examples) -> Any:
        """What the first step has to know besides its weights."""

    def begin(self, weights: Weights, carried: Any) -> AbstractPattern:
        """The pattern of a step from these weights."""
        return carried

    @abc.abstractmethod
    def read(self, weights: Weights, pattern: Any) -> tuple[Pairs, PairMask | Pairs]:
        """The activations σ(z_ji) and the gates 1_ji, or σ'(z_ji), within a step, each
        (p, n)."""

    @abc.abstractmethod
    def finish(self, step: Step, pattern: Any) -> StepEnd:
        """Ends a step."""


class AbstractHolding(AbstractKinks):
    """Kinks at which every pair keeps its gate within a step."""

    @abc.abstractmethod
    def activations(self, weights: Weights, pattern: Any) -> Pairs:
        """σ(z_ji) within a step, (p, n)."""

    @abc.abstractmethod
    def gates(self, pattern: Any) -> PairMask | Pairs:
        """1_ji, or σ'(z_ji), within a step, (p, n)."""

    @abc.abstractmethod
    def bent(self, step: Step, pattern: Any) -> Bool[Array, ""]:
        """Whether some activation has a corner within the step."""

    @abc.abstractmethod
    def bends(self, step: Step, pattern: Any) -> tuple[Pairs, Pairs]:
        """Where the activations have a corner within the step, to leading order.

        Over the step, s from 0 to 1, an activation is a smooth function plus
        (size − s × fall)_+, which is zero at s = 1. A quadrature of high order in s
        does not see that, so the solver's error there is of second order, and known.
        Returns (size, fall), each (p, n), and 0 where there is no corner.
        """

    def read(self, weights: Weights, pattern: Any) -> tuple[Pairs, PairMask | Pairs]:
        return self.activations(weights, pattern), self.gates(pattern)


class LiteralPattern(AbstractPattern):
    """1[z > 0] at the start of the step; it only serves to count."""

    active: PairMask

    def settle(self, weights: Weights) -> Weights:
        return weights


class LiteralKinks(AbstractKinks):
    """The field of eq. 3 as it stands."""

    inputs: AbstractInputs
    slope: Scalar | None = None

    def start(self, weights: Weights, a: Neurons, r: Examples) -> LiteralPattern:
        return LiteralPattern(self.inputs.preactivations(weights) > 0)

    def read(
        self, weights: Weights, pattern: LiteralPattern
    ) -> tuple[Pairs, PairMask | Pairs]:
        z = self.inputs.preactivations(weights)
        return activate(z, self.slope), derivative(z > 0, self.slope)

    def finish(self, step: Step, pattern: LiteralPattern) -> StepEnd:
        active = self.inputs.preactivations(step.after) > 0
        return StepEnd(
            weights=step.after,
            carried=LiteralPattern(active),
            reached=_count(active != pattern.active),
            jumped=jnp.zeros((), bool),
            regated=jnp.zeros((), bool),
        )


class _OrthogonalPattern(AbstractPattern):
    """`above`: the pairs with z > 0 at the start of the step."""

    above: PairMask

    @abc.abstractmethod
    def beyond(self, weights: Weights) -> PairMask:
        """Which pairs have reached zero, or passed it."""


class _OrthogonalKinks(AbstractHolding):
    """Orthogonal inputs: a pair never stays at zero, so that its side at the start of a
    step is all that the step has to know."""

    inputs: eqx.AbstractVar[OrthogonalInputs]
    slope: eqx.AbstractVar[Scalar | None]

    def start(self, weights: Weights, a: Neurons, r: Examples) -> None:
        return None

    def gates(self, pattern: _OrthogonalPattern) -> PairMask | Pairs:
        return derivative(pattern.above, self.slope)

    def finish(self, step: Step, pattern: _OrthogonalPattern) -> StepEnd:
        reached = _count(pattern.beyond(step.after))
        return StepEnd(
            weights=pattern.settle(step.after),
            carried=None,
            reached=reached,
            # The network reads the settled weights already.
            jumped=jnp.zeros((), bool),
            regated=reached > 0,
        )

    def bent(self, step: Step, pattern: _OrthogonalPattern) -> Bool[Array, ""]:
        return _count(pattern.beyond(step.after)) > 0


class OneWayPattern(_OrthogonalPattern):
    """A pair switches off at zero."""

    def settle(self, weights: Weights) -> Weights:
        return jnp.where(self.above, jax.nn.relu(weights), weights)

    def beyond(self, weights: Weights) -> PairMask:
        return self.above & (weights <= 0)


class OneWayKinks(_OrthogonalKinks):
    """Orthogonal inputs: a pair switches off once and for good."""

    inputs: OrthogonalInputs
    slope: None = None

    def begin(self, weights: Weights, carried: None) -> OneWayPattern:
        return OneWayPattern(weights > 0)

    def activations(self, weights: Weights, pattern: OneWayPattern) -> Pairs:
        return jax.nn.relu(self.inputs.preactivations(weights))

    def bends(self, step: Step, pattern: OneWayPattern) -> tuple[Pairs, Pairs]:
        size, fall = _corner(step, pattern.beyond(step.after))
        return self.inputs.preactivations(size), self.inputs.preactivations(fall)


def _corner(step: Step, reached: Array) -> tuple[Weights, Weights]:
    """Of the coordinates that reached zero within the step, where they started and how
    far they moved; 0 elsewhere."""
    size = jnp.where(reached, step.before, 0)
    return size, jnp.where(reached, step.before - step.after, 0)


def _count(mask: Array) -> Int[Array, ""]:
    """How many pairs of a mask are set. By a product with ones, exact up to 2²⁴ in a
    row: on a CPU a sum of integers takes several times as long."""
    dtype = jnp.float32
    rows = product(mask.astype(dtype), jnp.ones(mask.shape[1], dtype))
    return jnp.sum(rows.astype(jnp.int32), dtype=jnp.int32)


class LeakyPattern(_OrthogonalPattern):
    """Beyond zero a pair moves at s times its speed, or 1/s times."""

    slope: Scalar

    def settle(self, weights: Weights) -> Weights:
        ratio = jnp.where(self.above, self.slope, self.steeper)
        return jnp.where(self.beyond(weights), weights * ratio, weights)

    @property
    def steeper(self) -> Scalar:
        """1/s. No pair comes up from below where a traced s turns out to be 0."""
        return 1 / jnp.maximum(self.slope, jnp.finfo(self.slope.dtype).tiny)

    def beyond(self, weights: Weights) -> PairMask:
        return (weights > 0) != self.above


class LeakyKinks(_OrthogonalKinks):
    """Orthogonal inputs, leaky ReLU: a pair that reaches zero passes to the other side,
    where its speed is s times what it was, or 1/s times."""

    inputs: OrthogonalInputs
    slope: Scalar

    def begin(self, weights: Weights, carried: None) -> LeakyPattern:
        return LeakyPattern(weights > 0, self.slope)

    def activations(self, weights: Weights, pattern: LeakyPattern) -> Pairs:
        z = self.inputs.preactivations(pattern.settle(weights))
        return activate(z, self.slope)

    def bends(self, step: Step, pattern: LeakyPattern) -> tuple[Pairs, Pairs]:
        # From above σ is z, then s² z: s² z and (1 − s²) (z)_+. From below it is s z,
        # then z/s: z/s and (1/s − s) (−z)_+.
        size, fall = _corner(step, pattern.beyond(step.after))
        s = self.slope
        bend = jnp.where(pattern.above, 1 - s**2, s - pattern.steeper)
        # 1/s may be huge where there is no corner: times a length it would be infinite.
        preactivations = self.inputs.preactivations
        return preactivations(bend * size), preactivations(bend * fall)


class CrossingPattern(AbstractPattern):
    """`side`: the sign of each coordinate that moves, 0 where it is held at its kink.
    `closed`: held for good. `down`, `up`: the ratio of speeds beyond a kink crossed
    downwards and upwards."""

    side: Int[Array, "p m"]
    closed: Bool[Array, "p m"]
    down: Float[Array, " m"]
    up: Float[Array, " m"]

    def settle(self, weights: Weights) -> Weights:
        ratio = jnp.where(self.side > 0, self.down[None, :], self.up[None, :])
        beyond = weights * self.side.astype(weights.dtype) < 0
        return jnp.where(beyond, weights * ratio, weights)


class CrossingKinks(AbstractHolding):
    """Antipodal inputs: a pair that reaches zero passes to the other side, or stays."""

    exact: ClassVar[bool] = False

    inputs: AntipodalInputs

    def start(self, weights: Weights, a: Neurons, r: Examples) -> CrossingPattern:
        return CrossingPattern(_sign(weights), weights == 0, *self._ratios(r))

    def activations(self, weights: Weights, pattern: CrossingPattern) -> Pairs:
        above = jax.nn.relu(weights) * jnp.where(
            pattern.side < 0, pattern.up[None, :], 1
        )
        below = jax.nn.relu(-weights) * jnp.where(
            pattern.side > 0, pattern.down[None, :], 1
        )
        return jnp.concatenate(
            [
                above * self.inputs.positive[None, :],
                below * self.inputs.negative[None, :],
            ],
            axis=1,
        )

    def gates(self, pattern: CrossingPattern) -> PairMask:
        return jnp.concatenate([pattern.side > 0, pattern.side < 0], axis=1)

    def finish(self, step: Step, pattern: CrossingPattern) -> StepEnd:
        down, up = self._ratios(step.r)
        beyond = self._beyond(step.after, pattern)
        # κ is taken halfway between where the step reached zero and its end.
        length = jnp.where(beyond, step.before - step.after, 1)
        fraction = jnp.where(beyond, step.before / length, 1)
        old = jnp.where(pattern.side > 0, pattern.down[None, :], pattern.up[None, :])
        new = jnp.where(pattern.side > 0, down[None, :], up[None, :])
        ratio = old + 0.5 * (1 + fraction) * (new - old)
        settled = jnp.where(beyond, step.after * ratio, step.after)
        held = (pattern.side == 0) & ~pattern.closed
        settled = jnp.where(held, self._released(step), settled)
        side = _sign(settled)
        moved = side != pattern.side
        changed = _count(moved) > 0
        return StepEnd(
            weights=settled,
            carried=CrossingPattern(side, pattern.closed, down, up),
            reached=_count(moved & (pattern.side != 0)),
            jumped=changed,
            regated=changed,
        )

    def bent(self, step: Step, pattern: CrossingPattern) -> Bool[Array, ""]:
        return _count(self._beyond(step.after, pattern)) > 0

    def bends(self, step: Step, pattern: CrossingPattern) -> tuple[Pairs, Pairs]:
        # Beyond zero the activation of the other example of the pair is κ times
        # (s/fraction − 1)_+, which differs from (1 − s/fraction)_+ by a straight line.
        size, fall = _corner(step, self._beyond(step.after, pattern))

        def both_sides(moved: Weights) -> Pairs:
            return self.activations(moved, pattern) + self.activations(-moved, pattern)

        return both_sides(size), both_sides(fall)

    def _released(self, step: Step) -> Weights:
        """Where coordinates that were held at zero have got to.

        At zero the Clarke field lies between the speeds of the two sides. It leaves
        when both point the same way: from the moment at which the second of them
        turned, as straight lines between the ends of the step tell it. Where both come
        to push away from zero, as when a_j changes its sign, both ways are solutions;
        it leaves to the side on which it spent more of its time, as λ says.
        """
        above_end, below_end = self._speeds(step.a, step.r)
        above, below = self._speeds(step.a_before, step.r_before)
        longer = jnp.where(-below_end > above_end, 1, -1)
        apart = (above_end > 0) & (below_end < 0)
        direction = jnp.where(above_end * below_end > 0, jnp.sign(above_end), 0)
        direction = jnp.where(apart, longer, direction)

        def turned(start: Array, end: Array) -> Array:
            against = start * direction < 0
            return jnp.where(against, start / jnp.where(against, start - end, 1), 0)

        since = jnp.maximum(turned(above, above_end), turned(below, below_end))
        own = jnp.where(direction > 0, above, below)
        own_end = jnp.where(direction > 0, above_end, below_end)
        middle = own + 0.5 * (1 + since) * (own_end - own)
        return jnp.where(direction != 0, step.length * (1 - since) * middle, 0)

    def _beyond(self, after: Weights, pattern: CrossingPattern) -> Bool[Array, "p m"]:
        return after * pattern.side.astype(after.dtype) < 0

    def _pushes(self, r: Examples) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """r⁺ρ⁺ and −r⁻ρ⁻: times a_j/n, the speeds above and below zero."""
        positive, negative = jnp.split(r, 2)
        return positive * self.inputs.positive, -negative * self.inputs.negative

    def _speeds(self, a: Neurons, r: Examples) -> tuple[Weights, Weights]:
        above, below = self._pushes(r)
        return a[:, None] * above[None, :], a[:, None] * below[None, :]

    def _ratios(self, r: Examples) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        above, below = self._pushes(r)

        def ratio(top: Array, bottom: Array) -> Array:
            safe = jnp.where(bottom == 0, 1, bottom)
            return jnp.where(bottom == 0, 0, jnp.clip(top / safe, 0, _LARGEST_RATIO))

        return ratio(below, above), ratio(above, below)


def _sign(weights: Weights) -> Int[Array, "p m"]:
    return jnp.sign(weights).astype(jnp.int8)


def kinks_of(inputs: AbstractInputs, slope: Scalar | None = None) -> AbstractKinks:
    """The treatment of kinks that is exact for this geometry, where there is one."""
    if isinstance(inputs, OrthogonalInputs):
        return OneWayKinks(inputs) if slope is None else LeakyKinks(inputs, slope)
    if isinstance(inputs, AntipodalInputs) and slope is None:
        return CrossingKinks(inputs)
    return LiteralKinks(inputs, slope)
