"""Three points in the plane, and what the theory says of small networks on them.

While the network is small, r = y, and a neuron that is active on every point obeys
w' = a D, a' = w·D with D = (1/n) Σ y_i x_i. If it is balanced, |a| = ‖w‖, and a > 0,
its angle θ to D does not depend on its size:

    tan(θ(t)/2) = tan(θ(0)/2) exp(−‖D‖ t).
"""

import numpy as np
import xarray as xr

# The points u_i of the line are x_i = (u_i, 1) in the plane: the 1 is for the bias.
POINTS, TARGETS = np.array([-0.75, -0.5, 0.125]), np.array([1.1, 0.1, 0.8])
X = np.stack([POINTS, np.ones(3)], axis=1)
D = TARGETS @ X / 3
SPEED = float(np.linalg.norm(D))
# The fit by a line, β·x, and the loss that it leaves.
BETA = np.linalg.lstsq(X, TARGETS, rcond=None)[0]
LEAST_SQUARES = float(np.mean((TARGETS - X @ BETA) ** 2) / 2)


def angles_to_d(vectors: np.ndarray) -> np.ndarray:
    """Of vectors (..., 2), in degrees from −180 to 180."""
    turned = vectors @ np.array([[D[0], -D[1]], [D[1], D[0]]])
    return np.degrees(np.arctan2(turned[..., 1], turned[..., 0]))


def groups(run: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At t = 0: a > 0 and all points active, a > 0 and some active, a < 0 and some."""
    active, up = run.w.values[0] @ X.T > 0, run.a.values[0] > 0
    return up & active.all(1), up & active.any(1), ~up & active.any(1)


def closed_form(run: xr.Dataset) -> np.ndarray:
    """The angles of the first group while the network is small, in degrees, (T, k)."""
    half = np.tan(np.radians(angles_to_d(run.w.values[0, groups(run)[0]]) / 2))
    decay = np.exp(-SPEED * run.time.values)
    return 2 * np.degrees(np.arctan(decay[:, None] * half))
