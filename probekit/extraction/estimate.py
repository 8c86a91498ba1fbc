"""Estimate of an extraction's audio, size and time, from headers and earlier extractions."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probekit.audio.duration import mean_duration
from probekit.cache import part
from probekit.errors import CacheError
from probekit.extraction.plan import Plan, bytes_per_clip

SPEED = "audio_seconds_per_second"
"""Key of the extraction speed in the provenance of a part."""
_RECENT_PARTS = 20  # earlier parts of which the speed is read


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
    """

    audio_seconds: float | None
    bytes: int
    seconds: float | None
    like: str


def estimate_plan(plan: Plan) -> Estimate:
    """Estimate what a plan takes, without decoding anything and without a network.

    The duration is scaled up from at most 200 clips; the time is that of the latest parts of the
    same extractor in the same cache.
    """
    clips = [clip for job in plan.jobs for clip in job.clips]
    if not clips:
        return Estimate(0.0, 0, None, "")
    duration = mean_duration([(clip.path, *clip.bounds) for clip in clips])
    job = plan.jobs[0]
    size = bytes_per_clip(job.spec, job.frames, job.dtype, 10.0 if duration is None else duration)
    audio = None if duration is None else duration * len(clips)
    speeds = list(_read_speeds(plan.folder.parent))
    if audio is None or not speeds:
        return Estimate(audio, round(len(clips) * size), None, "")
    speed = statistics.median(speed for speed, _ in speeds)
    devices = sorted({device for _, device in speeds})
    rounded = f"{speed:,.{0 if speed >= 10 else 1}f}"
    like = f"{rounded} times real time, as {len(speeds)} parts before on {', '.join(devices)}"
    return Estimate(audio, round(len(clips) * size), audio / speed, like)


def _read_speeds(folder: Path) -> Iterator[tuple[float, str]]:
    """Yield speed (times real time) and device of the latest parts of any dataset."""
    newest = sorted(folder.glob("*/part-*.h5"), key=lambda path: path.stat().st_mtime_ns)
    for path in newest[-_RECENT_PARTS:]:
        try:
            with part.open_part(path) as file:
                provenance = part.read_meta(file).get("provenance", {})
            speed = float(provenance.get(SPEED, 0))
        except (CacheError, ValueError, AttributeError):
            continue
        if speed > 0:
            yield speed, str(provenance.get("device", "an unknown device"))
