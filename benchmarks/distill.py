"""Training a student: cost of reading audio and teachers' frames, beside batches in memory."""

import mmap
import os
import tempfile
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np
import pandas as pd
import torch

from benchmarks.cache import make
from benchmarks.timing import table
from probekit.cards import Protocol, TaskCard
from probekit.distillation import regularizers
from probekit.distillation.teachers import Teachers
from probekit.extractors.students import zoo
from probekit.extractors.students.base import Student
from probekit.training.audio_store import AudioStore
from probekit.training.dataloader import Batch, TrainBatches

CLIPS, SECONDS, RATE, CLASSES, BATCH = 2_000, 29.1, 16_000, 50, 16
VGGISH = {"hop": "24/25", "first_center": "39/80", "window": "39/40", "dim": 128}
OPENL3 = {"hop": "1/10", "first_center": "0", "window": "1", "dim": 512}
STEPS = {"harmonic-cnn": (2, 5), "short-chunk": (5, 15)}  # of a block, and how many blocks


def main(names: Iterable[str] = tuple(STEPS)) -> None:
    with tempfile.TemporaryDirectory() as folder:
        audio, size = _write_data(Path(folder))
        head: tuple[object, ...] = (
            "student", "frames", "ready in memory, s a step", "read from the disk, s a step",
            "ratio of neighboring blocks, median (quartiles)", "ratio of processor time",
            "waiting for a batch, s a step", "read a step",
            "the reading thread alone, s a batch",
        )  # fmt: skip
        rows = [head, *(_time_student(name, audio, Path(folder)) for name in names)]
    table(
        f"Batches of {BATCH}: audio and 128 + 512 values per frame, {size / 1e9:.1f} GB, none "
        "of it in memory",
        rows,
    )


def _time_student(name: str, audio: AudioStore, cache: Path) -> tuple[object, ...]:
    """Time one student, in blocks of steps with the two sources in turn."""
    student = zoo.build_student(name, CLASSES)
    samples = int(student.crop * RATE)
    grid, steps = student.frames(samples)
    card = TaskCard(
        name="benchmark", title="", dataset="benchmark", module="table", metric="pr-auc",
        protocol=Protocol(kind="folds"),
    )  # fmt: skip
    opened = Teachers.open(
        card,
        ["vggish", "openl3"],
        audio.clip_ids,
        grid,
        steps,
        cache=cache,
        durations=audio.durations,
    )
    teachers = _ColdTeachers(opened, audio, cache)
    targets = np.random.default_rng(0).integers(0, 2, (CLIPS, CLASSES))
    training = TrainBatches(audio, teachers, targets, range(CLIPS), samples, BATCH, 0)
    count, rounds = STEPS[name]
    memory = list(islice(training.epoch(0), count))
    stored = training.epoch(1)  # one iterator: as much waits at the end of a block as at its start
    step = _stepper(student, opened.dim)
    for batch in (memory[0], next(stored)):
        step(batch)
    in_memory: list[tuple[float, float]] = []  # seconds per step: wall clock, processors
    on_disk: list[tuple[float, float]] = []
    read, waited = 0, 0.0
    for k in range(rounds):
        sides = [(in_memory, iter(memory)), (on_disk, islice(stored, count))]
        for times, batches in reversed(sides) if k % 2 else sides:
            bytes_before, start, busy = _read_bytes(), perf_counter(), process_time()
            for _ in range(count):
                requested = perf_counter()
                batch = next(batches)
                waited += perf_counter() - requested if times is on_disk else 0.0
                step(batch)
            wall, processor = perf_counter() - start, process_time() - busy
            times.append((wall / count, processor / count))
            read += _read_bytes() - bytes_before
    start = perf_counter()
    read_alone = sum(1 for _ in islice(training._batches(2, 0, 1), 20))
    each = (perf_counter() - start) / read_alone
    walls, processors = np.sort(np.divide(on_disk, in_memory), axis=0).T
    quarter = len(walls) // 4
    return (
        name, steps,
        f"{np.median(in_memory, axis=0)[0]:.3f}", f"{np.median(on_disk, axis=0)[0]:.3f}",
        f"{median(walls):.3f} ({walls[quarter]:.3f} to {walls[-1 - quarter]:.3f})",
        f"{median(processors):.3f}", f"{waited / rounds / count:.4f}",
        f"{read / rounds / count / 1e6:.1f} MB", f"{each:.4f}",
    )  # fmt: skip


def _stepper(student: Student, features: int) -> Callable[[Batch], None]:
    """Return a step of training with Con-Reg."""
    loss = regularizers.build_regularizer("con-reg", features, student.dim)
    both = [*student.parameters(), *loss.parameters()]
    optimizer = torch.optim.Adam(both, 1e-4)

    def step(batch: Batch) -> None:
        assert batch.frames is not None and batch.valid is not None and batch.targets is not None
        optimizer.zero_grad()
        embedding = student.encode(batch.waves)
        logits = student.decode(embedding)
        fitting = torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.targets)
        (fitting + 5 * loss(embedding, batch.frames, batch.valid)).backward()
        optimizer.step()

    return step


class _ColdTeachers(Teachers):
    """Teachers that drop audio and caches from the page cache after each batch."""

    def __init__(self, teachers: Teachers, audio: AudioStore, cache: Path) -> None:
        super().__init__(teachers.members, teachers.clip_ids)
        self._audio = audio
        paths = [audio.path, *cache.rglob("part-*.h5")]
        self._files = [os.open(path, os.O_RDONLY) for path in paths]

    def read_frames(self, *arguments, **named):  # type: ignore[no-untyped-def]
        frames = super().read_frames(*arguments, **named)
        self._audio._memmap.madvise(mmap.MADV_DONTNEED)
        for file in self._files:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        return frames


def _read_bytes() -> int:
    """Return how many bytes this process has caused to be read from disks."""
    words = Path("/proc/self/io").read_text(encoding="utf-8").split()
    return int(words[words.index("read_bytes:") + 1])


def _write_data(folder: Path) -> tuple[AudioStore, int]:
    """Write an audio store and two teachers' caches of noise."""
    ids = [f"clip-{k}" for k in range(CLIPS)]
    length = int(SECONDS * RATE)
    rng = np.random.default_rng(0)
    noise = rng.integers(-9000, 9000, length * 2, dtype=np.int16)
    path = folder / "sound.raw"
    with path.open("wb") as file:
        for first in rng.integers(0, length, CLIPS):
            file.write(noise[first : first + length].tobytes())
    index = {
        "clip_id": ids, "begin": np.arange(CLIPS) * length, "samples": length, "gain": 1.0,
        "sha256": "", "reason": "",
    }  # fmt: skip
    for name, grid in (("vggish", VGGISH), ("openl3", OPENL3)):
        frames = int(SECONDS / float(Fraction(str(grid["hop"])))) + (name == "openl3")
        make(folder, ids, {"kind": "frames", **grid}, frames, name)
    os.sync()  # what is not on the disk yet would stay in memory
    size = sum(file.stat().st_size for file in [path, *folder.rglob("part-*.h5")])
    return AudioStore(path, pd.DataFrame(index), RATE, "int16"), size


if __name__ == "__main__":
    main()
