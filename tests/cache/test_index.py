import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from probekit.cache import index, part
from probekit.errors import CacheError


@pytest.fixture
def scanned(monkeypatch):
    """The names of the parts that were read."""
    names = []
    scan = index._scan

    def watch(path, info):
        names.append(path.name)
        return scan(path, info)

    monkeypatch.setattr(index, "_scan", watch)
    return names


def facts(loaded):
    columns = loaded.table.sort_values("clip_id").reset_index(drop=True)
    return columns.to_dict("list"), loaded.parts


def test_the_index_says_what_the_parts_hold(tmp_path, put, toy):
    folder = put(tmp_path, range(10), failed=[10, 11])
    table = index.load_index(folder).table.set_index("clip_id")
    assert sorted(table.index) == [f"clip-{n:02d}-ö" for n in range(12)]
    assert set(table["part"]) == {path.name for path in folder.glob("*.h5")}
    good = table.loc["clip-04-ö"]
    assert (good["failed"], good["reason"], good["size"]) == (False, "", 1004)
    assert (good["start"], good["end"], good["duration"]) == (2.0, 9.0, 5.0)
    assert (good["mtime"], good["sha256"]) == (10**18 + 4, f"{4:064x}")
    assert np.isnan(table.loc["clip-03-ö", "start"])
    bad = table.loc["clip-10-ö"]
    assert (bad["failed"], bad["row"], bad["reason"]) == (True, -1, "née 10")
    assert (bad["size"], bad["end"]) == (10, 2.0)
    for path in folder.glob("*.h5"):
        rows = table[(table["part"] == path.name) & ~table["failed"]].sort_values("row")
        assert list(rows.index) == list(part.read_part(path).rows)


def test_an_index_that_is_current_is_not_made_again(tmp_path, put, scanned):
    folder = put(tmp_path, range(10), failed=[10])
    first = index.load_index(folder)
    assert len(scanned) == 4
    again = index.load_index(folder)
    assert len(scanned) == 4
    np.testing.assert_equal(facts(again), facts(first))


def test_only_parts_that_changed_are_read_again(tmp_path, put, toy, scanned):
    folder = put(tmp_path, range(20))
    index.load_index(folder)
    scanned.clear()
    name, gone = sorted(path.name for path in folder.glob("*.h5"))[1:3]
    ids = part.read_part(folder / name).rows
    remaining = [number for number in range(20) if f"clip-{number:02d}-ö" in ids][1:]
    part.write_part(folder / name, toy(remaining, failed=[77]))
    lost = set(part.read_part(folder / gone).rows)
    (folder / gone).unlink()
    loaded = index.load_index(folder)
    assert scanned == [name]
    (folder / "index.parquet").unlink()
    np.testing.assert_equal(facts(loaded), facts(index.load_index(folder)))
    assert lost.isdisjoint(loaded.table["clip_id"])
    assert "clip-77-ö" in set(loaded.table["clip_id"])


def test_a_part_that_was_written_anew_is_noticed(tmp_path, put, toy, scanned):
    folder = put(tmp_path, range(20))
    index.load_index(folder)
    scanned.clear()
    path = min(folder.glob("*.h5"))
    part.write_part(path, toy([50]))
    assert "clip-50-ö" in set(index.load_index(folder).table["clip_id"])
    assert scanned == [path.name]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b"PAR1" + bytes(1000)),
        lambda path: path.write_bytes(path.read_bytes().replace(b"clip_id", b"clap_id")),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["missing", "empty", "cut", "zeros", "other columns", "a folder"],
)
def test_an_index_that_is_of_no_use_is_made_anew(tmp_path, put, scanned, spoil):
    folder = put(tmp_path, range(10), failed=[10])
    expected = facts(index.load_index(folder))
    spoil(folder / "index.parquet")
    scanned.clear()
    if (folder / "index.parquet").is_dir():
        with pytest.raises(CacheError, match=r"index\.parquet: "):
            index.load_index(folder)
        return
    np.testing.assert_equal(facts(index.load_index(folder)), expected)
    assert len(scanned) == 4
    index.load_index(folder)
    assert len(scanned) == 4


def test_looking_only_writes_nothing(tmp_path, put):
    folder = put(tmp_path)
    before = sorted(folder.iterdir())
    assert len(index.load_index(folder, save=False).table) == 12
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("errno", [13, 30])
def test_a_cache_that_cannot_be_written_is_read(tmp_path, put, monkeypatch, errno):
    folder = put(tmp_path)

    def refuse(path, write):
        raise OSError(errno, "no", str(path))

    monkeypatch.setattr(index.atomic, "atomic_write", refuse)
    assert len(index.load_index(folder).table) == 12


def test_a_part_of_another_fingerprint_is_refused(tmp_path, put, toy):
    folder = put(tmp_path)
    index.load_index(folder)
    stray = folder / "part-00077.h5"
    identity = {"extractor": "toy", "version": 3, "params": {"size": 3}, "precision": "float32"}
    part.write_part(stray, toy(fingerprint="e" * 64, identity=identity))
    with pytest.raises(CacheError) as caught:
        index.load_index(folder)
    for word in (str(stray), "f" * 16, "e" * 16, "version: 3 in the cache, 1 requested"):
        assert word in str(caught.value)


def test_a_damaged_part_is_named_with_what_to_do(tmp_path, put):
    folder = put(tmp_path)
    path = min(folder.glob("*.h5"))
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(CacheError, match="cache repair") as caught:
        index.load_index(folder)
    assert str(path) in str(caught.value)


def test_folders_without_clips(tmp_path, put, toy):
    folder = put(tmp_path, [])
    assert len(index.load_index(folder).table) == 0
    part.write_part(folder / "part-00000.h5", toy([], failed=[]))
    loaded = index.load_index(folder)
    assert len(loaded.table) == 0
    assert loaded.arrays("seq") == []


def test_parts_of_which_all_clips_failed_do_not_count(tmp_path, put, toy):
    folder = put(tmp_path, range(8))
    part.write_part(folder / "part-00099.h5", toy([], failed=[50, 51]))
    assert index.load_index(folder).arrays("seq") == ["frames", "max", "mean", "std"]
    part.write_part(folder / "part-00098.h5", toy([60], frames=False, failed=[]))
    assert index.load_index(folder).arrays("seq") == ["max", "mean", "std"]
    assert index.load_index(folder).arrays("nothing") == []


# ---- positions of many ids

IDS = {
    "eleven letters": [f"{k * 7919 % 100_003:011x}" for k in range(2000)],
    "a letter and a digit": [f"{chr(65 + k // 50)}{chr(48 + k % 50)}" for k in range(2000)],
    "sixty letters": [f"{k:060d}" for k in range(2000)],
    "a hundred letters": [f"{k:0100d}" for k in range(2000)],
    "other lengths": [f"clip-{k}" for k in range(2000)],
    "not ASCII": [f"é{k:04d}" for k in range(2000)],
    "line feeds": [f"{k % 10}\n{k // 10:03d}" for k in range(2000)],
}


@pytest.fixture(params=["a dict", "vectorized"])
def lookup(request, monkeypatch):
    if request.param == "vectorized":
        monkeypatch.setattr(index, "_SMALL", 0)


@pytest.mark.usefixtures("lookup")
@pytest.mark.parametrize("form", [list, tuple, pd.Series, np.array, pa.array])
@pytest.mark.parametrize("ids", IDS.values(), ids=IDS)
def test_every_id_is_found_where_it_is_and_no_other(ids, form):
    clips = {"clip_id": ids}
    known = index.Index(pa.table(clips) if form in (list, pa.array) else pd.DataFrame(clips), {})
    rng = np.random.default_rng(0)
    rows = rng.integers(-1, len(ids), 3000)  # repeated, and unknown ones
    unknown = ids[0][:-1] + "~"
    sought = [unknown if row < 0 else ids[row] for row in rows]
    assert known.find(form(sought)).tolist() == rows.tolist()
    assert (known.find(form([f"{unknown}!"] * 1000)) == -1).all()
    assert known.find(pd.Series(sought)[1000:]).tolist() == rows[1000:].tolist()


@pytest.mark.usefixtures("lookup")
def test_ids_of_equal_length_are_not_taken_for_others_that_join_to_the_same_text():
    ids = [f"{k:03d}" for k in range(1000)]
    known = index.Index(pd.DataFrame({"clip_id": ids}), {})
    assert known.find(["", *ids[1:-1], "999\n000"]).tolist() == [-1, *range(1, 999), -1]
    assert known.find([None, *ids]).tolist() == [-1, *range(1000)]


@pytest.mark.parametrize("shared", [True, False])
def test_ids_of_equal_hashes_are_told_apart(monkeypatch, shared):
    monkeypatch.setattr(index, "_SMALL", 0)
    ids = [f"{k:020d}" for k in range(2000)]
    known = index.Index(pd.DataFrame({"clip_id": ids}), {})
    if shared:  # by two ids of the index
        monkeypatch.setattr(index, "_hash", lambda words: words[0] * np.uint64(0))
    else:  # by ids of the index and others
        monkeypatch.setattr(index, "_hash", lambda words: words[-1].copy())
    others = [f"1{k:019d}" for k in range(2000)]
    assert known.find([*others, *ids]).tolist() == [-1] * 2000 + list(range(2000))
