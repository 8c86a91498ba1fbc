"""Atomic file writes: temporary file, flush to disk, rename, flush of the folder."""

import errno
import glob
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

TEMPORARY = ".tmp"  # suffix of unfinished files
_PATIENCE = 2.0  # seconds that Windows gets to let go of a file


def _test_hook(point: str) -> None:
    """Do nothing; tests replace this to stop the process at a named point of a write."""


def temp_path(path: Path) -> Path:
    """Return a temporary path in the folder of ``path``, unique to this call."""
    writer = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return path.with_name(f".{path.name}.{writer}{TEMPORARY}")


def temp_owner_pid(path: Path) -> int | None:
    """Return the id of the process that made a :func:`temp_path`; None if on another machine."""
    head, _, rest = path.name.removesuffix(TEMPORARY).rpartition(f".{socket.gethostname()}-")
    number = rest.partition("-")[0]
    return int(number) if head and number.isdigit() else None


def owner_has_ended(path: Path) -> bool:
    """Tell whether the process that made a :func:`temp_path` has ended; False if not known."""
    pid = temp_owner_pid(path)
    if pid is None or os.name == "nt":  # signal 0 is Control-C there
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def remove_abandoned(path: Path) -> None:
    """Remove the unfinished files of ``path`` whose processes have ended."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*{TEMPORARY}"):
        if owner_has_ended(temporary):
            temporary.unlink(missing_ok=True)


def atomic_write(path: Path, write: Callable[[Path], object], *, sync: bool = True) -> None:
    """Write a file that appears under its name only when it is complete.

    Parameters
    ----------
    path : pathlib.Path
        The file; an existing one is replaced.
    write : callable
        Called with a temporary path: writes the content there and closes the file.
    sync : bool
        Whether the file must be on the disk, and survive a power failure, on return.

    Raises
    ------
    OSError
        If the disk is full or not writable; an existing file is then unchanged, and the
        temporary one removed.
    """
    temporary = temp_path(path)
    try:
        _test_hook("before-write")
        write(temporary)
        _test_hook("before-flush")
        if sync:
            _flush(temporary)
        _test_hook("before-rename")
        _replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # an error here would hide the first one
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and str(temporary) in str(error):
            # name the file that the user knows; HDF5 puts the temporary name into a long message
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    _test_hook("after-rename")
    if sync:
        _flush(path.parent)
    _test_hook("after-folder-flush")


def atomic_write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 by :func:`atomic_write`."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    atomic_write(path, write)


def atomic_copy(source: Path, path: Path) -> None:
    """Copy a file with its modification time by :func:`atomic_write`."""

    def write(temporary: Path) -> None:
        shutil.copy2(source, temporary)

    atomic_write(path, write)


def create_exclusive(path: Path, content: bytes) -> bytes:
    """Create a file unless it exists, and return its content: of several writers the first wins."""
    if not path.exists():
        temporary = temp_path(path)
        try:
            temporary.write_bytes(content)
            _flush(temporary)
            _link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink(missing_ok=True)
        _flush(path.parent)
    return path.read_bytes()


def _link(temporary: Path, path: Path) -> None:
    """Give a file a second name; unlike ``replace``, raise if that name exists."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, such as exFAT
        temporary.replace(path)


def _replace(temporary: Path, path: Path) -> None:
    """Rename a file over another one; on Windows again while a reader or scanner has it open."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            temporary.replace(path)
            return
        except PermissionError:
            if os.name != "nt" or time.monotonic() > end:
                raise
        time.sleep(0.02)


def _flush(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to the disk."""
    if path.is_dir() and os.name == "nt":
        return
    # Windows flushes only what is open for writing
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # some network file systems flush entries themselves and reject the call
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(handle)
