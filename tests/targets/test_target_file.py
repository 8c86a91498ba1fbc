"""Target files: what is written is read, tables of one's own, files that are wrong."""

from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from probekit.errors import DataError
from probekit.targets.target_file import Listeners, Targets, read_targets, write_targets
from probekit.utils import atomic

VALUES = np.array([[3.0, 4], [0, -2], [1, 0]], np.float32)
IDS = np.array(["a", "007", "é"])


def make_targets():
    counts = scipy.sparse.csr_matrix(np.array([[0, 0], [1, 0], [2, 5]], np.float32))
    return Targets(
        IDS,
        VALUES,
        names=("x", "y"),
        split=np.array(["train", "valid", "test"]),
        groups=np.array(["p", "", "q"]),
        popularity=np.array([3, 1, 2]),
        listeners=Listeners(np.eye(2, dtype=np.float32), counts),
        provenance={"kind": "cf", "seed": 0},
    ).unit_length()


def test_a_file_is_read_as_written(tmp_path):
    targets = make_targets()
    write_targets(tmp_path / "new" / "t.h5", targets)
    found = read_targets(tmp_path / "new" / "t.h5")
    for name in ("clip_ids", "values", "lengths", "split", "groups", "popularity"):
        np.testing.assert_array_equal(getattr(found, name), getattr(targets, name))
    assert (found.kind, found.names, found.provenance) == (
        "vectors",
        ("x", "y"),
        {"kind": "cf", "seed": 0},
    )
    assert (found.listeners.counts != targets.listeners.counts).nnz == 0
    assert found.digest() == targets.digest()


def test_lengths_are_kept_apart():
    targets = make_targets()
    np.testing.assert_allclose(targets.lengths, [5, 2, 1])
    np.testing.assert_allclose(np.linalg.norm(targets.values, axis=1), 1, rtol=1e-6)
    assert targets.unit_length().lengths.tolist() == [5, 2, 1]


def test_the_digest_follows_values_ids_and_split():
    targets = make_targets()
    changes = {"values": -targets.values, "clip_ids": IDS[::-1], "split": targets.split[::-1]}
    digests = {replace(targets, **{name: value}).digest() for name, value in changes.items()}
    assert len(digests | {targets.digest()}) == 4
    assert replace(targets, provenance={}).digest() == targets.digest()


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "t.h5"
    write_targets(path, make_targets())

    def stop(point):
        if point == "before-rename":
            raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "_test_hook", stop)
    with pytest.raises(KeyboardInterrupt):
        write_targets(path, replace(make_targets(), provenance={}))
    assert read_targets(path).provenance == {"kind": "cf", "seed": 0}
    assert [p.name for p in tmp_path.iterdir()] == ["t.h5"]


@pytest.mark.parametrize("kind", ["npz", "parquet", "lists.parquet", "csv"])
def test_tables_of_ones_own(tmp_path, kind):
    path = tmp_path / f"t.{kind}"
    frame = pd.DataFrame({"clip_id": IDS, "x": VALUES[:, 0], "y": VALUES[:, 1]})
    if kind == "npz":
        np.savez(path, clip_id=IDS, factors=VALUES, split=["train", "test", "test"])
    elif kind == "csv":
        frame.to_csv(path, index=False)
    elif kind == "parquet":
        frame.to_parquet(path)
    else:
        pd.DataFrame({"clip_id": IDS, "vector": list(VALUES)}).to_parquet(path)
    found = read_targets(path)
    assert found.clip_ids.tolist() == IDS.tolist() and found.kind == "vectors"
    np.testing.assert_array_equal(found.values, VALUES)
    assert found.names == (("x", "y") if kind in ("parquet", "csv") else ())
    assert (found.split is not None) == (kind == "npz")


def test_rows_with_the_sum_1_are_distributions(tmp_path):
    np.savez(tmp_path / "p.npz", clip_id=IDS, p=[[0.2, 0.8], [1, 0], [0.5, 0.5]])
    assert read_targets(tmp_path / "p.npz").kind == "distributions"
    np.savez(tmp_path / "v.npz", clip_id=IDS, v=[[0.2, 0.8], [1, 0], [0.5, 0.6]])
    assert read_targets(tmp_path / "v.npz").kind == "vectors"


def npz(**arrays):
    return lambda path: np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("t.txt", lambda p: p.write_text("x"), r"must be \.h5, .*, got '\.txt'"),
        ("t.h5", lambda p: p.write_bytes(b"no"), "damaged, or not a target file"),
        ("t.h5", lambda p: h5py.File(p, "w").close(), "not a target file of this version"),
        ("t.npz", lambda p: p.write_bytes(b"no"), r"damaged, or not an \.npz file"),
        ("t.parquet", lambda p: p.write_bytes(b"no"), "damaged, or not a table"),
        ("t.npz", npz(v=VALUES), "no array clip_id, only v"),
        ("t.npz", npz(clip_id=IDS, v=VALUES, w=VALUES), "one array of shape .*, got v, w"),
        ("t.npz", npz(clip_id=IDS[:2], v=VALUES), "2 clip ids for 3 rows"),
        ("t.npz", npz(clip_id=IDS[[0, 0, 1]], v=VALUES), "more than once: 'a'"),
        ("t.npz", npz(clip_id=IDS, v=VALUES * np.nan), "3 of 3 targets are NaN or infinite"),
        ("t.npz", npz(clip_id=IDS, v=VALUES * [[1], [0], [1]]), "1 of 3 vectors are 0.*'007'"),
        ("t.npz", npz(clip_id=[1.5, 2, 3], v=VALUES), "decimal numbers .1.5.; store"),
        ("t.npz", npz(clip_id=IDS, v=VALUES, split=["a"] * 3), "split must be train, "),
        ("t.npz", npz(clip_id=IDS[:0], v=VALUES[:0]), "at least one clip"),
        ("t.csv", lambda p: p.write_text("clip_id,x,y\na,1,b\n"), "not numbers: y; remove them"),
        ("t.csv", lambda p: p.write_text("file,x\na,1\n"), "no column clip_id, only file, x"),
    ],
)  # fmt: skip
def test_files_that_are_wrong(tmp_path, name, write, message):
    path = tmp_path / name
    write(path)
    with pytest.raises(DataError, match=message) as error:
        read_targets(path)
    assert str(error.value).startswith(str(path))


def test_missing_file_and_name(tmp_path):
    with pytest.raises(DataError, match="no such target file"):
        read_targets(tmp_path / "no.h5")
    with pytest.raises(DataError, match=r"must end in \.h5"):
        write_targets(tmp_path / "t.hdf5", make_targets())
