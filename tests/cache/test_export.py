"""Exported files: what is in them is what is in the cache."""

import errno
import json

import numpy as np
import pandas as pd
import pytest

from probekit.cache import embeddings, export, manifests, safetensors_file
from probekit.data import manifest
from probekit.errors import CacheError, DataError, UnknownNameError


def ids(numbers):
    return [f"clip-{n:02d}-ö" for n in numbers]


@pytest.fixture
def songs(tmp_path, put, toy_layout):
    info = toy_layout(provenance=["random weights (seed 0)"])
    return embeddings.Embeddings(put(tmp_path, range(20), failed=[30, 31], info=info))


def table(labels, name="songs", **others):
    rows = [
        {"clip_id": clip_id, "path": f"{clip_id}.wav", "labels": own, "group": f"g{k // 2}"}
        for k, (clip_id, own) in enumerate(zip(ids(range(len(labels))), labels, strict=True))
    ]
    return manifest.from_rows(name, rows, **others)


SINGLE = table([("a, b", "c")[k % 2] for k in range(18)])
MULTI = table([("x", "y")[: k % 3] for k in range(18)], target="multi")
NUMBERS = table([(k / 3, -k) for k in range(18)], target="regression", class_names=["v", "w"])


def test_npz(tmp_path, songs):
    assert export.export_vectors(songs, tmp_path / "e.npz").clips == 20
    with np.load(tmp_path / "e.npz", allow_pickle=False) as loaded:
        assert list(loaded["clip_id"]) == ids(range(20))
        np.testing.assert_array_equal(loaded["embedding"], songs.vectors(ids(range(20))))
        about = json.loads(str(loaded["about"]))
    assert about["note"] == ["random weights (seed 0)"]
    assert (about["stream"], about["pool"], about["failed"]) == ("seq", ["mean"], 2)


def test_parquet(tmp_path, songs, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.setattr(export, "_ROW_GROUP", 7)
    export.export_vectors(songs, tmp_path / "e.parquet", pool=["mean", "max"])
    loaded = pd.read_parquet(tmp_path / "e.parquet")
    assert list(loaded["clip_id"]) == ids(range(20))
    matrix = np.stack(loaded["embedding"])
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, songs.vectors(ids(range(20)), "seq", ["mean", "max"]))
    schema = pq.read_schema(tmp_path / "e.parquet")
    assert json.loads(schema.metadata[b"probekit"])["pool"] == ["mean", "max"]
    assert str(schema.field("embedding").type) == "fixed_size_list<element: float>[6]"


def test_a_stream_of_vectors_has_no_pooling(tmp_path, songs):
    export.export_vectors(songs, tmp_path / "e.npz", stream="vec")
    with np.load(tmp_path / "e.npz") as loaded:
        assert loaded["embedding"].shape == (20, 4)
        assert json.loads(str(loaded["about"]))["pool"] == []


@pytest.mark.parametrize(
    "name, choice, error, reason",
    [
        ("e.txt", {}, CacheError, r"must end in \.npz, \.parquet, \.csv or \.safetensors"),
        ("gone/e.npz", {}, CacheError, "cannot be written"),
        ("gone/e.parquet", {}, CacheError, "cannot be written"),
        ("e.npz", {"stream": "sek"}, UnknownNameError, "Did you mean 'seq'"),
        ("e.npz", {"pool": ["men"]}, UnknownNameError, "Did you mean 'mean'"),
    ],
)
def test_what_cannot_be_exported(tmp_path, songs, name, choice, error, reason):
    with pytest.raises(error, match=reason):
        export.export_vectors(songs, tmp_path / name, **choice)


def test_csv(tmp_path, songs, monkeypatch):
    monkeypatch.setattr(export, "_ROW_GROUP", 7)
    export.export_vectors(songs, tmp_path / "e.csv", pool=["mean", "std"])
    loaded = pd.read_csv(tmp_path / "e.csv")
    assert list(loaded.columns) == ["clip_id", *(f"dim_{k}" for k in range(6))]
    assert list(loaded["clip_id"]) == ids(range(20))
    matrix = loaded.iloc[:, 1:].to_numpy(np.float32)  # to the last bit
    np.testing.assert_array_equal(matrix, songs.vectors(ids(range(20)), "seq", ["mean", "std"]))


@pytest.mark.parametrize("suffix", ["npz", "parquet", "csv"])
def test_labels_and_groups_stand_beside_embeddings(tmp_path, songs, suffix):
    read = {"npz": np.load, "parquet": pd.read_parquet, "csv": pd.read_csv}[suffix]
    path = tmp_path / f"e.{suffix}"
    done = export.export_vectors(songs, path, clips=SINGLE)
    assert (done.clips, done.columns, done.omitted) == (18, ("label", "group"), 2)
    loaded = read(path)
    assert list(loaded["clip_id"]) == ids(range(18))
    assert list(loaded["label"]) == ["a, b", "c"] * 9
    assert list(loaded["group"]) == [f"g{k // 2}" for k in range(18)]
    if suffix == "npz":
        assert json.loads(str(loaded["about"]))["task"] == "songs"
    export.export_vectors(songs, path, clips=MULTI)
    expected = [["x", "y"][: k % 3] for k in range(18)]
    loaded = list(read(path)["labels"])
    assert [json.loads(x) if isinstance(x, str) else list(x) for x in loaded] == expected
    export.export_vectors(songs, path, clips=NUMBERS)
    loaded = read(path)
    np.testing.assert_array_equal(loaded["target:v"], np.arange(18) / 3)
    np.testing.assert_array_equal(loaded["target:w"], -np.arange(18.0))


@pytest.mark.parametrize("clips", [None, SINGLE])
def test_frames_with_their_times(tmp_path, songs, clips):
    for suffix in ("npz", "parquet", "csv"):
        done = export.export_frames(songs, tmp_path / f"f.{suffix}", clips=clips)
        assert done.clips == (20 if clips is None else 18)
    with np.load(tmp_path / "f.npz", allow_pickle=False) as loaded:
        arrays = dict(loaded)
    assert sorted(arrays["clip_id"]) == ids(range(done.clips))
    assert json.loads(str(arrays["about"]))["hop"] == "24/25"
    parquet, text = pd.read_parquet(tmp_path / "f.parquet"), pd.read_csv(tmp_path / "f.csv")
    assert len(parquet) == len(text) == arrays["offset"][-1] == len(arrays["frames"])
    for k, clip_id in enumerate(arrays["clip_id"]):
        rows = slice(*arrays["offset"][k : k + 2])
        expected = songs.frames(clip_id)
        times = 0.96 * np.arange(len(expected))  # first_center 0, hop 24/25
        np.testing.assert_array_equal(arrays["frames"][rows], expected)
        np.testing.assert_allclose(arrays["time"][rows], times, rtol=1e-15)  # float rounding
        for frame in (parquet, text):
            own = frame[frame["clip_id"] == clip_id]
            np.testing.assert_allclose(own["time"], times, rtol=1e-15)
            if clips is not None:
                assert set(own["label"]) == {("a, b", "c")[int(clip_id[5:7]) % 2]}
        own = text[text["clip_id"] == clip_id].filter(like="dim_").to_numpy(np.float32)
        np.testing.assert_array_equal(own, expected)
        own = np.stack(parquet[parquet["clip_id"] == clip_id]["embedding"])
        np.testing.assert_array_equal(own, expected)


def test_frames_that_are_not_there(tmp_path, put, songs):
    with pytest.raises(CacheError, match="stream vec has one vector per clip, not frames"):
        export.export_frames(songs, tmp_path / "f.npz", stream="vec")
    pooled = embeddings.Embeddings(put(tmp_path / "pooled", range(3), frames=False))
    with pytest.raises(CacheError, match=r"probekit extract -e \S+ --frames"):
        export.export_frames(pooled, tmp_path / "f.npz")


def test_a_part_that_grows_meanwhile_is_noticed(tmp_path, songs, monkeypatch):
    counts = export._FrameReader.counts
    monkeypatch.setattr(
        export._FrameReader, "counts", lambda self: (counts(self)[0], counts(self)[1] - 1)
    )
    with pytest.raises(CacheError, match="rewritten during export"):
        export.export_frames(songs, tmp_path / "f.npz")
    assert not list(tmp_path.glob("*.npz"))


def test_the_table_that_goes_without_saying(tmp_path, songs):
    assert export.default_clip_table(songs) is None
    manifests.save_manifest(tmp_path, MULTI)
    manifests.save_manifest(tmp_path, SINGLE)
    assert export.default_clip_table(songs).target == "single"  # the newest


def test_nothing_to_export(tmp_path, put, songs):
    with pytest.raises(CacheError, match="contains no embeddings"):
        export.export_vectors(embeddings.Embeddings(put(tmp_path / "x", [])), tmp_path / "p.npz")
    other = manifest.from_rows("other", [{"clip_id": "z", "path": "z.wav", "labels": "a"}])
    with pytest.raises(DataError, match="other: none of its clips is in"):
        export.export_vectors(songs, tmp_path / "p.npz", clips=other)


@pytest.mark.parametrize("write", ["export_vectors", "export_frames"])
@pytest.mark.parametrize("name", ["e.npz", "e.parquet", "e.csv"])
def test_a_full_disk_keeps_the_older_export(tmp_path, songs, write_hook, write, name):
    (tmp_path / name).write_bytes(b"older")
    assert songs.index.parts  # its file is written before

    def full(point):
        if point == "before-flush":
            raise OSError(errno.ENOSPC, "No space left on device")

    with (
        write_hook.during(full),
        pytest.raises(CacheError, match=r"cannot be written .no space left on device"),
    ):
        getattr(export, write)(songs, tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"older"
    assert not list(tmp_path.glob(".*"))


def test_safetensors(tmp_path, songs):
    """Read by the format's own package; frames as in ``.npz``, written part by part."""
    safetensors = pytest.importorskip("safetensors")
    from safetensors.numpy import load_file

    path = tmp_path / "e.safetensors"
    export.export_vectors(songs, path, pool=["mean", "max"], clips=MULTI)
    [(name, array)] = load_file(path).items()
    listed = ids(range(18))
    np.testing.assert_array_equal(array, songs.vectors(listed, "seq", ["mean", "max"]))
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert (name, array.dtype) == ("embedding", np.float32)
    assert json.loads(metadata["clip_id"]) == listed
    assert json.loads(metadata["labels"])[:3] == [[], ["x"], ["x", "y"]]
    about = json.loads(metadata["probekit"])
    assert about["pool"] == ["mean", "max"] and about["note"] == ["random weights (seed 0)"]
    assert about["identity"] == songs.layout.identity
    export.export_frames(songs, path)
    export.export_frames(songs, tmp_path / "e.npz")
    arrays = load_file(path)
    with np.load(tmp_path / "e.npz") as expected:
        for name in ("frames", "time", "offset"):
            np.testing.assert_array_equal(arrays[name], expected[name])
            assert arrays[name].dtype == expected[name].dtype


def test_safetensors_that_nobody_could_read(tmp_path, songs, monkeypatch):
    """The format's own library refuses headers of more than 100 MB."""
    monkeypatch.setattr(safetensors_file, "_MOST_HEADER", 500)
    with pytest.raises(DataError, match=r"accept 500 at most; export to \.parquet"):
        export.export_vectors(songs, tmp_path / "e.safetensors")
    assert not list(tmp_path.glob("*e.safetensors*"))


def test_unknown_labels_are_exported(tmp_path, songs):
    rows = [{"clip_id": name, "path": name, "labels": ("x",)} for name in ids(range(3))]
    rows[1] = {**rows[1], "labels": (), "unknown": ("x",)}
    clips = manifest.from_rows("songs", rows, target="multi")
    exported = export.export_vectors(songs, tmp_path / "e.parquet", clips=clips)
    assert "unknown" in exported.columns
    unknown = pd.read_parquet(tmp_path / "e.parquet")["unknown"]
    assert [list(labels) for labels in unknown] == [[], ["x"], []]
