"""The group initialisation in closed form (Section 4, Proposition 2, Theorem 2).

p groups of k = n/p orthonormal inputs; neuron j is active on group j alone, lies in its
positive cone, and a_j = s_j ‖w_j‖ with s_j the sign of the group's targets. The groups
then do not see each other. For one of them write

    D = ‖D_j‖ = (mean of y_i² over the group)^{1/2},   γ = D/√(np),   x = γt,
    c₀ = cos(w_j(0), s_j y),   q₀ = ‖w_j(0)‖²,   q = ‖w_j‖²,   φ = q/(D √(np)).

The exact solution is

    cos(t) = tanh(x + artanh c₀)                                      (after eq. 52)
    q(t)   = q₀ E / (1 + 2 q₀ J/(D √(np)))                            (after eq. 54)
    L_j(t) = ½ D² (1 − 2 cos φ + φ²)                                  (eq. 68)

    E(x) = (cosh x + c₀ sinh x)²
    J(x) = ∫₀ˣ E = (1+c₀²)/4 · sinh 2x + (c₀/2)(cosh 2x − 1) + (1 − c₀²) x/2.

The paper's eq. 53 has twice the rate that its eq. 52 gives, and eq. 55/67 follow from
it with the integral of E replaced by that of cosh 2x + c₀ sinh 2x: they agree with the
above for c₀ = 1 only. See `docs/errata.md`.

In units of t_n = (√(np)/4) log(np), at τ = t/t_n, everything depends on log(np) alone:
x = D τ log(np)/4. `GroupFlow` therefore takes log(np), and n = 10³⁰⁰ is as good as 10².
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._checks import check_between, check_broadcast, check_positive
from .._types import Number
from ._domains import check_sizes

# Bisection halves its bracket this many times: to the last bit of a float64.
_HALVINGS = 60
# Above this x the formulas in sinh and cosh lose nothing by going to exponentials.
_LARGE = 5.0


def time_scale(n: Number, p: Number) -> Array:
    """t_n = (√(np)/4) log(np), in units of flow time (Theorem 2)."""
    np_ = number_of_pairs(n, p)
    return jnp.sqrt(np_) / 4 * jnp.log(np_)


def number_of_pairs(n: Number, p: Number) -> Array:
    """n p as a float: the product of integers overflows for the n of interest."""
    check_sizes(n=n, p=p)
    dtype = jnp.result_type(float)
    return jnp.asarray(n, dtype) * jnp.asarray(p, dtype)


def transition_time(target_norm: Number) -> Array:
    """t^j = 1/‖D_j^∞‖ in units of t_n: where the loss of group j drops (Theorem 2)."""
    check_sizes(target_norm=target_norm)
    return 1 / jnp.asarray(target_norm)


def window_constant(epsilon: Number) -> Array:
    """C(ε) = [(1−√ε)/√ε] · [√(1−ε)/(1−√(1−ε))], for ε in (0, 1/2). (Above 1/2, where
    the ends of the window have changed places, it is less than 1.)

    With cos = 1 the loss of a group is ε times its first value where φ = 1 − √ε, and
    φ/(1 − φ) grows by a constant factor per unit of x, so this ratio of its values at
    the two ends of the window sets the window's length. It is free of ‖D_j‖.
    """
    check_between("epsilon", epsilon, 0, 1)
    epsilon = jnp.asarray(epsilon)
    low, high = jnp.sqrt(epsilon), jnp.sqrt(1 - epsilon)
    return (1 - low) / low * high / (1 - high)


def window(epsilon: Number, target_norm: Number, log_np: Number) -> Array:
    """(t_n^j(ε) − t_n^j(1−ε))/t_n ~ 2 log C(ε)/(‖D_j‖ log(np)) as n → ∞.

    Theorem 2, with the constant that the closed form gives.
    """
    check_sizes(target_norm=target_norm, log_np=log_np)
    check_broadcast(epsilon=epsilon, target_norm=target_norm, log_np=log_np)
    return 2 * jnp.log(window_constant(epsilon)) / (jnp.asarray(target_norm) * log_np)


class GroupFlow(eqx.Module):
    """The exact flow of one group, at τ = t/t_n ≥ 0.

    All fields and arguments broadcast; everything works under `jit` and `vmap`.

    **Arguments:**

    - `log_np`: log(n p).
    - `target_norm`: ‖D_j‖, the root mean square of the group's targets.
    - `cosine`: c₀ in [0, 1].
    - `squared_norm`: q₀ = ‖w_j(0)‖².
    """

    log_np: Number
    target_norm: Number = 1.0
    cosine: Number = 1.0
    squared_norm: Number = 1.0

    def __check_init__(self) -> None:
        check_sizes(log_np=self.log_np, target_norm=self.target_norm)
        check_between("cosine", self.cosine, 0, 1, ends="[]")
        check_positive("squared_norm", self.squared_norm)
        check_broadcast(
            log_np=self.log_np,
            target_norm=self.target_norm,
            cosine=self.cosine,
            squared_norm=self.squared_norm,
        )

    def phase(self, tau: Number) -> Array:
        """x = γt = ‖D_j‖ τ log(np)/4."""
        check_positive("tau", tau, strictly=False, finite=False)
        return jnp.asarray(tau) * self.target_norm * self.log_np / 4

    def cosine_at(self, tau: Number) -> Array:
        """cos(w_j, s_j y) = (sinh x + c₀ cosh x)/(cosh x + c₀ sinh x)."""
        decay = self._decay(self.phase(tau))
        return (1 - decay) / (1 + decay)

    def log_fraction(self, tau: Number) -> Array:
        """log φ, where φ = ‖w_j‖²/(‖D_j‖ √(np)) tends to 1."""
        x = self.phase(tau)
        c = jnp.asarray(self.cosine)
        log_growth = 2 * (x + jnp.log((1 + c) / 2) + jnp.log1p(self._decay(x)))
        scale = jnp.log(self.squared_norm / jnp.asarray(self.target_norm))
        scale = scale - self.log_np / 2
        return scale + log_growth - self._log_saturation(x, scale)

    def log_squared_norm(self, tau: Number) -> Array:
        """log ‖w_j‖² = log φ + log ‖D_j‖ + log(np)/2."""
        return self.log_fraction(tau) + jnp.log(self.target_norm) + self.log_np / 2

    def relative_loss(self, tau: Number) -> Array:
        """L_j/(½‖D_j‖²) = 1 − 2 cos φ + φ² = (1 − φ)² + 2 (1 − cos) φ."""
        phi = jnp.exp(self.log_fraction(tau))
        decay = self._decay(self.phase(tau))
        return (1 - phi) ** 2 + 4 * decay / (1 + decay) * phi

    def loss(self, tau: Number) -> Array:
        """L_j = (1/2k) Σ r_i² over the group (eq. 68)."""
        relative = self.relative_loss(tau)
        return 0.5 * jnp.asarray(self.target_norm) ** 2 * relative

    def time_at(self, level: Number) -> Array:
        """τ at which the relative loss has fallen to `level` in (0, 1), by bisection.

        NaN where it starts below `level`.
        """
        check_between("level", level, 0, 1)
        target = jnp.asarray(self.target_norm)
        shape = jnp.broadcast_shapes(
            *map(
                jnp.shape,
                (level, self.log_np, target, self.cosine, self.squared_norm),
            )
        )
        level = jnp.broadcast_to(jnp.asarray(level), shape)
        # φ reaches 1/2 where e^{2x} is about D √(np)/q₀; from there on the loss falls
        # by e⁴ per unit of x, to below any level that a float holds.
        log_ratio = jnp.abs(jnp.log(self.squared_norm / target))
        phase = 0.25 * self.log_np + 0.5 * log_ratio + 400.0
        high = jnp.broadcast_to(4 * phase / (target * self.log_np), shape)
        starts_above = self.relative_loss(jnp.zeros_like(high)) > level

        def halve(_: Number, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bracket
            middle = 0.5 * (low + high)
            above = self.relative_loss(middle) > level
            return jnp.where(above, middle, low), jnp.where(above, high, middle)

        low, high = jax.lax.fori_loop(0, _HALVINGS, halve, (jnp.zeros_like(high), high))
        return jnp.where(starts_above, 0.5 * (low + high), jnp.nan)

    def window(self, epsilon: Number) -> Array:
        """τ(ε) − τ(1−ε), the exact length of the transition."""
        check_between("epsilon", epsilon, 0, 1)
        epsilon = jnp.asarray(epsilon)
        return self.time_at(epsilon) - self.time_at(1 - epsilon)

    def limit(self, tau: Number) -> Array:
        """L_j(τ) as n → ∞: ½‖D_j‖² before 1/‖D_j‖, zero after."""
        check_positive("tau", tau, strictly=False, finite=False)
        target = jnp.asarray(self.target_norm)
        return jnp.where(jnp.asarray(tau) < 1 / target, 0.5 * target**2, 0.0)

    def _decay(self, x: Array) -> Array:
        """((1 − c₀)/(1 + c₀)) e^{−2x}."""
        c = jnp.asarray(self.cosine)
        return (1 - c) / (1 + c) * jnp.exp(-2 * x)

    def _log_saturation(self, x: Array, scale: Array) -> Array:
        """log(1 + 2 e^scale J(x))."""
        c = jnp.asarray(self.cosine)
        near = jnp.minimum(x, _LARGE)
        small = (1 + c**2) / 4 * jnp.sinh(2 * near) + c * jnp.sinh(near) ** 2
        small = small + (1 - c**2) * near / 2
        far = jnp.maximum(x, _LARGE)
        # J e^{−2x}, by expanding the hyperbolic functions.
        tail = (1 + c) ** 2 / 8 - (1 - c) ** 2 / 8 * jnp.exp(-4 * far)
        tail = tail + ((1 - c**2) * far - c) / 2 * jnp.exp(-2 * far)
        return jnp.where(
            x < _LARGE,
            jnp.log1p(2 * jnp.exp(scale) * small),
            jnp.logaddexp(0.0, jnp.log(2.0) + scale + 2 * far + jnp.log(tail)),
        )
