import errno
import json
import os

import h5py
import numpy as np
import pytest

from probekit.cache import embeddings, head, layout, manifests, merge, pack, part
from probekit.data import manifest
from probekit.errors import CacheError


def ids(numbers):
    return [f"clip-{n:02d}-ö" for n in numbers]


@pytest.fixture
def same(same_part):
    """Assert that a folder holds exactly some clips, each in its place."""

    def check(folder, numbers, toy, failed=(), dtype="float32", frames=True):
        buckets = layout.load_layout(folder).buckets
        rows, bad = {}, {}
        for path in sorted(folder.glob("part-*.h5")):
            assert part.verify_part(path) is None
            content = part.read_part(path)
            for clip_id in (*content.rows, *content.failed):
                assert path.name == layout.part_name(layout.assign_bucket(clip_id, buckets))
            rows |= content.rows
            bad |= content.failed
            same_part(
                content,
                part.Part(toy(dtype=dtype).meta, content.grids, content.rows, content.failed),
            )
        expected = toy(numbers, failed=failed, dtype=dtype, frames=frames)
        same_part(
            part.Part(expected.meta, expected.grids, dict(sorted(rows.items())), bad), expected
        )

    return check


def test_two_caches_become_one(tmp_path, put, toy, same):
    put(tmp_path / "a", range(0, 20), failed=[40])
    put(tmp_path / "b", range(15, 30), failed=[41])
    [done] = merge.merge_caches([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert (done.added, done.known) == (30, 0)  # nothing was there
    same(done.folder, range(30), toy, failed=[40, 41])
    before = {p: p.read_bytes() for p in done.folder.glob("*.h5")}
    [again] = merge.merge_caches([tmp_path / "b"], tmp_path / "c")
    assert (again.added, again.known) == (0, 15)
    assert {p: p.read_bytes() for p in done.folder.glob("*.h5")} == before
    [thrice] = merge.merge_caches([tmp_path / "a", tmp_path / "b", tmp_path / "b"], tmp_path / "c")
    assert (thrice.added, thrice.known) == (0, 30)  # each clip once, however many sources hold it


def clip_table(name="songs", split="train", count=20):
    rows = [
        {"clip_id": clip_id, "path": f"{clip_id}.wav", "labels": ("a", "b")[k % 2], "split": split}
        for k, clip_id in enumerate(ids(range(count)))
    ]
    return manifest.from_rows(name, rows)


def test_a_packed_file_brings_its_newest_clip_table(tmp_path, put):
    folder = put(tmp_path / "a", range(20))
    older = manifests.save_manifest(tmp_path / "a", clip_table(split="test"))
    os.utime(older, ns=(10**18, 10**18))
    newer = manifests.save_manifest(tmp_path / "a", clip_table())
    os.utime(newer, ns=(10**18 + 5, 10**18 + 5))
    manifests.save_manifest(tmp_path / "a", clip_table("other"))
    path = pack.pack_embeddings(embeddings.Embeddings(folder), tmp_path / "p.h5")
    assert part.verify_part(path) is None
    merge.merge_caches([path], tmp_path / "c")
    [copy] = (tmp_path / "c" / "manifests").iterdir()
    assert copy.name == newer.name and copy.read_bytes() == newer.read_bytes()
    assert copy.stat().st_mtime_ns == 10**18 + 5
    clips = manifests.latest_manifest(tmp_path / "c", "songs")
    assert clips.digest() == clip_table().digest()
    # a newer table of the target stays the newest, and the same one is not written again
    mine = manifests.save_manifest(tmp_path / "c", clip_table(split="valid"))
    merge.merge_caches([path], tmp_path / "c")
    assert manifests.saved_paths(tmp_path / "c", ["songs"]) == [mine, copy]
    content = part.read_part(next((tmp_path / "c").glob("*/songs/*.h5")))
    assert not set(pack.PACK_ATTRIBUTES) & set(content.meta)


def test_a_packed_file_of_before_clip_tables_is_merged(tmp_path, put):
    path = pack.pack_embeddings(embeddings.Embeddings(put(tmp_path / "a")), tmp_path / "p.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["manifests"]
    part.write_digest(path)
    [done] = merge.merge_caches([path], tmp_path / "c")
    assert done.added == 12 and not (tmp_path / "c" / "manifests").exists()


@pytest.mark.parametrize("name", ["../songs-0.parquet", "/songs-0.parquet", "songs.csv"])
def test_clip_tables_cannot_leave_the_cache(tmp_path, put, name):
    path = pack.pack_embeddings(embeddings.Embeddings(put(tmp_path / "a")), tmp_path / "p.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["manifests"] = json.dumps({name: 1})
    part.write_digest(path)
    with pytest.raises(CacheError, match="cannot be the name of a clip table"):
        merge.merge_caches([path], tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(("buckets", "at_once"), [(1, 1 << 30), (3, 1), (7, 1 << 30)])
def test_into_another_number_of_parts(
    tmp_path, put, toy, toy_layout, same, monkeypatch, buckets, at_once
):
    monkeypatch.setattr(merge, "_BATCH", at_once)
    put(tmp_path / "a", range(0, 20), failed=[40])
    put(tmp_path / "c", range(15, 30), info=toy_layout(buckets=buckets))
    [done] = merge.merge_caches([tmp_path / "a"], tmp_path / "c")
    assert layout.load_layout(done.folder).buckets == buckets
    same(done.folder, range(30), toy, failed=[40])
    songs = embeddings.Embeddings(done.folder)
    np.testing.assert_array_equal(
        songs.vectors(ids(range(30)), "vec"), np.arange(4) - np.arange(30)[:, None]
    )


def test_merged_parts_are_those_of_one_extraction(tmp_path, put):
    put(tmp_path / "a", range(0, 20, 2))
    put(tmp_path / "b", range(1, 20, 2))
    expected_folder = put(tmp_path / "whole", range(20))
    [done] = merge.merge_caches([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    contents = [
        {p.name: p.read_bytes() for p in w.glob("*.h5")} for w in (expected_folder, done.folder)
    ]
    assert contents[0] == contents[1]


def test_what_failed_in_one_and_not_in_the_other_did_not_fail(tmp_path, put, toy, same):
    put(tmp_path / "a", range(0, 10), failed=[12])
    put(tmp_path / "b", range(10, 14), failed=[3])
    for number, sources in enumerate((("a", "b"), ("b", "a"))):
        into = tmp_path / f"c{number}"
        [done] = merge.merge_caches([tmp_path / name for name in sources], into)
        same(done.folder, range(14), toy)
    [done] = merge.merge_caches([tmp_path / "b"], tmp_path / "a")
    same(done.folder, range(14), toy)


def test_a_packed_file_is_a_source(tmp_path, put, toy, same):
    songs = embeddings.Embeddings(put(tmp_path / "a", range(20), failed=[40]))
    head.save_head(songs.folder.parent, HEAD)
    packed = pack.pack_embeddings(embeddings.Embeddings(songs.folder), tmp_path / "songs.h5")
    [done] = merge.merge_caches([packed], tmp_path / "c")
    assert done.folder == tmp_path / "c" / "toy-ffffffff" / "songs"
    same(done.folder, range(20), toy, failed=[40])
    loaded = head.load_head(done.folder.parent)
    np.testing.assert_array_equal(loaded.weight, HEAD.weight)
    assert (loaded.classes, loaded.stream, loaded.pooling) == (("ä", "b"), "vec", "none")


HEAD = head.SavedHead(("ä", "b"), np.ones((2, 4), "f4"), np.zeros(2, "f4"), "vec", "none")


def test_heads_and_manifests_come_along(tmp_path, put):
    import os

    folder = put(tmp_path / "a")
    head.save_head(folder.parent, HEAD)
    old, new = (
        manifest.from_rows("songs", [{"clip_id": name, "path": name}], class_names=[])
        for name in ("old", "new")
    )
    os.utime(manifests.save_manifest(tmp_path / "a", old), ns=(1, 10**18))
    manifests.save_manifest(tmp_path / "c", new)
    [done] = merge.merge_caches([tmp_path / "a"], tmp_path / "c")
    assert head.load_head(done.folder.parent).classes == ("ä", "b")
    assert manifests.latest_manifest(tmp_path / "c", "songs").clip_ids == ["new"]
    loaded = manifests.all_manifests(tmp_path / "c", ["songs"])
    assert [clips.clip_ids for clips in loaded] == [["new"], ["old"]]


def changed(content, **facts):
    """A part of which every clip comes from another recording."""
    for row in content.rows.values():
        row.source.update(facts)
    return content


@pytest.mark.parametrize(
    ("facts", "sources"), [({"sha256": b"0" * 64}, ("b",)), ({"start": 3.0}, ("b", "a"))]
)
def test_clips_of_one_name_and_two_recordings_are_refused(tmp_path, put, toy, facts, sources):
    folder = put(tmp_path / "a", range(10))
    put(tmp_path / "b", range(8, 20))
    for path in (tmp_path / "b").glob("*/*/*.h5"):
        part.write_part(path, changed(part.read_part(path), **facts))
    into = tmp_path / ("a" if sources == ("b",) else "c")
    before = {p: p.read_bytes() for p in folder.glob("*.h5")}
    with pytest.raises(CacheError, match=r"2 clips of the same name.*'clip-08-ö', 'clip-09-ö'"):
        merge.merge_caches([tmp_path / name for name in sources], into)
    assert {p: p.read_bytes() for p in folder.glob("*.h5")} == before
    assert not (tmp_path / "c").exists()


def test_what_does_not_fit_is_refused(tmp_path, put, toy_layout):
    put(tmp_path / "a", range(10))
    put(tmp_path / "half", range(10), info=toy_layout(dtype="float16"), dtype="float16")
    put(tmp_path / "pooled", range(10), frames=False)
    other = {"extractor": "toy", "version": 2}
    put(tmp_path / "two", range(10), info=toy_layout(fingerprint="f" * 63 + "0", identity=other))
    for name, reason in (
        ("half", "stored as float16, those of .* as float32"),
        ("pooled", r"holds seq/max, seq/mean, seq/std, vec/clip; .*seq/frames"),
        ("two", "fingerprints must not mix. .*version"),
    ):
        with pytest.raises(CacheError, match=reason):
            merge.merge_caches([tmp_path / name], tmp_path / "a")


def test_two_fingerprints_stay_apart(tmp_path, put, toy_layout):
    put(tmp_path / "a")
    put(tmp_path / "b", info=toy_layout(fingerprint="e" * 64, identity={"extractor": "toy"}))
    done = merge.merge_caches([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert [one.folder.parent.name for one in done] == ["toy-eeeeeeee", "toy-ffffffff"]


@pytest.mark.parametrize("side", ["a", "b"])
def test_damage_is_never_copied(tmp_path, put, side):
    put(tmp_path / "a", range(10))
    put(tmp_path / "b", range(5, 20))
    path = next((tmp_path / side).glob("*/*/*.h5"))
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(CacheError, match="SHA-256 differs") as caught:
        merge.merge_caches([tmp_path / "b"], tmp_path / "a")
    assert str(path) in str(caught.value)
    packed = tmp_path / "x.h5"
    packed.write_bytes(content)
    with pytest.raises(CacheError, match="Copy or download the file again"):
        merge.merge_caches([packed], tmp_path / "d")


def test_other_sources_are_refused(tmp_path, put):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CacheError, match="neither a cache"):
        merge.merge_caches([tmp_path / "empty"], tmp_path / "c")
    with pytest.raises(CacheError, match="neither a cache"):
        merge.merge_caches([tmp_path / "gone"], tmp_path / "c")
    path = next(put(tmp_path / "a").glob("*.h5"))
    with pytest.raises(CacheError, match="not a packed file"):
        merge.merge_caches([path], tmp_path / "c")


@pytest.mark.parametrize("name", ["../../up", "a/b"])
def test_names_from_elsewhere_stay_inside_the_cache(tmp_path, put, toy_layout, name):
    songs = embeddings.Embeddings(put(tmp_path / "a"))
    for changes in ({"dataset": name}, {"extractor": name}):
        songs.layout = toy_layout(**changes)
        songs.meta.update(changes if "extractor" in changes else {})
        packed = pack.pack_embeddings(songs, tmp_path / "p.h5")
        with pytest.raises(CacheError, match="a name without slashes"):
            merge.merge_caches([packed], tmp_path / "c")


def test_a_full_disk_leaves_what_was_there(tmp_path, put, monkeypatch, toy, same):
    folder = put(tmp_path / "a", range(10))
    put(tmp_path / "b", range(10, 30))
    write, count = part.write_part, [0]

    def full(path, content):
        count[0] += 1
        if count[0] > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(part, "write_part", full)
        with pytest.raises(CacheError, match="no space left on device"):
            merge.merge_caches([tmp_path / "b"], tmp_path / "a")
    assert set(ids(range(10))) < set(embeddings.Embeddings(folder).clip_ids)
    merge.merge_caches([tmp_path / "b"], tmp_path / "a")  # and it goes on
    same(folder, range(30), toy)


def test_progress_is_told(tmp_path, put):
    put(tmp_path / "a", range(20))
    told = []
    merge.merge_caches([tmp_path / "a"], tmp_path / "c", lambda *what: told.append(what))
    assert told[0] == ("verify toy-ffffffff/songs", 1, 4)
    assert told[-1] == ("merge toy-ffffffff/songs", 4, 4)
