"""Which runs an ensemble consists of, and what identifies each."""

import hashlib
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from .._checks import (
    check_choice,
    check_count,
    check_key,
    check_size,
    check_times,
    given_as,
    is_concrete,
)
from .._methods.base import AbstractMethod
from .._sampling.width_rule import check_epsilon, width_rule

_LARGEST = 2**32 - 1


def check_known(key: Any) -> None:
    """Raises a ValueError where an ensemble is asked for within a traced function."""
    if not is_concrete(key):
        raise ValueError(
            "simulate_ensemble compiles and writes by itself: call it outside jax.jit "
            "and jax.vmap."
        )


def run_key(key: PRNGKeyArray, n: int, d: int, p: int, seed: int) -> PRNGKeyArray:
    """The key of one run of an ensemble: it depends on these five numbers alone. (What
    jax draws with a key also depends on whether `jax_enable_x64` is set.)

        data, network = jaxflow.sample_problem(
            jaxflow.run_key(key, n, d, p, seed), n=n, d=d, p=p, inputs=…, init=…
        )

    is the problem that `simulate_ensemble(key, …)` runs there, for every method.
    """
    check_key(key)
    check_run_numbers(n, d, p, seed)
    for value in (n, d, p, seed):
        key = jax.random.fold_in(key, np.uint32(value))
    return key


def check_run_numbers(n: int, d: int, p: int, seed: int) -> None:
    """Raises a ValueError where the numbers of a run do not fit into its key."""
    for name, value in (("n", n), ("d", d), ("p", p), ("seed", seed)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ValueError(f"{name} must be an integer, got {value!r}.")
        least = 0 if name == "seed" else 1
        if not least <= value <= _LARGEST:
            raise ValueError(
                f"{name} must lie between {least} and {_LARGEST}, got {value}."
            )


@dataclass(frozen=True, slots=True)
class Cell:
    """All seeds of one n, d, p and method."""

    n: int
    d: int
    p: int
    method: str
    times: np.ndarray

    @property
    def name(self) -> str:
        times = hashlib.sha256(self.times.tobytes()).hexdigest()[:12]
        return f"n={self.n} d={self.d} p={self.p} method={self.method} times={times}"

    def run_name(self, seed: int) -> str:
        return f"{self.name} seed={seed}"


class RunName(NamedTuple):
    """What the name of a run says; `times` tells one array of times from another."""

    n: int
    d: int
    p: int
    method: str
    times: str
    seed: int


# Labels of methods may hold anything.
_NAME = re.compile(
    "n=([0-9]{1,10}) d=([0-9]{1,10}) p=([0-9]{1,10}) method=(.*) "
    "times=([0-9a-f]{12}) seed=([0-9]{1,10})",
    re.DOTALL,
)


def parse_run_name(name: str) -> RunName | None:
    """The reverse of `Cell.run_name`; None for other names."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    n, d, p, method, times, seed = found.groups()
    return RunName(int(n), int(d), int(p), method, times, int(seed))


class Runs:
    """Runs of a grid, (cell, seed) by their places among all of them, since a million
    of tuples take a hundred megabytes.

    - `cells`: all cells of the grid.
    - `seeds`: all seeds; for each of them come all cells.
    - `places`: which of these runs; by default all.
    """

    def __init__(
        self, cells: list[Cell], seeds: list[int], places: np.ndarray | None = None
    ):
        self.cells, self._seeds = cells, seeds
        every = len(cells) * len(seeds)
        self._places = np.arange(every) if places is None else places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[tuple[Cell, int]]:
        for place in self._places:
            seed, cell = divmod(int(place), len(self.cells))
            yield self.cells[cell], self._seeds[seed]

    def __getitem__(self, which: slice | np.ndarray) -> "Runs":
        return Runs(self.cells, self._seeds, self._places[which])

    def of_cells(self, values: np.ndarray) -> np.ndarray:
        """For each run what `values` has for its cell."""
        return values[self._places % len(self.cells)]

    def cells_of_some(self) -> list[Cell]:
        """The cells that have one of these runs or more."""
        return [
            self.cells[place] for place in np.unique(self._places % len(self.cells))
        ]

    def missing(self, done: Collection[str]) -> "Runs":
        """The runs whose names are not in `done`."""
        if not done:
            return self
        cells = [f"{cell.name} seed=" for cell in self.cells]
        seeds, count = [str(seed) for seed in self._seeds], len(cells)
        lacking = (
            cells[place % count] + seeds[place // count] not in done
            for place in map(int, self._places)
        )
        return self[np.fromiter(lacking, bool, len(self))]


@dataclass(frozen=True)
class Grid:
    """The cells in the order of `shape`, and the axes that they vary along."""

    cells: list[Cell]
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    coords: dict[str, tuple[tuple[str, ...], Any]]
    # Whether every cell has the same times.
    common_times: bool


def make_grid(
    n: Any,
    d: Any,
    p: Any,
    epsilon: float,
    methods: Mapping[str, AbstractMethod],
    labelled: bool,
    times: Any,
    dtype: Any,
    kind: str,
) -> Grid:
    """The grid that the arguments of `simulate_ensemble` ask for."""
    check_choice("grid", kind, ("product", "zip"))
    check_epsilon(epsilon)
    ns, n_many = _counts("n", n)
    ds, d_many = _counts("d", d)
    given = None if p is None or callable(p) else _counts("p", p)
    many = {"n": n_many, "d": d_many, "p": given is not None and given[1]}
    columns: dict[str, list[int]] = {"n": ns, "d": ds}
    if given is not None:
        columns["p"] = given[0]
    if kind == "zip":
        triples, dims, shape = _zipped(columns, many)
    else:
        dims = tuple(name for name in columns if many[name])
        shape = tuple(len(columns[name]) for name in dims)
        triples = [
            dict(zip(columns, values, strict=True))
            for values in itertools.product(*columns.values())
        ]
    if given is None:
        widths = {n: _width(p, n, epsilon) for n in ns}
        for triple in triples:
            triple["p"] = widths[triple["n"]]
    seen = set()
    for triple in triples:
        sizes = triple["n"], triple["d"], triple["p"]
        if sizes in seen:
            raise ValueError(f"n, d and p must not repeat, got {triple} twice.")
        seen.add(sizes)
    cells, first = [], None
    common = not callable(times)
    if common:
        first = _times(times, dtype)
    for label, method in methods.items():
        for t in triples:
            own = first if first is not None else _cell_times(times, t, dtype)
            method.check_times(own)
            cells.append(Cell(t["n"], t["d"], t["p"], label, own))
    lengths = {cell.times.size for cell in cells}
    if len(lengths) > 1:
        raise ValueError(
            "times must give equally many times for every n, d, p, got between "
            f"{min(lengths)} and {max(lengths)}."
        )
    coords: dict[str, tuple[tuple[str, ...], Any]] = {}
    for name in ("n", "d", "p"):
        values = np.array([t[name] for t in triples]).reshape(shape)
        if name in dims:
            coords[name] = ((name,), np.array(columns[name]))
        elif np.all(values == values.flat[0]):
            coords[name] = ((), values.flat[0])
        else:
            coords[name] = _along(name, values, dims)
    if labelled:
        # Not "method", which is a keyword of xarray's sel.
        dims, shape = ("dynamics", *dims), (len(methods), *shape)
        coords["dynamics"] = (("dynamics",), np.array(list(methods)))
    return Grid(cells, dims, shape, coords, common)


def _along(
    name: str, values: np.ndarray, dims: tuple[str, ...]
) -> tuple[tuple[str, ...], Any]:
    """A coordinate that follows from others, along those that it varies with."""
    kept = list(dims)
    for axis in reversed(range(values.ndim)):
        if np.all(values == np.take(values, [0], axis)):
            values = np.take(values, 0, axis)
            del kept[axis]
    return tuple(kept), values


def _zipped(
    columns: dict[str, list[int]], many: dict[str, bool]
) -> tuple[list[dict[str, int]], tuple[str, ...], tuple[int, ...]]:
    lengths = {name: len(values) for name, values in columns.items() if many[name]}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise ValueError(
            f"grid='zip' wants n, d and p of equal lengths, got {told}. For all "
            "combinations use grid='product'."
        )
    length = max(lengths.values(), default=1)
    full = {k: v if len(v) == length else v * length for k, v in columns.items()}
    rows = [
        dict(zip(full, values, strict=True))
        for values in zip(*full.values(), strict=True)
    ]
    return rows, ("cell",), (length,)


def _counts(name: str, value: Any) -> tuple[list[int], bool]:
    """`value` as a list of integers, and whether it was given as several."""
    if isinstance(value, jax.Array | np.ndarray):
        value = value.tolist()
    if isinstance(value, range | list | tuple):
        values = [_check_number(name, v) for v in value]
        if not values:
            raise ValueError(f"{name} must hold at least one number, got none.")
        return values, True
    return [_check_number(name, value)], False


def _check_number(name: str, value: Any) -> int:
    return (
        check_count(name, value, _LARGEST) if name == "d" else check_size(name, value)
    )


def _width(p: Callable[[int], int] | None, n: int, epsilon: float) -> int:
    return width_rule(n, epsilon) if p is None else check_size("p(n)", p(n))


def _times(times: Any, dtype: Any) -> np.ndarray:
    return np.asarray(check_times(times, dtype))


def _cell_times(times: Any, t: dict[str, int], dtype: Any) -> np.ndarray:
    return _times(times(t["n"], t["d"], t["p"]), dtype)


def check_seeds(seeds: Any) -> list[int]:
    """`seeds` as a list: a count k stands for 0 … k − 1."""
    if isinstance(seeds, jax.Array | np.ndarray):
        seeds = seeds.tolist()
    if isinstance(seeds, range | list | tuple):
        seeds = [_check_seed(seed) for seed in seeds]
        if len(set(seeds)) < len(seeds) or not seeds:
            raise ValueError(f"seeds must be different and at least one, got {seeds}.")
        return seeds
    return list(range(check_count("seeds", seeds, _LARGEST)))


def _check_seed(seed: Any) -> int:
    integer = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not integer or not 0 <= seed <= _LARGEST:
        raise ValueError(
            f"seeds must be integers ≥ 0 and at most {_LARGEST}, got {seed!r}."
        )
    return int(seed)


def check_methods(method: Any) -> tuple[dict[str, AbstractMethod], bool]:
    """`method` as label → method, and whether labels were given."""
    given = isinstance(method, Mapping)
    methods = dict(method) if given else {"": method}
    if not methods:
        raise ValueError("method must hold at least one method, got none.")
    for label, one in methods.items():
        if not isinstance(one, AbstractMethod) or not isinstance(label, str):
            raise ValueError(
                "method must be a method such as jaxflow.GradientDescent(1.0), or a "
                'mapping such as {"descent": …, "flow": …}; got '
                f"{label!r}: {given_as(one, AbstractMethod)}."
                if given
                else "method must be a method such as jaxflow.GradientDescent(1.0), or "
                'a mapping such as {"descent": …, "flow": …}; got '
                f"{given_as(method, AbstractMethod)}."
            )
    return methods, given
