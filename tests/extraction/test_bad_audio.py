import json
import os
import sys

import numpy as np
import pytest
import soundfile
import torch

from probekit import extract
from probekit.cache import embeddings
from probekit.errors import AudioError
from probekit.extraction import audio_loader, worker
from probekit.extraction.plan import PartJob
from probekit.extraction.worker import _pool_outputs
from probekit.extractors import load

pytestmark = pytest.mark.usefixtures("small_parts")
RATE = 16000


def wave(samples=4000, channels=1):
    return np.random.default_rng(samples).uniform(-0.5, 0.5, (samples, channels))


def cut(path, share=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


BAD = {
    "text.wav": "not audio, or damaged",
    "empty.wav": "not audio, or damaged",
    "cut.wav": "truncated: the header declares",
    "cut.flac": "truncated: 8,192 of 20,000 samples are in the file",
    "none.wav": "holds no samples",
    "nan.wav": "1 of 4000 samples are NaN or infinite, the first at 0.100 s",
    "link.wav": "no such file or directory",
    "folder.wav": "is a directory",
    "locked.wav": "permission denied",
}
GOOD = ("plain.wav", "wide.wav", "fast.flac", "one.wav", "silent.wav", "UPPER.WAV")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    root = tmp_path / "audio"
    root.mkdir()
    write = soundfile.write
    write(root / "plain.wav", wave(), RATE)
    write(root / "wide.wav", wave(4000, 8), RATE)
    write(root / "fast.flac", wave(30000), 192000)
    write(root / "one.wav", wave(1), RATE)
    write(root / "silent.wav", np.zeros(4000), RATE)
    write(root / "UPPER.WAV", wave(4001), RATE)
    (root / "text.wav").write_text("hello")
    (root / "empty.wav").touch()
    for name in ("cut.wav", "cut.flac"):
        write(root / name, wave(20000), RATE)
        cut(root / name)
    write(root / "none.wav", wave(0), RATE)
    broken = wave()
    broken[1600] = np.nan
    write(root / "nan.wav", broken, RATE, "FLOAT")
    (root / "link.wav").symlink_to(root / "gone.wav")
    (root / "folder.wav").mkdir()
    write(root / "locked.wav", wave(), RATE)
    (root / "locked.wav").chmod(0)
    if os.geteuid() == 0:  # root may read everything
        opened = type(root).open

        def refuse(self, *arguments, **keywords):
            if self.name == "locked.wav":
                raise PermissionError(13, "Permission denied", str(self))
            return opened(self, *arguments, **keywords)

        monkeypatch.setattr("pathlib.Path.open", refuse)
    return root


@pytest.fixture
def table(folder, tmp_path):
    path = tmp_path / "clips.csv"
    lines = [f"{name},{name},,\n" for name in (*GOOD, *BAD)]
    lines += ["late,plain.wav,9,10\n", "long,plain.wav,0.1,3\n", "fine,plain.wav,0.1,0.2\n"]
    path.write_text("clip_id,path,start,end\n" + "".join(lines))
    return path


REASONS = {
    **BAD,
    "late": "is 0.250 s long, the clip asks for 9.000 s to 10.000 s",
    "long": "is 0.250 s long, the clip asks for 0.100 s to 3.000 s",
}


def test_bad_recordings_are_counted_and_named_and_the_others_done(
    main, folder, table, tmp_path, content
):
    arguments = [
        "extract",
        "-e",
        "melstats",
        "--manifest",
        table,
        "--root",
        folder,
        "--cache",
        tmp_path / "cache",
    ]
    done = main(*arguments)
    assert done.returncode == 1
    assert done.stderr == ""
    assert "7 clips embedded" in done.stdout
    assert "11 of 18 clips have no embedding" in done.stdout
    stored = content(tmp_path / "cache", "melstats", "clips")
    assert set(stored.rows) == {*GOOD, "fine"}
    assert stored.failed.keys() == REASONS.keys()
    for clip_id, reason in REASONS.items():
        assert reason in stored.failed[clip_id]
        assert str(folder) not in stored.failed[clip_id]  # a cache can move
        assert f"    {clip_id}: {stored.failed[clip_id]}\n" in done.stdout
    for row in stored.rows.values():
        assert np.isfinite(row.streams["stats"]["clip"]).all()
    again = main(*arguments, "--json")
    assert again.returncode == 1
    [summary] = json.loads(again.stdout)
    assert (summary["done"], summary["cached"]) == (0, 7)
    assert summary["failed"] == stored.failed
    assert "nothing to do, 7 of 18 clips" in main(*arguments).stdout


@pytest.fixture
def short(tmp_path):
    """A complete recording, three that lack some of it, and one with opposed channels."""
    root = tmp_path / "short"
    root.mkdir()
    soundfile.write(root / "plain.wav", wave(), RATE)
    for name, share in (("tenth.wav", 0.9), ("half.wav", 0.5), ("ogg.ogg", 0.8)):
        soundfile.write(root / name, wave(80000 if name == "ogg.ogg" else 20000), RATE)
        cut(root / name, share)
    soundfile.write(root / "opposed.wav", wave(20000) * [1, -1], RATE, "FLOAT")
    return root


def test_truncated_recordings_are_taken_as_far_as_allowed(main, short, tmp_path, content):
    """A tenth, half, or all of a recording may be missing; an Ogg does not tell how much is."""
    cache = ("--cache", tmp_path / "cache")
    arguments = ("extract", "-e", "melstats", "--audio", short, *cache)
    opposed = "opposed: its channels cancel each other: their mean is silence"
    done = main(*arguments)
    assert done.returncode == 1
    assert "3 of 5 clips have no embedding" in done.stdout
    assert f"1 of them with a note on their recording:\n    {opposed}\n" in done.stdout
    for share, accepted in (("0.2", ["tenth"]), ("0.6", ["half"]), ("1", ["ogg"])):
        done = main(*arguments, "--allow-truncated", share, "--json")
        [summary] = json.loads(done.stdout)
        assert sorted(summary["notes"]) == accepted
        assert summary["notes"][accepted[0]][0].startswith("truncated: ")
        assert (summary["done"], done.returncode) == (1, int(share != "1"))
    stored = content(tmp_path / "cache", "melstats", "short")
    assert max(meta["allow_truncated"] for meta in stored.metas) == "1.0"
    notes = [clip_id for meta in stored.metas for clip_id in meta.get("notes", {})]
    assert sorted(notes) == ["half", "ogg", "opposed", "tenth"]
    assert stored.rows["half"].source["duration"] == pytest.approx(0.625, abs=0.01)
    assert stored.rows["plain"].source["duration"] == 0.25
    done = main(*arguments, "--allow-truncated", "1.5")
    assert done.returncode == 2
    assert "--allow-truncated must be from 0 to 1, got 1.5" in done.stderr


def test_notes_on_recordings_stay_with_their_clips(main, tmp_path):
    """In results, in a repaired part, in a packed file and in a merged cache."""
    root, table, cache = tmp_path / "audio", tmp_path / "clips.csv", tmp_path / "cache"
    root.mkdir()
    rows = []
    for k in range(12):
        label = ("complete", "half")[k % 2]
        soundfile.write(root / f"{k}.wav", wave(4000 + k), RATE)
        if label == "half":
            cut(root / f"{k}.wav", 0.5)
        rows.append(f"{label}{k},{k}.wav,{label},{k // 2 % 3}\n")
    table.write_text("clip_id,path,label,fold\n" + "".join(rows))
    options = {"manifest": table, "root": root, "cache": cache, "allow_truncated": 0.6}
    extract("melstats", **options)
    scored = main(
        *("evaluate", "--task", table, "-e", "melstats", "--cache", cache, "--probe", "knn"),
        *("--reports", tmp_path / "reports"),
    )
    assert "6 of 12 clips: truncated recordings" in scored.stdout, scored.stderr
    notes = embeddings.find_embeddings(cache, "melstats", "clips").index.notes
    assert notes.keys() == {f"half{k}" for k in range(1, 12, 2)}
    parts = sorted(cache.rglob("part-*.h5"))
    parts[0].write_bytes(parts[0].read_bytes()[:-1])
    assert main("cache", "repair", "melstats", "clips", "--cache", cache).returncode == 0
    assert embeddings.find_embeddings(cache, "melstats", "clips").index.notes == notes
    packed, merged = tmp_path / "packed.h5", tmp_path / "merged"
    packing = main("cache", "pack", "melstats", "clips", "-o", packed, "--cache", cache)
    assert packing.returncode == 0, packing.stderr
    for source in (packed, cache):
        merging = main("cache", "merge", source, "--cache", merged / source.name)
        assert merging.returncode == 0, merging.stderr
        found = embeddings.find_embeddings(merged / source.name, "melstats", "clips")
        assert found.index.notes == notes


@pytest.mark.skipif(sys.platform != "linux", reason="only the GNU C library can catch them")
def test_messages_of_the_decoder_belong_to_their_file(tmp_path, capfd):
    """libmpg123 prints them without a name, from several threads at once."""
    root = tmp_path / "audio"
    root.mkdir()
    comment = b"COMM\0\0\0\4\0\0\0eng"  # a comment without its text
    for k in range(6):
        soundfile.write(root / f"{k}.mp3", wave(40000), 44100)
        content = (root / f"{k}.mp3").read_bytes()
        if k % 2:
            (root / f"{k}.mp3").write_bytes(b"ID3\3\0\0\0\0\0\x0e" + comment + content)
    [summary] = extract("melstats", audio=root, cache=tmp_path / "cache")
    message = "libmpg123: error: No comment text / valid description?"
    assert summary.notes == {str(k): [message] for k in (1, 3, 5)}
    assert summary.failed == {}
    assert capfd.readouterr().err == ""


def test_a_folder_is_walked_in_the_same_way(folder, tmp_path, content):
    extract("melstats", audio=folder, cache=tmp_path / "cache")
    stored = content(tmp_path / "cache", "melstats", "audio")
    assert set(stored.rows) == {"plain", "wide", "fast", "one", "silent", "UPPER"}
    assert set(stored.failed) == {
        "text",
        "empty",
        "cut.wav",
        "cut.flac",
        "none",
        "nan",
        "link",
        "locked",
    }


@pytest.fixture
def tried(monkeypatch):
    """The names of the recordings that were decoded."""
    names = []
    opened = audio_loader.open_audio

    def watch(path, *arguments, **keywords):
        names.append(path.name)
        return opened(path, *arguments, **keywords)

    monkeypatch.setattr(audio_loader, "open_audio", watch)
    monkeypatch.setattr(worker, "open_audio", watch)
    return names


def test_failures_are_tried_again_only_when_asked_or_changed(
    folder, table, tmp_path, tried, content
):
    options = {"manifest": table, "root": folder, "cache": tmp_path / "cache"}
    extract("melstats", **options)
    tried.clear()
    extract("melstats", **options)
    assert tried == []
    [summary] = extract("melstats", **options, retry_failed=True)
    assert len(tried) == len(REASONS) - 1  # of a link to nothing there is nothing to decode
    assert (summary.done, summary.cached, len(summary.failed)) == (0, 7, len(REASONS))
    tried.clear()
    soundfile.write(folder / "text.wav", wave(), RATE)
    soundfile.write(folder / "gone.wav", wave(), RATE)
    [summary] = extract("melstats", **options)
    assert sorted(tried) == ["link.wav", "text.wav"]
    assert summary.done == 2
    assert not {"text.wav", "link.wav"} & summary.failed.keys()
    stored = content(tmp_path / "cache", "melstats", "clips")
    assert {"text.wav", "link.wav"} <= stored.rows.keys()


def test_a_recording_that_breaks_later_becomes_a_failure(audio, tmp_path, content):
    extract("melstats", audio=audio, cache=tmp_path / "cache")
    cut(audio / "tone/tone0.wav")
    [summary] = extract("melstats", audio=audio, cache=tmp_path / "cache")
    assert summary.cached == 23
    assert list(summary.failed) == ["tone/tone0"]
    stored = content(tmp_path / "cache", "melstats")
    assert (len(stored.rows), list(stored.failed)) == (23, ["tone/tone0"])


def test_nothing_but_failures_is_no_obstacle(main, tmp_path, tried):
    root = tmp_path / "audio"
    root.mkdir()
    for number in range(25):
        (root / f"{number}.wav").write_text("no")
    arguments = ["extract", "-e", "mfcc", "--audio", root, "--cache", tmp_path / "cache"]
    done = main(*arguments)
    assert done.returncode == 1
    assert "0 clips embedded" in done.stdout
    assert "… and 5 more" in done.stdout
    assert main("cache", "ls", "--cache", tmp_path / "cache").returncode == 0
    info = main("cache", "info", "mfcc", "audio", "--cache", tmp_path / "cache", "--json")
    assert len(json.loads(info.stdout)["failures"]) == 25
    soundfile.write(root / "3.wav", wave(), RATE)
    [summary] = extract("mfcc", audio=root, cache=tmp_path / "cache", frames=True)
    assert (summary.done, len(summary.failed)) == (1, 24)
    tried.clear()
    extract("mfcc", audio=root, cache=tmp_path / "cache", frames=True)
    assert tried == []
    stored = embeddings.find_embeddings(tmp_path / "cache", "mfcc", "audio")
    assert stored.vectors(["3"]).shape == (1, 20)
    assert stored.frames("3").shape[1] == 20


def spoil(root, number):
    """Make a recording bad, or odd, in one of ten ways; say what the reason must be."""
    path = root / f"{number}.wav"
    rate, samples = 8000, wave(800 + number)
    way = number % 10
    if way == 0:
        path.write_bytes(b"")
        return "not audio, or damaged"
    if way == 1:
        path.write_text("not audio")
        return "not audio, or damaged"
    if way == 2:
        path.mkdir()
        return "is a directory"
    if way == 3:
        path.symlink_to(root / "gone.wav")
        return "no such file"
    if way == 4:
        samples[100] = np.nan
        soundfile.write(path, samples, rate, "FLOAT")
        return "NaN or infinite"
    if way == 5:
        soundfile.write(path, samples, rate)
        cut(path)
        return "truncated"
    if way == 6:
        soundfile.write(path, samples, rate)
        content = bytearray(path.read_bytes())
        content[24:28] = (1).to_bytes(4, "little")  # the sample rate
        path.write_bytes(content)
        return "Hz, got 1"
    odd = {
        7: (wave(800 + number, 8), rate),
        8: (wave(4000 + number), 192000),
        9: (samples[:1], rate),
    }
    soundfile.write(path, *odd[way])
    return None


def test_of_120_recordings_50_are_odd_and_35_bad(main, tmp_path, tried, small_grid):
    root = tmp_path / "audio"
    root.mkdir()
    lines, bad = ["clip_id,path,label,split\n"], {}
    for number in range(120):
        lines.append(
            f"{number},{number}.wav,{'abcd'[number % 4]},{'test' if number % 3 else 'train'}\n"
        )
        if number < 50:
            bad[str(number)] = spoil(root, number)
        else:
            soundfile.write(root / f"{number}.wav", wave(800 + number % 7), 8000)
    bad = {clip_id: reason for clip_id, reason in bad.items() if reason}
    assert len(bad) == 35
    (tmp_path / "clips.csv").write_text("".join(lines))
    cache = ("--cache", tmp_path / "cache")
    clips = ("--manifest", tmp_path / "clips.csv", "--root", root)
    arguments = ("extract", "-e", "melstats", *clips, *cache, "--json")
    done = main(*arguments)
    assert (done.returncode, done.stderr) == (1, "")
    [summary] = json.loads(done.stdout)
    assert (summary["total"], summary["done"]) == (120, 85)
    assert summary["failed"].keys() == bad.keys()
    for clip_id, reason in bad.items():
        assert reason in summary["failed"][clip_id]

    scored = main(
        *("evaluate", "--task", tmp_path / "clips.csv", "-e", "melstats"),
        *("--reports", tmp_path / "reports", *cache),
    )
    assert scored.returncode == 0, scored.stderr
    assert "85 of 120 clips" in scored.stdout

    soundfile.write(root / "0.wav", wave(), 8000)
    tried.clear()
    done = main(*arguments, "--retry-failed")
    [summary] = json.loads(done.stdout)
    assert (done.returncode, summary["done"], summary["cached"]) == (1, 1, 85)
    assert summary["failed"].keys() == bad.keys() - {"0"}
    # of the five links to nothing there is nothing to open
    assert sorted(tried) == sorted(f"{i}.wav" for i in bad if int(i) % 10 != 3)


@pytest.mark.parametrize(
    "value, dtype", [(np.nan, "float32"), (np.inf, "float32"), (7e4, "float16")]
)
def test_an_embedding_that_is_not_finite_is_a_failure(tmp_path, value, dtype):
    spec = load.resolve_spec("melstats")
    job = PartJob(tmp_path / "part-00000.h5", (), spec, False, dtype)
    vector = torch.zeros(336)
    extractor = load.build_extractor(spec)
    assert set(_pool_outputs({"stats": vector}, extractor, job)) == {"stats"}
    vector[7] = value
    with pytest.raises(AudioError, match=f"'stats' is not finite in {dtype}"):
        _pool_outputs({"stats": vector}, extractor, job)
