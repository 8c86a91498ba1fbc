import os

import pytest

from probekit.errors import ProbekitError
from probekit.parallel import resources


def test_cores_can_be_limited(monkeypatch):
    monkeypatch.delenv("PROBEKIT_THREADS", raising=False)
    assert 1 <= resources.cpu_count() <= os.cpu_count()
    monkeypatch.setenv("PROBEKIT_THREADS", "3")
    assert resources.cpu_count() == 3
    monkeypatch.setenv("PROBEKIT_THREADS", "many")
    with pytest.raises(ProbekitError, match=r"PROBEKIT_THREADS must be .*'many'"):
        resources.cpu_count()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", r"--device must be .*, got 'gpu'"),
        ("cuda:x", r"--device must be .*, got 'cuda:x'"),
        ("cuda:99", r"--device cuda:99"),
    ],
)
def test_a_device_that_is_not_there_is_an_error(name, message):
    with pytest.raises(ProbekitError, match=message):
        resources.resolve_device(name)


def test_cores_are_limited_for_a_while(monkeypatch):
    import torch

    monkeypatch.delenv("PROBEKIT_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(KeyError), resources.limit_cores(2):
            assert resources.cpu_count() == torch.get_num_threads() == 2
            assert os.environ["OMP_NUM_THREADS"] == "2"
            raise KeyError
        assert torch.get_num_threads() == 3
        assert os.environ["OMP_NUM_THREADS"] == "5" and "PROBEKIT_THREADS" not in os.environ
    finally:
        torch.set_num_threads(before)
