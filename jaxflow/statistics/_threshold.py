"""The n at which half of the runs converge.

    P(n) = 1/(1 + exp((n − N)/s)),  s ≥ 0,

s = 0 being the step at N. With β = 1/s and α = βN the log-likelihood is concave in
(α, β), and {α ≤ βN} is a half-plane: so the values of N, or of s, whose profile
likelihood exceeds a level are an interval, and bisection finds its ends.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import optimize, special, stats

from .._checks import check_choice, check_count
from .._types import ArrayLike
from ._arrays import as_counts, as_numbers, broadcast, check_between, pool


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A fit of P(n) = 1/(1 + exp((n − N)/s)).

    - `estimate`, `low`, `high`: N and its interval, in units of n.
    - `scale`, `scale_low`, `scale_high`: s and its interval, in units of n. P falls
      from 0.88 to 0.12 over 4 s.
    - `log_likelihood`: its maximum, for the single runs: no binomial coefficients.
    - `confidence`: of each interval on its own.
    - `separated`: whether some N splits the runs: all below it converged, none above.
      The most likely s is then 0.
    - `interval`: how the intervals were found: `"profile"`, `"bootstrap"`, or, by
      `find_threshold`, `"posterior"`; N and s are then the posterior medians.
    """

    estimate: float
    low: float
    high: float
    scale: float
    scale_low: float
    scale_high: float
    log_likelihood: float
    confidence: float
    separated: bool
    interval: str

    @property
    def relative_half_width(self) -> float:
        """(high − low)/(2 |N|); infinite if an end or the estimate is."""
        if not np.isfinite(self.high - self.low) or not np.isfinite(self.estimate):
            return float("inf")
        return (self.high - self.low) / (2 * max(abs(self.estimate), 1e-300))

    def probability(self, n: ArrayLike) -> np.ndarray:
        """P(n), in the shape of `n`; nan where P does not fall, so that N and s do not
        tell it."""
        distance = self.estimate - as_numbers("n", n)
        if np.isposinf(self.scale):
            return np.full_like(distance, np.nan)
        if self.scale == 0 or np.isinf(self.estimate):
            return np.heaviside(distance, 0.5)
        return special.expit(distance / self.scale)


def fit_threshold(
    n: ArrayLike,
    successes: ArrayLike,
    trials: ArrayLike = 1,
    confidence: float = 0.95,
    *,
    interval: str = "profile",
    resamples: int = 1000,
    seed: int = 0,
) -> Threshold:
    """The most likely N and s in P(n) = 1/(1 + exp((n − N)/s)), with intervals.

    For a probability that rises, pass the failures as `successes`.

    `interval="profile"`: every N with max_s ℓ(N, s) ≥ ℓ_max − q/2, q the `confidence`
    quantile of χ² with one degree of freedom; s likewise. `interval="bootstrap"`: the
    percentiles of N and s refitted to `resamples` data sets drawn from the fit.

    Data that do not fix both numbers:

    - Separated, all converging up to n = a and none from n = b on: every N in [a, b]
      with s = 0 is equally likely. `estimate` is the midpoint, or, if a = b with some
      runs there on either side, a itself. The profile interval contains [a, b], and
      reaches beyond it unless the runs at a and b are enough to reject
      P(a) ≤ 1/2 ≤ P(b): three runs at each are, at 95 %. `scale_low` is 0.
    - All runs converged: `estimate` and `high` are inf and `low` is finite, if there
      are at least three runs at 95 %. `scale` is nan, and its interval [0, inf]. All
      failed: the mirror image, with −inf.
    - P does not fall: the likelihood is largest for s → ∞, `scale` is inf, and
      `estimate` is inf where more than half of the runs converged, −inf where fewer
      did, nan at exactly half.

    A bootstrap has nothing to draw from in these cases: the intervals then come from
    the profile, and the field `interval` says so.

    The intervals hold for independent runs. Values of n that share random seeds give an
    interval which is somewhat off, to either side.

    **Arguments:**

    - `n`: shape (m,), any real numbers, at least two distinct; repeats are added up.
    - `successes`: shape (m,), how many of the runs at each n converged; booleans if
      there is one run per entry.
    - `trials`: shape (m,) or one number, integers ≥ 1.
    - `confidence`: strictly between 0 and 1.
    - `interval`: `"profile"` or `"bootstrap"`; `resamples` ≥ 1 and `seed` belong to
      the latter.

    **Raises:** ValueError for input outside these ranges.
    """
    check_choice("interval", interval, ("profile", "bootstrap"))
    confidence = check_between("confidence", confidence, 0, 1)
    data = Counts.collect(n, successes, trials)
    if len(data.n) < 2:
        raise ValueError(
            f"n must have at least two distinct values, got only {data.n.tolist()}."
        )
    peak = data.peak()
    regular = np.isfinite(peak.N) and 0 < peak.s < np.inf
    if interval == "bootstrap" and regular:
        resamples = check_count("resamples", resamples)
        (low, high), (scale_low, scale_high) = _bootstrap(
            data, peak, confidence, resamples, seed
        )
    else:
        interval = "profile"
        level = peak.value - stats.chi2.ppf(confidence, 1) / 2
        low, high = _threshold_interval(data, peak, level)
        scale_low, scale_high = _scale_interval(data, peak, level)
    return Threshold(
        estimate=float(peak.N),
        low=float(low),
        high=float(high),
        scale=float(peak.s),
        scale_low=float(scale_low),
        scale_high=float(scale_high),
        log_likelihood=float(peak.value),
        confidence=confidence,
        separated=bool(data.last_success <= data.first_failure),
        interval=interval,
    )


@dataclasses.dataclass(frozen=True)
class LackOfFit:
    """How far shares lie from a fitted P(n).

    - `deviance`: 2 Σ over n of k log(k/(m P)) + (m − k) log((m − k)/(m (1 − P))).
    - `degrees`: how many values of n there are beyond the two that fix N and s.
    - `p_value`: of a χ² with so many degrees at least as large; nan with none. It
      needs several runs at most n.
    """

    deviance: float
    degrees: int
    p_value: float


def lack_of_fit(
    fit: Threshold, n: ArrayLike, successes: ArrayLike, trials: ArrayLike = 1
) -> LackOfFit:
    """Whether P(n) is logistic at all: the deviance of a fit to these runs.

    Where it is not, N of the fit depends on which n were run, and is not quite where
    half of the runs converge. Arguments as for `fit_threshold`, which raises the
    same errors; `fit` is what that returned for them.
    """
    data = Counts.collect(n, successes, trials)
    k, m, P = data.successes, data.trials, fit.probability(data.n)
    terms = special.rel_entr(k, m * P) + special.rel_entr(m - k, m * (1 - P))
    deviance, degrees = float(2 * terms.sum()), len(data.n) - 2
    p_value = float(stats.chi2.sf(deviance, degrees)) if degrees > 0 else np.nan
    return LackOfFit(deviance, degrees, p_value)


@dataclasses.dataclass(frozen=True)
class Peak:
    """The most likely N and s, and the log-likelihood there."""

    N: float
    s: float
    value: float


@dataclasses.dataclass(frozen=True)
class Counts:
    """`successes` of `trials` at each of the increasing `n`."""

    n: np.ndarray
    successes: np.ndarray
    trials: np.ndarray

    @staticmethod
    def collect(n: ArrayLike, successes: ArrayLike, trials: ArrayLike) -> "Counts":
        """From what a user passes in; may be empty."""
        n = as_numbers("n", n, ndim=1)
        k, m = as_counts("successes", successes, "trials", trials)
        k, m, _ = broadcast(("successes", k), ("trials", m), ("n", n))
        if k.shape != n.shape:
            raise ValueError(
                f"successes and trials must have the shape of n, {n.shape}, or be one "
                f"number; got {k.shape}."
            )
        return Counts(*pool(n, k, m))

    @property
    def total(self) -> float:
        return float(self.trials.sum())

    @property
    def mean(self) -> float:
        return float(self.successes.sum() / self.total)

    @property
    def span(self) -> float:
        return float(self.n[-1] - self.n[0])

    @property
    def last_success(self) -> float:
        return float(np.max(self.n[self.successes > 0], initial=-np.inf))

    @property
    def first_failure(self) -> float:
        return float(np.min(self.n[self.successes < self.trials], initial=np.inf))

    def log_likelihood(self, logit: np.ndarray) -> np.ndarray:
        """Σ k log P + (m − k) log(1 − P), over the last axis of log(P/(1 − P))."""
        # log(1 − P) = log P − logit.
        terms = self.trials * special.log_expit(logit)
        return np.sum(terms - (self.trials - self.successes) * logit, axis=-1)

    def flat(self, probability: float) -> float:
        """The log-likelihood of a P that does not depend on n."""
        k, m = self.successes.sum(), self.total
        return float(
            special.xlogy(k, probability) + special.xlog1py(m - k, -probability)
        )

    def peak(self) -> Peak:
        """The maximum over N and s ≥ 0, or its limit where there is none."""
        a, b = self.last_success, self.first_failure
        if a < b:
            middle = (a + b) / 2
            return Peak(middle, 0.0 if np.isfinite(middle) else np.nan, 0.0)
        if a == b:
            k, m = self.successes[self.n == a][0], self.trials[self.n == a][0]
            inside = special.xlogy(k, k / m) + special.xlogy(m - k, 1 - k / m)
            return Peak(a, 0.0, float(inside))
        # d/dβ at β = 0 of a concave function: where it is not positive, β = 0 is best.
        x = (self.n - self.n.mean()) / self.span
        if np.sum((self.successes - self.trials * self.mean) * x) >= 0:
            sign = np.sign(self.mean - 0.5)
            return Peak(sign * np.inf if sign else np.nan, np.inf, self.flat(self.mean))
        intercept, slope, value = self._newton(x)
        s = self.span / slope
        return Peak(float(self.n.mean() + intercept * s), float(s), float(value))

    def _newton(self, x: np.ndarray) -> tuple[float, float, float]:
        """The maximum in (α, β) with logit P = α − βx, where both are finite."""
        features = np.stack([np.ones_like(x), -x])
        parameters = np.array([special.logit(self.mean), 0.0])
        value = self.log_likelihood(parameters @ features)
        for _ in range(200):
            p = special.expit(parameters @ features)
            gradient = features @ (self.successes - self.trials * p)
            hessian = (features * (self.trials * p * (1 - p))) @ features.T
            step = np.linalg.solve(hessian, gradient)
            if gradient @ step < 1e-12:
                break
            # Newton's full step may overshoot; the function is concave, so that a
            # fraction of it always climbs.
            fraction = 1.0
            while (
                new := self.log_likelihood((parameters + fraction * step) @ features)
            ) < value and fraction > 1e-12:
                fraction /= 2
            parameters, value = parameters + fraction * step, new
        return float(parameters[0]), float(parameters[1]), float(value)

    def profile_threshold(self, N: float) -> float:
        """max_s ℓ(N, s)."""
        u = N - self.n
        slope = lambda beta: float(
            np.sum(u * (self.successes - self.trials * special.expit(beta * u)))
        )
        if slope(0.0) <= 0:
            return self.flat(0.5)
        if np.all(
            np.where(u > 0, self.successes == self.trials, self.successes == 0)[u != 0]
        ):
            # N splits the runs: s = 0, and what lies at N itself has P = 1/2.
            return float(np.sum(self.trials[u == 0]) * np.log(0.5))
        beta = _root_beyond(slope, 0.0, 1 / np.max(np.abs(u)))
        return float(self.log_likelihood(beta * u))

    def profile_scale(self, s: float) -> float:
        """max_N ℓ(N, s), for 0 < s < ∞, if not all runs ended alike."""
        x = (self.n - self.n[0]) / s
        slope = lambda alpha: float(
            np.sum(self.successes - self.trials * special.expit(alpha - x))
        )
        # So far out every P is below, or above, what one run in all could mean.
        reach = 5 + np.log(self.total)
        alpha = optimize.brentq(slope, -reach, x[-1] + reach)
        return float(self.log_likelihood(alpha - x))


def _root_beyond(f: Callable[[float], float], start: float, step: float) -> float:
    """Where f, positive at `start`, changes sign in the direction of `step`."""
    inside, outside = start, start + step
    while f(outside) >= 0:
        step *= 2
        inside, outside = outside, outside + step
    # Some of the functions jump to below zero, where the method only bisects.
    tolerance = 1e-10 * abs(step)
    return float(optimize.brentq(f, inside, outside, xtol=tolerance, maxiter=500))


def _threshold_interval(data: Counts, peak: Peak, level: float) -> tuple[float, float]:
    """The N whose profile likelihood is at least `level`."""

    def excess(N: float) -> float:
        # At a = b the peak is a limit: N → a, s → 0 at a fixed (N − a)/s.
        value = peak.value if peak.N == N else data.profile_threshold(N)
        return value - level

    # For N → ∞ the best s grows with N, and P becomes a constant ≥ 1/2.
    open_above = data.flat(max(data.mean, 0.5)) >= level
    open_below = data.flat(min(data.mean, 0.5)) >= level
    inside = peak.N
    if not np.isfinite(inside):
        inside = data.n[-1] if peak.N > 0 else data.n[0]
        step = np.copysign(data.span, peak.N)
        while not (open_above and open_below) and excess(inside) < 0:
            inside, step = inside + step, 2 * step
    low = -np.inf if open_below else _root_beyond(excess, inside, -data.span)
    high = np.inf if open_above else _root_beyond(excess, inside, data.span)
    return low, high


def _scale_interval(data: Counts, peak: Peak, level: float) -> tuple[float, float]:
    """The s whose profile likelihood is at least `level`."""
    if data.mean in (0.0, 1.0):
        return 0.0, np.inf
    excess = lambda log_s: data.profile_scale(np.exp(log_s)) - level
    # Whether s → 0 and s → ∞ are in the interval.
    sharp = data.last_success <= data.first_failure
    wide = data.flat(data.mean) >= level
    if sharp and wide:
        return 0.0, np.inf
    if 0 < peak.s < np.inf:
        inside = np.log(peak.s)
    else:
        # The peak is at s = 0 or s = ∞: any s close enough to it is inside.
        inside = np.log(data.span)
        while excess(inside) < 0:
            inside += -1.0 if peak.s == 0 else 1.0
    low = 0.0 if sharp else np.exp(_root_beyond(excess, inside, -0.5))
    high = np.inf if wide else np.exp(_root_beyond(excess, inside, 0.5))
    return low, high


def _bootstrap(
    data: Counts, peak: Peak, confidence: float, resamples: int, seed: int
) -> np.ndarray:
    """Percentiles of N, then of s, over data drawn from the fit."""
    rng = np.random.default_rng(seed)
    p = special.expit((peak.N - data.n) / peak.s)
    draws = rng.binomial(data.trials.astype(int), p, (resamples, len(p)))
    peaks = [Counts(data.n, k.astype(float), data.trials).peak() for k in draws]
    tail = (1 - confidence) / 2
    # Some N may be infinite, between which nothing can be interpolated.
    return np.nanquantile(
        np.array([(new.N, new.s) for new in peaks]),
        [tail, 1 - tail],
        axis=0,
        method="inverted_cdf",
    ).T
