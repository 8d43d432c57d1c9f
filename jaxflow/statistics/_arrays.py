"""Checks of what a user passes in, on top of `jaxflow._checks`, for NumPy arrays."""

import numpy as np

from .._types import ArrayLike


def as_numbers(name: str, value: ArrayLike, ndim: int | None = None) -> np.ndarray:
    """`value` as a float64 array of finite numbers, with `ndim` axes if given."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers, got {value!r}.") from error
    if ndim is not None and array.ndim != ndim:
        raise ValueError(
            f"{name} must have {ndim} axis(es), got shape {array.shape}. For one "
            "value, pass a list of length 1."
        )
    if not np.all(np.isfinite(array)):
        bad = array[~np.isfinite(array)].flat[0]
        raise ValueError(f"{name} must be finite, got {bad}.")
    return array


def as_counts(
    successes_name: str, successes: ArrayLike, trials_name: str, trials: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Integers 0 ≤ successes ≤ trials, trials ≥ 1, broadcast to one shape."""
    k = as_numbers(successes_name, successes)
    m = as_numbers(trials_name, trials)
    for name, array in ((successes_name, k), (trials_name, m)):
        if np.any(array != np.round(array)):
            bad = array[array != np.round(array)].flat[0]
            raise ValueError(
                f"{name} must be whole numbers, got {bad}. Pass the number of runs, "
                "not a fraction of them."
            )
    if np.any(m < 1):
        raise ValueError(f"{trials_name} must be at least 1, got {m.min():.0f}.")
    k, m = broadcast((successes_name, k), (trials_name, m))
    if np.any((k < 0) | (k > m)):
        where = (k < 0) | (k > m)
        raise ValueError(
            f"{successes_name} must lie between 0 and {trials_name}, got "
            f"{k[where].flat[0]:.0f} of {m[where].flat[0]:.0f}."
        )
    return k, m


def broadcast(*named: tuple[str, np.ndarray]) -> list[np.ndarray]:
    """The arrays, broadcast to one shape."""
    try:
        return list(np.broadcast_arrays(*(array for _, array in named)))
    except ValueError as error:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in named)
        raise ValueError(f"shapes must fit together, got {shapes}.") from error


def pool(
    n: np.ndarray, successes: np.ndarray, trials: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts added up over equal n, in increasing order of n."""
    distinct, place = np.unique(n, return_inverse=True)
    size = len(distinct)
    return (
        distinct,
        np.bincount(place, successes, size),
        np.bincount(place, trials, size),
    )


def check_between(name: str, value: ArrayLike, low: float, high: float) -> float:
    """One number strictly between `low` and `high`."""
    number = as_numbers(name, value)
    if number.ndim != 0 or not low < number < high:
        raise ValueError(
            f"{name} must be one number strictly between {low:g} and {high:g}, got "
            f"{value!r}."
        )
    return float(number)
