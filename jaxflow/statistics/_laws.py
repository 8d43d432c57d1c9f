"""Which of three laws a threshold follows as p or d grows.

All three have two parameters, so Akaike's criterion ranks them by how well they fit
alone, and its correction for few points is the same for all.
"""

import dataclasses

import numpy as np
from scipy import optimize, stats

from .._types import ArrayLike
from ._arrays import as_numbers

# Names and formulas; `parameters` below come in this order.
LAWS = {"linear": "a + b x", "power": "c x^k", "logarithmic": "a + b log x"}


@dataclasses.dataclass(frozen=True)
class LawFit:
    """One law, fitted.

    - `name`: a key of `LAWS`.
    - `parameters`, `errors`: (a, b) or (c, k) and their standard errors, shape (2,).
    - `residual`: Σ (y − f)², or χ² = Σ ((y − f)/σ)² where σ was given.
    - `p_value`: of a χ² at least as large if the law holds; nan without σ. The weights
      below compare the three laws to each other: this tells whether one fits at all.
    - `aic`: Akaike's criterion, up to a constant common to all laws.
    - `weight`: its Akaike weight, exp(−aic/2) normalised over the three laws.
    """

    name: str
    parameters: np.ndarray
    errors: np.ndarray
    residual: float
    p_value: float
    aic: float
    weight: float

    def predict(self, x: ArrayLike) -> np.ndarray:
        """The fitted y, in the shape of `x`."""
        first, second = self.parameters
        x = as_numbers("x", x)
        if self.name == "power":
            return first * x**second
        return first + second * (x if self.name == "linear" else np.log(x))


def compare_laws(
    x: ArrayLike, y: ArrayLike, sigma: ArrayLike | None = None
) -> dict[str, LawFit]:
    """Fits y = a + b x, y = c x^k and y = a + b log x by (weighted) least squares.

    The criterion is χ² + 2·2 with σ known, and m log(Σ (y − f)²/m) + 2·3 without, when
    the variance is a parameter more. Weights are exp(−aic/2), normalised (Burnham and
    Anderson, Model Selection and Multimodel Inference, 2002, 2.9). The residuals are in
    y for all laws, the power law included: its logarithm is not what is fitted.

    **Arguments:**

    - `x`: shape (m,), positive, at least three distinct.
    - `y`: shape (m,), positive.
    - `sigma`: shape (m,), positive, the standard errors of y; for a threshold about
      (high − low)/3.92. Left out, all points count the same, and the errors of the
      parameters come from the scatter about the fit.

    **Returns:** a dictionary from the names in `LAWS`, the best law first.

    **Raises:** ValueError for input outside these ranges.
    """
    x, y = as_numbers("x", x, ndim=1), as_numbers("y", y, ndim=1)
    arrays = {"x": x, "y": y}
    if sigma is not None:
        arrays["sigma"] = sigma = as_numbers("sigma", sigma, ndim=1)
    for name, array in arrays.items():
        if array.shape != x.shape:
            raise ValueError(
                f"{name} must have the shape of x, {x.shape}, got {array.shape}."
            )
        if np.any(array <= 0):
            raise ValueError(f"{name} must be positive, got {array[array <= 0][0]}.")
    if len(np.unique(x)) < 3:
        raise ValueError(
            f"x must have at least three distinct values, got {x.tolist()}: any two "
            "points lie on every law."
        )
    fits = [_fit(name, x, y, sigma) for name in LAWS]
    lowest = min(fit.aic for fit in fits)
    total = sum(np.exp((lowest - fit.aic) / 2) for fit in fits)
    weighted = [
        dataclasses.replace(fit, weight=float(np.exp((lowest - fit.aic) / 2) / total))
        for fit in fits
    ]
    return {fit.name: fit for fit in sorted(weighted, key=lambda fit: fit.aic)}


def _fit(name: str, x: np.ndarray, y: np.ndarray, sigma: np.ndarray | None) -> LawFit:
    law = _power if name == "power" else _line
    # Abscissae about zero leave the two parameters nearly uncorrelated.
    abscissa = x if name == "linear" else np.log(x)
    origin = abscissa.mean()
    ordinate = np.log(y) if name == "power" else y
    slope, height = np.polyfit(abscissa - origin, ordinate, 1)
    fitted, covariance = optimize.curve_fit(
        law,
        abscissa - origin,
        y,
        p0=[height, slope],
        sigma=sigma,
        absolute_sigma=sigma is not None,
    )
    # Back to x itself: height − origin·slope, of which the power law takes exp.
    shift = np.array([[1.0, -origin], [0.0, 1.0]])
    parameters = shift @ fitted
    if name == "power":
        parameters[0] = np.exp(parameters[0])
        shift[0] *= parameters[0]
    errors = np.sqrt(np.diag(shift @ covariance @ shift.T))

    m, misfit = len(x), y - law(abscissa - origin, *fitted)
    if sigma is None:
        residual = np.sum(misfit**2)
        # An exact fit is one to rounding.
        rounding = m * (np.finfo(float).eps * np.max(y)) ** 2
        aic = m * np.log(max(residual, rounding) / m) + 6
        p_value = np.nan
    else:
        residual = np.sum((misfit / sigma) ** 2)
        aic = residual + 4
        p_value = stats.chi2.sf(residual, m - 2)
    return LawFit(
        name, parameters, errors, float(residual), float(p_value), float(aic), np.nan
    )


def _line(x: np.ndarray, height: float, slope: float) -> np.ndarray:
    return height + slope * x


def _power(x: np.ndarray, height: float, slope: float) -> np.ndarray:
    return np.exp(height + slope * x)
