"""Statistics on the outcomes of many runs.

With what probability a network converges, where that probability falls from 1 to 0,
which power of n a time follows, which law a threshold N(p) or N(d) obeys, and where the
next runs tell most about a threshold. NumPy and SciPy in float64: nothing here is
traced by JAX, and all that is random is fixed by a `seed`.

Not imported with `jaxflow`, and SciPy is not among its requirements: install the extra
`experiments`, and `from jaxflow import statistics`.
"""

from ._design import ThresholdSearch as ThresholdSearch
from ._design import find_threshold as find_threshold
from ._design import next_points as next_points
from ._exponents import PowerLaw as PowerLaw
from ._exponents import power_law as power_law
from ._laws import LAWS as LAWS
from ._laws import LawFit as LawFit
from ._laws import compare_laws as compare_laws
from ._probability import Proportion as Proportion
from ._probability import compare_proportions as compare_proportions
from ._probability import holm as holm
from ._probability import proportion as proportion
from ._threshold import LackOfFit as LackOfFit
from ._threshold import Threshold as Threshold
from ._threshold import fit_threshold as fit_threshold
from ._threshold import lack_of_fit as lack_of_fit
