"""Which samples of a recording a clip asks for."""

import math
from pathlib import Path

from probekit.errors import AudioError

END_TOLERANCE_S = 0.1
"""Seconds by which a stated end may pass the real one: metadata rounds."""


def segment_to_samples(
    path: Path, rate: int, total: int | None, start: float | None, end: float | None
) -> tuple[int, int | None]:
    """Turn seconds into samples, and refuse what the recording does not hold.

    Parameters
    ----------
    path : pathlib.Path
        The recording, for messages.
    rate : int > 0
        Its sample rate in Hz.
    total : int >= 0 or None
        Its samples, as far as that is known before decoding.
    start, end : float >= 0 or None
        The stretch in seconds; from the begin, and to the end, where they are None.

    Returns
    -------
    first : int >= 0
        The first sample.
    last : int > first, or None
        The sample after the last one; None for an end that is not known.

    Raises
    ------
    AudioError
        If there are no such samples.
    """
    if total == 0:
        raise AudioError(f"{path}: holds no samples")
    asked = _format_segment(start, end)
    begin, stop = start or 0.0, 0.0 if end is None else end
    if not (math.isfinite(begin) and math.isfinite(stop)) or begin < 0:
        raise AudioError(f"{path}: {asked}; seconds count from 0, the file's begin")
    first, last = round(begin * rate), None if end is None else round(stop * rate)
    if total is not None:
        if first >= total or (last is not None and last > total + END_TOLERANCE_S * rate):
            raise too_short(path, total / rate, start, end)
        last = total if last is None else min(last, total)
    if last is not None and last <= first:
        raise AudioError(f"{path}: {asked}: the end must come after the start")
    return first, last


def too_short(path: Path, seconds: float, start: float | None, end: float | None) -> AudioError:
    """Return the error for a recording that does not reach as far as a clip asks.

    Parameters
    ----------
    path : pathlib.Path
        The recording.
    seconds : float >= 0
        How long it is.
    start, end : float >= 0 or None
        The stretch asked for, in seconds.

    Returns
    -------
    AudioError
        To be raised.
    """
    return AudioError(f"{path}: is {seconds:.3f} s long, {_format_segment(start, end)}")


def _format_segment(start: float | None, end: float | None) -> str:
    """Say what a clip asks for."""
    stop = "the end" if end is None else f"{end:.3f} s"
    return f"the clip asks for {start or 0.0:.3f} s to {stop}"
