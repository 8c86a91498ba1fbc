import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from probekit.utils import atomic


def test_half_a_write_is_not_seen(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"older")

    def write(temporary):
        temporary.write_bytes(b"half of th")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        atomic.atomic_write(path, write)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_the_disk_before_its_name(tmp_path, monkeypatch, write_hook):
    steps = []
    monkeypatch.setattr(atomic, "_flush", lambda path: steps.append(("flush", path.is_dir())))
    write_hook(lambda point: steps.append((point, None)))
    atomic.atomic_write(tmp_path / "a", lambda temporary: temporary.write_bytes(b"x"))
    names = [step for step in steps if step[0] in ("flush", "before-rename", "after-rename")]
    assert names == [
        ("flush", False),
        ("before-rename", None),
        ("after-rename", None),
        ("flush", True),
    ]


def test_unfinished_files_say_who_writes_them(tmp_path, monkeypatch):
    temporary = atomic.temp_path(tmp_path / "part-00000.h5")
    assert atomic.temp_owner_pid(temporary) == os.getpid()
    monkeypatch.setattr("socket.gethostname", lambda: "another-one")
    assert atomic.temp_owner_pid(temporary) is None
    assert atomic.temp_owner_pid(atomic.temp_path(tmp_path / "a-1-b.h5")) == os.getpid()
    assert atomic.temp_owner_pid(tmp_path / ".stray.tmp") is None


def test_only_unfinished_files_of_ended_processes_are_removed(tmp_path):
    path = tmp_path / "run [1].h5"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine = atomic.temp_path(path)
    abandoned, elsewhere, of_another = (
        mine.with_name(mine.name.replace(*pair))
        for pair in (
            (f"-{os.getpid()}-", f"-{ended.pid}-"),
            (socket.gethostname(), "another-host"),
            ("run [1].h5", "run 1.h5"),
        )
    )
    of_another = of_another.with_name(of_another.name.replace(f"-{os.getpid()}-", f"-{ended.pid}-"))
    for file in (path, mine, abandoned, elsewhere, of_another):
        file.touch()
    atomic.remove_abandoned(path)
    assert set(tmp_path.iterdir()) == {path, mine, elsewhere, of_another}


def test_a_copy_has_the_same_times(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    os.utime(tmp_path / "a", ns=(1, 10**18))
    atomic.atomic_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"x"
    assert (tmp_path / "b").stat().st_mtime_ns == 10**18


@pytest.mark.parametrize("links", [True, False])
def test_the_first_writer_wins(tmp_path, monkeypatch, links):
    if not links:

        def refuse(self, target):
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    path = tmp_path / "dataset.json"
    assert atomic.create_exclusive(path, b"first") == b"first"
    assert atomic.create_exclusive(path, b"second") == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_comes_second_by_a_hair_gets_the_first_content(tmp_path, monkeypatch):
    path = tmp_path / "dataset.json"
    exists = Path.exists
    monkeypatch.setattr("pathlib.Path.exists", lambda self: self != path and exists(self))
    path.write_bytes(b"first")
    assert atomic.create_exclusive(path, b"second") == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_fault_names_the_file_that_was_asked_for(tmp_path):
    path = tmp_path / "gone" / "a.html"
    for write in (
        lambda: atomic.atomic_write_text(path, "a"),
        lambda: atomic.atomic_write(path, made),
    ):
        with pytest.raises(FileNotFoundError) as error:
            write()
        assert error.value.filename == str(path)
        assert ".tmp" not in str(error.value)


def made(temporary):
    """HDF5 puts the name into its message, and nowhere else."""
    with h5py.File(temporary, "w"):
        pass
