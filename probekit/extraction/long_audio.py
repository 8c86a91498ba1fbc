"""Embedding of long recordings in constant memory: windows are cut during decoding."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from probekit._typing import Array
from probekit.audio.recording import Recording
from probekit.audio.resample import resample_blocks
from probekit.cards import ExtractorCard
from probekit.extractors.base import Extractor, WindowedExtractor
from probekit.extractors.pooling import StreamingPool

LONGEST = 300.0
"""Seconds of the longest clip of a windowed extractor that is decoded at once."""
_BLOCK = 1 << 21  # samples to decode at once: 48 s at 44,100 Hz

Arrays = dict[str, dict[str, Array]]
"""Stream to its arrays: ``mean``, ``std``, ``max``, ``frames`` or ``clip``."""


def needs_streaming(recording: Recording, card: ExtractorCard) -> bool:
    """Return whether a clip is long, or of undeclared duration, and the extractor windowed."""
    windowed = card.long_audio == "windowed"
    return windowed and (recording.duration is None or recording.duration > LONGEST)


def embed_streaming(
    extractor: Extractor,
    recording: Recording,
    *,
    frames: bool,
    progress: Callable[[float], None] | None = None,
) -> tuple[Arrays, float]:
    """Embed a clip block by block.

    Parameters
    ----------
    extractor : Extractor
        A windowed one.
    recording : Recording
        The clip.
    frames : bool
        Whether to keep frames; memory then grows with them.
    progress : callable, optional
        Called with the seconds of audio that were embedded since the last call.

    Returns
    -------
    dict of str to dict of str to numpy.ndarray
        For each stream ``mean``, ``std`` and ``max`` over time, shape (dim,), float32, and
        ``frames``, shape (time, dim), if they are kept: within 1e-5 of those of the clip embedded
        at once.
    float
        The clip's duration in seconds.

    Raises
    ------
    AudioError
        If the recording is damaged or does not hold the clip.
    TypeError
        If the extractor is not windowed.
    """
    if not isinstance(extractor, WindowedExtractor):
        raise TypeError(f"{extractor.card.name} is not a windowed extractor")
    blocks = _CountingReader(recording.blocks(_BLOCK))
    card = extractor.card
    waves = resample_blocks(blocks, recording.sr, card.sample_rate, card.resampler)
    pools = {name: StreamingPool() for name in extractor.streams}
    chunks: dict[str, list[Array]] = {name: [] for name in extractor.streams}
    for windows in _windows(extractor, waves):
        outputs = extractor.run(windows)
        for name, stream in extractor.streams.items():
            values = outputs[name].reshape(-1, stream.dim).cpu().numpy()
            pools[name].add(values)
            if frames:
                chunks[name].append(values)
        if progress:
            progress(blocks.take() / recording.sr)
    arrays: Arrays = {name: dict(pool.result()) for name, pool in pools.items()}
    if frames:
        for name, pieces in chunks.items():
            arrays[name]["frames"] = np.concatenate(pieces)
    return arrays, blocks.samples / recording.sr


class _CountingReader:
    """Passes blocks on, and counts their samples."""

    def __init__(self, blocks: Iterator[Array]) -> None:
        self.samples = self._taken = 0
        self._blocks = blocks

    def __iter__(self) -> Iterator[Array]:
        for block in self._blocks:
            self.samples += len(block)
            yield block

    def take(self) -> int:
        """Return the number of samples since the last call."""
        taken, self._taken = self.samples - self._taken, self.samples
        return taken


def _windows(extractor: WindowedExtractor, waves: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield a waveform's windows, shape (windows, samples), as soon as they are complete."""
    buffer, start, done = torch.zeros(0), 0, 0  # buffer[0] is the sample ``start``

    def cut(count: int) -> Tensor:
        """Return the next windows."""
        first, last, *padding = extractor.extent(done, count, start + len(buffer))
        wave = buffer[first - start : last - start].to(extractor.device)
        return nn.functional.pad(wave, padding).unfold(0, extractor.window, extractor.hop)

    for wave in waves:
        buffer = torch.cat([buffer, wave])
        reach = extractor.lead + start + len(buffer) - extractor.window
        complete = reach // extractor.hop + 1 if reach >= 0 else 0
        if complete <= done:
            continue
        yield cut(complete - done)
        done = complete
        needed = min(max(start, done * extractor.hop - extractor.lead), start + len(buffer))
        buffer, start = buffer[needed - start :], needed
    if start + len(buffer):
        rest = extractor.windows(start + len(buffer)) - done
        if rest:
            yield cut(rest)
