"""How near gradient descent is to what this machine can do.

    python -m benchmarks.roofline [--size quick]

In the same run: a large matrix product, the products of a dense step alone, and passes
over a large array and over one that stays in a cache. Against those: the flop per
second of dense descent, the bytes per second of orthogonal descent, and which compiled
operations the time went to.
"""

import dataclasses
import functools
from typing import Any

from . import _kernels, _machine, _run
from ._contenders import engine
from ._engine import DENSE, ORTHOGONAL, Case
from ._profile import profile
from ._timing import race

# A step of orthogonal descent must read the weights for the residuals, read them again
# for the step that depends on all of those, and write them.
_PASSES = 3


@dataclasses.dataclass(frozen=True)
class Parameters:
    dense: Case = DENSE
    orthogonal: tuple[Case, ...] = (ORTHOGONAL, Case("orthogonal", 100_000, 100_000))
    batches: tuple[int, ...] = (8, 1)
    """Networks per core of the orthogonal cases."""
    dense_batch: int = 8
    product: int = 3000
    large: int = 2**26
    cached: int = 2**16
    """Numbers per pass; 2¹⁶ are 256 KiB."""
    repeats: int = 5
    seconds: float = 1.0


PARAMETERS = {
    "full": Parameters(),
    "quick": Parameters(
        dense=Case("sphere", 300, 20, 31),
        orthogonal=(Case("orthogonal", 300, 300, 31), Case("orthogonal", 3000, 3000)),
        batches=(2, 1),
        dense_batch=2,
        product=500,
        large=2**20,
        repeats=3,
        seconds=0.1,
    ),
    "gpu": Parameters(
        batches=(512, 8),
        dense_batch=512,
        product=8192,
        large=2**29,
        cached=2**21,
        seconds=0.5,
    ),
}


def measure(parameters: Parameters, seed: int) -> _run.Findings:
    found = _run.Findings()
    dense, cases = parameters.dense, parameters.orthogonal
    shape = (dense.n, dense.d, dense.width, parameters.dense_batch)
    forms, flop = _kernels.own_products(*shape)
    forms = {f"its products, W with {name}": one for name, one in forms.items()}
    kernels = {
        f"product, {parameters.product}²": _kernels.square_product(parameters.product),
        "pass over a large array": _kernels.pass_over(parameters.large),
        "pass within a cache": _kernels.pass_over(parameters.cached),
    }
    contenders = {name: kernel for name, (kernel, _) in kernels.items()} | forms
    contenders[dense.label()] = engine(dense, parameters.dense_batch, seed)
    for case, batch in zip(cases, parameters.batches, strict=True):
        contenders[case.label()] = engine(case, batch, seed)
    timed = race(contenders, parameters.repeats, parameters.seconds)
    work = {name: amount for name, (_, amount) in kernels.items()}
    work |= dict.fromkeys([*forms, dense.label()], flop)
    work |= {c.label(): 4.0 * _PASSES * c.n * c.width for c in cases}

    def rate(name: str) -> Any:
        # Kernels that run on every core at once are counted per core by `race`, which
        # so sees the machine's rate.
        return timed.spread(name).inverse(work[name] / 1e9)

    square, large, cached = kernels
    own = timed.best(list(forms))
    rows = []
    for name in (square, *forms, dense.label()):
        peak, plain = (timed.spread(k).median for k in (square, own))
        share = work[name] / timed.spread(name).median
        rows.append(
            [
                name,
                rate(name),
                100 * share / (work[square] / peak),
                100 * share / (flop / plain),
            ]
        )
    found.table(
        "Arithmetic (float32, exact)",
        ["what", "GFlop/s", "% of the large product", "% of its quickest products"],
        rows,
        "Its products: the two of a dense step alone, in several plain forms.",
    )
    rows = []
    for name in (large, cached, *(case.label() for case in cases)):
        bytes_per_second = work[name] / timed.spread(name).median
        against = [
            100 * bytes_per_second / (work[k] / timed.spread(k).median)
            for k in (large, cached)
        ]
        rows.append([name, rate(name), *against])
    found.table(
        "Memory",
        ["what", "GB/s", "% of the large pass", "% of the cached pass"],
        rows,
        f"A step of orthogonal descent is counted as {_PASSES} n p numbers: two "
        "readings and one writing of the weights. Where they stay in a cache, more "
        "than 100 % of the large pass is possible.",
    )
    _profiles(found, contenders, [dense.label(), *(c.label() for c in cases)])
    if not _machine.on_cpu():
        quickest = timed.ratio(square, dense.label())
        found.target(
            "dense_roofline", quickest.scaled(100 * work[dense.label()] / work[square])
        )
        largest = max((case.label() for case in cases), key=lambda name: work[name])
        passes = timed.ratio(large, largest)
        found.target(
            "orthogonal_roofline",
            passes.scaled(100 * work[largest] / work[large]),
            largest,
        )
    return found


def _profiles(found: _run.Findings, contenders: Any, names: list[str]) -> None:
    rows = [
        [name, operation, share]
        for name in names
        for operation, share in profile(functools.partial(contenders[name].advance, 50))
    ]
    note = "From the profiler of JAX, 50 steps."
    if rows:
        header = ["dynamics", "compiled operation", "% of the time"]
        found.table("Where the time goes", header, rows, note)


if __name__ == "__main__":
    _run.main("roofline", PARAMETERS, measure, __doc__)
