"""What the statements read of one network on one dataset.

Almost every statement speaks of the same few arrays: ‖x_i‖, y_i, ‖XᵀX − D_X‖, z_ji =
w_j·x_i, a_j and ‖w_j‖². A `State` holds them, whatever the geometry, so that the same
functions serve a network at rest and a run at any of its times:

    state = theory.State.of(data, network)
    observe = {"floor": lambda s: theory.curvature_lower_bound(theory.State.at(s))}
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from .._observables import Snapshot
from .._problem.dataset import Dataset
from .._problem.network import Network, squared_norms
from .._types import Examples, Neurons, PairMask, Pairs, Scalar


class State(eqx.Module):
    """n examples and p neurons at one time.

    - `norms`: ‖x_i‖, shape (n,). `targets`: y_i, shape (n,).
    - `interaction`: ‖XᵀX − D_X‖, a scalar.
    - `preactivations`: z_ji = w_j·x_i, shape (p, n).
    - `a`: a_j, shape (p,). `squared_norms`: ‖w_j‖², shape (p,).
    """

    norms: Examples
    targets: Examples
    interaction: Scalar
    preactivations: Pairs
    a: Neurons
    squared_norms: Neurons

    @classmethod
    def of(cls, data: Dataset, network: Network, interaction: Any = None) -> "State":
        """The state of a network. `interaction` spares its computation, O(n³) for
        correlated inputs."""
        inputs = data.inputs
        if interaction is None:
            interaction = data.reduced.interaction()
        return cls(
            norms=inputs.norms,
            targets=data.targets,
            interaction=jnp.asarray(interaction, inputs.dtype),
            preactivations=inputs.preactivations(network.w),
            a=network.a,
            squared_norms=squared_norms(data, network),
        )

    @classmethod
    def at(cls, snapshot: Snapshot) -> "State":
        """The state of a run, inside an observable of `simulate`."""
        return cls(
            norms=snapshot.problem.inputs.norms,
            targets=snapshot.problem.targets,
            interaction=snapshot.start.interaction,
            preactivations=snapshot.preactivations,
            a=snapshot.a,
            squared_norms=snapshot.squared_norms,
        )

    @property
    def n(self) -> int:
        return self.targets.shape[0]

    @property
    def p(self) -> int:
        return self.a.shape[0]

    @property
    def active(self) -> PairMask:
        """1_ji = 1[z_ji > 0]."""
        return self.preactivations > 0

    @property
    def right_sign(self) -> PairMask:
        """1[a_j y_i > 0]."""
        return self.a[:, None] * self.targets[None, :] > 0

    @property
    def residuals(self) -> Examples:
        """r_i = y_i − (1/p) Σ_j a_j (z_ji)_+."""
        outputs = self.a[:, None] * jax.nn.relu(self.preactivations)
        return self.targets - jnp.sum(outputs, axis=0) / self.p

    @property
    def progress(self) -> Examples:
        """|1 − r_i/y_i| = |h(x_i)/y_i|: 0 for a network that is 0, 1 for a fit."""
        return jnp.abs(1 - self.residuals / self.targets)

    def covered_by(self, sizes: Neurons) -> Examples:
        """(1/p) Σ_j s_j 1_ji for sizes s (p,), shape (n,)."""
        return jnp.sum(jnp.where(self.active, sizes[:, None], 0), axis=0) / self.p

    @property
    def covered(self) -> Bool[Array, ""]:
        """The event 𝓘 of Lemma 5: for every i there is a j with z_ji > 0 and
        a_j y_i > 0."""
        return jnp.all(jnp.any(self.active & self.right_sign, axis=0))
