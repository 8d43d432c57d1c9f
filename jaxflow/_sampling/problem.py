"""Random problems: the laws of the data and of the initial networks.

`sample_problem` draws one (Dataset, Network). Its parts are laws, named or given by the
user as functions, or the data themselves:

    inputs:  (key, n, d, dtype)      -> array (n, d) or an Inputs object
    targets: (key, inputs, dtype)    -> array (n,)
    init:    (key, data, d, p)       -> Network
"""

from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from .._checks import (
    check_choice,
    check_key,
    check_positive,
    check_single,
    check_size,
    check_whole,
    float_dtype,
)
from .._problem.dataset import Dataset
from .._problem.inputs import AbstractInputs, DenseInputs
from .._problem.network import Network, as_slope
from .._types import ArrayLike, DTypeLike, Examples, Number
from .fixed import fixed_inputs, fixed_targets, given_dtype, sizes_of
from .initialisation import INITIALISATIONS, Initialisation, InitLaw, as_network
from .inputs import INPUT_LAWS, InputLaw, draw_inputs, placed, with_bias
from .targets import TargetLaw, as_targets, check_target_law
from .teacher import TARGET_LAWS
from .width_rule import check_epsilon, width_rule


def sample_problem(
    key: PRNGKeyArray,
    *,
    n: int | None = None,
    d: int | None = None,
    p: int | None = None,
    inputs: str | InputLaw | ArrayLike | AbstractInputs = "orthogonal",
    targets: str | TargetLaw | ArrayLike = "uniform",
    init: str | InitLaw = "gaussian",
    bias: float = 0.0,
    negative_slope: Number = 0.0,
    epsilon: float = 0.05,
    dtype: DTypeLike | None = None,
) -> tuple[Dataset, Network]:
    """Draws a dataset and an initial network (Appendix B).

        data, network = jaxflow.sample_problem(
            jax.random.key(0), n=50, d=10**6, p=30, inputs="sphere", targets="teacher"
        )

    **Arguments:**

    - `key`: a `jax.random.key`. The inputs, the targets and the network have keys of
      their own.
    - `n`, `d`, `p`: examples, dimension, neurons; p by `width_rule(n, epsilon)` if left
      out. Given inputs and targets bring n and d along.
    - `inputs`: data of yours, an array (n, d) or a geometry such as `GramInputs(K)`; a
      law of yours; or one of
        - "sphere" (uniform directions, ‖x‖ ~ U[1, 2]), "gaussian" (N(0, I/d));
        - "rademacher" (coordinates ±1/√d), "sparse" (⌈d/3⌉ coordinates, of random
          places, are ±1/√⌈d/3⌉, the others 0), which are formed in R^d;
        - "orthogonal" (a family with ‖x‖ ~ U[1, 2]), "orthonormal", "antipodal"
          (orthogonal pairs of opposite vectors, ‖x‖ ~ U[1, 2]).
    - `targets`: data of yours, an array (n,); "uniform" (y ~ U([−2, −1] ∪ [1, 2])),
      "teacher" (a `TeacherTargets` of 8 neurons), a `TeacherTargets`, or a law of
      yours.
    - `init`: an `Initialisation`, a `GroupInitialisation`, a law of yours, or one of
        - "gaussian" (w ~ N(0, I/d), |a| − ‖w‖ ~ Exp(1)), "uniform" (the same with the
          coordinates of w ~ U(±1/√d)), which satisfy Assumption 1;
        - "balanced" (w ~ N(0, I/d), a = ±‖w‖), "small" (the same times 10⁻³);
        - "he" (w ~ N(0, 2I/d), a ~ N(0, 2/p)), "pytorch" (w ~ U(±1/√d),
          a ~ U(±1/√p), the default of PyTorch's layers), which break Assumption 1.
    - `bias`: b ≥ 0. Above 0 the inputs are (x_i, b) in R^{d+1}, so that the network has
      biases: see `AbstractInputs.with_bias`. The laws of targets and weights see these.
    - `negative_slope`: that of the network's leaky ReLU, in [0, 1); 0 for a ReLU. See
      `Network`. A teacher is a ReLU network all the same.
    - `dtype`: floating point; if left out that of given data, else jax's default.

    **Laws of yours** are functions; what they return is cast to `dtype`:

        def inputs(key, n, d, dtype):          # array (n, d), or a geometry
            return jax.random.uniform(key, (n, d), dtype, -1, 1)

        def targets(key, inputs, dtype):       # (n,); inputs: the geometry
            return jnp.sin(jaxflow.sample_preactivations(key, inputs, 1)[0])

        def init(key, data, d, p):             # a Network
            return jaxflow.Network(jax.random.normal(key, (p, d)), jnp.ones(p))

    Raises a ValueError when a size is not a positive integer or contradicts given data,
    a name is unknown, more orthogonal inputs are asked for than the dimension holds, or
    a law of yours returns something else than above, of another n, d or p.
    """
    check_key(key)
    check_epsilon(epsilon)
    x_law, y_law = checked_laws(inputs, targets, init, bias)
    n, d = sizes_of(x_law, y_law, n, d)
    n, d = check_size("n", n), check_whole("d", d)
    p = width_rule(n, epsilon) if p is None else check_size("p", p)
    dtype = dtype_of(x_law, y_law, dtype)
    check_slope(negative_slope, dtype)
    input_key, target_key, init_key = jax.random.split(key, 3)
    drawn = with_bias(draw_inputs(x_law, input_key, n, d, dtype), bias)
    d = d + 1 if bias else d
    data = Dataset(drawn, draw_targets(y_law, target_key, drawn, n, dtype))
    if isinstance(init, str):
        init = INITIALISATIONS[init]
    if isinstance(init, Initialisation):
        known = drawn if isinstance(drawn, AbstractInputs) else data.inputs
        network = init.draw(init_key, data, d, p, placed(known, d))
    else:
        network = as_network(init(init_key, data, d, p), data, p)
    return data, _leaky(network, negative_slope)


def _leaky(network: Network, negative_slope: Number) -> Network:
    if negative_slope == 0:
        return network
    if network.negative_slope is not None:
        raise ValueError(
            "the law init returned a network that has a negative_slope of its own: "
            f"leave negative_slope = {negative_slope} out, or out of the law."
        )
    return Network(
        network.w, network.a, network.squared_norm, negative_slope=negative_slope
    )


def draw_targets(
    law: str | TargetLaw, key: PRNGKeyArray, drawn: Any, n: int, dtype: Any
) -> Examples:
    """The targets of these inputs, an array or a geometry."""
    seen = drawn if isinstance(drawn, AbstractInputs) else DenseInputs(drawn)
    law = TARGET_LAWS[law] if isinstance(law, str) else law
    return as_targets(law(key, seen, dtype), n, dtype)


def checked_laws(inputs: Any, targets: Any, init: Any, bias: Any) -> tuple[Any, Any]:
    """The laws of inputs and targets, those that are arrays as fixed ones; raises a
    ValueError where one of all these is none."""
    inputs, targets = fixed_inputs(inputs), fixed_targets(targets)
    check_laws(inputs, targets, init)
    check_bias(bias)
    return inputs, targets


def dtype_of(inputs: Any, targets: Any, dtype: DTypeLike | None) -> Any:
    """The precision that was asked for, or that of given inputs and targets."""
    return float_dtype(given_dtype(inputs, targets) if dtype is None else dtype)


def check_bias(bias: Any) -> None:
    check_single("bias", bias)
    check_positive("bias", bias, strictly=False)


def check_slope(negative_slope: Any, dtype: Any) -> None:
    check_single("negative_slope", negative_slope)
    as_slope(negative_slope, dtype)


def check_laws(inputs: Any, targets: Any, init: Any) -> None:
    """Raises a ValueError unless each is a law or the name of one."""
    for name, law, known in (
        ("inputs", inputs, INPUT_LAWS),
        ("targets", targets, TARGET_LAWS),
        ("init", init, INITIALISATIONS),
    ):
        if not callable(law):
            check_choice(name, law, known)
    check_target_law(targets)
