"""Embed a long recording in constant memory: windows are cut while it is decoded."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probekit.audio.recording import Recording
from probekit.audio.resample import resample_blocks
from probekit.cards import ExtractorCard
from probekit.extractors.base import Extractor, WindowedExtractor
from probekit.extractors.pooling import StreamingPool

LONGEST = 300.0
"""Seconds of a clip that is held in memory whole; longer ones of windowed extractors are not."""
_BLOCK = 1 << 21  # samples to decode at once: 48 s at 44,100 Hz

Arrays = dict[str, dict[str, np.ndarray[Any, Any]]]


def needs_streaming(recording: Recording, card: ExtractorCard) -> bool:
    """Tell whether a clip has to be embedded piece by piece.

    Parameters
    ----------
    recording : Recording
        The clip.
    card : ExtractorCard
        The extractor's.

    Returns
    -------
    bool
        True if it is long, or does not say how long, and windows are all that the extractor sees.
    """
    windowed = card.long_audio == "windowed"
    return windowed and (recording.seconds is None or recording.seconds > LONGEST)


def embed(extractor: Extractor, recording: Recording, *, frames: bool) -> tuple[Arrays, float]:
    """Embed a clip piece by piece.

    Parameters
    ----------
    extractor : Extractor
        A windowed one.
    recording : Recording
        The clip.
    frames : bool
        Whether to keep frames; memory then grows with them.

    Returns
    -------
    dict of str to dict of str to numpy.ndarray
        For each stream ``mean``, ``std`` and ``max`` over time, shape (dim,), float32, and
        ``frames``, shape (time, dim), if they are kept: within 1e-5 of those of the whole clip.
    float
        The clip's duration in seconds.

    Raises
    ------
    AudioError
        If the recording is damaged or does not hold the clip.
    TypeError
        If the extractor does not see windows.
    """
    if not isinstance(extractor, WindowedExtractor):
        raise TypeError(f"{extractor.card.name} does not see windows")
    counted = _CountingReader(recording.blocks(_BLOCK))
    card = extractor.card
    waves = resample_blocks(counted, recording.rate, card.sample_rate, card.resampler)
    running = {name: StreamingPool() for name in extractor.streams}
    kept: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in extractor.streams}
    for windows in _windows(extractor, waves):
        outputs = extractor.run(windows)
        for name, stream in extractor.streams.items():
            values = outputs[name].reshape(-1, stream.dim).cpu().numpy()
            running[name].add(values)
            if frames:
                kept[name].append(values)
    arrays: Arrays = {name: dict(own.result()) for name, own in running.items()}
    if frames:
        for name, pieces in kept.items():
            arrays[name]["frames"] = np.concatenate(pieces)
    return arrays, counted.samples / recording.rate


class _CountingReader:
    """Blocks, of which the samples are counted as they go by."""

    def __init__(self, blocks: Iterator[np.ndarray[Any, Any]]) -> None:
        self.samples = 0
        self._blocks = blocks

    def __iter__(self) -> Iterator[np.ndarray[Any, Any]]:
        for block in self._blocks:
            self.samples += len(block)
            yield block


def _windows(extractor: WindowedExtractor, waves: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield a waveform's windows, shape (windows, samples), as soon as they are complete."""
    kept, begin, done = torch.zeros(0), 0, 0  # kept[0] is the sample ``begin``

    def cut(count: int) -> Tensor:
        """Return the next windows."""
        start, stop, *zeros = extractor.extent(done, count, begin + len(kept))
        own = kept[start - begin : stop - begin].to(extractor.device)
        return nn.functional.pad(own, zeros).unfold(0, extractor.window, extractor.hop)

    for wave in waves:
        kept = torch.cat([kept, wave])
        reach = extractor.lead + begin + len(kept) - extractor.window
        complete = reach // extractor.hop + 1 if reach >= 0 else 0
        if complete <= done:
            continue
        yield cut(complete - done)
        done = complete
        needed = min(max(begin, done * extractor.hop - extractor.lead), begin + len(kept))
        kept, begin = kept[needed - begin :], needed
    if begin + len(kept):
        rest = extractor.windows(begin + len(kept)) - done
        if rest:
            yield cut(rest)
