"""Which network made the stored embeddings of Choi et al. (2017), on real clips of UrbanSound8K.

``python -m benchmarks.choi2017 DATA [CLIPS]``, where ``DATA`` holds ``choi2017/`` (rows and
``convnet_msd_keras2.hdf5`` of keunwoochoi/transfer_learning_music), ``music_tagger_keras/`` (the
network of Keras 1) and ``urbansound8k/`` (recordings as ``NAME.flac``). Each network embeds the
clips, and is compared with the rows of the same clips: cosine of each clip, correlation of each
number over the clips, and distance in standard deviations of that number over all 8,732 rows.
"""

import argparse
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import soundfile
import soxr
import torch
from torch import Tensor, nn

import probekit
from benchmarks.timing import table
from probekit.extractors.networks.convnet import POOLS

SR, SAMPLES, N_FFT, HOP_LENGTH = 12000, 348000, 512, 256
Array = np.ndarray


def load_clips(folder: Path, names: list[str]) -> list[Tensor]:
    """Return waveforms at 12 kHz."""
    waves = []
    for name in names:
        wave, sr = soundfile.read(folder / f"{name}.flac", dtype="float32")
        waves.append(torch.from_numpy(soxr.resample(wave, sr, SR)))
    return waves


def tile(wave: Tensor) -> Tensor:
    """Repeat a clip until it fills 29 s."""
    return wave.repeat(-(-SAMPLES // len(wave)))[:SAMPLES]


def convnet_after_pooling(extractor: nn.Module, waves: list[Tensor]) -> Array:
    """Return the means of the convnet's blocks after their pooling instead of before it."""
    rows = []
    for wave in waves:
        maps, _ = extractor.network(extractor.frontend(extractor.split(wave)))
        pooled = [nn.functional.max_pool2d(x, p) for x, p in zip(maps, POOLS, strict=True)]
        rows.append(torch.cat([x.mean((2, 3)) for x in pooled], 1)[0])
    return torch.stack(rows).numpy()


def keras1(path: Path, waves: list[Tensor]) -> Array:
    """Run the network of Keras 1 on one batch, with that batch's statistics and maximum."""
    with h5py.File(path) as file:
        stored: dict[str, Array] = {}
        file.visititems(lambda name, x: stored.update({name: x[()]} if hasattr(x, "shape") else {}))
    get = {name.rpartition("/")[2][:-2]: torch.from_numpy(x) for name, x in stored.items()}
    frames = -(-SAMPLES // HOP_LENGTH)
    missing = (frames - 1) * HOP_LENGTH + N_FFT - SAMPLES
    spectra = []
    for wave in waves:
        padded = nn.functional.pad(wave, (missing // 2, missing - missing // 2))
        pieces = padded.unfold(0, N_FFT, HOP_LENGTH)
        real, imag = (pieces @ get[name][:, 0, 0] for name in ("Variable", "Variable_1"))
        spectra.append(((real.square() + imag.square()) @ get["Variable_2"]).T)
    levels = 10 * torch.stack(spectra).clamp_min(1e-10).log10()
    x = (levels - levels.max()).clamp_min(-80)[:, None]
    rows = []
    for k, pool in enumerate(POOLS, start=1):
        weight, bias = get[f"convolution2d_{k}_W"], get[f"convolution2d_{k}_b"]
        gamma, beta = (get[f"batchnormalization_{k}_{name}"] for name in ("gamma", "beta"))
        x = torch.cat([nn.functional.conv2d(part, weight, bias, padding=1) for part in x.split(8)])
        mean = x.mean((0, 2, 3))
        spread = torch.stack([x[:, j].var(correction=0) for j in range(x.shape[1])])
        scale = gamma / (spread + 1e-6).sqrt()
        x.mul_(scale[:, None, None]).add_((beta - mean * scale)[:, None, None])
        x = nn.functional.max_pool2d(nn.functional.elu_(x), pool)
        rows.append(x.mean((2, 3)))
    return torch.cat(rows, 1).numpy()


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("clips", type=int, nargs="?", default=60)
    chosen = parser.parse_args()
    names = sorted(path.stem for path in (chosen.data / "urbansound8k").glob("*.flac"))
    names = [names[int(i)] for i in np.linspace(0, len(names) - 1, min(chosen.clips, len(names)))]
    folder = chosen.data / "choi2017"
    ids = pd.read_csv(folder / "urbansound.csv")["id"].tolist()
    stored = np.concatenate([np.load(folder / f"urbansound_layer_{k}.npy") for k in range(5)], 1)
    rows = stored[[ids.index(name) for name in names]]
    waves = load_clips(chosen.data / "urbansound8k", names)
    tiled = [tile(wave) for wave in waves]
    weights = f"convnet={folder / 'convnet_msd_keras2.hdf5'}"
    extractor = probekit.load_extractor("convnet", weights=[weights])

    def layers(clips: list[Tensor]) -> Array:
        return np.stack([extractor([clip])[0]["layers"].numpy() for clip in clips])

    vectors = {
        "`convnet` as it is: zeros up to 29 s": layers(waves),
        "`convnet`, clips tiled to 29 s": layers(tiled),
        "`convnet`, tiled, means after pooling": convnet_after_pooling(extractor, tiled),
        f"Keras 1, tiled, statistics of these {len(names)}": keras1(
            chosen.data / "music_tagger_keras" / "compact_cnn_weights_layer4_tensorflow.hdf5", tiled
        ),
    }
    lines: list[tuple[object, ...]] = [
        ("network", "cosine, mean (range)", "correlation, median", "distance, median")
    ]
    for name, x in vectors.items():
        cosine = (x * rows).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(rows, axis=1)
        pairs = zip(x.T, rows.T, strict=True)
        correlation = np.median([np.corrcoef(a, b)[0, 1] for a, b in pairs])
        distance = np.median(np.abs(x - rows) / stored.std(0))
        lines.append(
            (name, f"{cosine.mean():.2f} ({cosine.min():.2f} to {cosine.max():.2f})",
             f"{correlation:.2f}", f"{distance:.2f}")
        )  # fmt: skip
    table(f"Stored rows of choi2017, {len(names)} clips of UrbanSound8K", lines)


if __name__ == "__main__":
    main()
