"""The synthetic corpus: what it promises of its sounds, its table and its folder."""

import csv
import inspect
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from probekit.tasks.standin import corpus, sounds
from probekit.tasks.standin.corpus import write_corpus
from probekit.tasks.standin.sounds import CLASSES, synthesize

CLIPS = 120


def read_rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_clip(root: Path, row: dict[str, str]) -> np.ndarray:
    audio, rate = soundfile.read(root / row["path"], dtype="float32", always_2d=True)
    start, end = (round(float(row[k]) * rate) if row[k] else None for k in ("start", "end"))
    return audio[start:end]


def files_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("synthesis") / "corpus"
    assert write_corpus(folder, clips=CLIPS) == folder / "clips.csv"
    return folder


@pytest.fixture(scope="module")
def rows(root) -> list[dict[str, str]]:
    return read_rows(root / "clips.csv")


@pytest.fixture(scope="module")
def clips(root, rows) -> list[np.ndarray]:
    return [read_clip(root, row) for row in rows]


# ---- sounds


def test_twelve_classes_in_alphabetical_order():
    assert len(CLASSES) == 12
    assert list(CLASSES) == sorted(set(CLASSES))
    assert all(inspect.getdoc(voice) for voice in sounds._VOICES.values())


@pytest.mark.parametrize("label", CLASSES)
@pytest.mark.parametrize(("seconds", "rate"), [(0.1, 8000), (1.234, 22050), (1.0, 48000)])
def test_sound_is_finite_bounded_and_audible(label, seconds, rate):
    for seed in range(6):
        sound = synthesize(label, seed=seed, seconds=seconds, sr=rate)
        assert sound.dtype == np.float32
        assert sound.shape == (round(seconds * rate),)
        assert np.isfinite(sound).all()
        assert 0.2 < np.abs(sound).max() <= 0.99
        assert sound.std() > 0.005


@pytest.mark.parametrize("label", CLASSES)
def test_sound_depends_on_its_arguments_only(label):
    first = synthesize(label, seed=3, seconds=1.0, sr=16000)
    np.random.default_rng(0).normal(size=10)
    assert np.array_equal(first, synthesize(label, seed=3, seconds=1.0, sr=16000))
    assert not np.allclose(first, synthesize(label, seed=4, seconds=1.0, sr=16000))


def test_unknown_label_lists_the_classes():
    with pytest.raises(ValueError, match="'gong'") as caught:
        synthesize("gong", seed=0, seconds=1.0, sr=16000)
    assert all(label in str(caught.value) for label in CLASSES)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"seed": -1}, "seed must be >= 0, got -1"),
        ({"seconds": 0.05}, "seconds must be from 0.1 to 60, got 0.05"),
        ({"seconds": float("nan")}, "seconds must be from 0.1 to 60, got nan"),
        ({"sr": 4000}, "sr must be from 8000 to 96000 Hz, got 4000"),
    ],
)
def test_bad_number_is_refused(bad, said):
    with pytest.raises(ValueError, match=said):
        synthesize("bell", **({"seed": 0, "seconds": 1.0, "sr": 16000} | bad))


# ---- table


@pytest.mark.parametrize("count", [12, 61, 300, 360, 1000])
@pytest.mark.parametrize("seed", [0, 7])
def test_plan_is_balanced(count, seed):
    plan = corpus._plan(count, seed)
    rows = [dict(zip(corpus.COLUMNS, row, strict=True)) for r in plan for row in r.rows()]
    assert len(rows) == count
    assert len({row["clip_id"] for row in rows}) == count
    per_class = Counter(row["label"] for row in rows)
    assert set(per_class) == set(CLASSES)
    assert max(per_class.values()) - min(per_class.values()) <= 1
    assert {row["fold"] for row in rows} == {1, 2, 3, 4, 5}
    if count >= 300:
        recordings = Counter((r.label, r.fold) for r in plan)
        per_fold = Counter((row["label"], row["fold"]) for row in rows)
        for label in CLASSES:
            assert min(recordings[label, fold] for fold in range(1, 6)) >= 2
            sizes = [per_fold[label, fold] for fold in range(1, 6)]
            assert max(sizes) - min(sizes) <= 1
        assert 0.25 < sum(bool(r.slices) for r in plan) / len(plan) < 0.4


def test_table_of_the_written_corpus(rows):
    assert tuple(rows[0]) == corpus.COLUMNS
    assert len(rows) == CLIPS
    assert len({row["clip_id"] for row in rows}) == CLIPS


def test_groups_never_cross_folds(rows):
    for column in ("fold", "label", "path", "rate", "channels"):
        seen = defaultdict(set)
        for row in rows:
            seen[row["group"]].add(row[column])
        assert all(len(values) == 1 for values in seen.values()), column


def test_every_clip_is_readable_and_lies_in_its_file(root, rows):
    spans = defaultdict(list)
    for row in rows:
        info = soundfile.info(root / row["path"])
        assert (str(info.samplerate), str(info.channels)) == (row["rate"], row["channels"])
        if row["start"]:
            start, end = float(row["start"]), float(row["end"])
            assert (row["start"], row["end"]) == (f"{start:.3f}", f"{end:.3f}")
            assert 0 <= start < end <= info.frames / info.samplerate
            assert 1.4 < end - start <= 4.01
            assert 5.99 < info.frames / info.samplerate < 9.01
            spans[row["path"]].append((start, end))
        else:
            assert row["end"] == ""
            assert 0.99 < info.frames / info.samplerate < 4.01
    for slices in spans.values():
        assert len(slices) in (2, 3)
        assert all(a[1] <= b[0] for a, b in pairwise(slices))


def test_every_clip_is_finite_bounded_and_audible(rows, clips):
    for row, clip in zip(rows, clips, strict=True):
        assert np.isfinite(clip).all(), row
        assert np.abs(clip).max() <= 0.99, row
        assert clip.std(axis=0).min() > 0.003, row


def test_rates_channels_and_formats_are_mixed(root, rows):
    assert {int(row["rate"]) for row in rows} == {8000, 16000, 22050, 32000, 44100, 48000}
    assert {row["channels"] for row in rows} == {"1", "2"}
    kinds = {(i.format, i.subtype) for i in (soundfile.info(root / r["path"]) for r in rows)}
    assert kinds == {("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16")}


def test_stereo_channels_differ(rows, clips):
    stereo = [clip for row, clip in zip(rows, clips, strict=True) if row["channels"] == "2"]
    assert stereo
    assert not any(np.allclose(clip[:, 0], clip[:, 1]) for clip in stereo)


# ---- folder


def test_same_arguments_give_the_same_bytes(tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_corpus(tmp_path / name, clips=12, seed=seed)
    a, b, c = (files_of(tmp_path / name) for name in "abc")
    assert a == b
    assert a["clips.csv"] != c["clips.csv"]
    assert not any(name.endswith(".part") for name in a)
    assert "not recordings" in a["README.txt"].decode()
    assert {row["path"] for row in read_rows(tmp_path / "a" / "clips.csv")} == {
        name for name in a if name.startswith("audio")
    }


def test_interrupted_run_is_completed_identically(tmp_path, monkeypatch):
    write_corpus(tmp_path / "whole", clips=12)
    whole = files_of(tmp_path / "whole")
    encode = corpus._Recording.encode

    def interrupted(recording):
        if recording.label == "kick":
            raise KeyboardInterrupt
        return encode(recording)

    with monkeypatch.context() as patch:
        patch.setattr(corpus._Recording, "encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_corpus(tmp_path / "cut", clips=12)
    part = files_of(tmp_path / "cut")
    assert "clips.csv" not in part
    assert part.items() < whole.items()
    write_corpus(tmp_path / "cut", clips=12)
    assert files_of(tmp_path / "cut") == whole

    (tmp_path / "cut" / "clips.csv").unlink()
    next((tmp_path / "cut" / "audio").iterdir()).write_bytes(b"torn")
    write_corpus(tmp_path / "cut", clips=12)
    assert files_of(tmp_path / "cut") == whole


def test_failed_write_leaves_no_temporary_file(tmp_path, monkeypatch):
    def full(self, data):
        self.touch()
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space left"):
        corpus._write(tmp_path / "clips.csv", b"")
    assert list(tmp_path.iterdir()) == []


def test_whole_corpus_is_left_as_it_is(root, monkeypatch):
    monkeypatch.setattr(corpus, "_write", lambda *_: pytest.fail("wrote again"))
    assert write_corpus(root, clips=CLIPS, seed=0) == root / "clips.csv"


@pytest.mark.parametrize("other", [{"clips": 36}, {"seed": 1}])
def test_other_corpus_in_the_folder_is_refused(root, other):
    before = (root / "clips.csv").read_bytes()
    with pytest.raises(ValueError, match="contains another corpus") as caught:
        write_corpus(root, **({"clips": CLIPS, "seed": 0} | other))
    assert f"'clips': {CLIPS}, 'seed': 0" in str(caught.value)
    assert all(f"'{name}': {value}" in str(caught.value) for name, value in other.items())
    assert (root / "clips.csv").read_bytes() == before


def test_other_version_is_refused(root, monkeypatch):
    monkeypatch.setattr(corpus, "VERSION", corpus.VERSION + 1)
    with pytest.raises(ValueError, match="contains another corpus"):
        write_corpus(root, clips=CLIPS)


def test_table_of_unknown_origin_is_not_overwritten(tmp_path):
    (tmp_path / "clips.csv").write_text("mine\n")
    with pytest.raises(ValueError, match=r"no corpus\.json"):
        write_corpus(tmp_path, clips=12)
    assert (tmp_path / "clips.csv").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"clips": 11}, r"clips must be >= 12 \(one per class\), got 11"),
        ({"seed": -2}, "seed must be >= 0, got -2"),
    ],
)
def test_bad_corpus_arguments_are_refused(tmp_path, bad, said):
    with pytest.raises(ValueError, match=said):
        write_corpus(tmp_path / "none", **bad)
    assert not (tmp_path / "none").exists()


# ---- learnability


def band_statistics(clip: np.ndarray, rate: int) -> np.ndarray:
    """Mean and deviation over time of the log energy in 32 bands below 8 kHz."""
    mono = clip.mean(axis=1)
    size = rate // 25
    frames = np.lib.stride_tricks.sliding_window_view(mono, size)[:: size // 2]
    power = np.abs(np.fft.rfft(frames * np.hanning(size))) ** 2
    bins = np.arange(power.shape[1]) * rate / size
    bands = np.digitize(bins, np.geomspace(60, 8000, 33))
    energy = power @ np.eye(34)[bands][:, 1:33] / size**2
    level = np.log(energy + 1e-9)
    return np.concatenate([level.mean(axis=0), level.std(axis=0)])


def test_linear_probe_is_well_above_chance_and_below_perfect(rows, clips):
    linear = pytest.importorskip("sklearn.linear_model")
    x = np.stack(
        [band_statistics(clip, int(row["rate"])) for row, clip in zip(rows, clips, strict=True)]
    )
    y = np.array([row["label"] for row in rows])
    fold = np.array([int(row["fold"]) for row in rows])
    right = 0
    for k in range(1, 6):
        train, test = fold != k, fold == k
        mean, scale = x[train].mean(axis=0), x[train].std(axis=0) + 1e-6
        probe = linear.LogisticRegression(C=0.1, max_iter=300)
        probe.fit((x[train] - mean) / scale, y[train])
        right += int((probe.predict((x[test] - mean) / scale) == y[test]).sum())
    assert 0.5 < right / len(rows) < 0.99
