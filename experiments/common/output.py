"""What every experiment writes: records, the config that made them, figures, tables."""

import contextlib
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import matplotlib
import xarray as xr
from matplotlib.figure import Figure
from tqdm import tqdm

from jaxflow.records import checkout

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

matplotlib.use("Agg")
from matplotlib import pyplot as plt

Item = TypeVar("Item")
Config = TypeVar("Config", bound="DataclassInstance")

# Print sizes: a column of a two-column paper is about 3.4 inches wide.
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "lines.linewidth": 1.3,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
}


def progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """A bar with the time left, on stderr, silent when that is not a terminal."""
    return iter(
        tqdm(
            items, total=total, desc=what, disable=not sys.stderr.isatty(), leave=False
        )
    )


def say(line: str) -> None:
    """A line on stderr, above the bar if there is one."""
    tqdm.write(line, file=sys.stderr)


def write_config(folder: Path, config: Any, module: str) -> None:
    """The whole config, the command, the commit and the versions, as config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "command": " ".join(["python -m", module, *sys.argv[1:]]),
        "commit": _commit(),
        "config": dataclasses.asdict(config),
        "jax": jax.__version__,
        "devices": sorted({device.device_kind for device in jax.devices()}),
    }
    _replace(
        folder / "config.json",
        (json.dumps(content, indent=2, default=str) + "\n").encode(),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The fields that `write_config` wrote, as far as they say what was made, and not
    how a command went about it. (When a run is given up is part of its folder's
    name.)"""
    path = folder / "config.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist: run the experiment once without --redraw."
        )
    fields = json.loads(path.read_text())["config"]
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in fields.items()
        if name not in ("given_up", "output", "redraw", "from_records")
    }


def as_made(config: Config, folder: Path) -> Config:
    """`config` with what `folder` says was made there."""
    return dataclasses.replace(config, **read_config(folder))


def _commit() -> str:
    """The commit of the checkout, with + where files differ from it."""

    commit, changed = checkout(Path(__file__).parent)
    return (commit or "unknown") + ("+" if changed else "")


def write_records(folder: Path, records: xr.Dataset, name: str = "records.nc") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    encoding = {name: {"zlib": True} for name in records.data_vars}
    with _replacing(folder / name) as temporary:
        records.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)


def read_records(folder: Path, name: str = "records.nc") -> xr.Dataset:
    path = folder / name
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist: run the experiment once without --redraw."
        )
    return xr.load_dataset(path, engine="h5netcdf")


def write_figure(folder: Path, figure: Figure, name: str) -> None:
    """`name`.png and `name`.pdf."""
    for suffix in ("png", "pdf"):
        # Without a date the same records give the same file.
        metadata = {"CreationDate": None} if suffix == "pdf" else {}
        with _replacing(folder / f"{name}.{suffix}") as temporary:
            figure.savefig(temporary, format=suffix, metadata=metadata)
    plt.close(figure)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def write_text(folder: Path, name: str, text: str) -> None:
    _replace(folder / name, text.encode())


def _replace(path: Path, content: bytes) -> None:
    with _replacing(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file that becomes `path` when all went well: whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
