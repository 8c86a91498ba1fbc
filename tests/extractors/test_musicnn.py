"""musicnn and its VGG against the outputs of the original package."""

import numpy as np
import pytest
import torch

from probekit.errors import WeightsError
from probekit.extractors import labels, load
from probekit.extractors.networks import musicnn

torch.set_num_threads(1)
SOUNDS = ("noise", "tones", "speech")
VECTORS = ("taggram", "penultimate", "mean_pool", "max_pool")
MAPS = ("timbral", "temporal", "cnn1", "cnn2", "cnn3")
MODELS = ("MTT_musicnn", "MSD_musicnn")


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "data" / "musicnn"


def build(folder, model, streams):
    weights = {"musicnn.main": str(folder / f"{model}.npz")}
    return load.build_extractor(
        load.resolve_spec(f"musicnn:model={model}", weights=weights, streams=streams)
    )


@pytest.fixture(scope="module", params=MODELS)
def real(request, folder):
    return build(folder, request.param, [*VECTORS, *MAPS])


def error(pairs):
    """Largest difference over the standard deviation of the expected numbers."""
    found, expected = (np.concatenate(side) for side in zip(*pairs, strict=True))
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / expected.std()


def compare(found, reference, prefix):
    """Pairs of ours and theirs for each stream, for two patches of a sound.

    The reference repeats the first patch's row of ``penultimate`` as that of the second; the tags,
    which are computed from that layer, show that the second differs.
    """
    repeated = reference[f"{prefix}/penultimate"]
    assert np.array_equal(repeated[0], repeated[1])
    pairs = {name: (found[name].numpy(), reference[f"{prefix}/{name}"]) for name in VECTORS}
    for name in MAPS:
        pairs[name] = (found[name][0].numpy(), reference[f"{prefix}/{name}_timemean_first"])
    pairs["penultimate"] = tuple(side[:1] for side in pairs["penultimate"])
    return pairs


def test_network(real, reference):
    """From the original's spectra."""
    model = real.params["model"]
    pairs = {}
    for sound in SOUNDS:
        patches = torch.from_numpy(reference[f"{sound}/input"])[:, None]
        for name, pair in compare(
            real.apply_network(patches), reference, f"{sound}/{model}"
        ).items():
            pairs.setdefault(name, []).append(pair)
    for name, of_sounds in pairs.items():
        assert error(of_sounds) <= 1e-4, name


def test_whole(real, reference):
    """From waveforms; where float16 rounds to the neighbor, a number of a patch differs."""
    model = real.params["model"]
    pairs = {}
    for sound in SOUNDS:
        (found,) = real([reference[f"{sound}/wave_16k"]])
        assert len(found["taggram"]) == 2
        for name, pair in compare(found, reference, f"{sound}/{model}").items():
            pairs.setdefault(name, []).append(pair)
    for name, of_sounds in pairs.items():
        assert error(of_sounds) <= (2e-4 if name == "max_pool" else 1e-4), name


def test_music(real, reference):
    model = real.params["model"]
    patches = torch.from_numpy(reference["joram_mtt_clip/input_first2"])[:, None]
    found = real.apply_network(patches)
    for name in ("penultimate", "mean_pool", "max_pool"):
        rows = 1 if name == "penultimate" else 2  # the second row repeats the first
        expected = reference[f"joram_mtt_clip/{model}/{name}_first2"][:rows]
        assert error([(found[name][:rows].numpy(), expected)]) <= 1e-4
    expected = reference[f"joram_mtt_clip/{model}/taggram"][:2]
    assert error([(found["taggram"].numpy(), expected)]) <= 1e-4


def test_frontend(real, reference):
    """Most numbers are the original's to 1e-6; those that float16 rounded elsewhere to 1e-3."""
    for sound in SOUNDS:
        found = real.frontend(real.split(torch.from_numpy(reference[f"{sound}/wave_16k"])))
        difference = np.abs(found[:, 0].numpy() - reference[f"{sound}/input"])
        assert difference.max() < 1e-3
        assert (difference > 2e-6).mean() < 0.01


def test_head(real, reference):
    head = real.head()
    model = real.params["model"]
    assert list(head.classes) == reference[f"{model[:3]}_LABELS"].tolist()
    (found,) = real([reference["speech/wave_16k"]])
    tags = (found[head.stream] @ head.weight.T + head.bias).sigmoid()
    np.testing.assert_allclose(tags, found["taggram"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 47_615, 47_616, 95_487, 95_488, 99_200, 240_000])
def test_patches(real, samples):
    """As many as the original makes, which drops an incomplete one."""
    frames = samples // 256 + 1
    expected = max(1, len(range(0, frames - 187 + 1, 187)))
    wave = torch.ones(samples)
    pieces = real.split(wave)
    assert len(pieces) == real.windows(samples) == expected
    assert not pieces[0, :256].any() and pieces[0, 256] == 1


def test_weights_of_the_other_training_set_are_refused(folder):
    with pytest.raises(
        WeightsError, match=r"weights of MSD_musicnn, not of MTT_musicnn.*model=MSD"
    ):
        weights = {"musicnn.main": str(folder / "MSD_musicnn.npz")}
        load.build_extractor(load.resolve_spec("musicnn", weights=weights))
    with pytest.raises(WeightsError, match="does not fit"):
        weights = {"musicnn.main": str(folder / "MTT_vgg.npz")}
        load.build_extractor(load.resolve_spec("musicnn", weights=weights))


def test_very_loud_waves_are_finite(real):
    (found,) = real([1e3 * torch.sin(torch.arange(50_000) * 0.1)])
    assert all(values.isfinite().all() for values in found.values())


def test_tags_of_random_weights_are_those_of_the_model():
    for model, file in (("MTT_musicnn", "mtat50.txt"), ("MSD_musicnn", "msd50.txt")):
        spec = load.resolve_spec(f"musicnn:model={model}", weights={"musicnn.main": "random:0"})
        extractor = musicnn.build(spec.card, spec.params, spec.streams)
        assert extractor.source_classes() == labels.load_labels(file)


@pytest.mark.parametrize("model", ["MTT_vgg", "MSD_vgg"])
def test_vgg(folder, reference, model):
    """From waveforms; where float16 rounds to the neighbor, numbers differ by up to 1e-3."""
    spec = load.resolve_spec(
        f"musicnn-vgg:model={model}",
        weights={"musicnn-vgg.main": str(folder / f"{model}.npz")},
        streams=["pool5", "taggram", "pool1"],
    )
    extractor = load.build_extractor(spec)
    pairs = {"pool5": [], "taggram": []}
    for sound in SOUNDS:
        patches = torch.from_numpy(reference[f"{sound}/input"])[:, None]
        found = extractor.apply_network(patches)
        expected = reference[f"{sound}/{model}/pool5"].reshape(2, 256)
        pairs["pool5"].append((found["pool5"].numpy(), expected))
        pairs["taggram"].append((found["taggram"].numpy(), reference[f"{sound}/{model}/taggram"]))
        assert found["pool1"].shape == (2, 128)
    assert all(error(of_sounds) <= 1e-4 for of_sounds in pairs.values())
    head = extractor.head()
    assert list(head.classes) == reference[f"{model[:3]}_LABELS"].tolist()
    tags = (found["pool5"] @ head.weight.T + head.bias).sigmoid()
    np.testing.assert_allclose(tags, found["taggram"], rtol=0, atol=1e-6)
