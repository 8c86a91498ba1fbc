"""What a training from weak labels will take, before it starts: hours, and bytes of spectra."""

import copy
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

from probekit.audio.duration import mean_duration
from probekit.data.manifest import Manifest
from probekit.errors import AudioError
from probekit.extractors.students.base import Student
from probekit.parallel import resources
from probekit.training.audio_store import list_clip_files
from probekit.training.level_store import make_levels, spectra_bytes
from probekit.training.schedules import TrainingRecipe
from probekit.training.weak_labels import WeakLabels

STEPS = 20
"""Steps that are timed."""
_CPU_BATCH = 8  # of a CPU, whose time is that of a clip times their number
_CLIPS = 8  # of which spectra are made
_MOST_SECONDS = 20.0  # of timing, after two steps


@dataclass(frozen=True)
class Estimate:
    """What a training will take.

    Attributes
    ----------
    steps : int
        Steps of all epochs.
    step_seconds : float
        Time of one, the median of those timed.
    clips : int
        Clips of which spectra are made.
    clip_seconds : float
        Time to decode one and make its spectra, on one core; 0 if none could be read.
    nbytes : int
        Bytes of all spectra.
    timed : int
        Number of timed steps.
    device : str
        Where they ran.
    """

    steps: int
    step_seconds: float
    clips: int
    clip_seconds: float
    nbytes: int
    timed: int
    device: str

    @property
    def hours(self) -> float:
        """Hours of all steps; validations take more."""
        return self.steps * self.step_seconds / 3600

    @property
    def core_hours(self) -> float:
        """Hours of one core to make the spectra."""
        return self.clips * self.clip_seconds / 3600

    def __str__(self) -> str:
        parts = (
            f"spectra of {self.clips:,} clips take {_bytes(self.nbytes)} and about "
            f"{_time(self.core_hours)} of one core, once; "
            if self.nbytes
            else ""
        )
        return (
            f"{parts}{self.steps:,} steps take about {_time(self.hours)} on {self.device} "
            f"({self.step_seconds:.3g} s a step, {self.timed} timed), and scoring on validation "
            "clips more"
        )


def estimate(
    student: Student, recipe: TrainingRecipe, clips: Manifest, trained: int, device: str = "auto"
) -> Estimate:
    """Time steps of a copy of a network on random spectra, and the making of spectra.

    Parameters
    ----------
    student : Student
        The network; not changed.
    recipe : TrainingRecipe
        How it will be trained.
    clips : Manifest
        All clips of the task.
    trained : int
        Training clips, for recipes that read each once an epoch.
    device : str
        Where it will be trained.
    """
    torch_device = resources.resolve_device(device)
    per_epoch = recipe.steps or -(-trained // recipe.batch_size)
    seconds, timed = _time_steps(student, recipe, torch_device)
    files = [file for file in list_clip_files(clips) if file.size >= 0]
    grid = student.level_grid
    duration = mean_duration([(f.path, f.start, f.end) for f in files], unreadable=0.0) or 0.0
    each = []
    for file in files[:: max(1, len(files) // _CLIPS)][:_CLIPS] if grid else ():
        start = perf_counter()
        try:
            make_levels(student, file)
        except AudioError:
            continue
        each.append(perf_counter() - start)
    return Estimate(
        steps=per_epoch * recipe.epochs,
        step_seconds=seconds,
        clips=len(files),
        clip_seconds=float(np.median(each)) if each else 0.0,
        nbytes=spectra_bytes(grid, len(files), duration, student.rate) if grid else 0,
        timed=timed,
        device=str(torch_device),
    )


def _time_steps(
    student: Student, recipe: TrainingRecipe, device: torch.device
) -> tuple[float, int]:
    """Return the median time of a step in seconds, and how many were timed."""
    size = recipe.batch_size if device.type == "cuda" else min(recipe.batch_size, _CPU_BATCH)
    objective = WeakLabels(copy.deepcopy(student), recipe.masks, recipe.mixup).to(device)
    optimizer = torch.optim.Adam(p for p in objective.parameters() if p.requires_grad)
    samples = int(student.crop * student.rate)
    grid = student.level_grid
    shape = (size, grid.frames(samples), grid.bands) if grid else (size, samples)
    times: list[float] = []
    resources.tune_malloc()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        inputs = torch.randn(shape, device=device)
        targets = torch.zeros(size, student.classes, device=device)
        begin = perf_counter()
        while len(times) < STEPS + 1 and not (
            len(times) > 2 and perf_counter() - begin > _MOST_SECONDS
        ):
            start = perf_counter()
            loss = objective.step_on(inputs, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(perf_counter() - start)
    warm = times[1:]  # the first one allocates
    return float(np.median(warm)) * recipe.batch_size / size, len(warm)


def _bytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e8 else f"{count / 1e6:.3g} MB"


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.0f} h" if hours >= 100 else f"{hours:.3g} h"
    return f"{60 * hours:.2g} min" if hours >= 1 / 60 else f"{3600 * hours:.2g} s"
