"""A user's torch module as an extractor, and the hop of windows."""

from fractions import Fraction

import numpy as np
import pytest
import soundfile
import torch
import yaml

from probekit import cards, extract
from probekit.cache import embeddings
from probekit.errors import CacheError, CardError, ProbekitError, WeightsError
from probekit.extraction import garbage
from probekit.extractors import load
from probekit.extractors.load import build_extractor, resolve_spec

torch.set_num_threads(1)

CODE = """
import torch
from torch import nn


class Levels(nn.Module):
    '''Mean power of frames of 100 samples (time), or of all of them.'''

    min_samples = 100

    def __init__(self, gain=1.0):
        super().__init__()
        self.gain = gain

    def forward(self, waves):
        power = self.gain * waves.unfold(1, 100, 100).square().mean(2)
        return {"frames": power[..., None], "clip": power.mean(1, keepdim=True)}


class Window(nn.Module):
    def forward(self, waves):
        return waves[:, :2]


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 2)

    def forward(self, waves):
        return self.linear(waves[:, :8])


class Pretrained(Linear):
    def __init__(self):
        super().__init__()
        self.linear.weight.data.fill_(0.5)
        self.linear.bias.data.fill_(0.25)


class Wrong(nn.Module):
    def __init__(self, output="none"):
        super().__init__()
        self.output = output

    def forward(self, waves):
        return {"none": {}, "list": [1], "flat": waves, "count": waves[:1, :2],
                "short": waves[:, :6].unfold(1, 2, 2)}[self.output]


NUMBER = 3
"""
FRAMES = {"dim": 1, "kind": "frames", "hop": "1/10", "first_center": "1/20", "window": "1/10"}
WINDOW = {"dim": 2, "kind": "frames", "hop": "1/4", "first_center": "1/8", "window": "1/4"}
CLIP = {"dim": 1, "kind": "clip"}


@pytest.fixture
def card(tmp_path, monkeypatch):
    """Write the code and the card of ``mine``; return the spec of a text after ``-e``."""
    folder = tmp_path / "cards"
    folder.mkdir()
    (folder / "net.py").write_text(CODE)
    monkeypatch.setenv("PROBEKIT_CARDS", str(folder))

    def make(cls, streams, text="mine", overrides=None, **facts):
        content = {"name": "mine", "title": "", "version": 1, "module": f"net.py:{cls}",
                   "sample_rate": 1000, "long_audio": "exact", "streams": streams,
                   "default_stream": next(iter(streams)), **facts}  # fmt: skip
        (folder / "mine.yaml").write_text(yaml.safe_dump(content))
        return resolve_spec(text, streams=list(streams), weights=overrides)

    make.folder = folder
    return make


def test_whole_clips(card):
    extractor = build_extractor(card("Levels", {"frames": FRAMES, "clip": CLIP}))
    waves = [torch.randn(n) for n in (1000, 1034, 1000, 30)]
    for wave, outputs in zip(waves, extractor(waves), strict=True):
        padded = torch.nn.functional.pad(wave, (0, max(0, 100 - len(wave))))
        expected = padded.unfold(0, 100, 100).square().mean(1)
        torch.testing.assert_close(outputs["frames"][:, 0], expected)
        torch.testing.assert_close(outputs["clip"], expected.mean()[None])


def test_windows_and_their_hop(card):
    spec = card("Window", {"seq": WINDOW}, long_audio="windowed")
    half = card("Window", {"seq": WINDOW}, "mine:hop=1/8", long_audio="windowed")
    wave = torch.arange(1100.0)
    for one, hop, count in ((spec, 250, 4), (half, 125, 7)):
        [outputs] = build_extractor(one)([wave])
        starts = hop * torch.arange(count)
        torch.testing.assert_close(outputs["seq"], torch.stack([starts, starts + 1], 1).float())
    assert float(half.card.streams["seq"].hop) == half.params["hop"] == 0.125
    assert spec.fingerprint != half.fingerprint and "hop" not in spec.identity["params"]
    same = card("Window", {"seq": WINDOW}, "mine:hop=0.25", long_audio="windowed")
    assert same.fingerprint == spec.fingerprint


def test_beginnings(card):
    spec = card("Levels", {"clip": CLIP}, long_audio="cropped", max_seconds=0.5)
    [long, short] = build_extractor(spec)([torch.ones(2000), torch.ones(250)])
    assert (long["clip"].item(), short["clip"].item()) == (1.0, 0.5)


def test_parameters_are_arguments(card):
    facts = {"parameters": {"gain": {"default": 1.0}}}
    [outputs] = build_extractor(card("Levels", {"clip": CLIP}, "mine:gain=3", **facts))(
        [torch.ones(200)]
    )
    assert outputs["clip"].item() == 3.0
    with pytest.raises(CardError, match=r"Window\(gain=1.0\) cannot be built .*unexpected keyword"):
        build_extractor(card("Window", {"seq": WINDOW}, **facts))


@pytest.mark.parametrize("nested", [False, True])
def test_weights_lie_beside_the_card(card, nested):
    torch.manual_seed(3)
    state = {"linear.weight": torch.randn(2, 8), "linear.bias": torch.randn(2)}
    facts = {"weights": {"main": {"file": "net.pt"}}}
    stream = {"vector": {"dim": 2, "kind": "clip"}}
    with pytest.raises(
        WeightsError, match=r"cards/net.pt: no such file of weights, which the card"
    ):
        card("Linear", stream, **facts)
    torch.save({"epoch": 7, "model": state} if nested else state, card.folder / "net.pt")
    spec = card("Linear", stream, **facts)
    wave = torch.randn(20)
    [outputs] = build_extractor(spec)([wave])
    expected = state["linear.weight"] @ wave[:8] + state["linear.bias"]
    torch.testing.assert_close(outputs["vector"], expected)
    assert set(spec.code) == {"module", "source"}
    drawn = card("Linear", stream, overrides={"mine.main": "random:0"}, **facts)
    assert drawn.fingerprint != spec.fingerprint


def test_parameters_that_the_code_brings_are_in_the_fingerprint(card):
    stream = {"vector": {"dim": 2, "kind": "clip"}}
    spec = card("Pretrained", stream)
    assert spec.code.keys() == {"module", "source", "state"}
    [outputs] = build_extractor(spec)([torch.ones(9)])
    torch.testing.assert_close(outputs["vector"], torch.full((2,), 4.25))
    with pytest.raises(CardError, match=r"its parameters are random.* weights: \{main:"):
        card("Linear", stream)


@pytest.mark.parametrize(
    ("output", "streams", "message"),
    [
        ("none", {"a": CLIP}, "Wrong must return the stream 'a'"),
        ("list", {"a": CLIP}, "Wrong must return a tensor or a dictionary of streams, got list"),
        ("flat", {"a": CLIP}, r"a: must return shape \(1, 1\) for 1 waveforms .*got \(1, 1000\)"),
        ("short", {"a": FRAMES}, r"must return shape \(1, time, 1\) .* got \(1, 3, 2\)"),
        (
            "short",
            {"a": FRAMES | {"dim": 2}},
            "must return about 10 frames for 1 s, one every 0.1 s",
        ),
    ],
)
def test_what_is_returned_is_compared_with_the_card(card, output, streams, message):
    facts = {"parameters": {"output": {"default": "none"}}}
    spec = card("Wrong", streams, f"mine:output={output}", **facts)
    with pytest.raises(CardError, match=message):
        build_extractor(spec)([torch.ones(1000)])


@pytest.mark.parametrize(
    ("cls", "facts", "message"),
    [
        ("Gone", {}, "net.py has no class 'Gone'"),
        ("NUMBER", {}, "NUMBER must be a subclass of torch.nn.Module or probekit.extractors.base"),
        ("Levels", {"long_audio": "cropped"}, "cropped needs max_seconds"),
        (
            "Levels",
            {"long_audio": "windowed"},
            "all streams of windows must have the same frame gr",
        ),
    ],
)
def test_faults_of_a_card(card, cls, facts, message):
    with pytest.raises(CardError, match=message):
        build_extractor(card(cls, {"clip": CLIP}, **facts))


def test_grids_of_windows(card):
    for changes, message in (
        ({"first_center": "0"}, r"first_center must be half the window, 0.125 s"),
        ({"hop": "1/3"}, r"whole numbers of samples, got 1/3 s at 1000 Hz"),
    ):
        with pytest.raises(CardError, match=message):
            build_extractor(card("Window", {"seq": WINDOW | changes}, long_audio="windowed"))


def test_code_that_changes_during_an_extraction_is_an_error(card):
    spec = card("Levels", {"clip": CLIP})
    (card.folder / "net.py").write_text(CODE.replace("mean(2)", "amax(2)"))
    with pytest.raises(CardError, match="its code changed while it was in use"):
        build_extractor(spec)


def test_worker_processes_run_the_file(card, tmp_path):
    """The file is found in each process, and every clip has the same embedding as here."""
    spec = card("Levels", {"clip": CLIP})
    audio = tmp_path / "audio"
    audio.mkdir()
    waves = {name: np.random.default_rng(k).uniform(-1, 1, 500) for k, name in enumerate("ab")}
    for name, wave in waves.items():
        soundfile.write(audio / f"{name}.wav", wave, 1000, "FLOAT")
    notes = []
    [summary] = extract("mine", audio=audio, cache=tmp_path / "c", jobs=1, note=notes.append)
    assert (summary.done, summary.failed) == (2, {})
    path = card.folder / "net.py"
    assert notes == [f"mine: uses the code of {path}, SHA-256 {spec.code['source'][:8]}"]
    stored = embeddings.find_embeddings(tmp_path / "c", "mine", "audio").vectors(["a", "b"])
    expected = [[np.square(waves[name].astype(np.float32)).mean()] for name in "ab"]
    np.testing.assert_allclose(stored, expected, rtol=1e-6)


# ---- the hop of probekit's own windowed extractors


def spec_of(text):
    names = ("vggish.main", "harmonic-cnn.main", "talnet.main", "convnet.main")
    return resolve_spec(text, weights=dict.fromkeys(names, "random:0"))


def test_a_hop_that_is_the_default_changes_no_fingerprint():
    same = {spec_of(text).fingerprint for text in ("vggish", "vggish:hop=0.96", "vggish:hop=24/25")}
    assert len(same) == 1
    assert spec_of("vggish:hop=0.48").fingerprint not in same


def test_windows_of_half_the_hop_include_the_others():
    """Of harmonic-cnn, whose windows do not overlap: every second frame is one of the default."""
    wave = torch.randn(16000 * 12) / 10
    by_default = build_extractor(spec_of("harmonic-cnn"))
    [[first], [second]] = (
        [out["encoder"] for out in build_extractor(spec_of(text))([wave])]
        for text in ("harmonic-cnn", "harmonic-cnn:hop=5/2")
    )
    assert (len(first), len(second)) == (3, 4)
    # the same windows; batches of other sizes round otherwise
    torch.testing.assert_close(second[::2], first[:2], rtol=1e-5, atol=1e-5 * float(first.std()))
    assert by_default.hop == 80000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vggish:hop=0", "hop must be > 0 and at most a window, 0.975 s, got 0"),
        ("vggish:hop=1", "hop must be > 0 and at most a window"),
        ("vggish:hop=x", "hop must be in seconds, got 'x'"),
        ("vggish:hop=1/0", "hop must be in seconds, got '1/0'"),
        ("vggish:hop=0.33333", "the nearest is 5333/16000 s, 5333 samples"),
        ("talnet:hop=1", "talnet reads each clip whole, with a frame every 0.1 s"),
        ("convnet:hop=1", "convnet reads the first 29 s of each clip at once"),
        ("vggish:hopp=1", "Did you mean 'hop'"),
    ],
)
def test_hops_that_are_none(text, message):
    with pytest.raises(ProbekitError, match=message):
        load.parse_parameters(
            cards.load_extractor_card(text.partition(":")[0]), dict([text.split(":")[1].split("=")])
        )


def test_openl3_keeps_its_own_hop():
    """It is a parameter of its card, with another rule, and in every fingerprint."""
    card = cards.load_extractor_card("openl3")
    assert card.window_hop is None
    assert load.parse_parameters(card, {})["hop"] == 0.1


def test_a_hop_that_is_no_decimal_number_is_the_same_wherever_it_is_written(card):
    """1/3 s at 900 Hz: as text, as stored in a cache, and as read from there."""
    facts = {"long_audio": "windowed", "sample_rate": 900}
    stream = {"seq": WINDOW | {"hop": "1/2", "first_center": "1/2", "window": "1"}}
    third = card("Window", stream, "mine:hop=1/3", **facts)
    stored = {name: str(value) for name, value in third.params.items()}
    assert load.parse_parameters(cards.load_extractor_card("mine"), stored) == third.params
    assert third.card.streams["seq"].hop == Fraction(1, 3)


def test_the_hop_selects_embeddings(card, tmp_path):
    facts = {"long_audio": "windowed"}
    card("Window", {"seq": WINDOW}, **facts)
    audio, cache = tmp_path / "audio", tmp_path / "c"
    audio.mkdir()
    soundfile.write(audio / "a.wav", np.linspace(0, 1, 1000), 1000, "FLOAT")
    extract("mine", audio=audio, cache=cache, frames=True)
    with pytest.raises(CacheError, match=r"no mine:hop=0.125 for audio, only:"):
        embeddings.find_embeddings(cache, "mine:hop=0.125", "audio")
    extract("mine:hop=1/8", audio=audio, cache=cache, frames=True)
    for text, hop in (("mine", 0.25), ("mine:hop=0.250", 0.25), ("mine:hop=1/8", 0.125)):
        found = embeddings.find_embeddings(cache, text, "audio")
        np.testing.assert_allclose(np.diff(found.times("a")), hop)
    assert garbage.find_garbage(cache) == []
