"""Contrastive training: two streams from the disk, mixed, beside the same clips ready in memory.

The three sides take the same steps: audio read and mixed; audio in memory, mixed; audio and mixed
clips in memory. And how long ``probekit train`` takes from its start to the end of its first step,
where all audio is decoded already.
"""

import mmap
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.timing import table
from probekit.extractors.students import zoo
from probekit.tasks.standin.corpus import write_corpus
from probekit.training.audio_store import AudioStore
from probekit.training.dataloader import Batch, TrainBatches
from probekit.training.objectives import LABELED, UNLABELED, Contrastive

CLIPS, SECONDS, CLASSES = 1_600, 5.0, 10
LABELED_BATCH, UNLABELED_BATCH = 8, 32  # lee2021
STEPS = {"resnet50v2:width=8": (1, 5), "short-chunk:width=16": (1, 5)}  # of a block; blocks

Mixing = Callable[[Tensor, Tensor], Tensor]

_FIRST_STEP = """
import os, sys
from probekit.training import trainer
count = trainer._Loop._check_finite
def stop(self, *arguments):
    count(self, *arguments)
    os._exit(0)
trainer._Loop._check_finite = stop
from probekit.cli import main
sys.argv[0] = "probekit"
main()
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows: list[tuple[object, ...]] = [
            ("network", "in memory, mixed before, s a step", "in memory", "read from the disk",
             "ratio to mixed before, median (quartiles)", "of processor time",
             "ratio to in memory", "of processor time")
        ]  # fmt: skip
        rows += [_time_network(name, Path(folder)) for name in STEPS]
        table(f"Two streams, batches of {LABELED_BATCH} and {UNLABELED_BATCH} crops of 5 s", rows)
        rows = [("probekit train, audio decoded", "seconds", "seconds of processor time")]
        rows += [_time_start(Path(folder))]
        table("From the start to the end of the first step", rows)


class _Ready:
    """In place of mixing: the first of two tensors, as if it had been mixed before."""

    def __call__(self, waves: Tensor, others: Tensor) -> Tensor:
        return waves


def _time_network(name: str, folder: Path) -> tuple[object, ...]:
    """Time blocks of steps of the three sides in turn."""
    torch.manual_seed(0)
    student = zoo.build_student(name, CLASSES)
    audio = _write_audio(folder, student.rate)
    samples = int(SECONDS * student.rate)
    targets = np.random.default_rng(0).integers(0, CLASSES, CLIPS)
    streams = {
        LABELED: TrainBatches(audio, None, targets, range(400), samples, LABELED_BATCH, 0),
        UNLABELED: TrainBatches(
            audio, None, targets, range(400, CLIPS), samples, UNLABELED_BATCH, 1
        ),
    }
    objective = Contrastive(student, "single").train()
    mixing, optimizer = objective.augment, torch.optim.Adam(objective.parameters(), 1e-5)

    def step(batches: dict[str, Batch]) -> None:
        optimizer.zero_grad()
        torch.stack(list(objective(batches).values())).sum().backward()
        optimizer.step()

    def read(number: int) -> Iterator[dict[str, Batch]]:
        epochs = {key: _forever(stream, number) for key, stream in streams.items()}
        while True:
            audio._memmap.madvise(mmap.MADV_DONTNEED)
            with audio.path.open("rb") as file, suppress(OSError):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            yield {key: next(epoch) for key, epoch in epochs.items()}

    count, rounds = STEPS[name]
    memory, stored = list(islice(read(0), count)), read(1)
    sides: dict[str, tuple[Mixing, Callable[[], Iterator[dict[str, Batch]]]]] = {
        "before": (_Ready(), lambda: iter(memory)),
        "memory": (mixing, lambda: iter(memory)),
        "disk": (mixing, lambda: islice(stored, count)),
    }
    step(next(stored))
    times: dict[str, list[tuple[float, float]]] = {key: [] for key in sides}
    for k in range(rounds):
        for key in list(sides) if k % 2 else reversed(list(sides)):
            objective.augment, batches = sides[key][0], sides[key][1]()  # type: ignore[assignment]
            start, busy = perf_counter(), process_time()
            for batch in batches:
                step(batch)
            times[key].append(((perf_counter() - start) / count, (process_time() - busy) / count))

    def ratios(key: str) -> list[str]:
        walls, busy = np.sort(np.divide(times["disk"], times[key]), axis=0).T
        quarter = len(walls) // 4
        return [
            f"{median(walls):.3f} ({walls[quarter]:.3f} to {walls[-1 - quarter]:.3f})",
            f"{median(busy):.3f}",
        ]

    seconds = [f"{np.median(times[key], axis=0)[0]:.3f}" for key in sides]
    return (name, *seconds, *ratios("before"), *ratios("memory"))


def _forever(stream: TrainBatches, number: int) -> Iterator[Batch]:
    """Read the batches of one epoch after the other."""
    while True:
        yield from stream.epoch(number)
        number += 2


def _write_audio(folder: Path, rate: int) -> AudioStore:
    """Write an audio store of noise."""
    length = int(SECONDS * rate)
    rng = np.random.default_rng(0)
    noise = rng.integers(-9000, 9000, length * 2, dtype=np.int16)
    path = folder / f"sound-{rate}.raw"
    with path.open("wb") as file:
        for first in rng.integers(0, length, CLIPS):
            file.write(noise[first : first + length].tobytes())
    index = {
        "clip_id": [f"clip-{k}" for k in range(CLIPS)], "begin": np.arange(CLIPS) * length,
        "samples": length, "gain": 1.0, "sha256": "", "reason": "",
    }  # fmt: skip
    os.sync()  # what is not on the disk yet would stay in memory
    return AudioStore(path, pd.DataFrame(index), rate, "int16")


def _time_start(folder: Path, rounds: int = 3) -> tuple[object, ...]:
    """Time a command up to its first step, once its audio is decoded."""
    corpus = folder / "corpus"
    write_corpus(corpus, clips=400)
    words = [
        "train", "--task", "synth", "--root", str(corpus), "--network", "short-chunk:width=4",
        "--objective", "contrastive", "--unlabeled", "train", "--device", "cpu",
        "--cache", str(folder / "cache"), "--reports", str(folder / "out"),
    ]  # fmt: skip
    walls, busy = [], []
    for _ in range(rounds + 1):  # the first one decodes
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
        subprocess.run([sys.executable, "-c", _FIRST_STEP, *words], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(perf_counter() - start)
        busy.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    name = "short-chunk, contrastive, 400 clips of synth"
    return name, f"{median(walls[1:]):.2f}", f"{median(busy[1:]):.2f}"


if __name__ == "__main__":
    main()
