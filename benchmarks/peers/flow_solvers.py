"""General ODE solvers on the flow of one network, its field taken as it stands.

Nothing is done about the kinks, where the field jumps: there an adaptive solver takes
ever smaller steps. `max_evaluations` ends such a run. A run that did not finish is left
at the point where it evaluated the field last.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import Flow


class _GivenUpError(Exception):
    """Leads out of a solver that takes too long."""


class _Watched:
    """A field that counts its evaluations, and gives up after `most` of them."""

    def __init__(self, field: Callable[[Any], Any], start: Any, most: int | None):
        self.field, self.last, self.most = field, start, most
        self.reached, self.evaluations = 0.0, 0

    def __call__(self, t: Any, state: Any) -> Any:
        if self.most is not None and self.evaluations >= self.most:
            raise _GivenUpError
        self.reached, self.last = float(t), state
        self.evaluations += 1
        return self.field(state)


def scipy_flow(
    x: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    a: np.ndarray,
    time: float,
    *,
    rtol: float,
    atol: float | None = None,
    method: str = "DOP853",
    max_evaluations: int | None = None,
) -> Flow:
    """The flow to `time` by `scipy.integrate.solve_ivp`, in float64.

    x (n, d), y (n,), w (p, d), a (p,). `atol` is rtol/10 if left out, as in
    `jaxflow.GradientFlow`.
    """
    from scipy.integrate import solve_ivp

    x, y, w, a = (np.asarray(t, float) for t in (x, y, w, a))
    start = np.concatenate([w.ravel(), a])

    def field(state: np.ndarray) -> np.ndarray:
        w_velocity, a_velocity = velocity(x, y, *_split(state, w.shape))
        return np.concatenate([w_velocity.ravel(), a_velocity])

    watched = _Watched(field, start, max_evaluations)
    try:
        found = solve_ivp(
            watched,
            (0.0, time),
            start,
            method=method,
            t_eval=[time],
            rtol=rtol,
            atol=rtol / 10 if atol is None else atol,
        )
        finished = bool(found.success)
    except _GivenUpError:
        finished = False
    last = found.y[:, -1] if finished else watched.last
    reached = time if finished else watched.reached
    w, a = _split(last, w.shape)
    return _flow(y, w @ x.T, w, a, reached, watched.evaluations, finished)


def torchdiffeq_flow(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, a: np.ndarray, time: float, **settings
) -> Flow:
    """The flow to `time` by `torchdiffeq.odeint`, in the precision of the arrays.

    As `scipy_flow`, with the `settings` of `_torchdiffeq`. Raises an ImportError where
    torchdiffeq is not installed.
    """
    torch = _torch()
    n, p = len(y), len(a)
    inputs, targets = torch.tensor(x), torch.tensor(y)

    def field(state: Any) -> Any:
        w, a = state
        active = torch.relu(w @ inputs.T)
        r = targets - a @ active / p
        gated = torch.where(active > 0, r, 0)
        return a[:, None] * (gated @ inputs) / n, active @ r / n

    return _torchdiffeq(field, lambda w: w @ x.T, y, w, a, time, **settings)


def torchdiffeq_projected_flow(
    norms: np.ndarray,
    y: np.ndarray,
    u: np.ndarray,
    a: np.ndarray,
    time: float,
    **settings,
) -> Flow:
    """The same on orthogonal inputs, where one evaluation costs O(np).

    norms (n,), y (n,), a (p,) and u_ji = ⟨w_j, x_i/‖x_i‖⟩ (p, n), which is `w` of what
    this returns.
    """
    torch = _torch()
    n, p = len(y), len(a)
    lengths, targets = torch.tensor(norms), torch.tensor(y)

    def field(state: Any) -> Any:
        u, a = state
        active = torch.relu(u)
        q = lengths * (targets - lengths * (a @ active) / p) / n
        return a[:, None] * torch.where(active > 0, q, 0), active @ q

    return _torchdiffeq(field, lambda u: norms * u, y, u, a, time, **settings)


def _torch() -> Any:
    try:
        import torch
        import torchdiffeq  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "this flow needs torch and torchdiffeq: pip install torchdiffeq"
        ) from error
    return torch


def _torchdiffeq(
    field: Callable[[Any], Any],
    preactivations: Callable[[np.ndarray], np.ndarray],
    y: np.ndarray,
    w: np.ndarray,
    a: np.ndarray,
    time: float,
    *,
    rtol: float,
    atol: float | None = None,
    method: str = "dopri5",
    max_evaluations: int | None = None,
    threads: int | None = None,
) -> Flow:
    """The flow of `field` from (w, a), which `preactivations` take from w."""
    import torch
    import torchdiffeq

    from .torch_loop import torch_threads

    start = (torch.tensor(w), torch.tensor(a))
    watched = _Watched(field, start, max_evaluations)
    finished = True
    with torch_threads(threads), torch.no_grad():
        try:
            path = torchdiffeq.odeint(
                watched,
                start,
                torch.tensor([0.0, time], dtype=torch.float64),
                rtol=rtol,
                atol=rtol / 10 if atol is None else atol,
                method=method,
            )
            watched.reached, watched.last = time, tuple(s[-1] for s in path)
        except (_GivenUpError, AssertionError):
            # torchdiffeq asserts that its steps do not reach rounding.
            finished = False
    w, a = (s.numpy().copy() for s in watched.last)
    z = preactivations(w)
    return _flow(y, z, w, a, watched.reached, watched.evaluations, finished)


def velocity(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, a: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(d/dt w, d/dt a) = −p∇L with σ'(0) = 0."""
    n, p = len(y), len(a)
    active = np.maximum(w @ x.T, 0)
    r = y - a @ active / p
    return a[:, None] * ((active > 0) * r @ x) / n, active @ r / n


def _split(state: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    p = shape[0]
    return state[:-p].reshape(shape), state[-p:]


def _flow(y, z, w, a, time, evaluations, finished) -> Flow:
    """`z`: the preactivations (p, n)."""
    r = y - a @ np.maximum(z, 0) / len(a)
    loss = float(r @ r) / (2 * len(y))
    return Flow(w, a, loss, float(time), evaluations, finished)
