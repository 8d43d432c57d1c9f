"""General ODE solvers on the flow of one network, its field taken as it stands.

Nothing is done about the kinks, where the field jumps: there an adaptive solver takes
ever smaller steps. `max_evaluations` ends such a run. A run that did not finish is left
at the point where it evaluated the field last.
"""

import numpy as np

from . import Flow


class _GivenUpError(Exception):
    """Leads out of a solver that takes too long."""


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
    reached, last, evaluations = 0.0, start, 0

    def field(t: float, state: np.ndarray) -> np.ndarray:
        nonlocal reached, last, evaluations
        if max_evaluations is not None and evaluations >= max_evaluations:
            raise _GivenUpError
        reached, last, evaluations = t, state, evaluations + 1
        w_velocity, a_velocity = velocity(x, y, *_split(state, w.shape))
        return np.concatenate([w_velocity.ravel(), a_velocity])

    try:
        found = solve_ivp(
            field,
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
    if finished:
        reached, last = time, found.y[:, -1]
    return _flow(x, y, *_split(last, w.shape), reached, evaluations, finished)


def torchdiffeq_flow(
    x: np.ndarray,
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
    """The flow to `time` by `torchdiffeq.odeint`, in the precision of the arrays.

    As `scipy_flow`. Raises an ImportError where torchdiffeq is not installed.
    """
    try:
        import torch
        import torchdiffeq
    except ImportError as error:
        raise ImportError(
            "torchdiffeq_flow needs torch and torchdiffeq: pip install torchdiffeq"
        ) from error

    from .torch_loop import torch_threads

    n, p = len(y), len(a)
    inputs, targets, w0, a0 = (torch.tensor(t) for t in (x, y, w, a))
    reached, last, evaluations = 0.0, (w0, a0), 0

    def field(
        t: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal reached, last, evaluations
        if max_evaluations is not None and evaluations >= max_evaluations:
            raise _GivenUpError
        reached, last, evaluations = float(t), state, evaluations + 1
        w, a = state
        active = torch.relu(w @ inputs.T)
        r = targets - a @ active / p
        gated = torch.where(active > 0, r, 0)
        return a[:, None] * (gated @ inputs) / n, active @ r / n

    with torch_threads(threads), torch.no_grad():
        try:
            path = torchdiffeq.odeint(
                field,
                (w0, a0),
                torch.tensor([0.0, time], dtype=torch.float64),
                rtol=rtol,
                atol=rtol / 10 if atol is None else atol,
                method=method,
            )
            reached, last, finished = time, tuple(s[-1] for s in path), True
        except (_GivenUpError, AssertionError):
            # torchdiffeq asserts that its steps do not reach rounding.
            finished = False
        w, a = (s.numpy().copy() for s in last)
    return _flow(x, y, w, a, reached, evaluations, finished)


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


def _flow(x, y, w, a, time, evaluations, finished) -> Flow:
    r = y - a @ np.maximum(w @ x.T, 0) / len(a)
    loss = float(r @ r) / (2 * len(y))
    return Flow(w, a, loss, float(time), evaluations, finished)
