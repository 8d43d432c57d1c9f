"""Ours and theirs as contenders of `race`: gradient descent at learning rate 1."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

import jaxflow

from . import _machine
from ._engine import Arrays, Case, Fleet, Load, in_space
from ._timing import Contender

# By how much answers may differ, relative: in float64 L, w and a; in float32 L. There a
# preactivation within rounding of zero counts as active for one and not for another,
# and that pair sends its neuron elsewhere: after 40 steps of the dense problem w can
# differ by 5e-3, more than one step makes, while L differs by 1e-5.
_TOLERANCE, _LOSS_TOLERANCE = 1e-9, 1e-4


def engine(case: Case, batch: int, seed: int) -> Contender:
    load = descent(case, batch, seed)

    def advance(steps: int) -> None:
        for rows in load.advance(float(steps)):
            check_steps(rows["steps"], steps)

    return Contender(advance, networks=load.networks)


def descent(case: Case, batch: int, seed: int, workers: int | None = None) -> Load:
    fleet = Fleet(jaxflow.GradientDescent(1.0), workers=workers)
    return Load(fleet, case, batch, seed)


def check_steps(made: Any, steps: int) -> None:
    """Raises a RuntimeError where a run made another number of steps than it is divided
    by: it diverged, say."""
    if not np.all(np.asarray(made) == steps):
        raise RuntimeError(f"{steps} steps were asked for, {np.unique(made)} made")


def one_at_a_time(case: Case, seed: int) -> Contender:
    data, network = case.draw(seed, 0)
    method = jaxflow.GradientDescent(1.0, count_crossings=False)

    def advance(steps: int) -> None:
        solution = jax.block_until_ready(
            jaxflow.simulate(data, network, method, times=[float(steps)], observe={})
        )
        check_steps(solution.stats["steps"], steps)

    return Contender(advance)


def autograd(case: Case, seed: int) -> dict[str, Contender]:
    """The loop of the paper, on one thread and on all; {} without PyTorch."""
    try:
        from .peers.torch_loop import Training
    except ImportError:
        return {}
    x, y, w, a = in_space(case, seed, 0)
    training = Training(x, y, w, a, 1.0)
    return {
        autograd_on(count): Contender(_counted(training.run, threads=count))
        for count in sorted({1, _machine.cores()})
    }


def autograd_on(threads: int) -> str:
    """What `autograd` calls the loop on so many threads."""
    return f"autograd, {threads} thread{'s' if threads > 1 else ''}"


def batched(case: Case, seed: int, batch: int) -> dict[str, Contender]:
    """What a good PyTorch user would write; {} without PyTorch."""
    problems = [in_space(case, seed, index) for index in range(batch)]
    return {
        f"{name}, B = {batch}, {networks.engine}": Contender(
            _counted(networks.run), networks=batch, granularity=4
        )
        for name, networks in _batches(case, problems).items()
    }


def plain(case: Case, seed: int) -> dict[str, Contender]:
    from .peers import numpy_loop

    arguments = (*in_space(case, seed, 0), 1.0)
    return {"NumPy": Contender(_counted(numpy_loop.numpy_loop, *arguments))}


def _counted(
    run: Callable[..., Any], *arguments: Any, **settings: Any
) -> Callable[[int], None]:
    """`run` with the number of steps as its last argument, which it must make."""

    def advance(steps: int) -> None:
        check_steps(run(*arguments, steps, **settings).steps, steps)

    return advance


def _batches(case: Case, problems: list[Any]) -> dict[str, Any]:
    """PyTorch's networks side by side; {} without it."""
    try:
        from .peers import torch_batched
    except ImportError:
        return {}
    x, y, w, a = (np.stack(arrays) for arrays in zip(*problems, strict=True))
    found = {
        "batched": torch_batched.dense_networks(x, y, w, a, 1.0),
        "batched, graph": torch_batched.dense_networks(x, y, w, a, 1.0, compiled=True),
    }
    if case.inputs == "orthogonal":
        norms, u = torch_batched.project(x, w)
        found["batched, projected"] = torch_batched.projected_networks(
            norms, y, u, a, 1.0
        )
    return found


@dataclasses.dataclass(frozen=True)
class Answer:
    """Where a run ended: L, and the weights in R^d or, projected, along the inputs."""

    loss: float
    w: np.ndarray
    a: np.ndarray

    def gap(self, other: "Answer", parts: tuple[str, ...]) -> float:
        """The largest difference of these parts, each relative to the norm of ours."""
        pairs = [(getattr(self, name), getattr(other, name)) for name in parts]
        return max(
            float(np.linalg.norm(np.subtract(mine, theirs)) / np.linalg.norm(mine))
            for mine, theirs in pairs
        )


def check_answers(case: Case, seed: int, steps: int, batch: int) -> dict[str, float]:
    """By how much each, after `steps` in float64, differs from ours in L, w or a, at
    most and relative, over `batch` different networks; raises an AssertionError where
    it is another answer."""
    with float64():
        wide = dataclasses.replace(case, dtype="float64")
        return _gaps(wide, seed, steps, batch, ("loss", "w", "a"), _TOLERANCE)


def check_losses(case: Case, seed: int, steps: int, batch: int) -> dict[str, float]:
    """The same of L alone, in the precision in which the case is timed."""
    return _gaps(case, seed, steps, batch, ("loss",), _LOSS_TOLERANCE)


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """Within it jax has float64."""
    # jax makes its options attributes at run time.
    before = jax.config.jax_enable_x64  # type: ignore[attr-defined]
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def _gaps(
    case: Case,
    seed: int,
    steps: int,
    batch: int,
    parts: tuple[str, ...],
    tolerance: float,
) -> dict[str, float]:
    problems = [in_space(case, seed, index) for index in range(batch)]
    method = jaxflow.GradientDescent(1.0)
    expected = []
    for index, problem in enumerate(problems):
        data, network = case.draw(seed, index)
        ours = jaxflow.simulate(data, network, method, times=[float(steps)], observe={})
        check_steps(ours.stats["steps"], steps)
        w, a = np.asarray(ours.final.w), np.asarray(ours.final.a)
        if case.inputs == "orthogonal":
            x = problem[0]
            w = w @ (x / np.linalg.norm(x, axis=1, keepdims=True))
        expected.append(Answer(float(ours.final_loss), w, a))
    gaps = {}
    for name, ends in _descents(case, problems, steps).items():
        found = [
            ours.gap(_answer(problem, w, a, name.endswith("projected")), parts)
            for problem, ours, (w, a) in zip(problems, expected, ends, strict=True)
        ]
        if not max(found) < tolerance:
            raise AssertionError(
                f"{name} gives another answer: by network, {', '.join(parts)} differ "
                f"by {found}, relative; {tolerance} is allowed"
            )
        gaps[name] = max(found)
    return gaps


def _answer(problem: Any, w: np.ndarray, a: np.ndarray, projected: bool) -> Answer:
    """From the weights where a peer ended, which may lie along the inputs."""
    x, y = problem[:2]
    if projected:
        norms = np.linalg.norm(x, axis=1)
        z, w = w * norms, w @ (x / norms[:, None])
    else:
        z = w @ x.T
    r = np.asarray(y - a @ np.maximum(z, 0) / len(a), float)
    return Answer(float(r @ r) / (2 * len(y)), w, a)


def _descents(
    case: Case, problems: list[Arrays], steps: int
) -> Mapping[str, Iterable[tuple[np.ndarray, np.ndarray]]]:
    """(w, a) of every network at the end, by every peer."""
    from .peers import numpy_loop

    single = {"NumPy": [numpy_loop.numpy_loop(*one, 1.0, steps) for one in problems]}
    try:
        from .peers.torch_loop import Training

        single["autograd"] = [Training(*one, 1.0).run(steps) for one in problems]
    except ImportError:
        pass
    found: dict[str, Any] = {
        name: [(run.w, run.a) for run in runs] for name, runs in single.items()
    }
    for name, networks in _batches(case, problems).items():
        run = networks.run(steps)
        found[name] = list(zip(run.w, run.a, strict=True))
    return found
