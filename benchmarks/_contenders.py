"""Ours and theirs as contenders of `race`: gradient descent at learning rate 1."""

from typing import Any

import jax
import numpy as np

import jaxflow

from . import _machine
from ._engine import Case, Fleet, Load, in_space
from ._timing import Contender


def engine(case: Case, batch: int, seed: int) -> Contender:
    load = descent(case, batch, seed)
    return Contender(load.advance, networks=load.networks)


def descent(case: Case, batch: int, seed: int, workers: int | None = None) -> Load:
    fleet = Fleet(jaxflow.GradientDescent(1.0), workers=workers)
    return Load(fleet, case, batch, seed)


def one_at_a_time(case: Case, seed: int) -> Contender:
    data, network = case.draw(seed, 0)
    method = jaxflow.GradientDescent(1.0, count_crossings=False)

    def advance(steps: int) -> None:
        jax.block_until_ready(
            jaxflow.simulate(data, network, method, times=[float(steps)], observe={})
        )

    return Contender(advance)


def autograd(case: Case, seed: int) -> dict[str, Contender]:
    """The loop of the paper, on one thread and on all; {} without PyTorch."""
    try:
        from .peers.torch_loop import torch_loop
    except ImportError:
        return {}
    problem = in_space(case, seed, 0)
    return {
        f"autograd, {count} threads": Contender(
            lambda steps, count=count: torch_loop(*problem, 1.0, steps, threads=count)
        )
        for count in sorted({1, _machine.cores()})
    }


def batched(case: Case, seed: int, batch: int) -> dict[str, Contender]:
    """What a good PyTorch user would write; {} without PyTorch."""
    try:
        from .peers import torch_batched
    except ImportError:
        return {}
    problems = [in_space(case, seed, index) for index in range(batch)]
    x, y, w, a = (np.stack(arrays) for arrays in zip(*problems, strict=True))
    found = {
        "batched": Contender(
            lambda steps: torch_batched.dense(x, y, w, a, 1.0, steps), networks=batch
        )
    }
    if case.inputs == "orthogonal":
        norms, u = torch_batched.project(x, w)
        found["batched, projected"] = Contender(
            lambda steps: torch_batched.projected(norms, y, u, a, 1.0, steps),
            networks=batch,
            granularity=4,
        )
    return found


def plain(case: Case, seed: int) -> dict[str, Contender]:
    from .peers.numpy_loop import numpy_loop

    problem = in_space(case, seed, 0)
    return {"NumPy": Contender(lambda steps: numpy_loop(*problem, 1.0, steps))}


def check_answers(case: Case, seed: int, steps: int, batch: int) -> dict[str, float]:
    """By how much the loss of each after `steps` differs from ours, relative; raises an
    error where it is another answer."""
    data, network = case.draw(seed, 0)
    method = jaxflow.GradientDescent(1.0)
    ours = jaxflow.simulate(data, network, method, times=[float(steps)], observe={})
    problem = in_space(case, seed, 0)
    gaps = {}
    for name, descent in _descents(case, problem, steps, batch).items():
        w, a = _first(descent, batch)
        x, y = problem[:2]
        z = w if name == "batched, projected" else w @ x.T
        if name == "batched, projected":
            z = z * np.linalg.norm(x, axis=1)
        r = y - a @ np.maximum(z, 0) / len(a)
        theirs = float(r @ r) / (2 * len(y))
        gaps[name] = abs(theirs / float(ours.final_loss) - 1)
        if not gaps[name] < 1e-2:
            raise AssertionError(
                f"{name} has loss {theirs} after {steps} steps, ours {ours.final_loss}"
            )
    return gaps


def _descents(case: Case, problem: Any, steps: int, batch: int) -> dict[str, Any]:
    from .peers.numpy_loop import numpy_loop

    found = {"NumPy": numpy_loop(*problem, 1.0, steps)}
    try:
        from .peers import torch_batched
        from .peers.torch_loop import torch_loop
    except ImportError:
        return found
    found["autograd"] = torch_loop(*problem, 1.0, steps)
    many = [np.stack([array] * batch) for array in problem]
    found["batched"] = torch_batched.dense(*many, 1.0, steps)
    if case.inputs == "orthogonal":
        norms, u = torch_batched.project(many[0], many[2])
        found["batched, projected"] = torch_batched.projected(
            norms, many[1], u, many[3], 1.0, steps
        )
    return found


def _first(descent: Any, batch: int) -> tuple[np.ndarray, np.ndarray]:
    return (
        (descent.w, descent.a) if descent.w.ndim == 2 else (descent.w[0], descent.a[0])
    )
