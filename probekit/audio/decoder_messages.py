"""Messages that decoders in C print to the standard error stream, caught for the file at hand.

libmpg123 prints what it finds odd in an MP3, without the file's name. While a file is decoded, the
C library's ``stderr`` is a stream that hands each message to the thread that caused it; messages of
other threads go where they would have gone. Only the GNU C library can do this; elsewhere messages
are printed as before.
"""

import ctypes
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

_STDERR = 2
_UNBUFFERED = 2
_SOURCE = re.compile(r"^\[[^]]*\]\s*")  # [src/libmpg123/id3.c:process_comment():584]

_Write = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class _Functions(ctypes.Structure):
    """``cookie_io_functions_t`` of the GNU C library."""

    _fields_ = [
        ("read", ctypes.c_void_p),
        ("write", _Write),
        ("seek", ctypes.c_void_p),
        ("close", ctypes.c_void_p),
    ]


class _Stream:
    """A stream of the C library in place of ``stderr``, as long as any thread needs it."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._variable = ctypes.c_void_p.in_dll(library, "stderr")
        self._functions = _Functions(None, _Write(self._write), None, None)
        library.fopencookie.restype = ctypes.c_void_p
        library.fopencookie.argtypes = [ctypes.c_void_p, ctypes.c_char_p, _Functions]
        library.setvbuf.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t,
        ]  # fmt: skip
        self._stream = library.fopencookie(None, b"w", self._functions)
        if not self._stream:
            raise OSError("fopencookie failed")
        library.setvbuf(self._stream, None, _UNBUFFERED, 0)
        self._lock = threading.Lock()
        self._users = 0
        self._previous: int | None = None
        self._messages: dict[int, list[bytes]] = {}

    def _write(self, _: Any, buffer: int, size: int) -> int:
        """Keep what a thread writes, or pass it on."""
        text = ctypes.string_at(buffer, size)
        messages = self._messages.get(threading.get_ident())
        if messages is None:
            with suppress(OSError):
                os.write(_STDERR, text)
        else:
            messages.append(text)
        return size

    @contextmanager
    def catch(self) -> Iterator[Callable[[], list[str]]]:
        """Catch what this thread writes; the yielded function returns the lines so far."""
        thread = threading.get_ident()
        messages = self._messages[thread] = []
        with self._lock:
            if not self._users:
                self._previous, self._variable.value = self._variable.value, self._stream
            self._users += 1
        try:
            yield lambda: _lines(messages)
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._variable.value = self._previous
            del self._messages[thread]


@contextmanager
def catch_messages() -> Iterator[Callable[[], list[str]]]:
    """Catch what C code of this thread prints to ``stderr``.

    Yields
    ------
    callable
        Returns the lines so far, without the names of source files.
    """
    stream = _stream()
    if stream is None:
        yield lambda: []
        return
    with stream.catch() as lines:
        yield lines


@lru_cache(maxsize=1)
def _stream() -> _Stream | None:
    """Return the stream of this process; None where the C library has none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return _Stream()
    except (OSError, AttributeError, ValueError):  # another C library
        return None


def _lines(messages: list[bytes]) -> list[str]:
    """Return each line once."""
    lines = b"".join(messages).decode(errors="replace").splitlines()
    return list(dict.fromkeys(_SOURCE.sub("", line).strip() for line in lines if line.strip()))
