"""What several runs of distillation share: the task, its sound, and which student hears it how."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from probekit._typing import Array
from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.distillation.teachers import ALIGNMENTS, Teachers
from probekit.errors import DataError, ProbekitError
from probekit.extractors.students import zoo
from probekit.metrics import metrics
from probekit.probes import subsample
from probekit.tasks import splits
from probekit.tasks.splits import Split
from probekit.training.audio_store import AudioStore
from probekit.utils.suggest import unknown_name_error


@dataclass(frozen=True)
class DistillationTask:
    """What several runs share.

    Attributes
    ----------
    card : TaskCard
        The task.
    whole : Manifest
        All its clips.
    sound : Sound
        Theirs, in the same order.
    student : str
        As after ``--student``, with every parameter.
    samples : int
        Length of what it hears at once.
    teachers : tuple of str
        As after ``--teacher``.
    alignment : {"time", "paper"}
        How their frames come to the student's.
    cache : pathlib.Path
        Where their embeddings are.
    init : str
        The extractor whose weights are the student's first; empty for none.
    weights : mapping of str to str
        That extractor's, as after ``--weights``.
    usual : int
        Length of what it would hear at once if nothing else were asked for; 0 where not known.
    reports : pathlib.Path or None
        Where trained students are looked for first.
    """

    card: TaskCard
    whole: Manifest
    sound: AudioStore
    student: str
    samples: int
    teachers: tuple[str, ...]
    alignment: str
    cache: Path
    init: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)
    usual: int = 0
    reports: Path | None = None

    @cached_property
    def places(self) -> npt.NDArray[np.int64]:
        """Places, in the sound, of the clips that have any."""
        return np.flatnonzero(self.sound.lengths > 0)

    @cached_property
    def clips(self) -> Manifest:
        """The clips that have sound."""
        there = self.places
        return self.whole if len(there) == len(self.whole) else self.whole.subset(there)

    @cached_property
    def targets(self) -> Array:
        """What is right for each of :attr:`clips`."""
        return self.clips.targets()

    @cached_property
    def targets_by_row(self) -> Array:
        """Targets by the clips' places in the sound."""
        every = np.zeros((len(self.whole), *self.targets.shape[1:]), self.targets.dtype)
        every[self.places] = self.targets
        return every

    @property
    def n_expected_clips(self) -> int:
        """The number of clips that the task should have."""
        return max(len(self.whole), self.whole.expected or 0)

    def make_splits(self, fraction: float, seed: int, folds: Sequence[str]) -> list[Split]:
        """Return what is trained on, what chooses the epoch, and what is scored.

        Official validation clips choose where there are any, all of them whatever the share
        (hung2022 takes its share of the training files). Otherwise the first division inside the
        share of the training clips does, which keeps folds and groups whole. Test clips are not
        looked at.

        Parameters
        ----------
        fraction : float, 0 < fraction <= 1
            Share of the training labels.
        seed : int
            Of which clips these are.
        folds : sequence of str
            Some of the folds; all where empty.

        Returns
        -------
        list of Split
            Rows of :attr:`clips`.

        Raises
        ------
        ProbekitError
            If there is no such fold, or too few clips are left to train on or to hold out.
        """
        protocol = self.card.protocol
        made = splits.make(protocol, self.clips, self.whole)
        for name in folds:
            if name not in {split.name for split in made}:
                raise unknown_name_error(
                    f"fold of {self.card.name}", name, [split.name for split in made]
                )
        found = []
        for whole in made:
            if folds and whole.name not in folds:
                continue
            split = subsample.subsample_labels(whole, fraction, self.targets, self.clips, seed)
            left = split.train
            if len(whole.valid):
                split = replace(split, valid=whole.valid)
            else:
                try:
                    fit, held = splits.inner_cv(protocol, self.clips, left)[0]
                except DataError as error:
                    why = "none can be held out, by which the epoch would be chosen"
                    raise self._too_few(whole, fraction, left, why) from error
                split = replace(split, train=fit, valid=held)
            if len(split.train) < 2:
                why = f"{len(split.train)} to train on; a student needs at least two"
                raise self._too_few(whole, fraction, left, why)
            found.append(split)
        return found

    def _too_few(self, whole: Split, fraction: float, left: Array, why: str) -> DataError:
        """Return the error of a share of the training clips that is too small."""
        where = "fold" if "folds" in self.card.protocol.kind else "split"
        share, hint = "", ""
        if fraction < 1:
            share = f" at --fraction {fraction:g} of {len(whole.train):,}"
            hint = ". Name a larger share"
        clips = f"{len(left):,} training clip{'s' * (len(left) != 1)}"
        return DataError(f"{self.card.name}, {where} {whole.name!r}: {clips}{share}: {why}{hint}")

    def open_teachers(self, rows: Array) -> Teachers:
        """Open the teachers for some of the clips.

        Parameters
        ----------
        rows : numpy.ndarray of int
            Rows of :attr:`clips`.

        Returns
        -------
        Teachers
            On the frames of the student's embedding.

        Raises
        ------
        ProbekitError
            If one is not in the cache, or lacks clips or frames.
        """
        grid, steps = zoo.build(self.student, len(self.clips.names)).frames(self.samples)
        return Teachers.open(
            self.card,
            self.teachers,
            [self.clips.clip_ids[row] for row in rows],
            grid,
            steps,
            cache=self.cache,
            seconds=self.sound.seconds[self.places[rows]],
            alignment=self.alignment,
        )


def prepare(
    card: TaskCard,
    clips: Manifest,
    student: str,
    teachers: Sequence[str],
    *,
    cache: Path,
    crop: float | None = None,
    alignment: str = "time",
    init: str = "",
    weights: Mapping[str, str] | None = None,
    reports: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DistillationTask:
    """Settle what several runs share; decodes the sound where that was not done yet.

    Parameters
    ----------
    card : TaskCard
        The task.
    clips : Manifest
        Its clips.
    student : str
        As after ``--student``.
    teachers : sequence of str
        As after ``--teacher``.
    cache : pathlib.Path
        Where embeddings are; decoded sound goes into its folder ``sound``.
    crop : float, optional
        Seconds that the student hears at once; by default what its card says, or the longest clip
        where that is shorter.
    alignment : {"time", "paper"}
        How the teachers' frames come to the student's.
    init : str
        The extractor whose weights are the student's first.
    weights : mapping of str to str, optional
        That extractor's.
    reports : pathlib.Path, optional
        Where trained students are looked for first.
    progress : callable, optional
        Called with clips decoded, and clips in all.

    Returns
    -------
    Given
        With sound.

    Raises
    ------
    ProbekitError
        If something is not known, or there are no recordings.
    """
    for name in (card.metric, *card.also):
        metric = metrics.get_metric(name)
        if clips.target not in metric.targets:
            clips.targets()  # says so where there are no labels at all
            raise DataError(
                f"{card.name}: metric {name!r} is for {' or '.join(metric.targets)} targets, the "
                f"clips have {clips.target}"
            )
    clips.targets()
    if alignment not in ALIGNMENTS:
        raise unknown_name_error("alignment", alignment, ALIGNMENTS)
    built = zoo.build(student, len(clips.names))
    if crop is not None:
        if not 0 < crop < float("inf"):
            raise ProbekitError(f"--crop {crop:g}: seconds, above 0")
        built.check(int(Fraction(str(crop)) * built.rate))
    if clips.root is None:
        raise DataError(
            f"{card.name}: a student hears recordings, and it is not known where they are: name "
            "their folder with --root"
        )
    sound = AudioStore.open(clips, built.rate, cache / "sound", progress=progress)
    longest = Fraction(int(sound.lengths.max()), built.rate)
    usual = max(int(min(built.crop, longest) * built.rate), built.shortest)
    return DistillationTask(
        card=card,
        whole=clips,
        sound=sound,
        student=built.describe,
        samples=usual if crop is None else int(Fraction(str(crop)) * built.rate),
        teachers=tuple(teachers),
        alignment=alignment,
        cache=cache,
        init=init,
        weights=dict(weights or {}),
        usual=usual,
        reports=reports,
    )
