"""Random problems: the laws of the data and of the initial networks.

`sample_problem` draws one (Dataset, Network). Its parts are laws, named or given by the
user as functions:

    inputs:  (key, n, d, dtype)      -> array (n, d) or an Inputs object
    targets: (key, n, dtype)         -> array (n,)
    init:    (key, data, d, p)       -> Network
"""

from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from .._checks import check_choice, check_key, check_size, check_whole, float_dtype
from .._problem.dataset import Dataset
from .._problem.network import Network
from .._types import DTypeLike
from .initialisation import INITIALISATIONS, Initialisation, InitLaw, as_network
from .inputs import (
    INPUT_LAWS,
    InputLaw,
    draw_inputs,
)
from .targets import TARGET_LAWS, TargetLaw, as_targets
from .width_rule import check_epsilon, width_rule


def sample_problem(
    key: PRNGKeyArray,
    *,
    n: int,
    d: int,
    p: int | None = None,
    inputs: str | InputLaw = "orthogonal",
    targets: str | TargetLaw = "uniform",
    init: str | InitLaw = "gaussian",
    epsilon: float = 0.05,
    dtype: DTypeLike | None = None,
) -> tuple[Dataset, Network]:
    """Draws a dataset and an initial network (Appendix B).

    **Arguments:**

    - `key`: a `jax.random.key`. The data, the targets and the network have keys of
      their own.
    - `n`, `d`, `p`: examples, dimension, neurons; p by `width_rule(n, epsilon)` if left
      out.
    - `inputs`: "sphere" (uniform directions, ‖x‖ ~ U[1, 2]), "orthogonal" (a family
      with ‖x‖ ~ U[1, 2]), "orthonormal", "gaussian" (N(0, I/d)), "antipodal"
      (orthogonal pairs of opposite vectors, ‖x‖ ~ U[1, 2]), or a law of your own.
    - `targets`: "uniform" (y ~ U([−2, −1] ∪ [1, 2])), or a law of your own.
    - `init`: "gaussian" (w ~ N(0, I/d), |a| − ‖w‖ ~ Exp(1)), "uniform" (the same with
      the coordinates of w ~ U(±1/√d)), "balanced" (w ~ N(0, I/d), a = ±‖w‖), an
      `Initialisation`, a `GroupInitialisation`, or a law of your own.
    - `dtype`: floating point; jax's default if left out.

    Raises a ValueError when a size is not a positive integer, a name is unknown, or
    more orthogonal inputs are asked for than the dimension holds, or a law of yours
    returns something else than above, of another n, d or p. What it returns is cast to
    `dtype`.
    """
    check_key(key)
    check_epsilon(epsilon)
    check_laws(inputs, targets, init)
    n, d = check_size("n", n), check_whole("d", d)
    p = width_rule(n, epsilon) if p is None else check_size("p", p)
    dtype = float_dtype(dtype)
    input_key, target_key, init_key = jax.random.split(key, 3)
    sampled, factor = draw_inputs(inputs, input_key, n, d, dtype)
    if isinstance(targets, str):
        targets = TARGET_LAWS[targets]
    data = Dataset(sampled, as_targets(targets(target_key, n, dtype), n, dtype))
    if isinstance(init, str):
        init = INITIALISATIONS[init]
    if isinstance(init, Initialisation):
        return data, init.draw(init_key, data, d, p, factor)
    return data, as_network(init(init_key, data, d, p), data, p)


def check_laws(inputs: Any, targets: Any, init: Any) -> None:
    """Raises a ValueError unless each is a law or the name of one."""
    for name, law, known in (
        ("inputs", inputs, INPUT_LAWS),
        ("targets", targets, TARGET_LAWS),
        ("init", init, INITIALISATIONS),
    ):
        if not callable(law):
            check_choice(name, law, known)
