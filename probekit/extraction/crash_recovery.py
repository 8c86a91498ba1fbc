"""Retry policy for parts whose worker process crashed."""

import json
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from probekit.errors import ProbekitError
from probekit.extraction.plan import PartJob

_ATTEMPTS = 2  # before a part is embedded clip by clip
_MAX_CRASHING_CLIPS = 5  # if nothing else could be embedded either
_HINTS = {"SIGKILL": "often since memory ran out"}


class CrashRecovery:
    """Retries a part, then clip by clip, until the crashing clips are known.

    A process may also end for a reason outside the data: it was killed, or memory ran out. So a
    part is first tried again as it is, then clip by clip with a journal; a clip at which the
    process ends twice is recorded as a failure, and the others are embedded.

    Used as a context manager: the journals lie in a temporary folder.

    Attributes
    ----------
    works : bool
        Whether anything could be embedded in worker processes; set by the caller.
    """

    def __init__(self) -> None:
        self.works = False
        self._crashes: dict[str, int] = {}
        self._suspects: dict[str, str] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="probekit-")

    def __enter__(self) -> "CrashRecovery":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def __call__(self, job: PartJob, exit_reason: str) -> PartJob:
        """Return the job to run in place of one whose process crashed.

        Parameters
        ----------
        job : PartJob
            The crashed job.
        exit_reason : str
            How its process ended, such as ``"SIGSEGV"``.

        Returns
        -------
        PartJob
            The same clips, each to be embedded or recorded as a failure.

        Raises
        ------
        ProbekitError
            If it is not due to single clips: processes end before the first one, or at every one.
        """
        name = job.path.name
        self._crashes[name] = self._crashes.get(name, 0) + 1
        if job.journal is None:
            retried = self._crashes[name] >= _ATTEMPTS
            return replace(job, journal=Path(self._folder.name) / name) if retried else job
        started = _read_journal(job.journal)
        job.journal.unlink(missing_ok=True)
        if not started:
            if self._crashes[name] <= _ATTEMPTS:
                return job
            raise ProbekitError(_message(job, exit_reason, "before the first clip"))
        self.works |= len(started) > 1
        if started[-1] != self._suspects.get(name):
            self._suspects[name] = started[-1]
            return job
        reason = f"decoding or embedding it ended the process ({_explain(exit_reason)})"
        skipped = {**job.skipped, started[-1]: reason}
        if not self.works and len(skipped) >= _MAX_CRASHING_CLIPS:
            raise ProbekitError(_message(job, exit_reason, f"at each of {len(skipped)} clips"))
        return replace(job, skipped=skipped)


def _read_journal(path: Path) -> list[str]:
    """Return the clips that a process started; a line that it could not finish is left out."""
    clip_ids = []
    with suppress(OSError, ValueError):
        for line in path.read_text(encoding="utf-8").splitlines():
            clip_ids.append(json.loads(line))
    return clip_ids


def _explain(exit_reason: str) -> str:
    return f"{exit_reason}, {_HINTS[exit_reason]}" if exit_reason in _HINTS else exit_reason


def _message(job: PartJob, exit_reason: str, position: str) -> str:
    return (
        f"{job.spec.name}: worker processes crash repeatedly ({_explain(exit_reason)}), last at "
        f"{job.path.name}, {position}. Finished parts are saved. Try fewer --jobs, or "
        "'probekit doctor' to check the extractor itself"
    )
