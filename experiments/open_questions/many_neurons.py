"""Many neurons: what do p from log n to n and beyond change, at fixed n and d?

    python -m experiments.open_questions.many_neurons --size full

With the scaling 1/p of the paper. On orthogonal inputs the rate μ_∞ beside the law of
`theory.limiting_curvature_law`; on the sphere the share of networks that reach zero
loss; and on one data set how far L(t) differs between networks, beside what is known
exactly at t = 0. `docs/findings/many_neurons.md` says what comes out.
"""

import dataclasses

import jax
import tyro
import xarray as xr

from ..common.output import read_records
from .common import Question
from .decided import Cell, rows
from .many_neurons_plot import draw
from .many_neurons_runs import curves, predicted, problem, start
from .many_neurons_table import tables


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is simulated.

    - `n`, `widths`: orthogonal inputs, d = n; networks for each width, half as many
      from `n` neurons on. `law`: the least width at which a rate is predicted.
    - `counts`, `d`, `weights`: the sphere. For each of `counts`, p so that there are
      about so many `weights` p d an example.
    - `one`: examples and d on the sphere of the one data set, its widths (up to
      `one_widest` on the sphere, where a run takes longer) and networks.
    """

    n: int
    widths: tuple[int, ...]
    networks: int
    law: int
    counts: tuple[int, ...]
    d: int
    weights: tuple[float, ...]
    seeds: int
    one: tuple[int, int]
    one_widths: tuple[int, ...]
    one_widest: int
    one_networks: int


_FULL = Sizes(
    n=256,
    widths=(8, 12, 16, 24, 32, 64, 128, 256, 512),
    networks=120,
    law=16,
    counts=(32, 64, 128),
    d=12,
    weights=(0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4, 12),
    seeds=20,
    one=(64, 16),
    one_widths=(16, 32, 64, 128, 256, 512),
    one_widest=128,
    one_networks=64,
)
_QUICK = Sizes(
    n=64,
    widths=(24, 64),
    networks=20,
    law=24,
    counts=(16,),
    d=6,
    weights=(1, 4),
    seeds=8,
    one=(32, 16),
    one_widths=(32, 128),
    one_widest=128,
    one_networks=40,
)


@dataclasses.dataclass(frozen=True)
class Config(Question):
    """Many neurons: rate, probability and scatter against p."""

    module = "many_neurons"

    @property
    def sizes(self) -> Sizes:
        return _FULL if self.full else _QUICK

    def cells(self) -> list[tuple[Cell, int]]:
        """Every size of the runs until they are decided, and how many."""
        s = self.sizes
        cells = [
            (Cell("orthogonal", s.n, s.n, p), s.networks // (1 if p < s.n else 2))
            for p in s.widths
        ]
        for n in s.counts:
            widths = sorted({max(2, round(x * n / s.d)) for x in s.weights})
            cells += [(Cell("sphere", n, s.d, p), s.seeds) for p in widths]
        return cells


_KINDS = ("orthogonal", "sphere")


def simulate(config: Config) -> dict[str, xr.Dataset]:
    sizes, runs = config.sizes, config.folder / "runs"
    n, d = sizes.one
    made = {
        "decided": rows(runs / "decided", config.cells(), config.seed),
        "law": predicted(
            runs / "law", sizes.n, [p for p in sizes.widths if p >= sizes.law]
        ),
    }
    for kind in _KINDS:
        own, widths = n, list(sizes.one_widths)
        if kind == "sphere":
            own, widths = d, [p for p in widths if p <= sizes.one_widest]
        rest = (widths, sizes.one_networks, config.seed)
        made[kind] = curves(runs / "curves", kind, n, own, *rest)
        made[kind].attrs = {"n": n, "d": own}
    return made


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    folder = config.folder
    if not config.redraw:
        config.write(**simulate(config))
    decided, law = (read_records(folder, f"{name}.nc") for name in ("decided", "law"))
    networks = {kind: read_records(folder, f"{kind}.nc") for kind in _KINDS}
    starts = {}
    for kind, each in networks.items():
        n, d = int(each.attrs["n"]), int(each.attrs["d"])
        starts[kind] = start(problem(kind, n, d, config.seed), d)
    known = decided, law, networks, starts
    config.publish(lambda: draw(*known), tables(*known))


if __name__ == "__main__":
    main(tyro.cli(Config))
