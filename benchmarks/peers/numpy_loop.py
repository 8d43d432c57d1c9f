"""Full-batch gradient descent of one network in plain NumPy."""

import numpy as np

from . import Descent


def numpy_loop(
    x: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    a: np.ndarray,
    lr: float,
    steps: int,
    *,
    stop: float | None = None,
) -> Descent:
    """At most `steps` steps of length `lr` on p·L, until L < `stop`.

    x (n, d), y (n,), w (p, d), a (p,). BLAS chooses its threads from the environment.
    """
    n, p = len(y), len(a)
    w, a = w.copy(), a.copy()
    losses: list[float] = []
    made = 0
    while made < steps:
        active = np.maximum(w @ x.T, 0)
        r = y - a @ active / p
        losses.append(float(r @ r) / (2 * n))
        if stop is not None and losses[-1] < stop:
            break
        w_step = (lr / n) * a[:, None] * ((active > 0) * r @ x)
        a += (lr / n) * (active @ r)
        w += w_step
        made += 1
    return Descent(w, a, np.array(losses), made, "numpy")
