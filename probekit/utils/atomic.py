"""A file is there whole, or not at all: write aside, flush, rename, flush the folder."""

import errno
import os
import shutil
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

TEMPORARY = ".tmp"  # suffix of files that are not finished


def _test_hook(point: str) -> None:
    """Mark a named point of the commit; tests stop the process here."""


def temp_path(path: Path) -> Path:
    """Return a name beside ``path`` that no other writer uses."""
    mark = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return path.with_name(f".{path.name}.{mark}{TEMPORARY}")


def temp_owner_pid(path: Path) -> int | None:
    """Return which process of this machine writes, or wrote, a file that is not finished.

    Parameters
    ----------
    path : pathlib.Path
        From :func:`temp_path`.

    Returns
    -------
    int or None
        The process's id; None where it ran on another machine.
    """
    head, _, rest = path.name.removesuffix(TEMPORARY).rpartition(f".{socket.gethostname()}-")
    number = rest.partition("-")[0]
    return int(number) if head and number.isdigit() else None


def atomic_write(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file so that it appears under its name only when it is whole and on the disk.

    Parameters
    ----------
    path : pathlib.Path
        The file's final name; an older file of that name is replaced at once.
    write : callable
        Writes the content under the name that it is given, and closes it.

    Raises
    ------
    OSError
        If the disk is full or not writable; the older file is then untouched and nothing is left
        behind.
    """
    aside = temp_path(path)
    try:
        _test_hook("before-write")
        write(aside)
        _test_hook("before-flush")
        _flush(aside)
        _test_hook("before-rename")
        aside.replace(path)
    except BaseException as error:
        with suppress(OSError):  # a fault here would hide the one that led here
            aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and str(aside) in str(error):
            # the name that people know; HDF5 puts the other one into a long message
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    _test_hook("after-rename")
    _flush(path.parent)
    _test_hook("after-folder-flush")


def atomic_write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all; see :func:`atomic_write`."""

    def write(aside: Path) -> None:
        aside.write_text(text, encoding="utf-8")

    atomic_write(path, write)


def copy(source: Path, path: Path) -> None:
    """Copy a file with its times, whole or not at all; see :func:`atomic_write`."""

    def write(aside: Path) -> None:
        shutil.copy2(source, aside)

    atomic_write(path, write)


def create_exclusive(path: Path, content: bytes) -> bytes:
    """Write a file that is never changed again; the first writer wins.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    content : bytes
        What to write if it is not there yet.

    Returns
    -------
    bytes
        What the file holds: ``content``, or what another writer put there first.
    """
    if not path.exists():
        aside = temp_path(path)
        try:
            aside.write_bytes(content)
            _flush(aside)
            _name(aside, path)
        except FileExistsError:
            pass
        finally:
            aside.unlink(missing_ok=True)
        _flush(path.parent)
    return path.read_bytes()


def _name(aside: Path, path: Path) -> None:
    """Give a file a second name; fails where that name is taken, as ``replace`` does not."""
    try:
        path.hardlink_to(aside)
    except FileExistsError:
        raise
    except OSError:  # a file system without links, such as exFAT
        aside.replace(path)


def _flush(path: Path) -> None:
    """Make sure that a file's content, or a folder's names, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # some network file systems flush names by themselves, and refuse to be asked
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(handle)
