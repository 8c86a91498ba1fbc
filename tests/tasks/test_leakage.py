"""What is on two sides of a split."""

import shutil

import numpy as np
import pandas as pd
import pytest

from probekit.data import readers
from probekit.data.manifest import from_rows, group_by_recording
from probekit.errors import DataError
from probekit.tasks import leakage
from probekit.tasks.splits import Split
from probekit.tasks.standin.writer import StandInWriter
from probekit.tasks.task import load_task


def table(tmp_path, *lines):
    (tmp_path / "t.csv").write_text("\n".join(lines))
    return load_task(str(tmp_path / "t.csv"))


def test_groups_on_two_sides_with_their_clips(tmp_path):
    task = table(
        tmp_path,
        "clip_id,path,label,split,group",
        "a,a.wav,x,train,one",
        "b,b.wav,y,valid,one",
        "c,c.wav,x,train,two",
        "d,d.wav,x,train,two",
        "e,e.wav,y,test,",
        "f,f.wav,y,train,",
        "g,g.wav,y,test,one",
        "h,h.wav,y,,three",
        "i,i.wav,y,test,three",
    )
    [leak] = leakage.find_shared_groups(task, task.manifest())
    assert leak.what == "one"
    assert list(leak.sides.items()) == [("train", ["a"]), ("valid", ["b"]), ("test", ["g"])]
    assert not leak.named


def test_urbansound8k_has_the_leaks_that_its_card_names(shared, tmp_path):
    (tmp_path / "metadata").mkdir()
    shutil.copy(shared / "data/meta/UrbanSound8K.csv", tmp_path / "metadata")
    task = load_task("urbansound8k")
    found = leakage.find_shared_groups(task, task.manifest(tmp_path))
    assert [leak.what for leak in found] == ["106905", "132016", "176638", "180937", "77751"]
    assert all(leak.named for leak in found)
    assert list(found[0].sides) == ["1", "8"]


def test_made_folds_that_tear_groups_apart_are_found(tmp_path):
    lines = [f"c{k},c{k}.wav,{'xy'[k % 2]},g{k // 4}" for k in range(40)]
    task = table(tmp_path, "clip_id,path,label,group", *lines)
    clips = task.manifest()
    assert leakage.find_shared_groups(task, clips) == []  # folds keep groups whole of themselves
    loose = task.card.protocol.model_copy(update={"grouped": False})
    task.card = task.card.model_copy(update={"protocol": loose})
    assert len(leakage.find_shared_groups(task, clips)) > 5


def test_clips_without_groups_say_so(tmp_path):
    task = table(tmp_path, "clip_id,path,label,split", "a,a.wav,x,train", "b,b.wav,x,test")
    with pytest.raises(DataError, match="its clips have no groups"):
        leakage.find_shared_groups(task, task.manifest())


@pytest.fixture
def doubled(tmp_path):
    stage = StandInWriter(tmp_path, 1)
    for k, name in enumerate(("a.wav", "b.wav", "long.wav")):
        stage.write_audio(name, [k], seconds=2.0, sr=8000)
    shutil.copy(tmp_path / "a.wav", tmp_path / "again.wav")
    return table(
        tmp_path,
        "clip_id,path,start,end,label,split",
        "a,a.wav,,,x,train",
        "again,again.wav,,,x,test",
        "b,b.wav,,,x,train",
        "b2,b.wav,,,x,train",
        "part1,long.wav,0,1,y,train",
        "part2,long.wav,1,2,y,test",
        "part3,long.wav,0,1,y,test",
    )


def test_identical_recordings_are_found_by_their_content(doubled):
    seen = []
    clips = doubled.manifest()
    hashes = leakage.hash_recordings(doubled, clips, lambda *n: seen.append(n))
    found = leakage.find_duplicates(doubled, clips, hashes)
    assert [sorted(leak.sides.items()) for leak in found if " " not in leak.what] == [
        [("test", ["again"]), ("train", ["a"])]
    ]
    # two stretches of one recording are no copies; the same stretch twice is
    [stretch] = [leak for leak in found if " " in leak.what]
    assert stretch.what.endswith(" 0-1 s")
    assert stretch.sides == {"train": ["part1"], "test": ["part3"]}
    assert seen[-1] == (4, 4)
    # b is not divided
    everything = leakage.find_duplicates(doubled, clips, hashes, undivided=True)
    assert [leak.sides for leak in everything if not leak.divided] == [{"train": ["b", "b2"]}]
    assert [leak for leak in everything if leak.divided] == found


def test_only_recordings_of_equal_size_that_are_not_known_are_read(doubled, tmp_path):
    clips = doubled.manifest()
    whole = leakage.hash_recordings(doubled, clips)
    with (tmp_path / "long.wav").open("ab") as file:
        file.write(b"more")  # now no other has its size
    stat = (tmp_path / "b.wav").stat()
    facts = {"size": [stat.st_size] * 2, "mtime": [stat.st_mtime_ns, 0], "sha256": ["known", "old"]}
    known = pd.DataFrame(facts, index=["b", "a"])
    seen = []
    hashes = leakage.hash_recordings(doubled, clips, lambda *n: seen.append(n), known=known)
    assert seen == [(1, 2), (2, 2)]  # a, changed since, and again
    assert hashes["b.wav"] == "known"
    assert hashes["a.wav"] == hashes["again.wav"] == whole["a.wav"]
    assert len(set(hashes.values())) == 3


def test_missing_recordings_are_named_before_anything_is_read(doubled, tmp_path):
    (tmp_path / "b.wav").unlink()
    with pytest.raises(DataError, match=r"1 recordings are missing: 'b\.wav'"):
        leakage.hash_recordings(doubled, doubled.manifest())


def test_group_is_named_only_as_a_whole_word():
    assert leakage._is_named("12", ["fsID 12, 13"])
    assert not leakage._is_named("12", ["fsID 112 and 123"])


# ---- what a score must say


def compare_all_pairs(clips, divisions, hashes):
    """Count the test clips as the definition says, one pair after the other."""
    rows = clips.table.to_dict("records")

    def key(row):
        return hashes.get(row["clip_id"]) or next(
            (
                hashes[other["clip_id"]]
                for other in rows
                if other["path"] == row["path"] and hashes.get(other["clip_id"])
            ),
            row["path"],
        )

    def times(row):
        start = 0.0 if np.isnan(row["start"]) else row["start"]
        return start, np.inf if np.isnan(row["end"]) else row["end"]

    def level(a, b):
        if a["path"] and b["path"] and key(a) == key(b):
            (a_start, a_end), (b_start, b_end) = times(a), times(b)
            if (a_start, a_end) == (b_start, b_end):
                return 4
            return 3 if max(a_start, b_start) + 1e-3 < min(a_end, b_end) else 2
        return int(a["group"] != "" and a["group"] == b["group"])

    levels = {}
    for division in divisions:
        others = [rows[k] for k in (*division.train, *division.valid)]
        for k in division.test:
            levels[k] = max([levels.get(k, 0), *(level(rows[k], other) for other in others)])
    counts = [list(levels.values()).count(n) for n in (4, 3, 2, 1)]
    return leakage.SharedTestClips(*counts, tested=len(levels))


@pytest.mark.parametrize("seed", range(8))
def test_shared_clips_are_those_of_a_comparison_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    count = 60
    starts = rng.integers(0, 8, count) / 2
    rows = [
        {
            "clip_id": f"c{k}",
            "path": f"{rng.integers(20)}.wav" if rng.random() < 0.9 else "",
            "start": starts[k] if rng.random() < 0.8 else np.nan,
            "end": starts[k] + rng.integers(1, 4) / 2 if rng.random() < 0.8 else np.nan,
            "group": f"g{rng.integers(8)}" if rng.random() < 0.4 else "",
            "labels": "x",
        }
        for k in range(count)
    ]
    clips = from_rows("m", rows)
    by_path = {row["path"]: f"hash {int(row['path'][:-4]) // 2}" for row in rows if row["path"]}
    hashes = {r["clip_id"]: by_path[r["path"]] for r in rows if r["path"] and rng.random() < 0.5}
    sides = rng.integers(0, 4, count)
    divisions = [
        Split(
            str(fold),
            np.flatnonzero((sides != fold) & (sides != 3)),
            np.flatnonzero(sides == 3) if seed % 2 else np.array([], int),
            np.flatnonzero(sides == fold),
        )
        for fold in range(3)
    ]
    expected = compare_all_pairs(clips, divisions, hashes)
    assert leakage.find_shared_clips(clips, divisions, hashes) == expected
    assert expected.overlapping > 0 and expected.recordings > 0


def test_notes_count_each_test_clip_once():
    shared = leakage.SharedTestClips(1, 0, 2, 0, 1000)
    assert shared.notes() == [
        "1 of 1,000 test clips are byte-identical to training clips",
        "2 of 1,000 test clips come from recordings that training clips come from",
    ]


def test_segments_that_touch_do_not_overlap():
    rows = [
        {"clip_id": "a", "path": "a.wav", "start": 0.0, "end": 0.1 + 0.2, "labels": "x"},
        {"clip_id": "b", "path": "a.wav", "start": 0.3, "labels": "x"},
        {"clip_id": "c", "path": "a.wav", "start": 0.2, "end": 0.25, "labels": "x"},
    ]
    clips = from_rows("m", rows)

    def shared(train, test):
        rows = [np.array(side) for side in (train, [], test)]
        return leakage.find_shared_clips(clips, [Split("test", *(r.astype(int) for r in rows))])

    assert shared([0], [1]) == leakage.SharedTestClips(0, 0, 1, 0, 1)
    assert shared([1], [0]) == leakage.SharedTestClips(0, 0, 1, 0, 1)
    assert shared([0], [2]) == leakage.SharedTestClips(0, 1, 0, 0, 1)
    assert shared([2], [0]) == leakage.SharedTestClips(0, 1, 0, 0, 1)


def test_shared_clips_of_many_are_all_counted():
    rng = np.random.default_rng(0)
    count = 20_000
    table = pd.DataFrame(
        {
            "clip_id": [f"c{k}" for k in range(count)],
            "path": [f"{k // 2}.wav" for k in range(count)],
            "start": np.arange(count) % 2 * 1.0,
            "end": np.arange(count) % 2 + 1.5,
            "split": "",
            "fold": "",
            "group": "",
            "labels": [("x",)] * count,
        }
    )
    clips = from_rows("m", table.iloc[:1].to_dict("records")).with_table(table)
    hashes = {f"c{k}": f"{k // 4}" for k in range(count)}
    folds = rng.integers(0, 10, count)
    divisions = [
        Split(str(k), np.flatnonzero(folds != k), np.array([], int), np.flatnonzero(folds == k))
        for k in range(10)
    ]
    shared = leakage.find_shared_clips(clips, divisions, hashes)
    assert shared.identical + shared.overlapping == pytest.approx(0.999 * count, rel=0.01)


def test_clips_of_other_labels_that_are_one_segment_are_counted():
    rows = [
        {"clip_id": "a", "path": "a.wav", "labels": "x"},
        {"clip_id": "b", "path": "a.wav", "labels": "y"},
        {"clip_id": "c", "path": "b.wav", "labels": "x"},
        {"clip_id": "d", "path": "c.wav", "labels": "x"},
        {"clip_id": "e", "path": "c.wav", "labels": "x"},
    ]
    clips = from_rows("m", rows)
    assert leakage.contradicting_labels_notes(clips) == [
        "2 clips have the segment of a clip with another label"
    ]
    hashes = {"a": "1", "c": "1"}  # b.wav is a copy of a.wav
    assert leakage.contradicting_labels_notes(clips, hashes) == [
        "3 clips have the segment of a clip with another label"
    ]
    assert leakage.contradicting_labels_notes(clips.subset([0, 2, 3, 4])) == []


# ---- groups that keep together what belongs together


def test_groups_recordings_and_copies_are_joined():
    rows = [
        {"clip_id": clip_id, "path": path, "group": group, "labels": "x"}
        for clip_id, path, group in (
            ("a1", "a.wav", "artist"),
            ("a2", "a.wav", ""),
            ("copy", "copy.wav", ""),  # of a.wav
            ("b", "b.wav", "artist"),
            ("c1", "c.wav", ""),
            ("c2", "c.wav", ""),
            ("d", "d.wav", "alone"),
            ("e", "e.wav", ""),
        )
    ]
    hashes = {"a.wav": "1", "copy.wav": "1", "b.wav": "2", "c.wav": "3", "d.wav": "4", "e.wav": "5"}
    groups = leakage.merge_groups(from_rows("m", rows), hashes)
    assert groups == [*["a.wav"] * 4, "c.wav", "c.wav", "alone", ""]


@pytest.mark.parametrize("column, dropped", [("split", "split"), ("fold", "fold")])
def test_written_table_is_read_back_with_clean_groups(doubled, tmp_path, column, dropped):
    clips = doubled.manifest()
    if column == "fold":
        table = clips.table.assign(fold=clips.table["split"], split="")
        clips = from_rows("t", table.to_dict("records"), root=tmp_path)
    hashes = leakage.hash_recordings(doubled, clips)
    summary = leakage.write_groups(clips, hashes, tmp_path / "grouped.csv")
    assert (summary.clips, summary.groups, summary.dropped) == (7, 3, dropped)
    again = readers.from_csv(tmp_path / "grouped.csv")
    assert again.clip_ids == clips.clip_ids
    assert list(again.table["labels"]) == list(clips.table["labels"])
    assert len(set(again.column("group"))) == 3
    assert not (again.column(column) != "").any()
    whole = clips.subset([0, 1]).table.assign(split="train", fold="")
    (tmp_path / "sub").mkdir()
    kept = leakage.write_groups(
        from_rows("t", whole.to_dict("records"), root=tmp_path), hashes, tmp_path / "kept.csv"
    )
    assert kept.dropped == ""
    assert set(readers.from_csv(tmp_path / "kept.csv").column("split")) == {"train"}


def test_table_is_not_written_over_another_or_away_from_its_recordings(doubled, tmp_path):
    clips = group_by_recording(doubled.manifest())
    hashes = leakage.hash_recordings(doubled, clips)
    for name, reason in (
        ("t.csv", "exists already"),
        ("groups.parquet", r"must end in \.csv"),
        ("sub/groups.csv", r"its folder must contain the recordings, such as .*groups\.csv"),
    ):
        with pytest.raises(DataError, match=reason):
            leakage.write_groups(clips, hashes, tmp_path / name)
