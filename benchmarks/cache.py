"""Reading from the cache: all clips in a task's order, and random crops of frames."""

import hashlib
import tempfile
from pathlib import Path
from time import perf_counter

import h5py
import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from benchmarks.timing import interleaved, table
from probekit.cache import layout, part
from probekit.cache.crops import Crops
from probekit.cache.embeddings import Embeddings

CLIPS, DIM = 500_000, 1024
LONG, FRAMES, CROP, BATCH = 8_000, 100, 5.0, 64  # clips of 10 s with 100 frames of 512 numbers


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        _vectors(Path(place))
    with tempfile.TemporaryDirectory() as place:
        _crops(Path(place))


def _vectors(place: Path) -> None:
    ids = [hashlib.md5(b"%d" % k, usedforsecurity=False).hexdigest()[:11] for k in range(CLIPS)]
    where = make(place / "cache", ids, {"kind": "clip", "dim": DIM})
    embeddings = Embeddings(where)
    with (place / "plain").open("wb") as stream:
        for name in embeddings.index.parts:
            with h5py.File(where / name) as file:
                stream.write(file["streams/e/clip"][:].tobytes())
    order = np.random.default_rng(0).permutation(CLIPS)
    wanted = [ids[k] for k in order]
    column = pd.Series(wanted)
    found = embeddings.find(wanted)
    codes, names = embeddings.index.part_codes
    homes, rows = codes[found], embeddings.index.rows[found]
    places = {name: np.flatnonzero(homes == code) for code, name in enumerate(names)}

    def by_h5py() -> None:
        # what is left to do where it is known beforehand in which row each clip is
        into = np.empty((CLIPS, DIM), np.float16)
        for name, own in places.items():
            with h5py.File(where / name) as file:
                into[own] = file["streams/e/clip"][:][rows[own]]

    def opened() -> None:
        Embeddings(where).vectors(wanted, "e", dtype="stored")

    sides = {
        "numpy.fromfile": lambda: np.fromfile(place / "plain", np.float16),
        "`vectors(ids, dtype='stored')`": lambda: embeddings.vectors(wanted, "e", dtype="stored"),
        "the same, ids as a manifest's column": lambda: embeddings.vectors(
            column, "e", dtype="stored"
        ),
        "the same as a list, opening the cache too": opened,
        "`vectors(ids)`: float32": lambda: embeddings.vectors(wanted, "e"),
        "h5py, part by part, rows known beforehand": by_h5py,
    }
    seconds = interleaved(sides)
    rows_of_table: list[tuple[object, ...]] = [("", "seconds", "against numpy.fromfile")]
    rows_of_table += [
        (name, f"{s:.2f}", f"{s / seconds['numpy.fromfile']:.1f} ×") for name, s in seconds.items()
    ]
    table(
        f"{CLIPS:,} clips × {DIM:,} float16 in random order, of {len(names)} parts, warm",
        rows_of_table,
    )


def _crops(place: Path) -> None:
    ids = [f"clip-{k}" for k in range(LONG)]
    grid = {"kind": "frames", "dim": 512, "hop": "1/10", "first_center": "0", "window": "1"}
    embeddings = Embeddings(make(place, ids, grid, FRAMES))
    kinds = {"float16, as stored": "stored", "float32": "float32"}
    head: list[tuple[object, ...]] = [("", "one process", "two processes")]
    for name, dtype in kinds.items():
        reader = embeddings.crops(ids, CROP, "e", dtype)
        speeds = []
        for processes in (1, 2):
            with Parallel(processes) as pool:
                begun = [delayed(draw)(reader, seed) for seed in range(processes)]
                pool(begun)  # starts the processes, and warms the files
                times = [max(pool(begun)) for _ in range(5)]
            speeds.append(f"{processes * LONG / float(np.median(times)):,.0f} clips a second")
        head.append((name, *speeds))
    table(f"Random crops of {CROP:g} s (50 frames × 512, float16 stored), batches of {BATCH}", head)


def draw(reader: Crops, seed: int) -> float:
    """Return the seconds that one pass over all clips takes."""
    rng = np.random.default_rng(seed)
    begin = perf_counter()
    for places in np.array_split(rng.permutation(len(reader)), len(reader) // BATCH):
        reader.random(places, rng)
    return perf_counter() - begin


def make(
    cache: Path, ids: list[str], grid: dict[str, object], frames: int = 0, name: str = "random"
) -> Path:
    """Write a cache of random numbers, as extraction does."""
    dim = int(str(grid["dim"]))
    fingerprint = hashlib.sha256(b"benchmark").hexdigest()
    facts = {"extractor": name, "fingerprint": fingerprint, "identity": {"extractor": name}}
    buckets = layout.choose_buckets(len(ids), 2 * dim * max(1, frames))
    where = layout.dataset_folder(cache, name, fingerprint, "benchmark")
    layout.create_or_load_layout(
        where,
        layout.Layout(
            **facts, dataset="benchmark", buckets=buckets, dtype="float16", provenance=[]
        ),  # type: ignore[arg-type]
    )
    groups: dict[int, list[str]] = {}
    for clip_id in ids:
        groups.setdefault(layout.assign_bucket(clip_id, buckets), []).append(clip_id)
    rng = np.random.default_rng(0)
    meta = {**facts, "card": {"default_stream": "e"}, "weights": {}, "precision": "float32"}
    source = {"start": np.nan, "end": np.nan, "duration": 10.0, "size": 1, "mtime": 1}
    for number, own in groups.items():
        content = part.Part({**meta, "dtype": "float16", "provenance": {}}, {"e": grid})
        values = rng.standard_normal((len(own), max(1, frames), dim), np.float32).astype(np.float16)
        for clip_id, value in zip(own, values, strict=True):
            kept = {"frames": value} if frames else {"clip": value[0]}
            sha256 = hashlib.sha256(clip_id.encode()).hexdigest().encode()
            content.rows[clip_id] = part.Row({**source, "sha256": sha256}, {"e": kept})
        part.write_part(where / layout.part_name(number), content)
    return where
