import copy
import os

import numpy as np
import pandas as pd
import pytest

from probekit.data import readers
from probekit.data.manifest import Manifest, dataset_name, from_rows, read_manifest
from probekit.errors import DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_file_names_in_another_encoding_are_refused(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.wav")).touch()
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(DataError, match=r"caf.*must be UTF-8"):
        readers.from_folder(tmp_path)


@pytest.mark.parametrize("target", ["none", "single", "multi", "regression"])
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_manifest_survives_its_file(tmp_path, target, suffix):
    labels = {"none": (), "single": ("b; ü",), "multi": ("a", "b; ü"), "regression": (0.1, 2.0)}
    own = [
        {
            "clip_id": f"é{k}",
            "path": f"{k}.wav",
            "start": 0.1 * k,
            "split": "train",
            "labels": labels[target],
        }
        for k in range(3)
    ]
    names = None if target in ("none", "single") else ("a", "b; ü")
    clips = from_rows(
        "mine",
        own,
        target=target,
        class_names=names,
        root=tmp_path,
        provenance=["stand-in data"],
        expected=4,
    )
    path = tmp_path / f"mine{suffix}"
    clips.write(path)
    again = read_manifest(path) if suffix == ".parquet" else readers.from_csv(path)
    assert again.digest() == clips.digest()
    assert (again.name, again.root) == ("mine", tmp_path)
    if suffix == ".parquet":
        assert (again.provenance, again.expected) == (("stand-in data",), 4)


def test_other_files_are_not_manifests(tmp_path):
    (tmp_path / "x.parquet").write_text("no")
    for name in ("x.parquet", "gone.parquet"):
        with pytest.raises(DataError, match="not a manifest"):
            read_manifest(tmp_path / name)


def test_the_digest_sees_every_field():
    own = {
        "clip_id": "a",
        "path": "a.wav",
        "start": 0.0,
        "end": 1.0,
        "split": "train",
        "fold": "1",
        "group": "g",
        "labels": "x",
    }
    other = {
        "clip_id": "b",
        "path": "b.wav",
        "start": 0.5,
        "end": 2.0,
        "split": "test",
        "fold": "2",
        "group": "h",
        "labels": "y",
    }
    digests = {from_rows("m", [own]).digest()}
    digests |= {from_rows("m", [{**own, key: other[key]}]).digest() for key in own}
    assert len(digests) == 1 + len(own)
    assert from_rows("n", [own]).digest() in digests  # a name is not content


def test_subsets_keep_everything_else(tmp_path):
    clips = from_rows("m", [{"clip_id": i, "path": i, "labels": i} for i in "abc"])
    few = clips.subset([2, 0])
    assert (few.clip_ids, few.class_names) == (["c", "a"], ("a", "b", "c"))
    assert list(few.targets()) == [2, 0]


def test_a_label_outside_the_classes_is_named():
    clips = from_rows("m", [{"clip_id": "a", "path": "a", "labels": "x"}], class_names=["y"])
    with pytest.raises(DataError, match="not among the classes: 'x'"):
        clips.targets()


@pytest.mark.parametrize(
    "text, name",
    [
        ("My Data.v2", "My Data.v2"),
        ("größe", "größe"),
        ("鳥", "鳥"),
        ("a b", "a b"),
        ("a_b", "a_b"),
        ("e\u0301", "é"),
        ("a:b", "a-b"),
        ("clips.csv", "clips-csv"),
        ("Nul.x", "data-Nul.x"),
        ("-a-", "a"),
        ("..", "clips"),
        ("/", "clips"),
    ],
)
def test_names_are_safe_for_folders(text, name):
    assert dataset_name(text) == name
    assert dataset_name(name) == name


def test_long_names_differ_in_their_end():
    names = {dataset_name(letter * 300 + end) for letter in "a鳥" for end in "xy"}
    assert len(names) == 4
    assert all(len(name.encode()) <= 120 and dataset_name(name) == name for name in names)


@pytest.mark.parametrize("label", ["a;b", "a, b", "a|b", "[a]"])
def test_single_label_that_looks_like_several_survives_a_csv(tmp_path, label):
    rows = [
        {"clip_id": str(k), "path": str(k), "labels": text} for k, text in enumerate((label, "x"))
    ]
    from_rows("m", rows).write(tmp_path / "m.csv")
    clips = readers.from_csv(tmp_path / "m.csv")
    assert (clips.target, list(clips.table["labels"])) == ("single", [(label,), ("x",)])


def test_clips_are_the_same_as_a_frame_in_a_file_and_in_another_process(tmp_path):
    rows = [
        {"clip_id": "a", "path": "x/ä.wav", "start": 0.1, "end": 2.5, "labels": ("u", "v")},
        {"clip_id": "b", "path": "b.wav", "labels": (), "unknown": ("u",), "fold": 1},
        {"clip_id": "c", "path": "", "labels": "v", "group": "g", "split": None},
    ]
    clips = from_rows("mine", rows, target="multi")
    table = clips.table
    assert table["labels"].tolist() == clips.labels == [("u", "v"), (), ("v",)]
    assert table["unknown"].tolist() == clips.unknown == [(), ("u",), ()]
    assert table[["split", "fold", "group"]].to_numpy().tolist() == [
        ["", "", ""],
        ["", "1", ""],
        ["", "", "g"],
    ]
    np.testing.assert_array_equal(table["end"], clips.times("end"))
    np.testing.assert_array_equal(clips.times("end"), [2.5, np.nan, np.nan])
    clips.write(tmp_path / "clips.parquet")
    copied = copy.copy(clips)  # of the state that pickle writes
    assert "table" not in vars(copied)
    for same in (
        clips.with_table(table),
        clips.subset([0, 1, 2]),
        read_manifest(tmp_path / "clips.parquet"),
        copied,
    ):
        assert same.digest() == clips.digest()
        assert same.columns.equals(clips.columns)
        assert same.table.equals(table) and (same.table.dtypes == table.dtypes).all()
    changed = clips.with_table(table.assign(group="x"))
    assert set(changed.column("group")) == {"x"} and changed.digest() != clips.digest()
    with pytest.raises(DataError, match="columns are missing: fold"):
        clips.with_table(table.drop(columns="fold"))


def test_a_dataframe_and_values_of_another_type_are_errors():
    clips = from_rows("a", [{"clip_id": "x", "path": "x.wav", "labels": ("b",)}])
    with pytest.raises(DataError, match=r"must be a pyarrow\.Table; make manifests by from_rows"):
        Manifest("a", clips.table)
    mixed = [{"clip_id": "x", "path": "x.wav", "labels": ("b", 1.5)}]
    with pytest.raises(DataError, match="a: labels must be text, or numbers for regr"):
        from_rows("a", mixed)
    with pytest.raises(DataError, match="clip_id must be text"):
        from_rows("a", [{"path": "x.wav"}])


def test_columns_that_are_replaced_may_lack_text():
    rows = [{"clip_id": f"c{k}", "path": f"{k}.wav", "labels": ("b",)} for k in range(3)]
    clips = from_rows("a", rows)
    changed = clips.with_table(clips.table.assign(group=[pd.NA, None, 7], fold=[1, 2, np.nan]))
    assert list(changed.column("group")) == ["", "", "7"]
    assert list(changed.column("fold")) == ["1.0", "2.0", ""]


def test_a_subset_by_mask():
    rows = [{"clip_id": f"c{k}", "path": f"{k}.wav", "labels": ("b",)} for k in range(3)]
    clips = from_rows("a", rows)
    assert clips.subset(np.array([True, False, True])).clip_ids == ["c0", "c2"]
    assert clips.subset([2, 0]).clip_ids == ["c2", "c0"] and len(clips.subset([])) == 0
