import numpy as np
import pytest
import soundfile

from probekit import cards, extract
from probekit.audio import duration
from probekit.cache import part
from probekit.data import readers
from probekit.extraction import estimate


def dry(corpus, cache, name="melstats", **options):
    [summary] = extract(name, audio=corpus, cache=cache, dry_run=True, **options)
    return summary


def true_seconds(corpus):
    return sum(soundfile.info(path).duration for path in corpus.rglob("*.*"))


def test_headers_tell_how_much_audio_there_is(corpus, tmp_path):
    summary = dry(corpus, tmp_path)
    assert summary.about_audio_seconds == pytest.approx(true_seconds(corpus), rel=1e-6)
    assert (summary.todo, summary.about_seconds, summary.like) == (24, None, "")
    assert summary.bytes == 24 * 336 * 4


def test_frames_are_counted_by_duration(corpus, tmp_path):
    pooled = dry(corpus, tmp_path, "mfcc").bytes
    frames = dry(corpus, tmp_path, "mfcc", frames=True).bytes - pooled
    extract("mfcc", audio=corpus, cache=tmp_path, frames=True)
    held = 0
    for path in tmp_path.glob("*/*/part-*"):
        with part.open_part(path) as file:
            held += file["streams/mfcc/frames"].nbytes
    assert frames == pytest.approx(held, rel=0.1)  # about: the last frame of a clip is not whole


def test_a_sample_is_scaled(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(duration, "_SAMPLE", 8)
    about = dry(corpus, tmp_path).about_audio_seconds
    assert about == pytest.approx(true_seconds(corpus), rel=0.25)


def test_earlier_parts_tell_the_speed(corpus, tmp_path, main, monkeypatch):
    cache = tmp_path / "cache"
    speeds = {"0.3": "10", "0.4": "30", "0.5": "20"}
    write = part.write_part

    def noted(path, content):
        content.meta["provenance"][estimate.SPEED] = speeds.popitem()[1]
        write(path, content)

    monkeypatch.setattr("probekit.cache.layout._MIN_PART_CLIPS", 8)
    monkeypatch.setattr(part, "write_part", noted)
    extract("melstats", audio=corpus, cache=cache)
    for path in corpus.rglob("*"):
        assert path.exists()
    clips = readers.from_folder(corpus, "again")
    [summary] = extract("melstats", manifest=clips, cache=cache, dry_run=True)
    assert summary.about_seconds == pytest.approx(summary.about_audio_seconds / 20)
    assert summary.like == "20 times real time, as 3 parts before on cpu"
    done = main(
        "extract",
        "-e",
        "melstats",
        "--audio",
        corpus,
        "--name",
        "again",
        "--cache",
        cache,
        "--dry-run",
    )
    assert "s of audio; about " in done.stdout
    assert "in one process (20 times real time, as 3 parts before on cpu)" in done.stdout


def test_the_speed_is_measured(corpus, tmp_path):
    [summary] = extract("melstats", audio=corpus, cache=tmp_path)
    [path] = tmp_path.glob("*/*/part-*")
    with part.open_part(path) as file:
        speed = float(part.read_meta(file)["provenance"][estimate.SPEED])
    assert speed >= summary.audio_seconds / summary.seconds  # which has loading in it


def test_what_nobody_knows_is_said_so(tmp_path, main, corpus):
    cache, folder = tmp_path / "c", tmp_path / "broken"
    folder.mkdir()
    (folder / "x.wav").write_bytes(b"no sound")
    done = main("extract", "-e", "melstats", "--audio", folder, "--cache", cache, "--dry-run")
    assert "no recording declares its duration; time: unknown until" in done.stdout
    done = main("extract", "-e", "melstats", "--audio", corpus, "--cache", cache, "--dry-run")
    assert "s of audio; time: unknown until the first clips are done" in done.stdout


def test_stretches_are_not_opened(tmp_path, corpus, monkeypatch):
    table = tmp_path / "clips.csv"
    table.write_text("clip_id,path,start,end,label\na,tone/tone0.wav,0.05,0.15,tone\n")
    monkeypatch.setattr(duration, "open_audio", None)
    [summary] = extract("melstats", manifest=table, root=corpus, cache=tmp_path / "c", dry_run=True)
    assert summary.about_audio_seconds == pytest.approx(0.1)
    assert np.isfinite(summary.bytes)


WEIGHTS = {"weights": ("convnet=random:0",), "device": "cpu"}


def test_what_padding_costs_is_said_before(corpus, tmp_path, main):
    """Of convnet, which reads 29 s of every clip; melstats reads what there is."""
    notes = []
    audio, cache = ("--audio", corpus), tmp_path / "c"
    extract("melstats", audio=corpus, cache=cache, limit=2, note=notes.append)
    assert notes == []
    seconds = true_seconds(corpus)
    dry_run = main("extract", "-e", "convnet", "--weights", "convnet=random:0", *audio, "--dry-run")
    assert f"about {seconds:.1f} s of audio, 11.6 min with the zeros that" in dry_run.stdout
    [summary] = extract("convnet", audio=corpus, cache=cache, limit=2, note=notes.append, **WEIGHTS)
    assert summary.done == 2
    assert len(notes) == 1 and notes[0].startswith("convnet: reads 29 s for each clip of about 0.")
    assert ", so the work is that of 58 s of audio instead of " in notes[0]
    extract("convnet", audio=corpus, cache=cache, limit=2, note=notes.append, **WEIGHTS)
    assert len(notes) == 1  # nothing is left to do


@pytest.mark.parametrize(
    ("name", "read"), [("convnet", 29.0), ("vggish", 0.975), ("melstats", 0.5), ("openl3", 1.0)]
)
def test_what_a_network_reads_of_half_a_second(name, read):
    card = cards.load_extractor_card(name)
    assert estimate.padded_seconds(card, 0.5) == read
    assert estimate.padded_seconds(card, 31.0) == (29.0 if name == "convnet" else 31.0)


def test_the_time_of_short_clips_predicts_that_of_long_ones(corpus, tmp_path, monkeypatch):
    """Half of real time for clips of 0.2 s is 72 times for those of 29 s: the work is the same."""
    write = part.write_part

    def noted(path, content):
        content.meta["provenance"][estimate.SPEED] = "0.5"
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(part, "write_part", noted)
        extract("convnet", audio=corpus / "click", limit=1, cache=tmp_path / "c", **WEIGHTS)
    long = tmp_path / "long"
    long.mkdir()
    soundfile.write(long / "a.wav", np.zeros(29 * 8000), 8000)
    summary = dry(long, tmp_path / "c", "convnet", weights=("convnet=random:0",))
    short = soundfile.info(corpus / "click" / "click0.wav").duration
    assert summary.about_seconds == pytest.approx(29 / (0.5 * 29 / short))
