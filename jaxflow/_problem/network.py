"""The network, its loss and the velocity of its gradient flow: one formula for all.

h(x) = (1/p) Σ_j a_j (w_j·x)_+          (eq. 1)
r_i  = y_i − h(x_i),   L = (1/2n) Σ_i r_i²   (eq. 2)
d/dt (w, a) = −p ∇L                      (eq. 3), with σ'(0) = 0:

    d/dt w_j = (a_j/n) Σ_i r_i 1[z_ji > 0] x_i
    d/dt a_j = (1/n)  Σ_i r_i (z_ji)_+

One step of gradient descent on p·L with learning rate η is one explicit Euler step of
length η of this flow, so time is measured as learning rate × steps.

A leaky ReLU has σ(z) = z for z > 0 and s z elsewhere in place of (z)_+, and σ' in place
of 1[z > 0], with σ'(0) = s (`activation.py`).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import (
    as_float_array,
    as_scalar,
    check_kind,
    check_positive,
    is_concrete,
    untraced,
)
from .._linalg import product
from .._repr import shown
from .._types import (
    ArrayLike,
    Examples,
    Neurons,
    Number,
    PairMask,
    Pairs,
    Scalar,
    Weights,
)
from .activation import activate, derivative
from .dataset import Dataset
from .inputs import AbstractInputs, DenseInputs


class Network(eqx.Module):
    """p neurons: h(x) = (1/p) Σ_j a_j σ(w_j·x), with σ(z) = (z)_+, or a leaky ReLU.

        network = jaxflow.Network(w, a, negative_slope=0.1)

    **Arguments:**

    - `w`: first layer, shape (p, d) for inputs given as an array. For
      `OrthogonalInputs` w_ji = ⟨w_j, x_i/‖x_i‖⟩, shape (p, n); for `GramInputs`
      w_ji = w_j·x_i, shape (p, n); for `AntipodalInputs` w_ji = ⟨w_j, e_i⟩, (p, n/2).
    - `a`: second layer, shape (p,).
    - `squared_norm`: ‖w_j‖², shape (p,), for the geometries that store projections of
      w_j and cannot see the part outside the span of the inputs. Left out, that part is
      taken to be zero.
    - `negative_slope`: s in [0, 1), one number: σ(z) = s z for z ≤ 0. At the kink σ'(0)
      is s, the derivative from below, as it is 0 for a ReLU; so a neuron with w_j = 0
      moves if s > 0 and a_j ≠ 0. The field is None for a ReLU, s = 0.

    Raises a ValueError when shapes disagree, numbers are not finite, or
    `negative_slope` is not in [0, 1).
    """

    w: Weights
    a: Neurons
    squared_norm: Neurons | None
    negative_slope: Scalar | None

    def __init__(
        self,
        w: ArrayLike,
        a: ArrayLike,
        squared_norm: ArrayLike | None = None,
        *,
        negative_slope: Number | None = None,
    ):
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
        self.negative_slope = as_slope(negative_slope, dtype)

    @property
    def width(self) -> int:
        """p."""
        return self.a.shape[0]

    def __repr__(self) -> str:
        slope = self.negative_slope
        told = "" if slope is None else f", negative_slope={shown(slope)}"
        return f"Network(p={self.width}, w={self.w.shape}, dtype={self.w.dtype}{told})"


def as_slope(negative_slope: Number | None, dtype: Any = None) -> Scalar | None:
    """A slope in [0, 1) as an array without axes, of this dtype if one is given; None
    where it is known to be 0."""
    if negative_slope is None:
        return None
    slope = given = as_scalar("negative_slope", negative_slope, strictly=False)
    if dtype is not None:
        slope = untraced(lambda value: value.astype(dtype), given)
    if is_concrete(slope):
        # By NumPy: inside jit whatever jax compares is traced.
        known = np.asarray(slope)
        told = shown(given)
        if known != np.asarray(given):
            told += f", which is {known} in {slope.dtype}"
        # A slope that is not 0 must not become that of a ReLU.
        if not known < 1 or (known == 0 and np.asarray(given) != 0):
            raise ValueError(
                "negative_slope must be in [0, 1): 0 for a ReLU, 0.01 or so for a "
                f"leaky one; got {told}."
            )
        if known == 0:
            return None
    return slope


def check_fit(data: Dataset, network: Network) -> None:
    """Raises a ValueError unless the network's weights belong to these inputs."""
    check_kind("data", data, Dataset, "jaxflow.Dataset(x, y)")
    check_kind("network", network, Network, "jaxflow.Network(w, a)")
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


def predict(network: Network, x: ArrayLike | AbstractInputs | Dataset) -> Examples:
    """h(x_i) of eq. 1 on any inputs, shape (m,).

        jaxflow.predict(sol.final, x_test)
        jaxflow.predict(sol.final, data)                 # what it was trained on

    **Arguments:**

    - `network`: the network.
    - `x`: m inputs, shape (m, d), in the coordinates of the network's w; or those of a
      `Dataset` or a geometry. Where w holds projections, on the inputs x_1 … x_n of
      training, its coordinates are, for `OrthogonalInputs`, ⟨x, x_i/‖x_i‖⟩, (m, n); for
      `AntipodalInputs`, ⟨x, e_i⟩, (m, n/2); for `GramInputs`, the c_i of x = Σ c_i x_i,
      (m, n).

    Raises a ValueError when x is not finite or has another number of coordinates.
    """
    check_kind("network", network, Network, "jaxflow.Network(w, a)")
    if isinstance(x, Dataset):
        check_fit(x, network)
        x = x.inputs
    of_geometry = isinstance(x, AbstractInputs)
    given: Any = x if of_geometry else as_float_array("x", x, 2)
    expected = network.w.shape[1]
    found = given.num_coordinates if of_geometry else given.shape[1]
    if found != expected:
        told = type(given).__name__ if of_geometry else f"x of shape {given.shape}"
        raise ValueError(
            f"{told} has {found} coordinates per input, but the network's w, of shape "
            f"{network.w.shape}, has {expected} per neuron: x must be (m, {expected})."
        )
    dtype = jnp.result_type(network.w.dtype, given.dtype)
    given, network = jax.tree.map(lambda leaf: leaf.astype(dtype), (given, network))
    if of_geometry:
        return _outputs(given.preactivations(network.w), network)
    # Not as dense inputs, which refuse the zero vector.
    return _outputs(product(network.w, given.T), network)


def _outputs(z: Pairs, network: Network) -> Examples:
    """h, given the preactivations."""
    on = activate(z, network.negative_slope)
    return mean_activation(on, network.a, network.width)


def residuals(data: Dataset, network: Network) -> Examples:
    """r_i = y_i − h(x_i), shape (n,)."""
    check_fit(data, network)
    return data.targets - _outputs(data.inputs.preactivations(network.w), network)


def loss(data: Dataset, network: Network) -> Scalar:
    """L = (1/2n) Σ_i r_i² (eq. 2)."""
    check_fit(data, network)
    return half_mean_square(residuals(data, network), data.num_examples)


def velocity(data: Dataset, network: Network) -> tuple[Weights, Neurons]:
    """(d/dt w, d/dt a) = −p∇L (eq. 3, 16), shaped like (w, a). σ'(0) is the negative
    slope: 0 for a ReLU."""
    check_fit(data, network)
    z = data.inputs.preactivations(network.w)
    slope = network.negative_slope
    active = activate(z, slope)
    r = data.targets - mean_activation(active, network.a, network.width)
    cotangent, a_velocity = pair_velocity(
        active, derivative(z > 0, slope), network.a, r, data.num_examples
    )
    return data.inputs.adjoint(cotangent), a_velocity


def squared_norms(data: Dataset, network: Network) -> Neurons:
    """‖w_j‖², shape (p,)."""
    check_fit(data, network)
    if network.squared_norm is not None:
        return network.squared_norm
    return data.inputs.squared_norms(network.w)


def mean_activation(activations: Pairs, a: Neurons, p: Number) -> Examples:
    """(1/p) Σ_j a_j σ(z_ji), given the activations σ(z_ji)."""
    return product(a, activations) / p


def half_mean_square(r: Examples, n: Number) -> Scalar:
    """(1/2n) Σ_i r_i²."""
    return 0.5 * jnp.sum(r**2) / n


def pair_velocity(
    activations: Pairs, gates: PairMask | Pairs, a: Neurons, r: Examples, n: Number
) -> tuple[Pairs, Neurons]:
    """The flow in the space of pairs: ((a_j/n) r_i 1_ji, (1/n) Σ_i r_i (z_ji)_+).

    `gates` are the 1_ji, or the σ'(z_ji) of a leaky ReLU, or the multipliers that stand
    for them on a slide.
    """
    cotangent = (a / n)[:, None] * r[None, :]
    if gates.dtype == bool:
        cotangent = jnp.where(gates, cotangent, 0)
    else:
        cotangent = gates * cotangent
    return cotangent, product(activations, r) / n
