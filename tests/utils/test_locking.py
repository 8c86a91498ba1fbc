import errno
import subprocess
import sys
import time

import filelock
import pytest

from probekit.errors import CacheError
from probekit.utils import locking

HOLD = """
import sys, time
from pathlib import Path
from probekit.utils import locking
with locking.write_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_one_writer_at_a_time(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(locking, "_WRITE_TIMEOUT", 0.2)
    with (
        pytest.raises(CacheError, match=r"\.lock: another process has been writing"),
        locking.write_lock(tmp_path),
    ):
        raise AssertionError("two writers at once")


def test_a_killed_writer_leaves_no_lock(tmp_path, holder):
    holder.kill()
    begin = time.monotonic()
    with locking.write_lock(tmp_path):
        assert time.monotonic() - begin < 10


def test_an_error_inside_frees_the_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), locking.write_lock(tmp_path):
        _ = 1 / 0
    with locking.write_lock(tmp_path):
        pass


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with locking.write_lock(tmp_path):
        (tmp_path / "written").touch()


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with (
        pytest.raises(CacheError, match=r"cannot be written \(permission denied\)"),
        locking.write_lock(tmp_path),
    ):
        pass
