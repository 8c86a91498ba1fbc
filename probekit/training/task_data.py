"""Data that several training runs share: a task, its audio, and a network's input length."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from probekit._typing import Array
from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError, ProbekitError
from probekit.extractors.students import zoo
from probekit.tasks import splits, subsample
from probekit.tasks.piece_names import name_pieces
from probekit.tasks.splits import Split
from probekit.tasks.validation import check_metrics
from probekit.training.audio_store import AudioStore
from probekit.training.level_store import LevelStore, open_levels
from probekit.utils.suggest import unknown_name_error


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """A task with its audio, and the settings that several runs share.

    Attributes
    ----------
    card : TaskCard
        Task.
    all_clips : Manifest
        All clips of the task.
    audio : AudioStore or LevelStore
        Their audio, or its spectra, in the same order.
    network : str
        As after ``--network``, with every parameter.
    crop_length : int
        Length of the network's input in samples.
    default_crop_length : int
        The same if not set by the user; 0 if not known.
    reports : pathlib.Path or None
        Reports folder where trained networks are looked up first.
    """

    card: TaskCard
    all_clips: Manifest
    audio: AudioStore | LevelStore
    network: str
    crop_length: int
    default_crop_length: int = 0
    reports: Path | None = None

    @cached_property
    def audio_rows(self) -> npt.NDArray[np.int64]:
        """Rows, in the audio store, of the clips that have audio."""
        return np.flatnonzero(self.audio.lengths > 0)

    @cached_property
    def clips(self) -> Manifest:
        """Clips that have audio."""
        rows = self.audio_rows
        return self.all_clips if len(rows) == len(self.all_clips) else self.all_clips.subset(rows)

    @cached_property
    def targets(self) -> Array:
        """Targets of :attr:`clips`."""
        return self.clips.targets()

    @cached_property
    def targets_by_row(self) -> Array:
        """Targets by the rows of the audio store; 0 for clips without audio."""
        targets = np.zeros((len(self.all_clips), *self.targets.shape[1:]), self.targets.dtype)
        targets[self.audio_rows] = self.targets
        return targets

    @property
    def n_expected_clips(self) -> int:
        """Number of clips that the task should have."""
        return max(len(self.all_clips), self.all_clips.expected or 0)

    def make_splits(
        self, fraction: float, seed: int, folds: Sequence[str], *, validate: bool = True
    ) -> list[Split]:
        """Return training, validation and test clips of each fold, as rows of :attr:`clips`.

        Official validation clips are all used, whatever the fraction (hung2022 subsamples the
        training files). If there are none, clips are held out of the subsampled training clips,
        with groups and pieces kept together, as in an inner cross-validation.

        Parameters
        ----------
        fraction : float, 0 < fraction <= 1
            Share of the training labels.
        seed : int
            Seed of the subsample.
        folds : sequence of str
            Names of folds; all if empty.
        validate : bool
            Whether validation clips are needed; else none are, and all training clips are
            trained on.

        Raises
        ------
        ProbekitError
            If there is no such fold, or too few clips remain for training or validation.
        """
        protocol = self.card.protocol
        full_splits = splits.make_splits(protocol, self.clips, self.all_clips)
        pieces = name_pieces(self.card, self.clips)
        names = [split.name for split in full_splits]
        for name in folds:
            if name not in names:
                raise unknown_name_error(f"fold of {self.card.name}", name, names)
        result = []
        for full in full_splits:
            if folds and full.name not in folds:
                continue
            split = subsample.subsample_labels(full, fraction, self.targets, self.clips, seed)
            rows = split.train
            if not validate:
                split = replace(split, valid=full.valid[:0])
            elif len(full.valid):
                split = replace(split, valid=full.valid)
            else:
                try:
                    train, valid = splits.inner_cv(protocol, self.clips, rows, pieces)[0]
                except DataError as error:
                    problem = "too few to hold out validation clips"
                    raise self._too_few(full, fraction, rows, problem) from error
                split = replace(split, train=train, valid=valid)
            if len(split.train) < 2:
                problem = f"{len(split.train)} left for training, which needs at least 2"
                raise self._too_few(full, fraction, rows, problem)
            result.append(split)
        return result

    def _too_few(self, split: Split, fraction: float, rows: Array, problem: str) -> DataError:
        """Return the error for a fraction of the training clips that is too small."""
        kind = "fold" if "folds" in self.card.protocol.kind else "split"
        share, hint = "", ""
        if fraction < 1:
            share = f" at --fraction {fraction:g} of {len(split.train):,}"
            hint = ". Choose a larger fraction"
        clips = f"{len(rows):,} training clip{'s' * (len(rows) != 1)}"
        return DataError(
            f"{self.card.name}, {kind} {split.name!r}: {clips}{share}: {problem}{hint}"
        )


def prepare_task(
    card: TaskCard,
    clips: Manifest,
    network: str,
    *,
    cache: Path,
    crop: float | None = None,
    reports: Path | None = None,
    stored: Manifest | None = None,
    levels: bool = False,
    parts: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingTask:
    """Check a task and a network, and decode the audio that is not decoded yet.

    Parameters that are not listed are attributes of :class:`TrainingTask`.

    Parameters
    ----------
    clips : Manifest
        Clips of the task.
    cache : pathlib.Path
        The cache's folder; decoded audio is in its folder ``sound``.
    crop : float, optional
        Length of the network's input in s; by default the network's own, or the duration of the
        longest clip if that is shorter.
    stored : Manifest, optional
        Clips that are decoded, of which these are a part; by default these. Trainings on several
        targets then share one file of audio.
    levels : bool
        Whether spectra are stored instead of audio, if the network reads them.
    parts : pathlib.Path, optional
        Folder of the spectra; by default in the cache.
    progress : callable, optional
        Called with the number of decoded clips and of all clips.

    Raises
    ------
    ProbekitError
        If something is unknown or does not fit, or there are no recordings.
    """
    check_metrics(card, clips)
    clips.targets()
    built = zoo.build_student(network, len(clips.class_names))
    if crop is not None:
        if not 0 < crop < float("inf"):
            raise ProbekitError(f"--crop must be > 0 s, got {crop:g}")
        built.check_length(int(Fraction(str(crop)) * built.rate))
    everything = clips if stored is None else stored
    audio: AudioStore | LevelStore
    if levels and built.level_grid is not None:
        audio = open_levels(card.name, everything, built, cache, parts, progress)
    else:
        audio = open_audio(card.name, everything, built.rate, cache, progress)
    if stored is not None:
        places = {clip_id: row for row, clip_id in enumerate(stored.clip_ids)}
        audio = audio.subset([places[clip_id] for clip_id in clips.clip_ids])
    longest = Fraction(int(audio.lengths.max()), built.rate)
    default_length = max(int(min(built.crop, longest) * built.rate), built.min_samples)
    return TrainingTask(
        card=card,
        all_clips=clips,
        audio=audio,
        network=built.spec,
        crop_length=default_length if crop is None else int(Fraction(str(crop)) * built.rate),
        default_crop_length=default_length,
        reports=reports,
    )


def open_audio(
    name: str,
    clips: Manifest,
    sr: int,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
) -> AudioStore:
    """Decode clips, as far as they are not, and open them; DataError without recordings."""
    if clips.root is None:
        raise DataError(
            f"{name}: the folder of its recordings is not known, and a student needs audio. "
            "Give the folder with --root"
        )
    return AudioStore.open(clips, sr, cache / "sound", progress=progress)
