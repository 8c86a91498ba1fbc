"""Batches of audio, targets and precomputed frames, for training and for scoring."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probekit._typing import Array
from probekit.errors import DataError
from probekit.training.audio_store import AudioStore
from probekit.training.class_rounds import ClassRounds
from probekit.training.level_store import LevelStore
from probekit.utils import prefetch
from probekit.utils.suggest import unknown_name_error

Rows = npt.NDArray[np.int64]

CHUNK_POLICIES = ("cover", "won", "middle")
WON_CHUNKS_PER_CLIP = 16
"""Chunks per clip that the code of Won et al. (2020) scores."""
_QUEUE_SIZE = 4  # batches that wait for the network


class FrameSource(Protocol):
    """Frames that are read beside the audio of a crop, such as cached embeddings."""

    def clip_rows(self, clip_ids: Sequence[str]) -> Rows:
        """Return the source's own rows of clips, given by their ids."""

    def read_frames(
        self, rows: npt.ArrayLike, starts: Any, *, rate: int = 1
    ) -> tuple[Array, Array]:
        """Return frames, shape (B, T, F), and which are valid, shape (B, T).

        ``rows`` are from :meth:`clip_rows`; ``starts`` are the starts of the crops in units of
        ``1 / rate`` s.
        """


@dataclass(frozen=True)
class Batch:
    """Input of one step of training or scoring.

    Attributes
    ----------
    waves : Tensor, shape (B, samples) or (B, frames, bands), float32
        Mono audio, full scale 1.0, zeros after the end of a clip; or stored spectra in dB.
    clips : Tensor, shape (B,), int64
        Row of each crop's clip in the audio store.
    targets : Tensor or None
        Class indices, shape (B,), int64, or values, shape (B, classes), float32; None in scoring.
    frames : Tensor or None, shape (B, T, F), float32
        Frames of a :class:`FrameSource`.
    valid : Tensor or None, shape (B, T), bool
        Which frames exist.
    """

    waves: Tensor
    clips: Tensor
    targets: Tensor | None = None
    frames: Tensor | None = None
    valid: Tensor | None = None

    def __len__(self) -> int:
        return len(self.waves)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on a device; asynchronous from pinned memory."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """Return the batch with a function applied to every tensor."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {key: function(value) for key, value in tensors.items() if value is not None}
        return replace(self, **changed)


class TrainBatches:
    """Batches of one random crop per clip and epoch.

    Order and crops depend on the seed and the epoch only, so that a resumed run reads what it
    would have read without the interruption.

    Parameters
    ----------
    audio : AudioStore or LevelStore
        Audio of the clips, or its spectra.
    frame_source : FrameSource or None
        Has frames of these clips, or of more.
    targets : numpy.ndarray, shape (all clips,) or (all clips, classes)
        By rows of ``audio``: class indices, or 0 and 1, or real values.
    rows : sequence of int
        Rows of the clips to train on.
    crop_length : int >= 1
        Samples per crop; shorter clips are padded with zeros.
    batch_size : int >= 1
        Clips per batch. The last batch of an epoch is smaller; a single remaining clip joins the
        batch before, since batch normalization and pairs of clips need two.
    seed : int >= 0
        Seed of order and crops.
    pin : bool
        Whether batches are in page-locked memory, for CUDA.
    drop_last : bool
        Whether clips that do not fill a batch are left out of an epoch, unless there is no other.
    rounds : ClassRounds, optional
        Reads clips by class instead of each once an epoch.
    steps_per_epoch : int >= 1, optional
        Batches of an epoch, for ``rounds``; by default those of one pass over the clips.
    """

    def __init__(
        self,
        audio: AudioStore | LevelStore,
        frame_source: FrameSource | None,
        targets: Array,
        rows: Sequence[int] | Rows,
        crop_length: int,
        batch_size: int,
        seed: int,
        *,
        pin: bool = False,
        drop_last: bool = False,
        rounds: ClassRounds | None = None,
        steps_per_epoch: int | None = None,
    ) -> None:
        self.rounds, self._steps_per_epoch = rounds, steps_per_epoch
        self.rows = np.asarray(rows, np.int64)
        self.crop_length = crop_length
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self._reader = _BatchReader(audio, frame_source, self.rows, crop_length, pin)
        values = np.asarray(targets)
        dtype = torch.int64 if values.ndim == 1 else torch.float32
        self._targets = torch.as_tensor(values).to(dtype)

    def steps(self, world_size: int = 1) -> int:
        """Return the number of batches per epoch for each of ``world_size`` processes."""
        if self.rounds is not None and self._steps_per_epoch is not None:
            return self._steps_per_epoch
        return -(-len(self._batch_slices()) // world_size)

    def epoch(
        self, number: int, *, rank: int = 0, world_size: int = 1, restart: int = 0
    ) -> Iterator[Batch]:
        """Iterate over the batches of an epoch, prefetched in a thread.

        Parameters
        ----------
        number : int >= 0
            Index of the epoch.
        rank, world_size : int
            Index and number of processes. Batches are dealt in turn; the first ones are repeated
            so that all processes get the same number.
        restart : int >= 0
            How often the batches were read in this epoch before; each time in another order.

        Yields
        ------
        Batch
            With targets. Exceptions of the thread are raised here.
        """
        batches = self._batches([number, restart] if restart else [number], rank, world_size)
        return prefetch.prefetch(batches, _QUEUE_SIZE)

    def _batches(self, numbers: Sequence[int], rank: int, world_size: int) -> Iterator[Batch]:
        """Read the batches of an epoch, whose order follows from seed and numbers."""
        rng = np.random.default_rng([self.seed, *numbers])
        if self.rounds is not None:
            yield from self._rounds_batches(self.rounds, numbers, rank, world_size)
            return
        order = rng.permutation(len(self.rows))
        spare = np.maximum(self._reader.audio.lengths[self.rows] - self.crop_length, 0)
        starts = rng.integers(spare + 1)
        slices = self._batch_slices()
        for k in range(rank, self.steps(world_size) * world_size, world_size):
            chosen = order[slices[k % len(slices)]]
            yield self._reader.read(self.rows[chosen], starts[chosen], self._targets)

    def _rounds_batches(
        self, rounds: ClassRounds, numbers: Sequence[int], rank: int, world_size: int
    ) -> Iterator[Batch]:
        """Read the batches of an epoch by class; the sequence goes on from epoch to epoch."""
        steps, spare = self.steps(world_size), self._reader.audio.lengths - self.crop_length
        for step in range(steps):
            batch = (numbers[0] * steps + step) * world_size + rank
            rows = self.rows[rounds.draw(batch * self.batch_size, self.batch_size)]
            rng = np.random.default_rng([self.seed, *numbers, batch])
            starts = rng.integers(np.maximum(spare[rows], 0) + 1)
            yield self._reader.read(rows, starts, self._targets)

    def _batch_slices(self) -> list[slice]:
        """Return the slice of an epoch's order that each batch takes."""
        count = len(self.rows)
        if self.drop_last and count > self.batch_size:
            count -= count % self.batch_size
        edges = list(range(0, count, self.batch_size))
        if len(edges) > 1 and count - edges[-1] == 1:
            edges.pop()
        return [slice(*pair) for pair in zip(edges, [*edges[1:], count], strict=True)]


def evaluation_batches(
    audio: AudioStore | LevelStore,
    frame_source: FrameSource | None,
    rows: Sequence[int] | Rows,
    chunk_length: int,
    batch_size: int,
    policy: str = "cover",
    *,
    pin: bool = False,
) -> Iterator[Batch]:
    """Iterate over chunks of clips to score, prefetched in a thread.

    Parameters
    ----------
    audio : AudioStore or LevelStore
        Audio of the clips, or its spectra.
    frame_source : FrameSource or None
        For models that read frames at inference.
    rows : sequence of int
        Rows of the clips.
    chunk_length : int >= 1
        Samples per chunk.
    batch_size : int >= 1
        Chunks per batch; those of one clip may be in two batches.
    policy : {"cover", "won", "middle"}
        ``cover``: as few evenly spaced chunks as cover a clip. ``won``: 16 chunks that start every
        ``(clip_length - chunk_length) // 16`` samples, so that the end of the clip is not reached.
        ``middle``: one chunk in the middle. Clips no longer than a chunk have one.
    pin : bool
        Whether batches are in page-locked memory, for CUDA.

    Yields
    ------
    Batch
        Without targets; ``clips`` tells which scores to average.

    Raises
    ------
    UnknownNameError
        If there is no such policy.
    """
    if policy not in CHUNK_POLICIES:
        raise unknown_name_error("choice of chunks", policy, CHUNK_POLICIES)
    rows = np.asarray(rows, np.int64)
    reader = _BatchReader(audio, frame_source, rows, chunk_length, pin)
    starts = [chunk_starts(int(length), chunk_length, policy) for length in audio.lengths[rows]]
    chunk_rows = np.repeat(rows, [len(clip_starts) for clip_starts in starts])
    flat_starts = np.concatenate(starts) if starts else np.zeros(0, np.int64)

    def read_batches() -> Iterator[Batch]:
        for start in range(0, len(flat_starts), batch_size):
            chosen = slice(start, start + batch_size)
            yield reader.read(chunk_rows[chosen], flat_starts[chosen])

    return prefetch.prefetch(read_batches(), _QUEUE_SIZE)


def chunk_starts(clip_length: int, chunk_length: int, policy: str = "cover") -> Rows:
    """Return the first sample of each chunk of a clip, ascending; see :func:`evaluation_batches`.

    Lengths are in samples. There is at least one chunk.
    """
    spare = max(0, clip_length - chunk_length)
    if not spare:
        return np.zeros(1, np.int64)
    if policy == "middle":
        return np.array([spare // 2])
    if policy == "won":
        return np.arange(WON_CHUNKS_PER_CLIP) * (spare // WON_CHUNKS_PER_CLIP)
    count = -(-clip_length // chunk_length)
    return np.arange(count) * spare // (count - 1)


class _BatchReader:
    """Reads batches of crops."""

    def __init__(
        self,
        audio: AudioStore | LevelStore,
        frame_source: FrameSource | None,
        rows: Rows,
        crop_length: int,
        pin: bool,
    ) -> None:
        self.audio = audio
        self.frame_source = frame_source
        self.crop_length = crop_length
        self.pin = pin
        silent = [audio.clip_ids[row] for row in rows if not audio.lengths[row]]
        if silent:
            raise DataError(
                f"{len(silent)} of {len(rows)} clips have no audio, for example {silent[0]!r}: "
                f"{audio.failures.get(silent[0], 'empty')}"
            )
        if frame_source is not None:  # may have other clips, in another order
            self.source_rows = np.full(len(audio.clip_ids), -1, np.int64)
            self.source_rows[rows] = frame_source.clip_rows([audio.clip_ids[row] for row in rows])

    def read(self, rows: Rows, starts: Rows, targets: Tensor | None = None) -> Batch:
        """Read one batch; ``targets`` are those of all clips."""
        clips = torch.from_numpy(rows)
        waves = torch.from_numpy(self.audio.crops(rows, starts, self.crop_length))
        batch = Batch(waves, clips)
        if targets is not None:
            batch = replace(batch, targets=targets[clips])
        if self.frame_source is not None:
            frames, valid = self.frame_source.read_frames(
                self.source_rows[rows], starts, rate=self.audio.sr
            )
            batch = replace(batch, frames=torch.from_numpy(frames), valid=torch.from_numpy(valid))
        return batch.pin_memory() if self.pin else batch
