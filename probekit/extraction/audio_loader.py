"""Audio loader: recordings decoded in threads, ahead of the network and in batches by duration."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import torch

from probekit.audio import archives
from probekit.audio.recording import decode, open_audio
from probekit.audio.resample import KAISER_FILTERS, resample
from probekit.cards import ExtractorCard
from probekit.errors import AudioError
from probekit.extraction import long_audio
from probekit.extraction.plan import Clip, hash_recording
from probekit.extractors.base import Extractor
from probekit.parallel import resources
from probekit.utils.prefetch import ordered_map

_AHEAD_SECONDS = 600.0  # of audio decoded and waiting: 115 MB at 48,000 Hz
_CPU_SECONDS, _DEVICE_SECONDS = 60.0, 480.0  # of audio in a batch, at least
_MIN_SECONDS = 0.1  # that a clip counts for at least, so that failures are reported in time


@dataclass
class DecodedClip:
    """A decoded clip, or the reason why it could not be decoded.

    Attributes
    ----------
    clip : Clip
        Which one.
    facts : dict
        What the part stores about its recording.
    wave : Tensor or None, shape (samples,)
        Mono float32, on the CPU.
    sr : int > 0
        Its sample rate in Hz.
    reason : str
        Why there is no waveform.
    long : bool
        Whether the clip is decoded only while it is embedded.
    notes : tuple of str
        What is odd in the recording, but no fault.
    """

    clip: Clip
    facts: dict[str, Any]
    wave: torch.Tensor | None = None
    sr: int = 0
    reason: str = ""
    long: bool = False
    notes: tuple[str, ...] = ()


def prefetch_decoded(
    clips: Iterable[Clip], extractor: Extractor, allow_truncated: float = 0.0
) -> Iterator[DecodedClip]:
    """Yield clips in order, decoded in threads ahead of the network: at least the next batch."""
    threads, batch_seconds = resources.cpu_count(), seconds_per_batch(extractor)
    function = partial(
        decode_clip,
        card=extractor.card,
        pin=extractor.device.type == "cuda",
        allow_truncated=allow_truncated,
    )

    def depth(decoded: DecodedClip) -> int:
        """Return how many clips as long as this one may wait."""
        seconds = 0.0 if decoded.wave is None else len(decoded.wave) / decoded.sr
        batch = threads + ceil(batch_seconds / max(seconds, 1.0))
        return min(int(_AHEAD_SECONDS / max(seconds, 1.0)), max(4 * threads, batch))

    for _, decoded in ordered_map(function, clips, threads, depth):
        yield decoded


def batch_by_duration(
    clips: Iterable[DecodedClip], extractor: Extractor
) -> Iterator[list[DecodedClip]]:
    """Group clips by seconds of audio, so that memory does not depend on their length or number.

    A group is at least as long as a batch of the network.
    """
    limit = seconds_per_batch(extractor)
    batch: list[DecodedClip] = []
    seconds = 0.0
    for clip in clips:
        batch.append(clip)
        seconds += max(clip.facts["duration"], _MIN_SECONDS)
        if seconds >= limit:
            yield batch
            batch, seconds = [], 0.0
    if batch:
        yield batch


def seconds_per_batch(extractor: Extractor) -> float:
    """Return the seconds of audio that are embedded together, except for a clip that is longer."""
    limit = _CPU_SECONDS if extractor.device.type == "cpu" else _DEVICE_SECONDS
    return limit * max(1.0, extractor.batch_seconds / _CPU_SECONDS)


def decode_clip(
    clip: Clip, card: ExtractorCard, *, pin: bool = False, allow_truncated: float = 0.0
) -> DecodedClip:
    """Decode one clip; any fault of the recording becomes its reason.

    Parameters
    ----------
    clip : Clip
        A segment of a recording.
    card : ExtractorCard
        Its sample rate is that of the result only if soxr resamples; a Kaiser window is applied
        later, on the network's device.
    pin : bool
        Whether to put the waveform into pinned memory, for a CUDA device.
    allow_truncated : float from 0 to 1
        Share of the clip that may be missing at the end of a truncated recording.

    Returns
    -------
    DecodedClip
        With a waveform or a reason, or marked as long.
    """
    facts: dict[str, Any] = {
        "start": clip.start,
        "end": clip.end,
        "duration": 0.0,
        "size": -1,
        "mtime": -1,
        "sha256": b"",
    }
    try:
        stat = archives.stat(clip.path)
        facts.update(size=stat.st_size, mtime=stat.st_mtime_ns)
        target_sr = card.sample_rate if card.resampler == "soxr_hq" else None
        start, end = clip.bounds
        with open_audio(
            clip.path, start=start, end=end, allow_truncated=allow_truncated
        ) as recording:
            _check_length(recording.duration, card)
            streamed = long_audio.needs_streaming(recording, card)
            decoded = None if streamed else decode(recording, target_sr, crop=card.max_seconds)
        duration = decoded.duration if decoded else recording.duration or 0.0
        _check_length(duration, card)
        if archives.split(clip.path):
            digest = archives.hash_member(clip.path)
        else:
            digest = hash_recording(clip.path, stat.st_size, stat.st_mtime_ns)
        facts.update(duration=duration, sha256=digest.encode())
    except AudioError as error:
        return DecodedClip(clip, facts, reason=without_path(clip.path, str(error)))
    except OSError as error:
        return DecodedClip(clip, facts, reason=(error.strerror or str(error)).lower())
    if decoded is None:
        return DecodedClip(clip, facts, long=True)
    wave = torch.from_numpy(decoded.wave)
    wave = wave.pin_memory() if pin else wave
    return DecodedClip(clip, facts, wave, decoded.sr, notes=decoded.notes)


@torch.inference_mode()
def to_device(
    clips: Iterable[DecodedClip], card: ExtractorCard, device: torch.device
) -> list[torch.Tensor]:
    """Return waveforms on a device, resampled there to an extractor's sample rate."""
    waves = []
    for clip in clips:
        assert clip.wave is not None
        wave = clip.wave.to(device, non_blocking=True)
        if clip.sr != card.sample_rate:
            wave = resample(wave, clip.sr, card.sample_rate, KAISER_FILTERS[card.resampler])
        waves.append(wave)
    return waves


def _check_length(seconds: float | None, card: ExtractorCard) -> None:
    """Raise if a clip is longer than an extractor that needs clips whole takes."""
    limit = None if card.long_audio == "cropped" else card.max_seconds
    if limit is not None and seconds is not None and seconds > limit:
        raise AudioError(
            f"{seconds:.1f} s long; {card.name} takes at most {limit:g} s, since it reads clips "
            "whole. List parts of the recording as clips, with start and end in a table"
        )


def without_path(path: Path, message: str) -> str:
    """Return an error's message without the recording's path in front."""
    return message.removeprefix(f"{path}: ")
