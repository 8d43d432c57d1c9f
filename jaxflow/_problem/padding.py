"""Padding: a run is computed at the size of a bucket, not at its own.

A run of n examples and p neurons is computed with the next larger sizes n⁺ ≥ n and
p⁺ ≥ p for which there is a bucket (`size_buckets.py`). The rest is filled up with
examples that are the zero vector, with target 0, and neurons that are zero, with a = 0.
Every mean still divides by n and p. Such a pair has z_ji = 0 and r_i a_j = 0: it adds
exactly 0 to every sum and never moves, so padding changes no number but by rounding.

One compiled program so serves every n and p of a bucket. And since the bucket depends
on n and p alone, a run has the same bits whether it is alone or one of thousands.
"""

from jaxtyping import Array

from .._linalg import extend
from .run_problem import Problem
from .size_buckets import bucket_size, row_bucket_size


def pad(problem: Problem, weights: Array, a: Array) -> tuple[Problem, Array, Array]:
    """A problem and its network at the sizes of their bucket.

    weights (p, m) → (p⁺, m⁺), a (p,) → (p⁺,); m⁺ follows from n⁺ where the geometry
    stores something per example, and is m = d for dense inputs.
    """
    # Antipodal examples are two blocks, (+, −), and each block is padded at its end:
    # example i and its opposite must stay n⁺/2 apart.
    inputs = problem.inputs
    blocks = inputs.blocks
    n = blocks * row_bucket_size(inputs.num_examples // blocks)
    p = bucket_size(a.shape[0])
    wide = inputs.padded(n, p)
    padded = Problem(
        inputs=wide,
        targets=resized(problem.targets, blocks, n),
        offset=extend(problem.offset, 0, p),
        n=problem.n,
        p=problem.p,
        slope=problem.slope,
        rates=problem.rates,
    )
    weights = extend(extend(weights, 1, wide.num_coordinates), 0, p)
    return padded, weights, extend(a, 0, p)


def resized(examples: Array, blocks: int, n: int) -> Array:
    """The last axis, in blocks, each cut or filled up with zeros to n/blocks."""
    split = examples.reshape(*examples.shape[:-1], blocks, -1)
    size = n // blocks
    if size > split.shape[-1]:
        split = extend(split, split.ndim - 1, size)
    return split[..., :size].reshape(*examples.shape[:-1], n)
