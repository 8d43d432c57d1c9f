"""The flow on orthogonal inputs: against our descent, SciPy and torchdiffeq."""

import collections
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxflow
from jaxflow.theory import time_scale

from . import _contenders, _machine
from ._engine import Arrays, Case, Fleet, Load, in_space, total
from ._run import Findings
from ._targets import number
from ._timing import (
    Race,
    Spread,
    calls_within,
    differences,
    lengths,
    race_calls,
    seconds,
)

# Tighter than every error that is compared. In float32 the reference is float64's.
_REFERENCE, _REFERENCE_STEPS = 1e-10, 1_000_000
# Seconds of a call that is short enough to take turns.
_SHORT = 5.0
# Seconds of a turn; shorter calls are repeated within it.
_TURN = 0.1
# Evaluations of a solver's first call, which is not timed.
_WARM = 20

_OURS, _GENERAL, _PROJECTED = "jaxflow", "torchdiffeq dopri5", "told the geometry"


@dataclasses.dataclass(frozen=True)
class Parameters:
    small: int = 2000
    large: int = 100_000
    rtol: float = 1e-5
    horizon: float = 1.5
    """In units of t_n."""
    compared: int = 2000
    compared_small: int = 500
    """n of the comparisons with general solvers, whose matrices are n × d."""
    peer_rtols: tuple[float, ...] = (1e-2, 1e-3, 1e-4, 1e-5)
    our_rtols: tuple[float, ...] = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    max_evaluations: int = 20_000
    repeats: int = 5
    seconds: float = 1.0
    """Of the part of a descent that is timed, and no more than all of it."""


def measure(found: Findings, parameters: Parameters, seed: int) -> None:
    _against_descent(found, parameters, seed)
    for key, n in (
        ("flow_torchdiffeq", parameters.compared),
        ("flow_torchdiffeq_small", parameters.compared_small),
    ):
        _against_solvers(found, parameters, seed, key, n)


def _against_descent(found: Findings, parameters: Parameters, seed: int) -> None:
    rows = []
    for name, n in (("small", parameters.small), ("large", parameters.large)):
        case = Case("orthogonal", n, n)
        end = parameters.horizon * float(time_scale(n, case.width))
        whole = round(end)
        flow = Load(Fleet(jaxflow.GradientFlow(parameters.rtol)), case, 1, seed)
        outputs = _to_the_end(flow, end)
        evaluations = total(outputs, "velocity_evaluations") // flow.networks
        descent = _contenders.engine(case, 1, seed)
        few, steps = lengths(descent, parameters.seconds)
        steps = min(steps, whole)
        timed = race_calls(
            {
                "flow": functools.partial(flow.advance, end),
                "few": functools.partial(descent.advance, few),
                "descent": functools.partial(descent.advance, steps),
            },
            parameters.repeats,
        )
        # The steps that are not made cost as the later ones of those that are.
        left = (whole - steps) / (steps - few)
        more = differences(timed, "few", "descent")
        per_run = {
            "flow": [t / flow.networks for t in timed.samples["flow"]],
            "descent": [
                (t + left * later) / descent.networks
                for t, later in zip(timed.samples["descent"], more, strict=True)
            ],
        }
        scaled = Race(per_run)
        ratio = scaled.ratio("descent", "flow")
        times = [scaled.spread(by) for by in ("descent", "flow")]
        rows.append([n, whole, steps, times[0], evaluations, times[1], ratio])
        remark = f"descent: {whole} steps"
        remark += f", scaled from {steps}" if steps < whole else ""
        found.target(f"flow_{name}", ratio, remark)
    found.table(
        f"Flow at rtol {parameters.rtol:g} against descent at lr 1, orthogonal, to t_∞",
        [
            "n",
            "steps",
            "of them timed",
            "descent, s",
            "evaluations",
            "flow, s",
            "flow is quicker, ×",
        ],
        rows,
        "Seconds per network, one network on each core, in turns. Descent is timed "
        "over as many of its steps as fit a turn, and the rest is taken to cost as "
        "those after the first few.",
    )


def _against_solvers(
    found: Findings, parameters: Parameters, seed: int, key: str, n: int
) -> None:
    """Error against time on one problem of n examples; the ratio at equal error is the
    target `key`."""
    case = Case("orthogonal", n, n)
    end = parameters.horizon * float(time_scale(n, case.width))
    exact = _reference(case, seed, end)
    runs = _theirs(case, parameters, seed, end)
    for rtol in parameters.our_rtols:
        load = Load(Fleet(jaxflow.GradientFlow(rtol), workers=1), case, 1, seed)
        outputs = _to_the_end(load, end)
        call = functools.partial(load.advance, end)
        loss = float(outputs[0]["final_loss"][0])
        evaluations = total(outputs, "velocity_evaluations")
        runs.append(_Timed(_OURS, rtol, call, loss, evaluations, first=seconds(call)))
    # Whoever takes long was timed by the run that has found its answer.
    short = {str(i): run for i, run in enumerate(runs) if run.first < _SHORT}
    calls = {name: run.call for name, run in short.items()}
    counts = {name: calls_within(_TURN, run.first) for name, run in short.items()}
    turns = max(3, parameters.repeats)
    timed = race_calls(calls, turns, warm=False, counts=counts)
    peers: dict[str, list[PeerRun]] = collections.defaultdict(list)
    ours: list[tuple[float, float]] = []
    rows: list[list[Any]] = []
    for i, run in enumerate(runs):
        spread = Spread.of(timed.samples.get(str(i), [run.first]))
        error: float | None = abs(float(np.log(run.loss / exact)))
        remark = ""
        if run.given_up is not None:
            # Given up at part of the time, and scaled to all of it.
            part = max(run.given_up, 1e-9) / end
            error, spread = None, spread.scaled(1 / part)
            remark = f"given up at {part:.2g} of the time; scaled"
        if run.by == _OURS and error is not None:
            ours.append((error, spread.median))
        else:
            peers[run.by].append(PeerRun(error, spread.median, run.rtol))
        cells = [f"{run.rtol:g}", error, run.evaluations, spread, spread.repeats]
        rows.append([run.by, *cells, None, remark])
    alone = [at_equal_error([run], ours) for by in peers for run in peers[by]]
    for row, (ratio, told) in zip(rows[: len(alone)], filter(None, alone), strict=True):
        row[-2:] = [ratio, "; ".join(filter(None, (row[-1], told)))]
    found.table(
        f"Flow to t_∞ by general solvers, {case.label()}, d = n, float32",
        [
            "by",
            "rtol",
            "error of log L",
            "evaluations",
            "s",
            "turns",
            "ours is quicker, ×",
            "remark",
        ],
        rows,
        "One network, ours by one call. SciPy computes in float64. Told the "
        "geometry: on the weights along the inputs, as ours, where the field costs "
        f"O(np) and not O(npd). All take turns of {_TURN:g} s at least, but for those "
        f"whose call takes longer than {_SHORT:g} s. The reference is ours in float64 "
        f"at rtol {_REFERENCE:g}; near it float32 itself limits the error.",
    )
    names = [by for by in peers if by.startswith(_GENERAL)]
    projected = [run for by in names if _PROJECTED in by for run in peers[by]]
    plain = [run for by in names if _PROJECTED not in by for run in peers[by]]
    least, least_projected = (
        at_equal_error(plain, ours),
        at_equal_error(projected, ours),
    )
    if least is not None and least_projected is not None:
        found.target(
            key,
            least[0],
            f"{least[1]}; {_by_rtol(plain, ours)}. Told the geometry: "
            f"{number(least_projected[0])} ×, {_by_rtol(projected, ours)}",
        )


@dataclasses.dataclass
class _Timed:
    """A run that was made once; `call` makes it again. `given_up`: the time at which it
    was, None where it reached the end. `first`: the seconds that it took."""

    by: str
    rtol: float
    call: Callable[[], Any]
    loss: float
    evaluations: int
    first: float
    given_up: float | None = None


def _theirs(case: Case, parameters: Parameters, seed: int, end: float) -> list[_Timed]:
    runs = []
    for by, solve in _solvers(in_space(case, seed, 0), end).items():
        # Imports and first allocations.
        solve(rtol=parameters.peer_rtols[0], max_evaluations=_WARM)
        for rtol in parameters.peer_rtols:
            call = functools.partial(
                solve, rtol=rtol, max_evaluations=parameters.max_evaluations
            )
            start = time.perf_counter()
            flow = call()
            first = time.perf_counter() - start
            given_up = None if flow.finished else flow.time
            runs.append(
                _Timed(by, rtol, call, flow.loss, flow.evaluations, first, given_up)
            )
    return runs


class PeerRun(NamedTuple):
    """`error` of log L, None for a run that did not finish; the `seconds` that it took
    or would have taken; `bound`: the error that an unfinished run is held to, for which
    its rtol is taken."""

    error: float | None
    seconds: float
    bound: float = math.inf


def at_equal_error(
    theirs: Sequence[PeerRun | tuple[float | None, float]],
    ours: Sequence[tuple[float, float]],
) -> tuple[float, str] | None:
    """The smallest advantage, seconds of theirs over seconds of ours, over their runs,
    with a remark on the run that gives it; None where there is no run of theirs.

    Each run of theirs is met by one of `ours`, pairs of error and seconds:

    - where it finished, by our cheapest whose error is no larger than its error;
    - where it did not finish, by our cheapest whose error is at most its `bound`;
    - in either case by our most accurate where none of ours errs so little.
    """
    found = []
    for run in theirs:
        error, taken, bound = PeerRun(*run)
        limit = bound if error is None else error
        enough = [t for e, t in ours if e <= limit]
        if error is None:
            told = f"unfinished, held to an error of {bound:g}"
        else:
            told = f"at no larger error than {number(error)}"
        if not enough:
            least, cost = min(ours)
            enough = [cost]
            told += f", which none of ours reaches: {number(least)} is the least"
        found.append((taken / min(enough), told))
    return min(found) if found else None


def _by_rtol(theirs: Sequence[PeerRun], ours: Sequence[tuple[float, float]]) -> str:
    """The least advantage at each tolerance of theirs, in words."""
    alike: dict[float, list[PeerRun]] = collections.defaultdict(list)
    for run in theirs:
        alike[run.bound].append(run)
    found = {rtol: at_equal_error(runs, ours) for rtol, runs in alike.items()}
    return "by their rtol: " + ", ".join(
        f"{number(least[0])} × at {rtol:g}" for rtol, least in found.items() if least
    )


def _to_the_end(load: Load, end: float) -> list[dict[str, np.ndarray]]:
    """What `load` gives at `end`; raises a RuntimeError where a run did not get there,
    whose time and loss would be those of another problem."""
    outputs = load.advance(end)
    for rows in outputs:
        check_reached(rows["result"])
    return outputs


def check_reached(results: Any) -> None:
    """Raises a RuntimeError unless every run reached the time asked for."""
    if not np.all(np.asarray(results) == jaxflow.Results.reached_time._value):
        raise RuntimeError(
            "a run of the flow did not reach the time asked for: its results have the "
            f"codes {np.unique(results)}"
        )


def _reference(case: Case, seed: int, end: float) -> float:
    # The same problem: drawn in float32 and only then widened.
    drawn = case.draw(seed, 0)
    with _contenders.float64():
        data, network = jax.tree.map(lambda t: jnp.asarray(t, jnp.float64), drawn)
        method = jaxflow.GradientFlow(_REFERENCE, max_steps=_REFERENCE_STEPS)
        solution = jaxflow.simulate(data, network, method, times=[end], observe={})
        check_reached(solution.result._value)
        return float(solution.final_loss)


def _solvers(problem: Arrays, end: float) -> dict[str, Callable[..., Any]]:
    """By name, calls that solve the problem and still want rtol and max_evaluations."""
    from .peers import flow_solvers

    x, y, w, a = problem
    norms = np.linalg.norm(x, axis=1)
    along = (norms, y, w @ (x / norms[:, None]).T, a)
    scipy: dict[str, Callable[..., Any]] = {
        "SciPy DOP853": functools.partial(flow_solvers.scipy_flow, *problem, end),
    }
    try:
        import torchdiffeq  # noqa: F401
    except ImportError:
        return scipy
    solvers: tuple[tuple[str, Callable[..., Any], Arrays], ...] = (
        (_GENERAL, flow_solvers.torchdiffeq_flow, problem),
        (
            f"{_GENERAL}, {_PROJECTED}",
            flow_solvers.torchdiffeq_projected_flow,
            along,
        ),
    )
    found: dict[str, Callable[..., Any]] = {}
    for name, solve, given in solvers:
        # The fewer threads are the quicker ones where an evaluation is short.
        for threads in sorted({1, _machine.cores()}):
            found[f"{name}, {threads} thread{'s' if threads > 1 else ''}"] = (
                functools.partial(solve, *given, end, threads=threads)
            )
    return found | scipy


def tiny() -> Parameters:
    return Parameters(
        small=60,
        large=120,
        compared=40,
        compared_small=30,
        peer_rtols=(1e-2,),
        our_rtols=(1e-2, 1e-4),
        max_evaluations=300,
        repeats=2,
        seconds=0.01,
    )
