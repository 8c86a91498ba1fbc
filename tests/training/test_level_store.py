"""Parts of log-mel spectra: values, kills, damage, and folders of something else."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from probekit.data.manifest import from_rows
from probekit.errors import CacheError, DataError
from probekit.extractors.students import zoo
from probekit.training import level_store
from probekit.training.level_store import SILENCE, LevelStore
from probekit.utils import atomic

torch.set_num_threads(1)
SR = 16000


@pytest.fixture
def clips(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for k in range(7):
        wave = 0.1 * rng.standard_normal(int(SR * (0.5 + 0.1 * k)))
        soundfile.write(tmp_path / f"{k}.wav", wave, SR, subtype="FLOAT")
        labels = ("a", "b") if k % 2 else ("b",)
        rows.append({"clip_id": f"clip{k}", "path": f"{k}.wav", "labels": labels, "split": "train"})
    (tmp_path / "6.wav").write_bytes(b"no sound")
    return from_rows("tiny", rows, root=tmp_path, target="multi", class_names=("a", "b"))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(level_store, "CLIPS_PER_PART", 2)


@pytest.mark.parametrize("text", ["talnet:width=2", "weanet:width=2"])
def test_values_are_those_of_the_front_end(clips, tmp_path, text):
    student = zoo.build_student(text, 2)
    store = LevelStore.open(clips, student, tmp_path / "parts")
    assert list(store.failures) == ["clip6"] and store.lengths[6] == 0
    for row in range(6):
        wave, _ = soundfile.read(clips.root / f"{row}.wav", dtype="float32")
        assert store.lengths[row] == len(wave)
        expected = student.levels(torch.from_numpy(wave)[None])[0].numpy()
        found = store.crops([row], [0], len(wave))[0]
        assert found.dtype == np.float32
        # float16 of levels up to 100 dB: steps of 2^-4
        np.testing.assert_allclose(found, expected, atol=0.04)
    hop = student.level_grid.hop
    later = store.crops([3], [10 * hop + 3], 4000)
    whole = store.crops([3], [0], int(store.lengths[3]))
    assert np.array_equal(later[0], whole[0][10 : 10 + later.shape[1]])
    beyond = store.crops([0], [0], 2 * SR)[0]
    assert (beyond[student.level_grid.frames(int(store.lengths[0])) :] == SILENCE).all()


def test_clips_of_a_class_are_neighbors(clips, tmp_path):
    store = LevelStore.open(clips, zoo.build_student("talnet:width=2", 2), tmp_path / "parts")
    rare = store.places[[1, 3, 5]]  # those with the rarer label
    assert np.ptp(rare) == 2
    part = store.subset([5, 2])
    assert part.clip_ids == ["clip5", "clip2"]
    assert np.array_equal(part.crops([0, 1], [0, 0], 4000), store.crops([5, 2], [0, 0], 4000))


@pytest.mark.parametrize("point", ["before-rename", "after-rename", "levels-written"])
@pytest.mark.parametrize("count", [1, 3])
def test_killed_at_any_point_and_resumed(clips, tmp_path, monkeypatch, point, count):
    student = zoo.build_student("talnet:width=2", 2)
    whole = LevelStore.open(clips, student, tmp_path / "whole")
    passed = []

    def stop(name):
        passed.append(name)
        if passed.count(point) == count + 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "_test_hook", stop)
    with pytest.raises(KeyboardInterrupt):
        LevelStore.open(clips, student, tmp_path / "killed")
    monkeypatch.setattr(atomic, "_test_hook", lambda name: None)
    made = len(list((tmp_path / "killed").glob("*.json")))
    again = LevelStore.open(clips, student, tmp_path / "killed")
    assert made < 5 and again.digest == whole.digest
    for name in ("part-00000.f16", "part-00003.f16"):
        one, other = ((tmp_path / where / name).read_bytes() for where in ("whole", "killed"))
        assert one == other


def test_changed_recordings_and_absent_ones(clips, tmp_path):
    student, folder = zoo.build_student("talnet:width=2", 2), tmp_path / "parts"
    first = LevelStore.open(clips, student, folder)
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.f16")}
    soundfile.write(clips.root / "0.wav", np.zeros(SR), SR)
    second = LevelStore.open(clips, student, folder)
    assert second.digest != first.digest and second.lengths[0] == SR
    assert sum(path.stat().st_mtime_ns != time for path, time in times.items()) == 1
    for path in clips.root.glob("*.wav"):
        path.unlink()
    assert LevelStore.open(clips, student, folder).digest == second.digest


def test_another_front_end_other_clips_and_damage(clips, tmp_path):
    student, folder = zoo.build_student("talnet:width=2", 2), tmp_path / "parts"
    LevelStore.open(clips, student, folder)
    with pytest.raises(DataError, match="another front-end: 'talnet log-mel 1'"):
        LevelStore.open(clips, zoo.build_student("weanet:width=2", 2), folder)
    with pytest.raises(DataError, match=r"parts of 7 clips of tiny, not of the 3 clips"):
        LevelStore.open(clips.subset([0, 1, 2]), student, folder)
    path = folder / "part-00001.f16"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"part-00001.f16: was changed"):
        LevelStore.open(clips, student, folder)
    (folder / "store.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        LevelStore.open(clips, student, folder)


def test_full_disk(clips, tmp_path, monkeypatch):
    student = zoo.build_student("talnet:width=2", 2)

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CacheError, match=r"no space left on device.*whole parts are kept"):
        LevelStore.open(clips, student, tmp_path / "parts")
    monkeypatch.undo()
    monkeypatch.setattr(level_store, "CLIPS_PER_PART", 2)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(level_store.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(CacheError, match=r"only 0\.0 GB are free"):
        LevelStore.open(clips, student, tmp_path / "others")


def test_table_is_plain_json(clips, tmp_path):
    LevelStore.open(clips, zoo.build_student("talnet:width=2", 2), tmp_path / "parts")
    table = json.loads((tmp_path / "parts/part-00000.json").read_text())
    assert pd.DataFrame({k: table[k] for k in ("clip_ids", "samples", "frames")}).shape == (2, 3)
