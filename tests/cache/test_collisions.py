"""A dataset's name in a cache stands for one set of recordings."""

import os
import shutil

import numpy as np
import pytest
import soundfile

from probekit.cache import collisions
from probekit.cache.manifests import save_manifest
from probekit.data import readers

NAMES = {"clips"}


@pytest.fixture
def table(tmp_path):
    """Write ``table("pa", seed)``: a folder with six recordings and their table."""

    def make(folder, seed, rows=None):
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        rng = np.random.default_rng(seed)
        for k in range(6):
            soundfile.write(root / f"{k}.wav", rng.uniform(-0.5, 0.5, 800), 8000)
        return read(root, rows or [f"c{k},{k}.wav" for k in range(6)])

    return make


def read(root, rows):
    (root / "clips.csv").write_text("\n".join(["clip_id,path", *rows]))
    return readers.from_csv(root / "clips.csv")


def test_other_recordings_under_the_same_ids_are_named(table, tmp_path):
    assert collisions.find_collision(tmp_path, NAMES, table("pa", 0)) is None
    save_manifest(tmp_path, table("pa", 0))
    other = table("pb", 1)
    message = collisions.find_collision(tmp_path, NAMES, other)
    assert str(tmp_path / "pa/0.wav") in message
    assert str(tmp_path / "pb/0.wav") in message
    assert "6 of 6 clips differ" in message
    assert collisions.find_collision(tmp_path, {"others"}, other) is None


def test_relative_roots_are_told_apart(table, tmp_path, monkeypatch):
    table("pa", 0)
    table("pb", 1)
    monkeypatch.chdir(tmp_path / "pa")
    save_manifest(tmp_path, readers.from_csv(tmp_path / "pa/clips.csv", root=tmp_path.__class__()))
    monkeypatch.chdir(tmp_path / "pb")
    here = readers.from_csv(tmp_path / "pb/clips.csv", root=tmp_path.__class__())
    assert "6 of 6" in collisions.find_collision(tmp_path, NAMES, here)


def test_dataset_that_moved_or_was_copied_is_the_same(table, tmp_path):
    save_manifest(tmp_path, table("pa", 0))
    shutil.copytree(tmp_path / "pa", tmp_path / "copy")
    for path in (tmp_path / "copy").glob("*.wav"):
        os.utime(path, (1, 1))  # size alone does not tell
    assert (
        collisions.find_collision(tmp_path, NAMES, readers.from_csv(tmp_path / "copy/clips.csv"))
        is None
    )
    other = table("pb", 1)
    assert collisions.find_collision(tmp_path, NAMES, other) is not None
    shutil.move(tmp_path / "pa", tmp_path / "moved")
    assert (
        collisions.find_collision(tmp_path, NAMES, other) is None
    )  # nobody can tell it from one that moved


def test_recording_that_changed_in_its_place_is_not_another(table, tmp_path):
    save_manifest(tmp_path, table("pa", 0))
    assert collisions.find_collision(tmp_path, NAMES, table("pa", 1)) is None


def test_one_recording_that_differs_in_another_folder_is_enough(table, tmp_path):
    save_manifest(tmp_path, table("pa", 0))
    shutil.copytree(tmp_path / "pa", tmp_path / "pb")
    shutil.copy(tmp_path / "pa/1.wav", tmp_path / "pb/2.wav")
    message = collisions.find_collision(
        tmp_path, NAMES, readers.from_csv(tmp_path / "pb/clips.csv")
    )
    assert "'c2' was " in message
    assert "1 of 6 clips differ" in message


def test_table_may_be_corrected_but_not_become_another_one(table, tmp_path):
    clips = table("pa", 0)
    save_manifest(tmp_path, clips)
    rows = [f"c{k},{k}.wav" for k in range(6)]
    corrected = read(clips.root, [*rows[:4], "c4,5.wav", "c5,4.wav"])
    assert collisions.find_collision(tmp_path, NAMES, corrected) is None
    another = read(clips.root, [f"c{k},{(k + 1) % 6}.wav" for k in range(6)])
    assert "6 of 6" in collisions.find_collision(tmp_path, NAMES, another)


def test_newest_table_decides_for_the_clips_that_it_has(table, tmp_path):
    old = save_manifest(tmp_path, table("pa", 0, ["c0,0.wav", "c1,1.wav"]))
    new = save_manifest(tmp_path, table("pb", 1, ["c0,0.wav", "c2,2.wav"]))
    os.utime(old, (1, 1))
    os.utime(new, (2, 2))
    back = readers.from_csv(tmp_path / "pa/clips.csv")
    assert "'c0' was " + str(tmp_path / "pb") in collisions.find_collision(tmp_path, NAMES, back)
    only = read(tmp_path / "pa", ["c1,1.wav"])
    assert collisions.find_collision(tmp_path, NAMES, only) is None
    new.write_bytes(b"damaged")
    assert collisions.find_collision(tmp_path, NAMES, back) is None


def test_clips_without_recordings_clash_with_nothing(table, tmp_path):
    save_manifest(tmp_path, table("pa", 0))
    (tmp_path / "clips.csv").write_text("clip_id\nc0\nc1")
    clips = readers.from_csv(tmp_path / "clips.csv", need_path=False)
    assert collisions.find_collision(tmp_path, NAMES, clips) is None
