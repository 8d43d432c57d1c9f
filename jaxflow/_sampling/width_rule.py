"""The width rule of Lemma 5: how many neurons reach every example."""

import math

from .._checks import (
    check_count,
)


def width_rule(n: int, epsilon: float = 0.05) -> int:
    """The least p with n (3/4)^p < ε: p = ⌊log(n/ε)/log(4/3)⌋ + 1 (Lemma 5).

    With it, each of n examples is correctly activated by some neuron with probability
    at least 1 − ε. n = 1650 gives 37.
    """
    n = check_count("n", n)
    if not 0 < epsilon < 1:
        raise ValueError(f"epsilon must lie between 0 and 1, got {epsilon}.")
    return math.floor(math.log(n / epsilon) / math.log(4 / 3)) + 1
