"""A clip over time: class scores or dimensions of its frames, and how alike they are."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from probekit._typing import Array
from probekit.analysis.base import as_sentence, filename_stem
from probekit.cache import layout
from probekit.cache.embeddings import Embeddings, find_embeddings
from probekit.cards.selector import parse_selector
from probekit.errors import DataError
from probekit.tasks.task_clips import resolve_clips
from probekit.utils.suggest import unknown_name_error

MAX_STEPS = 600
"""Steps of time in a figure; more frames are averaged."""
TOP = 10
_PROBABILITIES = ("frame_probabilities", "probabilities")
"""Streams of frames that are scores of the network's own classes."""
_MAX_CELLS = 5_000_000  # numbers in a table; of more only the rows of the figure are in it


@dataclass(frozen=True)
class Timeline:
    """Frames of one clip.

    Attributes
    ----------
    frames : numpy.ndarray, shape (time, dim)
        The stream over time.
    times : numpy.ndarray, shape (time,)
        Centers of the frames, in seconds from the start of the clip.
    hop, window : float
        Seconds from one frame to the next, and seconds that each depends on.
    scores : numpy.ndarray or None, shape (time, classes)
        Probabilities of the classes of the network's own head; None if it reads no frames.
    classes : tuple of str
        Their names.
    top : int
        Rows of the figure.
    clip_id, task, embedding, stream : str
        What is shown.
    origin : dict
        Fingerprint, manifest; part of :meth:`facts`.
    provenance : tuple of str
        Notes that every figure must show.
    """

    frames: Array
    times: Array
    hop: float
    window: float
    scores: Array | None
    classes: tuple[str, ...]
    top: int
    clip_id: str
    task: str
    embedding: str
    stream: str
    origin: dict[str, Any]
    provenance: tuple[str, ...]

    @property
    def name(self) -> str:
        """Stem of the files."""
        return filename_stem(
            "timeline", self.task, self.embedding, self.clip_id, top=(self.top, TOP)
        )

    @property
    def block(self) -> int:
        """Number of frames that are averaged into one step of the figure."""
        return -(-len(self.frames) // MAX_STEPS)

    @cached_property
    def shown(self) -> list[int]:
        """Rows of the figure: classes with the highest score at any time, or dimensions.

        Dimensions are those that vary most over time. The first is at the top.
        """
        strength = self.frames.var(axis=0) if self.scores is None else self.scores.max(axis=0)
        return np.argsort(-strength, kind="stable")[: self.top].tolist()

    @property
    def row_names(self) -> list[str]:
        """Names of the rows of the figure."""
        if self.scores is None:
            return [f"dimension {k}" for k in self.shown]
        return [self.classes[k] for k in self.shown]

    def steps(self) -> Array:
        """Return the rows of the figure, shape (rows, steps).

        Scores are probabilities, dimensions are in standard deviations from their mean over time.
        """
        if self.scores is not None:
            return average_blocks(self.scores[:, self.shown], self.block).T
        values = self.frames[:, self.shown].astype(np.float64)
        deviation = values.std(axis=0)
        centered = values - values.mean(axis=0)
        return average_blocks(centered / np.where(deviation > 0, deviation, 1), self.block).T

    def similarity(self) -> Array:
        """Return the cosine of each step with each, shape (steps, steps).

        The mean over time is subtracted first: without that, numbers that never change would make
        all steps alike. Steps without deviation from the mean have the cosine 0 to all.
        """
        steps = average_blocks(self.frames, self.block)
        steps = steps - steps.mean(axis=0)
        norms = np.linalg.norm(steps, axis=1, keepdims=True)
        unit = steps / np.where(norms > 0, norms, 1)
        return np.clip(unit @ unit.T, -1, 1)

    def edges(self) -> Array:
        """Return where the steps of the figure begin and end, in seconds, shape (steps + 1,)."""
        starts = self.times[:: self.block] - self.hop / 2
        return np.append(starts, self.times[-1] + self.hop / 2)

    @property
    def caption(self) -> str:
        """Caption for a paper."""
        count = len(self.frames)
        rows = (
            f"the {len(self.shown)} of {self.frames.shape[1]} dimensions that vary most, in "
            "standard deviations from their mean over time"
            if self.scores is None
            else f"the {len(self.shown)} of {len(self.classes)} classes of the network's own head "
            "with the highest probability at any time"
        )
        averaged = f", {self.block} averaged into each step" if self.block > 1 else ""
        return (
            f"{self.clip_id} of {self.task} over time, as {self.embedding} (stream {self.stream}) "
            f"embeds it: {count:,} frames of {self.window:.4g} s, one every {self.hop:.4g} s"
            f"{averaged}. Top: {rows}. Bottom: cosine similarity of each step with each, after the "
            f"mean over time was subtracted.{as_sentence(self.provenance)}"
        )

    def facts(self) -> dict[str, Any]:
        """Return clip, embedding with fingerprint, frame grid and rows."""
        return {
            **self.origin,
            "clip": self.clip_id,
            "embedding": self.embedding,
            "stream": self.stream,
            "frames": len(self.frames),
            "hop": self.hop,
            "window": self.window,
            "averaged": self.block,
            "rows": self.row_names,
            "table": "all" if self._whole_table else "the rows of the figure",
            "provenance": list(self.provenance),
        }

    @property
    def _whole_table(self) -> bool:
        """Whether the table has all numbers, and not only those of the figure."""
        return len(self.frames) * (self.frames.shape[1] + len(self.classes)) <= _MAX_CELLS

    def rows(self) -> list[dict[str, Any]]:
        """Return each frame's center, start and end, scores of all classes and all dimensions.

        Of more than five million numbers, only those of the figure's rows.
        """
        columns: dict[str, Array] = {
            "time": self.times,
            "start": self.times - self.window / 2,
            "end": self.times + self.window / 2,
        }
        whole = self._whole_table
        if self.scores is not None:
            for k in range(len(self.classes)) if whole else self.shown:
                columns[self.classes[k]] = self.scores[:, k]
        if self.scores is None or whole:
            for k in range(self.frames.shape[1]) if whole else self.shown:
                columns[f"dimension {k}"] = self.frames[:, k]
        names, values = list(columns), np.stack(list(columns.values()), axis=1).tolist()
        return [dict(zip(names, row, strict=True)) for row in values]


def timeline(
    task: str,
    clip_id: str,
    embedding: str,
    *,
    cache: str | Path | None = None,
    root: str | Path | None = None,
    top: int = TOP,
) -> Timeline:
    """Read a clip's frames, and the scores of the network's own classes over time.

    Parameters
    ----------
    task : str
        As for :func:`probekit.evaluate`.
    clip_id : str
        A clip whose frames are in the cache.
    embedding : str
        As for :func:`probekit.evaluate`; a single extractor.
    cache, root : str or pathlib.Path, optional
        As for :func:`probekit.evaluate`.
    top : int >= 1
        Classes or dimensions to show.

    Returns
    -------
    Timeline
        To be drawn by :func:`probekit.figures.heatmap.draw_timeline`.

    Raises
    ------
    ProbekitError
        If clip, embedding or its frames are not in the cache, or there is only one frame.
    """
    cache_root = layout.cache_root(cache)
    selector = parse_selector(embedding)
    card, clips = resolve_clips(task, cache_root, root)
    embeddings = find_embeddings(cache_root, selector, card.dataset)
    if clip_id not in clips.clip_ids:
        raise unknown_name_error(f"clip of {card.name}", clip_id, clips.clip_ids)
    stream = selector.stream or embeddings.default_stream
    _check_time(embeddings, embedding, stream)
    frames, times = embeddings.frames(clip_id, stream), embeddings.times(clip_id, stream)
    grid = embeddings.stream_info[stream]
    if len(frames) < 2:
        windowed = embeddings.meta["card"].get("long_audio") == "windowed"
        hint = f", or a shorter hop: -e {selector.name}:hop=SECONDS" if windowed else ""
        raise DataError(
            f"{clip_id}: one frame of {float(Fraction(grid['window'])):.3g} s, so there is nothing "
            f"over time. Choose a longer clip{hint}"
        )
    scores, classes = _head_scores(embeddings, clip_id, times)
    if stream in _PROBABILITIES and embeddings.head is not None:  # the scores themselves
        scores, classes = frames, embeddings.head.classes
    return Timeline(
        frames=frames,
        times=times,
        hop=float(Fraction(grid["hop"])),
        window=float(Fraction(grid["window"])),
        scores=scores,
        classes=classes,
        top=top,
        clip_id=clip_id,
        task=card.name,
        embedding=embedding,
        stream=stream,
        origin={
            "task": card.name,
            "fingerprint": embeddings.layout.fingerprint,
            "manifest": clips.digest(),
        },
        provenance=(*clips.provenance, *embeddings.layout.provenance),
    )


def average_blocks(values: Array, block: int) -> Array:
    """Return means over so many rows each; the last ones may be fewer.

    Parameters
    ----------
    values : numpy.ndarray, shape (time, dim)
        In order of time.
    block : int >= 1
        Rows to average.

    Returns
    -------
    numpy.ndarray, shape (ceil(time / block), dim), float64
        The values themselves if ``block`` is 1.
    """
    starts = np.arange(0, len(values), block)
    counts = np.diff(np.append(starts, len(values)))
    sums = np.add.reduceat(values.astype(np.float64), starts, axis=0)
    return np.asarray(sums / counts[:, None])


def _check_time(embeddings: Embeddings, name: str, stream: str) -> None:
    """Raise if a stream has one vector a clip, and say which streams have frames."""
    info = embeddings.stream_info.get(stream)
    if info is None or info["kind"] == "frames":
        return
    others = [s for s, facts in embeddings.meta["card"]["streams"].items() if facts.get("hop")]
    extractor = embeddings.layout.extractor
    hint = (
        f"Use -e {extractor}:stream={others[0]}, extracted with --streams {others[0]} --frames"
        if others
        else f"{extractor} has no frames: list parts of the recording as clips, with start and end "
        "in a table, or use an extractor with frames, such as vggish"
    )
    raise DataError(f"-e {name}: the stream {stream!r} is one vector a clip. {hint}")


def _head_scores(
    embeddings: Embeddings, clip_id: str, times: Array
) -> tuple[Array | None, tuple[str, ...]]:
    """Return the probabilities of the network's own classes at these times, if it has them."""
    head = embeddings.head
    if head is None or embeddings.stream_info.get(head.stream, {}).get("kind") != "frames":
        return None, ()
    if "frames" not in embeddings.index.arrays(head.stream):
        return None, ()
    if not np.array_equal(embeddings.times(clip_id, head.stream), times):
        return None, ()
    frames = embeddings.frames(clip_id, head.stream).astype(np.float64)
    return expit(frames @ head.weight.T.astype(np.float64) + head.bias), head.classes
