"""Long recordings piece by piece: the same as whole."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from probekit import cards, extract
from probekit.audio import recording as recording_module
from probekit.audio.resample import KAISER_FILTERS, resample, resample_blocks
from probekit.cache import part
from probekit.extraction import long_audio, worker
from probekit.extractors import load
from probekit.extractors.base import WindowedExtractor
from probekit.extractors.pooling import POOLINGS, StreamingPool, pool

REPOSITORY = Path(__file__).parents[2]


def noise(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.9, 0.9, samples).astype(np.float32)


def cut(wave, size):
    return (wave[at : at + size] for at in range(0, len(wave), size))


@pytest.mark.parametrize("source, target", [(44100, 16000), (8000, 48000), (44101, 16000)])
@pytest.mark.parametrize("resampler", ["soxr_hq", *KAISER_FILTERS])
@pytest.mark.parametrize("samples, size", [(30011, 7000), (30011, 40000), (3, 2), (60000, 60000)])
def test_resampling_in_blocks_is_resampling_at_once(source, target, resampler, samples, size):
    wave = noise(samples)
    if resampler == "soxr_hq":
        expected = soxr.resample(wave, source, target, quality="HQ")
    else:
        expected = resample(
            torch.from_numpy(wave), source, target, KAISER_FILTERS[resampler]
        ).numpy()
    blocks = [
        piece.numpy() for piece in resample_blocks(cut(wave, size), source, target, resampler)
    ]
    assert all(map(len, blocks))
    # rounding of float32 sums of some hundred products, in another order
    np.testing.assert_allclose(np.concatenate(blocks), expected, atol=2e-6, rtol=0)


def test_an_equal_rate_needs_no_resampling():
    wave = noise(1000)
    blocks = [*resample_blocks(cut(wave, 300), 8000, 8000, "kaiser_best")]
    np.testing.assert_array_equal(torch.cat(blocks).numpy(), wave)


@pytest.mark.parametrize("sizes", [(1,), (1, 1, 5), (400, 3, 97), (500,)])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_running_pooling_is_pooling(sizes, offset):
    frames = (noise(sum(sizes) * 7).reshape(-1, 7) + offset).astype(np.float32)
    running = StreamingPool()
    for some in np.split(frames, np.cumsum(sizes)[:-1]):
        running.add(some)
    pooled, expected = running.result(), pool(frames)
    assert pooled.keys() == expected.keys() == POOLINGS.keys()
    for name, values in pooled.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected[name], rtol=1e-6, atol=1e-9)
    assert running.count == sum(sizes)


def test_nothing_cannot_be_pooled():
    with pytest.raises(ValueError, match="no frames"):
        StreamingPool().result()


class Sum(WindowedExtractor):
    """Returns each window's samples as they are, so that any slip shows."""

    def __init__(self, window, hop, lead, keep_tail):
        super().__init__(cards.load_extractor_card("vggish"), {}, ())
        self.window, self.hop, self.lead, self.keep_tail = window, hop, lead, keep_tail


@pytest.mark.parametrize(
    ("window", "hop", "lead", "keep_tail"),
    [(4, 4, 0, True), (5, 2, 0, False), (5, 2, 2, True), (4, 3, 3, False), (3, 8, 2, True)],
)
def test_windows_are_those_of_the_whole(window, hop, lead, keep_tail):
    extractor = Sum(window, hop, lead, keep_tail)
    for samples in range(1, 30):
        wave = torch.arange(1.0, samples + 1)
        for size in (1, 2, 7, 40):
            windows = torch.cat([*long_audio._windows(extractor, wave.split(size))])
            assert torch.equal(windows, extractor.split(wave)), (samples, size)


CASES = {
    "vggish": ("vggish", 44100, 6.2),  # Kaiser, incomplete last window dropped
    "openl3:hop=1": ("openl3", 16000, 3.2),  # Kaiser, zeros in front, tail kept
    "harmonic-cnn": ("harmonic-cnn", 22050, 12.2),  # soxr
}


@pytest.fixture
def pieces(monkeypatch):
    """Take everything for long, some seconds at a time; count what goes that way."""
    done = []
    embed = worker.embed_streaming
    monkeypatch.setattr(long_audio, "LONGEST", 0.1)
    monkeypatch.setattr(long_audio, "_BLOCK", 70000)
    monkeypatch.setattr(worker, "embed_streaming", lambda *a, **k: done.append(1) or embed(*a, **k))
    return done


@pytest.mark.parametrize("name", CASES)
def test_a_long_clip_piece_by_piece_equals_the_whole(name, tmp_path, request):
    plain, rate, seconds = CASES[name]
    folder = tmp_path / "audio"
    folder.mkdir()
    time = np.arange(int(seconds * rate)) / rate
    wave = np.sin(600 * time**2) * time / seconds * 0.9
    soundfile.write(folder / "a.wav", wave + 0.05 * noise(len(wave)), rate)
    lines = f"clip_id,path,start,end\nwhole,a.wav,,\npart,a.wav,1.125,{seconds - 0.5}\n"
    (tmp_path / "clips.csv").write_text(lines)
    options = {
        "manifest": tmp_path / "clips.csv",
        "root": folder,
        "weights": [f"{plain}=random:0"],
        "frames": True,
    }
    extract(name, cache=tmp_path / "whole", **options)
    done = request.getfixturevalue("pieces")
    [summary] = extract(name, cache=tmp_path / "pieces", **options)
    assert (summary.done, summary.failed, len(done)) == (2, {}, 2)
    assert summary.audio_seconds == pytest.approx(len(wave) / rate + seconds - 1.625, abs=1e-3)
    expected, streamed = (
        part.read_part(next((tmp_path / kind).rglob("part-*.h5"))).rows
        for kind in ("whole", "pieces")
    )
    for clip_id, row in expected.items():
        [(stream, arrays)] = row.streams.items()
        others = streamed[clip_id].streams[stream]
        assert arrays.keys() == others.keys() == {*POOLINGS, "frames"}
        for key, array in arrays.items():
            assert others[key].shape == array.shape
            np.testing.assert_allclose(others[key], array, atol=1e-5 * np.abs(array).max())
        np.testing.assert_equal(streamed[clip_id].source, row.source)


def written(folder, wave, name="a.wav", **kind):
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / name, wave, 16000, **kind)
    return folder


def test_frames_are_kept_only_if_asked_for(tmp_path, pieces):
    folder = written(tmp_path / "audio", noise(16000))
    extract("harmonic-cnn", audio=folder, cache=tmp_path, weights=["harmonic-cnn=random:0"])
    [row] = part.read_part(next(tmp_path.rglob("part-*.h5"))).rows.values()
    [arrays] = row.streams.values()
    assert arrays.keys() == POOLINGS.keys()
    assert len(pieces) == 1


def nan_at_the_end(folder):
    wave = noise(80000)
    wave[79000] = np.nan
    written(folder, wave, subtype="FLOAT")


def truncated(folder):
    path = written(folder, noise(80000), "a.flac") / "a.flac"
    path.write_bytes(path.read_bytes()[:90000])


@pytest.mark.parametrize(
    "make, reason", [(nan_at_the_end, "1 of 80000 samples are NaN"), (truncated, "truncated: ")]
)
def test_what_is_wrong_at_the_end_fails_the_clip_and_no_other(tmp_path, pieces, make, reason):
    make(tmp_path / "audio")
    written(tmp_path / "audio", noise(20000), "b.wav")
    options = {"audio": tmp_path / "audio", "weights": ["harmonic-cnn=random:0"]}
    [summary] = extract("harmonic-cnn", cache=tmp_path, **options)
    assert summary.done == 1
    [(clip_id, said)] = summary.failed.items()
    assert clip_id == "a"
    assert reason in said
    assert str(tmp_path) not in said


def test_progress_goes_on_within_a_recording(tmp_path, pieces):
    wave = noise(16000 * 20)
    folder = written(tmp_path / "audio", wave)
    wave[-1] = np.nan
    written(folder, wave, "bad.wav", subtype="FLOAT")
    ticks = []
    options = {"audio": folder, "weights": ["harmonic-cnn=random:0"]}
    extract(
        "harmonic-cnn", cache=tmp_path, progress=lambda name, *tick: ticks.append(tick), **options
    )
    clips, seconds, failures = (np.array(column) for column in zip(*ticks, strict=True))
    assert (clips.sum(), failures.sum()) == (1, 1)
    assert seconds.sum() == pytest.approx(20)  # those of a failure are taken back
    within = seconds[(clips == 0) & (failures == 0)]
    assert len(within) >= 6
    assert within.max() < 10  # two blocks, since the first windows need both
    assert within.sum() > 30


def test_only_windows_can_be_seen_one_after_another(tmp_path):
    folder = written(tmp_path / "audio", noise(1000))
    with recording_module.open_audio(folder / "a.wav") as recording:
        assert not long_audio.needs_streaming(recording, cards.load_extractor_card("melstats"))
        assert not long_audio.needs_streaming(recording, cards.load_extractor_card("vggish"))
        recording.duration = None  # a stream that was recorded live
        assert long_audio.needs_streaming(recording, cards.load_extractor_card("vggish"))
        recording.duration = long_audio.LONGEST + 1
        assert long_audio.needs_streaming(recording, cards.load_extractor_card("vggish"))
        assert not long_audio.needs_streaming(recording, cards.load_extractor_card("talnet"))
        other = load.build_extractor(load.resolve_spec("melstats"))
        with pytest.raises(TypeError, match="melstats is not a windowed extractor"):
            long_audio.embed_streaming(other, recording, frames=False)


def test_all_windowed_cards_can_be_pooled_bit_by_bit():
    windowed = [
        c
        for c in map(cards.load_extractor_card, cards.card_paths("extractors"))
        if c.long_audio == "windowed"
    ]
    assert {"vggish", "openl3", "harmonic-cnn"} <= {card.name for card in windowed}
    assert all(s.kind == "frames" for card in windowed for s in card.streams.values())


@pytest.fixture
def decoded(monkeypatch):
    """Count the samples that are decoded."""
    counts = []
    blocks = recording_module.Recording.blocks

    def count(self, samples):
        for block in blocks(self, samples):
            counts.append(len(block))
            yield block

    monkeypatch.setattr(recording_module.Recording, "blocks", count)
    return counts


def test_of_a_cropped_clip_the_begin_only_is_decoded(tmp_path, decoded):
    folder = written(tmp_path / "audio", noise(16000 * 60))
    [summary] = extract("convnet", audio=folder, cache=tmp_path / "c", weights=["convnet=random:0"])
    assert summary.audio_seconds == 60
    assert sum(decoded) == 30 * 16000  # 29 s, and what the resampler may look at


def test_too_long_a_clip_is_refused_undecoded(tmp_path, decoded):
    folder = written(tmp_path / "audio", np.zeros(16000 * 301))
    [summary] = extract("weanet", audio=folder, cache=tmp_path / "c", weights=["weanet=random:0"])
    assert summary.failed["a"].startswith(
        "301.0 s long; weanet takes at most 300 s, since it reads"
    )
    assert decoded == []


@pytest.mark.slow
def test_ten_hours_take_less_than_2_gb():
    code = (
        "import json; from benchmarks import long; "
        "print(json.dumps(long.measure(10.0, 'stand-in')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["windows"] == (36000 * 16000 - 15600) // 15360 + 1
    assert facts["rss"] < 2e9
