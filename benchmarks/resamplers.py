"""How far an embedding moves when its recordings are resampled by another filter, or in other sums.

``python -m benchmarks.resamplers FOLDER … [--extractor NAME] [--weights NAME=FILE] [--clips 8]``
reads the first two seconds of recordings, mixes them down, and embeds them once for each resampler:
both Kaiser filters of probekit, soxr, and resampy, the installed release, in float32 and in float64
(rounded to float32 at the end). The last one is ``kaiser_best`` with the last bit of every sample
changed at random, up or down: what the rounding of the waveform alone does. Differences are of
single numbers, divided by the standard deviation of all numbers with ``kaiser_best``.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import resampy
import torch

import probekit
from benchmarks.timing import table
from probekit.audio.recording import decode, open_audio
from probekit.audio.resample import resample_blocks
from probekit.extractors.base import Extractor

Array = np.ndarray
Resample = Callable[[Array, int], Array]
SECONDS = 2
SUFFIXES = {".wav", ".flac", ".ogg", ".mp3"}
FLOAT32, FLOAT64, LAST_BIT = "resampy, float32", "resampy, float64", "its last bit"
PAIRS = [
    ("kaiser_best", "kaiser_best_0.4"),
    ("kaiser_best", "soxr_hq"),
    ("kaiser_best_0.4", FLOAT32),
    (FLOAT32, FLOAT64),
    ("kaiser_best", LAST_BIT),
]


def resamplers(target: int) -> dict[str, Resample]:
    """Return resamplers by name: each takes a waveform and its sample rate."""

    def by_name(name: str) -> Resample:
        return lambda wave, sr: torch.cat([*resample_blocks([wave], sr, target, name)]).numpy()

    def in_float64(wave: Array, sr: int) -> Array:
        wide = resampy.resample(wave.astype(np.float64), sr, target, filter="kaiser_best")
        return np.asarray(wide, np.float32)

    def last_bit(wave: Array, sr: int) -> Array:
        resampled = by_name("kaiser_best")(wave, sr)
        ends = np.random.default_rng(0).choice(np.array([-np.inf, np.inf], "f4"), resampled.shape)
        return np.nextafter(resampled, ends)

    return {
        **{name: by_name(name) for name in ("kaiser_best", "kaiser_best_0.4", "soxr_hq")},
        FLOAT32: lambda wave, sr: resampy.resample(wave, sr, target, filter="kaiser_best"),
        FLOAT64: in_float64,
        LAST_BIT: last_bit,
    }


def recordings(folder: Path, clips: int) -> list[Path]:
    """Return recordings at equal steps through a folder's sorted list."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES)
    return [paths[int(i)] for i in np.linspace(0, len(paths) - 1, min(clips, len(paths)))]


def embed(extractor: Extractor, wave: Array) -> Array:
    """Return the frames of the extractor's only stream."""
    [[frames]] = [clip.values() for clip in extractor([torch.from_numpy(wave)])]
    return frames.numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--extractor", default="openl3:size=512,hop=1,center=false")
    parser.add_argument("--weights", default="openl3=random:0")
    parser.add_argument("--clips", type=int, default=8)
    chosen = parser.parse_args()
    extractor = probekit.load_extractor(chosen.extractor, weights=[chosen.weights])
    functions = resamplers(extractor.card.sample_rate)
    head = ("recordings", "Hz", *(f"{a} – {b}" for a, b in PAIRS))
    rows: list[tuple[object, ...]] = [head]
    for folder in chosen.folders:
        vectors: dict[str, list[Array]] = {name: [] for name in functions}
        for path in recordings(folder, chosen.clips):
            with open_audio(path) as recording:
                clip = decode(recording, None, crop=SECONDS)
            wave = clip.wave[: SECONDS * clip.sr]
            for name, function in functions.items():
                vectors[name].append(embed(extractor, function(wave, clip.sr)))
        arrays = {name: np.concatenate(frames) for name, frames in vectors.items()}
        cells = []
        for a, b in PAIRS:
            error = np.abs(arrays[a] - arrays[b]) / arrays["kaiser_best"].std()
            cells.append(f"{error.max():.1e}, {np.sqrt(np.mean(error**2)):.1e}")
        rows.append((folder.name, clip.sr, *cells))
    table(f"{chosen.extractor}, {chosen.clips} recordings each: largest difference, rms", rows)


if __name__ == "__main__":
    main()
