"""Keras weights files: real ones are read, damaged and hostile ones refused."""

import gzip
import importlib
import pickle

import h5py
import numpy as np
import pytest
import torch

from probekit.errors import WeightsError
from probekit.extractors.weights import keras
from probekit.extractors.weights.keras import read_layers, to_state_dict


@pytest.fixture
def openl3_h5(shared, monkeypatch):
    monkeypatch.syspath_prepend(str(shared / "reference" / "vectors"))
    return importlib.import_module("openl3_h5")


def write(path, layers=None, root=""):
    """Write a weights file in Keras's layout; a layer is its name and its arrays."""
    layers = {"dense": {"kernel": np.eye(3, 2)}} if layers is None else layers
    with h5py.File(path, "w") as file:
        top = file.require_group(root) if root else file
        top.attrs["layer_names"] = np.array([n.encode() for n in layers])
        for name, arrays in layers.items():
            group = top.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/{w}:0".encode() for w in arrays])
            for weight, array in arrays.items():
                group[f"{name}/{weight}:0"] = array
    return path


@pytest.mark.parametrize("name", ["weights.h5", "weights.h5.gz"])
def test_reads_what_was_written(openl3_h5, tmp_path, name):
    path = tmp_path / name
    openl3_h5.write(str(path))
    expected = list(openl3_h5.arrays())
    found = read_layers(path)
    assert [layer for layer, _ in found] == [layer for layer, _ in expected]
    for (_, arrays), (_, pairs) in zip(found, expected, strict=True):
        assert list(arrays) == [weight for weight, _ in pairs]
        for weight, array in pairs:
            np.testing.assert_array_equal(arrays[weight], array)


def test_reads_a_whole_model(shared):
    layers = read_layers(shared / "data" / "choi2017" / "convnet_msd_keras2.hdf5")
    names = [name for name, _ in layers]
    assert names[:3] == ["melgram", "conv2d_1", "batch_normalization_1"]
    assert names[-1] == "dense_1"
    assert len(names) == 12  # those without weights, and the optimizer's, are left out
    assert layers[0][1].keys() == {"real_kernels", "imag_kernels", "Variable"}
    assert layers[-1][1]["kernel"].shape == (32, 50)


def test_order_is_the_files_order(tmp_path):
    layers = {name: {"kernel": np.ones((1, 1))} for name in "zyxab"}
    found = read_layers(write(tmp_path / "w.h5", layers))
    assert [name for name, _ in found] == list("zyxab")


def test_state_dict_has_torchs_names_and_axes(tmp_path):
    kernel = np.arange(2 * 3 * 4 * 5, dtype="f4").reshape(2, 3, 4, 5)
    dense = np.arange(6, dtype="f4").reshape(3, 2)
    vectors = {
        n: np.full(5, i, "f4")
        for i, n in enumerate(["gamma", "beta", "moving_mean", "moving_variance"])
    }
    layers = [
        ("a", {"kernel": kernel, "bias": np.zeros(5)}),
        ("b", vectors),
        ("c", {"kernel": dense}),
    ]
    state = to_state_dict(tmp_path, layers, ["conv", "bn", "fc"])
    assert state["conv.weight"].shape == (5, 4, 2, 3)
    assert state["conv.weight"][4, 1, 0, 2] == kernel[0, 2, 1, 4]
    np.testing.assert_array_equal(state["fc.weight"], dense.T)
    torch.nn.BatchNorm2d(5).load_state_dict(
        {k.removeprefix("bn."): v for k, v in state.items() if k.startswith("bn.")}, strict=True
    )
    assert state["bn.running_var"][0] == 3
    assert all(v.dtype == torch.float32 for k, v in state.items() if "tracked" not in k)


def test_state_dict_counts_layers(tmp_path):
    layers = read_layers(write(tmp_path / "w.h5"))
    with pytest.raises(
        WeightsError, match=r"w\.h5: must have 2 layers with weights for this network, got 1"
    ):
        to_state_dict(tmp_path / "w.h5", layers, ["one", "two"])


def refused(path, reason):
    with pytest.raises(WeightsError, match=reason) as caught:
        read_layers(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_truncated(tmp_path, share):
    whole = write(tmp_path / "w.h5", {"dense": {"kernel": np.ones((50, 50))}}).read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole[: int(len(whole) * share)])
    refused(cut, "damaged HDF5 file")


def test_truncated_gzip(tmp_path):
    packed = gzip.compress(write(tmp_path / "w.h5").read_bytes())
    path = tmp_path / "cut.h5.gz"
    path.write_bytes(packed[: len(packed) // 2])
    refused(path, "damaged gzip file")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\n<!DOCTYPE html><html>Not found</html>", "HTML or XML page"),
        (gzip.compress(b"<html>Not found</html>", mtime=0), "HTML or XML page"),
        (pickle.dumps({"kernel": [1.0]}), "not an HDF5 file"),
        (b"", "not an HDF5 file"),
        (b"\x1f\x8b", "damaged gzip file"),
    ],
)
def test_other_files(tmp_path, content, reason):
    path = tmp_path / "w.h5"
    path.write_bytes(content)
    refused(path, reason)


def test_missing_file(tmp_path):
    refused(tmp_path / "none.h5", "No such file")


def test_no_weights_layout(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["data"] = np.zeros(3)
    refused(tmp_path / "w.h5", "no attribute layer_names")


def test_no_layer_with_weights(tmp_path):
    refused(write(tmp_path / "w.h5", {"input_1": {}}), "no layer has weights")


def test_a_named_weight_is_absent(tmp_path):
    path = write(tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        del file["dense/dense/kernel:0"]
    refused(path, "lacks dense/kernel:0")


def put_link(path, link):
    with h5py.File(path, "a") as file:
        del file["dense/dense/kernel:0"]
        file["dense/dense/kernel:0"] = link


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (h5py.SoftLink("/nowhere"), "SoftLink"),
        (h5py.SoftLink("/dense/dense/kernel:0"), "SoftLink"),
        (h5py.ExternalLink("other.h5", "/dense/dense/kernel:0"), "ExternalLink"),
    ],
)
def test_links_are_not_followed(tmp_path, target, kind):
    write(tmp_path / "other.h5")
    path = write(tmp_path / "w.h5")
    put_link(path, target)
    refused(path, f"is a link \\({kind}\\)")


def test_a_linked_group_is_not_followed(tmp_path):
    write(tmp_path / "other.h5")
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file["model_weights"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")
    refused(path, r"is a link \(ExternalLink\)")


def test_values_in_another_file_are_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(48))
    path = write(tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        del file["dense/dense/kernel:0"]
        file["dense/dense"].create_dataset(
            "kernel:0", (3, 2), "f8", external=[(str(tmp_path / "secret"), 0, 48)]
        )
    refused(path, "are in another file")


def test_virtual_values_are_not_read(tmp_path):
    other = write(tmp_path / "other.h5")
    path = write(tmp_path / "w.h5")
    layout = h5py.VirtualLayout((3, 2), "f8")
    layout[:] = h5py.VirtualSource(str(other), "dense/dense/kernel:0", (3, 2))
    with h5py.File(path, "a") as file:
        del file["dense/dense/kernel:0"]
        file["dense/dense"].create_virtual_dataset("kernel:0", layout)
    refused(path, "are in another file")


def test_absurd_shapes_are_not_read(tmp_path):
    path = write(tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        del file["dense/dense/kernel:0"]
        file["dense/dense"].create_dataset(
            "kernel:0", (10**6, 10**6), "f4", chunks=(1000, 1000), compression="gzip"
        )
    assert path.stat().st_size < 10**5
    refused(path, "must take at most 512 MB together")


def test_arrays_together_are_limited(tmp_path, monkeypatch):
    layers = {name: {"kernel": np.zeros((100, 10))} for name in "abc"}  # 8,000 bytes each
    path = write(tmp_path / "w.h5", layers)
    monkeypatch.setattr(keras, "LIMIT", 40_000)
    assert len(read_layers(path)) == 3
    with h5py.File(path, "a") as file:
        file["c/c"].create_dataset("bias:0", (10**4,), "f8", chunks=True, compression="gzip")
        file["c"].attrs["weight_names"] = [b"c/kernel:0", b"c/bias:0"]
    refused(path, "not read")


def test_decompression_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(keras, "LIMIT", 10**6)
    path = tmp_path / "bomb.h5.gz"
    packed = gzip.compress(b"\x89HDF\r\n\x1a\n" + bytes(10**7))
    path.write_bytes(packed[:-20])  # whoever unpacks it to its end sees that it is damaged
    assert path.stat().st_size < 20_000
    refused(path, "must be at most 0 MB unpacked; not read")


@pytest.mark.parametrize("value", [np.array([b"run me"]), np.array([1, 2]), np.array([1j])])
def test_only_floating_point_numbers(tmp_path, value):
    refused(
        write(tmp_path / "w.h5", {"dense": {"kernel": value}}), "must be floating-point numbers"
    )


def test_names_that_are_no_names(tmp_path):
    path = write(tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = np.arange(3)
    refused(path, "not a list of names")


@pytest.mark.parametrize("name", ["", ".", "/dense", "dense//dense", "dense/dense/kernel:0"])
def test_names_that_are_no_layers(tmp_path, name):
    path = write(tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = np.array([name.encode()], "S30")
    refused(path, "is not a name of an object|has no attribute weight_names|lacks")


def test_two_weights_of_one_name(tmp_path):
    path = write(tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        file["dense/other/kernel:0"] = np.zeros(2)
        file["dense"].attrs["weight_names"] = [b"dense/kernel:0", b"other/kernel:0"]
    refused(path, "two weights named kernel")
