"""Which clips a trained student has learnt from."""

import pytest

from probekit.cache import embeddings, merge, training_clips
from probekit.cache import pack as pack_module
from probekit.cache.training_clips import TrainingClips
from probekit.errors import CacheError

MINE = TrainingClips(
    {
        ("trained", "songs"): frozenset({"a", "b", 'c,"x"\n', "ä"}),
        ("chose", "songs"): frozenset({"d"}),
        ("trained", "others"): frozenset({"e"}),
    }
)


def test_what_is_kept_is_read_again(tmp_path):
    training_clips.save(tmp_path, MINE)
    assert training_clips.load(tmp_path) == MINE
    assert training_clips.load(tmp_path / "never") is None
    before = (tmp_path / training_clips.CLIPS_FILE).read_bytes()
    training_clips.save(tmp_path, training_clips.from_rows(reversed(MINE.rows())))
    assert (
        tmp_path / training_clips.CLIPS_FILE
    ).read_bytes() == before  # in one order, whatever came first
    assert [p.name for p in tmp_path.iterdir()] == [training_clips.CLIPS_FILE]


def test_counts_are_of_different_clips_of_one_dataset(tmp_path):
    training_clips.save(tmp_path, MINE)
    said = training_clips.contamination_notes(
        "student-0a1b", tmp_path, "songs", ["a", "a", "b", "d", "z"]
    )
    assert said == [
        "runs/0a1b was trained on 2 of 4 test clips",
        "the epoch of runs/0a1b was chosen on 1 of 4 test clips",
    ]
    assert (
        training_clips.contamination_notes("student-0a1b", tmp_path, "others", ["a", "b"]) == []
    )  # equal ids only
    assert training_clips.contamination_notes("student-0a1b", tmp_path, "others", ["a", "e"]) == [
        "runs/0a1b was trained on 1 of 2 test clips"
    ]
    assert training_clips.contamination_notes("vggish", tmp_path, "songs", ["a"]) == []


def test_whoever_learns_from_a_student_has_heard_its_clips(tmp_path):
    later = TrainingClips({("trained", "songs"): frozenset({"a"})}).merged_with(MINE.as_inherited())
    assert later.count("before", "songs", "abd") == 3 and later.count("trained", "songs", "ab") == 1
    assert later.as_inherited().clip_ids.keys() == {("before", "songs"), ("before", "others")}
    training_clips.save(tmp_path, later)
    assert training_clips.contamination_notes("student-2", tmp_path, "others", ["e"]) == [
        "what runs/2 learnt from was trained or chosen on 1 of 1 test clips"
    ]


def test_what_is_not_known_is_said(tmp_path):
    assert training_clips.missing_record_notes("vggish", tmp_path) == []
    assert training_clips.missing_record_notes("student-1", tmp_path) == [
        "it is not known which clips runs/1 was trained on"
    ]
    assert training_clips.record_digest("vggish", tmp_path) == [] and training_clips.record_digest(
        "student-1", tmp_path
    ) == [""]
    assert training_clips.contamination_notes("student-1", tmp_path, "songs", ["a"]) == []
    training_clips.save(tmp_path, MINE)
    assert training_clips.missing_record_notes("student-1", tmp_path) == []
    assert len(training_clips.record_digest("student-1", tmp_path)[0]) == 64


@pytest.mark.parametrize(
    "text",
    ["", "clip_id\na\n", "dataset,clip_id,use\nsongs,a\n", "dataset,clip_id,use\ns,a,eaten\n"],
)
def test_what_is_no_such_table_is_refused(tmp_path, text):
    (tmp_path / training_clips.CLIPS_FILE).write_text(text)
    with pytest.raises(CacheError, match=r"clips\.csv: not the clips of a trained student"):
        training_clips.load(tmp_path)


@pytest.mark.parametrize("pack", [False, True])
def test_it_goes_where_embeddings_go(tmp_path, put, pack):
    songs = embeddings.Embeddings(put(tmp_path / "a"))
    training_clips.save(songs.folder.parent, MINE)
    source = pack_module.pack_embeddings(songs, tmp_path / "songs.h5") if pack else tmp_path / "a"
    [done] = merge.merge_caches([source], tmp_path / "c")
    assert training_clips.load(done.folder.parent) == MINE
