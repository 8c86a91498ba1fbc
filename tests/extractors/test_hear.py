"""Our extractors as HEAR modules.

HEAR's own validator (hearvalidator 2021.0.2) cannot be used here: it needs TensorFlow. Its checks
are made by :func:`validate`: functions, attributes, shapes, float32, and timestamps regular to a
thousandth of a millisecond, on batches of noise on the model's device.
"""

from importlib.metadata import version

import numpy as np
import pytest
import torch

from probekit import cards
from probekit.errors import ProbekitError
from probekit.extractors import hear, load
from probekit.extractors.adapters.hear_protocol import RATES
from probekit.extractors.pooling import pool

torch.set_num_threads(1)


def weights(name):
    """Random weights for every file of an extractor."""
    roles = {key.partition("/")[0] for key in cards.load_extractor_card(name).weights}
    return [f"{name}.{role}=random:0" for role in sorted(roles)]


def noise(clips, samples):
    return torch.rand(clips, samples, generator=torch.Generator().manual_seed(1)) * 2 - 1


def validate(model, clips=3):
    """What HEAR's validator checks, and what its page asks for besides."""
    assert isinstance(model, torch.nn.Module)
    assert model.sample_rate in RATES
    assert type(model.scene_embedding_size) is type(model.timestamp_embedding_size) is int
    frames, times = hear.get_timestamp_embeddings(noise(clips, 2 * model.sample_rate), model)
    assert frames.dtype == torch.float32
    assert frames.shape[0] == clips
    assert frames.shape[:2] == times.shape
    assert frames.shape[2] == model.timestamp_embedding_size
    hops = times.diff()
    assert ((hops - hops.mean()).abs() < 1e-3).all()
    assert times.min() >= 0 and times.max() <= 2000
    scenes = hear.get_scene_embeddings(noise(clips, int(3.74 * model.sample_rate)), model)
    assert scenes.dtype == torch.float32
    assert scenes.shape == (clips, model.scene_embedding_size)
    assert scenes.isfinite().all() and frames.isfinite().all()
    return frames, times


@pytest.mark.parametrize(
    ("text", "sizes", "hop", "first"),
    [
        ("melstats", (336, 336), 1000 * 5512 / 22050, 0),  # one vector a clip: by windows
        ("mfcc", (20, 20), 1000 * 512 / 22050, 0),
        ("harmonic-cnn", (256, 256), 5000, 2000),  # the only frame's middle is past the end
        pytest.param("weanet", (2048, 2048), 160, 75, marks=pytest.mark.slow),
        ("weanet:pool=mean+std", (4096, 2048), 160, 75),
        ("talnet:stream=probabilities", (527, 527), 100, 37.5),
        ("openl3:input=linear,size=512,hop=0.5", (512, 512), 500, 0),
    ],
)
def test_validator(text, sizes, hop, first):
    name = text.partition(":")[0]
    model = hear.load_model(text, weights=weights(name))
    assert (model.scene_embedding_size, model.timestamp_embedding_size) == sizes
    frames, times = validate(model, clips=1 if name == "openl3" else 2)
    assert float(times[0, 0]) == pytest.approx(first)
    if frames.shape[1] > 1:
        assert float(times[0, 1] - times[0, 0]) == pytest.approx(hop, abs=1e-3)


@pytest.mark.parametrize("name", ["vggish", "cnn14"])
def test_large_networks(name, monkeypatch):
    """Attributes, with the network's build replaced: its 300 MB are tested elsewhere."""
    monkeypatch.setattr(load, "build_extractor", lambda spec: _Stub(spec))
    model = hear.load_model(name, weights=weights(name))
    assert model.sample_rate == {"vggish": 16000, "cnn14": 32000}[name]
    assert model.scene_embedding_size == {"vggish": 128, "cnn14": 2048}[name]
    assert (model.scene, model.timestamps) == {
        "vggish": ("relu", "relu"), "cnn14": ("embedding", "frames"),
    }[name]  # fmt: skip


class _Stub(torch.nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.streams = {name: spec.card.streams[name] for name in spec.streams}


def test_scenes_are_what_the_cache_would_hold():
    model = hear.load_model("mfcc:pool=mean+max+std")
    audio = noise(2, 30_000)
    extractor = load.build_extractor(load.resolve_spec("mfcc"))
    for wave, scene in zip(audio, hear.get_scene_embeddings(audio, model), strict=True):
        pooled = pool(extractor([wave])[0]["mfcc"].numpy())
        expected = np.concatenate([pooled["mean"], pooled["max"], pooled["std"]])
        np.testing.assert_allclose(scene, expected, rtol=1e-5, atol=1e-5)


def test_frames_are_the_stream_s():
    model = hear.load_model("weanet", weights=weights("weanet"))
    audio = noise(2, 16_000)
    frames, times = hear.get_timestamp_embeddings(audio, model)
    for wave, own in zip(audio, frames, strict=True):
        expected = model.extractor([wave])[0]["b5"]
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)
    assert times[0].tolist() == [75 + 160 * k for k in range(6)]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(1, [1000]), (4, [2500]), (6, [2500]), (8, [2500, 7500])]
)
def test_frames_past_the_end_are_left_out(seconds, expected):
    """Chunks of 5 s: the middle of the last one may lie behind the clip's end."""
    model = hear.load_model("harmonic-cnn", weights=weights("harmonic-cnn"))
    frames, times = hear.get_timestamp_embeddings(noise(1, 16_000 * seconds), model)
    assert times.tolist() == [expected]
    assert frames.shape == (1, len(expected), 256)


def test_windows_are_centred():
    model = hear.load_model("melstats", window=0.5, hop=0.1)
    audio = noise(2, 22_050 + 1)
    frames, times = hear.get_timestamp_embeddings(audio, model)
    assert times.shape == (2, 11)
    torch.testing.assert_close(times[0], 100 * torch.arange(11.0))
    middle = model.extractor([audio[1, 11_025 - 5512 : 11_025 + 5513]])[0]["stats"]
    torch.testing.assert_close(frames[1, 5], middle, rtol=1e-4, atol=1e-3)
    last = torch.nn.functional.pad(audio[0, 22_050 - 5512 :], (0, 5512))
    expected = model.extractor([last])[0]["stats"]
    torch.testing.assert_close(frames[0, 10], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("samples", [1, 300, 22_050])
def test_short_clips(samples):
    for text in ("melstats", "mfcc"):
        model = hear.load_model(text)
        frames, times = hear.get_timestamp_embeddings(noise(2, samples), model)
        assert frames.shape[:2] == times.shape
        assert times.max() <= 1000 * samples / 22_050
        assert hear.get_scene_embeddings(noise(2, samples), model).isfinite().all()


def test_the_environment_names_the_extractor(monkeypatch, tmp_path):
    monkeypatch.setenv("PROBEKIT_HEAR", "cf:width=16")
    monkeypatch.setenv("PROBEKIT_HEAR_WEIGHTS", "cf=random:3")
    model = hear.load_model()
    assert (model.scene, model.scene_embedding_size) == ("cf", 40)
    other = hear.load_model("melstats")  # a name in place of the path comes first
    assert other.scene == "stats"
    file = tmp_path / "own.pth"
    torch.save(model.extractor.network.state_dict(), file)
    monkeypatch.delenv("PROBEKIT_HEAR_WEIGHTS")
    again = hear.load_model(str(file))  # a file: its weights
    assert torch.equal(again.extractor.network.dense.weight, model.extractor.network.dense.weight)
    named = hear.load_model(str(file), extractor="cf:width=16,stream=penultimate")
    assert named.scene_embedding_size == 16


def test_nothing_named(monkeypatch):
    monkeypatch.delenv("PROBEKIT_HEAR", raising=False)
    with pytest.raises(ProbekitError, match="PROBEKIT_HEAR"):
        hear.load_model()


def test_sample_rates_of_hear_only():
    with pytest.raises(ProbekitError, match=r"must be one of 16000, .* got 12000 Hz of convnet"):
        hear.load_model("convnet", weights=["convnet=random:0"])


def test_wrong_calls():
    model = hear.load_model("melstats")
    for audio in (torch.zeros(5), torch.zeros(2, 0), torch.zeros(1, 2, 5)):
        with pytest.raises(ProbekitError, match=r"must have the shape \(clips, samples\)"):
            hear.get_scene_embeddings(audio, model)
    with pytest.raises(ProbekitError, match="hop=0"):
        hear.load_model("melstats", hop=0)
    with pytest.raises(ProbekitError, match="unknown pooling 'median'"):
        hear.load_model("mfcc:pool=median")
    with pytest.raises(ProbekitError, match="unknown extractor 'nothing'"):
        hear.load_model("nothing")


def test_there_and_back(monkeypatch):
    """probekit reads its own HEAR module: the same numbers, the same grid."""
    monkeypatch.setenv("PROBEKIT_HEAR", "mfcc")
    spec = load.resolve_spec("hear:probekit.extractors.hear", streams=["scene", "timestamps"])
    own = cards.load_extractor_card("mfcc").streams["mfcc"]
    theirs = spec.card.streams["timestamps"]
    assert (theirs.hop, theirs.first_center) == (own.hop, own.first_center)
    assert spec.identity["module"]["distribution"] in ("", f"probekit {version('probekit')}")
    waves = [*noise(2, 20_000), noise(1, 3000)[0]]
    back, direct = (
        load.build_extractor(spec)(waves),
        load.build_extractor(load.resolve_spec("mfcc"))(waves),
    )
    for one, other in zip(back, direct, strict=True):
        expected = other["mfcc"][: one["timestamps"].shape[0]]
        torch.testing.assert_close(one["timestamps"], expected, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(one["scene"], other["mfcc"].mean(0), rtol=1e-5, atol=1e-4)
