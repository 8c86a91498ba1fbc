"""Execution of parts: in this process, in worker processes, or on a Dask cluster."""

import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from probekit.errors import ProbekitError
from probekit.extraction.crash_recovery import CrashRecovery
from probekit.extraction.plan import BatchProgress, PartJob
from probekit.parallel import pool, resources
from probekit.parallel.dask import check_scheduler, connect, map_unordered

if TYPE_CHECKING:
    from probekit.extraction.worker import PartResult

_KNOWN_DEVICES = re.compile(r"auto|(cpu|cuda|mps|xpu)(:\d+)?")  # others are checked with torch


@dataclass(frozen=True)
class ExecutorConfig:
    """Where an extraction runs.

    Attributes
    ----------
    device : str
        Device of this process, or of each worker.
    jobs : int or None
        Number of worker processes of this machine; None for this process.
    devices : tuple of str
        One worker process for each; instead of ``device`` and ``jobs``.
    dask : str or None
        Address of a Dask scheduler, or ``"local"``.
    share : (int, int)
        Number of this share, from 1, and the number of shares.
    """

    device: str = "auto"
    jobs: int | None = None
    devices: tuple[str, ...] = ()
    dask: str | None = None
    share: tuple[int, int] = (1, 1)

    @property
    def processes(self) -> int:
        """Processes that embed at the same time; 1 for a cluster, whose size is unknown."""
        if self.dask is not None and self.dask != "local":
            return 1
        return len(self.devices) or self.jobs or (resources.cpu_count() if self.dask else 1)

    @property
    def in_process(self) -> bool:
        """Whether this process itself embeds."""
        return self.jobs is None and not self.devices and self.dask is None

    def check_available(self) -> None:
        """Raise a ProbekitError if the scheduler or device is not available.

        The device is checked only if torch is loaded already: loading it takes seconds.
        """
        if self.dask is not None:
            check_scheduler(self.dask)
        if self.in_process and "torch" in sys.modules:
            resources.resolve_device(self.device)


def parse_config(
    device: str, jobs: int | None, devices: Sequence[str], dask: str | None, share: str | None
) -> ExecutorConfig:
    """Validate the options of :func:`probekit.extraction.extract.extract`.

    Raises
    ------
    ProbekitError
        If a value is not valid, or options conflict.
    """
    if jobs is not None and jobs < 1:
        raise ProbekitError(f"--jobs must be >= 1, got {jobs}")
    if any(not name for name in devices):
        raise ProbekitError(
            "--devices must be names with commas between them, such as cuda:0,cuda:1"
        )
    if devices and (jobs is not None or dask is not None or device != "auto"):
        other = "--jobs" if jobs is not None else "--dask" if dask is not None else "--device"
        raise ProbekitError(
            f"--devices starts one process for each device; leave out {other}, or --devices"
        )
    if jobs is not None and dask not in (None, "local"):
        raise ProbekitError(
            f"--jobs {jobs} sets the processes of this machine or of --dask local; --dask {dask} "
            "has the workers that were started for it. Leave out --jobs"
        )
    for name in devices or [device]:
        if not _KNOWN_DEVICES.fullmatch(name):
            resources.resolve_device(name)  # a rare one, or a typing error
    return ExecutorConfig(device, jobs, tuple(devices), dask, _parse_share(share))


def run_parts(
    jobs: Sequence[PartJob], config: ExecutorConfig, progress: BatchProgress
) -> Iterator["PartResult"]:
    """Embed and write parts.

    Parameters
    ----------
    jobs : sequence of PartJob
        From a plan.
    config : ExecutorConfig
        Where to run.
    progress : callable
        Called with clips done, seconds of audio and failures: after each batch in this process,
        after each part elsewhere.

    Yields
    ------
    PartResult
        For each part, once it is on the disk; in any order.
    """
    if config.in_process:
        yield from _run_in_process(jobs, config.device, progress)
        return
    for result in _run_in_workers([job.absolute() for job in jobs], config):
        progress(result.done, result.seconds, len(result.failed))
        yield result


def _run_in_process(
    jobs: Sequence[PartJob], device: str, progress: BatchProgress
) -> Iterator["PartResult"]:
    """Run one part after another; a finished one is written while the next is embedded."""
    from probekit.extraction import worker

    try:
        with ThreadPoolExecutor(1, thread_name_prefix="write") as writer:
            pending: Future[PartResult] | None = None
            for job in jobs:
                content, result = worker.embed(job, worker.get_extractor(job, device), progress)
                if pending:
                    yield pending.result()
                pending = writer.submit(worker.save_part, job, content, result)
            if pending:
                yield pending.result()
    finally:
        worker.clear_extractors()


def _run_in_workers(jobs: Sequence[PartJob], config: ExecutorConfig) -> Iterator["PartResult"]:
    """Run parts in worker processes; those that crash workers of a cluster are retried locally."""
    from probekit.extraction.worker import process_part

    with CrashRecovery() as recovery:
        if config.dask is not None:
            crashed = []
            folder = jobs[0].path.parent
            names = [f"{folder.parent.name}-{folder.name}-{job.path.stem}" for job in jobs]
            with connect(config.dask, config.processes) as client:
                function = partial(process_part, device=config.device)
                for job, result in map_unordered(client, function, jobs, names):
                    if result is None:
                        crashed.append(job)
                        continue
                    recovery.works |= result.done > 0
                    yield result
            jobs = crashed
        devices = config.devices or [config.device] * (config.jobs or 1)
        functions = [partial(process_part, device=device) for device in devices]
        for result in pool.imap_unordered(functions, jobs, recovery):
            recovery.works |= result.done > 0
            yield result


def _parse_share(text: str | None) -> tuple[int, int]:
    """Parse ``3/16``."""
    if text is None:
        return 1, 1
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    number, total = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= total:
        raise ProbekitError(f"--share must be I/N with I from 1 to N, such as 3/16, got {text}")
    return number, total
