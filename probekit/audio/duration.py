"""Durations from headers, without decoding: how much audio a list of segments is, about."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from probekit.audio.recording import open_audio
from probekit.errors import AudioError

_SAMPLE = 200  # segments of which the header is read
Segment = tuple[Path, float | None, float | None]
"""A recording, and start and end of the segment in seconds."""


def mean_duration(segments: Sequence[Segment], unreadable: float | None = None) -> float | None:
    """Estimate the mean duration of segments from at most 200 of them, evenly spread.

    Parameters
    ----------
    segments : sequence of (path, start, end)
        Recordings, and start and end in seconds, None for those of the file.
    unreadable : float, optional
        Duration of segments that cannot be read; they are left out by default.

    Returns
    -------
    float or None
        Seconds; None if no duration is known.
    """
    count = min(_SAMPLE, len(segments))
    chosen = np.unique(np.linspace(0, len(segments) - 1, count).round().astype(int))
    durations = []
    for k in chosen:
        try:
            duration = header_duration(*segments[k])
        except AudioError:
            duration = unreadable
        if duration is not None:
            durations.append(duration)
    return sum(durations) / len(durations) if durations else None


def header_duration(
    path: Path, start: float | None = None, end: float | None = None
) -> float | None:
    """Return a segment's duration in seconds, from its end or the header; None if undeclared.

    An mp3 without a length header has the duration that libsndfile estimates.

    Raises
    ------
    AudioError
        If the file cannot be read.
    """
    if end is not None:
        return end - (start or 0.0)
    with open_audio(path, start=start) as recording:
        if recording.duration is not None:
            return recording.duration
    try:
        return max(0.0, float(soundfile.info(str(path)).duration) - (start or 0.0))
    except (soundfile.LibsndfileError, OSError):
        return None
