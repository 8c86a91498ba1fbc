"""Teacher embeddings aligned to the student's crops, read from the cache."""

import shlex
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from probekit._typing import Array
from probekit.audio.timegrid import FrameGrid
from probekit.cache.crops import Crops
from probekit.cache.embeddings import Embeddings, find_embeddings
from probekit.cache.layout import cache_root
from probekit.cache.manifests import latest_manifest
from probekit.cards import TaskCard
from probekit.cards.selector import EmbeddingSelector, display_name, parse_selector
from probekit.data.readers import TABLE_SUFFIXES
from probekit.distillation.alignment import overlap_weights, rounded_grid
from probekit.errors import CacheError, DataError, ProbekitError
from probekit.probes.features import digest_features
from probekit.scores.store import Source
from probekit.utils.suggest import unknown_name_error
from probekit.utils.text import summarize_ids

Rows = npt.NDArray[np.int64]
Starts = Sequence[float | Fraction] | Array

ALIGNMENTS = ("time", "paper")


@dataclass(frozen=True)
class StudentGrid:
    """The student's clips and frames.

    Attributes
    ----------
    task : TaskCard
        Task; embeddings are looked up under its dataset.
    clip_ids : list of str
        Clips.
    grid : FrameGrid
        Frames of the student's embedding, in seconds of the crop.
    steps : int >= 1
        Number of frames per crop.
    alignment : {"time", "paper"}
        As for :meth:`Teachers.open`.
    """

    task: TaskCard
    clip_ids: list[str]
    grid: FrameGrid
    steps: int
    alignment: str


@dataclass(frozen=True)
class TeacherStream:
    """The stream that is read from a teacher.

    Attributes
    ----------
    name : str
        Name of the stream.
    has_frames : bool
        Whether frames are read; otherwise one vector per clip.
    display_name : str
        Teacher as the user wrote it, and what that does not say: a stream other than the default
        one, or that vectors are read.
    implicit : bool
        Whether vectors are read though the user did not ask for them.
    """

    name: str
    has_frames: bool
    display_name: str
    implicit: bool = False


def select_stream(name: str, embeddings: Embeddings, task: TaskCard) -> TeacherStream:
    """Return the stream to read from a teacher.

    Without ``stream=`` and ``pool=`` in the name, it is the default stream if that has frames; else
    the only stream with frames in the cache, if there is one; else vectors of the default stream.

    Parameters
    ----------
    name : str
        Teacher, as after ``--teacher``.
    embeddings : Embeddings
        Its embeddings.
    task : TaskCard
        Task, for messages.

    Raises
    ------
    CacheError
        If the stream, or its frames, are not in the cache.
    UnknownNameError
        If there is no such stream.
    """
    selector = parse_selector(name)
    stream = selector.stream or embeddings.default_stream
    if stream not in embeddings.stream_info:
        known = {**embeddings.stream_info, **embeddings.meta["card"].get("streams", {})}
        if stream not in known:
            raise unknown_name_error(f"stream of {selector.name}", stream, known)
        raise CacheError(
            f"{embeddings.folder}: stream {stream!r} of {display_name(selector.name)} was not "
            f"extracted, only {', '.join(embeddings.stream_info)}. Extract it with: "
            f"{_extract_command(embeddings, stream, task)}"
        )
    is_clip = embeddings.stream_info[stream]["kind"] == "clip"
    if "pool=" in name or (selector.stream and is_clip):
        return TeacherStream(stream, False, name)
    if not is_clip:
        if "frames" not in embeddings.index.arrays(stream):
            raise CacheError(
                f"{embeddings.folder}: has pooled vectors of {stream!r}, but not its frames, which "
                f"a teacher needs. Add them with: {_extract_command(embeddings, stream, task)}"
            )
        return TeacherStream(stream, True, name)
    with_frames = [s for s in embeddings.stream_info if "frames" in embeddings.index.arrays(s)]
    if len(with_frames) == 1:
        separator = "," if ":" in name else ":"
        return TeacherStream(with_frames[0], True, f"{name}{separator}stream={with_frames[0]}")
    return TeacherStream(stream, False, f"{name}, vectors", True)


def class_names(embeddings: Embeddings) -> tuple[str, ...] | None:
    """Return the classes of a teacher in the order of its outputs; None if they are not known."""
    module = embeddings.layout.identity.get("module", {})
    if isinstance(module, dict) and "classes" in module:  # a trained student
        return tuple(module["classes"])
    return None if embeddings.head is None else embeddings.head.classes


def _extract_command(embeddings: Embeddings, stream: str, task: TaskCard) -> str:
    """Return the command that adds a stream with frames to embeddings."""
    layout = embeddings.layout
    params = layout.identity.get("params", {})
    extractor = display_name(layout.extractor)
    name = str(EmbeddingSelector(extractor, params={k: str(v) for k, v in params.items()}))
    words = [
        f"probekit extract -e {name} {_recordings_of(embeddings, task)}",
        f"--streams {stream} --frames",
    ]
    for role, weights in layout.identity.get("weights", {}).items():
        if weights.startswith("random:"):
            option = layout.extractor if role == "main" else f"{layout.extractor}.{role}"
            words.append(f"--weights {option}={weights.split()[0]}")
    precision = layout.identity.get("precision", "float32")
    words += [f"--precision {precision}"] * (precision != "float32")
    words += [f"--dtype {layout.dtype}"] * (layout.dtype != "float32")
    words.append(f"--cache {embeddings.folder.parents[1]}")
    return " ".join(words)


def _recordings_of(embeddings: Embeddings, task: TaskCard) -> str:
    """Return the options of ``extract`` that name a task's recordings."""
    if task.module != "table" or task.options or task.name != task.dataset:
        return f"--task {task.name} --root DIR"
    # a folder or table without a card: its name is not the name of a task
    clips = latest_manifest(embeddings.folder.parents[1], task.dataset)
    if clips is None or clips.source is None:
        return f"--audio {task.name}"
    source = clips.source
    if source.is_relative_to(Path.cwd()):
        source = source.relative_to(Path.cwd())
    option = "--task" if source.suffix.lower() in TABLE_SUFFIXES else "--audio"
    return f"{option} {shlex.quote(str(source))}"


class Reader(Protocol):
    """Reads the features of one teacher."""

    dim: int

    def read_frames(self, rows: Rows, starts: Starts, rate: int) -> tuple[Array, Array]:
        """Return features, shape (n, steps, dim), and which are valid, shape (n, steps).

        ``rows`` are positions in :attr:`StudentGrid.clip_ids`; ``starts`` are starts of the crops
        in units of ``1 / rate`` s.
        """
        ...


class ClipTeacher:
    """A teacher with one vector per clip.

    Parameters
    ----------
    vectors : numpy.ndarray, shape (clips, dim), float32
        Vectors of all clips.
    steps : int >= 1
        Number of the student's frames.
    """

    def __init__(self, vectors: Array, steps: int) -> None:
        self.vectors = vectors
        self.steps = steps
        self.dim = vectors.shape[1]

    def read_frames(self, rows: Rows, starts: Starts, rate: int) -> tuple[Array, Array]:
        """Return each clip's vector in every frame of the student; all are valid."""
        features = np.repeat(self.vectors[rows][:, None], self.steps, axis=1)
        return features, np.ones(features.shape[:2], bool)


class FrameTeacher:
    """A teacher with frames; ``student`` are the frames that they are aligned with."""

    def __init__(self, embeddings: Embeddings, stream: str, student: StudentGrid) -> None:
        self.embeddings = embeddings
        self.student = student
        info = embeddings.stream_info[stream]
        self.true_grid = FrameGrid.parse(info["hop"], info["first_center"], info["window"])
        is_rounded = student.alignment == "paper"
        self.grid = rounded_grid(self.true_grid) if is_rounded else self.true_grid
        # as many frames as can touch a crop, wherever it starts
        count = int(student.steps * student.grid.hop / self.grid.hop) + 2
        seconds = count * float(self.true_grid.hop)
        self.crops: Crops = embeddings.crops(student.clip_ids, seconds, stream)
        self.dim = self.crops.dim

    def read_frames(self, rows: Rows, starts: Starts, rate: int) -> tuple[Array, Array]:
        """Return the mean of the frames that overlap each frame of the student."""
        first, weights = overlap_weights(
            self.grid,
            self.student.grid,
            self.student.steps,
            starts,
            rate=rate,
            counts=self.crops.counts[rows],
        )
        frames = self.crops.read(rows, first)[:, : weights.shape[2]]
        with np.errstate(invalid="ignore"):  # the caller raises for NaN
            return weights @ frames, np.asarray(weights.any(axis=2))

    def check_durations(self, durations: npt.NDArray[np.float64]) -> None:
        """Raise a CacheError if frames end more than a window before a clip's audio does.

        ``durations``, shape (clips,), are seconds of the clips' audio.
        """
        hop, window = float(self.true_grid.hop), float(self.true_grid.window)
        ends = float(self.true_grid.first_center) + (self.crops.counts - 1) * hop + window / 2
        short = np.flatnonzero(ends + max(window, hop) < durations)
        if len(short):
            first, ids = int(short[0]), self.student.clip_ids
            raise CacheError(
                f"{self.embeddings.folder}: the frames of {len(short)} of {len(durations)} clips "
                f"end before the audio does: {summarize_ids([ids[k] for k in short])}. Those of "
                f"{ids[first]!r} end at {max(ends[first], 0):.2f} s, its audio at "
                f"{durations[first]:.2f} s. Extract again from these recordings, or choose a "
                "teacher that reads whole clips"
            )


@dataclass(frozen=True)
class TeacherSource:
    """One teacher.

    Attributes
    ----------
    selector : EmbeddingSelector
        What the user wrote.
    embeddings : Embeddings
        Its embeddings.
    source : Source
        Its entry in a result; ``pool`` is ``["frames"]`` if frames are read.
    reader : Reader
        Reads its features.
    stream : TeacherStream
        What is read.
    """

    selector: EmbeddingSelector
    embeddings: Embeddings
    source: Source
    reader: Reader
    stream: TeacherStream


def open_teacher(name: str, student: StudentGrid, cache: Path) -> TeacherSource:
    """Open a teacher, named as after ``-e``, in the cache's folder.

    Raises
    ------
    CacheError
        If it is not in the cache, or lacks clips or frames.
    """
    selector = parse_selector(name)
    if "+" in selector.name:
        raise ProbekitError(f"--teacher {name}: give each teacher its own --teacher, without '+'")
    embeddings = find_embeddings(cache, selector, student.task.dataset)
    stream = select_stream(name, embeddings, student.task)
    _check_clips(embeddings, student.clip_ids)
    reader: Reader
    if stream.has_frames:
        reader, pool = FrameTeacher(embeddings, stream.name, student), ["frames"]
    else:
        vectors = embeddings.vectors(student.clip_ids, stream.name, selector.pool)
        reader, pool = ClipTeacher(vectors, student.steps), list(selector.pool)
    source = Source(
        extractor=embeddings.layout.extractor,
        fingerprint=embeddings.layout.fingerprint,
        identity=embeddings.layout.identity,
        stream=stream.name,
        pool=pool,
        dim=reader.dim,
    )
    return TeacherSource(selector, embeddings, source, reader, stream)


def _check_clips(embeddings: Embeddings, clip_ids: Sequence[str]) -> None:
    """Raise if a teacher lacks clips."""
    present = set(embeddings.clip_ids)
    missing = [clip_id for clip_id in clip_ids if clip_id not in present]
    if missing:
        reason = embeddings.failures.get(missing[0], "never extracted")
        raise CacheError(
            f"{embeddings.folder}: the teacher lacks {len(missing):,} of {len(clip_ids):,} clips: "
            f"{summarize_ids(missing)} (the first: {reason}). Extract them, or remove them from "
            "the task"
        )


class Teachers:
    """Features of one or several teachers, side by side, at the student's frames.

    Use :meth:`open`. It can be shared by threads, which take turns.

    Parameters
    ----------
    members : sequence of TeacherSource
        Teachers.
    clip_ids : sequence of str
        Clips.

    Attributes
    ----------
    clip_ids : list of str
        Clips. Rows in :meth:`read_frames` are positions in this list.
    dim : int
        Total dimension of all teachers.
    """

    def __init__(self, members: Sequence[TeacherSource], clip_ids: Sequence[str]) -> None:
        self.members = tuple(members)
        self.clip_ids = list(clip_ids)
        self.dim = sum(member.reader.dim for member in members)
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    @classmethod
    def open(
        cls,
        task: TaskCard,
        names: Sequence[str],
        clip_ids: Sequence[str],
        grid: FrameGrid,
        steps: int,
        *,
        cache: str | Path | None = None,
        durations: npt.ArrayLike | None = None,
        alignment: str = "time",
    ) -> "Teachers":
        """Open teachers in a cache, and check that they have all clips.

        Parameters
        ----------
        task : TaskCard
            Task; embeddings are looked up under its dataset.
        names : sequence of str
            Teachers as after ``-e``: ``vggish``, ``vggish:stream=pca8``, ``openl3@1a2b3c4d``.
            Frames are read, unless the name has ``pool=`` or the stream has one vector per clip,
            which is then repeated in every frame of the student; see :func:`select_stream`.
        clip_ids : sequence of str
            Clips.
        grid : FrameGrid
            Frames of the student's embedding, in seconds of the crop.
        steps : int >= 1
            Number of frames per crop.
        cache : str or pathlib.Path, optional
            The cache's folder; by default ``PROBEKIT_CACHE``, else ``cache``.
        durations : array_like, shape (clips,), optional
            Seconds of the clips' audio; teachers that end much earlier are then refused.
        alignment : {"time", "paper"}
            ``time``: a student's frame gets the mean of the teacher's frames, weighted by their
            overlap in time. ``paper``: as hung2022, which takes VGGish's hop of 0.96 s for 1 s;
            see :func:`probekit.distillation.alignment.rounded_grid`.

        Returns
        -------
        Teachers
            Files of frames are opened when they are first read.

        Raises
        ------
        CacheError
            If a teacher is not in the cache, lacks clips or frames, or ends before the audio does.
        DataError
            If vectors hold NaN or infinite values.
        """
        if alignment not in ALIGNMENTS:
            raise unknown_name_error("alignment", alignment, ALIGNMENTS)
        if not names:
            raise ProbekitError("no teacher was named")
        student = StudentGrid(task, list(clip_ids), grid, steps, alignment)
        folder = cache_root(cache)
        members = [open_teacher(name, student, folder) for name in names]
        for member in members:
            if isinstance(member.reader, ClipTeacher):
                _check_finite(member, member.reader.vectors[:, None], clip_ids)
            elif isinstance(member.reader, FrameTeacher) and durations is not None:
                member.reader.check_durations(np.asarray(durations, np.float64))
        return cls(members, clip_ids)

    @property
    def sources(self) -> list[Source]:
        """Entry of each teacher in a result."""
        return [member.source for member in self.members]

    @property
    def provenance(self) -> list[str]:
        """Notes about the teachers that every score must show."""
        notes = (note for m in self.members for note in m.embeddings.layout.provenance)
        return list(dict.fromkeys(notes))

    @property
    def clip_level_notes(self) -> list[str]:
        """Notes about teachers without frames, for methods that read frames."""
        return [
            f"teacher {display_name(m.selector.name)}: one vector a clip ({m.stream.name})"
            for m in self.members
            if m.stream.implicit
        ]

    @property
    def display_names(self) -> list[str]:
        """Display name of each teacher."""
        return [member.stream.display_name for member in self.members]

    def fingerprints(self) -> list[str]:
        """Return the fingerprint of each teacher."""
        return [member.source["fingerprint"] for member in self.members]

    def digest(self) -> str:
        """Return the SHA-256 over what determines the features."""
        embeddings = [member.embeddings for member in self.members]
        return digest_features(embeddings, self.sources, self.clip_ids)

    def clip_rows(self, clip_ids: Sequence[str]) -> Rows:
        """Return the rows of clips; raise a CacheError if one is missing."""
        rows = {clip_id: row for row, clip_id in enumerate(self.clip_ids)}
        missing = [clip_id for clip_id in clip_ids if clip_id not in rows]
        if missing:
            raise CacheError(
                f"{len(missing)} of {len(clip_ids)} clips have no teacher: {summarize_ids(missing)}"
            )
        return np.fromiter((rows[clip_id] for clip_id in clip_ids), np.int64, len(clip_ids))

    def read_frames(
        self, rows: npt.ArrayLike, starts: Starts, *, rate: int = 1
    ) -> tuple[Array, Array]:
        """Return the teachers' features for crops of clips.

        Parameters
        ----------
        rows : array_like of int, shape (n,)
            Rows of the clips, from :meth:`clip_rows`.
        starts : sequence of int, float or Fraction, length n
            Starts of the crops in their clips, in units of ``1 / rate`` s.
        rate : int >= 1
            1 for seconds; the sample rate if starts are whole samples, which is exact.

        Returns
        -------
        features : numpy.ndarray, shape (n, steps, dim), float32
            Teachers in the order named; 0 where not valid.
        valid : numpy.ndarray of bool, shape (n, steps)
            Whether every teacher has frames there; not after the end of a clip, for example.

        Raises
        ------
        DataError
            If features are NaN or infinite.
        CacheError
            If a part of a cache is damaged or missing.
        """
        rows = np.asarray(rows, np.int64)
        members = []
        with self._lock:
            for member in self.members:
                features, valid = member.reader.read_frames(rows, starts, rate)
                _check_finite(member, features, [self.clip_ids[row] for row in rows])
                members.append((features, valid))
        if len(members) == 1:
            return members[0]
        valid = np.logical_and.reduce([valid for _, valid in members])
        features = np.concatenate([features for features, _ in members], axis=2)
        features[~valid] = 0
        return features, valid


def _check_finite(member: TeacherSource, features: Array, clip_ids: Sequence[str]) -> None:
    """Raise if features of a clip are NaN or infinite."""
    bad = np.flatnonzero(~np.isfinite(features).all(axis=(1, 2)))
    if len(bad):
        raise DataError(
            f"{member.embeddings.folder}: features of {member.source['stream']!r} of clip "
            f"{clip_ids[bad[0]]!r} are NaN or infinite. Extract this clip again, with --precision "
            "float32 and --dtype float32"
        )
