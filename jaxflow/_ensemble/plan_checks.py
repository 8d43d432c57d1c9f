"""The whole plan of an ensemble is checked by shapes, before anything is drawn or
compiled and before a folder is made: what is wrong with a later run is said at once."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from .._methods.base import AbstractMethod
from .._problem.dataset import Dataset
from .._problem.inputs import (
    DenseInputs,
)
from .._problem.network import Network
from .._problem.size_buckets import bucket_size
from .._sampling.covered_initialisation import CoveredInitialisation
from .._sampling.fixed import FixedInputs
from .._sampling.initialisation import INITIALISATIONS, Initialisation
from .._sampling.inputs import (
    DRAWN_AS_ARRAYS,
    check_room_for,
    draw_inputs,
    with_bias,
)
from .._sampling.problem import draw_targets, sample_problem
from .._sampling.targets import uniform_targets
from .._sampling.teacher import TARGET_LAWS, TeacherTargets
from .._simulate import Run
from .grid import Cell, Runs, check_run_numbers, run_key
from .program import Program, Work, made_run, working_bytes
from .resources import check_room

# What the files of a folder can hold of a network's precision, and of an observable.
_KEPT = ("float32", "float64")
_RECORDED = ("float", "int", "uint", "bool")
# A smaller run takes less memory than a larger one, but for `GradientFlow`, which goes
# over small ones by a method that takes up to four times as much.
_MARGIN = 4


class PlanChecks:
    """Checks runs of an ensemble.

    - `key`, `laws`, `dtype`: of the problems; laws by the names that `sample_problem`
      has for them, the size of the bias, and the negative slope.
    - `observed`: whether there are observables, whose shapes depend on the size.
    - `memory`: bytes that may be used on each device, by `workers` batches at a time.
    - `in_folder`: whether the results are to be kept.
    """

    def __init__(
        self,
        key: PRNGKeyArray,
        laws: Mapping[str, Any],
        dtype: Any,
        *,
        program: Program,
        works: Mapping[str, Work],
        observed: bool,
        memory: float | int,
        workers: int,
        in_folder: bool,
    ):
        self._key, self._dtype = key, dtype
        self._laws = {**laws, "init": _traceable(laws["init"])}
        self._program, self._works = program, works
        self._memory, self._workers = memory, workers
        self._observed, self._in_folder = observed, in_folder
        inputs = laws["inputs"]
        # Whether the inputs may come as an array whose numbers are not known yet.
        self._as_array = (
            inputs in DRAWN_AS_ARRAYS
            if isinstance(inputs, str)
            else not isinstance(inputs, FixedInputs) or laws["bias"] > 0
        )

    def check_missing(self, first: Cell, missing: Runs) -> None:
        """Checks the runs that are not done. `first`: a cell of which some are, whose
        variables the others must have."""
        if len(missing):
            _, seed = next(iter(missing))
            self.check([first, *missing.cells_of_some()], seed)

    def check(self, cells: Sequence[Cell], seed: int) -> None:
        """Raises a ValueError that says which run is wrong and what would work."""
        self._check_laws(cells, seed)
        shapes: dict[str, Any] = {}
        traced = set()
        # The largest first, since what is larger stands for what is smaller.
        largest: dict[Any, list[_Checked]] = {}
        for cell in sorted(_one_per_bucket(cells), key=_sizes, reverse=True):
            work = self._works[cell.method]
            method = work.dynamics.method
            stand_ins = largest.setdefault(self._kind(cell), [])
            own = not _of_package(method) or self._as_array
            if not (self._observed or own) and any(
                checked.stands_for(cell, self._memory) for checked in stand_ins
            ):
                continue
            run = self._hollow_run(cell, seed)
            if run is None:
                continue
            # A method of the package is for a geometry or is not, whatever the size.
            # Tracing it takes up to half a second.
            kind = (cell.method, type(run.problem.inputs))
            if self._observed or own or kind not in traced:
                shapes = self._program.check_shapes(run, work, shapes)
                traced.add(kind)
            need = self._check_memory(run, method, shapes)
            stand_ins.append(_Checked(cell, need))
        if self._in_folder:
            _check_kept(shapes)

    def _kind(self, cell: Cell) -> Any:
        """Runs of the same kind have the same geometry, where the laws are ours."""
        return cell.method, cell.n < 2 * cell.d

    def check_numbers(self, cells: Iterable[Cell], seeds: Iterable[int]) -> None:
        """The same of what numbers tell, and nothing is traced for."""
        if self._in_folder and str(self._dtype) not in _KEPT:
            raise ValueError(
                f"dtype must be float32 or float64 where results are kept in a folder, "
                f"got {self._dtype}. Without a folder they stay in memory."
            )
        # The largest of each, which say of all whether they fit into a key.
        n, d, p = (max(getattr(cell, name) for cell in cells) for name in "ndp")
        check_run_numbers(n, d, p, max(seeds))

    def _check_laws(self, cells: Iterable[Cell], seed: int) -> None:
        """That every size can be drawn."""
        inputs, seen = self._laws["inputs"], set()
        for n, d, p in dict.fromkeys(map(_sizes, cells)):
            if isinstance(inputs, str):
                check_room_for(inputs, n, d)
            if not self._init_has_any_size(d, p):
                self._shapes(functools.partial(self._draw, n=n, d=d, p=p, seed=seed))
                continue
            # Tracing all laws takes 50 ms for each size, and those of the package have
            # whatever `check_room_for` lets pass.
            if (n, d) not in seen and not self._data_have_any_size():
                self._shapes(functools.partial(self._draw_data, n=n, d=d))
            seen.add((n, d))

    def _data_have_any_size(self) -> bool:
        targets = self._laws["targets"]
        targets = TARGET_LAWS[targets] if isinstance(targets, str) else targets
        ours = targets is uniform_targets or (
            isinstance(targets, TeacherTargets) and targets.has_any_size
        )
        return isinstance(self._laws["inputs"], str) and ours

    def _init_has_any_size(self, d: int, p: int) -> bool:
        init = self._laws["init"]
        return isinstance(init, Initialisation) and (
            init.first_layer == "gaussian" or p <= d
        )

    def _draw_data(self, key: PRNGKeyArray, n: int, d: int) -> Dataset:
        """With inputs of the package, what depends on the targets alone."""
        dtype = self._dtype
        sampled = draw_inputs(self._laws["inputs"], key, n, d, dtype)
        sampled = with_bias(sampled, self._laws["bias"])
        drawn = draw_targets(self._laws["targets"], key, sampled, n, dtype)
        return Dataset(sampled, drawn)

    def _draw(
        self, key: PRNGKeyArray, n: int, d: int, p: int, seed: int
    ) -> tuple[Dataset, Network]:
        own = run_key(key, n, d, p, seed)
        return sample_problem(own, n=n, d=d, p=p, dtype=self._dtype, **self._laws)

    def _shapes(self, made: Callable[[PRNGKeyArray], Any]) -> Any:
        """Those of made(key), or None where a law needs numbers to compute with: then
        its runs are checked when they are drawn."""
        try:
            return eqx.filter_eval_shape(made, self._key)
        except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
            return None

    def _hollow_run(self, cell: Cell, seed: int) -> Run | None:
        """A run of a cell, with arrays that have shapes but no memory; None where its
        geometry is known once it is drawn."""
        method = self._works[cell.method].dynamics.method

        def made(key: PRNGKeyArray) -> Run | None:
            data, network = self._draw(key, cell.n, cell.d, cell.p, seed)
            dense = isinstance(data.reduced, DenseInputs)
            # Of an array with so few rows the dataset finds a cheaper geometry.
            if self._as_array and dense and cell.n <= 2 * data.inputs.num_coordinates:
                return None
            return made_run(data, network, method, cell.times)

        return jax.tree.map(
            lambda like: np.broadcast_to(np.zeros((), like.dtype), like.shape),
            self._shapes(made),
        )

    def _check_memory(
        self, run: Run, method: AbstractMethod, shapes: Mapping[str, Any]
    ) -> float | int:
        """The bytes that such runs take together; a ValueError if they do not fit."""
        rows = sum(shape.size * shape.dtype.itemsize for shape in shapes.values())
        need = (rows + working_bytes(run, method)) * self._workers
        check_room(need, self._memory, run, self._workers)
        return need


class _Checked(NamedTuple):
    """A cell whose runs take `need` bytes, and may be had."""

    cell: Cell
    need: float | int

    def stands_for(self, cell: Cell, memory: float | int) -> bool:
        """Whether runs of `cell`, of the same kind, can be had for sure."""
        pairs = zip(_sizes(cell), _sizes(self.cell), strict=True)
        return all(a <= b for a, b in pairs) and _MARGIN * self.need <= memory


def _sizes(cell: Cell) -> tuple[int, int, int]:
    return cell.n, cell.d, cell.p


def _of_package(method: AbstractMethod) -> bool:
    return type(method).__module__.partition(".")[0] == "jaxflow"


def _traceable(init: Any) -> Any:
    """A law of the same shapes that can be traced."""
    init = INITIALISATIONS.get(init, init) if isinstance(init, str) else init
    # How often it draws depends on numbers.
    while isinstance(init, CoveredInitialisation):
        init = init.init
    return init


def _one_per_bucket(cells: Iterable[Cell]) -> list[Cell]:
    """A cell for each compiled program, as far as sizes tell."""
    found: dict[Any, Cell] = {}
    for cell in cells:
        sizes = (cell.method, bucket_size(cell.n), bucket_size(cell.p), cell.d)
        found.setdefault(sizes, cell)
    return list(found.values())


def _check_kept(shapes: Mapping[str, Any]) -> None:
    """That the files of a folder can hold these variables."""
    for name, shape in shapes.items():
        if not name.isidentifier():
            raise ValueError(
                f"observable {name!r} needs a name like largest_weight where results "
                "are kept in a folder: letters, digits and _."
            )
        kind = str(shape.dtype)
        number = kind.rstrip("0123456789") in _RECORDED and kind != "float16"
        if not number or 0 in shape.shape:
            raise ValueError(
                f"observable {name!r} must be a number or an array of float32, "
                "float64, integers or booleans, and not empty, where results are kept "
                f"in a folder; got {kind} of shape {shape.shape[1:]} at each time."
            )
