"""Batches for training and for scoring: sound, targets, and what the teachers say about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probekit._typing import Array
from probekit.errors import DataError
from probekit.training.audio_store import AudioStore
from probekit.utils import prefetch
from probekit.utils.suggest import unknown_name_error

Places = npt.NDArray[np.int64]

POLICIES = ("cover", "won")
WON_CHUNKS_PER_CLIP = 16
"""Chunks of a clip that Won et al. score."""
_AHEAD = 4  # batches that wait for the network


class FrameSource(Protocol):
    """Embeddings over time that are read beside the audio, such as a teacher's."""

    def clip_rows(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the rows of clips, by their ids."""

    def read_frames(
        self, clips: npt.ArrayLike, starts: Any, *, rate: int = 1
    ) -> tuple[Array, Array]:
        """Return frames, shape (B, T, F), and which of them are valid, shape (B, T)."""


@dataclass(frozen=True)
class Batch:
    """What one step of training, or of scoring, reads.

    Attributes
    ----------
    waves : Tensor, shape (B, samples), float32
        Mono; full scale is 1.0; zeros follow where a clip ends before.
    clips : Tensor, shape (B,), int64
        Which clip each row is of, by its place in the sound's ids.
    targets : Tensor or None
        Class numbers, shape (B,), int64, or numbers, shape (B, classes), float32; None in scoring.
    teacher : Tensor or None, shape (B, T, F), float32
        What the teachers say; None without teachers.
    valid : Tensor or None, shape (B, T), bool
        Whether they say anything.
    """

    waves: Tensor
    clips: Tensor
    targets: Tensor | None = None
    teacher: Tensor | None = None
    valid: Tensor | None = None

    def __len__(self) -> int:
        return len(self.waves)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on a device; from pinned memory, while the device does other work."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Return the batch where a CUDA device fetches it by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Any) -> "Batch":
        """Return the batch with every tensor changed."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{k: change(v) for k, v in held.items() if v is not None})


class TrainBatches:
    """One random crop of every clip in each epoch.

    Order and crops follow from the seed and the epoch's number alone, so that a run that goes on
    reads what it would have read.

    Parameters
    ----------
    sound : Sound
        The clips' sound.
    teachers : FrameSource or None
        Opened for these clips, or more.
    targets : numpy.ndarray, shape (all clips of the sound,) or (all clips of the sound, classes)
        Row i is that of clip i of the sound: whole numbers for classes; else 0 and 1, or numbers.
    clips : sequence of int
        Which clips to train on, by their place in the sound's ids.
    samples : int >= 1
        Length of a crop; clips that are shorter are followed by zeros.
    batch : int >= 1
        Clips of a batch. The last one of an epoch is smaller; a single clip that would be left
        joins the one before, since neither batch normalization nor pairs work with one.
    seed : int >= 0
        Of all that is drawn.
    pin : bool
        Whether batches lie where a CUDA device fetches them by itself.
    """

    def __init__(
        self,
        sound: AudioStore,
        teachers: FrameSource | None,
        targets: Array,
        clips: Sequence[int] | Places,
        samples: int,
        batch: int,
        seed: int,
        *,
        pin: bool = False,
    ) -> None:
        self.clips = np.asarray(clips, np.int64)
        self.samples, self.batch, self.seed = samples, batch, seed
        self._feed = _BatchReader(sound, teachers, self.clips, samples, pin)
        numbers = np.asarray(targets)
        kind = torch.int64 if numbers.ndim == 1 else torch.float32
        self._targets = torch.as_tensor(numbers).to(kind)

    def steps(self, world: int = 1) -> int:
        """Return the number of batches of an epoch that each of ``world`` processes gets."""
        return -(-len(self._batch_slices()) // world)

    def epoch(self, number: int, *, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Walk over the batches of one epoch; a thread makes them ahead.

        Parameters
        ----------
        number : int >= 0
            Which epoch.
        rank, world : int
            Which of how many processes this is: batches are dealt in turn, and the first ones
            again so that all get as many.

        Yields
        ------
        Batch
            With targets. Whatever goes wrong while one is made is raised here.
        """
        return prefetch.prefetch(self._made(number, rank, world), _AHEAD)

    def _made(self, number: int, rank: int, world: int) -> Iterator[Batch]:
        """Make the batches of one epoch."""
        rng = np.random.default_rng([self.seed, number])
        order = rng.permutation(len(self.clips))
        spare = np.maximum(self._feed.sound.lengths[self.clips] - self.samples, 0)
        starts = rng.integers(spare + 1)
        cuts = self._batch_slices()
        for k in range(rank, self.steps(world) * world, world):
            rows = order[cuts[k % len(cuts)]]
            made = self._feed.batch(self.clips[rows], starts[rows], self._targets)
            yield made

    def _batch_slices(self) -> list[slice]:
        """Return which stretch of the order is which batch."""
        count = len(self.clips)
        edges = list(range(0, count, self.batch))
        if len(edges) > 1 and count - edges[-1] == 1:
            edges.pop()
        return [slice(*pair) for pair in zip(edges, [*edges[1:], count], strict=True)]


def evaluation_batches(
    sound: AudioStore,
    teachers: FrameSource | None,
    clips: Sequence[int] | Places,
    samples: int,
    batch: int,
    policy: str = "cover",
    *,
    pin: bool = False,
) -> Iterator[Batch]:
    """Walk over chunks of clips, to be scored; a thread makes them ahead.

    Parameters
    ----------
    sound : Sound
        The clips' sound.
    teachers : FrameSource or None
        For methods that need them when they score.
    clips : sequence of int
        Which clips, by their place in the sound's ids.
    samples : int >= 1
        Length of a chunk.
    batch : int >= 1
        Chunks of a batch; those of one clip may lie in two.
    policy : {"cover", "won"}
        ``cover``: as few chunks as reach from a clip's begin to its end, at equal distances.
        ``won``: 16 chunks, each ``(length - samples) // 16`` later than the one before, so that
        the clip's end is not reached. Clips that are no longer than a chunk have one.
    pin : bool
        Whether batches lie where a CUDA device fetches them by itself.

    Yields
    ------
    Batch
        Without targets; its ``clips`` say whose scores to average.

    Raises
    ------
    UnknownNameError
        If there is no such policy.
    """
    if policy not in POLICIES:
        raise unknown_name_error("choice of chunks", policy, POLICIES)
    places = np.asarray(clips, np.int64)
    feed = _BatchReader(sound, teachers, places, samples, pin)
    starts = [chunk_starts(int(length), samples, policy) for length in sound.lengths[places]]
    owners = np.repeat(places, [len(own) for own in starts])
    flat = np.concatenate(starts) if starts else np.zeros(0, np.int64)

    def made() -> Iterator[Batch]:
        for begin in range(0, len(flat), batch):
            some = slice(begin, begin + batch)
            yield feed.batch(owners[some], flat[some])

    return prefetch.prefetch(made(), _AHEAD)


def chunk_starts(length: int, samples: int, policy: str = "cover") -> Places:
    """Return where the chunks of a clip begin.

    Parameters
    ----------
    length : int >= 0
        Samples of the clip.
    samples : int >= 1
        Samples of a chunk.
    policy : {"cover", "won"}
        As for :func:`evaluation_batches`.

    Returns
    -------
    numpy.ndarray of int64, shape (chunks,)
        First samples, ascending; at least one.
    """
    spare = max(0, length - samples)
    if not spare:
        return np.zeros(1, np.int64)
    if policy == "won":
        return np.arange(WON_CHUNKS_PER_CLIP) * (spare // WON_CHUNKS_PER_CLIP)
    count = -(-length // samples)
    return np.arange(count) * spare // (count - 1)


class _BatchReader:
    """Makes batches of given stretches."""

    def __init__(
        self,
        sound: AudioStore,
        teachers: FrameSource | None,
        clips: Places,
        samples: int,
        pin: bool,
    ) -> None:
        self.sound, self.teachers, self.samples, self.pin = sound, teachers, samples, pin
        silent = [sound.ids[clip] for clip in clips if not sound.lengths[clip]]
        if silent:
            raise DataError(
                f"{len(silent)} of {len(clips)} clips have no sound, for example {silent[0]!r}: "
                f"{sound.failures.get(silent[0], 'empty')}"
            )
        if teachers is not None:  # which may know other clips, in another order
            self.taught = np.full(len(sound.ids), -1, np.int64)
            self.taught[clips] = teachers.clip_rows([sound.ids[clip] for clip in clips])

    def batch(self, clips: Places, starts: Places, targets: Tensor | None = None) -> Batch:
        """Read one batch."""
        which = torch.from_numpy(clips)
        made = Batch(torch.from_numpy(self.sound.crops(clips, starts, self.samples)), which)
        if targets is not None:
            made = replace(made, targets=targets[which])
        if self.teachers is not None:
            values, valid = self.teachers.read_frames(
                self.taught[clips], starts, rate=self.sound.rate
            )
            made = replace(made, teacher=torch.from_numpy(values), valid=torch.from_numpy(valid))
        return made.pin_memory() if self.pin else made
