"""One teacher in an embedding cache, read on the frames of a student."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from probekit.cache import store
from probekit.cache.crops import Crops
from probekit.cache.embeddings import Embeddings
from probekit.cards import TaskCard
from probekit.distill import alignment, streams
from probekit.distill.streams import Chosen
from probekit.errors import CacheError, ProbekitError
from probekit.extractors.grid import Grid
from probekit.probes.features import Source
from probekit.selection import Selection, parse

Array = npt.NDArray[Any]
Places = npt.NDArray[np.int64]
Starts = Sequence[float | Fraction] | Array

_NAMED = 3  # clips that an error names


class Reader(Protocol):
    """What gives one teacher's features."""

    dim: int

    def at(self, places: Places, starts: Starts, rate: int) -> tuple[Array, Array]:
        """Return features and where there are any.

        Parameters
        ----------
        places : numpy.ndarray of int, shape (n,)
            Which of the student's clips.
        starts : sequence, length n
            Where the student begins to hear, in ``1 / rate`` seconds of the clip.
        rate : int >= 1
            Units in a second.

        Returns
        -------
        features : numpy.ndarray, shape (n, steps, dim), float32
            On the student's frames.
        valid : numpy.ndarray of bool, shape (n, steps)
            Whether the teacher has frames there.
        """
        ...


@dataclass(frozen=True)
class Student:
    """Whom the teachers teach.

    Attributes
    ----------
    task : TaskCard
        Whose clips; embeddings are looked for under its dataset.
    ids : list of str
        The clips that are needed.
    grid : Grid
        Of the student's frames, in seconds from the begin of what it hears.
    steps : int >= 1
        How many frames these are.
    alignment : {"time", "paper"}
        How frames are brought together.
    """

    task: TaskCard
    ids: list[str]
    grid: Grid
    steps: int
    alignment: str


class Repeated:
    """A teacher that has one vector a clip.

    Parameters
    ----------
    vectors : numpy.ndarray, shape (clips, dim), float32
        Row i is clip i's.
    steps : int >= 1
        Frames of the student.
    """

    def __init__(self, vectors: Array, steps: int) -> None:
        self.vectors, self.steps = vectors, steps
        self.dim = vectors.shape[1]

    def at(self, places: Places, starts: Starts, rate: int) -> tuple[Array, Array]:
        """Return each clip's vector in every frame of the student; all are valid."""
        values = np.repeat(self.vectors[places][:, None], self.steps, axis=1)
        return values, np.ones(values.shape[:2], bool)


class Framed:
    """A teacher that has frames.

    Parameters
    ----------
    embeddings : Embeddings
        Where they lie.
    stream : str
        Which stream.
    student : Student
        On whose frames.
    """

    def __init__(self, embeddings: Embeddings, stream: str, student: Student) -> None:
        self.embeddings, self.student = embeddings, student
        kept = embeddings.grids[stream]
        self.own = Grid.read(*(kept[name] for name in ("hop", "first_center", "window")))
        self.grid = alignment.nominal(self.own) if student.alignment == "paper" else self.own
        # as many frames as touch what the student hears, wherever it begins
        count = int(student.steps * student.grid.hop / self.grid.hop) + 2
        self.crops: Crops = embeddings.crops(student.ids, count * float(self.own.hop), stream)
        self.dim = self.crops.dim

    def at(self, places: Places, starts: Starts, rate: int) -> tuple[Array, Array]:
        """Return the mean of the frames that overlap each frame of the student."""
        first, weights = alignment.overlaps(
            self.grid,
            self.student.grid,
            self.student.steps,
            starts,
            rate=rate,
            counts=self.crops.counts[places],
        )
        frames = self.crops.read(places, first)[:, : weights.shape[2]]
        with np.errstate(invalid="ignore"):  # what is not a number is told by the caller
            return weights @ frames, np.asarray(weights.any(axis=2))

    def check(self, seconds: npt.NDArray[np.float64]) -> None:
        """Refuse a teacher that ends more than a window before a clip's sound does.

        Parameters
        ----------
        seconds : numpy.ndarray, shape (clips,)
            Duration of each clip's sound.

        Raises
        ------
        CacheError
            Names the first such clips.
        """
        hop, window = float(self.own.hop), float(self.own.window)
        ends = float(self.own.first_center) + (self.crops.counts - 1) * hop + window / 2
        short = np.flatnonzero(ends + max(window, hop) < seconds)
        if len(short):
            k, ids = int(short[0]), self.student.ids
            raise CacheError(
                f"{self.embeddings.where}: {len(short)} of {len(seconds)} clips end there before "
                f"their sound does: {some([ids[k] for k in short])}. The frames of "
                f"{ids[k]!r} end at {max(ends[k], 0):.2f} s, its sound at {seconds[k]:.2f} s. "
                "Extract again from these recordings, or choose a teacher that hears whole clips"
            )


@dataclass(frozen=True)
class Member:
    """One teacher.

    Attributes
    ----------
    chosen : Selection
        What the user wrote.
    embeddings : Embeddings
        Where its features lie.
    source : Source
        What a result keeps about it; ``pool`` is ``["frames"]`` where frames are read.
    reader : Reader
        What gives them.
    read : Chosen
        Which stream that is, and what to call it.
    """

    chosen: Selection
    embeddings: Embeddings
    source: Source
    reader: Reader
    read: Chosen


def find(name: str, student: Student, cache: Path) -> Member:
    """Find one teacher.

    Parameters
    ----------
    name : str
        As after ``-e``.
    student : Student
        Whom it is to teach.
    cache : pathlib.Path
        The cache's folder.

    Returns
    -------
    Member
        It has features of every clip.

    Raises
    ------
    CacheError
        If it is not in the cache, or lacks clips or frames.
    """
    chosen = parse(name)
    if "+" in chosen.name:
        raise ProbekitError(f"teacher {name}: name each teacher by itself, without '+'")
    embeddings = store.find(cache, chosen, student.task.dataset)
    read = streams.choose(name, embeddings, student.task)
    stream = read.stream
    _check_clips(embeddings, student.ids)
    reader: Reader
    if read.framed:
        reader, pool = Framed(embeddings, stream, student), ["frames"]
    else:
        reader = Repeated(embeddings.vectors(student.ids, stream, chosen.pool), student.steps)
        pool = list(chosen.pool)
    settled = embeddings.layout
    source = Source(
        extractor=settled.extractor,
        fingerprint=settled.fingerprint,
        identity=settled.identity,
        stream=stream,
        pool=pool,
        dim=reader.dim,
    )
    return Member(chosen, embeddings, source, reader, read)


def _check_clips(embeddings: Embeddings, ids: Sequence[str]) -> None:
    """Refuse a teacher that lacks clips."""
    there = set(embeddings.clip_ids)
    lacking = [clip_id for clip_id in ids if clip_id not in there]
    if lacking:
        why = embeddings.failures.get(lacking[0], "never extracted")
        raise CacheError(
            f"{embeddings.where}: the teacher lacks {len(lacking):,} of {len(ids):,} clips: "
            f"{some(lacking)} (the first: {why}). Extract them, or leave them out of the task"
        )


def some(ids: Sequence[str]) -> str:
    """Return the first few ids, as messages name them."""
    more = ", …" if len(ids) > _NAMED else ""
    return ", ".join(map(repr, ids[:_NAMED])) + more
