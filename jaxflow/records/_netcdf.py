"""A chunk as the bytes of a netCDF4 file, and back.

Both go through h5py's low level, a tenth of the time of its high one and of h5netcdf.
What is read is checked first: HDF5 would follow a link to another file, fetch numbers
from one, or fill in those that were never written, and say nothing.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ._chunk import ID, RUN, TEXT, Chunk, optional

# What the netCDF library writes in a dimension that is no variable.
_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable."
# What h5py raises at a file that is damaged.
_DAMAGED = (OSError, KeyError, RuntimeError, TypeError, ValueError, OverflowError)


def encode(chunk: Chunk) -> bytes:
    """The netCDF4 file; the same chunk gives the same bytes (HDF5 stores no times).

    It is built in memory: HDF5 does not survive a disk that fills up under it.
    """
    # Without h5netcdf xarray does not read what is written.
    optional("h5netcdf")
    h5py = optional("h5py")
    low = h5py.h5p
    in_order = low.CRT_ORDER_TRACKED | low.CRT_ORDER_INDEXED
    creation = low.create(low.FILE_CREATE)
    creation.set_link_creation_order(in_order)
    creation.set_attr_creation_order(in_order)
    creation.set_obj_track_times(False)
    access = low.create(low.FILE_ACCESS)
    access.set_fapl_core(2**16, False)
    access.set_libver_bounds(h5py.h5f.LIBVER_V18, h5py.h5f.LIBVER_V18)
    plain = low.create(low.DATASET_CREATE)
    plain.set_layout(h5py.h5d.CONTIGUOUS)
    plain.set_attr_creation_order(in_order)
    plain.set_obj_track_times(False)
    # Two files of one process need two names, also in memory.
    label = f"jaxflow in memory {id(access)}".encode()
    file = h5py.h5f.create(label, h5py.h5f.ACC_TRUNC, fcpl=creation, fapl=access)
    try:
        attributes = h5py.AttributeManager(h5py.File(file))
        for key, value in {"coordinates": ID, **chunk.attrs}.items():
            attributes[key] = value
        arrays = {ID: np.asarray(chunk.ids), **chunk.arrays}
        dims = {ID: (RUN,), **chunk.dims}
        sizes = {
            dim: size
            for name, array in arrays.items()
            for dim, size in zip(dims[name], array.shape, strict=True)
        }
        scales = {
            dim: _dimension(h5py, file, plain, number, dim, size)
            for number, (dim, size) in enumerate(sizes.items())
        }
        numbers = {dim: number for number, dim in enumerate(sizes)}
        for name, array in arrays.items():
            data = _write(h5py, file, plain, name, array)
            for axis, dim in enumerate(dims[name]):
                h5py.h5ds.attach_scale(data, scales[dim], axis)
            along = np.array([numbers[dim] for dim in dims[name]], np.int32)
            _number(h5py, data, "_Netcdf4Dimid", along[0])
            _number(h5py, data, "_Netcdf4Coordinates", along)
            if array.dtype == bool:
                h5py.AttributeManager(h5py.Dataset(data))["dtype"] = "bool"
        h5py.h5f.flush(file)
        return file.get_file_image()
    finally:
        file.close()


def _dimension(
    h5py: Any, file: Any, plain: Any, number: int, name: str, size: int
) -> Any:
    space = h5py.h5s.create_simple((size,))
    scale = h5py.h5d.create(file, name.encode(), h5py.h5t.IEEE_F32BE, space, dcpl=plain)
    _number(h5py, scale, "_Netcdf4Dimid", np.int32(number))
    h5py.h5ds.set_scale(scale, f"{_NO_VARIABLE}{size:10}".encode())
    return scale


def _write(h5py: Any, file: Any, plain: Any, name: str, array: np.ndarray) -> Any:
    if array.dtype.kind == "U":
        text = h5py.string_dtype()
        stored, kind = array.astype(text), h5py.h5t.py_create(text, logical=True)
    else:
        # netCDF4 lacks booleans.
        stored = np.ascontiguousarray(array, "i1" if array.dtype == bool else None)
        kind = h5py.h5t.py_create(stored.dtype)
    space = h5py.h5s.create_simple(array.shape)
    data = h5py.h5d.create(file, name.encode(), kind, space, dcpl=plain)
    data.write(h5py.h5s.ALL, h5py.h5s.ALL, stored)
    return data


def _number(h5py: Any, owner: Any, name: str, value: Any) -> None:
    value = np.asarray(value)
    space = (
        h5py.h5s.create_simple(value.shape)
        if value.ndim
        else h5py.h5s.create(h5py.h5s.SCALAR)
    )
    kind = h5py.h5t.py_create(value.dtype)
    h5py.h5a.create(owner, name.encode(), kind, space).write(value)


def decode(
    path: Path, content: bytes | BinaryIO, variables: dict[str, dict[str, Any]]
) -> dict[str, np.ndarray]:
    """The variables, which are described as in the manifest, of the file `path`.

    - `content`: all of it, or the file opened, of which only the variables are read.

    A ValueError that names the file if they are not there, just as described and in
    the file itself.
    """
    with opened(path, content) as file:
        return read_variables(path, file, variables)


@contextlib.contextmanager
def opened(path: Path, content: bytes | BinaryIO) -> Iterator[Any]:
    """A file for `read_variables`; raises as `decode` does."""
    h5py = optional("h5py")
    with _explaining_damage(path):
        if isinstance(content, bytes):
            file = h5py.h5f.open_file_image(content)
        else:
            file = h5py.File(content, "r").id
    try:
        yield file
    finally:
        with _explaining_damage(path):
            file.close()


def read_variables(
    path: Path, file: Any, variables: dict[str, dict[str, Any]]
) -> dict[str, np.ndarray]:
    """The same of a file that is `opened`."""
    h5py = optional("h5py")
    with _explaining_damage(path):
        return {name: _read(h5py, file, name, x) for name, x in variables.items()}


@contextlib.contextmanager
def _explaining_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise ValueError(
            f"{path} is not the netCDF4 file that its manifest describes "
            f"({type(error).__name__}: {error}). Restore it from a copy, or delete "
            f"{path.parent} and its runs are computed again."
        ) from error


def _read(h5py: Any, file: Any, name: str, variable: dict[str, Any]) -> np.ndarray:
    if file.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise ValueError(f"{name!r} is a link to elsewhere")
    data = h5py.h5d.open(file, name.encode())
    # In this order: the shape of a virtual dataset may be asked of other files.
    plan = data.get_create_plist()
    if plan.get_layout() != h5py.h5d.CONTIGUOUS or plan.get_nfilters():
        raise ValueError(f"{name!r} is virtual, compressed or in pieces")
    if plan.get_external_count():
        raise ValueError(f"the numbers of {name!r} are stored in another file")
    shape, text = tuple(variable["shape"]), variable["dtype"] == TEXT
    boolean = variable["dtype"] == "bool"
    dtype = np.dtype(object if text else variable["dtype"])
    stored = np.dtype("i1") if boolean else dtype
    if data.shape != shape or data.dtype != stored:
        raise ValueError(
            f"{name!r} is {data.dtype} of shape {data.shape} rather than {stored} of "
            f"shape {shape}"
        )
    if text:
        return _read_text(h5py, data, name, variable["width"])
    values = np.empty(shape, stored)
    if data.get_storage_size() != values.nbytes:
        raise ValueError(f"{name!r} was not written")
    data.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    if boolean and values.view("u1").max() > 1:
        raise ValueError(f"{name!r} holds other numbers than 0 and 1")
    return values.astype(dtype, copy=False)


def _read_text(h5py: Any, data: Any, name: str, width: int) -> np.ndarray:
    if h5py.check_string_dtype(data.dtype) is None:
        raise ValueError(f"{name!r} is no text")
    if not data.get_storage_size():
        raise ValueError(f"{name!r} was not written")
    values = np.empty(data.shape, data.dtype)
    data.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    texts = [bytes(text or b"").decode() for text in values.flat]
    if max(map(len, texts)) > width:
        raise ValueError(f"{name!r} is longer than {width} letters")
    return np.array(texts, f"U{width}").reshape(data.shape)
