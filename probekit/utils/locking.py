"""Folder locks between processes, on one machine or on several that share the disk."""

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from probekit.errors import CacheError

NAME = ".lock"
_WRITE_TIMEOUT = 600.0  # seconds to wait for other writers; a write takes a few
# file systems without locks: NFS without its lock daemon, Lustre mounted without flock
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def folder_lock(folder: Path, timeout: float = -1.0) -> Iterator[None]:
    """Hold the lock of a folder, so that no other process holds it meanwhile.

    It is a lock of the operating system (``flock``; over NFS the server holds it) on the file
    ``.lock``, which stays. It ends with the process that holds it, so there are no stale locks. On
    a file system without locks, nothing is locked.

    Parameters
    ----------
    folder : pathlib.Path
        An existing folder.
    timeout : float
        Seconds to wait for another process; negative: no limit.

    Raises
    ------
    TimeoutError
        If another process holds the lock for longer than that.
    OSError
        If the folder cannot be written.
    """
    lock = FileLock(folder / NAME, timeout=timeout)
    try:
        lock.acquire()
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Tell whether another process holds the :func:`folder_lock` of a folder."""
    try:
        with FileLock(folder / NAME, timeout=0):
            return False
    except Timeout:
        return True
    except (NotImplementedError, OSError):  # a file system without locks
        return False


@contextmanager
def write_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a cache folder while one of its parts is read, changed and written.

    A part is rewritten as a whole: whoever adds clips reads the old one first, and must not miss
    what another process writes in between. On a file system without locks, two extractions that
    write the same part at the same moment can lose each other's clips; the next run embeds those
    again.

    Raises
    ------
    CacheError
        If others hold the lock for ten minutes, or the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(folder, _WRITE_TIMEOUT))
        except TimeoutError as error:
            raise CacheError(
                f"{folder / NAME}: another process has been writing for {_WRITE_TIMEOUT / 60:.0f} "
                "minutes. Run the same command again when it has finished, or end it"
            ) from error
        except OSError as error:
            raise CacheError(
                f"{folder}: cannot be written ({(error.strerror or str(error)).lower()}). Choose "
                "another folder with --cache"
            ) from error
        yield
