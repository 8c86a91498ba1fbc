"""The extractors melstats and mfcc against librosa and against numpy."""

import numpy as np
import pytest
import torch

import probekit
from probekit.errors import ProbekitError
from probekit.extractors import load

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:n_fft=:UserWarning")  # short clips, in librosa
RATE = 22050


def sounds(samples=30000):
    """Noise, a tone, silence, clicks, and clips of other lengths, some very short."""
    rng = np.random.default_rng(0)
    clicks = np.zeros(samples)
    clicks[::4000] = 1
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(samples) / RATE)
    noise = rng.uniform(-1, 1, samples)
    quiet = 1e-4 * noise[:20001]
    short = [noise[:n] for n in (1, 511, 512, 513, 2048)]
    return [
        wave.astype(np.float32) for wave in [noise, tone, np.zeros(samples), clicks, quiet, *short]
    ]


def levels(wave, bands):
    """Log-mel of librosa in float64, shape (frames, bands)."""
    librosa = pytest.importorskip("librosa")
    mel = librosa.feature.melspectrogram(y=wave.astype(np.float64), sr=RATE, n_mels=bands)
    return librosa.power_to_db(mel, top_db=None).T


@pytest.fixture(scope="module")
def melstats():
    return load.build_extractor(load.resolve_spec("melstats"))


@pytest.fixture(scope="module")
def mfcc():
    return load.build_extractor(load.resolve_spec("mfcc"))


def test_log_mel_is_librosa_s(melstats):
    for wave in sounds():
        found = melstats.log_mel(torch.from_numpy(wave)[None])[0].numpy()
        expected = levels(wave, 64)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5)  # dB: float32 mel product


def test_stats_are_those_of_librosa_s_frames(melstats):
    librosa = pytest.importorskip("librosa")
    waves = sounds()
    found = melstats([torch.from_numpy(wave) for wave in waves])
    for wave, clip in zip(waves, found, strict=True):
        log_mel = levels(wave, 64)
        cepstra = librosa.feature.mfcc(S=log_mel.T, n_mfcc=20).T
        frames = np.concatenate([log_mel, cepstra], axis=1)
        changes = np.diff(frames, axis=0) if len(frames) > 1 else np.zeros((1, 84))
        expected = [frames.mean(0), frames.std(0), changes.mean(0), changes.std(0)]
        # decibels are float32 (4e-6), 64 of them are added up
        np.testing.assert_allclose(clip["stats"].reshape(4, 84), expected, rtol=1e-7, atol=5e-5)


def test_mfcc_is_librosa_s(mfcc):
    librosa = pytest.importorskip("librosa")
    waves = sounds()
    found = mfcc([torch.from_numpy(wave) for wave in waves])
    for wave, clip in zip(waves, found, strict=True):
        expected = librosa.feature.mfcc(y=wave.astype(np.float64), sr=RATE).T
        assert clip["mfcc"].shape == (1 + len(wave) // 512, 20)
        # decibels are float32 (4e-6), 128 of them are added up
        np.testing.assert_allclose(clip["mfcc"], expected, rtol=1e-7, atol=5e-5)


def test_silence_is_constant(melstats, mfcc):
    wave = torch.zeros(5000)
    stats = melstats([wave])[0]["stats"].reshape(4, 84)
    torch.testing.assert_close(stats[0, :64], torch.full((64,), -100.0))
    torch.testing.assert_close(stats[0, 64], torch.tensor(-100 * 64**0.5), rtol=1e-6, atol=0)
    assert stats[0, 65:].abs().max() < 1e-4
    assert stats[1:].abs().max() < 1e-4
    assert mfcc([wave])[0]["mfcc"][:, 1:].abs().max() < 1e-4


def test_one_frame_has_no_differences(melstats):
    for samples in (1, 511):
        stats = melstats([torch.ones(samples)])[0]["stats"].reshape(4, 84)
        assert stats[0].abs().min() > 0
        assert not stats[1:].any()
    assert melstats([torch.ones(512)])[0]["stats"].reshape(4, 84)[2].any()


@pytest.mark.parametrize(("name", "stream"), [("melstats", "stats"), ("mfcc", "mfcc")])
def test_clips_do_not_depend_on_their_companions(name, stream, request):
    extractor = request.getfixturevalue(name)
    waves = [torch.from_numpy(wave) for wave in sounds()]
    alone = [extractor([wave])[0][stream] for wave in waves]
    together = [clip[stream] for clip in extractor(waves)]
    backwards = [clip[stream] for clip in extractor(waves[::-1])][::-1]
    for one, among, back in zip(alone, together, backwards, strict=True):
        assert one.shape == among.shape == back.shape
        for other in (among, back):
            assert (other - one).abs().max() <= 1e-5 * one.abs().max()


def test_frames_lie_where_the_card_says(mfcc):
    """A click reaches the frames whose window holds it; all others stay at the clip's floor."""
    stream = mfcc.streams["mfcc"]
    half = round(float(stream.window) * RATE / 2)
    for k in (0, 1, 7, 19):
        center = float(stream.first_center + k * stream.hop) * RATE
        assert center == pytest.approx(512 * k)
        wave = torch.zeros(20 * 512)
        wave[round(center)] = 1
        frames = mfcc([wave])[0]["mfcc"]
        assert int(frames[:, 0].argmax()) == k
        loud = (frames[:, 0] > frames[:, 0].min() + 1e-3).nonzero()[:, 0]
        assert sorted(loud.tolist()) == [
            i for i in range(len(frames)) if abs(512 * i - center) < half
        ]


def test_cards(melstats, mfcc):
    for extractor in (melstats, mfcc):
        assert not extractor.state_dict()
        assert extractor.head() is None
    assert melstats.streams["stats"].dim == 336
    assert load.resolve_spec("melstats").provenance == []


@pytest.mark.parametrize("name", ["melstats", "mfcc"])
def test_precision_does_not_reach_the_front_end(name):
    wave = torch.from_numpy(sounds()[0])
    exact = load.build_extractor(load.resolve_spec(name))([wave])[0]
    half = load.build_extractor(load.resolve_spec(name, precision="bf16"))([wave])[0]
    for stream, values in exact.items():
        assert torch.equal(values, half[stream])


def test_arrays_are_as_good_as_tensors():
    extractor = probekit.load_extractor("melstats")
    assert extractor.sample_rate == 22050
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 8000).astype("f4")[::-1]
    wave.setflags(write=False)
    [ours], [theirs] = extractor([wave]), extractor([torch.tensor(wave.copy())])
    torch.testing.assert_close(ours["stats"], theirs["stats"], rtol=0, atol=0)
    [double] = extractor([wave.astype("f8")])
    torch.testing.assert_close(double["stats"], ours["stats"], rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(), (2, 8000), (0,)])
def test_waveforms_of_other_shapes_are_refused(shape):
    extractor = probekit.load_extractor("melstats")
    with pytest.raises(
        ProbekitError, match=r"must have the shape \(samples,\), got .* mono waveforms at 22050 Hz"
    ):
        extractor([np.zeros(shape, "f4")])
