"""Arrays in checkpoints and pickles: all kinds are read, and nothing else is."""

import argparse
import os
import pickle
import subprocess

import numpy as np
import pytest
import torch

from probekit.errors import WeightsError
from probekit.extractors.weights import source, state_dict


def read(path):
    return state_dict.load_state_dict(source.WeightsSource(path=path), "main", None)


ARRAYS = {
    "float32": np.arange(6, dtype="f4").reshape(2, 3),
    "columns first": np.asfortranarray(np.arange(6, dtype="f8").reshape(2, 3)),
    "other byte order": np.arange(6, dtype=">f4"),
    "integers": np.arange(-3, 3, dtype="i8"),
    "bytes": np.arange(3, dtype="u1"),
    "a number": np.array(2.5),
}


@pytest.mark.parametrize("name", ["zip", "legacy", "pickle 2", "pickle 4"])
def test_arrays_of_all_kinds_are_read(name, tmp_path):
    path = tmp_path / ("a.pkl" if "pickle" in name else "a.pth")
    if "pickle" in name:
        path.write_bytes(pickle.dumps(ARRAYS, protocol=int(name[-1])))
    else:
        torch.save(ARRAYS, path, _use_new_zipfile_serialization=name == "zip")
    found = read(path)
    assert set(found) == set(ARRAYS)
    for key, values in ARRAYS.items():
        assert isinstance(found[key], torch.Tensor)
        assert found[key].shape == values.shape
        assert (
            found[key].dtype
            == torch.from_numpy(values.astype(values.dtype.newbyteorder("="))).dtype
        )
        np.testing.assert_array_equal(found[key], values)


def test_arrays_beside_tensors_and_numbers(tmp_path):
    content = {"model": {"w": torch.ones(2), "m": np.ones(3)}, "epoch": np.float64(3), "list": [1]}
    torch.save(content, tmp_path / "a.pth")
    found = read(tmp_path / "a.pth")
    assert found["model"]["w"].tolist() == [1, 1]
    assert found["model"]["m"].tolist() == [1, 1, 1]
    assert found["epoch"] == 3


def test_allowance_ends_with_the_reading(tmp_path):
    torch.save(ARRAYS, tmp_path / "a.pth")
    read(tmp_path / "a.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.pth", weights_only=True)


class Command:
    """Would run a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class Popen(Command):
    def __reduce__(self):
        return subprocess.Popen, (["touch", str(self.path)],)


@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
@pytest.mark.parametrize("kind", [Command, Popen])
def test_programs_are_refused(tmp_path, suffix, kind):
    path, mark = tmp_path / f"a{suffix}", tmp_path / "mark"
    content = {"w": np.ones(2), "x": kind(mark)}
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(WeightsError, match=r"a\.p.*can run code.*(system|Popen)"):
        read(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        np.array([{}, []], dtype=object),
        np.array(["text"]),
        np.array([1 + 2j]),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]),
        argparse.Namespace(a=1),
    ],
    ids=["objects", "text", "complex", "records", "another class"],
)
@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_arrays_of_other_things_are_refused(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps({"x": content}))
    else:
        torch.save({"x": content}, path)
    with pytest.raises(WeightsError, match=r"a\.p"):
        read(path)


def forged(shape=b"(I2\nt", raw=b"S'\\0\\0\\0\\0\\0\\0\\0\\0'", code=b"S'f4'"):
    """A pickle of protocol 0 of one array of two float32."""
    return (
        b"(dS'x'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n"
        + shape
        + b"cnumpy\ndtype\n(" + code + b"\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n" + raw
        + b"\ntbs."
    )  # fmt: skip


def test_forged_arrays_are_refused(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(forged())
    assert read(path)["x"].tolist() == [0, 0]
    for content in (
        forged(shape=b"(I1000000000\nt"),
        forged(shape=b"(I-2\nt"),
        forged(raw=b"N"),
        forged(raw=b"S'\\0'"),
        forged(code=b"S'O8'"),
        forged(code=b"S'V8'"),
        forged(code=b"N"),
        forged()[:-30],
        b"",
        b"garbage",
        b"<html>not found</html>",
    ):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"a\.pkl"):
            read(path)
