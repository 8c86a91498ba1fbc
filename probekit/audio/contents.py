"""Contents of a recording's file, found without decoding, and files assembled from pieces."""

import io
from dataclasses import dataclass
from pathlib import Path

Piece = bytes | tuple[int, int]
"""Bytes, or the first byte and the number of bytes of a range of a file."""


@dataclass(frozen=True)
class Contents:
    """What a file holds, compared with what its header declares.

    Attributes
    ----------
    kind : str
        ``"mp3"``, ``"flac"``, ``"ogg"`` …; empty if only decoding can tell.
    sources : tuple of tuple of Piece
        The recordings in the file, which follow each other, as pieces of it; empty for the file as
        it is. A header that is wrong is replaced by one that is right.
    truncated : str
        Message if the file ends before its recording does.
    share : float or None
        Share of a truncated recording that is in the file; None if the header does not tell.
    counts_all : bool
        Whether the decoder's length of a truncated recording includes what the file lacks.
    damage : str
        Message if the file is damaged.
    exact : bool
        Whether the decoder knows the length exactly.
    at_least : int
        Samples that decode in any case, where the decoder does not know the length exactly.
    seekable : bool
        Whether the decoder finds positions; else it has to decode everything before them.
    notes : tuple of str
        What is odd, but no fault.
    """

    kind: str = ""
    sources: tuple[tuple[Piece, ...], ...] = ()
    truncated: str = ""
    share: float | None = None
    counts_all: bool = False
    damage: str = ""
    exact: bool = True
    at_least: int = 0
    seekable: bool = True
    notes: tuple[str, ...] = ()


class PiecedFile(io.RawIOBase):
    """File object for reading pieces of a file as one.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    pieces : sequence of Piece
        Bytes, and ranges of the file.
    """

    def __init__(self, path: Path, pieces: tuple[Piece, ...]) -> None:
        super().__init__()
        self._stream = path.open("rb")
        self._pieces = pieces
        self._sizes = [len(piece) if isinstance(piece, bytes) else piece[1] for piece in pieces]
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, and return it."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: sum(self._sizes)}
        self._position = max(0, origin[whence] + offset)
        return self._position

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        """Read into a buffer, and return the number of bytes: fewer at the end only."""
        view, done, begin = memoryview(buffer).cast("B"), 0, 0
        for piece, size in zip(self._pieces, self._sizes, strict=True):
            skip = self._position - begin
            begin += size
            if done == len(view) or skip >= size:
                continue
            count = min(size - skip, len(view) - done)
            if isinstance(piece, bytes):
                view[done : done + count] = piece[skip : skip + count]
            else:
                self._stream.seek(piece[0] + skip)
                count = self._stream.readinto(view[done : done + count])
            done += count
            self._position += count
        return done

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()
