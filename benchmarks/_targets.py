"""What the package aims at. A module measures a target under its key."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Target:
    """`claim` with the bound that it must meet.

    `devices`: "cpu" or "gpu", where it is to be measured. `at_most`: whether the bound
    is one from above. `unit` follows the number.
    """

    key: str
    module: str
    claim: str
    bound: float
    unit: str = "×"
    at_most: bool = False
    devices: str = "cpu"

    def met(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound

    def wanted(self) -> str:
        return (
            f"{'≤' if self.at_most else '≥'} {number(self.bound)} {self.unit}".strip()
        )


def number(value: Any) -> str:
    """Three digits, without an exponent where that can be read."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        digits = f"{value:.3g}"
        return digits if "e" not in digits else f"{value:.0f}"
    return f"{value:.2e}"


_ORTHOGONAL = "orthogonal, n = 1500, d = 2000, p = 36"
_DENSE = "dense, n = 2500, d = 100, p = 38"
_SMALL, _LARGE = "n = 2000", "n = 10⁵"

TARGETS = (
    Target(
        "orthogonal_autograd",
        "ensemble",
        f"{_ORTHOGONAL}: network-steps per second against the autograd PyTorch loop",
        500,
    ),
    Target(
        "dense_autograd",
        "ensemble",
        f"{_DENSE}: network-steps per second against the autograd PyTorch loop",
        2.5,
    ),
    Target(
        "dense_product_share",
        "ensemble",
        "the dense step, against the quickest plain form of its two products",
        70,
        "%",
    ),
    Target(
        "figure5_seconds",
        "ensemble",
        "all 500 networks of Figure 5, compilation included",
        60,
        "s",
        at_most=True,
    ),
    Target(
        "figure2_seconds",
        "ensemble",
        "all networks of Figure 2, compilation included",
        900,
        "s",
        at_most=True,
    ),
    Target(
        "padding_percent",
        "ensemble",
        "work that is padding, on Figure 5 and Figure 2",
        15,
        "%",
        at_most=True,
    ),
    Target(
        "compilations",
        "ensemble",
        "compilations for 20 values of n within one bucket",
        1,
        "",
        at_most=True,
    ),
    Target("p_orthogonal_i", "peers", f"{_ORTHOGONAL}: against (i) autograd", 500),
    Target(
        "p_orthogonal_ii",
        "peers",
        f"{_ORTHOGONAL}: against (ii), batched products in R^d",
        100,
    ),
    Target(
        "p_orthogonal_ii_projected",
        "peers",
        f"{_ORTHOGONAL}: against (ii), told that the inputs are orthogonal",
        100,
    ),
    Target("p_dense_i", "peers", f"{_DENSE}: against (i) autograd", 2.5),
    Target("p_dense_ii", "peers", f"{_DENSE}: against (ii) batched", 1.2),
    Target(
        "flow_small",
        "peers",
        f"flow at rtol 1e-5 against our descent at lr 1, orthogonal, {_SMALL}",
        1,
    ),
    Target(
        "flow_large",
        "peers",
        f"flow at rtol 1e-5 against our descent at lr 1, orthogonal, {_LARGE}",
        5,
    ),
    Target(
        "flow_torchdiffeq",
        "peers",
        "flow against torchdiffeq dopri5 at equal error, orthogonal, n = d = 2000",
        50,
    ),
    Target(
        "flow_torchdiffeq_small",
        "peers",
        "flow against torchdiffeq dopri5 at equal error, orthogonal, n = d = 500",
        50,
    ),
    Target(
        "threshold",
        "peers",
        "Figure 2's threshold at equal confidence, against (i) on the paper's grid",
        10,
    ),
    Target(
        "dense_roofline",
        "roofline",
        "dense batched descent, against the float32 matrix product peak",
        50,
        "%",
        devices="gpu",
    ),
    Target(
        "orthogonal_roofline",
        "roofline",
        "orthogonal descent, against the bandwidth of a large copy",
        60,
        "%",
        devices="gpu",
    ),
    Target(
        "figure2_warm",
        "ensemble",
        "all networks of Figure 2, after compilation",
        10,
        "s",
        at_most=True,
        devices="gpu",
    ),
    Target(
        "figure5_warm",
        "ensemble",
        "all 500 networks of Figure 5, after compilation",
        5,
        "s",
        at_most=True,
        devices="gpu",
    ),
    Target(
        "figures_minutes",
        "figures",
        "each of Figures 1 to 5, as the paper's text says, and Figure 2 as printed "
        "(the paper: under 2 hours each on a MacBook Air)",
        120,
        "min",
        at_most=True,
    ),
)
