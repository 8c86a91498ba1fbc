import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from probekit.cache import part
from probekit.utils import atomic

KEPT = Path(__file__).parent / "data" / "part-v1.h5"
POINTS = [
    "before-write",
    "before-digest",
    "before-flush",
    "before-rename",
    "after-rename",
    "after-folder-flush",
]


class Stopped(BaseException):
    """What a signal might raise."""


@pytest.fixture
def stop_at(monkeypatch):
    def choose(wanted, error):
        def reached(point):
            if point == wanted:
                raise error

        monkeypatch.setattr(atomic, "_test_hook", reached)

    return choose


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
        Stopped(),
    ],
    ids=["fault", "full", "read-only", "stopped"],
)
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("older", [True, False])
def test_a_fault_leaves_the_old_file_or_the_new_one(tmp_path, toy, stop_at, point, error, older):
    path = tmp_path / "part-00000.h5"
    before = None
    if older:
        part.write(path, toy([0, 1]))
        before = path.read_bytes()
    stop_at(point, error)
    with pytest.raises(type(error)):
        part.write(path, toy())
    if point.startswith("before"):
        assert (path.read_bytes() if path.exists() else None) == before
    else:
        assert len(part.read(path).rows) == 6
        assert part.verify(path) is None
    assert list(tmp_path.iterdir()) == ([path] if path.exists() else [])
    stop_at("", error)
    part.write(path, toy())
    assert part.verify(path) is None
    assert len(part.read(path).rows) == 6


KILLED = """
import os, signal, sys
from pathlib import Path
from probekit.utils import atomic
from probekit.cache import part

kept, path, wanted, how = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
def reached(point):
    if point == wanted:
        os._exit(77) if how == "exit" else os.kill(os.getpid(), signal.SIGKILL)
atomic._test_hook = reached
part.write(path, part.read(kept))
"""


def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path, toy, same_part):
    running = []
    for number, point in enumerate(POINTS):
        path = tmp_path / point / "part-00000.h5"
        path.parent.mkdir()
        part.write(path, toy([0, 1]))
        how = ("kill", "exit")[number % 2]
        code = -signal.SIGKILL if how == "kill" else 77
        command = [sys.executable, "-c", KILLED, str(KEPT), str(path), point, how]
        running.append((point, path, path.read_bytes(), code, subprocess.Popen(command)))
    for point, path, before, code, process in running:
        assert process.wait(60) == code, point
        if point.startswith("before"):
            assert path.read_bytes() == before
        else:
            same_part(part.read(path), toy())
        assert part.verify(path) is None


FULL = """
import resource, sys
from pathlib import Path
from probekit.cache import part

kept, path = map(Path, sys.argv[1:])
content = part.read(kept)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
try:
    part.write(path, content)
except OSError as error:
    sys.exit(error.errno)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_disk_that_is_really_full_is_an_error_and_no_crash(tmp_path, cli):
    # HDF5 itself ends the process here
    path = tmp_path / "part-00000.h5"
    path.write_bytes(b"older")
    done = cli(KEPT, path, code=FULL)
    assert done.returncode == errno.EFBIG, done.stderr
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_half_a_write_is_not_seen(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"older")

    def write(aside):
        aside.write_bytes(b"half of th")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        atomic.atomic_write(path, write)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_the_disk_before_its_name(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(atomic, "_flush", lambda path: steps.append(("flush", path.is_dir())))
    monkeypatch.setattr(atomic, "_test_hook", lambda point: steps.append((point, None)))
    atomic.atomic_write(tmp_path / "a", lambda aside: aside.write_bytes(b"x"))
    names = [step for step in steps if step[0] in ("flush", "before-rename", "after-rename")]
    assert names == [
        ("flush", False),
        ("before-rename", None),
        ("after-rename", None),
        ("flush", True),
    ]


@pytest.mark.parametrize("step", ["file", "name", "folder"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_every_step_of_a_commit_may_fail(tmp_path, toy, monkeypatch, step, number):
    path = tmp_path / "part-00000.h5"
    part.write(path, toy([0, 1]))
    before = path.read_bytes()
    fsync, replace = os.fsync, Path.replace

    def failing_fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode) == (step == "folder"):
            raise OSError(number, os.strerror(number))
        fsync(handle)

    def failing_replace(self, target):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        if step == "name":
            patch.setattr(Path, "replace", failing_replace)
        else:
            patch.setattr(os, "fsync", failing_fsync)
        with pytest.raises(OSError, match=os.strerror(number)):
            part.write(path, toy())
    assert list(tmp_path.iterdir()) == [path]
    assert part.verify(path) is None
    assert (path.read_bytes() == before) == (step != "folder")
    assert Path.replace is replace


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_folders_that_cannot_be_flushed_are_no_fault(tmp_path, toy, monkeypatch, number):
    fsync = os.fsync

    def refuse(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    part.write(tmp_path / "p.h5", toy())
    assert part.verify(tmp_path / "p.h5") is None


def test_unfinished_files_say_who_writes_them(tmp_path, monkeypatch):
    aside = atomic.temp_path(tmp_path / "part-00000.h5")
    assert atomic.temp_owner_pid(aside) == os.getpid()
    monkeypatch.setattr("socket.gethostname", lambda: "another-one")
    assert atomic.temp_owner_pid(aside) is None
    assert atomic.temp_owner_pid(atomic.temp_path(tmp_path / "a-1-b.h5")) == os.getpid()
    assert atomic.temp_owner_pid(tmp_path / ".stray.tmp") is None


def test_a_copy_has_the_same_times(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    os.utime(tmp_path / "a", ns=(1, 10**18))
    atomic.copy(tmp_path / "a", tmp_path / "b")
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


def made(aside):
    """HDF5 puts the name into its message, and nowhere else."""
    with h5py.File(aside, "w"):
        pass
