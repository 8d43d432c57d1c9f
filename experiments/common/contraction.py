"""A proof that the loss of a network tends to zero, from where it is.

Within a distance R of the weights, in the norm of (w, a), a pair (j, i) can come to its
kink only if |z_ji| ≤ ‖x_i‖ R: let S_j be these examples, those of sliding pairs among
them, and A_j those that stay active. Whatever multipliers the pairs of S_j have,

    ‖w_j'‖ ≥ (|a_j| − R)_+ /n · ‖Π_j Σ_{i ∈ A_j} r_i x_i‖,

Π_j projecting off the span of {x_i : i ∈ S_j}. So, with a_j' left out, ‖(w, a)'‖² ≥
2 p λ L with λ(R) the least eigenvalue of

    M(R) = (1/np) Σ_j (|a_j| − R)_+² P_j XᵀΠ_jX P_j,    P_j keeping A_j,

a tangent kernel of which only what cannot change is left. Along the flow, slides
included, −L' = ‖(w, a)'‖²/p; so by the Polyak–Łojasiewicz inequality what is left of
the path is no longer than √(2pL/λ). If that is at most R, the flow stays in the ball,
and L falls to zero, at least as exp(−2λt). This is so for every L up to
max_R R² λ(R)/2p.
"""

import numpy as np
from scipy.linalg import eigvalsh

# Values of R that are tried, from and to these shares of the largest |a_j|. The bound
# is best where R takes some more pairs along than those that slide.
_REACHES = np.geomspace(1e-3, 0.3, 10)


def contraction_level(x: np.ndarray, w: np.ndarray, a: np.ndarray) -> float:
    """The loss up to which the flow from here is proved to tend to zero loss, 0 where
    nothing is proved. x (n, d), w (p, d), a (p,), without a bias; float64."""
    levels = (
        reach**2 * _least_rate(x, w, a, reach) / (2 * len(a))
        for reach in np.abs(a).max() * _REACHES
    )
    return max(0.0, *levels)


def _least_rate(x: np.ndarray, w: np.ndarray, a: np.ndarray, reach: float) -> float:
    """λ(R), of what every state within `reach` has in common."""
    n, p = len(x), len(a)
    z, limit = w @ x.T, reach * np.linalg.norm(x, axis=1)
    kernel = np.zeros((n, n))
    for own, size in zip(z, np.maximum(np.abs(a) - reach, 0), strict=True):
        near, stays = np.abs(own) <= limit, own > limit
        # An orthonormal basis of the span of the near inputs, (d, rank).
        basis, lengths, _ = np.linalg.svd(x[near].T, full_matrices=False)
        basis = basis[:, lengths > 1e-12 * lengths.max(initial=0)]
        kept = size * x * stays[:, None]
        kept -= kept @ basis @ basis.T
        kernel += kept @ kept.T
    # A rounding of zero is no rate.
    least = float(eigvalsh(kernel / (n * p), subset_by_index=[0, 0])[0])
    return least if least > 1e-12 * float(np.trace(kernel)) / (n * p) else 0.0
