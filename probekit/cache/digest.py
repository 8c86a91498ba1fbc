"""The first 512 bytes of a part: the SHA-256 of all that follows, so that any change is found."""

import hashlib
from pathlib import Path

BLOCK = 512  # bytes; HDF5 calls it a user block
_TITLE = "probekit embedding cache, part, format 1\nsha256 of what follows: "


def block(digest: str) -> bytes:
    """Return the block that holds a digest.

    Parameters
    ----------
    digest : str
        64 hexadecimal digits.

    Returns
    -------
    bytes
        512 of them.
    """
    return f"{_TITLE}{digest}\n".encode().ljust(BLOCK, b"\0")


def of(path: Path) -> str:
    """Return the SHA-256 of all that follows the block.

    Parameters
    ----------
    path : pathlib.Path
        A part.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        stream.seek(BLOCK)
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            sha.update(chunk)
    return sha.hexdigest()


def seal(path: Path) -> None:
    """Write the block of a file that has room for it.

    Parameters
    ----------
    path : pathlib.Path
        A finished HDF5 file with a user block.

    Raises
    ------
    OSError
        If it cannot be read or written.
    """
    content = block(of(path))
    with path.open("r+b") as stream:
        stream.write(content)


def agrees(path: Path) -> bool:
    """Tell whether a part's bytes are those that its block was written for.

    Parameters
    ----------
    path : pathlib.Path
        A part.

    Returns
    -------
    bool
        False if any byte differs, in the block or after it.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as stream:
        found = stream.read(BLOCK)
    return found == block(of(path))
