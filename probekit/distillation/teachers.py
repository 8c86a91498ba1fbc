"""What teachers say about the very seconds that a student hears, from embedding caches."""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from probekit._typing import Array
from probekit.cache import embeddings as embeddings_module
from probekit.cache import layout
from probekit.cache.crops import Crops
from probekit.cache.embeddings import Embeddings
from probekit.cards import TaskCard
from probekit.cards.selector import EmbeddingSelector, display_name, parse
from probekit.distillation import alignment
from probekit.errors import CacheError, DataError, ProbekitError
from probekit.extractors.timegrid import FrameGrid
from probekit.scores.store import Source
from probekit.utils.suggest import unknown_name_error
from probekit.utils.text import summarize_ids

Places = npt.NDArray[np.int64]
Starts = Sequence[float | Fraction] | Array

_NAMED = 3  # clips that an error names


class Reader(Protocol):
    """What gives one teacher's features."""

    dim: int

    def read_frames(self, places: Places, starts: Starts, rate: int) -> tuple[Array, Array]:
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
class StudentGrid:
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
    grid: FrameGrid
    steps: int
    alignment: str


class ClipTeacher:
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

    def read_frames(self, places: Places, starts: Starts, rate: int) -> tuple[Array, Array]:
        """Return each clip's vector in every frame of the student; all are valid."""
        values = np.repeat(self.vectors[places][:, None], self.steps, axis=1)
        return values, np.ones(values.shape[:2], bool)


class FrameTeacher:
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

    def __init__(self, embeddings: Embeddings, stream: str, student: StudentGrid) -> None:
        self.embeddings, self.student = embeddings, student
        kept = embeddings.stream_info[stream]
        self.own = FrameGrid.read(*(kept[name] for name in ("hop", "first_center", "window")))
        self.grid = alignment.rounded_grid(self.own) if student.alignment == "paper" else self.own
        # as many frames as touch what the student hears, wherever it begins
        count = int(student.steps * student.grid.hop / self.grid.hop) + 2
        self.crops: Crops = embeddings.crops(student.ids, count * float(self.own.hop), stream)
        self.dim = self.crops.dim

    def read_frames(self, places: Places, starts: Starts, rate: int) -> tuple[Array, Array]:
        """Return the mean of the frames that overlap each frame of the student."""
        first, weights = alignment.overlap_weights(
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
                f"their sound does: {summarize_ids([ids[k] for k in short])}. The frames of "
                f"{ids[k]!r} end at {max(ends[k], 0):.2f} s, its sound at {seconds[k]:.2f} s. "
                "Extract again from these recordings, or choose a teacher that hears whole clips"
            )


@dataclass(frozen=True)
class TeacherSource:
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

    chosen: EmbeddingSelector
    embeddings: Embeddings
    source: Source
    reader: Reader
    read: "TeacherStream"


def open_teacher(name: str, student: StudentGrid, cache: Path) -> TeacherSource:
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
    embeddings = embeddings_module.find_embeddings(cache, chosen, student.task.dataset)
    read = select_stream(name, embeddings, student.task)
    stream = read.stream
    _check_clips(embeddings, student.ids)
    reader: Reader
    if read.framed:
        reader, pool = FrameTeacher(embeddings, stream, student), ["frames"]
    else:
        reader = ClipTeacher(embeddings.vectors(student.ids, stream, chosen.pool), student.steps)
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
    return TeacherSource(chosen, embeddings, source, reader, read)


def _check_clips(embeddings: Embeddings, ids: Sequence[str]) -> None:
    """Refuse a teacher that lacks clips."""
    there = set(embeddings.clip_ids)
    lacking = [clip_id for clip_id in ids if clip_id not in there]
    if lacking:
        why = embeddings.failures.get(lacking[0], "never extracted")
        raise CacheError(
            f"{embeddings.where}: the teacher lacks {len(lacking):,} of {len(ids):,} clips: "
            f"{summarize_ids(lacking)} (the first: {why}). Extract them, or leave them out of the task"
        )


@dataclass(frozen=True)
class TeacherStream:
    """What is read of a teacher.

    Attributes
    ----------
    stream : str
        Of which stream.
    framed : bool
        Whether frames are read; otherwise one vector a clip.
    called : str
        The teacher as the user named it, and what that does not say: another stream than the
        default one, or a vector in the place of frames.
    unasked : bool
        Whether it is one vector a clip, and nobody asked for that.
    """

    stream: str
    framed: bool
    display_name: str
    implicit: bool = False


def select_stream(name: str, embeddings: Embeddings, task: TaskCard) -> TeacherStream:
    """Choose what is read of a teacher.

    Of a name without ``stream=`` and ``pool=`` it is the default stream where that has frames; else
    the only stream of which frames are kept, if there is one; else the default stream's vectors.

    Parameters
    ----------
    name : str
        As after ``--teacher``.
    embeddings : Embeddings
        Of that teacher.
    task : TaskCard
        The student's; for messages.

    Returns
    -------
    Chosen
        In the cache, with its frames where these are read.

    Raises
    ------
    CacheError
        If the stream was not extracted, or its frames were not kept; says how to.
    UnknownNameError
        If there is no such stream.
    """
    chosen = parse(name)
    pooled = "pool=" in name
    stream = chosen.stream or embeddings.default_stream
    if stream not in embeddings.stream_info:
        known = {**embeddings.stream_info, **embeddings.meta["card"].get("streams", {})}
        if stream not in known:
            raise unknown_name_error(f"stream of {chosen.name}", stream, known)
        raise CacheError(
            f"{embeddings.where}: stream {stream!r} of {display_name(chosen.name)} was not extracted, "
            f"only {', '.join(embeddings.stream_info)}. Extract it with: "
            f"{_extraction(embeddings, stream, task)}"
        )
    if pooled or (chosen.stream and _of_clips(embeddings, stream)):
        return TeacherStream(stream, False, name)
    if not _of_clips(embeddings, stream):
        _check_frames(embeddings, stream, task)
        return TeacherStream(stream, True, name)
    framed = [one for one in embeddings.stream_info if "frames" in embeddings.index.arrays(one)]
    if len(framed) == 1:
        return TeacherStream(
            framed[0], True, f"{name}{',' if ':' in name else ':'}stream={framed[0]}"
        )
    return TeacherStream(stream, False, f"{name}, vectors", True)


def classes(embeddings: Embeddings) -> tuple[str, ...] | None:
    """Return the classes that a teacher was trained to tell.

    Parameters
    ----------
    embeddings : Embeddings
        Its own.

    Returns
    -------
    tuple of str or None
        In the order of its outputs; None where they are not known.
    """
    own = embeddings.layout.identity.get("module", {})
    if isinstance(own, dict) and "classes" in own:  # a trained student
        return tuple(own["classes"])
    return None if embeddings.head is None else embeddings.head.classes


def _of_clips(embeddings: Embeddings, stream: str) -> bool:
    """Tell whether a stream is one vector a clip."""
    return bool(embeddings.stream_info[stream]["kind"] == "clip")


def _check_frames(embeddings: Embeddings, stream: str, task: TaskCard) -> None:
    """Refuse a teacher of which only pooled vectors are kept; say how to keep frames."""
    if "frames" not in embeddings.index.arrays(stream):
        raise CacheError(
            f"{embeddings.where}: frames of {stream!r} were not kept, only pooled vectors. A "
            f"teacher needs frames. Keep them with: {_extraction(embeddings, stream, task)}"
        )


def _extraction(embeddings: Embeddings, stream: str, task: TaskCard) -> str:
    """Return the command that adds a stream with frames to embeddings."""
    settled = embeddings.layout
    params = settled.identity.get("params", {})
    name = str(EmbeddingSelector(settled.extractor, params={k: str(v) for k, v in params.items()}))
    # a table without a card: its name alone is no task that could be loaded
    bare = task.module == "table" and not task.options and task.name == task.dataset
    called = f"{task.name}.csv" if bare else task.name
    words = [f"probekit extract -e {name} --task {called} --root DIR"]
    words.append(f"--streams {stream} --frames")
    for file, drawn in settled.identity.get("weights", {}).items():
        if drawn.startswith("random:"):
            of = settled.extractor if file == "main" else f"{settled.extractor}.{file}"
            words.append(f"--weights {of}={drawn.split()[0]}")
    precision = settled.identity.get("precision", "float32")
    words += [f"--precision {precision}"] * (precision != "float32")
    words += [f"--dtype {settled.dtype}"] * (settled.dtype != "float32")
    words.append(f"--cache {embeddings.where.parents[1]}")
    return " ".join(words)


ALIGNMENTS = ("time", "paper")


class Teachers:
    """Features of one or several teachers, side by side, on the student's frames.

    Made by :meth:`open`. Several threads may use it; they take turns.

    Parameters
    ----------
    members : sequence of Member
        The teachers.
    ids : sequence of str
        The clips.

    Attributes
    ----------
    ids : list of str
        The clips; :meth:`read_frames` names them by their place in it.
    features : int
        Dimensions of all teachers together.
    """

    def __init__(self, members: Sequence[TeacherSource], ids: Sequence[str]) -> None:
        self.members, self.ids = tuple(members), list(ids)
        self.features = sum(member.reader.dim for member in members)
        self._turn = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_turn"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _turn=threading.Lock())

    @classmethod
    def open(
        cls,
        task: TaskCard,
        names: Sequence[str],
        ids: Sequence[str],
        grid: FrameGrid,
        steps: int,
        *,
        cache: str | Path | None = None,
        seconds: npt.ArrayLike | None = None,
        alignment: str = "time",
    ) -> "Teachers":
        """Find teachers in a cache, and make sure that they suffice.

        Parameters
        ----------
        task : TaskCard
            Whose clips; embeddings are looked for under its dataset.
        names : sequence of str
            As after ``-e``: ``vggish``, ``vggish:stream=pca8``, ``openl3@1a2b3c4d``. Frames are
            read, but where ``pool=`` is written, or the stream is one vector a clip: such a vector
            is repeated in every frame of the student. Which stream it is where none is named, says
            :func:`probekit.distillation.teachers.select_stream`.
        ids : sequence of str
            The clips that are needed.
        grid : Grid
            Of the student's frames, in seconds from the begin of what it hears.
        steps : int >= 1
            How many frames these are.
        cache : str or pathlib.Path, optional
            The cache's folder; by default ``PROBEKIT_CACHE``, else ``cache``.
        seconds : array_like, shape (clips,), optional
            Duration of each clip's sound; teachers that end much earlier are then refused.
        alignment : {"time", "paper"}
            ``time``: a student's frame gets the mean of the teacher's frames, weighted by how long
            they overlap. ``paper``: as hung2022, which takes VGGish's hop of 0.96 s for 1 s; see
            :func:`probekit.distillation.alignment.rounded_grid`.

        Returns
        -------
        Teachers
            Files of frames are opened when they are needed.

        Raises
        ------
        CacheError
            If a teacher is not in the cache, lacks clips or frames, or ends before the sound does.
        DataError
            If vectors hold NaN or infinite values.
        """
        if alignment not in ALIGNMENTS:
            raise unknown_name_error("alignment", alignment, ALIGNMENTS)
        if not names:
            raise ProbekitError("no teacher is named")
        student = StudentGrid(task, list(ids), grid, steps, alignment)
        where = layout.cache_root(cache)
        members = [open_teacher(name, student, where) for name in names]
        for member in members:
            if isinstance(member.reader, ClipTeacher):
                _check_finite(member, member.reader.vectors[:, None], ids)
            elif isinstance(member.reader, FrameTeacher) and seconds is not None:
                member.reader.check(np.asarray(seconds, np.float64))
        return cls(members, ids)

    @property
    def sources(self) -> list[Source]:
        """What is kept of each teacher in a result."""
        return [member.source for member in self.members]

    @property
    def provenance(self) -> list[str]:
        """What every result must show about the teachers."""
        said = (text for m in self.members for text in m.embeddings.layout.provenance)
        return list(dict.fromkeys(said))

    @property
    def clip_level(self) -> list[str]:
        """What must be shown, too, of a method for frames: teachers without any, unasked."""
        return [
            f"teacher {display_name(m.chosen.name)}: one vector a clip ({m.read.stream})"
            for m in self.members
            if m.read.implicit
        ]

    @property
    def display_names(self) -> list[str]:
        """What people call each teacher: as they named it, and what else was read."""
        return [member.read.display_name for member in self.members]

    def fingerprints(self) -> list[str]:
        """Return the fingerprint of each teacher: what decides its features, but the recordings."""
        return [member.source["fingerprint"] for member in self.members]

    def digest(self) -> str:
        """Return the SHA-256 over what decides the features: fingerprints, streams, recordings."""
        sha = hashlib.sha256()
        for member in self.members:
            source, table = member.source, member.embeddings.index.table
            sha.update(f"{source['fingerprint']} {source['stream']} {source['pool']}\n".encode())
            own = dict(zip(table["clip_id"], table["sha256"], strict=True))
            for clip_id in self.ids:
                sha.update(f"{clip_id}\0{own[clip_id]}\n".encode())
        return sha.hexdigest()

    def clip_rows(self, ids: Sequence[str]) -> Places:
        """Return where clips stand in :attr:`ids`.

        Parameters
        ----------
        ids : sequence of str
            Clips; all among those that the teachers were opened for.

        Returns
        -------
        numpy.ndarray of int64, shape (clips,)
            For :meth:`read_frames`.

        Raises
        ------
        CacheError
            If the teachers were not opened for one of them.
        """
        known = {clip_id: place for place, clip_id in enumerate(self.ids)}
        lacking = [clip_id for clip_id in ids if clip_id not in known]
        if lacking:
            raise CacheError(
                f"{len(lacking)} of {len(ids)} clips have no teacher: {summarize_ids(lacking)}"
            )
        return np.fromiter((known[clip_id] for clip_id in ids), np.int64, len(ids))

    def read_frames(
        self, clips: npt.ArrayLike, starts: Starts, *, rate: int = 1
    ) -> tuple[Array, Array]:
        """Return the teachers' features while the student hears stretches of clips.

        Parameters
        ----------
        clips : array_like of int, shape (n,)
            Which clips, by their place in :attr:`ids`.
        starts : sequence of int, float or Fraction, length n
            Where the student begins to hear, counted from each clip's begin in ``1 / rate`` s.
        rate : int >= 1
            1 for seconds; the sample rate where starts are whole samples, which is exact.

        Returns
        -------
        features : numpy.ndarray, shape (n, steps, features), float32
            Teachers in the order named; 0 where not valid.
        valid : numpy.ndarray of bool, shape (n, steps)
            Whether every teacher has frames there: not behind a clip's end, for example.

        Raises
        ------
        DataError
            If features are NaN or infinite; names teacher and clip.
        CacheError
            If a part of a cache is damaged or gone.
        """
        places = np.asarray(clips, np.int64)
        found = []
        with self._turn:
            for member in self.members:
                values, valid = member.reader.read_frames(places, starts, rate)
                _check_finite(member, values, [self.ids[place] for place in places])
                found.append((values, valid))
        if len(found) == 1:
            return found[0]
        every = np.logical_and.reduce([valid for _, valid in found])
        joined = np.concatenate([values for values, _ in found], axis=2)
        joined[~every] = 0
        return joined, every


def _check_finite(member: TeacherSource, values: Array, ids: Sequence[str]) -> None:
    """Refuse features that are not numbers."""
    bad = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
    if len(bad):
        raise DataError(
            f"{member.embeddings.where}: features of {member.source['stream']!r} of clip "
            f"{ids[bad[0]]!r} are NaN or infinite. Extract this clip again, with --precision "
            "float32 and --dtype float32"
        )
