"""Random problems: the laws of the data and of the initial networks.

`sample_problem` draws one (Dataset, Network). Its parts are laws, named or given by the
user as functions:

    inputs:  (key, n, d, dtype)      -> array (n, d) or an Inputs object
    targets: (key, n, dtype)         -> array (n,)
    init:    (key, data, d, p)       -> Network

Where n < 2d the inputs uniform on the sphere or Gaussian are sampled through their Gram
matrix, and neither the inputs nor the weights are ever formed in R^d. A Gaussian matrix
G (n, d) is R Q with Q's rows orthonormal, uniformly random and independent of R, and R
(n, min(n, d)) lower trapezoidal: R_ik ~ N(0, 1) below the diagonal, R_ii² ~ χ²_{d−i+1}
(Bartlett). So d = 10⁹ costs what d = n costs.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ._checks import (
    as_float_array,
    check_choice,
    check_count,
    check_positive,
    is_concrete,
)
from ._draws import draw_numbers
from ._initialisation import (
    INITIALISATIONS,
    Initialisation,
    bartlett,
    group_size,
)
from ._inputs import (
    AbstractInputs,
    AntipodalInputs,
    DenseInputs,
    GramInputs,
    OrthogonalInputs,
    product,
)
from ._network import Dataset, Network
from ._types import Examples

InputLaw = Callable[[PRNGKeyArray, int, int, Any], Any]
TargetLaw = Callable[[PRNGKeyArray, int, Any], Any]
InitLaw = Callable[[PRNGKeyArray, Dataset, int, int], Network]


def width_rule(n: int, epsilon: float = 0.05) -> int:
    """The least p with n (3/4)^p < ε: p = ⌊log(n/ε)/log(4/3)⌋ + 1 (Lemma 5).

    With it, each of n examples is correctly activated by some neuron with probability
    at least 1 − ε. n = 1650 gives 37.
    """
    n = check_count("n", n)
    if not 0 < epsilon < 1:
        raise ValueError(f"epsilon must lie between 0 and 1, got {epsilon}.")
    return math.floor(math.log(n / epsilon) / math.log(4 / 3)) + 1


def sample_problem(
    key: PRNGKeyArray,
    *,
    n: int,
    d: int,
    p: int | None = None,
    inputs: str | InputLaw = "orthogonal",
    targets: str | TargetLaw = "uniform",
    init: "str | InitLaw" = "gaussian",
    epsilon: float = 0.05,
    dtype: Any = None,
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
    more orthogonal inputs are asked for than the dimension holds.
    """
    n, d = check_count("n", n), check_count("d", d)
    p = width_rule(n, epsilon) if p is None else check_count("p", p)
    dtype = float_dtype(dtype)
    input_key, target_key, init_key = jax.random.split(key, 3)
    sampled, factor = _draw_inputs(inputs, input_key, n, d, dtype)
    if isinstance(targets, str):
        check_choice("targets", targets, TARGET_LAWS)
        targets = TARGET_LAWS[targets]
    data = Dataset(sampled, targets(target_key, n, dtype))
    if isinstance(init, str):
        check_choice("init", init, INITIALISATIONS)
        init = INITIALISATIONS[init]
    if isinstance(init, Initialisation):
        return data, init.draw(init_key, data, d, p, factor)
    return data, init(init_key, data, d, p)


def check_laws(inputs: Any, targets: Any, init: Any) -> None:
    """Raises a ValueError unless each is a law or the name of one."""
    for name, law, known in (
        ("inputs", inputs, INPUT_LAWS),
        ("targets", targets, TARGET_LAWS),
        ("init", init, INITIALISATIONS),
    ):
        if not callable(law):
            check_choice(name, law, known)


def sample_inputs(
    key: PRNGKeyArray,
    *,
    n: int,
    d: int,
    inputs: str | InputLaw = "orthogonal",
    dtype: Any = None,
) -> AbstractInputs:
    """Draws the inputs alone, as `sample_problem` does."""
    dtype = float_dtype(dtype)
    return _draw_inputs(inputs, key, check_count("n", n), check_count("d", d), dtype)[0]


def float_dtype(dtype: Any) -> Any:
    dtype = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype must be floating point, got {dtype}.")
    return dtype


def uniform_targets(key: PRNGKeyArray, n: int, dtype: Any) -> Examples:
    """y ~ U([−2, −1] ∪ [1, 2])."""
    size_key, sign_key = jax.random.split(key)
    sizes = draw_numbers(jax.random.uniform, size_key, (n,), dtype, 1, 2)
    return sizes * draw_numbers(jax.random.rademacher, sign_key, (n,), dtype)


def group_targets(signs: Any, sizes: Any = None) -> TargetLaw:
    """A law of targets in len(signs) groups of equal size, one sign each (Section 4).

    - `signs`: s_j = ±1, shape (p,).
    - `sizes`: |y_i| in each group, shape (p,), constant within it; ~ U[1, 2] per
      example if left out.
    """
    signs = as_float_array("signs", signs, 1)
    if is_concrete(signs) and not np.all(np.abs(np.asarray(signs)) == 1):
        raise ValueError(f"signs must be +1 or −1, got {signs}.")
    if sizes is not None:
        sizes = as_float_array("sizes", sizes, 1)
        check_positive("sizes", sizes)
        if sizes.shape != signs.shape:
            raise ValueError(
                f"sizes must have one entry per group, {signs.shape}, got "
                f"{sizes.shape}."
            )

    def law(key: PRNGKeyArray, n: int, dtype: Any) -> Examples:
        per_group = group_size(n, signs.shape[0])
        if sizes is None:
            magnitudes = draw_numbers(jax.random.uniform, key, (n,), dtype, 1, 2)
        else:
            magnitudes = jnp.repeat(sizes.astype(dtype), per_group)
        return magnitudes * jnp.repeat(signs.astype(dtype), per_group)

    return law


Sampled = tuple[Any, Float[Array, "n m"] | None]


def _draw_inputs(
    law: str | InputLaw, key: PRNGKeyArray, n: int, d: int, dtype: Any
) -> Sampled:
    """The inputs and, where they are Gram, a factor F with K = F Fᵀ."""
    if callable(law):
        return law(key, n, d, dtype), None
    check_choice("inputs", law, INPUT_LAWS)
    return INPUT_LAWS[law](key, n, d, dtype)


def _norms(key: PRNGKeyArray, n: int, dtype: Any) -> Examples:
    return draw_numbers(jax.random.uniform, key, (n,), dtype, 1, 2)


def _sphere(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Sampled:
    direction_key, norm_key = jax.random.split(key)
    rows = _gaussian_rows(direction_key, n, d, dtype)
    lengths = jnp.linalg.norm(rows, axis=1, keepdims=True)
    return _dense_or_gram(
        rows / lengths * _norms(norm_key, n, dtype)[:, None], n < 2 * d
    )


def _gaussian(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Sampled:
    return _dense_or_gram(_gaussian_rows(key, n, d, dtype) / math.sqrt(d), n < 2 * d)


def _orthogonal(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Sampled:
    _check_room(n, d, "orthogonal inputs")
    return OrthogonalInputs(_norms(key, n, dtype)), None


def _orthonormal(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Sampled:
    _check_room(n, d, "orthonormal inputs")
    return OrthogonalInputs(jnp.ones(n, dtype)), None


def _antipodal(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Sampled:
    if n % 2:
        raise ValueError(f"antipodal inputs come in pairs: n must be even, got {n}.")
    _check_room(n // 2, d, "antipodal pairs")
    positive, negative = jnp.split(_norms(key, n, dtype), 2)
    return AntipodalInputs(positive, negative), None


def _check_room(count: int, d: int, what: str) -> None:
    if count > d:
        raise ValueError(
            f"dimension d = {d} holds at most {d} {what}, but {count} were asked for."
        )


def _gaussian_rows(key: PRNGKeyArray, n: int, d: int, dtype: Any) -> Array:
    """A Gaussian matrix (n, d), or where n < 2d the same seen in a basis of its span,
    (n, min(n, d))."""
    if n < 2 * d:
        return bartlett(key, n, d, dtype)
    return draw_numbers(jax.random.normal, key, (n, d), dtype)


def _dense_or_gram(rows: Array, as_gram: bool) -> Sampled:
    if not as_gram:
        return DenseInputs(rows), None
    return GramInputs(product(rows, rows.T)), rows


INPUT_LAWS: dict[str, Callable[[PRNGKeyArray, int, int, Any], Sampled]] = {
    "sphere": _sphere,
    "orthogonal": _orthogonal,
    "orthonormal": _orthonormal,
    "gaussian": _gaussian,
    "antipodal": _antipodal,
}
TARGET_LAWS: dict[str, TargetLaw] = {"uniform": uniform_targets}
