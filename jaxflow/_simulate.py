"""`simulate`: one trajectory of one network."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._checks import check_kind, check_times, is_concrete
from ._meter import Meter, with_progress
from ._methods.base import AbstractMethod
from ._methods.ends import exhausted_at
from ._observables import OBSERVABLES, Observable
from ._problem.dataset import Dataset
from ._problem.network import Network, check_fit
from ._problem.padding import pad
from ._problem.rates import Rates, as_rates
from ._problem.run_problem import Problem, counts, to_run_coordinates
from ._progress import Progress, check_progress
from ._snapshot import Snapshot, Start, cut
from ._solution import Results, Solution, Stats, clock_slack
from ._stops import AbstractStop, Stops
from ._types import ArrayLike, LayerRates, Neurons, Pairs, Scalar, Weights
from ._xla import compiled, compiled_separately, nans_are_meant


def simulate(
    data: Dataset,
    network: Network,
    method: AbstractMethod,
    *,
    times: ArrayLike,
    stop: Stops = (),
    observe: Mapping[str, Observable] = OBSERVABLES,
    rates: LayerRates = (1.0, 1.0),
    progress: bool | Callable[[Progress], Any] | None = False,
) -> Solution:
    """Trains one network on one dataset from t = 0 through the given times.

    Pure: the same arguments give the same result, under `jax.jit` and `jax.vmap` too.
    It is compiled once per shape, method and set of observables; other numbers do not
    compile anew. Precision is that of the arrays; times are cast to it.

    **Main arguments:**

    - `data`: the examples, a `Dataset`.
    - `network`: the initial network.
    - `method`: `GradientFlow(...)` for the flow d/dt (w, a) = −p∇L of eq. 3, or
      `GradientDescent(...)`.

    **Other arguments:**

    - `times`: where to record, shape (T,), increasing, ≥ 0, in units of flow time
      (learning rate × steps). The run ends at the last.
    - `stop`: conditions that end the run earlier: `LossBelow()`, `Stationary()`, or a
      tuple of them. None, or an empty tuple, for no such condition.
    - `observe`: name → function of a `Snapshot`, evaluated at `times`. By default all
      of `OBSERVABLES`; pass `{}` for the loss and the two curvatures alone.
    - `rates`: (rate_w, rate_a), the rates of the two layers, ≥ 0:
      d/dt w = −rate_w p ∂L/∂w and d/dt a = −rate_a p ∂L/∂a, in flow and in descent,
      where they multiply the learning rate. (1.0, 0.0) trains w alone, (0.0, 1.0) a
      alone. All that is recorded is of that flow: `curvature` is its −L'/L, the
      tangent kernel that of its r' = −M r, sharpness the largest eigenvalue of
      √R p∇²L √R, below 2 over which the learning rate is stable, and the balance is
      a_j²/rate_a − ‖w_j‖²/rate_w, NaN where a rate is 0. Functions of (data, network),
      such as `tangent_kernel`, are at rates 1.
    - `progress`: True for a bar on stderr with an estimate of the time left, None for
      one where stderr is a terminal or in a notebook, or a function of a `Progress`,
      which is called every 32 steps; what it raises ends the run. Such a run is a
      program of its own, which jax does not keep in its compilation cache on disk;
      hence False is the default.

    **Returns:** a `Solution`. How a run ended is a code in it, `sol.result`; a run that
    diverges raises nothing. Nor does one that ends early where `jax_debug_nans` is set:
    its missing rows are NaN, so that check is off within `simulate`. It still looks at
    what your own `jax.jit` returns, and at what jax computes of these rows afterwards;
    `np.asarray(sol.loss)` is safe.

    Of what it can be differentiated by which method: docs/gradients.md.

    **Raises:** a ValueError, before anything is compiled, when shapes do not fit,
    `times` are not increasing non-negative numbers, `progress` is asked for inside
    `jax.jit`, `rates` are not two numbers ≥ 0 of
    which one is positive, or an optimizer is to run at other rates than 1. Inside
    `jax.jit`, where numbers are not known, bad times, bad rates, a bad learning rate or
    a bad tolerance are an outcome, `Results.bad_times`, and all numbers NaN.
    """
    check_fit(data, network)
    check_kind("method", method, AbstractMethod, "jaxflow.GradientFlow(rtol=1e-6)")
    dtype = jnp.result_type(data.targets.dtype, network.w.dtype)
    times = check_times(times, dtype)
    method.check_times(times)
    stops, observers = check_stops(stop), check_observers(observe)
    data, network = jax.tree.map(
        lambda leaf: leaf.astype(dtype), (data, network), is_leaf=eqx.is_array
    )
    dynamics = Dynamics(method, stops, as_rates(rates))
    rest = (observers, *counts(data, network))
    check_progress(progress)
    with nans_are_meant(), _no_forward_mode(method):
        if progress is not False:
            # Inside jit even a sum of constants is traced.
            if not is_concrete(*jax.tree.leaves((data, network)), jnp.add(0, 0)):
                raise ValueError(
                    "progress is that of a run that is called directly; inside "
                    "jax.jit, jax.vmap or jax.grad leave it out. simulate_ensemble "
                    "has it for many runs."
                )
            return with_progress(
                lambda meter: _simulate(data, network, dynamics, times, *rest, meter),
                float(times[-1]),
                progress,
            )
        if is_concrete(times, *jax.tree.leaves((method, dynamics.rates))):
            return _simulate(data, network, dynamics, times, *rest)
        # Values are not known yet: where they turn out to be bad, a run of no duration.
        good = jnp.all(jnp.isfinite(times)) & (times[0] >= 0)
        good &= jnp.all(jnp.diff(times) > 0) & method.admits(times)
        if dynamics.rates is not None:
            good &= dynamics.rates.admissible
        times = jnp.where(good, times, 0)
        return _where(good, _simulate(data, network, dynamics, times, *rest))


@contextlib.contextmanager
def _no_forward_mode(method: AbstractMethod) -> Iterator[None]:
    """Says what would work, where a loop that keeps what its reverse needs is asked for
    a derivative in forward mode."""
    try:
        yield
    except TypeError as error:
        if "forward-mode" not in str(error):
            raise
        raise ValueError(
            f"a run by {type(method).__name__} has no forward-mode derivative "
            "(jax.jvp, jax.jacfwd, and jax.hessian, which takes one). FilippovFlow() "
            "has; and reverse mode (jax.grad, jax.jacrev) have GradientDescent(), "
            "RungeKuttaFlow() and LiteralFlow(). See docs/gradients.md."
        ) from error


def _where(good: Bool[Array, ""], solution: Solution) -> Solution:
    """The solution, or one without any number in it."""

    def masked(leaf: Array) -> Array:
        missing = jnp.nan if jnp.issubdtype(leaf.dtype, jnp.inexact) else -1
        return jnp.where(good, leaf, jnp.asarray(missing, leaf.dtype))

    result = Results.where(good, solution.result, Results.bad_times)
    return eqx.tree_at(lambda s: s.result, jax.tree.map(masked, solution), result)


def check_stops(stop: Any) -> tuple[AbstractStop, ...]:
    """`stop` as a tuple of conditions."""
    if stop is None:
        return ()
    stops = tuple(stop) if isinstance(stop, tuple | list) else (stop,)
    for condition in stops:
        if not isinstance(condition, AbstractStop):
            raise ValueError(
                "stop must be a condition such as LossBelow(), a tuple of them, or "
                f"None, got {condition!r}."
            )
    return stops


def check_observers(observe: Any) -> "Observers":
    """`observe` as what a run takes."""
    if not isinstance(observe, Mapping):
        raise ValueError(
            "observe must map names to functions of a Snapshot, such as "
            '{"share": lambda s: s.active.mean()}; got '
            f"{type(observe).__name__}."
        )
    for name, function in observe.items():
        if not isinstance(name, str) or not name:
            raise ValueError(
                f"names of observables must be text, such as 'share', got {name!r}."
            )
        if not callable(function):
            raise ValueError(
                f"observable {name!r} must be a function of a Snapshot, got "
                f"{function!r}."
            )
        if name in _ALWAYS:
            raise ValueError(
                f"observable {name!r} is always recorded, as Solution.{name}; give "
                "yours another name."
            )
    return Observers(dict(observe))


_ALWAYS = ("loss", "curvature", "average_curvature")


class Observers(eqx.Module):
    """The observables. Functions are compared by identity, so that the same mapping
    does not compile twice."""

    functions: dict[str, Observable] = eqx.field(static=True)

    def __init__(self, functions: dict[str, Observable]):
        self.functions = _Frozen(functions)


class _Frozen(dict):
    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted((k, id(v)) for k, v in self.items())))


class Recorder(eqx.Module):
    """Evaluates observables where a run is.

    `problem` is what the run integrates. `view` is the same problem unpadded, which is
    what observables get to see; None where they see the padded one.
    """

    problem: Problem
    start: Start
    observers: Observers
    view: Problem | None

    def __call__(
        self,
        time: Scalar,
        weights: Weights,
        a: Neurons,
        multipliers: Pairs | None = None,
    ) -> dict[str, Any]:
        rows = compiled_separately(
            _always, self.problem, self.start.loss, time, weights, a, multipliers
        )
        # Where the residuals are only rounding, their rates are noise.
        spent = compiled_separately(exhausted_at, self.problem, weights, a)
        for name in ("curvature", "average_curvature"):
            rows[name] = jnp.where(spent, jnp.nan, rows[name])
        seen = Snapshot(self.problem, self.start, time, weights, a, multipliers)
        if self.view is not None:
            seen = cut(self.view, seen)
        for name, function in self.observers.functions.items():
            rows[name] = _as_rows(name, function(seen))
        return rows


def _always(
    problem: Problem,
    initial_loss: Scalar,
    time: Scalar,
    weights: Weights,
    a: Neurons,
    multipliers: Pairs | None,
) -> dict[str, Scalar]:
    zero = jnp.zeros_like(a)
    start = Start(None, None, initial_loss, zero, zero[0])
    seen = Snapshot(problem, start, time, weights, a, multipliers)
    return {name: getattr(seen, name) for name in _ALWAYS}


def _as_rows(name: str, value: Any) -> Any:
    """What an observable returned, as arrays."""
    if not jax.tree.leaves(value):
        raise ValueError(
            f"observable {name!r} must return an array of numbers or a tree of them, "
            f"got {value!r}."
        )
    return jax.tree.map(functools.partial(_as_row, name), value)


def _as_row(name: str, value: Any) -> Array:
    """Booleans and small integers as int32, so that a row not reached can be −1."""
    try:
        array = jnp.asarray(value)
        if not jnp.issubdtype(array.dtype, jnp.number) and array.dtype != bool:
            raise TypeError
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"observable {name!r} must return numbers, got {value!r}."
        ) from error
    if array.dtype == bool or jnp.issubdtype(array.dtype, jnp.integer):
        return array.astype(jnp.int32) if array.dtype.itemsize < 4 else array
    return array


class Run(eqx.Module):
    """One run at the sizes at which it is computed; or a batch, on a leading axis."""

    problem: Problem
    weights: Weights
    a: Neurons
    times: Float[Array, " T"]


class Dynamics(eqx.Module):
    """What moves a run, and what ends it."""

    method: AbstractMethod
    stops: tuple[AbstractStop, ...]
    rates: Rates | None = None

    def moving(self, problem: Problem) -> Problem:
        """The problem at the rates of this run."""
        if self.rates is None:
            return problem
        rates = self.rates.astype(problem.targets.dtype)
        return dataclasses.replace(problem, rates=rates)


class Given(eqx.Module):
    """What a run was made of, before padding: observables of a lone run see this."""

    data: Dataset
    network: Network
    problem: Problem
    weights: Weights
    a: Neurons


class Outcome(eqx.Module):
    """What a run was: its rows, with those after its end marked as missing, where it
    ended, and how."""

    times: Float[Array, " T"]
    rows: dict[str, Any]
    final: Snapshot
    final_loss: Scalar
    result: Results
    stats: Stats


def make_run(
    data: Dataset,
    network: Network,
    method: AbstractMethod,
    times: Float[Array, " T"],
    n: Scalar,
    p: Scalar,
) -> tuple[Run, Given]:
    """A user's problem in run coordinates, padded; n and p as `counts` gives them."""
    alike = method.rotation_invariant
    problem, weights, a = to_run_coordinates(data, network, n, p, reduce=alike)
    # An optimiser of the user's may move even what is zero.
    state = pad(problem, weights, a) if alike else (problem, weights, a)
    return Run(*state, times), Given(data, network, problem, weights, a)


def drive(
    run: Run,
    dynamics: Dynamics,
    observers: Observers,
    given: Given | None = None,
    meter: Meter | None = None,
) -> Outcome:
    """The one driver: a run from its start to its end, alone or within an ensemble.

    `given`: what observables are to see in place of the padded problem. `meter`: whom
    to tell how far it has got.
    """
    problem = dynamics.moving(run.problem)
    state = (problem, run.weights, run.a)
    loss = compiled_separately(Problem.loss_at, *state)
    view = None
    if given is None:
        start = Start.of(None, None, *state, loss)
    else:
        view = dynamics.moving(given.problem)
        seen = (view, given.weights, given.a)
        start = Start.of(given.data, given.network, *seen, loss)
    recorder = Recorder(problem, start, observers, view)
    stops = tuple(stop.at_start(loss) for stop in dynamics.stops)
    end = dynamics.method.run(*state, run.times, stops, recorder, meter)
    reached = end.times <= end.time * clock_slack(run.times.dtype)
    final = Snapshot(problem, start, end.time, end.weights, end.a)
    if view is not None:
        final = cut(view, final)
    return Outcome(
        times=end.times,
        rows=jax.tree.map(lambda rows: _masked(rows, reached), end.rows),
        final=final,
        final_loss=compiled_separately(Problem.loss_at, problem, end.weights, end.a),
        result=end.result,
        stats=Stats({**end.stats, "balance_drift": final.balance_drift}),
    )


@compiled
def _simulate(
    data: Dataset,
    network: Network,
    dynamics: Dynamics,
    times: Float[Array, " T"],
    observers: Observers,
    n: Scalar,
    p: Scalar,
    meter: Meter | None = None,
) -> Solution:
    run, given = make_run(data, network, dynamics.method, times, n, p)
    outcome = drive(run, dynamics, observers, given, meter)
    rows = outcome.rows
    return Solution(
        times=outcome.times,
        loss=rows.pop("loss"),
        curvature=rows.pop("curvature"),
        average_curvature=rows.pop("average_curvature"),
        observables=rows,
        final=outcome.final.network,
        final_time=outcome.final.time,
        final_loss=outcome.final_loss,
        result=outcome.result,
        stats=outcome.stats,
    )


def _masked(rows: Array, reached: Array) -> Array:
    """Rows after the end of the run as NaN, or −1 where they are counts."""
    reached = reached.reshape(-1, *[1] * (rows.ndim - 1))
    missing = jnp.nan if jnp.issubdtype(rows.dtype, jnp.inexact) else -1
    return jnp.where(reached, rows, jnp.asarray(missing, rows.dtype))
