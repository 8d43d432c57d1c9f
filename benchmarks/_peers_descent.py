"""Gradient descent: ours against (i) autograd, (ii) batched PyTorch, (iii) NumPy."""

import dataclasses
from typing import Any

from . import _contenders, _machine
from ._engine import DENSE, ORTHOGONAL, Case
from ._run import Findings
from ._targets import number
from ._timing import Race, race

# The loop as it would be at best; the name of a row that is computed.
PER_CORE = "autograd, one process per core (at best: its time on 1 thread / cores)"


@dataclasses.dataclass(frozen=True)
class Parameters:
    orthogonal: Case = ORTHOGONAL
    dense: Case = DENSE
    batch: int = 16
    peer_batches: tuple[int, ...] = (4, 8)
    check_steps: int = 40
    checked: int = 3
    """Different networks whose answers are compared."""
    repeats: int = 7
    seconds: float = 1.0


def measure(found: Findings, parameters: Parameters, seed: int) -> None:
    rows, checks = [], []
    for kind in ("orthogonal", "dense"):
        case = getattr(parameters, kind)
        steps, count = parameters.check_steps, parameters.checked
        gaps = _contenders.check_answers(case, seed, steps, count)
        losses = _contenders.check_losses(case, seed, steps, count)
        checks += [[case.label(), name, gaps[name], losses[name]] for name in gaps]
        timed = with_bound(_timed(case, parameters, seed))
        for name in timed.samples:
            spread, ratio = timed.spread(name), timed.ratio(name, "jaxflow")
            rows.append([case.label(), name, spread.scaled(1e6), ratio])
        _targets(found, kind, timed)
    found.table(
        "Gradient descent at learning rate 1, per network and step",
        ["problem", "by", "μs", "time, in ours"],
        rows,
        "Median (least–greatest) of turns taken alternately, all on the same cores. B: "
        "networks side by side. Ours runs one network on each core, the loop one on "
        "all. With a process of its own on each core it would take at least its time "
        "on 1 thread over the number of cores: that row is computed, not measured, and "
        "leaves out what the processes take from each other.",
    )
    found.table(
        f"The same answer after {parameters.check_steps} steps",
        ["problem", "by", "L, w or a in float64", "L in float32"],
        checks,
        "The largest difference from ours, relative to the norm of ours, over "
        f"{parameters.checked} different networks. In float32 a preactivation within "
        "rounding of zero may be active for one and not for another, which moves w.",
    )


def _timed(case: Case, parameters: Parameters, seed: int) -> Race:
    contenders = {"jaxflow": _contenders.engine(case, parameters.batch, seed)}
    contenders |= _contenders.autograd(case, seed)
    for count in parameters.peer_batches:
        contenders |= _contenders.batched(case, seed, count)
    contenders |= _contenders.plain(case, seed)
    return race(contenders, parameters.repeats, parameters.seconds)


def with_bound(timed: Race) -> Race:
    """With the least that the loop could take if each core had a process of its own."""
    alone = timed.samples.get(_contenders.autograd_on(1))
    if alone is None:
        return timed
    bound = [t / _machine.cores() for t in alone]
    return Race(timed.samples | {PER_CORE: bound})


def _targets(found: Findings, kind: str, timed: Race) -> None:
    named = lambda prefix: {n for n in timed.samples if n.startswith(prefix)}
    projected = named("batched, projected")
    peers = {
        f"p_{kind}_i": named("autograd") - {PER_CORE},
        f"p_{kind}_ii": named("batched") - projected,
        f"p_{kind}_ii_projected": projected,
    }
    for key, names in peers.items():
        if not names:
            continue
        best = timed.best(sorted(names))
        remark = f"its best: {best}"
        if PER_CORE in timed.samples and key == f"p_{kind}_i":
            bound = timed.ratio(PER_CORE, "jaxflow").median
            remark += (
                f"; against one process per core at best {number(bound)} × (its time "
                f"on 1 thread / {_machine.cores()}: a bound, not measured)"
            )
        found.target(key, timed.ratio(best, "jaxflow"), remark)


def tiny() -> Any:
    return Parameters(
        orthogonal=Case("orthogonal", 60, 80, 8),
        dense=Case("sphere", 60, 12, 8),
        batch=2,
        peer_batches=(2,),
        check_steps=8,
        checked=2,
        repeats=2,
        seconds=0.01,
    )
