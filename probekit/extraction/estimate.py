"""What an extraction would take, from headers of recordings and from earlier extractions."""

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from probekit.cache import part
from probekit.errors import CacheError
from probekit.extraction.plan import Clip, Plan, bytes_per_clip

_SAMPLE = 200  # recordings of which the header is read
_PARTS = 20  # earlier parts that are asked how fast they were
SPEED = "audio_seconds_per_second"  # where parts keep it, in their provenance


@dataclass(frozen=True)
class Estimate:
    """About what an extraction takes.

    Attributes
    ----------
    audio_seconds : float or None
        Duration of the clips; None where no recording of the sample tells its own.
    bytes : int
        Size on the disk. Clips of unknown duration are taken to be of ten seconds, which matters
        for frames only.
    seconds : float or None
        Time in one process; None where nothing earlier tells.
    like : str
        The earlier extraction that tells it.
    """

    audio_seconds: float | None
    bytes: int
    seconds: float | None
    like: str


def estimate(plan: Plan) -> Estimate:
    """Forecast what a plan takes, without decoding anything and without a network.

    Parameters
    ----------
    plan : Plan
        What is to be done.

    Returns
    -------
    Forecast
        Scaled from at most 200 clips, spread evenly, and from the speed that parts of the same
        extractor in the same cache were embedded at.
    """
    clips = [clip for job in plan.jobs for clip in job.clips]
    if not clips:
        return Estimate(0.0, 0, None, "")
    chosen = np.unique(np.linspace(0, len(clips) - 1, _SAMPLE).round().astype(int))
    known = [seconds for k in chosen if (seconds := _seconds(clips[k])) is not None]
    each = statistics.mean(known) if known else None
    job = plan.jobs[0]
    size = bytes_per_clip(job.spec, job.frames, job.dtype, 10.0 if each is None else each)
    audio = None if each is None else each * len(clips)
    speeds = list(_speeds(plan.where.parent))
    if audio is None or not speeds:
        return Estimate(audio, round(len(clips) * size), None, "")
    speed = statistics.median(one for one, _ in speeds)
    devices = sorted({device for _, device in speeds})
    shown = f"{speed:,.{0 if speed >= 10 else 1}f}"
    like = f"{shown} times real time, as {len(speeds)} parts before on {', '.join(devices)}"
    return Estimate(audio, round(len(clips) * size), audio / speed, like)


def _seconds(clip: Clip) -> float | None:
    """Return a clip's duration, from the manifest or from the recording's header."""
    start = 0.0 if math.isnan(clip.start) else clip.start
    if not math.isnan(clip.end):
        return clip.end - start
    try:
        return max(0.0, float(soundfile.info(str(clip.path)).duration) - start)
    except (soundfile.LibsndfileError, OSError):
        return None


def _speeds(folder: Path) -> Iterator[tuple[float, str]]:
    """Yield at how many times real time parts of any dataset were embedded, and on what."""
    newest = sorted(folder.glob("*/part-*.h5"), key=lambda path: path.stat().st_mtime_ns)
    for path in newest[-_PARTS:]:
        try:
            with part.open_part(path) as file:
                provenance = part.meta(file).get("provenance", {})
            speed = float(provenance.get(SPEED, 0))
        except (CacheError, ValueError, AttributeError):
            continue
        if speed > 0:
            yield speed, str(provenance.get("device", "an unknown device"))
