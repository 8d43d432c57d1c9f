"""Runs whose P(n) is known."""

import numpy as np
from scipy import special

# The paper's grid for n, and a threshold like the one it finds.
GRID = np.arange(1300, 2101, 50)
RUNS = 80
N, S = 1651.0, 35.0


def logistic(n, threshold=N, scale=S):
    return special.expit((threshold - np.asarray(n)) / scale)


def grid_counts(seed):
    return np.random.default_rng(seed).binomial(RUNS, logistic(GRID))


def binomial_error(level, repetitions):
    return np.sqrt(level * (1 - level) / repetitions)


def brute_force(n, k, m, thresholds, scales):
    logit = (thresholds[:, None, None] - n) / scales[:, None]
    return np.sum(
        k * special.log_expit(logit) + (m - k) * special.log_expit(-logit), axis=-1
    )


def simulated(seed, threshold=N, scale=S):
    rng = np.random.default_rng(seed)

    def run(n):
        return rng.random(n.shape) < logistic(n, threshold, scale)

    return run
