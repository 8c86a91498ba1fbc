"""Segments of recordings: start and end in seconds as ranges of samples."""

import math
from pathlib import Path

from probekit.errors import AudioError

TRUNCATED = "truncated:"
"""Begin of the message for a recording of which the end is missing."""
END_TOLERANCE_S = 0.1
"""Seconds by which an end may lie beyond the end of the file: metadata is rounded."""


def segment_to_samples(
    path: Path, sr: int, n_samples: int | None, start: float | None, end: float | None
) -> tuple[int, int | None]:
    """Convert a segment from seconds to samples, and check that the recording holds it.

    Parameters
    ----------
    path : pathlib.Path
        The recording, for messages.
    sr : int > 0
        Its sample rate in Hz.
    n_samples : int >= 0 or None
        Its length in samples; None if only decoding can tell.
    start, end : float >= 0 or None
        The segment in seconds; None: start and end of the file.

    Returns
    -------
    first : int >= 0
        The first sample.
    last : int > first, or None
        The sample after the last one; None if unknown.

    Raises
    ------
    AudioError
        If there are no such samples.
    """
    if n_samples == 0:
        raise AudioError(f"{path}: holds no samples")
    request = _format_request(start, end)
    begin, stop = start or 0.0, 0.0 if end is None else end
    if not (math.isfinite(begin) and math.isfinite(stop)) or begin < 0:
        raise AudioError(f"{path}: {request}; start and end must be finite and >= 0 s")
    first, last = round(begin * sr), None if end is None else round(stop * sr)
    if n_samples is not None:
        if first >= n_samples or (last is not None and last > n_samples + END_TOLERANCE_S * sr):
            raise too_short_error(path, n_samples / sr, start, end)
        last = n_samples if last is None else min(last, n_samples)
    if last is not None and last <= first:
        raise AudioError(f"{path}: {request}; the end must be after the start")
    return first, last


def accept_shortage(path: Path, reason: str, missing: float, allowed: float) -> str:
    """Return the reason why a segment is not complete as a note, or raise it as an error.

    Parameters
    ----------
    path : pathlib.Path
        The recording, for messages.
    reason : str
        What is missing.
    missing : float
        Share of the segment that is missing; 1 if it is unknown.
    allowed : float
        The largest share that may be missing.

    Raises
    ------
    AudioError
        If more is missing than may be.
    """
    if missing > allowed:
        raise AudioError(f"{path}: {reason}")
    return reason


def too_short_error(
    path: Path, duration: float, start: float | None, end: float | None
) -> AudioError:
    """Return the error for a recording that ends before the requested segment does."""
    return AudioError(f"{path}: is {duration:.3f} s long, {_format_request(start, end)}")


def _format_request(start: float | None, end: float | None) -> str:
    """Format the requested segment for messages."""
    stop = "the end" if end is None else f"{end:.3f} s"
    return f"the clip asks for {start or 0.0:.3f} s to {stop}"
