"""Records of a sweep on disk: a folder that many processes fill and none can spoil.

    folder/
      config.json             what determines the bits of a run, with a checksum
      part-00000/             one part per writing process
        lock                  held (flock) while a process writes the part
        manifest.jsonl        a line per session and per finished chunk of runs
        chunk-000000.nc ...   netCDF4, with the dimension "run" and others

`open_folder` writes and resumes, `open_records` reads. A chunk counts from the moment
its line stands in the manifest, and that line is written only after the chunk is whole
and on disk, so that a process may be killed at any moment and loses at most the chunk
that it was writing.

What a killed process can leave behind is repaired by the next writer of the part: a
temporary file, one chunk that the manifest does not list yet, a last line without its
end. Everything else (a chunk that is missing, short or changed, another damaged line,
a manifest that is gone while chunks are there) is lost data and is refused by name.
A part that is deleted as a whole goes unnoticed: its runs are computed again.

A folder may come from somebody else: links, pipes and what belongs to another folder
are refused by name, and nothing outside the folder is read or written. docs/folders.md
says what is promised and what is not.

Importing this module needs none of xarray, h5netcdf and dask; using it does.
"""

from ._disk import DiskFullError as DiskFullError
from ._folder import RecordFolder as RecordFolder
from ._folder import open_folder as open_folder
from ._lock import FolderBusyError as FolderBusyError
from ._provenance import checkout as checkout
from ._provenance import provenance as provenance
from ._read import open_records as open_records
