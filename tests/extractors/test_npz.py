"""Files of arrays: real ones are read, damaged and hostile ones refused."""

import numpy as np
import pytest
import torch

from probekit.errors import WeightsError
from probekit.extractors.weights import npz
from probekit.extractors.weights.source import WeightsSource
from probekit.extractors.weights.state_dict import load_state_dict


def test_reads_what_was_written(tmp_path):
    arrays = {"a/kernel": np.eye(3), "n": np.arange(4, dtype=np.int8), "h": np.ones(2, np.float16)}
    np.savez_compressed(tmp_path / "w.npz", **arrays)
    assert npz.is_npz(tmp_path / "w.npz")
    found = npz.read_npz(tmp_path / "w.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    tensors = npz.to_tensors(found)
    assert [t.dtype for t in tensors.values()] == [torch.float32, torch.int8, torch.float32]


def test_a_checkpoint_of_torch_is_no_npz(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pt")
    assert not npz.is_npz(tmp_path / "w.pt")


def test_a_state_dict_as_npz_needs_no_reader(tmp_path):
    net = torch.nn.Linear(2, 3)
    np.savez(tmp_path / "w.npz", **{k: v.detach().numpy() for k, v in net.state_dict().items()})
    state = load_state_dict(WeightsSource(path=tmp_path / "w.npz"), "main", net)
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())


def test_objects_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.array([{}, 1], dtype=object))
    with pytest.raises(WeightsError, match=r"w\.npz: not arrays of numbers \(Object arrays"):
        npz.read_npz(tmp_path / "w.npz")
    np.savez(tmp_path / "w.npz", a=np.array(["text"]))
    with pytest.raises(WeightsError, match="a must be an array of numbers, got <U4"):
        npz.read_npz(tmp_path / "w.npz")


def test_damaged_files_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.arange(10_000.0))
    content = bytearray((tmp_path / "w.npz").read_bytes())
    content[5000] ^= 255
    (tmp_path / "w.npz").write_bytes(bytes(content))
    with pytest.raises(WeightsError, match=r"w\.npz: not arrays of numbers"):
        npz.read_npz(tmp_path / "w.npz")
    (tmp_path / "w.npz").write_bytes(bytes(content[:3000]))
    with pytest.raises(WeightsError, match="not a file of weights"):
        load_state_dict(WeightsSource(path=tmp_path / "w.npz"), "main", None)


def test_large_files_are_not_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "w.npz", a=np.zeros(1_000_000))
    monkeypatch.setattr(npz, "LIMIT", 2**20)
    with pytest.raises(WeightsError, match="must be at most 1 MB unpacked"):
        npz.read_npz(tmp_path / "w.npz")


def test_rounded_kernels(tmp_path):
    """A factor for each output channel, or for each channel of a depthwise kernel, or one."""
    rounded = np.arange(-6, 6, dtype=np.int8)
    for shape, scale, axis in [((2, 6), 6, 1), ((1, 2, 6, 1), 6, 2), ((3, 4), 1, 1)]:
        kernel, factors = rounded.reshape(shape), np.arange(1, scale + 1, dtype=np.float32)
        arrays = {"k_int8": kernel, "k_scale": factors}
        found = npz.take(arrays, tmp_path, "k")
        expected = kernel * np.expand_dims(factors, [a for a in range(kernel.ndim) if a != axis])
        np.testing.assert_array_equal(found, expected)
        assert not arrays
