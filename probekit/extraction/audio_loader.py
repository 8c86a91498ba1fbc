"""Recordings become waveforms, ahead of the network and in batches of about equal duration."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probekit.audio import recording as recording_module
from probekit.audio.resample import KAISER_FILTERS, resample
from probekit.cards import ExtractorCard
from probekit.errors import AudioError
from probekit.extraction import long_audio
from probekit.extraction.plan import Clip, recording_hash
from probekit.extractors.base import Extractor
from probekit.parallel import resources
from probekit.utils.prefetch import ordered_map

_AHEAD_SECONDS = 600.0  # of audio decoded and waiting: 115 MB at 48,000 Hz
_CPU_SECONDS, _DEVICE_SECONDS = 60.0, 480.0  # of audio in a batch
_LEAST_SECONDS = 0.1  # what a clip counts at least: failures shall be told, too


@dataclass
class DecodedClip:
    """A decoded clip, or why it could not be decoded.

    Attributes
    ----------
    clip : Clip
        Which one.
    facts : dict
        What the part keeps about its recording.
    wave : Tensor or None, shape (samples,)
        Mono float32, on the CPU.
    rate : int > 0
        Its sample rate, in Hz.
    reason : str
        Why there is none.
    long : bool
        The clip is not decoded yet, but while it is embedded.
    """

    clip: Clip
    facts: dict[str, Any]
    wave: torch.Tensor | None = None
    rate: int = 0
    reason: str = ""
    long: bool = False


def prefetch_decoded(clips: Iterable[Clip], extractor: Extractor) -> Iterator[DecodedClip]:
    """Decode in threads, some clips ahead of the network.

    Parameters
    ----------
    clips : iterable of Clip
        What to decode.
    extractor : Extractor
        What for.

    Yields
    ------
    Source
        Each clip, in order. The longer they are, the fewer are held ready.
    """
    threads = resources.cpu_count()
    decode = partial(decode_clip, card=extractor.card, pin=extractor.device.type == "cuda")

    def depth(decoded: DecodedClip) -> int:
        """Return how many clips as long as this one may wait."""
        seconds = 0.0 if decoded.wave is None else len(decoded.wave) / decoded.rate
        return min(int(_AHEAD_SECONDS / max(seconds, 1.0)), 4 * threads)

    for _, decoded in ordered_map(decode, clips, threads, depth):
        yield decoded


def batches(sources: Iterable[DecodedClip], extractor: Extractor) -> Iterator[list[DecodedClip]]:
    """Group clips by seconds of audio, so that memory does not depend on their length or number.

    Parameters
    ----------
    sources : iterable of Source
        Clips, decoded or failed.
    extractor : Extractor
        What for.

    Yields
    ------
    list of Source
        At least one; together no shorter than a batch, but for the last ones.
    """
    enough = _CPU_SECONDS if extractor.device.type == "cpu" else _DEVICE_SECONDS
    batch: list[DecodedClip] = []
    seconds = 0.0
    for source in sources:
        batch.append(source)
        seconds += max(source.facts["duration"], _LEAST_SECONDS)
        if seconds >= enough:
            yield batch
            batch, seconds = [], 0.0
    if batch:
        yield batch


def decode_clip(clip: Clip, card: ExtractorCard, *, pin: bool = False) -> DecodedClip:
    """Decode one clip; whatever is wrong with the recording becomes its reason.

    Parameters
    ----------
    clip : Clip
        Which stretch of which recording.
    card : ExtractorCard
        Says the sample rate, how long a clip may be, and how it is resampled: by soxr here; with
        a Kaiser window later, on the network's device.
    pin : bool
        Whether to put the waveform where a CUDA device can fetch it by itself.

    Returns
    -------
    Source
        With a waveform, or a reason, or marked as long.
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
        stat = clip.path.stat()
        facts.update(size=stat.st_size, mtime=stat.st_mtime_ns)
        by_soxr = card.sample_rate if card.resampler == "soxr_hq" else None
        with recording_module.open_audio(
            clip.path, start=nan_to_none(clip.start), end=nan_to_none(clip.end)
        ) as recording:
            _check_too_long(recording.duration, card)
            piecewise = long_audio.needs_streaming(recording, card)
            decoded = (
                None
                if piecewise
                else recording_module.decode(recording, by_soxr, crop=card.max_seconds)
            )
        seconds = decoded.duration if decoded else recording.duration or 0.0
        _check_too_long(seconds, card)
        digest = recording_hash(clip.path, stat.st_size, stat.st_mtime_ns)
        facts.update(duration=seconds, sha256=digest.encode())
    except AudioError as error:
        return DecodedClip(clip, facts, reason=without_path(clip.path, str(error)))
    except OSError as error:
        return DecodedClip(clip, facts, reason=(error.strerror or str(error)).lower())
    if decoded is None:
        return DecodedClip(clip, facts, long=True)
    wave = torch.from_numpy(decoded.wave)
    return DecodedClip(clip, facts, wave.pin_memory() if pin else wave, decoded.sr)


@torch.inference_mode()
def to_device(
    sources: Iterable[DecodedClip], card: ExtractorCard, device: torch.device
) -> list[torch.Tensor]:
    """Bring waveforms to a device and, there, to the sample rate of an extractor.

    Parameters
    ----------
    sources : iterable of Source
        With waveforms.
    card : ExtractorCard
        The extractor's.
    device : torch.device
        Where it runs.

    Returns
    -------
    list of Tensor, each of shape (samples,), float32
        One a source.
    """
    found = []
    for source in sources:
        assert source.wave is not None
        wave = source.wave.to(device, non_blocking=True)
        if source.rate != card.sample_rate:
            wave = resample(wave, source.rate, card.sample_rate, KAISER_FILTERS[card.resampler])
        found.append(wave)
    return found


def nan_to_none(seconds: float) -> float | None:
    """Return a clip's start or end, or None where it has none.

    Parameters
    ----------
    seconds : float
        As a manifest has it: NaN where nothing is said.

    Returns
    -------
    float or None
        Seconds.
    """
    return None if np.isnan(seconds) else seconds


def _check_too_long(seconds: float | None, card: ExtractorCard) -> None:
    """Raise where an extractor that needs clips whole takes none as long as this one."""
    limit = None if card.long_audio == "cropped" else card.max_seconds
    if limit is not None and seconds is not None and seconds > limit:
        raise AudioError(f"{seconds:.1f} s long; {card.name} takes at most {limit:g} s")


def without_path(path: Path, message: str) -> str:
    """Take the path out of a message that is kept beside the clip's id.

    Parameters
    ----------
    path : pathlib.Path
        The recording.
    message : str
        Of an error.

    Returns
    -------
    str
        The same without ``path`` in front.
    """
    return message.removeprefix(f"{path}: ")
