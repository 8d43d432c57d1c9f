"""Initial networks under the condition that every example can be learned.

A pair (j, i) is correctly active where w_j·x_i > 0 and a_j y_i > 0, an example is
covered where it is correctly active on some neuron, and 𝓘 is the event that every
example is covered (Lemma 5). Without it an example may stay at h(x_i) = 0 for ever, and
the loss above y_i²/(2n). What holds "given 𝓘" is measured on networks drawn until it
occurs.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

from .._checks import check_choice, check_count, is_concrete
from .._problem.dataset import Dataset
from .._problem.network import Network
from .initialisation import INITIALISATIONS, InitLaw, as_network


class CoveredInitialisation(eqx.Module):
    """The law `init`, given 𝓘: drawn again until every example is covered.

        init = jaxflow.CoveredInitialisation("gaussian")
        data, network = jaxflow.sample_problem(key, n=1000, d=2000, init=init)

    Draw k = 0, 1, … has the key `jax.random.fold_in(key, k)`. The data stay as they
    are. How many draws are needed is only known while drawing, so this works outside
    `jax.jit` and `jax.vmap` only; `simulate_ensemble` draws there.

    **Arguments:**

    - `init`: a law (key, data, d, p) -> Network, or the name of one; see
      `sample_problem`.
    - `max_draws`: after so many draws without 𝓘, a ValueError that says how likely 𝓘
      is. By the width rule one draw is enough in more than 95 % of cases.
    """

    init: InitLaw
    max_draws: int = eqx.field(static=True)

    def __init__(self, init: str | InitLaw = "gaussian", max_draws: int = 1000):
        if not callable(init):
            check_choice("init", init, INITIALISATIONS)
            init = INITIALISATIONS[init]
        self.init = init
        self.max_draws = check_count("max_draws", max_draws)

    def __call__(self, key: PRNGKeyArray, data: Dataset, d: int, p: int) -> Network:
        if not is_concrete(jax.random.key_data(key), data.targets):
            raise ValueError(
                "CoveredInitialisation needs concrete keys and data: draw the networks "
                "before jax.jit or jax.vmap."
            )
        for k in range(self.max_draws):
            network = self.init(jax.random.fold_in(key, k), data, d, p)
            as_network(network, data, p)
            if bool(_covered(data, network)):
                return network
        n = data.num_examples
        union = 1 - n * 0.75**p
        least = f"at least {union:.2g}" if union > 0 else "not bounded below"
        raise ValueError(
            f"none of {self.max_draws} draws covers all of n = {n} examples "
            f"with p = {p} neurons. For symmetric laws the likelihood is "
            f"{least} by the union bound 1 − n (3/4)^p, and at most "
            f"(1 − 2^−p)^n = {(1 - 0.5**p) ** n:.2g} for orthogonal inputs: take a "
            "larger p, as width_rule(n) gives, or a larger max_draws."
        )


@jax.jit
def _covered(data: Dataset, network: Network) -> Bool[Array, ""]:
    """Whether 𝓘 holds: `Snapshot.covered`, before there is a run."""
    active = data.inputs.preactivations(network.w) > 0
    agrees = network.a[:, None] * data.targets[None, :] > 0
    return jnp.all(jnp.any(active & agrees, axis=0))
