"""What `simulate_ensemble` sustains, and how long the paper's ensembles take.

    python -m benchmarks.ensemble [--size quick]

Network-steps per second against `simulate` one network at a time and against the
autograd loop in PyTorch, in turns; the dense step against a plain matrix product of its
shape, and what the rest of it is spent on; the networks of Figures 5 and 2 in a fresh
process; padding and compilations.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

import jaxflow
from jaxflow._problem.size_buckets import bucket_size, row_bucket_size

from . import _kernels, _pieces, _process, _run
from ._contenders import autograd, engine, one_at_a_time
from ._engine import DENSE, ORTHOGONAL, Case
from ._timing import Spread, race


@dataclasses.dataclass(frozen=True)
class Parameters:
    orthogonal: Case = ORTHOGONAL
    dense: Case = DENSE
    batch: int = 16
    repeats: int = 7
    seconds: float = 1.0
    """Of each turn of each contender."""
    figure5_sizes: tuple[int, ...] = tuple(
        np.linspace(1000, 2000, 20).round().astype(int).tolist()
    )
    figure5_d: int = 2000
    figure5_seeds: int = 25
    figure2_sizes: tuple[int, ...] = tuple(range(1300, 2101, 50))
    figure2_d: int = 100
    figure2_seeds: int = 30
    """17 values of n: 510 networks."""
    horizon: float = 1.5
    """t_∞ in units of t_n."""
    bucket: tuple[int, ...] = tuple(range(1025, 1089))[:60:3]
    """20 values of n within one bucket."""
    peers: bool = True
    pieces: bool = True
    rounds: int = 1


PARAMETERS = {
    "full": Parameters(),
    "quick": Parameters(
        orthogonal=Case("orthogonal", 300, 400, 31),
        dense=Case("sphere", 300, 20, 31),
        batch=4,
        repeats=3,
        seconds=0.1,
        figure5_sizes=(200, 300),
        figure5_d=400,
        figure5_seeds=4,
        figure2_sizes=(200, 300),
        figure2_d=20,
        figure2_seeds=4,
    ),
    # PyTorch is not asked for there, and a second round shows what is left of the time
    # once everything is compiled.
    "gpu": Parameters(
        batch=512,
        repeats=3,
        seconds=0.5,
        peers=False,
        pieces=False,
        rounds=2,
    ),
}


def measure(parameters: Parameters, seed: int) -> _run.Findings:
    found = _run.Findings()
    _rates(found, parameters, seed)
    if parameters.pieces:
        _dense_step(found, parameters, seed)
    _bucket(found, parameters, seed)
    told = {}
    for figure in ("5", "2"):
        told[figure] = _sweep(parameters, seed, figure)
        _sweeps(found, told)
    return found


def _rates(found: _run.Findings, parameters: Parameters, seed: int) -> None:
    rows = []
    for name, case in (
        ("orthogonal", parameters.orthogonal),
        ("dense", parameters.dense),
    ):
        contenders = {
            "simulate_ensemble": engine(case, parameters.batch, seed),
            "simulate, one at a time": one_at_a_time(case, seed),
        }
        if parameters.peers:
            contenders |= autograd(case, seed)
        timed = race(contenders, parameters.repeats, parameters.seconds)
        for label in contenders:
            spread = timed.spread(label)
            ratio = timed.ratio(label, "simulate_ensemble")
            rows.append(
                [case.label(), label, spread.scaled(1e6), spread.inverse(), ratio]
            )
        # None without PyTorch.
        loops = [k for k in contenders if k.startswith("autograd")]
        if loops:
            peer = timed.best(loops)
            ratio = timed.ratio(peer, "simulate_ensemble")
            found.target(f"{name}_autograd", ratio, f"the loop's best: {peer}")
    found.table(
        "Gradient descent, per network and step",
        ["problem", "by", "μs", "network-steps per second", "time, in ours"],
        rows,
        "Median (least–greatest) of turns taken alternately.",
    )


def _dense_step(found: _run.Findings, parameters: Parameters, seed: int) -> None:
    """Where the time of a dense step goes."""
    case = parameters.dense
    n, d, p = case.n, case.d, case.width
    forms, flop = _kernels.own_products(n, d, p, parameters.batch)
    # The library's arrays have the sizes of their buckets.
    contenders = {
        **forms,
        **_pieces.stages(row_bucket_size(n), d, bucket_size(p), seed),
    }
    contenders["the library's step"] = engine(case, parameters.batch, seed)
    timed = race(contenders, parameters.repeats, parameters.seconds)
    plain = timed.best(list(forms))
    whole = timed.spread("the library's step").median
    found.table(
        f"Plain forms of the two products ({case.label()})",
        ["products of W with", "μs", "useful GFlop/s"],
        [_form(name, timed.spread(name), flop) for name in forms],
        "Per network, without padding. The quickest is what the step is measured by.",
    )
    rows, before = [], 0.0
    for name in (plain, *_pieces.STAGES, "the library's step"):
        spread = timed.spread(name)
        label = name
        if name == plain:
            label = f"the quickest plain form, n = {n}"
        elif name == _pieces.STAGES[0]:
            label = f"{name}, n = {row_bucket_size(n)}"
        more = spread.median - before
        rows.append(
            [label, spread.scaled(1e6), 100 * more / whole, flop / spread.median / 1e9]
        )
        before = spread.median
    found.table(
        f"The dense step by pieces ({case.label()})",
        ["up to", "μs", "more than the line above, % of the step", "useful GFlop/s"],
        rows,
        "Per network and step, on all cores at once. Useful: 4 n d p, without padding.",
    )
    share = timed.ratio(plain, "the library's step").scaled(100)
    remark = f"by {plain}; the step's padding to n = {row_bucket_size(n)} included"
    found.target("dense_product_share", share, remark)


def _form(name: str, spread: Spread, flop: float) -> list[Any]:
    return [name, spread.scaled(1e6), flop / spread.median / 1e9]


def _sweep(parameters: Parameters, seed: int, figure: str) -> tuple[Any, float]:
    five = figure == "5"
    options = {
        "seed": seed,
        "n": parameters.figure5_sizes if five else parameters.figure2_sizes,
        "d": parameters.figure5_d if five else parameters.figure2_d,
        "seeds": parameters.figure5_seeds if five else parameters.figure2_seeds,
        "inputs": "orthogonal" if five else "sphere",
        "horizon": parameters.horizon,
        # Figure 5 follows μ to the end; in Figure 2 the paper stops early.
        "stop": not five,
        "rounds": parameters.rounds,
    }
    return _process.call("benchmarks._sweep", options)


def _sweeps(found: _run.Findings, sweeps: dict[str, tuple[Any, float]]) -> None:
    rows, padding = [], 0.0
    for figure, (rounds, wall) in sweeps.items():
        for index, told in enumerate(rounds):
            process = wall - sum(
                r["seconds"] for r in rounds[:index] + rounds[index + 1 :]
            )
            rows.append(
                [
                    f"Figure {figure}" + (" again" if index else ""),
                    told["networks"],
                    told["network_steps"],
                    process if index == 0 else "–",
                    told["seconds"],
                    told["compiling"],
                    told["compilations"],
                    100 * told["useful_share"],
                    None if told["converged"] is None else 100 * told["converged"],
                ]
            )
        padding = max(padding, 100 * (1 - rounds[0]["useful_share"]))
        key = f"figure{figure}"
        remark = f"{rounds[0]['networks']} networks, a fresh process"
        found.target(f"{key}_seconds", rows[-len(rounds)][3], remark)
        if len(rounds) > 1:
            last = rounds[-1]
            late = last["compilations"]
            remark = f"but {late} programs were compiled within" if late else ""
            found.target(f"{key}_warm", last["seconds"], remark)
    found.target("padding_percent", padding, "the larger of the two figures' shares")
    found.table(
        "The paper's ensembles, by simulate_ensemble",
        [
            "networks of",
            "number",
            "network-steps",
            "process, s",
            "call, s",
            "compiling, s",
            "programs",
            "useful work, %",
            "converged, %",
        ],
        rows,
        "Gradient descent at learning rate 1 to t_∞; Figure 2 with the paper's stop.",
    )


def _bucket(found: _run.Findings, parameters: Parameters, seed: int) -> None:
    runs = jaxflow.simulate_ensemble(
        jax.random.key(seed),
        n=list(parameters.bucket),
        d=max(parameters.bucket),
        # One bucket of widths as well.
        p=36,
        seeds=1,
        method=jaxflow.GradientDescent(1.0),
        times=[20.0],
        progress=False,
    )
    low, high = min(parameters.bucket), max(parameters.bucket)
    remark = f"n = {low} … {high}, {len(parameters.bucket)} values"
    found.target("compilations", runs.attrs["compilations"], remark)


if __name__ == "__main__":
    _run.main("ensemble", PARAMETERS, measure, __doc__)
