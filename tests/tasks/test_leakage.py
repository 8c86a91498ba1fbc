"""What is on two sides of a split."""

import shutil

import pytest

from probekit.errors import DataError
from probekit.tasks import leakage
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
    found = leakage.find_duplicates(doubled, doubled.manifest(), lambda *n: seen.append(n))
    assert [sorted(leak.sides.items()) for leak in found if " " not in leak.what] == [
        [("test", ["again"]), ("train", ["a"])]
    ]
    # two stretches of one recording are no copies; the same stretch twice is
    [stretch] = [leak for leak in found if " " in leak.what]
    assert stretch.what.endswith(" 0-1 s")
    assert stretch.sides == {"train": ["part1"], "test": ["part3"]}
    assert seen[-1] == (4, 4)


def test_missing_recordings_are_named_before_anything_is_read(doubled, tmp_path):
    (tmp_path / "b.wav").unlink()
    with pytest.raises(DataError, match=r"1 recordings are missing: 'b\.wav'"):
        leakage.find_duplicates(doubled, doubled.manifest())


def test_group_is_named_only_as_a_whole_word():
    assert leakage._is_named("12", ["fsID 12, 13"])
    assert not leakage._is_named("12", ["fsID 112 and 123"])
