"""What to do with a part whose worker process died."""

import json
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from probekit.errors import ProbekitError
from probekit.extraction.plan import PartJob

_PLAIN = 2  # attempts before a part is done clip by clip
_MAX_CRASHING_CLIPS = 5  # guilty clips, when nothing else could be embedded either
_OFTEN = {"SIGKILL": "often since memory ran out"}


class CrashRecovery:
    """Tries a part again, then clip by clip, until the clips that end its process are known.

    A process may end for a reason that is not in the data: somebody killed it, memory ran out. So
    a part is first tried again as it is. Then it is done clip by clip with a journal; a clip at
    which the process ends twice is recorded as a failure, and the others are embedded.

    Used as a context: the journals lie in a temporary folder.

    Attributes
    ----------
    works : bool
        Whether anything could be embedded in worker processes; to be set when something was.
    """

    def __init__(self) -> None:
        self.works = False
        self._deaths: dict[str, int] = {}
        self._suspects: dict[str, str] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="probekit-")

    def __enter__(self) -> "CrashRecovery":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def __call__(self, job: PartJob, how: str) -> PartJob:
        """Return what to do in place of a part whose process died.

        Parameters
        ----------
        job : PartJob
            What the process was at.
        how : str
            How it ended, such as ``"SIGSEGV"``.

        Returns
        -------
        PartJob
            The same clips, each to be embedded or recorded as a failure.

        Raises
        ------
        ProbekitError
            If it is not the clips' fault: processes end before the first one, or at every one.
        """
        name = job.path.name
        self._deaths[name] = self._deaths.get(name, 0) + 1
        if job.journal is None:
            careful = self._deaths[name] >= _PLAIN
            return replace(job, journal=Path(self._folder.name) / name) if careful else job
        tried = _read(job.journal)
        job.journal.unlink(missing_ok=True)
        if not tried:
            if self._deaths[name] <= _PLAIN:
                return job
            raise ProbekitError(_message(job, how, "before it came to a clip"))
        self.works |= len(tried) > 1
        if tried[-1] != self._suspects.get(name):
            self._suspects[name] = tried[-1]
            return job
        why = f"decoding or embedding it ended the process ({_explained(how)})"
        lost = {**job.lost, tried[-1]: why}
        if not self.works and len(lost) >= _MAX_CRASHING_CLIPS:
            raise ProbekitError(_message(job, how, f"at each of {len(lost)} clips that it tried"))
        return replace(job, lost=lost)


def _read(journal: Path) -> list[str]:
    """Return the clips that a process has begun; a line that it could not finish is none."""
    found = []
    with suppress(OSError, ValueError):
        for line in journal.read_text(encoding="utf-8").splitlines():
            found.append(json.loads(line))
    return found


def _explained(how: str) -> str:
    return f"{how}, {_OFTEN[how]}" if how in _OFTEN else how


def _message(job: PartJob, how: str, where: str) -> str:
    return (
        f"{job.spec.name}: worker processes end again and again ({_explained(how)}), the last one "
        f"at {job.path.name}, {where}. Parts that were finished stay. Try fewer --jobs, or "
        "'probekit doctor' for the extractor itself"
    )
