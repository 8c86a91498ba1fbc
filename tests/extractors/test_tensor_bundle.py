"""Checkpoints of TensorFlow: written here by the rules of the format, read, and damaged."""

import struct

import numpy as np
import pytest

from probekit.errors import WeightsError
from probekit.extractors.networks import musicnn
from probekit.extractors.weights import npz, tensor_bundle


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def entries(pairs):
    """A block whose keys share beginnings."""
    out, before = b"", b""
    for key, value in pairs:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        before = key
    return out + struct.pack("<II", 0, 1)


def write(folder, variables, compressed=0):
    """Write a checkpoint of one block; returns the file of its values."""
    values, pairs = b"", [(b"", field(1, 1))]
    for name, array in sorted(variables.items()):
        shape = b"".join(field(2, field(1, size)) for size in array.shape)
        kind = {"f": 1, "i": 9}[array.dtype.kind]
        entry = field(1, kind) + field(2, shape) + field(4, len(values))
        content = array.tobytes()
        entry += field(5, len(content)) + varint(6 << 3 | 5) + b"crc!"
        pairs.append((name.encode(), entry))
        values += content
    block = entries(pairs)
    handle = varint(0) + varint(len(block))
    table = block + bytes([compressed]) + b"crc!"
    index = entries([(b"z", handle)])
    place = varint(len(table)) + varint(len(index))
    table += index + b"\0crc!"
    footer = varint(0) + varint(0) + place
    table += footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    (folder / "net.index").write_bytes(table)
    path = folder / "net.data-00000-of-00001"
    path.write_bytes(values)
    return path


@pytest.fixture
def variables():
    rng = np.random.default_rng(0)
    return {
        "dense/kernel": rng.standard_normal((130, 3)).astype(np.float32),
        "dense/kernel/Adam": np.zeros((130, 3), np.float32),
        "dense/bias": np.arange(3, dtype=np.float32),
        "step": np.array(7, np.int64),
    }


def test_reads_what_was_written(tmp_path, variables):
    path = write(tmp_path, variables)
    assert tensor_bundle.is_data_file(path)
    found = tensor_bundle.read_variables(path)
    assert found.keys() == variables.keys()
    for name, array in variables.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_damaged_files_are_refused(tmp_path, variables):
    path = write(tmp_path, variables)
    index = tmp_path / "net.index"
    whole, values = index.read_bytes(), path.read_bytes()
    path.write_bytes(values[:-1])
    with pytest.raises(WeightsError, match="beyond the end of the values"):
        tensor_bundle.read_variables(path)
    path.write_bytes(values)
    for content in (b"", whole[:-9], whole[:20] + whole[30:], b"\xff" * 30 + whole[30:]):
        index.write_bytes(content)
        with pytest.raises(WeightsError, match=r"net\.index: damaged, or not the index of net"):
            tensor_bundle.read_variables(path)
    index.unlink()
    with pytest.raises(WeightsError, match=r"net\.index: No such file.* in one folder"):
        tensor_bundle.read_variables(path)
    with pytest.raises(WeightsError, match="compressed"):
        tensor_bundle.read_variables(write(tmp_path, variables, compressed=1))


def test_a_network_from_its_checkpoint(tmp_path, shared):
    """The published variables as a checkpoint, with the optimizer's, give the same state dict."""
    file = shared / "data" / "musicnn" / "MTT_musicnn.npz"
    arrays = npz.read_npz(file)
    more = {f"{name}/Adam": np.ones(2, np.float32) for name in arrays}
    path = write(tmp_path, {**arrays, **more, "beta1_power": np.ones((), np.float32)})
    found, expected = musicnn.read_weights(path), musicnn.read_weights(file)
    assert found.keys() == expected.keys()
    assert all((found[key] == expected[key]).all() for key in found)
