"""Which clips a trained student has learnt from."""

import pytest

from probekit.cache import heard, merging, packing, store
from probekit.cache.heard import Heard
from probekit.errors import CacheError

MINE = Heard(
    {
        ("trained", "songs"): frozenset({"a", "b", 'c,"x"\n', "ä"}),
        ("chose", "songs"): frozenset({"d"}),
        ("trained", "others"): frozenset({"e"}),
    }
)


def test_what_is_kept_is_read_again(tmp_path):
    heard.keep(tmp_path, MINE)
    assert heard.load(tmp_path) == MINE
    assert heard.load(tmp_path / "never") is None
    before = (tmp_path / heard.NAME).read_bytes()
    heard.keep(tmp_path, heard.of_rows(reversed(MINE.rows())))
    assert (tmp_path / heard.NAME).read_bytes() == before  # in one order, whatever came first
    assert [p.name for p in tmp_path.iterdir()] == [heard.NAME]


def test_counts_are_of_different_clips_of_one_dataset(tmp_path):
    heard.keep(tmp_path, MINE)
    said = heard.notes("student-0a1b", tmp_path, "songs", ["a", "a", "b", "d", "z"])
    assert said == [
        "runs/0a1b was trained on 2 of 4 test clips",
        "the epoch of runs/0a1b was chosen on 1 of 4 test clips",
    ]
    assert heard.notes("student-0a1b", tmp_path, "others", ["a", "b"]) == []  # equal ids only
    assert heard.notes("student-0a1b", tmp_path, "others", ["a", "e"]) == [
        "runs/0a1b was trained on 1 of 2 test clips"
    ]
    assert heard.notes("vggish", tmp_path, "songs", ["a"]) == []


def test_whoever_learns_from_a_student_has_heard_its_clips(tmp_path):
    later = Heard({("trained", "songs"): frozenset({"a"})}).joined(MINE.handed_on())
    assert later.count("before", "songs", "abd") == 3 and later.count("trained", "songs", "ab") == 1
    assert later.handed_on().clips.keys() == {("before", "songs"), ("before", "others")}
    heard.keep(tmp_path, later)
    assert heard.notes("student-2", tmp_path, "others", ["e"]) == [
        "what runs/2 learnt from was trained or chosen on 1 of 1 test clips"
    ]


def test_what_is_not_known_is_said(tmp_path):
    assert heard.unknown("vggish", tmp_path) == []
    assert heard.unknown("student-1", tmp_path) == [
        "it is not known which clips runs/1 was trained on"
    ]
    assert heard.digest("vggish", tmp_path) == [] and heard.digest("student-1", tmp_path) == [""]
    assert heard.notes("student-1", tmp_path, "songs", ["a"]) == []
    heard.keep(tmp_path, MINE)
    assert heard.unknown("student-1", tmp_path) == []
    assert len(heard.digest("student-1", tmp_path)[0]) == 64


@pytest.mark.parametrize(
    "text",
    ["", "clip_id\na\n", "dataset,clip_id,use\nsongs,a\n", "dataset,clip_id,use\ns,a,eaten\n"],
)
def test_what_is_no_such_table_is_refused(tmp_path, text):
    (tmp_path / heard.NAME).write_text(text)
    with pytest.raises(CacheError, match=r"clips\.csv: not the clips of a trained student"):
        heard.load(tmp_path)


@pytest.mark.parametrize("pack", [False, True])
def test_it_goes_where_embeddings_go(tmp_path, put, pack):
    songs = store.Embeddings(put(tmp_path / "a"))
    heard.keep(songs.where.parent, MINE)
    source = packing.pack(songs, tmp_path / "songs.h5") if pack else tmp_path / "a"
    [done] = merging.merge([source], tmp_path / "c")
    assert heard.load(done.where.parent) == MINE
