"""What laws, observables, stops and methods do, as a few numbers that a folder keeps.

Two settings are the same where they do the same, however they are written. So the
problems of some runs are drawn, observables and stops are evaluated on a run's start
and on states that are made up from it, and the numbers are compared with those that the
folder holds. They are compared up to rounding, which another machine may do otherwise.
Methods with code of the user's are known by the program that jax makes of them.

What this cannot tell: laws that differ only for other sizes than that of the least
network, or seldom (what differs on a share q of the problems is missed with probability
(1 − q)⁴); observables and stops that differ only in states unlike those that are made
up, such as between two of their times. And a method of the user's counts as another one
where its arithmetic is written otherwise, though it come to the same.
"""

import hashlib
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._methods.base import AbstractMethod
from .._observables import Observable
from .._problem.dataset import Dataset
from .._problem.network import Network
from .._simulate import Dynamics, Run, check_observers, drive
from .._snapshot import Snapshot, Start
from .._stops import AbstractStop
from .._xla import nans_are_meant
from .grid import Cell
from .program import prepare

# Of so many runs the problems are compared, of the first one what is observed as well.
_PROBLEMS = 4
# When the made-up states are, in units of the last time asked for. Those beyond it are
# for runs that go on for longer in a later call.
_MOMENTS = (0, 1e-4, 0.003, 0.03, 0.1, 0.2, 0.35, 0.55, 0.75, 1, 2.5, 8, 90)
# Sums per array, besides its norm.
_SUMS = 3
# Numbers that are the same may differ by so many roundings, or by this share.
_ROUNDINGS, _SHARE = 256, 1e-9


def cell_of(cells: Sequence[Cell]) -> Cell:
    """The cell whose first runs are compared: the least, since it costs the least."""
    return min(cells, key=lambda cell: (cell.n * cell.p, cell.n, cell.d, cell.p))


def take(
    cell: Cell,
    seeds: Sequence[int],
    draw: Callable[[Cell, int], tuple[Dataset, Network]],
    methods: Mapping[str, AbstractMethod],
    programs: Collection[str],
    stops: tuple[AbstractStop, ...],
    observe: Mapping[str, Observable],
) -> dict[str, Any]:
    """The fingerprint at the first of `seeds`, as JSON-able data.

    `programs`: the labels of the methods that are known by their programs.
    """
    seeds = list(seeds[:_PROBLEMS])
    drawn = [draw(cell, seed) for seed in seeds]
    laws = {
        "inputs": [_of_arrays(data.inputs) for data, _ in drawn],
        "targets": [_of_arrays(data.targets) for data, _ in drawn],
        "init": [_of_arrays(network) for _, network in drawn],
    }
    until = float(cell.times[-1]) or 1.0
    # Whichever it is, it is the same in the next call.
    run = prepare(*drawn[0], methods[min(methods)], cell.times)
    return {
        "of": {
            **{name: getattr(cell, name) for name in ("n", "d", "p")},
            "seeds": seeds,
            "until": until,
        },
        **laws,
        **_of_states(run, until, stops, observe),
        "methods": {
            label: _of_program(prepare(*drawn[0], one, cell.times), one)
            for label, one in methods.items()
            if label in programs
        },
    }


def same_place(cell: Cell, of: Mapping[str, Any]) -> tuple[Cell, list[int]]:
    """The cell and the seeds that a folder's fingerprint is of, for the methods and the
    number of times of `cell`."""
    count = cell.times.size
    times = of["until"] * np.arange(1, count + 1) / count
    moved = times.astype(cell.times.dtype)
    return Cell(of["n"], of["d"], of["p"], cell.method, moved), list(of["seeds"])


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], *, programs: bool
) -> Iterator[str]:
    """What does something else in `new`, in words. `programs`: whether those of methods
    can be compared, which other versions of jax write otherwise."""
    of = old["of"]
    at = ", ".join(f"{name} = {of[name]}" for name in ("n", "d", "p"))
    for law in ("inputs", "targets", "init"):
        for seed, was, now in zip(of["seeds"], old[law], new[law], strict=True):
            if not _alike(was, now):
                yield f"{law} draws something else, as at {at}, seed = {seed}"
                break
    for kind, what in (("observe", "gives other values"), ("stop", "ends elsewhere")):
        for name in sorted(old[kind].keys() & new[kind].keys()):
            if not _alike(old[kind][name], new[kind][name]):
                yield f"{kind}[{name}] {what}, in states at {at}"
    for label in sorted(new["methods"] if programs else ()):
        if old["methods"].get(label) != new["methods"][label]:
            yield (
                f"method {label!r} takes other steps"
                if label
                else ("method takes other steps")
            )


# --- problems and states --------------------------------------------------------------


def _of_arrays(tree: Any) -> str:
    rows = jax.tree.map(lambda leaf: np.asarray(leaf)[None], tree)
    return f"{type(tree).__name__}; {_of_rows(rows)}"


def _of_rows(tree: Any) -> str:
    return "; ".join(_summary(np.asarray(leaf)) for leaf in jax.tree.leaves(tree))


def _of_states(
    run: Run,
    until: float,
    stops: tuple[AbstractStop, ...],
    observe: Mapping[str, Observable],
) -> dict[str, dict[str, str]]:
    """What observables and stops give in made-up states, each as text."""
    if not stops and not observe:
        return {"observe": {}, "stop": {}}
    functions = check_observers(observe).functions
    run = jax.tree.map(jnp.asarray, run)
    places = _moves(run, until)
    one = jax.tree.map(lambda leaf: leaf[0], places)

    def seen(move: "_Move", pairs: bool, names: Sequence[str]) -> dict[str, Any]:
        snapshot = _made_up(run, move, pairs)
        return {name: functions[name](snapshot) for name in names}

    def ends(move: "_Move") -> dict[str, Any]:
        snapshot = _made_up(run, move, False)
        loss, curvature = move.loss * snapshot.loss, move.curvature * snapshot.curvature
        given = (snapshot.problem, loss, curvature)
        begun = [stop.at_start(snapshot.start.loss) for stop in stops]
        return {str(i): stop.margin(*given) for i, stop in enumerate(begun)}

    # A method whose pairs slide shows the multipliers and others show none. An
    # observable may be made for the one or the other, and then fails elsewhere.
    shown: dict[bool, list[str]] = {False: [], True: []}
    for name in functions:
        errors = []
        for pairs, names in shown.items():
            try:
                jax.eval_shape(lambda at, p=pairs, k=name: seen(at, p, [k]), one)
            except Exception as error:
                errors.append(error)
            else:
                names.append(name)
        if len(errors) == len(shown):
            raise errors[0]

    def all_of(move: "_Move") -> list[dict[str, Any]]:
        return [ends(move), *(seen(move, *kind) for kind in shown.items())]

    # Traced anew each time: a program that is kept would not see that a constant which
    # a function reads has changed.
    with nans_are_meant():
        rows = jax.device_get(jax.jit(lambda at: jax.lax.map(all_of, at))(places))
    stopped, without, sliding = (
        {name: _of_rows(tree) for name, tree in found.items()} for found in rows
    )
    return {
        "observe": {
            name: f"{without.get(name, 'fails')} || {sliding.get(name, 'fails')}"
            for name in functions
        },
        "stop": stopped,
    }


class _Move(NamedTuple):
    """How a state is made up: when it is, by what weights (p,) and a (p,) are
    multiplied, what pushes (n,) move both, and by what the loss and the curvature are
    multiplied that a stop sees."""

    time: Any
    weights: Any
    a: Any
    pushes: Any
    loss: Any
    curvature: Any


def _moves(run: Run, until: float) -> _Move:
    """Those of all moments; at the first one nothing is moved."""
    count, p, n = len(_MOMENTS), run.a.shape[0], run.problem.targets.shape[0]
    moves = _Move(
        time=until * np.array(_MOMENTS),
        weights=1 + 0.8 * _numbers(2, count, p),
        a=1 + 0.8 * _numbers(3, count, p),
        pushes=2 * np.sqrt(n) * _numbers(5, count, n),
        # Over the decades in which most stops look.
        loss=10.0 ** -np.arange(count),
        curvature=10.0 ** (4 * _numbers(7, count)),
    )
    return jax.tree.map(lambda numbers: numbers.astype(run.a.dtype), moves)


def _numbers(which: int, count: int, *size: int) -> np.ndarray:
    """Numbers in (−1/2, 1/2), the first ones 0, that look random and are the same for
    every version of every package."""
    places = np.arange(1, 1 + math.prod((count - 1, *size)))
    numbers = np.modf(places * math.sqrt(which) + places**2 * math.sqrt(11))[0] - 0.5
    return np.concatenate([np.zeros((1, *size)), numbers.reshape(count - 1, *size)])


def _made_up(run: Run, move: _Move, pairs: bool) -> Snapshot:
    """A state of the run's problem; what is padded stays zero."""
    problem, weights, a = run.problem, run.weights, run.a
    loss = problem.loss_at(weights, a)
    start = Start.of(None, None, problem, weights, a, loss)
    scaled = weights * move.weights[:, None]
    weights, a = problem.pushed(scaled, a * move.a, move.pushes)
    gates = problem.gates(weights).astype(a.dtype) if pairs else None
    return Snapshot(problem, start, move.time, weights, a, gates)


def _of_program(run: Run, method: AbstractMethod) -> str:
    """A digest of what jax makes of a method."""
    work, nothing = Dynamics(method, ()), check_observers({})
    outcome = jax.make_jaxpr(lambda run: drive(run, work, nothing).final.a)(run)
    # Not where things lie in memory, nor what functions are called.
    text = re.sub(r"0x[0-9a-f]+|\bname=\S+", "", str(outcome))
    total = hashlib.sha256(text.encode())
    for constant in outcome.consts:
        total.update(np.ascontiguousarray(constant).tobytes())
    return total.hexdigest()


# --- numbers that stand for arrays ----------------------------------------------------


def _summary(rows: np.ndarray) -> str:
    """An array per row, as its dtype and shape, how many numbers are not finite, and of
    each row its norm and some sums with signs."""
    values = rows.reshape(len(rows), -1).astype(np.float64, copy=False)
    odd = np.isnan(values).sum(), np.isposinf(values).sum(), np.isneginf(values).sum()
    numbers = []
    for row in np.where(np.isfinite(values), values, 0):
        largest = np.max(np.abs(row), initial=0) or 1.0
        weights = _weights(row.size)
        sums = [float(np.dot(w, row / largest)) for w in weights]
        norm = float(np.linalg.norm(row / largest))
        numbers += [largest * number for number in (norm, *sums)]
    told = " ".join(f"{number:.12g}" for number in numbers)
    shape = "x".join(str(size) for size in rows.shape[1:])
    counts = ",".join(str(count) for count in odd)
    return f"{rows.dtype} ({shape}) odd {counts} | {told}"


def _weights(size: int) -> list[np.ndarray]:
    places = np.arange(1, size + 1)
    return [np.modf(places * np.sqrt(2 + k))[0] - 0.25 * k for k in range(_SUMS)]


def _alike(old: str, new: str) -> bool:
    """Whether two texts made of summaries agree, up to rounding."""
    if old == new:
        return True
    was, now = re.split(r"; | \|\| ", old), re.split(r"; | \|\| ", new)
    return len(was) == len(now) and all(map(_same_numbers, was, now))


def _same_numbers(old: str, new: str) -> bool:
    if old == new:
        return True
    (was, _, x), (now, _, y) = old.partition(" | "), new.partition(" | ")
    if was != now or not x or not y:
        return False
    first, second = (
        np.array(text.split(), float).reshape(-1, 1 + _SUMS) for text in (x, y)
    )
    if first.shape != second.shape:
        return False
    dtype = jnp.dtype(was.split()[0])
    inexact = jnp.issubdtype(dtype, jnp.floating)
    eps = float(jnp.finfo(dtype if inexact else np.float64).eps)
    norms = first[:, 0]
    slack = max(_ROUNDINGS * eps, _SHARE) * norms + 16 * eps * norms.max()
    return bool(np.all(np.abs(first - second) <= slack[:, None]))
