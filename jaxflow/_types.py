"""Names for the shapes that recur: n examples, d dimensions, p neurons, m coordinates.

m is the number of coordinates that a geometry stores per neuron (d for dense inputs,
n for the Gram and orthogonal ones, n/2 for antipodal ones).
"""

from typing import TypeAlias

from jaxtyping import Array, Bool, Float

Examples: TypeAlias = Float[Array, " n"]
Neurons: TypeAlias = Float[Array, " p"]
Weights: TypeAlias = Float[Array, "p m"]
Pairs: TypeAlias = Float[Array, "p n"]
PairMask: TypeAlias = Bool[Array, "p n"]
Scalar: TypeAlias = Float[Array, ""]
