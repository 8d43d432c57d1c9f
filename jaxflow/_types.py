"""Names for types that recur: shapes of arrays, and what a user may pass.

Shapes: n examples, d dimensions, p neurons, m coordinates. m is the number of
coordinates that a geometry stores per neuron (d for dense inputs, n for the Gram and
orthogonal ones, n/2 for antipodal ones).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Array, Bool, Float

Examples: TypeAlias = Float[Array, " n"]
Neurons: TypeAlias = Float[Array, " p"]
Weights: TypeAlias = Float[Array, "p m"]
Pairs: TypeAlias = Float[Array, "p n"]
PairMask: TypeAlias = Bool[Array, "p n"]
Scalar: TypeAlias = Float[Array, ""]

# The statistics that a method declares: name → numbers or counts.
Declared: TypeAlias = Mapping[str, type[float] | type[int]]

# What a user may pass. Type checkers read the unions. At run time these are `Any`: the
# tests enforce annotations, and a bad argument has to reach our own checks, which say
# what would work.
if TYPE_CHECKING:
    import jax
    import jax.typing
    import numpy.typing

    # One number, or numbers that broadcast.
    Number: TypeAlias = float | np.number | np.ndarray | Array
    # The rates of w and a.
    LayerRates: TypeAlias = tuple[Number, Number] | Array
    # An array of any library, or nested lists of numbers.
    ArrayLike: TypeAlias = numpy.typing.ArrayLike
    # Several arrays, of different lengths perhaps.
    Arrays: TypeAlias = np.ndarray | Sequence[ArrayLike]
    # One integer, or several.
    Counts: TypeAlias = int | Sequence[int] | np.ndarray | Array
    DTypeLike: TypeAlias = jax.typing.DTypeLike
    # One name, or several.
    Names: TypeAlias = str | Sequence[str]
    # Devices of jax.
    Devices: TypeAlias = Sequence[jax.Device]
else:
    Devices = Any
    Number = LayerRates = ArrayLike = Arrays = Counts = DTypeLike = Names = Any
