r"""Mix real recordings into scenes of 10 s with several labels, whose onsets are known.

A scene has one to three sources of ESC-10, UrbanSound8K and the Philharmonia's instruments at
random times and levels. Its labels say which sounds occur, not when: what weak labels are. The
times are in ``events.csv``, for scores of frames, and no network reads them::

    python examples/mixed_scenes.py scenes --esc10 ESC-10 --urbansound8k UrbanSound8K \
        --philharmonia philharmonia

Recordings of training, validation and test scenes are disjoint: folds of ESC-10 and of
UrbanSound8K, and pitches of the instruments. ``scenes.csv`` is what ``probekit train --task``
takes.
"""

import argparse
import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from probekit.audio import recording

RATE, SECONDS = 16000, 10
SPLITS = ("train", "valid", "test")
INSTRUMENTS = ("banjo", "cello", "flute", "french horn", "guitar", "saxophone")
ESC10 = {
    "Dog bark": "dog", "Rain": "rain", "Sea waves": "sea waves", "Baby cry": "baby cry",
    "Clock tick": "clock tick", "Person sneeze": "sneeze", "Helicopter": "helicopter",
    "Chainsaw": "chainsaw", "Rooster": "rooster", "Fire crackling": "fire crackling",
}  # fmt: skip
LEVELS = (-12.0, 0.0)  # dB, root mean square of a source
LENGTHS = (1.0, 4.0)  # s, of what is taken of a source
NOISE = -45.0  # dB, of the noise below all of it
_SILENCE = 1e-3  # of the maximum: what precedes and follows a sound in its file


@dataclass(frozen=True)
class Source:
    """A recording of one sound, and which scenes it may be in."""

    label: str
    path: Path
    split: str


def list_sources(esc10: Path, urbansound8k: Path, philharmonia: Path) -> list[Source]:
    """Return the recordings of all three datasets."""
    sources = []
    for row in _rows(esc10 / "esc10.csv"):
        folder = row["file"].partition("/")[0]
        label = ESC10[folder.partition(" - ")[2]]
        split = {"4": "valid", "5": "test"}.get(row["fold"], "train")
        sources.append(Source(label, esc10 / row["file"], split))
    recordings = sorted({row["fsID"] for row in _rows(urbansound8k / "labels.csv")})
    for row in _rows(urbansound8k / "labels.csv"):
        label = row["class"].replace("_", " ").replace("dog bark", "dog")
        held_out = recordings.index(row["fsID"]) % 5 == 0
        split = {"10": "test"}.get(row["fold"], "valid" if held_out else "train")
        sources.append(Source(label, urbansound8k / row["file"], split))
    rows = [r for r in _rows(philharmonia / "labels.csv") if r["instrument"] in INSTRUMENTS]
    pitches = sorted({row["pitch"] for row in rows})
    np.random.default_rng(7).shuffle(pitches)
    for row in rows:
        split = ("test", "valid", "train", "train", "train")[pitches.index(row["pitch"]) % 5]
        sources.append(Source(row["instrument"], philharmonia / row["file"], split))
    _refuse_shared(sources)
    return sources


def mix(sources: dict[str, list[Source]], seed: int) -> tuple[np.ndarray, list[tuple]]:
    """Return the samples of a scene, and label, onset and offset of each of its sounds."""
    rng = np.random.default_rng([seed, 41])
    wave = 10 ** (NOISE / 20) * rng.standard_normal(RATE * SECONDS)
    labels = rng.choice(sorted(sources), size=int(rng.integers(1, 4)), replace=False)
    events = []
    for label in map(str, labels):
        candidates = sources[label]
        sound = _sound(candidates[int(rng.integers(len(candidates)))].path)
        length = min(len(sound), int(rng.uniform(*LENGTHS) * RATE))
        begin = int(rng.integers(len(sound) - length + 1))
        sound = sound[begin : begin + length] * 10 ** (rng.uniform(*LEVELS) / 20)
        onset = int(rng.integers(RATE * SECONDS - length + 1))
        wave[onset : onset + length] += (
            0.1
            * sound
            / max(np.sqrt(np.mean(sound**2)), 1e-9)
            * (10 ** (rng.uniform(*LEVELS) / 20))
        )
        events.append((label, onset / RATE, (onset + length) / RATE))
    return (wave / max(1.0, np.abs(wave).max() / 0.99)).astype(np.float32), events


def write_scenes(folder: Path, sources: list[Source], counts: dict[str, int], seed: int) -> None:
    """Write recordings, ``scenes.csv`` and ``events.csv``."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rows, all_events = [], []
    for number, split in enumerate(SPLITS):
        members = defaultdict(list)
        for source in sources:
            if source.split == split:
                members[source.label].append(source)
        for k in range(counts[split]):
            name = f"{split}{k:05d}"
            wave, events = mix(members, seed * 10_000_000 + number * 1_000_000 + k)
            soundfile.write(folder / f"audio/{name}.flac", wave, RATE, subtype="PCM_16")
            rows.append((name, f"audio/{name}.flac", ";".join(e[0] for e in events), split))
            all_events += [(name, label, f"{a:.4f}", f"{b:.4f}") for label, a, b in events]
    _write(folder / "events.csv", ("clip_id", "label", "onset", "offset"), all_events)
    _write(folder / "scenes.csv", ("clip_id", "path", "labels", "split"), rows)


_CACHE: dict[Path, np.ndarray] = {}


def _sound(path: Path) -> np.ndarray:
    """Return a recording without the silence around its sound."""
    if path not in _CACHE:
        wave = recording.load(path, RATE).wave
        loud = np.flatnonzero(np.abs(wave) > _SILENCE * np.abs(wave).max())
        _CACHE[path] = wave[loud[0] : loud[-1] + 1] if len(loud) else wave
    return _CACHE[path]


def _refuse_shared(sources: list[Source]) -> None:
    splits = defaultdict(set)
    for source in sources:
        splits[source.path].add(source.split)
    assert all(len(found) == 1 for found in splits.values())


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, header: tuple[str, ...], rows: list[tuple]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def main() -> None:
    """Read the command line and write the scenes."""
    parser = argparse.ArgumentParser(description="Mix recordings into scenes of 10 s.")
    parser.add_argument("folder", type=Path)
    for name in ("esc10", "urbansound8k", "philharmonia"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    for name, number in zip(SPLITS, (1200, 150, 300), strict=True):
        parser.add_argument(f"--{name}", type=int, default=number, help=f"{name} scenes ({number})")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    sources = list_sources(chosen.esc10, chosen.urbansound8k, chosen.philharmonia)
    counts = {name: getattr(chosen, name) for name in SPLITS}
    write_scenes(chosen.folder, sources, counts, chosen.seed)
    print(f"{sum(counts.values()):,} scenes of {len({s.label for s in sources})} classes")  # noqa: T201


if __name__ == "__main__":
    main()
