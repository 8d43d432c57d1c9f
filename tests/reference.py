"""Independent references: the equations of the paper in plain NumPy and SciPy.

`slope` is that of the activation below zero: 0 for a ReLU.
"""

import itertools

import numpy as np
from scipy.integrate import solve_ivp


def velocity(x, y, w, a, slope=0):
    """eq. 16, written with the inputs x (n, d)."""
    n, p = len(y), len(a)
    z = w @ x.T
    on = np.maximum(z, slope * z)
    r = y - (a[:, None] * on).sum(0) / p
    dw = (a[:, None] / n) * ((np.where(z > 0, 1, slope) * r) @ x)
    da = (on @ r) / n
    return dw, da


def loss(x, y, w, a, slope=0):
    z = w @ x.T
    r = y - (a[:, None] * np.maximum(z, slope * z)).sum(0) / len(a)
    return 0.5 * np.mean(r**2)


def flow(x, y, w, a, times, slope=0):
    """(losses, w, a) by DOP853 at rtol 1e-11; only for problems without kinks."""
    shape, split = w.shape, w.size

    def field(_, state):
        dw, da = velocity(x, y, state[:split].reshape(shape), state[split:], slope)
        return np.concatenate([dw.ravel(), da])

    solution = solve_ivp(
        field,
        (0, times[-1]),
        np.concatenate([w.ravel(), a]),
        method="DOP853",
        rtol=1e-11,
        atol=1e-13,
        t_eval=times,
    )
    states = solution.y.T
    losses = [loss(x, y, s[:split].reshape(shape), s[split:], slope) for s in states]
    return np.array(losses), states[-1][:split].reshape(shape), states[-1][split:]


def descent(x, y, w, a, learning_rate, steps, slope=0):
    for _ in range(steps):
        dw, da = velocity(x, y, w, a, slope)
        w, a = w + learning_rate * dw, a + learning_rate * da
    return w, a


def _to_an_event(field, t, state, end, events, *, atol):
    """From t up to `end`, or to the first zero of an event in its direction."""
    for event, direction in events.items():
        # `solve_ivp` reads these off the functions.
        vars(event).update(terminal=True, direction=direction)
    return solve_ivp(
        field,
        (t, end),
        state,
        method="DOP853",
        rtol=1e-11,
        atol=atol,
        events=list(events),
    )


def antipodal_flow(positive, negative, y, u, a, *, end, slope=0):
    """(u, a, pairs that reached zero, pairs that left it again) at `end` for antipodal
    inputs, event by event.

    Between events every coordinate keeps its side, or its place at zero, so the field
    is smooth. One that reaches zero passes to the other side if the field there carries
    it on, else it is held; one that is held leaves when the fields of both sides come
    to point the same way.
    """
    m, p = len(positive), len(a)
    t, side = 0.0, np.sign(u)
    state = np.concatenate([u.ravel(), a])

    def parts(state):
        u, a = state[: p * m].reshape(p, m), state[p * m :]
        plus = np.where(side > 0, u * positive, slope * u * positive)
        minus = np.where(side < 0, -u * negative, -slope * u * negative)
        r_plus = y[:m] - (a[:, None] * plus).sum(0) / p
        r_minus = y[m:] - (a[:, None] * minus).sum(0) / p
        one, other = r_plus * positive, -r_minus * negative
        above = a[:, None] * (one + slope * other)
        below = a[:, None] * (other + slope * one)
        return above, below, plus @ r_plus + minus @ r_minus

    def field(_, state):
        above, below, slope = parts(state)
        push = np.where(side > 0, above, np.where(side < 0, below, 0))
        return np.concatenate([push.ravel(), slope]) / (2 * m)

    def reaches_zero(_, state):
        return np.min(np.where(side == 0, 1, state[: p * m].reshape(p, m) * side))

    def is_released(_, state):
        above, below, _ = parts(state)
        return np.max(np.where(side == 0, above * below, -1))

    events = {reaches_zero: -1, is_released: 1}
    reached = released = 0
    while True:
        solution = _to_an_event(field, t, state, end, events, atol=1e-13)
        t, state = solution.t[-1], solution.y[:, -1]
        if solution.status == 0:
            return state[: p * m].reshape(p, m), state[p * m :], reached, released
        side = side.copy()
        above, below, _ = parts(state)
        if len(solution.t_events[0]):
            distances = np.where(
                side == 0, np.inf, np.abs(state[: p * m]).reshape(p, m)
            )
            j, i = np.unravel_index(np.argmin(distances), side.shape)
            beyond = below[j, i] if side[j, i] > 0 else above[j, i]
            side[j, i] = -side[j, i] if beyond * side[j, i] < 0 else 0
            reached += 1
        else:
            products = np.where(side == 0, above * below, -np.inf)
            j, i = np.unravel_index(np.argmax(products), side.shape)
            side[j, i] = np.sign(above[j, i] + below[j, i])
            released += 1
        # A nudge, far below the tolerance, past the event that has been handled.
        state[j * m + i] = 1e-14 * side[j, i]


def correlated_flow(x, y, w, a, *, end, slope=0):
    """(w, a, pairs that met their kink) at `end`, event by event, of inputs of which no
    two are collinear.

    Between events every pair is on a side of its kink or slides along it with the
    multiplier that keeps it there. Where a pair comes to its kink, or a multiplier to 0
    or 1, its neuron goes on in the one way that contradicts nothing: a pair that slides
    has a multiplier in [slope, 1], one that leaves its kink moves to the side it takes.
    """
    (n, d), p = x.shape, len(a)
    t, state, met = 0.0, np.concatenate([w.ravel(), a]), 0
    side = np.where(w @ x.T > 0, 1, -1)

    def multipliers(on, gain, slides):
        # K_SS (g λ)_S = −(K (g on))_S
        lam = np.where(on > 0, 1.0, slope)
        at = np.flatnonzero(slides)
        others = x[at] @ ((gain * lam * ~slides) @ x)
        lam[at] = np.linalg.solve(x[at] @ x[at].T, -others) / gain[at]
        return lam

    def parts(state):
        w, a = state[: p * d].reshape(p, d), state[p * d :]
        z = w @ x.T
        on = np.where(side > 0, z, slope * z)
        r = y - a @ on / p
        gain = a[:, None] * r / n
        lam = np.array([multipliers(side[j], gain[j], side[j] == 0) for j in range(p)])
        return z, gain, lam, on @ r / n

    def field(_, state):
        _, gain, lam, slope = parts(state)
        return np.concatenate([((gain * lam) @ x).ravel(), slope])

    def meets_its_kink(_, state):
        return np.min(np.where(side == 0, 1, parts(state)[0] * side))

    def leaves_its_kink(_, state):
        lam = parts(state)[2]
        return np.min(np.where(side == 0, np.minimum(lam - slope, 1 - lam), 1))

    def goes_on(gain, side, open_pairs, leaves):
        """`leaves`: a pair of `open_pairs` and the side that its multiplier has come
        to, or none."""
        for ways in itertools.product((1, -1, 0), repeat=len(open_pairs)):
            new = side.copy()
            new[open_pairs] = ways
            try:
                lam = multipliers(new, gain, new == 0)
            except np.linalg.LinAlgError:
                continue
            speed = (x @ ((gain * lam) @ x))[open_pairs]
            lam = lam[open_pairs]
            held = (lam > slope) & (lam < 1) & (gain[open_pairs] < 0)
            sound = np.where(np.array(ways) == 0, held, speed * ways > 0)
            for i, way in leaves:
                sound[open_pairs == i] = new[i] == way
            if all(sound):
                return new
        raise ArithmeticError("the flow does not go on in one way")

    events = {meets_its_kink: -1, leaves_its_kink: -1}
    while True:
        solution = _to_an_event(field, t, state, end, events, atol=1e-14)
        t, state = solution.t[-1], solution.y[:, -1]
        if solution.status == 0:
            return state[: p * d].reshape(p, d), state[p * d :], met
        z, gain, lam, _ = parts(state)
        if len(solution.t_events[0]):
            j, i = np.unravel_index(
                np.argmin(np.where(side == 0, np.inf, z * side)), side.shape
            )
            met, leaves = met + 1, []
        else:
            inside = np.where(side == 0, np.minimum(lam - slope, 1 - lam), np.inf)
            j, i = np.unravel_index(np.argmin(inside), side.shape)
            leaves = [(i, 1 if lam[j, i] > 0.5 * (1 + slope) else -1)]
        side = side.copy()
        at_kinks = np.union1d(np.flatnonzero(side[j] == 0), i)
        side[j] = goes_on(gain[j], side[j], at_kinks, leaves)
        # A nudge, far below the tolerance, past the event that has been handled.
        w = state[: p * d].reshape(p, d)
        w[j] += np.linalg.pinv(x[at_kinks]) @ (
            1e-13 * side[j, at_kinks] - x[at_kinks] @ w[j]
        )
