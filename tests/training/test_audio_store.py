import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from probekit.audio import recording
from probekit.data import manifest as manifests
from probekit.data import readers
from probekit.errors import CacheError, DataError, UnknownNameError
from probekit.training import audio_store
from probekit.training.audio_store import AudioStore

RATE = 16000


@pytest.fixture
def folder(corpus, tmp_path):
    return shutil.copytree(corpus, tmp_path / "tiny")


@pytest.fixture
def counted(monkeypatch):
    """Paths that were decoded."""
    calls = []
    load = recording.load

    def counting(path, *arguments, **named):
        calls.append(path)
        return load(path, *arguments, **named)

    monkeypatch.setattr(audio_store.recording, "load", counting)
    return calls


@pytest.mark.parametrize(("dtype", "atol"), [("int16", 2**-16 * 1.001), ("float32", 0)])
def test_a_crop_is_a_stretch_of_the_decoded_waveform(corpus, tmp_path, dtype, atol):
    clips = readers.from_folder(corpus)
    sound = AudioStore.open(clips, RATE, tmp_path, dtype=dtype)
    assert (sound.clip_ids, sound.failures, sound.sr) == (clips.clip_ids, {}, RATE)
    rng = np.random.default_rng(0)
    for place, path in enumerate(clips.column("path")):
        wave = recording.load(corpus / path, RATE).wave
        assert sound.lengths[place] == len(wave)
        starts = [0, *rng.integers(0, len(wave), 3), len(wave)]
        for start, crop in zip(starts, sound.crops([place] * 5, starts, 3000), strict=True):
            expected = np.zeros(3000, np.float32)
            expected[: len(wave[start : start + 3000])] = wave[start : start + 3000]
            np.testing.assert_allclose(crop, expected, rtol=0, atol=atol)


def test_sixteen_bits_are_exact_and_what_is_louder_than_full_scale_is_not_clipped(tmp_path):
    steps = np.arange(-32768, 32768, 7, dtype=np.int16)
    loud = np.linspace(-1.7, 3.1, 5000)
    (tmp_path / "a").mkdir()
    soundfile.write(tmp_path / "a" / "exact.wav", steps, RATE, "PCM_16")
    soundfile.write(tmp_path / "a" / "full.wav", np.array([-1.0, 1.0, 0.5]), RATE, "FLOAT")
    soundfile.write(tmp_path / "a" / "loud.wav", loud, RATE, "FLOAT")
    sound = AudioStore.open(readers.from_folder(tmp_path / "a"), RATE, tmp_path / "kept")
    exact, full, louder = (sound.crops([k], [0], sound.lengths[k])[0] for k in range(3))
    np.testing.assert_array_equal(exact, steps / np.float32(32768))
    np.testing.assert_allclose(full, [-1.0, 1.0, 0.5], rtol=0, atol=2**-16 * 1.001)
    np.testing.assert_allclose(louder, loud, rtol=0, atol=3.1 * 2**-16 * 1.01)


def test_the_stretch_of_a_clip_is_honoured(tmp_path):
    wave = np.arange(RATE) / RATE - 0.5
    soundfile.write(tmp_path / "long.wav", wave, RATE, "FLOAT")
    rows = [
        {"clip_id": "first", "path": "long.wav", "end": 0.25},
        {"clip_id": "middle", "path": "long.wav", "start": 0.5, "end": 0.75},
        {"clip_id": "rest", "path": "long.wav", "start": 0.75},
    ]
    clips = manifests.from_rows("three", rows, root=tmp_path)
    sound = AudioStore.open(clips, RATE, tmp_path / "kept", dtype="float32")
    np.testing.assert_array_equal(sound.lengths, [4000, 4000, 4000])
    crops = sound.crops([0, 1, 2], [100, 100, 100], 50)
    for crop, start in zip(crops, [0, 8000, 12000], strict=True):
        np.testing.assert_array_equal(crop, wave[start + 100 : start + 150].astype(np.float32))
    np.testing.assert_array_equal(sound.durations, [0.25] * 3)


def test_a_sound_is_decoded_once_and_anew_where_anything_changed(folder, tmp_path, counted):
    clips = readers.from_folder(folder)
    said = []
    AudioStore.open(clips, RATE, tmp_path / "kept", progress=lambda *now: said.append(now))
    assert len(counted) == 24
    assert said == [(k, 24) for k in range(1, 25)]
    AudioStore.open(clips, RATE, tmp_path / "kept")
    assert len(counted) == 24
    assert {p.suffix for p in (tmp_path / "kept").glob("sound-*")} == {".raw", ".parquet"}
    changed = folder / clips.column("path")[3]
    soundfile.write(changed, np.zeros(100), RATE)
    found = AudioStore.open(clips, RATE, tmp_path / "kept")
    assert (len(counted), found.lengths[3]) == (48, 100)
    for other in ({"sr": 8000}, {"dtype": "float32"}, {"clips": clips.subset(range(23))}):
        before = len(counted)
        AudioStore.open(**{"clips": clips, "sr": RATE, "folder": tmp_path / "kept", **other})
        assert len(counted) - before == len(other.get("clips", clips))


def test_only_what_is_heard_names_a_sound(folder, tmp_path, counted):
    kept = tmp_path / "kept"
    first = AudioStore.open(readers.from_folder(folder), RATE, kept)
    moved = readers.from_folder(shutil.copytree(folder, tmp_path / "other" / "tiny"))
    assert AudioStore.open(moved, RATE, tmp_path / "elsewhere").digest == first.digest
    one = folder / moved.column("path")[3]
    os.utime(one, (1, 1))
    touched = AudioStore.open(readers.from_folder(folder), RATE, kept)
    assert (touched.digest, len(counted)) == (first.digest, 72)
    # what was decoded before the change is gone, other rates and other clips are not
    slow = AudioStore.open(moved, 8000, kept)
    soundfile.write(one, np.zeros(100), RATE)
    changed = AudioStore.open(readers.from_folder(folder), RATE, kept)
    assert len({first.digest, slow.digest, changed.digest}) == 3
    assert {p.stem for p in kept.glob("sound-*")} == {slow.path.stem, changed.path.stem}


KILL = """
import os, sys

points = []
def at_point(point):
    points.append(point)
    if points.count(sys.argv[3]) == int(sys.argv[4]):
        os._exit(9)
"""
BUILD = """
from pathlib import Path
from probekit.data import readers
from probekit.training import audio_store
from probekit.training.audio_store import AudioStore

audio_store._COMMIT_BYTES = 20_000
AudioStore.open(readers.from_folder(Path(sys.argv[1])), 16000, Path(sys.argv[2]), jobs=1)
"""


@pytest.mark.parametrize(
    ("point", "times", "again"),
    [("clip-decoded", 17, (8, 12)), ("before-rename", 1, (0, 0)), ("after-rename", 1, (0, 0))],
)
def test_a_build_that_is_killed_goes_on_where_it_was(
    corpus, tmp_path, counted, write_hook, point, times, again
):
    arguments = [corpus, tmp_path / "kept", point, times]
    code = write_hook.source(KILL) + BUILD
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=False)
    assert done.returncode == 9
    clips = readers.from_folder(corpus)
    sound = AudioStore.open(clips, RATE, tmp_path / "kept")
    assert again[0] <= len(counted) <= again[1]
    whole = AudioStore.open(clips, RATE, tmp_path / "whole")
    assert sound.path.read_bytes() == whole.path.read_bytes()
    every, longest = range(24), int(whole.lengths.max())
    np.testing.assert_array_equal(
        sound.crops(every, [0] * 24, longest), whole.crops(every, [0] * 24, longest)
    )


@pytest.mark.parametrize(
    "damage", ["journal cut", "journal of others", "zeros", "samples cut", "no journal"]
)
def test_leftovers_that_do_not_fit_are_not_trusted(
    corpus, tmp_path, monkeypatch, write_hook, damage
):
    clips = readers.from_folder(corpus)
    kept = tmp_path / "kept"
    monkeypatch.setattr(audio_store, "_COMMIT_BYTES", 20_000)
    points = []

    def stop(point):
        points.append(point)
        if points.count("clip-decoded") == 15:
            raise KeyboardInterrupt

    with write_hook.during(stop), pytest.raises(KeyboardInterrupt):
        AudioStore.open(clips, RATE, kept)
    [journal], [growing] = kept.glob("*.journal"), kept.glob("*.growing")
    lines = journal.read_text().splitlines(keepends=True)
    assert 5 < len(lines) < 15
    if damage == "journal cut":
        journal.write_text("".join(lines)[:-9])
    elif damage == "journal of others":
        journal.write_text("".join([lines[0], json.dumps({"clip_id": "x"}) + "\n", *lines[2:]]))
    elif damage == "zeros":
        journal.write_text("".join([*lines[:2], "\0" * 40 + "}\n", *lines[3:]]))
    elif damage == "samples cut":
        with growing.open("ab") as file:
            file.truncate(growing.stat().st_size // 2)
    else:
        journal.unlink()
    AudioStore.open(clips, RATE, kept)
    AudioStore.open(clips, RATE, tmp_path / "whole")
    [one], [other] = kept.glob("*.raw"), (tmp_path / "whole").glob("*.raw")
    assert one.read_bytes() == other.read_bytes()


def test_a_file_that_was_cut_is_made_again(corpus, tmp_path, counted):
    clips = readers.from_folder(corpus)
    sound = AudioStore.open(clips, RATE, tmp_path)
    whole = sound.path.read_bytes()
    sound.path.write_bytes(whole[:-2])
    assert AudioStore.open(clips, RATE, tmp_path).path.read_bytes() == whole
    assert len(counted) == 48


def test_recordings_that_cannot_be_decoded_are_told(folder, tmp_path, counted):
    clips = readers.from_folder(folder)
    paths = clips.column("path")
    (folder / paths[0]).write_bytes(b"not audio")
    (folder / paths[5]).unlink()
    sound = AudioStore.open(clips, RATE, tmp_path / "kept")
    assert sound.failures.keys() == {sound.clip_ids[0], sound.clip_ids[5]}
    assert "not audio" in sound.failures[sound.clip_ids[0]]
    assert "no such file" in sound.failures[sound.clip_ids[5]]
    assert not sound.lengths[[0, 5]].any()
    assert not sound.crops([0], [0], 10).any()
    again = AudioStore.open(clips, RATE, tmp_path / "kept")
    assert (again.failures, len(counted)) == (sound.failures, 24)
    for path in paths:
        (folder / path).unlink(missing_ok=True)
    with pytest.raises(DataError, match="none of the 24 recordings"):
        AudioStore.open(clips, RATE, tmp_path / "kept")


def test_a_disk_without_room_is_said_before(corpus, tmp_path, monkeypatch, counted):
    clips = readers.from_folder(corpus)
    usage = shutil.disk_usage(tmp_path)
    small = usage._replace(
        free=audio_store._RESERVED_BYTES + 100_000
    )  # 24 clips take 3 s · 32 kB/s · 3
    monkeypatch.setattr(audio_store.shutil, "disk_usage", lambda where: small)
    with pytest.raises(CacheError, match=r"24 clips at 16,000 Hz takes about 0\.0 GB as float32"):
        AudioStore.open(clips, RATE, tmp_path, dtype="float32")
    assert not counted


def test_a_disk_that_fills_up_keeps_what_is_decoded(corpus, tmp_path, monkeypatch, counted):
    clips = readers.from_folder(corpus)
    monkeypatch.setattr(audio_store, "_COMMIT_BYTES", 20_000)
    flush, flushed = audio_store._flush, []

    def full(file):
        flushed.append(file)
        if len(flushed) == 7:
            raise OSError(28, "No space left on device")
        flush(file)

    with monkeypatch.context() as patch:
        patch.setattr(audio_store, "_flush", full)
        with pytest.raises(CacheError, match=r"no space left.*decoded clips are saved"):
            AudioStore.open(clips, RATE, tmp_path, jobs=1)
    before = len(counted)
    AudioStore.open(clips, RATE, tmp_path)
    assert 0 < len(counted) - before < 24


def test_what_is_not_a_sound(corpus, tmp_path):
    clips = readers.from_folder(corpus)
    with pytest.raises(UnknownNameError, match="Did you mean 'int16'"):
        AudioStore.open(clips, RATE, tmp_path, dtype="int 16")
    sound = AudioStore.open(clips, RATE, tmp_path)
    with pytest.raises(ValueError, match="starts must be >= 0, got -3"):
        sound.crops([0, 1], [0, -3], 10)
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="the decoded audio of tiny cannot be stored"):
        AudioStore.open(clips, RATE, tmp_path / "file")
