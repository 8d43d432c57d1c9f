"""One writer for each part of a folder."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ._disk import write_at
from ._inside import open_file

# What a file system says that knows no locks.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}

# Descriptors of the locks that this process holds. A forked child shares them, and
# would keep a lock for as long as it lives after the writer was killed: it gives them
# up before it runs anything. What a process has open is a matter of the process, so
# that this one list may be global.
_held: set[int] = set()


def _give_up_in_child() -> None:
    # The parent keeps its lock, since its own descriptor stays open.
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_give_up_in_child)


class FolderBusyError(RuntimeError):
    """Another process writes to the same part of a folder."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Holds the lock file `path`, which is released even if the process is killed;
    yields its descriptor.

    The file itself stays: were it deleted, two processes could hold locks on two files
    of that name.
    """
    # Here, not above: there is no fcntl on Windows, where the rest can be imported.
    import fcntl

    descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
    _held.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            raise FolderBusyError(
                f"{path.parent} is being written by another process "
                f"({holder or 'unknown'}). Wait for it to end, or choose another "
                "folder. Processes that write one folder at the same time each need a "
                "part of their own: simulate_ensemble gives them one after "
                "jax.distributed.initialize(), open_folder by its argument part."
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            raise OSError(
                error.errno,
                f"the file system of {path} has no locks ({os.strerror(error.errno)}), "
                "which keep two processes from writing the same records. Write to "
                "another one, such as a local disk, and copy the folder when it is "
                "finished",
            ) from error
        os.ftruncate(descriptor, 0)
        write_at(descriptor, 0, f"{os.getpid()} on {socket.gethostname()}\n".encode())
        yield descriptor
    finally:
        # Not in a forked child, which closed it.
        if descriptor in _held:
            _held.discard(descriptor)
            os.close(descriptor)
