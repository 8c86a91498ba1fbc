"""Log-mel parts: making them, reading them, and what reading adds to a step of the network."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import soundfile
import torch

from benchmarks.timing import table
from probekit.data.manifest import from_rows
from probekit.extractors.students import zoo
from probekit.training import level_store
from probekit.training.class_rounds import ClassRounds
from probekit.training.dataloader import TrainBatches
from probekit.training.level_store import LevelStore
from probekit.training.weak_labels import WeakLabels

CLASSES, BATCH, SECONDS, RATE = 527, 250, 10, 16000
MADE, STORED = 40, 2000
AUDIOSET = 2_041_789


def main() -> None:
    torch.set_num_threads(1)
    rows = [("what", "figure")]
    with tempfile.TemporaryDirectory() as place:
        rows += _making(Path(place))
        rows += _reading(Path(place))
    table("Log-mel parts of TALNet, batches of 250 clips of 10 s", rows)


def _making(folder: Path) -> list[tuple[str, str]]:
    """Time the decoding of flac and the spectra of both networks."""
    rng, rows = np.random.default_rng(0), []
    for k in range(MADE):
        wave = 0.1 * rng.standard_normal(32000 * SECONDS)
        soundfile.write(folder / f"{k}.flac", wave, 32000, subtype="PCM_16")
        labels = (f"class {k % CLASSES}",)
        rows.append({"clip_id": f"clip{k}", "path": f"{k}.flac", "labels": labels, "split": ""})
    names = tuple(f"class {k}" for k in range(CLASSES))
    clips = from_rows("made", rows, root=folder, target="multi", class_names=names)
    result = []
    for name in ("talnet", "weanet"):
        student = zoo.build_student(f"{name}:width=2", CLASSES)
        begin, cpu = perf_counter(), process_time()
        store = LevelStore.open(clips, student, folder / name, jobs=1)
        seconds, cpu = perf_counter() - begin, process_time() - cpu
        hours = MADE * SECONDS / 3600
        size = store.nbytes / MADE
        result += [
            (f"{name}: hours of audio a second of one core (of its processor time)",
             f"{hours / seconds:.4f} ({hours / cpu:.4f})"),
            (f"{name}: core hours for {AUDIOSET:,} clips, by processor time",
             f"{AUDIOSET * cpu / MADE / 3600:.1f}"),
            (f"{name}: GB for {AUDIOSET:,} clips", f"{AUDIOSET * size / 1e9:.0f}"),
        ]  # fmt: skip
    return result


def _reading(folder: Path) -> list[tuple[str, str]]:
    """Time the reading of batches in rounds over classes, alone and beside a network."""
    student = zoo.build_student("talnet:width=2", CLASSES)
    rng = np.random.default_rng(0)
    targets = np.zeros((STORED, CLASSES), np.int64)
    # as AudioSet's, a few classes are in most clips
    weights = 1 / np.arange(1, CLASSES + 1)
    for k in range(STORED):
        targets[k, rng.choice(CLASSES, 2, replace=False, p=weights / weights.sum())] = 1
    store = _synthetic_store(folder / "parts", targets)
    rounds = ClassRounds(targets, 0, store.places)
    batches = TrainBatches(
        store, None, targets, np.arange(STORED), RATE * SECONDS, BATCH, 0,  # type: ignore[arg-type]
        rounds=rounds, steps_per_epoch=4,
    )  # fmt: skip
    alone, cpu = [], process_time()
    for _ in batches._rounds_batches(rounds, [0], 0, 1):
        _drop_pages(store)
        alone.append(perf_counter())
    cpu = process_time() - cpu
    read = float(np.median(np.diff(alone)))
    objective = WeakLabels(student)
    optimizer = torch.optim.Adam(objective.parameters())

    def step(batch):
        loss = objective.step_on(batch.waves, batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    [memory] = [batch for k, batch in enumerate(batches.epoch(0)) if k == 0]
    step(memory)
    ratios, times, cpu_ratios = [], [], []
    for batch in batches.epoch(1):
        _drop_pages(store)
        start, cpu_start = perf_counter(), process_time()
        step(memory)
        middle, cpu_middle = perf_counter(), process_time()
        step(batch)
        end, cpu_end = perf_counter(), process_time()
        times.append(middle - start)
        ratios.append((end - middle) / (middle - start))
        cpu_ratios.append((cpu_end - cpu_middle) / (cpu_middle - cpu_start))
    network = float(np.median(times))
    return [
        ("reading a batch from the disk, s (processor time)", f"{read:.3f} ({cpu / 4:.3f})"),
        ("step of talnet:width=2 in memory, s", f"{network:.2f}"),
        ("clips a second: reading over the network", f"{network / read:.1f}"),
        ("step with reading over step in memory, median (quartiles)", _quartiles(ratios)),
        ("the same of processor time", _quartiles(cpu_ratios)),
    ]


def _synthetic_store(folder: Path, targets: np.ndarray) -> LevelStore:
    """Write parts of random spectra, in the order in which a store has its clips."""
    folder.mkdir()
    student = zoo.build_student("talnet:width=2", CLASSES)
    grid = student.level_grid
    assert grid is not None
    counts = targets.sum(0)
    rarest = np.where(targets > 0, counts, len(targets) + 1).argmin(1)
    order = np.lexsort((np.arange(len(targets)), rarest))
    rng, parts = np.random.default_rng(1), []
    for number, start in enumerate(range(0, len(order), level_store.CLIPS_PER_PART)):
        rows = order[start : start + level_store.CLIPS_PER_PART]
        frames = grid.frames(RATE * SECONDS)
        values = rng.normal(-40, 20, (len(rows) * frames, grid.bands)).astype(np.float16)
        (folder / level_store._name(number)).write_bytes(values.tobytes())
        ids = [f"clip{row}" for row in rows]
        sizes = [RATE * SECONDS] * len(rows), [frames] * len(rows)
        parts.append(level_store._Part(ids, *sizes, [], {}, ""))
    ids = [f"clip{row}" for row in range(len(targets))]
    return LevelStore(folder, parts, grid, RATE, ids)


def _drop_pages(store: LevelStore) -> None:
    """Have the next read come from the disk."""
    store._maps.clear()
    for path in store.folder.glob("*.f16"):
        with path.open("rb") as file, suppress(OSError, AttributeError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _quartiles(values: list[float]) -> str:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
