"""What teachers say about the very seconds that a student hears, from embedding caches."""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.cache import layout
from probekit.cards import TaskCard
from probekit.distill import reading
from probekit.distill.reading import Framed, Member, Places, Repeated, Starts, Student, some
from probekit.errors import CacheError, DataError, ProbekitError
from probekit.extractors.grid import Grid
from probekit.probes.features import Source
from probekit.registry import unknown
from probekit.selection import short

Array = npt.NDArray[Any]

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
        The clips; :meth:`at` names them by their place in it.
    features : int
        Dimensions of all teachers together.
    """

    def __init__(self, members: Sequence[Member], ids: Sequence[str]) -> None:
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
        grid: Grid,
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
            :func:`probekit.distill.streams.choose`.
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
            :func:`probekit.distill.alignment.nominal`.

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
            raise unknown("alignment", alignment, ALIGNMENTS)
        if not names:
            raise ProbekitError("no teacher is named")
        student = Student(task, list(ids), grid, steps, alignment)
        where = layout.root(cache)
        members = [reading.find(name, student, where) for name in names]
        for member in members:
            if isinstance(member.reader, Repeated):
                _check_finite(member, member.reader.vectors[:, None], ids)
            elif isinstance(member.reader, Framed) and seconds is not None:
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
    def repeated(self) -> list[str]:
        """What must be shown, too, of a method for frames: teachers without any, unasked."""
        return [
            f"teacher {short(m.chosen.name)}: one vector a clip ({m.read.stream})"
            for m in self.members
            if m.read.unasked
        ]

    @property
    def called(self) -> list[str]:
        """What people call each teacher: as they named it, and what else was read."""
        return [member.read.called for member in self.members]

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

    def places(self, ids: Sequence[str]) -> Places:
        """Return where clips stand in :attr:`ids`.

        Parameters
        ----------
        ids : sequence of str
            Clips; all among those that the teachers were opened for.

        Returns
        -------
        numpy.ndarray of int64, shape (clips,)
            For :meth:`at`.

        Raises
        ------
        CacheError
            If the teachers were not opened for one of them.
        """
        known = {clip_id: place for place, clip_id in enumerate(self.ids)}
        lacking = [clip_id for clip_id in ids if clip_id not in known]
        if lacking:
            raise CacheError(f"{len(lacking)} of {len(ids)} clips have no teacher: {some(lacking)}")
        return np.fromiter((known[clip_id] for clip_id in ids), np.int64, len(ids))

    def at(self, clips: npt.ArrayLike, starts: Starts, *, rate: int = 1) -> tuple[Array, Array]:
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
                values, valid = member.reader.at(places, starts, rate)
                _check_finite(member, values, [self.ids[place] for place in places])
                found.append((values, valid))
        if len(found) == 1:
            return found[0]
        every = np.logical_and.reduce([valid for _, valid in found])
        joined = np.concatenate([values for values, _ in found], axis=2)
        joined[~every] = 0
        return joined, every


def _check_finite(member: Member, values: Array, ids: Sequence[str]) -> None:
    """Refuse features that are not numbers."""
    bad = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
    if len(bad):
        raise DataError(
            f"{member.embeddings.where}: features of {member.source['stream']!r} of clip "
            f"{ids[bad[0]]!r} are NaN or infinite. Extract this clip again, with --precision "
            "float32 and --dtype float32"
        )
