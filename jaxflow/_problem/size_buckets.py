"""The sizes at which things are computed, so that one compiled program serves many.

Compiling a run takes seconds, computing a small one milliseconds. So sizes are rounded
up to few: those of at most five binary digits before their zeros.
"""

# Sizes of networks are then …, 31, 32, 34, …, 62, 64, 68, … Less than 1/17 of the
# examples and of the neurons are padding, so less than an eighth of the pairs.
_DIGITS = 5
# 4 KiB in numbers of float64, and a line of the cache in numbers of float32.
_PAGE, _LINE = 512, 16


def bucket_size(count: int, digits: int = _DIGITS) -> int:
    """The least number that holds `count` and has at most so many binary digits before
    its zeros."""
    step = 1 << max(0, (count - 1).bit_length() - digits)
    return -(-count // step) * step


def row_bucket_size(count: int) -> int:
    """The same for the numbers that lie side by side in memory. Rows that are apart by
    a multiple of 4 KiB fall on the same lines of a CPU's cache, which makes sums over
    rows up to four times as slow; 16 numbers more avoid that."""
    size = bucket_size(count)
    return size + _LINE if size % _PAGE == 0 else size
