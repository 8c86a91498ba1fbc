import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from probekit.cache import part

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
def stop_at(write_hook):
    def choose(last_point, error):
        def at_point(point):
            if point == last_point:
                raise error

        write_hook(at_point)

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
        part.write_part(path, toy([0, 1]))
        before = path.read_bytes()
    stop_at(point, error)
    with pytest.raises(type(error)):
        part.write_part(path, toy())
    if point.startswith("before"):
        assert (path.read_bytes() if path.exists() else None) == before
    else:
        assert len(part.read_part(path).rows) == 6
        assert part.verify_part(path) is None
    assert list(tmp_path.iterdir()) == ([path] if path.exists() else [])
    stop_at("", error)
    part.write_part(path, toy())
    assert part.verify_part(path) is None
    assert len(part.read_part(path).rows) == 6


KILL = """
import os, signal, sys
from pathlib import Path

source, path, last_point, how = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
def at_point(point):
    if point == last_point:
        os._exit(77) if how == "exit" else os.kill(os.getpid(), signal.SIGKILL)
"""
WRITE = """
from probekit.cache import part
part.write_part(path, part.read_part(source))
"""


def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path, toy, same_part, write_hook):
    running = []
    for number, point in enumerate(POINTS):
        path = tmp_path / point / "part-00000.h5"
        path.parent.mkdir()
        part.write_part(path, toy([0, 1]))
        how = ("kill", "exit")[number % 2]
        code = -signal.SIGKILL if how == "kill" else 77
        command = [
            sys.executable,
            "-c",
            write_hook.source(KILL) + WRITE,
            str(KEPT),
            str(path),
            point,
            how,
        ]
        running.append((point, path, path.read_bytes(), code, subprocess.Popen(command)))
    for point, path, before, code, process in running:
        assert process.wait(60) == code, point
        if point.startswith("before"):
            assert path.read_bytes() == before
        else:
            same_part(part.read_part(path), toy())
        assert part.verify_part(path) is None


FULL = """
import resource, sys
from pathlib import Path
from probekit.cache import part

kept, path = map(Path, sys.argv[1:])
content = part.read_part(kept)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
try:
    part.write_part(path, content)
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


@pytest.mark.parametrize("step", ["file", "name", "folder"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_every_step_of_a_commit_may_fail(tmp_path, toy, monkeypatch, step, number):
    path = tmp_path / "part-00000.h5"
    part.write_part(path, toy([0, 1]))
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
            part.write_part(path, toy())
    assert list(tmp_path.iterdir()) == [path]
    assert part.verify_part(path) is None
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
    part.write_part(tmp_path / "p.h5", toy())
    assert part.verify_part(tmp_path / "p.h5") is None
