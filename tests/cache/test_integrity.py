import pytest

from probekit.cache import index, integrity, layout, manifests, part
from probekit.data import manifest
from probekit.errors import CacheError


def ids(numbers):
    return [f"clip-{n:02d}-ö" for n in numbers]


def table(numbers, name="songs"):
    return manifest.from_rows(name, [{"clip_id": i, "path": f"{i}.wav"} for i in ids(numbers)])


def clips_in(numbers, name, buckets=4):
    """The clips that belong in a part."""
    return [i for i in ids(numbers) if layout.part_name(layout.assign_bucket(i, buckets)) == name]


@pytest.fixture
def folder(tmp_path, put):
    return put(tmp_path, range(20), failed=[30])


def test_a_whole_folder_has_no_faults(folder):
    ticks = []
    assert integrity.find_damaged(folder, lambda: ticks.append(1)) == {}
    assert len(ticks) == 4
    assert integrity.find_missing(folder, [table(range(20))], {}) == {}


@pytest.mark.parametrize("offset", [0, 30, 300, 511, 512, 700, 5000, -1])
def test_one_flipped_byte_is_named(folder, offset):
    path = sorted(folder.glob("*.h5"))[1]
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)
    assert list(integrity.find_damaged(folder)) == [path.name]


def test_parts_that_were_cut_or_are_foreign_are_named(folder, toy):
    first, second, third, _ = sorted(folder.glob("*.h5"))
    first.write_bytes(first.read_bytes()[:-1])
    second.write_bytes(b"")
    part.write_part(third, toy([50], fingerprint="e" * 64))
    result = integrity.find_damaged(folder)
    assert list(result) == [first.name, second.name, third.name]
    assert result[third.name] == f"of fingerprint {'e' * 16}, not {'f' * 16}"


@pytest.mark.parametrize("known_by", ["index", "manifest"])
def test_a_deleted_part_is_noticed(folder, known_by):
    index.load_index(folder)
    gone = sorted(folder.glob("*.h5"))[2]
    gone.unlink()
    if known_by == "manifest":
        (folder / index.INDEX_FILE).unlink()
    result = integrity.find_missing(folder, [table(range(20))], {})
    expected = clips_in(range(20), gone.name)
    assert result == {gone.name: expected if known_by == "manifest" else sorted(expected)}


def test_a_deleted_part_that_nothing_knows_of_is_not_noticed(folder):
    sorted(folder.glob("*.h5"))[2].unlink()
    assert integrity.find_missing(folder, [], {}) == {}


def test_clips_that_were_never_asked_for_are_not_lost(tmp_path, put):
    folder = put(tmp_path, range(4))  # of twenty, in two or three of the four parts
    assert len(list(folder.glob("*.h5"))) < 4
    assert integrity.find_missing(folder, [table(range(20))], {}) == {}
    # another task on the same clips, which is there as a whole, is evidence
    gone = sorted(folder.glob("*.h5"))[0]
    gone.unlink()
    result = integrity.find_missing(folder, [table(range(20)), table(range(4), "few")], {})
    assert result == {gone.name: clips_in(range(4), gone.name)}


def test_damaged_parts_lost_what_the_index_knew(folder):
    index.load_index(folder)
    path = sorted(folder.glob("*.h5"))[0]
    path.write_bytes(b"x" * path.stat().st_size)
    damaged = integrity.find_damaged(folder)
    expected = clips_in([*range(20), 30], path.name)
    assert integrity.find_missing(folder, [], damaged) == {path.name: sorted(expected)}
    (folder / index.INDEX_FILE).unlink()
    assert integrity.find_missing(folder, [], damaged) == {path.name: []}
    assert integrity.find_missing(folder, [table(range(20))], damaged) == {
        path.name: clips_in(range(20), path.name)
    }


def test_damaged_parts_of_a_few_clips_take_what_a_manifest_has(tmp_path, put):
    folder = put(tmp_path, range(4))
    path = sorted(folder.glob("*.h5"))[0]
    path.write_bytes(b"")
    result = integrity.find_missing(folder, [table(range(20))], integrity.find_damaged(folder))
    assert result == {path.name: clips_in(range(20), path.name)}


def test_a_part_that_was_set_aside_is_lost(folder):
    path = sorted(folder.glob("*.h5"))[3]
    path.rename(folder / f"{integrity.QUARANTINE_PREFIX}{path.name}")
    assert list(integrity.find_missing(folder, [table(range(20))], {})) == [path.name]


def test_damaged_heads_are_named(tmp_path):
    assert integrity.find_damaged_head(tmp_path) is None
    (tmp_path / "head.h5").write_bytes(b"no")
    assert integrity.find_damaged_head(tmp_path).startswith("damaged")


def test_a_lost_description_is_an_error(folder):
    (folder / "dataset.json").unlink()
    with pytest.raises(CacheError, match="not the description"):
        integrity.find_damaged(folder)


def test_all_manifests_of_some_names(tmp_path):
    import os

    for age, (name, numbers) in enumerate([("a", [1]), ("a", [1, 2]), ("b", [3]), ("c", [4])]):
        path = manifests.save_manifest(tmp_path, table(numbers, name))
        os.utime(path, ns=(1, 10**18 - age))
    (tmp_path / "manifests" / "a-000000000000.parquet").write_bytes(b"no")
    result = manifests.all_manifests(tmp_path, ["a", "c"])
    assert [clips.clip_ids for clips in result] == [ids([1]), ids([1, 2]), ids([4])]
    bad = tmp_path / "manifests" / "a-000000000000.parquet"
    assert [p for p in bad.parent.iterdir() if not manifests.is_readable(p)] == [bad]
