"""The probability that a run converges, and whether two such probabilities differ."""

import dataclasses

import numpy as np
from scipy import stats

from .._checks import check_choice
from .._types import ArrayLike
from ._arrays import as_counts, as_numbers, broadcast, check_between


@dataclasses.dataclass(frozen=True)
class Proportion:
    """A probability and its interval, arrays of one shape."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray


def proportion(
    successes: ArrayLike,
    trials: ArrayLike,
    confidence: float = 0.95,
    method: str = "clopper-pearson",
) -> Proportion:
    """k/m, the share of `successes` among `trials`, with an interval for its mean P.

    - `"clopper-pearson"`: every P that neither one-sided binomial test at level
      α/2 = (1 − confidence)/2 rejects; from the beta distribution,

          low = B(α/2; k, m − k + 1),  high = B(1 − α/2; k + 1, m − k).

      Covers P at least as often as `confidence` says, whatever P is (Clopper and
      Pearson, Biometrika 26, 1934).
    - `"wilson"`: the P with |k/m − P| ≤ z (P (1 − P)/m)^{1/2}. Shorter, and covers
      `confidence` on an average over P only (Wilson, JASA 22, 1927).

    From `scipy.stats.binomtest`, the ends of `"clopper-pearson"` to 10⁻¹¹; about a
    millisecond for each k/m.

    **Arguments:**

    - `successes`: k, integers, 0 ≤ k ≤ m, of any shape that fits `trials`.
    - `trials`: m, integers ≥ 1.
    - `confidence`: strictly between 0 and 1.

    **Returns:** a `Proportion`, its arrays of the common shape.

    **Raises:** ValueError for counts or a confidence outside these ranges, or an
    unknown method.
    """
    check_choice("method", method, _METHODS)
    confidence = check_between("confidence", confidence, 0, 1)
    k, m = as_counts("successes", successes, "trials", trials)
    intervals = [
        stats.binomtest(int(k_i), int(m_i)).proportion_ci(confidence, _METHODS[method])
        for k_i, m_i in zip(k.flat, m.flat, strict=True)
    ]
    ends = np.array(intervals).reshape(-1, 2)
    return Proportion(k / m, ends[:, 0].reshape(k.shape), ends[:, 1].reshape(k.shape))


# As `scipy.stats.binomtest` calls them.
_METHODS = {"clopper-pearson": "exact", "wilson": "wilson"}


def compare_proportions(
    successes_1: ArrayLike,
    trials_1: ArrayLike,
    successes_2: ArrayLike,
    trials_2: ArrayLike,
    method: str = "boschloo",
) -> np.ndarray:
    """Two-sided p-values of "both groups of runs converge with the same probability".

    - `"fisher"`: conditional on the total of successes. The level holds, but small
      groups rarely reach it.
    - `"boschloo"`: Fisher's one-sided p-value as the statistic of an unconditional
      test, the smaller side doubled. Each of its sides is at least as powerful as
      Fisher's (Boschloo, Statistica Neerlandica 24, 1970); tens of milliseconds a pair.

    Where no run of either group, or every one, succeeded, the p-value is 1. For many
    comparisons at once, pass the result to `holm`.

    **Arguments:**

    - `successes_1`, `trials_1`, `successes_2`, `trials_2`: integers, shapes that fit
      together, 0 ≤ successes ≤ trials, trials ≥ 1.

    **Returns:** p-values, of the common shape.

    **Raises:** ValueError for counts outside these ranges or an unknown method.
    """
    check_choice("method", method, ("boschloo", "fisher"))
    k1, m1 = as_counts("successes_1", successes_1, "trials_1", trials_1)
    k2, m2 = as_counts("successes_2", successes_2, "trials_2", trials_2)
    arrays = broadcast(
        ("successes_1", k1), ("trials_1", m1), ("successes_2", k2), ("trials_2", m2)
    )
    k1, m1, k2, m2 = (array.astype(int) for array in arrays)
    rows = zip(k1.flat, m1.flat, k2.flat, m2.flat, strict=True)
    return np.array([_p_value(*row, method=method) for row in rows]).reshape(k1.shape)


def _p_value(k1: int, m1: int, k2: int, m2: int, *, method: str) -> float:
    if k1 + k2 in (0, m1 + m2):
        return 1.0
    table = [[k1, k2], [m1 - k1, m2 - k2]]
    if method == "fisher":
        return float(stats.fisher_exact(table).pvalue)
    return float(stats.boschloo_exact(table).pvalue)


def holm(p_values: ArrayLike) -> np.ndarray:
    """p-values adjusted for their number, after Holm (Scand. J. Statist. 6, 1979).

    With p_(1) ≤ … ≤ p_(m), the i-th becomes max_{j≤i} min(1, (m − j + 1) p_(j)).
    Rejecting where it is below α errs anywhere among the m with probability at most α,
    however they depend on each other.

    **Arguments:**

    - `p_values`: numbers in [0, 1], shape (m,).

    **Returns:** shape (m,), in the order given.

    **Raises:** ValueError for another shape or values outside [0, 1].
    """
    p = as_numbers("p_values", p_values, ndim=1)
    if np.any((p < 0) | (p > 1)):
        raise ValueError(
            f"p_values must lie in [0, 1], got {p[(p < 0) | (p > 1)].flat[0]}."
        )
    order = np.argsort(p)
    stepped = np.minimum(1, p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(stepped)
    return adjusted
