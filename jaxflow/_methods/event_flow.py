"""The flow of small problems, exactly: from event to event by a scheme of high order.

`event_field.py` has the field between events and what an event does. Here a diffrax
Runge–Kutta solver makes the smooth steps, and a step that passes an event is shortened
until it ends on it. The error is then that of a smooth problem, across kinks and along
slides too, down to the rounding of the arithmetic.

How close an event is, is told by a number of each kink that is positive until it:

    above, below    ±s_jk/‖w_j‖
    sliding         min(λ, 1 − λ), and −1 where both sides no longer push onto the kink;
                    less where the residuals, and so λ, are mostly rounding

A step is taken, is made shorter because its error is too large, or because one of these
numbers is negative at its end (or dips below zero within it, as the cubic through its
ends and slopes tells). An event lies somewhere in a step that was refused for that; the
next attempts close in on it by the secant rule and by halving.
"""

import dataclasses
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._checks import as_scalar, check_count
from .._linalg import product
from .._meter import Meter
from .._problem.activation import derivative, gated
from .._problem.inputs import AbstractInputs
from .._problem.run_problem import Problem
from .._stops import AbstractStop
from .._types import (
    Declared,
    Examples,
    Neurons,
    Number,
    PairMask,
    Pairs,
    Scalar,
    Weights,
)
from .base import AbstractMethod, Recorder, Trajectory
from .ends import LEFT_ROUNDINGS, RESTING, exhausted, rising
from .event_field import (
    ABOVE,
    BELOW,
    ORIGIN,
    SLIDING,
    Kinks,
    Point,
    Sides,
    field,
    holding,
    left_of,
    moved,
    new_sides,
    size_of,
    squares,
)
from .event_origin import ascent, sides_beyond_origin
from .event_search import cubic_zeros
from .loop import (
    EXHAUSTED,
    FAILED,
    GOING_ON,
    VANISHED,
    AbstractStepper,
    march,
    outcome_at,
    towards,
)
from .step_size import FIRST_SHARE

# The next step over this one: (error/tolerance)^(−1/order) times _SAFETY, within these.
_SHRINKAGE, _GROWTH, _SAFETY = 0.2, 4.0, 0.9
# The error of h that is always allowed, in roundings of the sums that make up h.
_FLOOR = 8
# An event is met where its number is zero to this share of the tolerance, or to so many
# roundings. The last attempts are short, so that being exact costs one attempt or two.
_MET, _MET_ROUNDINGS = 1e-6, 64
# The logarithm of L is known to so many roundings of what r is the difference of, over
# ‖r‖.
_LOSS_ROUNDINGS = 8
# Where an event is met and all kinks of the neuron lie so close to zero, in units of
# the tolerance, it has reached the origin.
_ORIGIN = 0.1
# Velocities of so small a share of the terms that make them up are none, nor are those
# of `RESTING` roundings. Kinks that are neither held nor left to within rounding would
# be met again and again.
_AT_REST = 1e-11
# With so small a share of the terms that make it up, or `LEFT_ROUNDINGS` roundings, ‖r‖
# is on its way to zero.
_LEFT = 1e-6
# A neuron that is held at the origin is let go by forces that add up to this share of
# their sizes: at the very moment at which they begin to, it would not move yet.
_LEAVING = 1e-5
# Time is not divided into steps of less than so many roundings of the clock.
_FINEST_ROUNDINGS = 8
# So often one event is sought.
_TRIES = 80
# So many times in a row a step is shortened because it seems to hide an event.
_LOOKS = 8


class EventFlow(AbstractMethod):
    """The Filippov solution of eq. 3 by locating every kink: small problems, exactly.

    On any inputs; collinear and opposite ones share a kink, and so do those within an
    angle of some 3e-8 in float64 and 7e-4 in float32, whose cosine is 1. A step costs
    13 evaluations of the field, and for each neuron with sliding kinks a linear system
    of their number. Each kink that is reached or released costs some steps. So it is
    meant for n p up to some thousands; `GradientFlow` takes it by itself up to
    n p = 512.

    **Arguments:**

    - `rtol`: error of a step: of each (w_j, a_j) relative to max(‖w_j‖, |a_j|), and of
      h at the examples relative to ‖r‖. No absolute tolerance: the scale of weights,
      targets and time changes nothing. Down to 1e-11 in float64, 1e-5 in float32.
    - `max_steps`: after this many steps the run ends with a message.

    `Solution.stats` also holds `sliding_share` (pairs on their kinks at the end, as a
    share of n p), and how often the flow had several solutions to go on with, of which
    descent may take another at another learning rate. `origin_passes`: some w_j came to
    zero, with a_j ≠ 0 and inputs of several directions; it goes straight on. `forks`:
    some a_j changed its sign while w_j slid along a kink, which the pairs on it then
    repel; it goes below. No a_j changes its sign where |a_j| ≥ ‖w_j‖ at the start.

    Raises a ValueError when a number is not positive and finite.
    """

    statistics: ClassVar[Declared] = {
        "sliding_share": float,
        "origin_passes": int,
        "forks": int,
    }
    positive: ClassVar[tuple[str, ...]] = ("rtol",)

    rtol: Array
    max_steps: int = eqx.field(static=True)

    def __init__(self, rtol: Number = 1e-9, *, max_steps: int = 100_000):
        # Python floats would be compiled in, and a new tolerance compile anew.
        self.rtol = as_scalar("rtol", rtol)
        self.max_steps = check_count("max_steps", max_steps)

    @property
    def rotation_invariant(self) -> bool:
        return True

    def working_numbers(self, inputs: AbstractInputs, pairs: int) -> int:
        return 60 * pairs + 4 * inputs.num_examples**2

    def run(
        self,
        problem: Problem,
        weights: Weights,
        a: Neurons,
        times: Float[Array, " T"],
        stops: tuple[AbstractStop, ...],
        record: Recorder,
        meter: Meter | None = None,
    ) -> Trajectory:
        kinks = Kinks.of(problem)
        z = problem.inputs.preactivations(weights)
        safe = jnp.where(kinks.lengths == 0, 1, kinks.lengths)
        s = jnp.where(kinks.used[None, :], z / safe[None, :], 0)
        alive = jnp.any(s != 0, axis=1)
        if problem.slope is not None:
            # At the origin too σ' is not zero.
            alive |= a != 0
        stepper = _Stepper(
            problem=problem,
            kinks=kinks,
            weights=weights,
            s=s,
            norms=problem.squared_norms(weights),
            alive=alive,
            stops=stops,
            rtol=self.rtol.astype(a.dtype),
            # More directions than coordinates are not independent: at most so many
            # kinks of one neuron can hold it.
            room=min(z.shape[1], problem.inputs.num_coordinates),
            max_steps=self.max_steps,
        )
        return march(stepper, weights, a, times, stops, record, meter)


class _State(eqx.Module):
    """Where a run is: B and a at `clock`, the sides of the kinks, and the field there.

    `natural` is the step that the error asks for, `event` an upper bound of the time to
    the next event (inf where none is known) and `aim` where it is looked for next,
    `past` its number at the upper bound (negative), `tries` how often it was sought;
    `looks` how often in a row a step was shortened to look for a hidden one.
    """

    clock: Scalar
    steps: Int[Array, ""]
    outcome: Int[Array, ""]
    integrals: Pairs
    a: Neurons
    sides: Sides
    point: Point
    natural: Scalar
    event: Scalar
    aim: Scalar
    past: Scalar
    tries: Int[Array, ""]
    looks: Int[Array, ""]
    accepted: Int[Array, ""]
    crossings: Int[Array, ""]
    passes: Int[Array, ""]
    forks: Int[Array, ""]
    increases: Int[Array, ""]


class _Stepper(AbstractStepper):
    problem: Problem
    kinks: Kinks
    # Where the run started: stored weights, s (p, n), ‖w_j‖² (p,), and which neurons
    # are not at the origin, where σ'(0) = 0 keeps them for ever (not a leaky ReLU).
    weights: Weights
    s: Pairs
    norms: Neurons
    alive: Bool[Array, " p"]
    stops: tuple[AbstractStop, ...]
    rtol: Scalar
    room: int = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)

    @property
    def met(self) -> Scalar:
        """An event's number that counts as zero."""
        return jnp.maximum(_MET * self.rtol, self.rounding)

    @property
    def rounding(self) -> float:
        """What a number of the size of 1 is known to."""
        return _MET_ROUNDINGS * float(jnp.finfo(self.rtol.dtype).eps)

    def finest(self, clock: Scalar) -> Scalar:
        """The shortest step that the clock tells from none."""
        return _FINEST_ROUNDINGS * jnp.finfo(clock.dtype).eps * clock

    def at(self, integrals: Pairs) -> Pairs:
        """s where the forces have summed up to B."""
        return self.s + product(integrals, self.kinks.cosines)

    def look(self, integrals: Pairs, a: Neurons, sides: Sides) -> Point:
        s = self.at(integrals)
        found = field(self.problem, self.kinks, s, a, sides, self.room)
        still = self.alive[:, None]
        return eqx.tree_at(
            lambda p: (p.forces, p.speeds),
            found,
            (jnp.where(still, found.forces, 0), jnp.where(still, found.speeds, 0)),
        )

    def init(self, weights: Weights, a: Neurons) -> _State:
        none = jnp.zeros_like(self.s)
        sides = jnp.where(self.s > 0, ABOVE, BELOW).astype(jnp.int32)
        at_zero = (self.s == 0) & self.kinks.used[None, :] & self.alive[:, None]
        # From its kink a pair goes where the others push it, being off by itself.
        off = jnp.where(at_zero | ~self.kinks.used[None, :], SLIDING, sides)
        on = self.kinks.activations(self.s, off)
        r = self.problem.residuals(on, a)
        own = (a / self.problem.n)[:, None]
        cotangent = gated(own, self.kinks.active(off), self.problem.slope)
        pushes = self.kinks.collected(cotangent * (r * self.kinks.lengths)[None, :])
        heading = product(pushes, self.kinks.cosines)
        sides = jnp.where(at_zero, jnp.where(heading > 0, BELOW, ABOVE), sides)
        sides, found = self.resided(none, a, sides, at_zero)
        if self.problem.slope is not None:
            origin = jnp.all(at_zero | ~self.kinks.used[None, :], axis=1)
            origin &= self.alive & (jnp.sum(self.kinks.used) > 1)
            sides, led = self.beyond_origin(none, a, sides, origin, heading)
            found &= led
        point = self.look(none, a, sides)
        loss = self.problem.loss(point.residuals)
        outcome = outcome_at(self.stops, self.problem, loss, self.curvature(point))
        zero, count = jnp.zeros_like(loss), jnp.int32(0)
        return _State(
            clock=zero,
            steps=count,
            outcome=jnp.where(found, outcome, FAILED),
            integrals=none,
            a=a,
            sides=sides,
            point=point,
            natural=FIRST_SHARE * self.pace(none, a, sides, point),
            event=jnp.full_like(zero, jnp.inf),
            aim=jnp.full_like(zero, jnp.inf),
            past=zero,
            tries=count,
            looks=count,
            accepted=count,
            crossings=count,
            passes=count,
            forks=count,
            increases=count,
        )

    def step(self, state: _State, mark: Array) -> _State:
        length, lands = towards(
            jnp.minimum(state.natural, state.aim), mark - state.clock
        )
        integrals, a, error = self.smooth(state, length)
        point = self.look(integrals, a, state.sides)
        numbers = self.numbers(integrals, a, state.sides, point)
        blur = self.blur(integrals, a, state.sides, point)
        margins = self.margins(point, blur)
        before = self.margins(state.point, blur)
        low, where, dip = self.first_event(
            state, numbers, (before, margins), integrals, a, point, length
        )
        rising = self.rises(state.point, point, integrals, a, state.sides)
        sound = jnp.isfinite(error) & jnp.isfinite(low)
        within = sound & (error <= 1) & ~rising
        # So short that it cannot be divided: what lies behind is met.
        last = (length <= self.finest(state.clock)) | (state.tries >= _TRIES)
        passed = within & ~last & (low < -self.met)
        # The cubic only suggests a dip; the next step ends there, to see.
        dips = within & ~last & ~passed & (dip < length) & (state.looks < _LOOKS)
        accepted = within & ~passed & ~dips
        released, reached = self.met_events(state, numbers, point)
        met = accepted & jnp.any(released | reached)

        factor = _SAFETY * jnp.maximum(error, jnp.finfo(error.dtype).tiny) ** (
            -1 / self.order
        )
        most = jnp.where(within, _GROWTH, jnp.where(rising, 0.5, 0.9))
        factor = jnp.clip(factor, _SHRINKAGE, most)
        natural = length * jnp.where(sound, factor, _SHRINKAGE)
        # A step shortened for another reason does not shorten the next.
        natural = jnp.where(
            within & (length < state.natural),
            jnp.maximum(natural, state.natural),
            natural,
        )
        event = jnp.where(
            passed, length, jnp.where(accepted, state.event - length, state.event)
        )
        event = jnp.where(met | (state.tries >= _TRIES) | (event <= 0), jnp.inf, event)
        past = jnp.where(passed, low, state.past)
        tries = jnp.where(jnp.isfinite(event) | dips, state.tries + 1, 0)
        # Before the event by a little, the secant; every third time, halfway.
        secant = jnp.clip(low / jnp.maximum(low - past, self.met), 0.02, 0.98)
        share = jnp.where(tries % 3 == 0, 0.5, secant)
        aim = jnp.where(passed, where, jnp.where(accepted, share * event, state.aim))
        # What is left up to the event and cannot be divided is taken whole: at its end
        # the event shows by its sign.
        finest = self.finest(jnp.where(accepted, state.clock + length, state.clock))
        aim = jnp.where(event <= finest, event, jnp.maximum(aim, finest))
        aim = jnp.where(dips, dip, jnp.where(jnp.isfinite(event), aim, jnp.inf))
        looks = jnp.where(dips, state.looks + 1, 0)
        # Repelled from both sides, and not since λ came to 0 or 1.
        apart = accepted & released & (point.jumps >= 0)
        forks = jnp.sum(apart, dtype=jnp.int32)
        integrals, sides, point, found, passed_origin = jax.lax.cond(
            met,
            lambda: self.after(state.sides, integrals, a, point, released, reached),
            lambda: (integrals, state.sides, point, jnp.array(True), jnp.int32(0)),
        )
        outcome = jnp.int32(GOING_ON)
        for index, margin in reversed(list(enumerate(margins))):
            outcome = jnp.where(accepted & (margin <= self.met), index, outcome)
        sums = self.sums(self.kinks.activations(self.at(integrals), sides), a)
        spent = accepted & exhausted(point.residuals, sums)
        outcome = jnp.where(spent, EXHAUSTED, outcome)
        outcome = jnp.where(found, outcome, FAILED)
        stuck = ~accepted & (state.clock + length == state.clock)
        outcome = jnp.where(stuck & ~passed, VANISHED, outcome)
        crossed = jnp.sum((sides != state.sides) & (sides != SLIDING), dtype=jnp.int32)
        # No rounding between a recorded time and the clock.
        clock = jnp.where(lands, mark, state.clock + length)
        # Beyond rounding the loss did not rise: such steps are made again.
        new = dataclasses.replace(
            state,
            clock=clock,
            integrals=integrals,
            a=a,
            sides=sides,
            point=point,
            accepted=state.accepted + 1,
            crossings=state.crossings + crossed,
            passes=state.passes + passed_origin,
            forks=state.forks + forks,
        )
        kept = jax.tree.map(
            lambda after, here: jnp.where(accepted, after, here), new, state
        )
        tried = dataclasses.replace(
            kept,
            steps=state.steps + 1,
            outcome=outcome,
            natural=natural,
            event=event,
            aim=aim,
            past=past,
            tries=tries,
            looks=looks,
        )
        resting = eqx.tree_at(
            lambda s: (s.steps, s.accepted, s.clock),
            state,
            (state.steps + 1, state.accepted + 1, mark),
        )
        rests = self.rests(state)
        return jax.tree.map(lambda a, b: jnp.where(rests, a, b), resting, tried)

    def seen(self, state: _State) -> tuple[Weights, Neurons, Pairs]:
        weights = self.weights + moved(self.kinks, self.problem, state.integrals)
        share = self.kinks.spread(jnp.clip(state.point.multipliers, 0, 1))
        share = jnp.where(self.kinks.lengths[None, :] > 0, share, 1 - share)
        slides = self.kinks.spread(self.slides(state.sides))
        gates = derivative(self.kinks.active(state.sides), self.problem.slope)
        if self.problem.slope is not None:
            share = self.problem.slope + (1 - self.problem.slope) * share
            # Held at the origin, where it does not move.
            gates = jnp.where(self.kinks.spread(state.sides == ORIGIN), 0, gates)
        gates = jnp.where(slides, share, gates.astype(share.dtype))
        return weights, state.a, jnp.where(self.kinks.lengths[None, :] != 0, gates, 0)

    def statistics(self, state: _State) -> dict[str, Array]:
        pairs = self.problem.n * self.problem.p
        slides = self.kinks.spread(self.slides(state.sides))
        slides &= self.kinks.lengths[None, :] != 0
        return {
            "velocity_evaluations": 14 * state.steps + 1,
            "steps": state.steps,
            "accepted_steps": state.accepted,
            "rejected_steps": state.steps - state.accepted,
            "kink_crossings": state.crossings,
            "loss_increases": state.increases,
            "sliding_share": jnp.sum(slides, dtype=pairs.dtype) / pairs,
            "origin_passes": state.passes,
            "forks": state.forks,
        }

    # ------------------------------------------------------------- a smooth step

    @property
    def solver(self) -> diffrax.Dopri8:
        return diffrax.Dopri8()

    @property
    def order(self) -> int:
        return 8

    def smooth(self, state: _State, length: Scalar) -> tuple[Pairs, Neurons, Scalar]:
        """B and a after a step with the sides as they are, and its error over rtol."""

        def velocity(t: Any, y: tuple[Pairs, Neurons], sides: Sides) -> Any:
            point = self.look(*y, sides)
            return point.forces, point.a_velocity

        term, y = diffrax.ODETerm(velocity), (state.integrals, state.a)
        ends = (jnp.zeros_like(length), length)
        memory = self.solver.init(term, *ends, y, state.sides)
        (integrals, a), error, *_ = self.solver.step(
            term, *ends, y, state.sides, memory, made_jump=False
        )
        size = jnp.maximum(self.lengths(integrals), jnp.abs(a))
        wrong = jnp.maximum(size_of(error[0], self.kinks), jnp.abs(error[1]))
        each = jnp.where(size > 0, wrong / jnp.where(size > 0, size, 1), 0)
        # Of h: both layers' errors, on the pairs that are active.
        s = self.at(integrals)
        on = self.kinks.activations(s, state.sides)
        off = product(error[0], self.kinks.cosines)
        off = self.kinks.activations(off, state.sides)
        miss = (product(error[1], on) + product(a, off)) / self.problem.p
        r = self.problem.residuals(on, a)
        # Of h no error can be asked for that is below its rounding.
        rounding = _FLOOR * jnp.finfo(a.dtype).eps * jnp.linalg.norm(self.sums(on, a))
        wanted = self.rtol * jnp.linalg.norm(r) + rounding
        fit = jnp.linalg.norm(miss) / jnp.where(wanted > 0, wanted, 1)
        return integrals, a, jnp.maximum(jnp.max(each) / self.rtol, fit)

    def lengths(self, integrals: Pairs) -> Neurons:
        """‖w_j‖, (p,)."""
        square = self.norms + squares(self.kinks, integrals, self.s)
        return jnp.sqrt(jnp.maximum(square, 0))

    def sums(self, on: Pairs, a: Neurons) -> Examples:
        """(1/p) Σ_j |a_j| (z_ji)_+: the rounding of h is that of these."""
        return product(jnp.abs(a), jnp.abs(on)) / self.problem.p

    def terms(self, integrals: Pairs, a: Neurons, sides: Sides) -> Examples:
        """What r is the difference of, |y_i| and the sums that make up h: its rounding
        is that of these."""
        on = self.kinks.activations(self.at(integrals), sides)
        return jnp.abs(self.problem.targets) + self.sums(on, a)

    def rises(
        self, before: Point, after: Point, integrals: Pairs, a: Neurons, sides: Sides
    ) -> Array:
        """Whether a step raised the loss. Near a minimum with L > 0 a step at its
        stability bound would."""
        sums = self.sums(self.kinks.activations(self.at(integrals), sides), a)
        return rising(self.problem, before.residuals, after.residuals, sums)

    def rests(self, state: _State) -> Array:
        """Whether all velocities are only rounding: the network stays where it is, dead
        or at a minimum with L > 0. Steps would be led by noise, and never end."""
        point, a = state.point, state.a
        on = self.kinks.activations(self.at(state.integrals), state.sides)
        r = self.terms(state.integrals, a, state.sides)
        rounding = jnp.maximum(RESTING * jnp.finfo(a.dtype).eps, _AT_REST)
        rounding = rounding / self.problem.n
        forces = rounding * jnp.abs(a) * jnp.sum(r * jnp.abs(self.kinks.lengths))
        still = size_of(point.forces, self.kinks) <= self.problem.at_rate_w(forces)
        noise = self.problem.at_rate_a(rounding * product(jnp.abs(on), r))
        still &= jnp.abs(point.a_velocity) <= noise
        # A loss on its way to zero ends as exhausted.
        least = jnp.maximum(LEFT_ROUNDINGS * jnp.finfo(a.dtype).eps, _LEFT)
        left = jnp.linalg.norm(point.residuals) > least * jnp.linalg.norm(r)
        return jnp.all(still) & left

    def pace(self, integrals: Pairs, a: Neurons, sides: Sides, point: Point) -> Scalar:
        """The time in which some neuron, or the fit, changes by its own size."""
        size = jnp.maximum(self.lengths(integrals), jnp.abs(a))
        speed = jnp.maximum(
            size_of(point.forces, self.kinks), jnp.abs(point.a_velocity)
        )
        rate = jnp.max(jnp.where(size > 0, speed / jnp.where(size > 0, size, 1), 0))
        on = self.kinks.activations(self.at(integrals), sides)
        off = self.kinks.activations(point.speeds, sides)
        change = (product(point.a_velocity, on) + product(a, off)) / self.problem.p
        r = jnp.linalg.norm(point.residuals)
        tiny = jnp.finfo(r.dtype).tiny
        # Squares of what is as large as r² may be beyond float32.
        fit = jnp.linalg.norm(change / jnp.maximum(r, tiny))
        return 1 / jnp.maximum(jnp.maximum(rate, fit), tiny)

    # -------------------------------------------------------------------- events

    def slides(self, sides: Sides) -> PairMask:
        return (sides == SLIDING) & self.kinks.used[None, :] & self.alive[:, None]

    def numbers(
        self, integrals: Pairs, a: Neurons, sides: Sides, point: Point
    ) -> Pairs:
        """How close each kink is to its event, (p, n): positive before it."""
        size = jnp.maximum(self.lengths(integrals), jnp.abs(a))[:, None]
        heights = self.at(integrals) * sides.astype(a.dtype)
        heights = heights / jnp.where(size > 0, size, 1)
        inside = jnp.minimum(point.multipliers, 1 - point.multipliers)
        inside = jnp.where(point.jumps < 0, inside, -1)
        # Where the residuals nearly vanish λ is known to few digits, and a number that
        # is zero to these is met.
        left = left_of(self.kinks, point.residuals, self.terms(integrals, a, sides))
        digits = jnp.minimum(1, left * self.met / self.rounding)
        inside = inside * digits[None, :]
        found = jnp.where(sides == SLIDING, inside, heights)
        # Held at the origin until some direction leads out of it.
        held = sides == ORIGIN
        way_out = jax.lax.cond(
            jnp.any(held),
            lambda: ascent(self.problem, self.kinks, a, point.residuals)[0],
            lambda: jnp.zeros_like(a),
        )
        found = jnp.where(held, (_LEAVING - way_out)[:, None], found)
        watched = self.kinks.used[None, :] & self.alive[:, None]
        return jnp.where(watched, found, 1)

    def blur(self, integrals: Pairs, a: Neurons, sides: Sides, point: Point) -> Scalar:
        """How many times less the logarithm of L is known than an event is located:
        late in a run r is a small difference of large numbers. 1 at least."""
        terms = self.terms(integrals, a, sides)
        size = jnp.linalg.norm(point.residuals)
        rounding = _LOSS_ROUNDINGS * jnp.finfo(a.dtype).eps * jnp.linalg.norm(terms)
        return jnp.maximum(1, rounding / (jnp.where(size > 0, size, 1) * self.met))

    def margins(self, point: Point, blur: Scalar) -> list[Scalar]:
        """Of the stops, in such units that they are met where they are `met`."""
        loss, curvature = self.problem.loss(point.residuals), self.curvature(point)
        margins = [stop.margin(self.problem, loss, curvature) for stop in self.stops]
        return [margin / blur for margin in margins]

    def curvature(self, point: Point) -> Scalar:
        """μ = p‖∇L‖²/L: the velocity is −p∇L, so p‖∇L‖² is its ‖·‖²/p."""
        square = jnp.sum(size_of(point.forces, self.kinks) ** 2)
        of_a = jnp.sum(point.a_velocity**2)
        rates = self.problem.rates
        if rates is not None:
            # A velocity has its rate once, its square twice.
            square = square / jnp.where(rates.w > 0, rates.w, 1)
            of_a = of_a / jnp.where(rates.a > 0, rates.a, 1)
        square += of_a
        loss = self.problem.loss(point.residuals)
        safe = jnp.where(loss == 0, 1, loss)
        return jnp.where(loss == 0, 0, square / (self.problem.p * safe))

    def first_event(
        self,
        state: _State,
        numbers: Pairs,
        margins: tuple[list[Scalar], list[Scalar]],
        integrals: Pairs,
        a: Neurons,
        point: Point,
        length: Scalar,
    ) -> tuple[Scalar, Scalar, Scalar]:
        """The least number at the end of a step; where the first event is expected if
        one is negative; and where one seems to dip below zero within, or the length.

        Of a height the speeds at both ends are known: the event is expected at the
        first zero of the cubic through these. Of the others, at that of a line.
        """
        sign = state.sides.astype(a.dtype)
        size = jnp.maximum(self.lengths(integrals), jnp.abs(a))[:, None]
        scale = length / jnp.where(size > 0, size, 1)
        before = self.numbers(state.integrals, state.a, state.sides, state.point)
        held = (state.sides == SLIDING) | (state.sides == ORIGIN)
        start = jnp.where(held, before, self.at(state.integrals) * sign)
        start = jnp.where(held, start, start / jnp.where(size > 0, size, 1))
        rise = numbers - start
        slope = jnp.where(held, rise, state.point.speeds * sign * scale)
        slope_end = jnp.where(held, rise, point.speeds * sign * scale)
        zeros, dips, depths = cubic_zeros(start, rise, slope, slope_end)
        passed = numbers < -self.met
        share = jnp.min(jnp.where(passed, zeros, 1))
        low = jnp.min(numbers)
        least_dip = jnp.min(jnp.where(depths < -self.met, dips, 1))
        for before_, after in zip(*margins, strict=True):
            line = before_ / jnp.where(before_ == after, 1, before_ - after)
            crossed = after < -self.met
            share = jnp.where(crossed, jnp.minimum(share, jnp.clip(line, 0, 1)), share)
            low = jnp.minimum(low, after)
        floor = 0.5 * jnp.finfo(share.dtype).eps
        return low, jnp.maximum(share, floor) * length, least_dip * length

    def met_events(
        self, state: _State, numbers: Pairs, point: Point
    ) -> tuple[PairMask, PairMask]:
        """Which sliding kinks are released at the end of a step, and which others are
        reached. What has just begun to slide or has just left its kink is close too,
        but on its way. And an event has to be known to come: what only tends to its
        kink as t → ∞ stays on its side."""
        sides = state.sides
        close = (numbers <= self.met) & jnp.isfinite(state.event)
        before = self.numbers(state.integrals, state.a, sides, state.point)
        falling = point.speeds * sides.astype(numbers.dtype) < 0
        held = sides == ORIGIN
        reached = close & (sides != SLIDING) & falling & ~held
        # All kinks at once: their numbers reach zero together, but not to one share.
        away = jnp.where((sides == SLIDING) | held, 0, numbers)
        away = jnp.max(jnp.where(self.kinks.used[None, :], away, 0), axis=1)
        close_to_it = jnp.maximum(_ORIGIN * self.rtol, 1e3 * self.met)
        origin = jnp.any(reached, axis=1) & (away <= close_to_it)
        several = jnp.sum(self.kinks.used) > 1
        reached |= (origin & several)[:, None] & (sides != SLIDING)
        # Where one side pushes with no force λ stays at its end, and a rise of it by
        # rounding means nothing. Held, it would be found again in every step.
        rises = numbers > before + jnp.finfo(numbers.dtype).eps
        released = close & self.slides(sides) & ~rises & ~origin[:, None]
        reached |= held & close & (numbers < before)
        return released, reached & self.kinks.used[None, :]

    def after(
        self,
        sides: Sides,
        integrals: Pairs,
        a: Neurons,
        point: Point,
        released: PairMask,
        reached: PairMask,
    ) -> tuple[Pairs, Sides, Point, Bool[Array, ""], Int[Array, ""]]:
        """B, the sides and the field once these events have happened, whether the sides
        were found, and how many neurons have come to the origin."""
        at_zero = reached | self.slides(sides)
        origin = jnp.all(at_zero | ~self.kinks.used[None, :], axis=1)
        origin &= jnp.any(reached, axis=1) & (jnp.sum(self.kinks.used) > 1)
        held_there = sides == ORIGIN
        # To the last bit: what is recorded reads activations off the weights. At the
        # origin there are more kinks than coordinates; what is left there is rounding.
        there, held = self.at(integrals), at_zero & ~origin[:, None]
        integrals = integrals + holding(self.kinks, held, there, there.shape[1])
        up = (point.jumps < 0) & (point.multipliers > 0.5)
        freed = jnp.where(released, jnp.where(up, ABOVE, BELOW), sides)
        freed = freed.astype(sides.dtype)
        others = at_zero & ~released & ~origin[:, None]
        sides, found = self.resided(integrals, a, freed, others)
        sides, led = self.beyond_origin(integrals, a, sides, origin, point.speeds)
        found &= led
        passes = jnp.sum(origin & ~jnp.any(held_there, axis=1), dtype=jnp.int32)
        return integrals, sides, self.look(integrals, a, sides), found, passes

    def beyond_origin(
        self,
        integrals: Pairs,
        a: Neurons,
        sides: Sides,
        origin: Bool[Array, " p"],
        heading: Pairs,
    ) -> tuple[Sides, Bool[Array, ""]]:
        beyond = jax.lax.cond(
            jnp.any(origin),
            lambda: sides_beyond_origin(
                self.problem,
                self.kinks,
                self.at(integrals),
                a,
                sides,
                origin,
                heading,
                4 * sides.shape[1] + 8,
            ),
            lambda: (sides, jnp.array(True)),
        )
        return beyond[0].astype(sides.dtype), beyond[1]

    def resided(
        self, integrals: Pairs, a: Neurons, sides: Sides, at_zero: PairMask
    ) -> tuple[Sides, Bool[Array, ""]]:
        most = 4 * sides.shape[1] + 8
        s = self.at(integrals)
        found, good = new_sides(self.problem, self.kinks, s, a, sides, at_zero, most)
        return found.astype(sides.dtype), good
