"""Stand-in data: its sounds, its files, its marker."""

import csv

import av
import numpy as np
import pytest
import soundfile

from probekit.audio import recording
from probekit.errors import CardError, DataError
from probekit.tasks.standin import writer
from probekit.tasks.standin.writer import MARKER, StandInWriter
from probekit.tasks.task import load_task


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype", "slack"),
    [
        ("a.wav", 8000, 1, None, 0),
        ("a.wav", 48000, 2, "PCM_24", 0),
        ("a.flac", 44100, 2, None, 0),
        ("a.au", 22050, 1, None, 0),
        ("a.ogg", 32000, 1, None, 0),
        ("a.mp3", 16000, 1, None, 0.15),  # frames of 1,152 samples, and the encoder's delay
    ],
)
def test_sound_is_what_was_asked_for(tmp_path, name, rate, channels, subtype, slack):
    stage = StandInWriter(tmp_path, 1)
    stage.write_audio(f"x/{name}", [3], seconds=0.5, sr=rate, channels=channels, subtype=subtype)
    facts = soundfile.info(tmp_path / "x" / name)
    assert (facts.samplerate, facts.channels) == (rate, channels)
    if subtype:
        assert facts.subtype == subtype
    decoded = recording.load(tmp_path / "x" / name)
    assert decoded.duration == pytest.approx(0.5, abs=slack + 1e-9)
    assert 0.05 < np.abs(decoded.wave).max() <= 1


def test_video_holds_its_sound(tmp_path):
    StandInWriter(tmp_path, 1).write_audio("a.mp4", [1], seconds=1.0, sr=44100, channels=2)
    with av.open(str(tmp_path / "a.mp4")) as file:
        [stream] = file.streams.audio
        assert (stream.rate, stream.channels) == (44100, 2)
        count = sum(frame.samples for frame in file.decode(stream))
    assert count == pytest.approx(44100, abs=3 * 1024)  # whole AAC frames, and the priming ones


def band_levels(wave):
    """Levels of 100 bands of 40 Hz, from one second at 8 kHz."""
    return np.log(np.abs(np.fft.rfft(wave[:8000]))[:4000].reshape(100, 40).max(axis=1))


def test_each_of_many_classes_is_told_from_all_others_by_its_spectrum():
    """The nearest class center names the class of new sounds; 60 classes, chance is 1 in 60."""
    rng = np.random.default_rng(0)
    levels = np.array(
        [[band_levels(writer._mix(rng, [k], (), 8000, 8000)) for _ in range(8)] for k in range(60)]
    )
    levels -= levels.mean(axis=2, keepdims=True)
    centers, new = levels[:, :4].mean(axis=1), levels[:, 4:]
    distance = ((new[:, :, None] - centers) ** 2).sum(axis=3)
    right = distance.argmin(axis=2) == np.arange(60)[:, None]
    assert right.mean() > 0.95


def test_values_move_brightness_evenly():
    rng = np.random.default_rng(0)
    values = np.linspace(0, 1, 40)
    levels = np.array([band_levels(writer._mix(rng, (), [v], 8000, 8000)) for v in values])
    low, high = (levels[:, bands].max(axis=1) for bands in (slice(0, 12), slice(20, 60)))
    assert np.corrcoef(high - low, values)[0, 1] > 0.95


def test_seed_decides_all(tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        load_task("fsdd").write_standin(tmp_path / name, clips=24, seed=seed)
    one, same, other = (
        {p.name: p.read_bytes() for p in (tmp_path / n / "recordings").iterdir()} for n in "abc"
    )
    assert one == same
    assert set(one) == set(other)
    assert one != other


def test_table_and_text(tmp_path):
    stage = StandInWriter(tmp_path, 1)
    stage.write_table(
        "m/t.tsv",
        [(1, "a b"), (2, "c")],
        header=("n", "x"),
        delimiter="\t",
        quoting=csv.QUOTE_ALL,
        preamble="# line\n",
    )
    assert (tmp_path / "m/t.tsv").read_text() == '# line\n"n"\t"x"\n"1"\t"a b"\n"2"\t"c"\n'
    stage.write_text("n.txt", "é\n")
    assert (tmp_path / "n.txt").read_text("utf-8") == "é\n"
    assert stage.written == ["m/t.tsv", "n.txt"]


def test_marker_says_what_this_is_and_results_will_too(tmp_path):
    task = load_task("urbansound8k")
    task.write_standin(tmp_path / "new/folder", clips=40)
    text = (tmp_path / "new/folder" / MARKER).read_text()
    assert "task urbansound8k" in text
    assert "NOT the dataset" in text
    clips = task.manifest(tmp_path / "new/folder")
    assert clips.provenance == ("stand-in data",)
    assert clips.expected is None


def test_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings/mine.wav").write_bytes(b"mine")
    with pytest.raises(DataError, match="not empty"):
        load_task("fsdd").write_standin(tmp_path)
    assert [p.name for p in tmp_path.rglob("*")] == ["recordings", "mine.wav"]


def test_second_stand_in_replaces_the_first_but_no_file_of_the_users(tmp_path):
    task = load_task("fsdd")
    task.write_standin(tmp_path, clips=60)
    before = len(task.manifest(tmp_path))
    task.write_standin(tmp_path, clips=24, seed=1)
    assert len(task.manifest(tmp_path)) < before
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="not empty"):
        task.write_standin(tmp_path)
    assert (tmp_path / "notes.txt").exists()
    assert task.manifest(tmp_path).provenance == ("stand-in data",)


def test_marker_never_removes_files_outside_of_its_folder(tmp_path):
    (tmp_path / "precious").touch()
    root = tmp_path / "root"
    root.mkdir()
    listed = ("own", "../precious", str(tmp_path / "precious"))
    (root / "own").touch()
    (root / MARKER).write_text("forged\nfiles:\n" + "\n".join(listed))
    writer.prepare_folder(root, "t", "d")
    assert not (root / "own").exists()
    assert (tmp_path / "precious").exists()


def test_interrupted_stand_in_is_marked_and_replaced_the_next_time(tmp_path, monkeypatch):
    """Every file is listed before it is written, so that no other is ever removed."""
    task, write = load_task("fsdd"), soundfile.write

    def interrupted(file, *arguments):
        if len(list((tmp_path / "recordings").iterdir())) >= 5:
            raise KeyboardInterrupt
        write(file, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(soundfile, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            task.write_standin(tmp_path, clips=60)
    assert writer.is_standin(tmp_path)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(DataError, match=r"not empty, it has mine.txt"):
        task.write_standin(tmp_path, clips=60)
    assert len(list((tmp_path / "recordings").iterdir())) == 5
    (tmp_path / "mine.txt").unlink()
    task.write_standin(tmp_path, clips=60)
    assert len(task.manifest(tmp_path)) == 60


def test_table_of_the_users_has_no_stand_in(tmp_path):
    (tmp_path / "t.csv").write_text("clip_id,label\na,x\n")
    with pytest.raises(CardError, match=r"has no function make_standin\(card, writer\)"):
        load_task(str(tmp_path / "t.csv")).write_standin(tmp_path / "new")
    assert not (tmp_path / "new").exists()
