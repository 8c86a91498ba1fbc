import os
import signal
from functools import partial

import numpy as np
import pytest

from probekit.errors import ProbekitError
from probekit.parallel import resources


def scaled(values, unit):
    return float(values.sum() * unit), os.getpid()


def die(unit):
    os.kill(os.getpid(), signal.SIGKILL)


def test_units_are_done_here_unless_asked():
    work = partial(scaled, np.ones(3))
    assert list(resources.parallel_map(work, [2, 1])) == [(6.0, os.getpid()), (3.0, os.getpid())]


def test_units_keep_their_order_in_processes():
    work = partial(scaled, np.ones(1_000_000))  # large enough to be mapped, not copied
    found = list(resources.parallel_map(work, range(5), jobs=2))
    assert [value for value, _ in found] == [0.0, 1e6, 2e6, 3e6, 4e6]
    assert os.getpid() not in {pid for _, pid in found}


def test_a_process_that_dies_is_a_clear_error():
    with pytest.raises(ProbekitError, match=r"ended from outside.* Use fewer than --jobs 2"):
        list(resources.parallel_map(die, [1, 2], jobs=2))


def test_cores_can_be_limited(monkeypatch):
    monkeypatch.delenv("PROBEKIT_THREADS", raising=False)
    assert 1 <= resources.cpu_count() <= os.cpu_count()
    monkeypatch.setenv("PROBEKIT_THREADS", "3")
    assert resources.cpu_count() == 3
    monkeypatch.setenv("PROBEKIT_THREADS", "many")
    with pytest.raises(ProbekitError, match="PROBEKIT_THREADS=many"):
        resources.cpu_count()


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:99"])
def test_a_device_that_is_not_there_is_an_error(name):
    with pytest.raises(ProbekitError, match=f"--device {name}"):
        resources.device(name)
