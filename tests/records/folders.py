"""Small folders of records for the tests, and lines of a manifest as anybody could
write them."""

import hashlib
import json

import numpy as np

from jaxflow.records import open_folder

CONFIG = {"method": "flow", "rtol": 1e-6}
DIMS = {"loss": ("run", "time"), "result": ("run",), "fitted": ("run",)}


def rows_of(chunk):
    """Numbers that tell the chunk."""
    return {
        "loss": np.full((2, 3), 1.0 + chunk),
        "result": np.array([f"result {chunk}"] * 2),
        "fitted": np.array([True, False]),
    }


def ids_of(chunk):
    return [f"{chunk}.0", f"{chunk}.1"]


def write(path, chunks, part=0, config=CONFIG):
    with open_folder(path, config, part=part, provenance={}) as folder:
        for chunk in chunks:
            folder.write(rows_of(chunk), ids_of(chunk), DIMS)


def assert_whole(records):
    """Every run that is there has the values that were written for it."""
    for index, name in enumerate(records["id"].values.tolist()):
        chunk, row = map(int, name.split("."))
        for variable, want in rows_of(chunk).items():
            got = records[variable].values[index]
            np.testing.assert_array_equal(got, want[row])


def digest(content):
    return hashlib.sha256(content).hexdigest()


def line(index, entry):
    """With a checksum that is right."""
    text = json.dumps([index, entry], sort_keys=True, separators=(",", ":"))
    return f'{{"entry":{text},"sha256":"{digest(text.encode())}"}}\n'.encode()


def entries(manifest):
    lines = manifest.read_bytes().splitlines()
    return [json.loads(each)["entry"][1] for each in lines]


def write_entries(manifest, every):
    manifest.write_bytes(b"".join(line(i, entry) for i, entry in enumerate(every)))


def replace_chunk(part, content, index=0):
    """Another file in the place of a chunk, and a manifest to match."""
    every = entries(part / "manifest.jsonl")
    chunk = [entry for entry in every if entry["kind"] == "chunk"][index]
    chunk |= {"bytes": len(content), "sha256": digest(content)}
    (part / chunk["file"]).write_bytes(content)
    write_entries(part / "manifest.jsonl", every)
