"""The size at which a run is computed.

A run of n examples and p neurons is computed at the next sizes of a fixed ladder, with
examples that are the zero vector (target 0) and neurons that are zero (a = 0), while
averages go on dividing by n and p. Such pairs have z = 0 and never move. One compiled
program so serves every n and p between two rungs, and since the rung depends on n and p
alone, a run has the same bits whether it is alone or one of thousands.
"""

from jaxtyping import Array

from .._linalg import extend
from .run_problem import Problem
from .size_buckets import bucket_size, row_bucket_size


def pad(problem: Problem, weights: Array, a: Array) -> tuple[Problem, Array, Array]:
    """A problem and its network, weights (p, m) and a (p,), at the ladder's sizes."""
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
