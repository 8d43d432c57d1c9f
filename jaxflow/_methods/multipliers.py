"""The multiplier of one pair of the flow at its kink, averaged over one step.

Where x_i·x_k ≠ 0 a pair (neuron j, example i) can *slide*: seen from above z_ji falls,
seen from below it rises, and the flow keeps z_ji = 0. There the flow is Filippov's (the
limit of gradient descent as its step tends to zero): 1[z_ji > 0] is replaced by the
multiplier λ_ji in [0, 1] that makes d/dt z_ji vanish.

With everything else held, z' = F + s 1[z > 0], where F collects the other pairs and
s = a_j r_i ‖x_i‖²/n is the pair's own push. This flow has a closed form: it reaches
zero at most once within a step, and then crosses, slides (s < 0 < F < −s) or stays.
`mean_mask` is the mean over the step of 1[z > 0], or of λ, along it, so

    z(t + h) = z + h (F + s · mean_mask(z, F, s, h)).

The pairs of one neuron push each other: `coupled_multipliers.py`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._linalg import nonzero
from .._types import Scalar


def mean_mask(
    z: Float[Array, "p k"],
    drift: Float[Array, "p k"],
    jump: Float[Array, "p k"],
    step: Scalar,
) -> Float[Array, "p k"]:
    """The mean of 1[z > 0] over a step of z' = F + s 1[z > 0], a number in [0, 1].

    `drift` is F, `jump` is s, `step` is the length of the step in units of time.
    """
    above = drift + jump
    attracts = jump < 0
    # The multiplier that ends the step at zero, and the shares of the step that a pair
    # spends above zero when it crosses downwards and upwards.
    slide = -(z / step + drift) / nonzero(jump)
    down = -z / (step * nonzero(above))
    up = 1 + z / (step * nonzero(drift))
    from_above = jnp.where(
        z + step * above >= 0, 1, jnp.where(attracts & (drift > 0), slide, down)
    )
    from_below = jnp.where(
        z + step * drift <= 0, 0, jnp.where(attracts & (above < 0), slide, up)
    )
    return jnp.clip(jnp.where(z > 0, from_above, from_below), 0, 1)


def damped_mask(
    z: Float[Array, "p k"],
    drift: Float[Array, "p k"],
    pull: Float[Array, "p k"],
    extra: Float[Array, "p k"],
    step: Scalar,
) -> Float[Array, "p k"]:
    """`mean_mask` of pairs that attract, s = −pull ≤ 0, where the drift falls as the
    multiplier rises: F = drift − extra λ, extra ≥ 0. There is one such λ in [0, 1].
    """
    start = z / step
    # Squares of 1e-20 are zero in float32.
    unit = nonzero(jnp.maximum(jnp.abs(start), jnp.abs(drift)) + pull + extra)
    start, drift, pull, extra = (v / unit for v in (start, drift, pull, extra))
    slide = jnp.clip((start + drift) / nonzero(pull + extra), 0, 1)
    held = drift - extra * slide
    # Crossing down, λ (F − pull) = −z/h; crossing up, (1 − λ) F = −z/h.
    above = drift - pull
    root = jnp.sqrt(above**2 + 4 * extra * jnp.maximum(start, 0))
    down = jnp.where(
        above < 0,
        2 * start / nonzero(root - above),
        (above + root) / nonzero(2 * extra),
    )
    below = drift - extra
    root = jnp.sqrt(below**2 - 4 * extra * jnp.minimum(start, 0))
    off = jnp.where(
        below > 0,
        -2 * start / nonzero(root + below),
        (root - below) / nonzero(2 * extra),
    )
    from_above = jnp.where(
        start + drift - extra - pull >= 0, 1, jnp.where(held > 0, slide, down)
    )
    from_below = jnp.where(
        start + drift <= 0, 0, jnp.where(held < pull, slide, 1 - off)
    )
    return jnp.clip(jnp.where(z > 0, from_above, from_below), 0, 1)


def slides(
    drift: Float[Array, "p k"], jump: Float[Array, "p k"], masks: Float[Array, "p k"]
) -> Array:
    """Which pairs end the step on their kink, pushed onto it from both sides."""
    onto = (jump < 0) & (drift > 0) & (drift + jump < 0)
    return onto & (masks > 0) & (masks < 1)
