"""Estimate of an extraction's audio, size and time, from headers and earlier extractions."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probekit._typing import Array
from probekit.audio.duration import mean_duration
from probekit.cache import part
from probekit.cards import ExtractorCard
from probekit.errors import CacheError
from probekit.extraction.plan import Plan, bytes_per_clip

SPEED = "audio_seconds_per_second"
"""Key of the extraction speed in the provenance of a part."""
_RECENT_PARTS = 20  # earlier parts of which the speed is read
_MUCH_PADDING = 2.0  # times the audio, from which on padding is worth a sentence


@dataclass(frozen=True)
class Estimate:
    """About what an extraction takes.

    Attributes
    ----------
    audio_seconds : float or None
        Duration of the clips; None if no sampled recording declares its own.
    bytes : int
        Size on the disk. Clips of unknown duration count as ten seconds, which matters for frames
        only.
    seconds : float or None
        Time in one process; None without an earlier extraction.
    like : str
        Description of the earlier extraction.
    padded_seconds : float or None
        Duration of what the network reads: more than the audio where clips are shorter than that.
    """

    audio_seconds: float | None
    bytes: int
    seconds: float | None
    like: str
    padded_seconds: float | None = None


def estimate_plan(plan: Plan) -> Estimate:
    """Estimate what a plan takes, without decoding anything and without a network.

    The duration is scaled up from at most 200 clips; the time is that of the latest parts of the
    same extractor in the same cache, by the duration of what its network read.
    """
    clips = [clip for job in plan.jobs for clip in job.clips]
    if not clips:
        return Estimate(0.0, 0, None, "", 0.0)
    duration = mean_duration([(clip.path, *clip.bounds) for clip in clips])
    job, card = plan.jobs[0], plan.spec.card
    size = bytes_per_clip(job.spec, job.frames, job.dtype, 10.0 if duration is None else duration)
    audio = None if duration is None else duration * len(clips)
    padded = None if duration is None else float(padded_seconds(card, duration)) * len(clips)
    speeds = list(_read_speeds(plan.folder.parent, card))
    if audio is None or padded is None or not speeds:
        return Estimate(audio, round(len(clips) * size), None, "", padded)
    speed = statistics.median(speed for speed, _, _ in speeds)
    devices = sorted({device for _, _, device in speeds})
    rounded = f"{speed:,.{0 if speed >= 10 else 1}f}"
    like = f"{rounded} times real time, as {len(speeds)} parts before on {', '.join(devices)}"
    seconds = padded / statistics.median(padded_speed for _, padded_speed, _ in speeds)
    return Estimate(audio, round(len(clips) * size), seconds, like, padded)


def describe_padding(estimate: Estimate, plan: Plan) -> str:
    """Return a sentence on what short clips cost; empty if padding costs less than the audio."""
    audio, padded = estimate.audio_seconds, estimate.padded_seconds
    if not audio or padded is None or padded < _MUCH_PADDING * audio:
        return ""
    return (
        f"{plan.spec.name}: reads {padded / plan.todo:.3g} s for each clip of about "
        f"{audio / plan.todo:.2g} s, zeros included, so the work is that of {padded:,.0f} s of "
        f"audio instead of {audio:,.0f} s"
    )


def padded_seconds(card: ExtractorCard, durations: float | Array) -> Array:
    """Return how much audio a network reads of clips of some durations, zeros included."""
    if card.long_audio == "cropped":
        return np.full(np.shape(durations), card.max_seconds or 0.0)
    if card.long_audio == "windowed":
        windows = (float(stream.window or 0) for stream in card.streams.values())
        return np.maximum(durations, max(windows))
    return np.asarray(durations, float)


def _read_speeds(folder: Path, card: ExtractorCard) -> Iterator[tuple[float, float, str]]:
    """Yield speed (times real time) and device of the latest parts of any dataset.

    The second speed is that of reading: it counts the zeros that follow short clips.
    """
    newest = sorted(folder.glob("*/part-*.h5"), key=lambda path: path.stat().st_mtime_ns)
    for path in newest[-_RECENT_PARTS:]:
        try:
            with part.open_part(path) as file:
                provenance = part.read_meta(file).get("provenance", {})
                durations = np.asarray(file["duration"])
            speed = float(provenance.get(SPEED, 0))
        except (CacheError, KeyError, ValueError, AttributeError):
            continue
        if speed > 0 and durations.sum() > 0:
            share = padded_seconds(card, durations).sum() / durations.sum()
            yield speed, speed * float(share), str(provenance.get("device", "an unknown device"))
