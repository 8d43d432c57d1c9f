"""What the statements ask of their arguments, on top of `jaxflow._checks`.

Values are looked at where they are concrete. NaN passes for what is recorded of a run:
it stands for rows that the run did not reach.
"""

from typing import Any

import numpy as np
from jaxtyping import Array

from .._checks import (
    as_float_array,
    check_between,
    check_broadcast,
    check_kind,
    check_positive,
    check_real,
)
from .._snapshot import Snapshot


def check_snapshot(s: Any) -> None:
    check_kind("s", s, Snapshot, "jaxflow.Snapshot.of(data, network)")


def check_relu(s: Snapshot, statement: str) -> None:
    """Raises a ValueError for a leaky ReLU, and for a run in which w or a has a rate
    other than 1: the statement need not be true of either."""
    check_snapshot(s)
    if s.problem.rates is not None:
        raise ValueError(
            f"{statement} is a statement about the flow of both layers at rate 1, but "
            "this run has other rates."
        )
    if s.problem.slope is not None:
        raise ValueError(
            f"{statement} is a statement about ReLU networks, but this network has a "
            "negative_slope. The bounds of Lemma 6, curvature_lower_bound and "
            "curvature_upper_bound, hold for both."
        )


def check_sizes(**named: Any) -> None:
    """Numbers that are positive and finite, of shapes that fit together."""
    for name, value in named.items():
        check_positive(name, value)
    check_broadcast(**named)


def check_width_of(n: Any, epsilon: Any) -> None:
    """n > 0 examples and a probability."""
    check_sizes(n=n)
    check_between("epsilon", epsilon, 0, 1)
    check_broadcast(n=n, epsilon=epsilon)


def check_recorded(**named: Any) -> None:
    """Losses and the like: nothing that is negative, of shapes that fit together."""
    for name, value in named.items():
        array = check_real(name, value)
        if array is not None and np.any(array < 0):
            raise ValueError(f"{name} must not be negative, got {array[array < 0][0]}.")
    check_broadcast(**named)


def as_examples(**named: Any) -> list[Array]:
    """Arrays with one number for each example, of one length."""
    arrays = [as_float_array(name, value, 1) for name, value in named.items()]
    if len({array.shape for array in arrays}) > 1:
        told = ", ".join(
            f"{name} {array.shape}" for name, array in zip(named, arrays, strict=True)
        )
        raise ValueError(f"there must be one number for each example, got {told}.")
    return arrays


def as_norms_and_targets(norms: Any, targets: Any) -> list[Array]:
    """‖x_i‖ > 0 and y_i."""
    arrays = as_examples(norms=norms, targets=targets)
    check_positive("norms", arrays[0])
    return arrays
