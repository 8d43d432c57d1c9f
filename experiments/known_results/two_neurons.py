"""Two neurons on two orthonormal inputs, and what the theory says while they are small.

y₁ > 0 > y₂ = −λ y₁, and both neurons are active on both examples. With r = y,
D = (y₁, y₂)/2 and e = D/‖D‖ each obeys

    w' = a D, a' = w·D,   so   a(t) = a(0) cosh(‖D‖ t) + (w(0)·e) sinh(‖D‖ t)

until one of its z_ji = w_j·x_i is 0, which does not change the sign that a grows to.
"""

from typing import Any

import numpy as np

# z_ji(0), of the neuron with a > 0 and of that with a < 0.
Z = np.array([[1.0, 0.7], [0.8, 1.0]])
LENGTHS = np.linalg.norm(Z, axis=1)


def boundary(ratio: Any) -> np.ndarray:
    """cos(w_2(0), D) at λ = `ratio`: the δ below which a_2 grows to the sign of y₁."""
    return (Z[1, 0] - ratio * Z[1, 1]) / (LENGTHS[1] * np.hypot(1, ratio))


def closed_form(time: np.ndarray, ratio: float, size: float) -> np.ndarray:
    """a_2 from −δ‖w_2(0)‖ with δ = `size`, `time` in units of 1/‖D‖, shape (T,); NaN
    from where one of its preactivations is 0."""
    e, a = np.array([1, -ratio]) / np.hypot(1, ratio), -size * LENGTHS[1]
    u, cosh, sinh = Z[1] @ e, np.cosh(time), np.sinh(time)
    z = Z[1] + (u * cosh + a * sinh - u)[:, None] * e
    return np.where((z > 0).all(1), a * cosh + u * sinh, np.nan)
