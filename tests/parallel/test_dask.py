import os
import sys

import numpy as np
import pytest

from probekit.errors import ProbekitError
from probekit.parallel import dask, resources
from probekit.parallel.pool import parallel_map

pytest.importorskip("distributed")


def scaled(values, unit):
    return float(values.sum() * unit), os.getpid()


def hide():
    sys.modules["probekit.errors"] = None


def test_a_cluster_does_what_this_process_would():
    values = np.ones(100_000)
    work = lambda unit: scaled(values, unit)  # noqa: E731 - what a notebook defines, travels too
    found = list(parallel_map(work, [2, 0, 1], jobs=1, dask="local"))
    assert [value for value, _ in found] == [2e5, 0.0, 1e5]
    assert os.getpid() not in {pid for _, pid in found}


def test_what_is_wrong_with_a_worker_is_said(monkeypatch):
    monkeypatch.setenv("PROBEKIT_THREADS", "3")
    with dask.connect("local", 1) as client:
        with pytest.raises(ZeroDivisionError):
            list(dask.map_ordered(client, lambda unit: 1 / unit, [1, 0]))
        assert list(client.run(resources.cpu_count).values()) == [3]
        client.run(hide)
        with pytest.raises(ProbekitError, match=r"worker cannot do this \(.*probekit\.errors"):
            list(dask.map_unordered(client, ProbekitError, ["x"], ["name"]))
        monkeypatch.setattr(dask, "_VERSION", "999")
        with pytest.raises(ProbekitError, match=r"it has probekit .*, not 999"):
            list(dask.map_ordered(client, len, ["x"]))
