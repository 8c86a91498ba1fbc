"""Training a student: what reading sound and teachers' frames costs beside data that is ready."""

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
    with tempfile.TemporaryDirectory() as place:
        sound, size = _written(Path(place))
        head: tuple[object, ...] = (
            "student", "frames", "ready in memory, s a step", "read from the disk, s a step",
            "ratio of neighbouring blocks, median (quartiles)", "ratio of processor time",
            "waiting for a batch, s a step", "read a step",
            "the reading thread alone, s a batch",
        )  # fmt: skip
        rows = [head, *(_student(name, sound, Path(place)) for name in names)]
    table(
        f"Batches of {BATCH}: sound and 128 + 512 numbers a frame, {size / 1e9:.1f} GB, no page of "
        "it in memory",
        rows,
    )


def _student(name: str, sound: AudioStore, cache: Path) -> tuple[object, ...]:
    """Time one student, in blocks of steps with the two sides in turn."""
    student = zoo.build_student(name, CLASSES)
    samples = int(student.crop * RATE)
    grid, steps = student.frames(samples)
    card = TaskCard(
        name="benchmark", title="", dataset="benchmark", module="table", metric="pr-auc",
        protocol=Protocol(kind="folds"),
    )  # fmt: skip
    found = Teachers.open(
        card, ["vggish", "openl3"], sound.clip_ids, grid, steps, cache=cache, seconds=sound.seconds
    )
    teachers = _Cold(found, sound, cache)
    targets = np.random.default_rng(0).integers(0, 2, (CLIPS, CLASSES))
    training = TrainBatches(sound, teachers, targets, range(CLIPS), samples, BATCH, 0)
    count, rounds = STEPS[name]
    memory = list(islice(training.epoch(0), count))
    fresh = training.epoch(1)  # one walk: at the end of a block as much waits as at its begin
    step = _stepper(student, found.features)
    for batch in (memory[0], next(fresh)):
        step(batch)
    ready: list[tuple[float, float]] = []  # seconds of a step: on the wall, of processors
    fed: list[tuple[float, float]] = []
    read, waited = 0, 0.0
    for k in range(rounds):
        sides = [(ready, iter(memory)), (fed, islice(fresh, count))]
        for spent, batches in reversed(sides) if k % 2 else sides:
            before, begin, busy = _read_bytes(), perf_counter(), process_time()
            for _ in range(count):
                asked = perf_counter()
                batch = next(batches)
                waited += perf_counter() - asked if spent is fed else 0.0
                step(batch)
            took = perf_counter() - begin, process_time() - busy
            spent.append((took[0] / count, took[1] / count))
            read += _read_bytes() - before
    begin = perf_counter()
    alone = sum(1 for _ in islice(training._batches(2, 0, 1), 20))
    each = (perf_counter() - begin) / alone
    walls, processors = np.sort(np.divide(fed, ready), axis=0).T
    quarter = len(walls) // 4
    return (
        name, steps, f"{np.median(ready, axis=0)[0]:.3f}", f"{np.median(fed, axis=0)[0]:.3f}",
        f"{median(walls):.3f} ({walls[quarter]:.3f} to {walls[-1 - quarter]:.3f})",
        f"{median(processors):.3f}", f"{waited / rounds / count:.4f}",
        f"{read / rounds / count / 1e6:.1f} MB", f"{each:.4f}",
    )  # fmt: skip


def _stepper(student: Student, features: int) -> Callable[[Batch], None]:
    """Return a step of training with Con-Reg."""
    loss = regularizers.build("con-reg", features, student.dim)
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


class _Cold(Teachers):
    """Teachers that forget, before each batch, all that memory holds of sound and caches."""

    def __init__(self, teachers: Teachers, sound: AudioStore, cache: Path) -> None:
        super().__init__(teachers.members, teachers.ids)
        self._sound = sound
        paths = [sound.path, *cache.rglob("part-*.h5")]
        self._files = [os.open(path, os.O_RDONLY) for path in paths]

    def read_frames(self, *arguments, **named):  # type: ignore[no-untyped-def]
        found = super().read_frames(*arguments, **named)
        self._sound._memmap.madvise(mmap.MADV_DONTNEED)
        for file in self._files:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        return found


def _read_bytes() -> int:
    """Return how many bytes this process has caused to be read from disks."""
    said = Path("/proc/self/io").read_text().split()
    return int(said[said.index("read_bytes:") + 1])


def _written(place: Path) -> tuple[AudioStore, int]:
    """Write a sound and two teachers' caches of noise."""
    ids = [f"clip-{k}" for k in range(CLIPS)]
    length = int(SECONDS * RATE)
    rng = np.random.default_rng(0)
    noise = rng.integers(-9000, 9000, length * 2, dtype=np.int16)
    path = place / "sound.raw"
    with path.open("wb") as file:
        for first in rng.integers(0, length, CLIPS):
            file.write(noise[first : first + length].tobytes())
    begins = np.arange(CLIPS) * length
    facts = {"clip_id": ids, "begin": begins, "samples": length, "gain": 1.0, "reason": ""}
    for name, grid in (("vggish", VGGISH), ("openl3", OPENL3)):
        frames = int(SECONDS / float(Fraction(str(grid["hop"])))) + (name == "openl3")
        make(place, ids, {"kind": "frames", **grid}, frames, name)
    os.sync()  # what is not on the disk yet would stay in memory
    size = sum(own.stat().st_size for own in [path, *place.rglob("part-*.h5")])
    return AudioStore(path, pd.DataFrame(facts), RATE, "int16"), size


if __name__ == "__main__":
    main()
