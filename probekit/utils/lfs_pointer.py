"""Pointers of Git LFS: small text files that stand for files which were not fetched."""

from pathlib import Path

_MAGIC = b"version https://git-lfs.github.com/spec/"
_MAX_BYTES = 1024  # of a pointer, by its specification

ADVICE = "run git lfs pull in its repository (archives of GitHub hold only pointers)"


def is_pointer(head: bytes) -> bool:
    """Tell whether a file that begins like this is a pointer."""
    return head.startswith(_MAGIC)


def is_pointer_file(path: Path) -> bool:
    """Tell whether a file is a pointer; only a small one is opened. False if it cannot be read."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return False
        with path.open("rb") as stream:
            return is_pointer(stream.read(len(_MAGIC)))
    except OSError:
        return False
