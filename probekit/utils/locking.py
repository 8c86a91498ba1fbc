"""One writer at a time in a folder of parts, on this machine and on others that share the disk."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from probekit.errors import CacheError

NAME = ".lock"
_PATIENCE = 600.0  # seconds to wait for other writers; a write takes a few
# file systems without locks: NFS without its lock daemon, Lustre mounted without flock
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def write_lock(where: Path) -> Iterator[None]:
    """Hold the lock of a folder while one of its parts is read, changed and written.

    A part is written whole. Whoever adds clips to it reads the old one first, and must not miss
    what another process writes between this reading and its own renaming. The lock is one of the
    operating system's (``flock``; over NFS the server holds it), so it ends with the process that
    holds it, however that ends: there is no stale lock. The empty file ``.lock`` stays.

    On a file system that has no locks the folder is not locked: two extractions that write the
    same part within the same moment can then drop one another's clips, which the next run
    embeds again.

    Parameters
    ----------
    where : pathlib.Path
        The folder.

    Raises
    ------
    CacheError
        If others hold the lock for ten minutes, or the folder cannot be written.
    """
    lock = FileLock(where / NAME, timeout=_PATIENCE)
    try:
        lock.acquire()
    except Timeout as error:
        raise CacheError(
            f"{where / NAME}: another process has been writing for {_PATIENCE / 60:.0f} minutes. "
            "Run the same command again when it is done, or end it"
        ) from error
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise CacheError(
                f"{where}: cannot be written ({(error.strerror or str(error)).lower()}). Name "
                "another folder with --cache"
            ) from error
    try:
        yield
    finally:
        lock.release()
