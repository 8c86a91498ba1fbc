"""What is different on Windows, simulated: the tests themselves run there by a workflow only."""

import ast
import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from probekit.cache import reader
from probekit.utils import atomic

fcntl = pytest.importorskip("fcntl", reason="simulates Windows where there is none")


class Windows:
    """The module ``os`` as far as :mod:`probekit.utils.atomic` needs it, with its rules."""

    name = "nt"

    def __getattr__(self, name):
        return getattr(os, name)

    def fsync(self, handle):
        """Flush a file; Windows refuses one that is open for reading only."""
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        os.fsync(handle)

    def kill(self, *_):
        raise AssertionError("signal 0 is Control-C on Windows")


@pytest.fixture
def windows(monkeypatch):
    monkeypatch.setattr(atomic, "os", Windows())


def test_files_are_flushed(windows, tmp_path):
    atomic.atomic_write_text(tmp_path / "a", "æ")
    assert (tmp_path / "a").read_text("utf-8") == "æ"
    assert atomic.create_exclusive(tmp_path / "b", b"first") == b"first"
    assert atomic.create_exclusive(tmp_path / "b", b"second") == b"first"


def test_a_reader_delays_a_rename(windows, tmp_path, monkeypatch):
    path_type, tries = type(tmp_path), []
    replace = path_type.replace

    def busy(self, target):
        tries.append(target)
        if len(tries) < 4:
            raise PermissionError(errno.EACCES, "Access is denied")
        return replace(self, target)

    monkeypatch.setattr(path_type, "replace", busy)
    (tmp_path / "a").write_bytes(b"older")
    atomic.atomic_write_text(tmp_path / "a", "newer")
    assert len(tries) == 4
    assert (tmp_path / "a").read_text("utf-8") == "newer"

    monkeypatch.setattr(atomic, "_PATIENCE", 0.1)
    monkeypatch.setattr(path_type, "replace", lambda *_: busy_forever())
    with pytest.raises(PermissionError):
        atomic.atomic_write_text(tmp_path / "a", "never")
    assert (tmp_path / "a").read_text("utf-8") == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def busy_forever():
    raise PermissionError(errno.EACCES, "Access is denied")


def test_elsewhere_a_rename_that_is_refused_is_an_error_at_once(tmp_path, monkeypatch):
    tries = []

    def refuse(*_):
        tries.append(1)
        busy_forever()

    monkeypatch.setattr(type(tmp_path), "replace", refuse)
    with pytest.raises(PermissionError):
        atomic.atomic_write_text(tmp_path / "a", "x")
    assert len(tries) == 1


def test_nobody_asks_whether_a_writer_lives(windows, tmp_path):
    assert atomic.owner_has_ended(atomic.temp_path(tmp_path / "a")) is False


def test_threads_share_a_file_that_has_one_position(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "preadv")  # as on Windows
    values = np.arange(400_000, dtype=np.int64)
    values.tofile(tmp_path / "a")

    def read(begin):
        block = np.empty(1000, np.int64)
        reader.read_into(file, 8 * begin, block)
        return np.array_equal(block, values[begin : begin + 1000])

    with reader.open_raw(tmp_path / "a") as file, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, list(range(0, 399_000, 250)) * 3))


def test_text_files_are_opened_with_an_encoding():
    place = {"read_text": 0, "write_text": 1}  # of the encoding among the arguments
    package, missing = Path(reader.__file__).parents[1], []
    for path in package.rglob("*.py"):
        text = path.read_text("utf-8")
        if not any(f"{word}(" in text for word in ("open", *place)):
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            named = {keyword.arg for keyword in node.keywords}
            if name in place and len(node.args) <= place[name] and "encoding" not in named:
                missing.append(f"{path.name}:{node.lineno}")
            # open(file) or path.open(); others, such as archive.open(name), are of bytes
            of_text = isinstance(node.func, ast.Name) or not node.args
            if name == "open" and of_text and not named & {"encoding", "mode"}:
                missing.append(f"{path.name}:{node.lineno}")
    assert missing == []
