"""Conjecture 1: does ⟨μ_∞⟩ fall as C₂/√n, and what is C₂?

    python -m experiments.open_questions.conjecture --size full

Networks of p = c log(n/ε)/log(4/3) neurons (c = 1 is the paper's width rule) and of p
fixed, trained on n orthogonal inputs until they have converged. √n μ_∞ = 2√n λ_min of
the tangent kernel is laid beside `theory.limiting_curvature_law`, which fits nothing,
and beside what the paper measured, μ(t_∞) and ⟨μ(t_∞)⟩. `docs/findings/conjecture_1.md`
says what comes out.
"""

import dataclasses
from collections.abc import Iterator

import jax
import tyro
import xarray as xr

from ..common.output import read_records
from .common import Question
from .conjecture_plot import draw
from .conjecture_runs import FOLLOWED, SETTLED, Cell, cell, predicted, simulated
from .conjecture_table import tables

# Networks for each n, up to c = 2 and for p fixed; from 10⁴ on fewer at larger c, where
# they scatter less, but ten at least, and a hundred up to 10⁴.
_FULL = {100: 400, 1000: 400, 10_000: 200, 100_000: 260, 1_000_000: 10}
_QUICK = {100: 40, 1000: 40}
# c = 8 and p fixed are too much, or do not cover the examples, beyond.
_LARGEST = 100_000
# The prediction alone.
_FAR = (100, 1000, 10**4, 10**5, 10**6, 10**9, 10**12)


@dataclasses.dataclass(frozen=True)
class Config(Question):
    """Conjecture 1: √n μ_∞ against n and p."""

    module = "conjecture"
    name = "conjecture_1"

    sizes: tuple[int, ...] = ()
    """n, of those that `size` has; by default all of them."""
    c: tuple[float, ...] = ()
    """p = c log(n/ε)/log(4/3); by default what `size` says."""
    width: int = 40
    """The fixed p."""
    networks: tuple[int, ...] = ()
    """How many for each of `sizes`; by default what `size` says."""

    def __post_init__(self) -> None:
        known = _FULL if self.full else _QUICK
        if unknown := set(self.sizes) - set(known):
            raise ValueError(
                f"sizes must be among {sorted(known)}, got {sorted(unknown)}."
            )
        if self.networks and len(self.networks) != len(self.sizes):
            raise ValueError(
                f"networks must be one number for each of sizes = {self.sizes}, got "
                f"{self.networks}."
            )
        if any(count < 8 for count in self.networks):
            raise ValueError(f"networks must be 8 at least, got {self.networks}.")
        if any(c <= 0 for c in self.c):
            raise ValueError(f"c must be positive, got {self.c}.")

    @property
    def rules(self) -> list[str]:
        default = (1, 1.5, 2, 4, 8) if self.full else (1, 2)
        return [f"c = {c:g}" for c in self.c or default] + [f"p = {self.width}"]

    @property
    def counts(self) -> dict[int, int]:
        """n, and how many networks."""
        known = _FULL if self.full else _QUICK
        sizes = self.sizes or tuple(known)
        networks = self.networks or tuple(known[n] for n in sizes)
        return dict(sorted(zip(sizes, networks, strict=True)))

    def cells(self) -> Iterator[tuple[Cell, int]]:
        """Every size, small n first, and how many networks."""
        for n, networks in self.counts.items():
            for rule in self.rules:
                kind, value = rule.split(" = ")
                c = float(value) if kind == "c" else 1.0
                if n > _LARGEST and (kind == "p" or c > 4):
                    continue
                fewer = round(networks * min(1, 2 / c)) if n >= 10_000 else networks
                least = 100 if n == 10_000 else 10
                yield cell(n, rule), max(fewer, min(networks, least))
            if n <= 1000 and self.full:
                for rule in ("c = 1", "c = 2"):
                    if rule in self.rules:
                        yield cell(n, rule, "orthonormal"), networks

    def followed(self) -> list[tuple[Cell, int]]:
        """The paper's width rule, for what the paper measured."""
        sizes = {1000: 20, 2000: 20}
        if self.full:
            sizes = {100: 200, 1000: 200, 2000: 200, 10_000: 50}
        most = max(self.counts.values())
        return [(cell(n, "c = 1"), min(count, most)) for n, count in sizes.items()]

    def far(self) -> list[Cell]:
        widths = [rule for rule in self.rules if rule.startswith("c")]
        far = _FAR if self.full else _FAR[:3:2]
        cells = [cell(n, rule) for rule in widths for n in far]
        cells += [each for each, _ in self.followed()]
        cells += [each for each, _ in self.cells()]
        # Two rules may give one width.
        return list({each.name: each for each in cells}.values())


def simulate(config: Config) -> dict[str, xr.Dataset]:
    networks = 300 if config.full else 60
    folder = config.folder
    return {
        "settled": simulated(
            folder / "runs" / "settled", list(config.cells()), SETTLED, config.seed
        ),
        "followed": simulated(
            folder / "runs" / "followed", config.followed(), FOLLOWED, config.seed
        ),
        "predicted": predicted(folder / "runs" / "law", config.far(), networks),
    }


def main(config: Config) -> None:
    jax.config.update("jax_enable_x64", True)
    if not config.redraw:
        config.write(**simulate(config))
    names = ("settled", "followed", "predicted")
    records = {name: read_records(config.folder, f"{name}.nc") for name in names}
    config.publish(lambda: draw(**records), tables(**records))


if __name__ == "__main__":
    main(tyro.cli(Config))
