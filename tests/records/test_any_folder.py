"""Folders that chance damages or makes up: what is read is what was written, or it is
refused by a ValueError; and nothing outside the folder is touched."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from jaxflow.records import open_folder, open_records

from .folders import (
    CONFIG,
    assert_whole,
    digest,
    entries,
    ids_of,
    replace_chunk,
    write,
    write_entries,
)

pytest.importorskip("h5netcdf")
pytest.importorskip("xarray")
pytest.importorskip("dask")

# A minute for all of them.
pytestmark = pytest.mark.slow

PARTS = {0: [0, 1], 1: [2]}
WRITTEN = {
    name for chunks in PARTS.values() for chunk in chunks for name in ids_of(chunk)
}
FILES = (
    "config.json",
    "part-00000/manifest.jsonl",
    "part-00000/chunk-000000.nc",
    "part-00000/chunk-000001.nc",
    "part-00001/manifest.jsonl",
    "part-00001/chunk-000000.nc",
)
SECRET = b"not to be read"

examples = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """The folder, and one of another config beside it."""
    made = tmp_path_factory.mktemp("originals")
    for name, config in (("r", CONFIG), ("other", {**CONFIG, "rtol": 1.0})):
        for part, chunks in PARTS.items():
            write(made / name, chunks, part=part, config=config)
    # Whatever is imported on the way is imported before a folder is watched.
    open_records(made / "r").load()
    return made


@contextlib.contextmanager
def copy_of(originals):
    """A copy of the folder in a directory of its own, which holds a secret."""
    with tempfile.TemporaryDirectory() as around:
        (Path(around) / "secret").write_bytes(SECRET)
        shutil.copytree(originals / "r", Path(around) / "r")
        yield Path(os.path.realpath(around)) / "r"


class Watch:
    """The files that this process opens, makes or removes, so far as Python sees."""

    def __init__(self):
        self.touched = None
        sys.addaudithook(self._hear)

    def _hear(self, name, arguments):
        heard = name in ("open", "os.remove", "os.link", "os.mkdir", "os.scandir")
        if self.touched is not None and (heard or name == "os.rename"):
            self.touched += [x for x in arguments[:2] if isinstance(x, str | Path)]

    @contextlib.contextmanager
    def inside(self, folder):
        self.touched = []
        try:
            yield
        finally:
            touched, self.touched = self.touched, None
        inside = (str(folder), str(folder.parent))
        strays = [
            path
            for path in map(str, touched)
            # The mode of an open file is heard as well.
            if os.sep in path and path not in inside and inside[0] + os.sep not in path
        ]
        # What Python itself loads late.
        assert [path for path in strays if not path.endswith((".py", ".pyc"))] == []


@pytest.fixture(scope="module")
def watch():
    # A hook cannot be taken away again; this one hears nothing when the tests are over.
    return Watch()


def read(folder, watch, **kwargs):
    """The records, or None where they are refused."""
    with watch.inside(folder):
        try:
            # In this thread: others would still read when this one has raised.
            records = open_records(folder, **kwargs).load(scheduler="synchronous")
        except ValueError as error:
            event("refused")
            assert str(folder) in str(error)
            return None
    event("read")
    return records


def resume(folder, watch):
    """The finished runs as a writer finds them, or None where it is refused."""
    with watch.inside(folder):
        try:
            with open_folder(folder, CONFIG, provenance={}) as opened:
                return opened.finished()
        except ValueError as error:
            assert str(folder) in str(error)
            return None


def check(folder, watch, lazy):
    """What was damaged by chance is refused, or nothing was lost that was not named."""
    records = read(folder, watch, lazy=lazy)
    if records is not None:
        assert set(records["id"].values.tolist()) <= WRITTEN
        assert_whole(records)
    finished = resume(folder, watch)
    assert finished is None or finished <= WRITTEN
    # A writer repairs what a killed one leaves, and nothing else.
    if records is not None:
        assert finished == set(records["id"].values.tolist())
    assert (folder.parent / "secret").read_bytes() == SECRET
    assert {path.name for path in folder.parent.iterdir()} == {"r", "secret"}
    return records


def damaged(draw, content, others):
    """Content that something happened to."""
    size = len(content)
    kind = draw(st.sampled_from(["bytes", "cut", "flip", "splice", "foreign", "twice"]))
    event(kind)
    if kind == "bytes":
        return draw(st.binary(max_size=300))
    if kind == "foreign":
        return draw(st.sampled_from(others))
    first, second = sorted(draw(st.tuples(*[st.integers(0, size)] * 2)))
    if kind == "cut":
        return content[:first]
    if kind == "twice":
        return content[:second] + content[first:]
    if kind == "splice":
        return content[:first] + draw(st.binary(max_size=20)) + content[second:]
    flipped = bytearray(content)
    flipped[first % size] ^= draw(st.integers(1, 255))
    return bytes(flipped)


@examples
@given(data=st.data(), lazy=st.booleans())
def test_damage(originals, watch, data, lazy):
    others = [
        (originals / folder / name).read_bytes()
        for folder in ("r", "other")
        for name in FILES
    ]
    with copy_of(originals) as folder:
        chosen = st.lists(st.sampled_from(FILES), min_size=1, max_size=2, unique=True)
        names = data.draw(chosen)
        lossless = True
        for name in names:
            before = (folder / name).read_bytes()
            now = damaged(data.draw, before, others)
            (folder / name).write_bytes(now)
            lossless &= now == before
        records = check(folder, watch, lazy)
        # A manifest that ends within a line, or after one, is what a killed process
        # leaves: the chunk after that is written again.
        cut = any(name.endswith("manifest.jsonl") for name in names)
        assert records is None or lossless or cut


MOVES = st.tuples(
    st.sampled_from(["r", "other"]),
    st.sampled_from([*FILES, "part-00000", "part-00001"]),
    st.sampled_from([*FILES, "part-00000", "part-00001", "part-00002"]),
)


@examples
@given(moves=st.lists(MOVES, min_size=1, max_size=3), lazy=st.booleans())
def test_files_and_parts_that_belong_elsewhere(originals, watch, moves, lazy):
    with copy_of(originals) as folder:
        for source, old, new in moves:
            if not (folder / new).parent.is_dir():
                continue
            if (folder / new).is_dir():
                shutil.rmtree(folder / new)
            else:
                (folder / new).unlink(missing_ok=True)
            if (originals / source / old).is_dir():
                shutil.copytree(originals / source / old, folder / new)
            else:
                shutil.copy(originals / source / old, folder / new)
        check(folder, watch, lazy)


LINKS = st.tuples(
    st.sampled_from(
        [
            *FILES,
            "part-00000",
            "part-00001",
            "part-00002",
            "part-00000/lock",
            "part-00000/config.json.partial",
            "part-00000/chunk-000002.nc",
            "part-00000/chunk-000002.nc.partial",
        ]
    ),
    st.sampled_from(["secret", "away", "nowhere", ".", "r", "r/part-00001"]),
)


@examples
@given(links=st.lists(LINKS, min_size=1, max_size=2), lazy=st.booleans())
def test_links(originals, watch, links, lazy):
    with copy_of(originals) as folder:
        for name, target in links:
            path = folder / name
            if not path.parent.is_dir() or path.parent.is_symlink():
                continue
            if target == "away":
                # To the very thing that was there.
                with contextlib.suppress(FileNotFoundError):
                    path.rename(folder.parent / "away")
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            path.symlink_to(folder.parent / target)
            if target == "away":
                break
        away = folder.parent / "away"
        before = contents(away)
        records = read(folder, watch, lazy=lazy)
        if records is not None:
            assert_whole(records)
        resume(folder, watch)
        assert contents(away) == before
        assert (folder.parent / "secret").read_bytes() == SECRET
        assert not (folder.parent / "nowhere").exists()


def contents(path):
    if path.is_symlink() or not path.exists():
        return None
    return (
        path.read_bytes()
        if path.is_file()
        else sorted(map(contents_of, path.iterdir()))
    )


def contents_of(path):
    linked = path.is_symlink() or not path.is_file()
    return path.name, b"" if linked else path.read_bytes()


# --- crafted: with checksums that are right -------------------------------------------

ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["run", "time", "str", "float64", "chunk", "../../secret", "id"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value, path=()):
    """All places within JSON."""
    yield path
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield from places(value[key], (*path, key))


def put(value, path, new):
    if not path:
        return new
    value = dict(value) if isinstance(value, dict) else list(value)
    value[path[0]] = put(value[path[0]], path[1:], new)
    return value


def assert_consistent(records):
    """Nothing of what was made up was read by half."""
    runs = records.sizes["run"]
    assert len(records["id"]) == runs
    for array in records.data_vars.values():
        assert array.dims[0] == "run"
        assert array.shape[0] == runs
        assert SECRET not in array.values.tobytes()


@examples
@given(data=st.data(), lazy=st.booleans())
def test_crafted_manifests(originals, watch, data, lazy):
    with copy_of(originals) as folder:
        manifest = folder / "part-00000" / "manifest.jsonl"
        every = entries(manifest)
        for _ in range(data.draw(st.integers(1, 2))):
            place = data.draw(st.sampled_from([x for x in places(every) if x]))
            every = put(every, place, data.draw(ANY))
            every = every if isinstance(every, list) else entries(manifest)
            if data.draw(st.booleans()):
                break
        write_entries(manifest, every)
        records = read(folder, watch, lazy=lazy)
        if records is not None:
            assert_consistent(records)
        resume(folder, watch)
        assert (folder.parent / "secret").read_bytes() == SECRET


@examples
@given(data=st.data())
def test_crafted_configs(originals, watch, data):
    with copy_of(originals) as folder:
        path = folder / "config.json"
        content = json.loads(path.read_text())
        place = data.draw(st.sampled_from(list(places(content))))
        content = put(content, place, data.draw(ANY))
        if isinstance(content, dict) and data.draw(st.booleans()):
            text = json.dumps(
                content.get("config"), sort_keys=True, separators=(",", ":")
            )
            content["sha256"] = digest(text.encode())
        path.write_text(json.dumps(content, sort_keys=True, indent=2) + "\n")
        if content == json.loads((originals / "r" / "config.json").read_text()):
            return
        assert read(folder, watch) is None
        assert resume(folder, watch) is None


@settings(examples, max_examples=400)
@given(data=st.data(), lazy=st.booleans())
def test_crafted_chunks(originals, watch, data, lazy):
    """A file that is changed together with its checksum: HDF5 gets to see it."""
    with copy_of(originals) as folder:
        content = bytearray((folder / "part-00000" / "chunk-000000.nc").read_bytes())
        # Where HDF5 keeps its own numbers, mostly: at the begin.
        where = st.integers(0, len(content) - 1) | st.integers(0, 1200)
        for position in data.draw(st.lists(where, min_size=1, max_size=3)):
            content[position] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            content = content[: data.draw(st.integers(0, len(content)))]
        replace_chunk(folder / "part-00000", bytes(content))
        records = read(folder, watch, lazy=lazy)
        if records is not None:
            assert_consistent(records)
            assert records["loss"].dtype == np.float64


def test_the_watch_hears(tmp_path, watch):
    # That the tests above can fail.
    (tmp_path / "r").mkdir()
    (tmp_path / "secret").write_bytes(SECRET)
    for touch in (
        lambda: (tmp_path / "secret").read_bytes(),
        lambda: os.close(os.open(tmp_path / "secret", os.O_RDONLY)),
        lambda: os.rename(tmp_path / "secret", tmp_path / "s"),
        lambda: os.unlink(tmp_path / "s"),
    ):
        with pytest.raises(AssertionError), watch.inside(tmp_path / "r"):
            touch()
    with watch.inside(tmp_path / "r"):
        (tmp_path / "r" / "x").write_bytes(b"")
