"""Gradient descent: ours against (i) autograd, (ii) batched PyTorch, (iii) NumPy."""

import dataclasses
from typing import Any

from . import _contenders
from ._engine import DENSE, ORTHOGONAL, Case
from ._run import Findings
from ._timing import Race, race


@dataclasses.dataclass(frozen=True)
class Parameters:
    orthogonal: Case = ORTHOGONAL
    dense: Case = DENSE
    batch: int = 16
    peer_batches: tuple[int, ...] = (4, 8)
    check_steps: int = 40
    repeats: int = 7
    seconds: float = 1.0


def measure(found: Findings, parameters: Parameters, seed: int) -> None:
    rows, checks = [], []
    for kind in ("orthogonal", "dense"):
        case = getattr(parameters, kind)
        gaps = _contenders.check_answers(case, seed, parameters.check_steps, 2)
        checks += [[case.label(), name, gap] for name, gap in gaps.items()]
        timed = _timed(case, parameters, seed)
        for name in timed.samples:
            spread, ratio = timed.spread(name), timed.ratio(name, "jaxflow")
            rows.append([case.label(), name, spread.scaled(1e6), ratio])
        _targets(found, kind, timed)
    found.table(
        "Gradient descent at learning rate 1, per network and step",
        ["problem", "by", "μs", "time, in ours"],
        rows,
        "Median (least–greatest) of turns taken alternately, all on the same cores. B: "
        "networks side by side.",
    )
    found.table(
        f"The same answer: the loss after {parameters.check_steps} steps",
        ["problem", "by", "relative difference from ours"],
        checks,
    )


def _timed(case: Case, parameters: Parameters, seed: int) -> Race:
    contenders = {"jaxflow": _contenders.engine(case, parameters.batch, seed)}
    contenders |= _contenders.autograd(case, seed)
    for count in parameters.peer_batches:
        many = _contenders.batched(case, seed, count)
        contenders |= {f"{name}, B = {count}": one for name, one in many.items()}
    contenders |= _contenders.plain(case, seed)
    return race(contenders, parameters.repeats, parameters.seconds)


def _targets(found: Findings, kind: str, timed: Race) -> None:
    def target(key: str, prefix: str) -> None:
        names = [name for name in timed.samples if name.startswith(prefix)]
        if names:
            best = timed.best(names)
            found.target(key, timed.ratio(best, "jaxflow"), f"its best: {best}")

    target(f"p_{kind}_i", "autograd")
    target(f"p_{kind}_ii", "batched, B")
    if kind == "orthogonal":
        target("p_orthogonal_ii_projected", "batched, projected")


def tiny() -> Any:
    return Parameters(
        orthogonal=Case("orthogonal", 60, 80, 8),
        dense=Case("sphere", 60, 12, 8),
        batch=2,
        peer_batches=(2,),
        check_steps=8,
        repeats=2,
        seconds=0.01,
    )
