"""The network, its loss and the velocity of its gradient flow: one formula for all.

h(x) = (1/p) Σ_j a_j (w_j·x)_+          (eq. 1)
r_i  = y_i − h(x_i),   L = (1/2n) Σ_i r_i²   (eq. 2)
d/dt (w, a) = −p ∇L                      (eq. 3), with σ'(0) = 0:

    d/dt w_j = (a_j/n) Σ_i r_i 1[z_ji > 0] x_i
    d/dt a_j = (1/n)  Σ_i r_i (z_ji)_+

One step of gradient descent on p·L with learning rate η is one explicit Euler step of
length η of this flow, so time is measured as learning rate × steps.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._checks import as_float_array, check_positive, is_concrete
from ._inputs import (
    AbstractInputs,
    AntipodalInputs,
    DenseInputs,
    GramInputs,
    OrthogonalInputs,
    product,
)
from ._types import Examples, Neurons, PairMask, Pairs, Scalar, Weights


class Dataset(eqx.Module):
    """n examples (x_i, y_i).

    **Arguments:**

    - `x`: the inputs: an array of shape (n, d), or one of the geometries
      (`DenseInputs`, `GramInputs`, `OrthogonalInputs`, `AntipodalInputs`).
    - `y`: the targets, shape (n,).

    From a concrete array the cheapest exact geometry for a run is chosen: orthogonal
    when XᵀX is diagonal to rounding, antipodal when the second half of the inputs is
    opposite to an orthogonal first half, Gram when n < 2d, dense otherwise.
    `data.geometry` says which. The networks that go with it keep their w in R^d all
    the same. `Dataset(DenseInputs(x), y)`, and an array that is traced (inside jit or
    vmap), stay dense.

    Raises a ValueError when shapes disagree, numbers are not finite, or an input is the
    zero vector.
    """

    inputs: AbstractInputs
    targets: Examples
    # What a run uses in place of `inputs`, and the unit vectors of its coordinates
    # where it stores projections on them.
    reduced: AbstractInputs
    directions: Float[Array, "m d"] | None

    def __init__(self, x: Any, y: Any):
        inputs = x if isinstance(x, AbstractInputs) else DenseInputs(x)
        targets = as_float_array("y", y, 1)
        if targets.shape[0] != inputs.num_examples:
            raise ValueError(
                f"x holds {inputs.num_examples} examples but y holds "
                f"{targets.shape[0]}. x must be (n, d) and y (n,)."
            )
        dtype = jnp.result_type(inputs.dtype, targets.dtype)
        if is_concrete(targets) and not np.any(np.asarray(targets)):
            raise ValueError("y must not be all zeros: there is nothing to learn.")
        self.inputs = _cast(inputs, dtype)
        self.targets = targets.astype(dtype)
        self.reduced, self.directions = self.inputs, None
        if isinstance(inputs, DenseInputs) and inputs is not x and is_concrete(x):
            # Also inside jit, where jax.numpy would otherwise trace a constant.
            with jax.ensure_compile_time_eval():
                self.reduced, self.directions = _cheapest(_cast(inputs, dtype))

    @property
    def num_examples(self) -> int:
        """n."""
        return self.inputs.num_examples

    @property
    def geometry(self) -> str:
        """The geometry that a run uses: dense, gram, orthogonal or antipodal."""
        return type(self.reduced).__name__.removesuffix("Inputs").lower()

    def __repr__(self) -> str:
        return (
            f"Dataset(n={self.num_examples}, inputs={type(self.inputs).__name__}, "
            f"geometry={self.geometry!r}, dtype={self.targets.dtype})"
        )


class Network(eqx.Module):
    """p neurons: h(x) = (1/p) Σ_j a_j (w_j·x)_+.

    **Arguments:**

    - `w`: first layer, shape (p, d) for inputs given as an array. For
      `OrthogonalInputs` w_ji = ⟨w_j, x_i/‖x_i‖⟩, shape (p, n); for `GramInputs`
      w_ji = w_j·x_i, shape (p, n); for `AntipodalInputs` w_ji = ⟨w_j, e_i⟩, (p, n/2).
    - `a`: second layer, shape (p,).
    - `squared_norm`: ‖w_j‖², shape (p,), for the geometries that store projections of
      w_j and cannot see the part outside the span of the inputs. Left out, that part is
      taken to be zero.

    Raises a ValueError when shapes disagree or numbers are not finite.
    """

    w: Weights
    a: Neurons
    squared_norm: Neurons | None

    def __init__(self, w: Any, a: Any, squared_norm: Any = None):
        w = as_float_array("w", w, 2)
        a = as_float_array("a", a, 1)
        if w.shape[0] != a.shape[0]:
            raise ValueError(
                f"w holds {w.shape[0]} neurons but a holds {a.shape[0]}. w must be "
                "(p, d) and a (p,)."
            )
        if squared_norm is not None:
            squared_norm = as_float_array("squared_norm", squared_norm, 1)
            if squared_norm.shape != a.shape:
                raise ValueError(
                    f"squared_norm must be (p,) = {a.shape}, got {squared_norm.shape}."
                )
            check_positive("squared_norm", squared_norm, strictly=False)
        dtype = jnp.result_type(w.dtype, a.dtype)
        self.w = w.astype(dtype)
        self.a = a.astype(dtype)
        self.squared_norm = None if squared_norm is None else squared_norm.astype(dtype)

    @property
    def width(self) -> int:
        """p."""
        return self.a.shape[0]

    def __repr__(self) -> str:
        return f"Network(p={self.width}, w={self.w.shape}, dtype={self.w.dtype})"


def check_fit(data: Dataset, network: Network) -> None:
    """Raises a ValueError unless the network's weights belong to these inputs."""
    expected = data.inputs.num_coordinates
    if network.w.shape[1] != expected:
        raise ValueError(
            f"w has {network.w.shape[1]} coordinates per neuron, but "
            f"{type(data.inputs).__name__} with n = {data.num_examples} stores "
            f"{expected}: w must be (p, {expected})."
        )
    if network.squared_norm is not None and isinstance(data.inputs, DenseInputs):
        raise ValueError(
            "squared_norm is for geometries that store projections of w; with inputs "
            "given by their coordinates ‖w_j‖² is that of w itself. Leave it out."
        )


def predict(data: Dataset, network: Network) -> Examples:
    """h(x_i) of eq. 1 on the data, shape (n,)."""
    check_fit(data, network)
    z = data.inputs.preactivations(network.w)
    return mean_activation(jax.nn.relu(z), network.a, network.width)


def residuals(data: Dataset, network: Network) -> Examples:
    """r_i = y_i − h(x_i), shape (n,)."""
    return data.targets - predict(data, network)


def loss(data: Dataset, network: Network) -> Scalar:
    """L = (1/2n) Σ_i r_i² (eq. 2)."""
    return half_mean_square(residuals(data, network), data.num_examples)


def velocity(data: Dataset, network: Network) -> tuple[Weights, Neurons]:
    """(d/dt w, d/dt a) = −p∇L with σ'(0) = 0 (eq. 3, 16), shaped like (w, a)."""
    check_fit(data, network)
    z = data.inputs.preactivations(network.w)
    active = jax.nn.relu(z)
    r = data.targets - mean_activation(active, network.a, network.width)
    cotangent, a_velocity = pair_velocity(
        active, z > 0, network.a, r, data.num_examples
    )
    return data.inputs.adjoint(cotangent), a_velocity


def squared_norms(data: Dataset, network: Network) -> Neurons:
    """‖w_j‖², shape (p,)."""
    if network.squared_norm is not None:
        return network.squared_norm
    return data.inputs.squared_norms(network.w)


def mean_activation(activations: Pairs, a: Neurons, p: Any) -> Examples:
    """(1/p) Σ_j a_j (z_ji)_+, given the activations (z_ji)_+."""
    return product(a, activations) / p


def half_mean_square(r: Examples, n: Any) -> Scalar:
    """(1/2n) Σ_i r_i²."""
    return 0.5 * jnp.sum(r**2) / n


def pair_velocity(
    activations: Pairs, gates: PairMask | Pairs, a: Neurons, r: Examples, n: Any
) -> tuple[Pairs, Neurons]:
    """The flow in the space of pairs: ((a_j/n) r_i 1_ji, (1/n) Σ_i r_i (z_ji)_+).

    `gates` are the 1_ji, or the multipliers in [0, 1] that stand for them on a slide.
    """
    cotangent = (a / n)[:, None] * r[None, :]
    if gates.dtype == bool:
        cotangent = jnp.where(gates, cotangent, 0)
    else:
        cotangent = gates * cotangent
    return cotangent, product(activations, r) / n


def _cast(inputs: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda array: array.astype(dtype), inputs)


def _cheapest(
    inputs: DenseInputs,
) -> tuple[AbstractInputs, Float[Array, "m d"] | None]:
    """The geometry that gives the same flow at the least cost, and its unit vectors."""
    x = inputs.x
    n, d = x.shape
    # Beyond 2d examples not even antipodal pairs fit, and Gram costs more than dense.
    if n > 2 * d:
        return inputs, None
    lengths = inputs.norms
    gram = inputs.gram()
    if not bool(jnp.all(jnp.isfinite(gram)) & jnp.all(jnp.diag(gram) > 0)):
        # Squares over- or underflow.
        return inputs, None
    cosines = gram / lengths[:, None] / lengths[None, :]
    # Rounding in an inner product of d terms; anything above it is a correlation.
    rounding = 8 * math.sqrt(d) * float(jnp.finfo(x.dtype).eps)
    if _is_diagonal(cosines, rounding):
        return OrthogonalInputs(lengths), x / lengths[:, None]
    if n % 2 == 0:
        m = n // 2
        rest = cosines.at[jnp.arange(m), jnp.arange(m, n)].add(1.0)
        rest = rest.at[jnp.arange(m, n), jnp.arange(m)].add(1.0)
        if _is_diagonal(rest, rounding):
            return (
                AntipodalInputs(lengths[:m], lengths[m:]),
                x[:m] / lengths[:m, None],
            )
    if n < 2 * d:
        return GramInputs(0.5 * (gram + gram.T)), None
    return inputs, None


def _is_diagonal(cosines: Float[Array, "n n"], rounding: float) -> bool:
    off_diagonal = cosines - jnp.diag(jnp.diag(cosines))
    return bool(jnp.max(jnp.abs(off_diagonal)) <= rounding)
