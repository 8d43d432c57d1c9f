"""The width rule of Lemma 5: how many neurons reach every example."""

import math
from typing import Any

from .._checks import check_between, check_single, check_whole


def width_rule(n: int, epsilon: float = 0.05) -> int:
    """The least p with n (3/4)^p < ε: p = ⌊log(n/ε)/log(4/3)⌋ + 1 (Lemma 5).

    With it, each of n examples is correctly activated by some neuron with probability
    at least 1 − ε. n = 1650 gives 37.
    """
    n = check_whole("n", n)
    check_epsilon(epsilon)
    return math.floor(math.log(n / epsilon) / math.log(4 / 3)) + 1


def check_epsilon(epsilon: Any) -> None:
    check_single("epsilon", epsilon)
    check_between("epsilon", epsilon, 0, 1)
