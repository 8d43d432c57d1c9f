"""Records on disk: what is written comes back, damage is refused by name, and a process
that is killed, or a disk that fills up, costs at most the chunk in flight."""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxflow.records import (
    DiskFullError,
    FolderBusyError,
    open_folder,
    open_records,
    provenance,
)

h5netcdf = pytest.importorskip("h5netcdf")
xr = pytest.importorskip("xarray")
pytest.importorskip("dask")

CONFIG = {"method": {"name": "flow", "rtol": 1e-6}, "dtype": "float64", "stop": [1, 2]}
DIMS = {
    "loss": ("run", "time"),
    "norms": ("run", "time", "example"),
    "steps": ("run",),
    "fitted": ("run",),
    "result": ("run",),
}


def rows_of(chunk, runs=3):
    rng = np.random.default_rng(chunk)
    loss = rng.standard_normal((runs, 4))
    loss[0, 1:] = np.nan
    loss[-1, 0] = -0.0
    return {
        "loss": loss,
        "norms": rng.standard_normal((runs, 4, 2)).astype(np.float32),
        "steps": rng.integers(0, 2**31 - 1, runs, dtype=np.int32),
        "fitted": rng.random(runs) < 0.5,
        # Of another width in every chunk.
        "result": np.array(["μ" * (1 + chunk)] + ["ok"] * (runs - 1)),
    }


def ids_of(chunk, runs=3):
    return [f"n={8 + chunk} seed={seed}" for seed in range(runs)]


def write(path, chunks, part=0, runs=3):
    with open_folder(path, CONFIG, part=part, provenance={"by": "test"}) as folder:
        for chunk in chunks:
            folder.write(rows_of(chunk, runs), ids_of(chunk, runs), DIMS)


def assert_holds(records, chunks, runs=3):
    """Values bit for bit, dtypes and order."""
    assert records["id"].values.tolist() == [
        name for chunk in chunks for name in ids_of(chunk, runs)
    ]
    for name, dims in DIMS.items():
        want = np.concatenate([rows_of(chunk, runs)[name] for chunk in chunks])
        got = records[name]
        assert got.dims == dims
        assert got.dtype == want.dtype
        assert got.values.tobytes() == want.tobytes()


def files(path):
    """All content but the locks."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name != "lock"
    }


def chunk_file(path, chunk, part=0):
    return path / f"part-{part:05d}" / f"chunk-{chunk:06d}.nc"


# --- round trip -----------------------------------------------------------------------


@pytest.mark.parametrize("lazy", [True, False])
def test_round_trip(tmp_path, lazy):
    write(tmp_path / "r", [0, 1], part=0)
    write(tmp_path / "r", [2], part=3)
    records = open_records(tmp_path / "r", lazy=lazy)
    assert (records["loss"].chunks is not None) == lazy
    assert_holds(records, [0, 1, 2])
    assert json.loads(records.attrs["config"]) == CONFIG
    assert json.loads(records.attrs["provenance"]) == [
        {"by": "test", "part": "part-00000"},
        {"by": "test", "part": "part-00003"},
    ]


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int64", "uint64", "float32"]
)
def test_every_dtype_comes_back(tmp_path, dtype):
    values = np.array([0, 1, 1]).astype(dtype)
    with open_folder(tmp_path / "r", {}, provenance={}) as folder:
        folder.write({"x": values}, ["a", "b", "c"], {"x": ("run",)})
    got = open_records(tmp_path / "r")["x"].values
    assert got.dtype == values.dtype
    np.testing.assert_array_equal(got, values)


def test_a_lazy_dataset_opens_no_chunk_before_it_is_needed(tmp_path, monkeypatch):
    write(tmp_path / "r", [0, 1])
    monkeypatch.chdir(tmp_path)
    records = open_records("r", verify=False)
    monkeypatch.chdir("/")
    chunk_file(tmp_path / "r", 1).unlink()
    np.testing.assert_array_equal(records["loss"][:3].values, rows_of(0)["loss"])
    with pytest.raises(FileNotFoundError):
        records["loss"].values  # noqa: B018


@pytest.mark.parametrize("lazy", [True, False])
def test_some_runs_are_read_from_their_chunks_alone(tmp_path, lazy):
    write(tmp_path / "r", range(4))
    write(tmp_path / "r", [1], part=2)
    whole = open_records(tmp_path / "r", lazy=False)
    wanted = [ids_of(3)[2], ids_of(1)[0], ids_of(1)[1]]
    for unwanted in (0, 2):
        size = chunk_file(tmp_path / "r", unwanted).stat().st_size
        chunk_file(tmp_path / "r", unwanted).write_bytes(b"?" * size)
    some = open_records(tmp_path / "r", ids=wanted, lazy=lazy, verify=False)
    assert set(some["id"].values) == set(wanted)
    xr.testing.assert_identical(some.compute(), whole.isel(run=[3, 4, 11]))


def test_runs_that_are_not_there_are_named(tmp_path):
    write(tmp_path / "r", [0])
    with pytest.raises(ValueError, match="1 of the 2 runs asked for, and not 'n=9 "):
        open_records(tmp_path / "r", ids=[ids_of(0)[0], ids_of(1)[0]])
    with pytest.raises(ValueError, match="at least one run"):
        open_records(tmp_path / "r", ids=[])


def test_a_slice_of_a_lazy_dataset_equals_that_of_an_eager_one(tmp_path):
    write(tmp_path / "r", range(4))
    lazy = open_records(tmp_path / "r").isel(run=slice(2, 11, 2), time=[0, 3])
    eager = open_records(tmp_path / "r", lazy=False).isel(
        run=slice(2, 11, 2), time=[0, 3]
    )
    xr.testing.assert_identical(lazy.compute(), eager)


def test_a_chunk_alone_is_a_netcdf_file_that_xarray_reads(tmp_path):
    write(tmp_path / "r", [1])
    with xr.open_dataset(chunk_file(tmp_path / "r", 0), engine="h5netcdf") as chunk:
        assert list(chunk.coords) == ["id"]
        assert chunk["fitted"].dtype == bool
        np.testing.assert_array_equal(chunk["loss"].values, rows_of(1)["loss"])
        assert chunk["result"].values.tolist() == rows_of(1)["result"].tolist()


def test_the_same_runs_give_the_same_bytes(tmp_path):
    write(tmp_path / "a", [0, 1])
    time.sleep(1.1)  # HDF5 would count its time stamps in seconds.
    write(tmp_path / "b", [0, 1])
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_run_of_two_parts_counts_once(tmp_path):
    write(tmp_path / "r", [0, 1], part=0)
    write(tmp_path / "r", [1, 2], part=1)
    with open_folder(tmp_path / "r", CONFIG, part=2, provenance={}) as folder:
        rows = {
            name: np.concatenate([rows_of(2)[name][1:2], rows_of(3)[name][:1]])
            for name in DIMS
        }
        folder.write(rows, [ids_of(2)[1], ids_of(3)[0]], DIMS)
    for lazy in (True, False):
        records = open_records(tmp_path / "r", lazy=lazy)
        assert_holds(
            records.isel(run=slice(9))
            .compute()
            .assign(result=lambda r: r["result"].astype("U3")),
            [0, 1, 2],
        )
        assert records.sizes["run"] == 10
        np.testing.assert_array_equal(records["loss"][9], rows_of(3)["loss"][0])


def test_attributes_that_all_chunks_share(tmp_path):
    with open_folder(tmp_path / "r", CONFIG, provenance={}) as folder:
        for chunk in range(2):
            attrs = {"units": "flow time", "seconds": 0.5 + chunk, "empty": ""}
            folder.write(rows_of(chunk), ids_of(chunk), DIMS, attrs)
    attrs = open_records(tmp_path / "r").attrs
    assert attrs["units"] == "flow time"
    assert attrs["empty"] == ""
    assert "seconds" not in attrs
    with h5netcdf.File(chunk_file(tmp_path / "r", 1), "r") as file:
        assert file.attrs["seconds"] == 1.5


def test_finished_over_all_parts(tmp_path):
    write(tmp_path / "r", [0], part=0)
    write(tmp_path / "r", [1], part=1)
    with open_folder(tmp_path / "r", CONFIG, part=2, provenance={}) as folder:
        assert folder.finished() == {*ids_of(0), *ids_of(1)}
        folder.write(rows_of(2), ids_of(2), DIMS)
        assert folder.finished() == {*ids_of(0), *ids_of(1), *ids_of(2)}


def test_provenance():
    about = provenance()
    assert about["numpy"] == np.__version__
    assert about["python"] == sys.version.split()[0]
    assert about["devices"]
    assert "/" not in about["command"].split()[0]
    assert (about["commit"] is None) == (about["dirty"] is None)
    json.dumps(about)


def test_provenance_is_collected_unless_given(tmp_path):
    with open_folder(tmp_path / "r", CONFIG) as folder:
        folder.write(rows_of(0), ids_of(0), DIMS)
    (session,) = json.loads(open_records(tmp_path / "r").attrs["provenance"])
    assert {**session, "time": ""} == {**provenance(), "time": "", "part": "part-00000"}


def test_a_checkout_is_told_from_no_checkout(tmp_path):
    from jaxflow.records._provenance import checkout

    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")

    def git(*arguments):
        who = [
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "commit.gpgsign=false",
        ]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        subprocess.run(command, check=True, capture_output=True)

    git("init")
    assert checkout(package) == (None, None)
    git("add", ".")
    git("commit", "-m", "x")
    commit, dirty = checkout(package)
    assert commit is not None
    assert len(commit) == 40
    assert dirty is False
    (package / "__init__.py").write_text("changed")
    assert checkout(package) == (commit, True)


# --- refusals -------------------------------------------------------------------------


def test_another_config_is_refused_by_its_keys(tmp_path):
    write(tmp_path / "r", [0])
    before = files(tmp_path / "r")
    other = {"method": {"name": "flow", "rtol": 1e-8}, "stop": [1, 2.0], "new": True}
    with pytest.raises(ValueError) as error, open_folder(tmp_path / "r", other, part=1):
        pass
    message = str(error.value)
    assert str(tmp_path / "r") in message
    assert "method.rtol is 1e-06 there and 1e-08 here" in message
    assert 'dtype is "float64" there and absent here' in message
    assert "new is absent there and true here" in message
    assert "stop is [1,2] there and [1,2.0] here" in message
    assert "name" not in message
    assert files(tmp_path / "r") == before
    # Tuples are JSON lists, and the order of keys means nothing.
    same = {"stop": (1, 2), "dtype": "float64", "method": CONFIG["method"]}
    with open_folder(tmp_path / "r", same, provenance={}):
        pass


@pytest.mark.parametrize("config", [{"a": np.nan}, {"a": {1, 2}}, {"a": np.ones(2)}])
def test_a_config_that_is_not_json(tmp_path, config):
    with (
        pytest.raises(ValueError, match="config must be JSON"),
        open_folder(tmp_path / "r", config),
    ):
        pass
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace("1e-06", "1e-07"),
        lambda text: text.replace('"sha256": "', '"sha256": "0'),
        lambda text: text + " ",
    ],
)
def test_a_damaged_config_is_refused(tmp_path, damage):
    write(tmp_path / "r", [0])
    config = tmp_path / "r" / "config.json"
    changed = damage(config.read_text())
    assert changed != config.read_text()
    config.write_text(changed)
    with pytest.raises(ValueError, match=r"config\.json (is damaged|was changed)"):
        write(tmp_path / "r", [1])
    with pytest.raises(ValueError, match=r"config\.json (is damaged|was changed)"):
        open_records(tmp_path / "r")


def test_a_config_that_is_gone_is_refused(tmp_path):
    write(tmp_path / "r", [0])
    (tmp_path / "r" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds records but no config\.json"):
        write(tmp_path / "r", [1], part=1)


def flip(file, position):
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


DAMAGES = {
    "truncated": (lambda f: os.truncate(f, 100), r"truncated: 100 of \d+ bytes"),
    "empty": (lambda f: os.truncate(f, 0), r"truncated: 0 of \d+ bytes"),
    "longer": (lambda f: f.write_bytes(f.read_bytes() + b"x"), "too long"),
    "flipped": (lambda f: flip(f, f.stat().st_size // 2), "was changed: its checksum"),
    "missing": (lambda f: f.unlink(), "is missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_chunk_is_refused(tmp_path, damage):
    change, message = DAMAGES[damage]
    write(tmp_path / "r", [0, 1])
    change(chunk_file(tmp_path / "r", 0))
    with pytest.raises(ValueError, match=rf"chunk-000000\.nc.* {message}"):
        open_records(tmp_path / "r")
    # Also where another process finds it in a part that is not its own.
    for part in (0, 1):
        with (
            open_folder(tmp_path / "r", CONFIG, part=part, provenance={}) as folder,
            pytest.raises(ValueError, match=rf"chunk-000000\.nc.* {message}"),
        ):
            folder.finished()
    if damage != "flipped":
        with pytest.raises(ValueError, match=message):
            open_records(tmp_path / "r", verify=False)


def test_a_manifest_that_is_gone_or_shorter_is_refused(tmp_path):
    write(tmp_path / "r", [0, 1, 2])
    manifest = tmp_path / "r" / "part-00000" / "manifest.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    # None and empty; the session line alone; without the last two chunks; without one
    # in the middle.
    for kept in (
        None,
        lines[:0],
        lines[:1],
        lines[:2],
        lines[:2] + lines[3:],
        lines[1:],
    ):
        manifest.unlink(missing_ok=True)
        if kept is not None:
            manifest.write_bytes(b"".join(kept))
        before = files(tmp_path / "r")
        with pytest.raises(ValueError, match="part-00000"):
            open_records(tmp_path / "r")
        with pytest.raises(ValueError, match="part-00000"):
            write(tmp_path / "r", [3])
        assert files(tmp_path / "r") == before


def test_every_flipped_byte_of_a_manifest_is_refused(tmp_path):
    write(tmp_path / "r", [0])
    manifest = tmp_path / "r" / "part-00000" / "manifest.jsonl"
    content = manifest.read_bytes()
    # Without the last line end the last line is unfinished, which is no damage.
    for position in range(len(content) - 1):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        manifest.write_bytes(changed)
        with pytest.raises(ValueError, match=r"Line \d of .*manifest\.jsonl"):
            open_records(tmp_path / "r", verify=False)


def test_a_folder_without_records(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        open_records(tmp_path / "r")
    with pytest.raises(ValueError, match="not a folder of records"):
        open_records(tmp_path)
    with open_folder(tmp_path / "r", CONFIG, provenance={}) as folder:
        assert folder.finished() == set()
    with pytest.raises(ValueError, match="no finished runs"):
        open_records(tmp_path / "r")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="it is a file"):
        write(tmp_path / "file", [0])


@pytest.mark.parametrize("part", [-1, True])
def test_part_must_be_an_index(tmp_path, part):
    with pytest.raises(ValueError, match="part must be an integer, 0 or more"):
        write(tmp_path / "r", [0], part=part)


ONE = {"x": np.ones(2)}
BAD_CHUNKS: dict[str, tuple[tuple[Any, ...], str]] = {
    "no ids": ((ONE, [], {"x": ("run",)}), "ids must be a list"),
    "one string": ((ONE, "ab", {"x": ("run",)}), "ids must be a list"),
    "ids twice": ((ONE, ["a", "a"], {"x": ("run",)}), "got 'a' twice"),
    "NUL": ((ONE, ["a\0", "b"], {"x": ("run",)}), "without NUL"),
    "surrogate": ((ONE, ["\ud800", "b"], {"x": ("run",)}), "lone surrogates"),
    "number of runs": ((ONE, ["a"], {"x": ("run",)}), "has 2 along 'run'"),
    "no dims": ((ONE, ["a", "b"], {}), "must name the same variables"),
    "no rows": (({}, ["a", "b"], {}), "must name the same variables"),
    "first dim": ((ONE, ["a", "b"], {"x": ("time",)}), "must begin with 'run'"),
    "axes": ((ONE, ["a", "b"], {"x": ("run", "time")}), r"must be 1 different name"),
    "name": (({"a/b": np.ones(2)}, ["a", "b"], {"a/b": ("run",)}), "names like"),
    "id": (({"id": np.ones(2)}, ["a", "b"], {"id": ("run",)}), "names like"),
    "run": (({"run": np.ones(2)}, ["a", "b"], {"run": ("run",)}), "names like"),
    "complex": (
        ({"x": np.ones(2, complex)}, ["a", "b"], {"x": ("run",)}),
        "complex128",
    ),
    "half": (({"x": np.ones(2, "f2")}, ["a", "b"], {"x": ("run",)}), "float16"),
    "object": (({"x": [None, "a"]}, ["a", "b"], {"x": ("run",)}), "dtype object"),
    "empty": (
        ({"x": np.ones((2, 0))}, ["a", "b"], {"x": ("run", "time")}),
        "must not be empty",
    ),
    "lengths": (
        (
            {"x": np.ones((2, 3)), "y": np.ones((2, 4))},
            ["a", "b"],
            {"x": ("run", "time"), "y": ("run", "time")},
        ),
        "has 4 along 'time', where others have 3",
    ),
    "attrs": ((ONE, ["a", "b"], {"x": ("run",)}, {"y": [1]}), r"attrs\['y'\] must be"),
    "NaN": ((ONE, ["a", "b"], {"x": ("run",)}, {"y": np.nan}), r"attrs\['y'\] must be"),
    "taken": ((ONE, ["a", "b"], {"x": ("run",)}, {"config": 1}), "it is taken"),
}


@pytest.mark.parametrize("case", BAD_CHUNKS)
def test_bad_chunks(tmp_path, case):
    arguments, message = BAD_CHUNKS[case]
    with open_folder(tmp_path / "r", CONFIG, provenance={}) as folder:
        before = files(tmp_path / "r")
        with pytest.raises(ValueError, match=message):
            folder.write(*arguments)
    assert files(tmp_path / "r") == before


def test_all_chunks_of_a_folder_are_alike(tmp_path):
    write(tmp_path / "r", [0])
    rows = rows_of(1)
    longer = {"loss": np.ones((3, 5)), "norms": np.ones((3, 5, 2), np.float32)}
    changes = [
        ({**rows, "loss": rows["loss"].astype(np.float32)}, DIMS, "'loss' is float32"),
        ({**rows, **longer}, DIMS, r"'loss' is .*\(run, \*\[5\]\)"),
        (
            {**rows, "more": rows["steps"]},
            {**DIMS, "more": ("run",)},
            "'more' is int32",
        ),
        (rows, {**DIMS, "loss": ("run", "t")}, "'loss' is .*'t'"),
    ]
    # In the part that has them, after a restart and in another part.
    for part in (0, 1):
        with open_folder(tmp_path / "r", CONFIG, part=part, provenance={}) as folder:
            for changed, dims, message in changes:
                with pytest.raises(ValueError, match=message):
                    folder.write(changed, ids_of(1), dims)
            with pytest.raises(ValueError, match="'fitted' is absent"):
                folder.write({"loss": rows["loss"]}, ids_of(1), {"loss": DIMS["loss"]})
    assert_holds(open_records(tmp_path / "r"), [0])


def test_parts_that_differ_are_refused(tmp_path):
    # Both were open before the first chunk.
    with (
        open_folder(tmp_path / "r", CONFIG, part=0, provenance={}) as one,
        open_folder(tmp_path / "r", CONFIG, part=1, provenance={}) as two,
    ):
        one.write({"x": np.ones(2)}, ["a", "b"], {"x": ("run",)})
        two.write({"x": np.ones(2, int)}, ["c", "d"], {"x": ("run",)})
    with pytest.raises(ValueError, match=r"'x' is int64.*part-00001"):
        open_records(tmp_path / "r")


def test_a_run_is_written_once_and_only_while_the_folder_is_open(tmp_path):
    with open_folder(tmp_path / "r", CONFIG, provenance={}) as folder:
        folder.write(rows_of(0), ids_of(0), DIMS)
        with pytest.raises(ValueError, match="already holds the run 'n=8 seed=0'"):
            folder.write(rows_of(0), ids_of(0), DIMS)
    with pytest.raises(ValueError, match="is closed"):
        folder.write(rows_of(1), ids_of(1), DIMS)
    assert_holds(open_records(tmp_path / "r"), [0])


# --- unfinished lines -----------------------------------------------------------------


@pytest.fixture
def unsynced(monkeypatch):
    """Spares what only a power cut needs, and what most of the time goes to."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")
def test_a_line_is_written_after_its_chunk_is_on_disk(tmp_path, monkeypatch):
    calls = []

    def record(name):
        call = getattr(os, name)

        def recorded(first, *rest):
            where = Path(os.readlink(f"/proc/self/fd/{first}")) if rest == () else first
            if name == "pwrite":
                where = Path(os.readlink(f"/proc/self/fd/{first}"))
            calls.append((name, Path(where).name))
            return call(first, *rest)

        monkeypatch.setattr(os, name, recorded)

    with open_folder(tmp_path / "r", CONFIG, provenance={}) as folder:
        for name in ("pwrite", "fsync", "replace"):
            record(name)
        folder.write(rows_of(0), ids_of(0), DIMS)
    assert calls == [
        ("pwrite", "chunk-000000.nc.partial"),
        ("fsync", "chunk-000000.nc.partial"),
        ("replace", "chunk-000000.nc.partial"),
        ("fsync", "part-00000"),
        ("pwrite", "manifest.jsonl"),
        ("fsync", "manifest.jsonl"),
    ]


def test_a_torn_last_line_is_repaired_wherever_it_is_torn(tmp_path, unsynced):
    path = tmp_path / "r"
    with open_folder(path, {}, provenance={}) as folder:
        for name in "ab":
            folder.write({"x": np.ones(1)}, [name], {"x": ("run",)})
    part, last = path / "part-00000", chunk_file(path, 1)
    manifest = part / "manifest.jsonl"
    content, chunk = manifest.read_bytes(), last.read_bytes()
    start = content.rindex(b"\n", 0, -1) + 1
    for cut in range(start, len(content)):
        manifest.write_bytes(content[:cut])
        last.write_bytes(chunk)
        assert open_records(path, verify=False)["id"].values.tolist() == ["a"]
        assert manifest.stat().st_size == cut  # A reader repairs nothing.
        with open_folder(path, {}, provenance={}) as folder:
            assert not last.exists()
            assert folder.finished() == {"a"}
            folder.write({"x": np.ones(1)}, ["b"], {"x": ("run",)})
        assert last.read_bytes() == chunk
        assert open_records(path)["id"].values.tolist() == ["a", "b"]


def test_a_torn_first_line_is_repaired_wherever_it_is_torn(tmp_path, unsynced):
    write(tmp_path / "r", [])
    manifest = tmp_path / "r" / "part-00000" / "manifest.jsonl"
    content = manifest.read_bytes()
    for cut in range(len(content)):
        manifest.write_bytes(content[:cut])
        write(tmp_path / "r", [])
        assert manifest.read_bytes() == content


def test_what_a_killed_process_leaves_is_removed(tmp_path):
    write(tmp_path / "r", [0])
    part = tmp_path / "r" / "part-00000"
    for name in ("chunk-000001.nc", "chunk-000001.nc.partial", "config.json.partial"):
        (part / name).write_bytes(b"half")
    (part / "notes.txt").write_text("not ours")
    assert_holds(open_records(tmp_path / "r"), [0])
    write(tmp_path / "r", [])
    left = {file.name for file in part.iterdir()}
    assert left == {"chunk-000000.nc", "lock", "manifest.jsonl", "notes.txt"}
    # A chunk of any other number is not what it leaves.
    (part / "chunk-000002.nc").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"does not list \(chunk-000002\.nc\)"):
        write(tmp_path / "r", [])


# --- full disks -----------------------------------------------------------------------


class FailingCalls:
    """Makes call number `at` of the functions that write fail, if there are so many.
    To open a file for reading takes no space."""

    def __init__(self, monkeypatch, at, code):
        self.left, self.code, self.failed = at, code, False
        for name in ("open", "pwrite", "fsync", "mkdir", "link", "replace"):
            monkeypatch.setattr(os, name, self.wrap(name, getattr(os, name)))

    def wrap(self, name, call):
        def wrapped(*arguments, **keywords):
            if name == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR):
                return call(*arguments, **keywords)
            if name == "pwrite" and self.left == 1:
                # A disk that fills up takes what it can, then refuses the rest.
                self.left -= 1
                descriptor, content, offset = arguments
                half = call(descriptor, content[: len(content) // 2], offset)
                return half
            if self.left == 0 and not self.failed:
                self.failed = True
                raise OSError(self.code, os.strerror(self.code))
            self.left -= 1
            return call(*arguments, **keywords)

        return wrapped


@pytest.mark.parametrize("again", ["same call", "another process"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_at_any_call(tmp_path, unsynced, code, again):
    write(tmp_path / "whole", [0, 1])
    whole = files(tmp_path / "whole")
    failures = 0
    for at in range(1000):
        path = tmp_path / f"{at}"
        with pytest.MonkeyPatch.context() as patch:
            calls = FailingCalls(patch, at, code)
            for _ in range(2):
                try:
                    with open_folder(path, CONFIG, provenance={"by": "test"}) as folder:
                        for chunk in range(2):
                            if set(ids_of(chunk)) <= folder.finished():
                                continue
                            arguments = (rows_of(chunk), ids_of(chunk), DIMS)
                            try:
                                folder.write(*arguments)
                            except DiskFullError as error:
                                assert error.errno == code
                                assert f"{3 * chunk} runs in {chunk} chunk" in str(
                                    error
                                )
                                assert "make the same call again" in str(error)
                                left = {x.name for x in path.glob("part-00000/chunk*")}
                                assert len(left) == chunk
                                if again == "another process":
                                    raise
                                folder.write(*arguments)
                except DiskFullError as error:
                    assert "is full" in str(error)
                    continue
                break
        if not calls.failed:
            break
        failures += 1
        assert_holds(open_records(path), [0, 1])
        now = files(path)
        assert now.keys() == whole.keys()
        if again == "same call" and (
            now["part-00000/manifest.jsonl"].count(b"by") == 1
        ):
            assert now == whole
        shutil.rmtree(path)
    # 7 calls or more per chunk: open, write, sync, rename, sync, write, sync.
    assert failures > 20


# --- processes that are killed --------------------------------------------------------

# Waits for commands and forks a process for each, so that starting one takes
# milliseconds. It loads the module without jaxflow, which would import jax.
SERVER = '''
import importlib.util, json, os, resource, signal, sys
from pathlib import Path
import h5netcdf, h5py
import numpy as np

folder = Path(sys.argv[1])
spec = importlib.util.spec_from_file_location(
    "records", folder / "__init__.py", submodule_search_locations=[str(folder)]
)
records = sys.modules["records"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(records)
assert "jax" not in sys.modules


def die_at(number):
    """Kills this process at that call, of those that change files, and a write half
    done."""
    left = [number]
    # A process that dies leaves what it wrote to the system.
    os.fsync = lambda descriptor: None

    def wrap(name, call):
        def wrapped(*arguments, **keywords):
            left[0] -= 1
            if left[0] < 0:
                if name == "pwrite":
                    descriptor, content, offset = arguments
                    call(descriptor, content[: len(content) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **keywords)
        return wrapped

    for name in (
        "open", "close", "pwrite", "fsync", "mkdir", "link", "replace", "unlink",
        "ftruncate",
    ):
        setattr(os, name, wrap(name, getattr(os, name)))


def sweep(command):
    log = os.open(command["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    say = lambda text: os.write(log, (text + "\\n").encode())
    if command.get("limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (command["limit"], command["limit"]))
    if command.get("die") is not None:
        die_at(command["die"])
    try:
        with records.open_folder(
            command["path"], {"a": 1}, part=command.get("part", 0), provenance={}
        ) as folder:
            done = folder.finished()
            for chunk in range(command["chunks"]):
                if str(chunk) in done:
                    continue
                # Every chunk is larger than the one before.
                size = 100 * (1 + chunk)
                x = np.random.default_rng(chunk).standard_normal((1 + chunk, 200))
                ids = [str(chunk)] + [f"{chunk}.{run}" for run in range(1, 1 + chunk)]
                say(f"start {chunk}")
                folder.write({"x": x}, ids, {"x": ("run", "time")})
                say(f"done {chunk}")
    except Exception as error:
        say(f"error {type(error).__name__}: {error}")
        os._exit(1)
    os._exit(0)


print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        sweep(json.loads(line))
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
'''


class Server:
    def __init__(self, folder):
        import jaxflow.records

        self.log = folder / "log"
        source = Path(jaxflow.records.__file__).parent
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(source)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.commands, self.answers = self.process.stdin, self.process.stdout
        assert self.answers.readline() == "ready\n"

    def start(self, path, chunks, **command):
        self.log.write_text("")
        command = {"path": str(path), "chunks": chunks, "log": str(self.log), **command}
        self.commands.write(json.dumps(command) + "\n")
        self.commands.flush()
        return int(self.answers.readline())

    def wait(self):
        return int(self.answers.readline())

    def run(self, path, chunks, **command):
        self.start(path, chunks, **command)
        return self.wait()

    def said(self, what):
        words = [line.split(" ", 1) for line in self.log.read_text().splitlines()]
        return [text for word, text in words if word == what]

    def stop(self):
        self.commands.close()
        self.process.wait(timeout=20)
        self.answers.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


def chunks_in(path):
    """The numbers of the chunks that a reader finds, all of them whole."""
    try:
        ids = open_records(path)["id"].values.tolist()
    except (FileNotFoundError, ValueError) as error:
        nothing_yet = ("holds no finished runs", "There is no folder", "it has no")
        assert any(text in str(error) for text in nothing_yet), error
        return set()
    chunks = {int(name) for name in ids if "." not in name}
    assert len(ids) == sum(1 + chunk for chunk in chunks)
    return chunks


def assert_lost_at_most_one(server, before, path):
    """Of a sweep that was killed. Returns what the folder holds now."""
    after = chunks_in(path)
    started, done = (set(map(int, server.said(word))) for word in ("start", "done"))
    assert server.said("error") == []
    assert before | done <= after <= before | started
    assert len(started - done) <= 1
    return after


def assert_same_runs(path, whole):
    """Every file but the manifest, which has more sessions, and every value."""
    one, two = files(path), files(whole)
    assert one.keys() == two.keys()
    assert all(one[name] == two[name] for name in one if not name.endswith(".jsonl"))
    left, right = (open_records(x, lazy=False) for x in (path, whole))
    assert left["x"].values.tobytes() == right["x"].values.tobytes()
    assert left["id"].values.tolist() == right["id"].values.tolist()


def test_killed_at_every_call(server, tmp_path):
    whole = tmp_path / "whole"
    assert server.run(whole, 2) == 0
    for die in range(1000):
        path = tmp_path / f"{die}"
        status = server.run(path, 2, die=die)
        if status == 0:
            break
        assert status == signal.SIGKILL
        assert_lost_at_most_one(server, set(), path)
        assert server.run(path, 2) == 0, server.said("error")
        assert_same_runs(path, whole)
        shutil.rmtree(path)
    assert die > 30


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_call_after_call(server, tmp_path, seed):
    # Also while it repairs what the one before left.
    rng = np.random.default_rng(seed)
    assert server.run(tmp_path / "whole", 4) == 0
    path, held, kills = tmp_path / "r", set[str](), 0
    while server.run(path, 4, die=int(rng.integers(5, 45))):
        held = assert_lost_at_most_one(server, held, path)
        kills += 1
    assert kills >= 3
    assert_same_runs(path, tmp_path / "whole")


def test_killed_at_random_moments(server, tmp_path):
    chunks = 12
    start = time.perf_counter()
    assert server.run(tmp_path / "whole", chunks) == 0
    seconds = time.perf_counter() - start
    rng = np.random.default_rng(0)
    kills, inside = 0, 0
    for folder in itertools.count():
        if kills >= 25:
            break
        # By its own number: a run that ends before its kill leaves `kills` as it was.
        path, held = tmp_path / f"{folder}", set[str]()
        while True:
            child = server.start(path, chunks)
            time.sleep(rng.uniform(0, 0.6 * seconds))
            # It may have ended just before.
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            status = server.wait()
            if status == 0:
                break
            assert status == signal.SIGKILL
            kills += 1
            held = assert_lost_at_most_one(server, held, path)
            inside += len(server.said("start")) > len(server.said("done"))
            if held == set(range(chunks)):
                break
        assert server.run(path, chunks) == 0, server.said("error")
        assert_same_runs(path, tmp_path / "whole")
    # Else they were not where it matters.
    assert inside >= 5


def test_a_limit_on_file_size(server, tmp_path):
    assert server.run(tmp_path / "whole", 4) == 0
    sizes = [chunk_file(tmp_path / "whole", chunk).stat().st_size for chunk in range(4)]
    assert sizes[1] < sizes[2]
    assert server.run(tmp_path / "r", 4, limit=sizes[2] - 1) != 0
    assert server.said("done") == ["0", "1"]
    (error,) = server.said("error")
    assert error.startswith(f"DiskFullError: [Errno {errno.EFBIG}] the disk under")
    assert "3 runs in 2 chunks of part-00000 are kept" in error
    assert chunks_in(tmp_path / "r") == {0, 1}
    assert server.run(tmp_path / "r", 4) == 0
    assert server.said("done") == ["2", "3"]
    assert_same_runs(tmp_path / "r", tmp_path / "whole")


def test_two_processes(server, tmp_path):
    with open_folder(tmp_path / "r", {"a": 1}, provenance={}) as folder:
        assert server.run(tmp_path / "r", 2, part=0) != 0
        (error,) = server.said("error")
        assert error.startswith("FolderBusyError")
        assert str(tmp_path / "r") in error
        assert f"another process ({os.getpid()} on" in error
        with (
            pytest.raises(FolderBusyError, match="another process"),
            open_folder(tmp_path / "r", {"a": 1}, provenance={}),
        ):
            pass
        # A process with a part of its own is welcome.
        assert server.run(tmp_path / "r", 2, part=1) == 0, server.said("error")
        assert folder.finished() == {"0", "1", "1.1"}
        folder.write({"x": np.ones((1, 200))}, ["2"], {"x": ("run", "time")})
    assert open_records(tmp_path / "r")["id"].values.tolist() == ["2", "0", "1", "1.1"]
    assert server.run(tmp_path / "r", 0, part=0) == 0


def test_many_processes_that_start_a_folder_at_once(server, tmp_path):
    # They race for config.json: exactly one writes it, and it is never half there.
    import threading

    errors = []

    def start(part):
        try:
            write(tmp_path / "r", [part], part=part)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert open_records(tmp_path / "r").sizes["run"] == 24
    assert not list(tmp_path.rglob("*.partial"))


def test_the_module_needs_its_dependencies_only_when_used(tmp_path, monkeypatch):
    write(tmp_path / "r", [0])
    for module in ("xarray", "h5netcdf", "dask.array"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(ImportError, match=r"pip install 'jaxflow\[records\]'"):
                if module == "h5netcdf":
                    write(tmp_path / "r", [1])
                else:
                    open_records(tmp_path / "r")
            if module == "dask.array":
                assert_holds(open_records(tmp_path / "r", lazy=False), [0])


def test_the_manifest_describes_each_chunk(tmp_path):
    write(tmp_path / "r", [0])
    manifest = tmp_path / "r" / "part-00000" / "manifest.jsonl"
    for index, line in enumerate(manifest.read_text().splitlines()):
        content = json.loads(line)
        text = json.dumps(content["entry"], sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == content["sha256"]
        assert content["entry"][0] == index
    chunk = content["entry"][1]
    file = chunk_file(tmp_path / "r", 0)
    assert chunk["file"] == file.name
    assert chunk["bytes"] == file.stat().st_size
    assert chunk["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert chunk["ids"] == ids_of(0)
    assert chunk["variables"]["norms"] == {
        "dims": ["run", "time", "example"],
        "dtype": "float32",
        "shape": [3, 4, 2],
    }
