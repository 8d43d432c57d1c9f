"""Datasets that read their chunks when values are needed."""

import collections
import contextlib
import gc
import os
import pickle

import numpy as np
import pytest

from jaxflow.records import _source, open_folder, open_records
from jaxflow.records._config import read_config
from jaxflow.records._manifest import read_parts
from jaxflow.records._source import Reader, Source

from .folders import DIMS, ids_of, rows_of, write

pytest.importorskip("dask")


@pytest.fixture
def descriptors(tmp_path):
    """How many files of the test are open; others come and go."""

    def count():
        found = 0
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/self/fd/{number}")
                found += target.startswith(str(tmp_path))
        return found

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("files that are open are listed in /proc")
    return count


@pytest.fixture
def opens(monkeypatch):
    """How often each file is opened for its variables."""
    counted: collections.Counter[str] = collections.Counter()
    original = _source.open_chunk

    def open_chunk(file, chunk):
        counted[file.name] += 1
        return original(file, chunk)

    monkeypatch.setattr(_source, "open_chunk", open_chunk)
    return counted


@pytest.mark.parametrize("chunks", [12, pytest.param(10_000, marks=pytest.mark.long)])
def test_each_chunk_is_opened_once(tmp_path, opens, descriptors, chunks):
    write(tmp_path / "runs", range(chunks))
    records, before = open_records(tmp_path / "runs"), descriptors()
    assert not opens
    records.load()
    assert opens == {f"chunk-{i:06d}.nc": 1 for i in range(chunks)}
    assert descriptors() == before
    opens.clear()
    # Some of the variables, so that no file is read to its end.
    some = open_records(tmp_path / "runs")[["loss", "fitted"]].load()
    assert opens == {f"chunk-{i:06d}.nc": 1 for i in range(chunks)}
    assert descriptors() == before
    assert some.loss.identical(records.loss)
    whole = open_records(tmp_path / "runs", lazy=False)
    assert whole.identical(records)
    assert whole.loss.values[::2, 0].tolist() == [1.0 + i for i in range(chunks)]


def readers_of(folder):
    (part,) = read_parts(folder, read_config(folder))
    return [Reader(Source(part.path / x["file"], x, None)) for x in part.chunks]


def test_few_files_are_open_at_a_time(tmp_path, monkeypatch, opens, descriptors):
    monkeypatch.setattr(_source, "_MOST", 2)
    write(tmp_path / "runs", range(5))
    readers, before = readers_of(tmp_path / "runs"), descriptors()
    for name in ("loss", "result"):
        for chunk, reader in enumerate(readers):
            np.testing.assert_array_equal(reader.read(name), rows_of(chunk)[name])
            assert descriptors() <= before + 2
    assert set(opens.values()) == {2}
    assert descriptors() == before + 2
    # The last variable of one, and nobody holds the other any more.
    readers[4].read("fitted")
    assert descriptors() == before + 1
    del readers, reader
    assert descriptors() == before


def test_a_reader_goes_to_another_process(tmp_path):
    write(tmp_path / "runs", [3])
    (reader,) = readers_of(tmp_path / "runs")
    reader.read("loss")
    copy = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copy.read("loss"), rows_of(3)["loss"])


def test_a_chunk_that_was_changed_meanwhile_is_refused(tmp_path, descriptors):
    write(tmp_path / "runs", range(2))
    records = open_records(tmp_path / "runs")
    file, before = tmp_path / "runs" / "part-00000" / "chunk-000001.nc", descriptors()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"chunk-000001\.nc was changed"):
        records.compute(scheduler="synchronous")
    # What the error left behind holds the other chunk.
    gc.collect()
    assert descriptors() == before
    with open_folder(tmp_path / "others", {}, provenance={}) as folder:
        folder.write(rows_of(1), ids_of(1), DIMS)
    others = tmp_path / "others" / "part-00000" / "chunk-000000.nc"
    # As it was written, in another file.
    file.unlink()
    file.write_bytes(others.read_bytes())
    assert records.load().loss.values[-1, 0] == 2.0
