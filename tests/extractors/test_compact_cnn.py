"""The compact network of Keras 1 against an independent derivation, one clip a batch."""

import h5py
import numpy as np
import pytest
import torch

from benchmarks import choi2017
from probekit.errors import WeightsError
from probekit.extractors import load
from probekit.extractors.networks import compact_cnn

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def file(shared):
    return shared / "data" / "music_tagger_keras" / "compact_cnn_weights_layer4_tensorflow.hdf5"


@pytest.fixture(scope="module")
def real(file):
    weights = {"compact-cnn.main": str(file)}
    streams = ["layers", "conv1", "conv5"]
    return load.build_extractor(load.resolve_spec("compact-cnn", weights=weights, streams=streams))


@pytest.fixture(scope="module")
def waves():
    rng = np.random.default_rng(0)
    tone = np.sin(2 * np.pi * 440 * np.arange(100_000) / 12_000) * np.linspace(0, 1, 100_000)
    return [w.astype(np.float32) for w in (rng.uniform(-1, 1, 48_000), tone)]


@torch.inference_mode()
def test_whole(real, file, waves):
    """``benchmarks.choi2017`` computes batches; here one of each clip."""
    found = real(waves)
    expected = np.stack(
        [choi2017.keras1(file, [choi2017.tile(torch.from_numpy(wave))])[0] for wave in waves]
    )
    layers = np.stack([clip["layers"].numpy() for clip in found])
    assert np.abs(layers - expected).max() <= 1e-4 * expected.std()
    assert torch.equal(found[0]["conv1"], found[0]["layers"][:32])
    assert torch.equal(found[1]["conv5"], found[1]["layers"][128:])


@pytest.mark.parametrize("samples", [1, 348_000, 348_001, 200_000])
def test_short_clips_are_repeated(real, samples):
    wave = torch.rand(samples)
    (piece,) = real.split(wave)
    assert len(piece) == 348_000
    assert torch.equal(piece, wave[torch.arange(348_000) % samples])


def test_running_statistics_are_not_used(tmp_path, file):
    """The published ones are 0 and 1; others would belong to another network."""
    (tmp_path / "w.hdf5").write_bytes(file.read_bytes())
    with h5py.File(tmp_path / "w.hdf5", "r+") as content:
        content["ConvBNEluDr/batchnormalization_2_running_std:0"][3] = 2
    with pytest.raises(WeightsError, match="batchnormalization_2_running_std must be 1"):
        compact_cnn.read_weights(tmp_path / "w.hdf5")


def test_weights_of_the_other_release_are_refused(shared):
    other = shared / "data" / "choi2017" / "convnet_msd_keras2.hdf5"
    with pytest.raises(WeightsError, match="does not fit the network"):
        load.build_extractor(
            load.resolve_spec("compact-cnn", weights={"compact-cnn.main": str(other)})
        )
