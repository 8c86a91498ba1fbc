"""YAMNet against reference outputs, with the weights rounded to 8 bits that made them."""

import h5py
import numpy as np
import pytest
import torch

from probekit import cards
from probekit.errors import WeightsError
from probekit.extractors import load
from probekit.extractors.networks import yamnet
from probekit.extractors.weights import npz, state_dict

torch.set_num_threads(1)
SOUNDS = ("noise", "tones", "speech")


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "data" / "yamnet"


@pytest.fixture(scope="module")
def waves(shared):
    """The reference's sounds of 6.2 s, of which its own file has the first 2 s."""
    with np.load(shared / "data" / "musicnn" / "reference.npz") as arrays:
        return {name: arrays[f"{name}/wave_16k"] for name in SOUNDS}


@pytest.fixture(scope="module")
def real(folder):
    weights = {"yamnet.main": str(folder / "yamnet_int8.npz")}
    return load.build_extractor(
        load.resolve_spec("yamnet", weights=weights, streams=["embedding", "scores", "layer.13"])
    )


def test_network(real, reference):
    """From the reference's spectra: rounding of float32 alone."""
    patches = np.concatenate([reference[f"{name}/logmel_patches"] for name in SOUNDS])
    found = real.apply_network(torch.from_numpy(patches)[:, None])
    for stream, key in (("embedding", "embedding"), ("scores", "scores")):
        expected = np.concatenate([reference[f"{name}/{key}"][:3] for name in SOUNDS])
        assert np.abs(found[stream].numpy() - expected).max() <= 1e-4 * expected.std(), stream


def test_whole(real, reference, waves):
    """From waveforms. The reference's spectra are float32: in empty bands off by up to 5e-4."""
    for name in SOUNDS:
        assert np.array_equal(waves[name][:32000], reference[f"{name}/wave_16k"])
        (found,) = real([waves[name]])
        expected = reference[f"{name}/embedding"]
        assert len(expected) == 11
        assert found["embedding"].shape == (12, 1024)  # the last window has zeros at its end
        assert found["layer.13"].shape == (12, 1024)
        error = np.abs(found["embedding"][:11].numpy() - expected)
        assert error.max() <= 2e-4 * expected.std()
        assert np.sqrt((error**2).mean()) <= 2e-5 * expected.std()
        scores = found["scores"][:11].numpy() - reference[f"{name}/scores"]
        assert np.abs(scores).max() <= 2e-5


def test_spectra(real, waves):
    """Against float64 and librosa-free arithmetic of the published definition."""
    wave = waves["speech"].astype(np.float64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.lib.stride_tricks.sliding_window_view(wave, 400)[::160][:96]
    spectra = np.abs(np.fft.rfft(frames * hann, 512))
    edges = np.linspace(*(1127 * np.log1p(np.array([125, 7500]) / 700)), 66)
    bins = 1127 * np.log1p(np.arange(257) * 16000 / 512 / 700)[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    expected = np.log(spectra @ np.maximum(np.minimum(rise, fall), 0) + 0.001)
    found = real.frontend(real.split(torch.from_numpy(waves["speech"])))[0, 0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_tensorflow_lite_rounds_activations_too(real, reference):
    """Its own embeddings are near, not equal: activations of 8 bits."""
    for name in SOUNDS:
        patch = torch.from_numpy(reference[f"{name}/tflite_first_logmel"])[None, None]
        found = real.apply_network(patch)["embedding"][0].numpy()
        theirs = reference[f"{name}/tflite_first_embedding"][0]
        cosine = found @ theirs / np.linalg.norm(found) / np.linalg.norm(theirs)
        assert 0.98 < cosine < 0.99999


def test_head(real, reference, waves):
    head = real.head()
    assert list(head.classes) == reference["class_names"].tolist()
    (found,) = real([waves["speech"]])
    probabilities = (found[head.stream] @ head.weight.T + head.bias).sigmoid()
    np.testing.assert_allclose(probabilities, found["scores"], rtol=0, atol=1e-6)
    assert head.classes[int(probabilities.mean(0).argmax())] == "Speech"


@pytest.mark.parametrize(
    ("samples", "windows"),
    [(1, 1), (15600, 1), (15601, 2), (23280, 2), (23281, 3), (16000, 2), (80000, 10)],
)
def test_windows(real, samples, windows):
    """As many as the official code makes: rounded up to a whole number of hops."""
    assert real.windows(samples) == len(real.split(torch.rand(samples))) == windows


def write_keras(path, state):
    """Write a file in the layout of ``yamnet.h5``, whose batch normalization is not trivial."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        names = []

        def write(layer, **arrays):
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([f"{layer}/{n}:0".encode() for n in arrays])
            for name, array in arrays.items():
                group[f"{layer}/{name}:0"] = np.asarray(array, np.float32)
            names.append(layer.encode())

        for name in yamnet._layer_names():
            weight, bias = state[f"{name}.weight"].numpy(), state[f"{name}.bias"].numpy()
            variance = rng.uniform(0.5, 2, len(bias)).astype(np.float32)
            mean = rng.standard_normal(len(bias)).astype(np.float32)
            gain = 1 / np.sqrt(variance.astype(np.float64) + 1e-4)
            kernel = weight / gain[:, None, None, None]
            depthwise = name.endswith("depthwise_conv")
            layer = f"{name.replace('.', '/')}{'' if '.' in name else '/conv'}"
            write(
                layer,
                **{
                    "depthwise_kernel" if depthwise else "kernel": kernel.transpose(
                        (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
                    )
                },
            )
            write(
                f"{layer}/bn", beta=bias + mean * gain, moving_mean=mean, moving_variance=variance
            )
        write("dense", kernel=state["dense.weight"].numpy().T, bias=state["dense.bias"].numpy())
        file.attrs["layer_names"] = np.array(names)


def test_official_layout(tmp_path, folder):
    """Batch normalization becomes part of the convolutions."""
    state = yamnet.read_weights(folder / "yamnet_int8.npz")
    write_keras(tmp_path / "yamnet.h5", state)
    found = yamnet.read_weights(tmp_path / "yamnet.h5")
    assert found.keys() == state.keys()
    for key, tensor in state.items():
        assert found[key].dtype == torch.float32
        np.testing.assert_allclose(found[key], tensor, rtol=1e-5, atol=2e-6, err_msg=key)


def test_other_files_are_refused(tmp_path, folder):
    with pytest.raises(WeightsError, match=r"no array layer1/kernel; the file is of another"):
        yamnet.read_weights(folder.parent / "musicnn" / "MTT_musicnn.npz")
    with pytest.raises(WeightsError, match="must have 55 layers"):
        yamnet.read_weights(folder.parent / "choi2017" / "convnet_msd_keras2.hdf5")
    arrays = npz.read_npz(folder / "yamnet_int8.npz")
    np.savez(tmp_path / "more.npz", **arrays, extra=np.ones(1))
    extractor = yamnet.build(cards.load_extractor_card("yamnet"), {}, ("embedding",))
    with pytest.raises(WeightsError, match="1 unexpected: extra"):
        extractor.load_weights({"main": yamnet.read_weights(tmp_path / "more.npz")})
    arrays["dense/kernel_scale"] = np.ones(7, np.float32)
    np.savez(tmp_path / "scale.npz", **arrays)
    with pytest.raises(WeightsError, match="dense/kernel_scale must have a factor for each"):
        yamnet.read_weights(tmp_path / "scale.npz")


def test_random_weights_keep_the_sound_audible():
    """He's variances: no layer dies or explodes."""
    extractor = yamnet.build(cards.load_extractor_card("yamnet"), {}, ("embedding",)).eval()
    extractor.load_weights({"main": state_dict.random_init(extractor.network, 0)})
    (found,) = extractor([torch.rand(16000) - 0.5])
    assert 1e-3 < float(found["embedding"].std()) < 1e3
