"""Folders that somebody else made: what belongs elsewhere, leads out of the folder or
is no record is refused by name."""

import contextlib
import json
import os
import re
import shutil
import socket
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxflow
from jaxflow.records import open_folder, open_records

from .folders import (
    CONFIG,
    DIMS,
    assert_whole,
    digest,
    entries,
    ids_of,
    replace_chunk,
    rows_of,
    write,
    write_entries,
)

h5py = pytest.importorskip("h5py")
pytest.importorskip("h5netcdf")
pytest.importorskip("xarray")
pytest.importorskip("dask")

SECRET = b"secret\n" * 100


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "r", [0, 1])
    return tmp_path / "r"


@pytest.fixture
def secret(tmp_path):
    (tmp_path / "secret").write_bytes(SECRET)
    return tmp_path / "secret"


def refused(folder, match, part=0):
    """By readers and by writers."""
    for lazy in (True, False):
        with pytest.raises(ValueError, match=match):
            open_records(folder, lazy=lazy)
    with (
        pytest.raises(ValueError, match=match),
        open_folder(folder, CONFIG, part=part, provenance={}) as opened,
    ):
        opened.finished()


# --- parts that belong elsewhere ------------------------------------------------------


def test_a_part_of_another_folder_is_refused(folder, tmp_path):
    write(tmp_path / "other", [2], config={**CONFIG, "rtol": 1e-3})
    part = tmp_path / "other" / "part-00000"
    shutil.copytree(part, folder / "part-00001")
    refused(folder, "part-00001 belongs to another folder.*Move part-00001 back")
    shutil.rmtree(folder / "part-00001")
    # In place of its own, to which nothing is missing.
    shutil.rmtree(folder / "part-00000")
    shutil.copytree(part, folder / "part-00000")
    refused(folder, "part-00000 belongs to another folder")


def test_a_line_of_another_folder_is_refused(folder, tmp_path):
    write(tmp_path / "other", [2, 3], config={**CONFIG, "rtol": 1e-3})
    name = "part-00000/manifest.jsonl"
    lines = (folder / name).read_bytes().splitlines(keepends=True)
    other = (tmp_path / "other" / name).read_bytes().splitlines(keepends=True)
    (folder / name).write_bytes(b"".join([*lines[:2], other[2]]))
    refused(folder, "part-00000 belongs to another folder: line 3")


def test_a_part_without_a_mark_is_refused(folder):
    manifest = folder / "part-00000" / "manifest.jsonl"
    every = entries(manifest)
    for entry in every:
        entry.pop("config")
    write_entries(manifest, every)
    refused(folder, "part-00000 belongs to another folder.*the config unknown")


@pytest.fixture
def format_1(tmp_path):
    """As it was written before parts had a mark."""
    shutil.copytree(Path(__file__).parent / "format_1", tmp_path / "old")
    return tmp_path / "old"


def test_the_format_before_is_read_and_resumed_with_a_warning(format_1):
    from .test_records import CONFIG, assert_holds, ids_of, write

    with pytest.warns(UserWarning, match=r"whether part-00000 was copied from"):
        records = open_records(format_1)
    assert_holds(records, [0])
    with pytest.warns(UserWarning, match="part-00000") as warned:
        write(format_1, [1])
    assert "test_records" in warned[0].filename
    with pytest.warns(UserWarning, match="part-00000"):
        records = open_records(format_1, lazy=False)
    assert_holds(records, [0, 1])
    # What is written now has the mark, which is looked at there too.
    *old, session, chunk = entries(format_1 / "part-00000" / "manifest.jsonl")
    mark = json.loads((format_1 / "config.json").read_text())["sha256"]
    assert [session["config"], chunk["config"]] == [mark, mark]
    assert not any("config" in entry for entry in old)
    write_entries(
        format_1 / "part-00000" / "manifest.jsonl",
        [*old, session, {**chunk, "config": "0" * 64}],
    )
    with pytest.raises(ValueError, match="belongs to another folder: line 4"):
        open_records(format_1)
    assert CONFIG["dtype"] == "float64"
    assert ids_of(0)


def test_a_format_to_come_is_refused(folder):
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"format": 2', '"format": 3'))
    refused(folder, r"config\.json is of format 3, and this version of jaxflow reads")


# --- what leads out of the folder -----------------------------------------------------

OWN = (
    "config.json",
    "part-00000/manifest.jsonl",
    "part-00000/chunk-000000.nc",
    "part-00000/chunk-000001.nc",
)


@pytest.mark.parametrize("name", OWN)
def test_a_link_to_a_file_is_refused(folder, tmp_path, name):
    # Also where what it points to is as it should be.
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    refused(folder, rf"{Path(name).name} must be a file, but it is a symbolic link")
    assert (tmp_path / "elsewhere").read_bytes() == before


@pytest.mark.parametrize("name", OWN)
def test_a_link_to_nowhere_is_refused(folder, tmp_path, name):
    (folder / name).unlink()
    (folder / name).symlink_to(tmp_path / "nowhere")
    refused(folder, rf"{Path(name).name} must be a file, but it is a symbolic link")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("part", [0, 7])
def test_a_link_to_a_directory_is_refused(folder, tmp_path, part):
    shutil.copytree(folder / "part-00000", tmp_path / "elsewhere")
    shutil.rmtree(folder / "part-00000")
    (folder / f"part-{part:05d}").symlink_to(tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").iterdir())
    refused(folder, f"part-{part:05d} must be a directory, but it is a symbolic link")
    assert sorted((tmp_path / "elsewhere").iterdir()) == before


def test_a_link_in_place_of_the_lock_is_refused(folder, secret):
    (folder / "part-00000" / "lock").unlink()
    (folder / "part-00000" / "lock").symlink_to(secret)
    with pytest.raises(ValueError, match="lock must be a file, but it is a symbolic"):
        write(folder, [2])
    assert secret.read_bytes() == SECRET
    # Readers have no use for it.
    assert_whole(open_records(folder))


@pytest.mark.parametrize("name", ["lock", "manifest.jsonl"])
def test_a_file_of_two_names_is_not_written(folder, tmp_path, name):
    os.link(folder / "part-00000" / name, tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    with pytest.raises(ValueError, match=rf"{name} has another name \(a hard link\)"):
        write(folder, [2])
    assert (tmp_path / "elsewhere").read_bytes() == before


@pytest.mark.parametrize("new", [True, False])
def test_links_in_place_of_unfinished_files_are_removed(tmp_path, secret, new):
    folder = tmp_path / "r"
    if not new:
        write(folder, [0])
    part = folder / "part-00000"
    part.mkdir(parents=True, exist_ok=True)
    index = 0 if new else 1
    names = ["config.json.partial", f"chunk-{index:06d}.nc.partial"]
    if not new:
        # What a process that was killed before the line of this chunk leaves.
        names.append("chunk-000001.nc")
    for name in names:
        (part / name).symlink_to(secret)
    write(folder, [index])
    assert secret.read_bytes() == SECRET
    assert not list(part.glob("*.partial"))
    assert_whole(open_records(folder))


@pytest.mark.parametrize("name", [*OWN, "part-00000/lock"])
@pytest.mark.parametrize(
    "kind", ["a named pipe", "a directory", "a device or a socket"]
)
def test_what_is_no_file_is_refused_at_once(folder, monkeypatch, name, kind):
    path = folder / name
    path.unlink()
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a directory":
        path.mkdir()
    else:
        monkeypatch.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    if path.name == "lock":
        with pytest.raises(ValueError, match=f"lock must be a file, but it is {kind}"):
            write(folder, [2])
        return
    refused(folder, f"{path.name} must be a file, but it is {kind}")


def test_a_file_in_place_of_a_part_is_refused(folder):
    (folder / "part-00001").write_text("")
    refused(folder, "part-00001 must be a directory, but it is a file", part=1)


def test_a_part_of_another_name_is_refused(folder):
    shutil.copytree(folder / "part-00000", folder / "part-00000 (copy)")
    refused(folder, r"part-00000 \(copy\) is not a part")


# --- lines that anybody could write ---------------------------------------------------


def nested(depth):
    return json.loads("[" * depth + "]" * depth)


def changed(entry, **fields):
    return {**entry, **fields}


def variables(chunk, **fields):
    loss = {**chunk["variables"]["loss"], **fields}
    return {**chunk, "variables": {**chunk["variables"], "loss": loss}}


CRAFTED = {
    "no dict": lambda chunk: [1],
    "null": lambda chunk: None,
    "empty": lambda chunk: {},
    "no kind": lambda chunk: {k: v for k, v in chunk.items() if k != "kind"},
    "other kind": lambda chunk: changed(chunk, kind="x"),
    "kind of a list": lambda chunk: changed(chunk, kind=[]),
    "no file": lambda chunk: {k: v for k, v in chunk.items() if k != "file"},
    "more": lambda chunk: changed(chunk, more=1),
    "above": lambda chunk: changed(chunk, file="../../secret"),
    "absolute": lambda chunk: changed(chunk, file="/etc/passwd"),
    "another chunk": lambda chunk: changed(chunk, file="chunk-000000.nc"),
    "a number": lambda chunk: changed(chunk, file=1),
    "NUL": lambda chunk: changed(chunk, file="chunk\0"),
    "bytes": lambda chunk: changed(chunk, bytes="1"),
    "negative": lambda chunk: changed(chunk, bytes=-1),
    "true": lambda chunk: changed(chunk, bytes=True),
    "sha256": lambda chunk: changed(chunk, sha256=None),
    "config": lambda chunk: changed(chunk, config=[]),
    "ids": lambda chunk: changed(chunk, ids="ab"),
    "no ids": lambda chunk: changed(chunk, ids=[]),
    "ids of lists": lambda chunk: changed(chunk, ids=[[], {}]),
    "ids twice": lambda chunk: changed(chunk, ids=["a", "a"]),
    "a surrogate": lambda chunk: changed(chunk, ids=["\ud800", "b"]),
    "more ids": lambda chunk: changed(chunk, ids=["a", "b", "c"]),
    "attrs": lambda chunk: changed(chunk, attrs=[]),
    "attrs of lists": lambda chunk: changed(chunk, attrs={"a": [1]}),
    "variables": lambda chunk: changed(chunk, variables=[]),
    "no variables": lambda chunk: changed(chunk, variables={}),
    "a variable": lambda chunk: changed(chunk, variables={"loss": 1}),
    "a path": lambda chunk: changed(
        chunk, variables={"../x": chunk["variables"]["loss"]}
    ),
    "dims": lambda chunk: variables(chunk, dims="run"),
    "no run": lambda chunk: variables(chunk, dims=["time", "run"]),
    "dims of lists": lambda chunk: variables(chunk, dims=["run", []]),
    "shape": lambda chunk: variables(chunk, shape=[2, "3"]),
    "other shape": lambda chunk: variables(chunk, shape=[2, 4]),
    "short shape": lambda chunk: variables(chunk, shape=[2]),
    "zero": lambda chunk: variables(chunk, shape=[2, 0]),
    "huge": lambda chunk: variables(chunk, shape=[2, 10**18]),
    "dtype": lambda chunk: variables(chunk, dtype="O"),
    "dtype of a list": lambda chunk: variables(chunk, dtype=["f8"]),
    "other dtype": lambda chunk: variables(chunk, dtype="int64"),
    "width": lambda chunk: variables(chunk, width=3),
    "wide": lambda chunk: variables(chunk, dtype="str", width=10**15),
    "deep": lambda chunk: changed(chunk, attrs=nested(500)),
    "deeper": lambda chunk: changed(chunk, attrs=nested(900)),
    "session": lambda chunk: {"kind": "session", "provenance": 1, "config": "0" * 64},
}


@pytest.mark.parametrize("case", CRAFTED)
def test_a_crafted_line_is_refused(folder, secret, case):
    manifest = folder / "part-00000" / "manifest.jsonl"
    *others, last = entries(manifest)
    write_entries(manifest, [*others, CRAFTED[case](last)])
    # Where a line is right in itself, it does not fit its file or the other chunks.
    for lazy in (True, False):
        with pytest.raises(ValueError, match=r"part-00000") as raised:
            open_records(folder, lazy=lazy).load()
        assert type(raised.value) is ValueError
    with (
        contextlib.suppress(ValueError),
        open_folder(folder, CONFIG, provenance={}) as opened,
    ):
        opened.finished()


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"entry":' * 100_000, '{"entry": [0]}', '{"entry": {}}', "1", "é"],
)
def test_lines_of_another_kind_are_refused(folder, text):
    manifest = folder / "part-00000" / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes() + text.encode("latin1") + b"\n")
    refused(folder, r"Line 4 of .*manifest\.jsonl is damaged")


def config_text(config, **fields):
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    content = {"config": config, "format": 2, "sha256": digest(text.encode()), **fields}
    return json.dumps(content, sort_keys=True, indent=2) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        '{"config":' * 100_000,
        config_text([]),
        config_text(None),
        config_text({"a": nested(500)}),
        config_text({"a": float("nan")}),
        config_text({}, format="2"),
        config_text({}, format=True),
        config_text({}, more=1),
        "9" * 10_000,
    ],
)
def test_a_crafted_config_is_refused(folder, text):
    (folder / "config.json").write_text(text)
    refused(folder, r"config\.json is damaged")


NONSENSE = {
    "no versions": lambda config: config.pop("versions"),
    "versions": lambda config: config.update(versions=[1]),
    "fingerprint": lambda config: config.update(fingerprint=None),
    "no place": lambda config: config["fingerprint"].pop("of"),
    "place": lambda config: config["fingerprint"]["of"].update(n={}, seeds=None),
    "a time": lambda config: config["fingerprint"]["of"].update(until="soon"),
    "laws": lambda config: config["fingerprint"].update(inputs=1),
    "numbers": lambda config: config["fingerprint"].update(inputs=["f | 1 | x", []]),
    "a stop": lambda config: config["fingerprint"].update(stop=[]),
    "settings": lambda config: config.update(methods=3, stop={"name": []}),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_a_crafted_config_of_an_ensemble_is_refused(tmp_path, case):
    def go():
        jaxflow.simulate_ensemble(
            jax.random.key(0),
            n=4,
            d=8,
            p=2,
            seeds=2,
            method=jaxflow.GradientDescent(0.5),
            times=[0.0],
            folder=tmp_path / "r",
            progress=False,
        )

    go()
    path = tmp_path / "r" / "config.json"
    config = json.loads(path.read_text())["config"]
    NONSENSE[case](config)
    path.write_text(config_text(config))
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "r"))):
        go()


def test_a_config_that_is_too_deep_is_not_written(tmp_path):
    for depth in (200, 100_000):
        deep: list = []
        for _ in range(depth):
            deep = [deep]
        with (
            pytest.raises(ValueError, match=r"config must be JSON, but .*too deeply"),
            open_folder(tmp_path / "r", {"a": deep}, provenance={}),
        ):
            pass
        del deep
    assert not (tmp_path / "r").exists()


# --- files that HDF5 would follow, or fill in -----------------------------------------


def as_it_should_be(file):
    file["loss"] = rows_of(0)["loss"]
    text = h5py.string_dtype()
    file.create_dataset("result", data=rows_of(0)["result"].astype(object), dtype=text)
    file["fitted"] = rows_of(0)["fitted"].astype("i1")


def external_link(file, elsewhere):
    file["loss"] = h5py.ExternalLink(str(elsewhere / "data.h5"), "loss")


def soft_link(file, elsewhere):
    file["other"] = rows_of(0)["loss"]
    file["loss"] = h5py.SoftLink("/other")


def through_an_external_link(file, elsewhere):
    file["there"] = h5py.ExternalLink(str(elsewhere / "data.h5"), "/")
    file["loss"] = h5py.SoftLink("/there/loss")


def external_storage(file, elsewhere):
    where = [(str(elsewhere / "secret"), 0, 48)]
    file.create_dataset("loss", (2, 3), "f8", external=where)


def virtual(file, elsewhere):
    layout = h5py.VirtualLayout((2, 3), "f8")
    layout[:] = h5py.VirtualSource(str(elsewhere / "data.h5"), "loss", shape=(2, 3))
    file.create_virtual_dataset("loss", layout)


def virtual_without_end(file, elsewhere):
    layout = h5py.VirtualLayout((2, 3), "f8", maxshape=(2, None))
    source = h5py.VirtualSource(
        str(elsewhere / "data.h5"), "loss", shape=(2, 3), maxshape=(2, None)
    )
    layout[:, : h5py.h5s.UNLIMITED] = source[:, : h5py.h5s.UNLIMITED]
    file.create_virtual_dataset("loss", layout)


FOLLOWED = {
    "external link": external_link,
    "soft link": soft_link,
    "two links": through_an_external_link,
    "external storage": external_storage,
    "virtual": virtual,
    "virtual without end": virtual_without_end,
    "compressed": lambda file, _: file.create_dataset(
        "loss", data=np.ones((2, 3)), compression="gzip"
    ),
    "a group": lambda file, _: file.create_group("loss"),
    "absent": lambda file, _: None,
    "of another shape": lambda file, _: file.create_dataset(
        "loss", data=np.ones((2, 4))
    ),
    "of another dtype": lambda file, _: file.create_dataset("loss", (2, 3), "f4"),
    "big-endian": lambda file, _: file.create_dataset(
        "loss", data=np.ones((2, 3), ">f8")
    ),
    "never written": lambda file, _: file.create_dataset("loss", (2, 3), "f8"),
    "a reference": lambda file, _: file.create_dataset("loss", (2, 3), h5py.ref_dtype),
}


@pytest.mark.parametrize("case", FOLLOWED)
def test_what_is_not_in_the_file_itself_is_refused(folder, secret, tmp_path, case):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("loss", data=np.full((2, 3), 7.0), maxshape=(2, None))
    with h5py.File(tmp_path / "chunk", "w") as file:
        as_it_should_be(file)
        del file["loss"]
        FOLLOWED[case](file, tmp_path)
    replace_chunk(folder / "part-00000", (tmp_path / "chunk").read_bytes())
    for verify in (True, False):
        for lazy in (True, False):
            with pytest.raises(
                ValueError, match=r"chunk-000000\.nc is not the netCDF4"
            ):
                open_records(folder, lazy=lazy, verify=verify).load()


TEXTS = {
    "longer": [b"longer than it should be"] * 2,
    "no UTF-8": [b"\xff", b"a"],
}


@pytest.mark.parametrize("case", TEXTS)
def test_text_that_is_not_as_described_is_refused(folder, tmp_path, case):
    with h5py.File(tmp_path / "chunk", "w") as file:
        as_it_should_be(file)
        file["result"][...] = np.array(TEXTS[case], object)
    replace_chunk(folder / "part-00000", (tmp_path / "chunk").read_bytes())
    with pytest.raises(ValueError, match=r"chunk-000000\.nc is not the netCDF4"):
        open_records(folder, lazy=False)


def test_booleans_are_0_and_1(folder, tmp_path):
    with h5py.File(tmp_path / "chunk", "w") as file:
        as_it_should_be(file)
        file["fitted"][0] = 2
    replace_chunk(folder / "part-00000", (tmp_path / "chunk").read_bytes())
    with pytest.raises(ValueError, match="other numbers than 0 and 1"):
        open_records(folder, lazy=False)


def test_a_file_of_another_writer_is_read_where_it_is_as_described(folder, tmp_path):
    # So that what is refused above is refused for its reason.
    with h5py.File(tmp_path / "chunk", "w") as file:
        as_it_should_be(file)
    replace_chunk(folder / "part-00000", (tmp_path / "chunk").read_bytes())
    for lazy in (True, False):
        records = open_records(folder, lazy=lazy)
        assert records["id"].values.tolist() == [*ids_of(0), *ids_of(1)]
        assert_whole(records)
    assert set(DIMS) == set(records.data_vars)
