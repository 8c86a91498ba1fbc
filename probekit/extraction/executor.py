"""Where parts are done: this process, processes of this machine, or a Dask cluster."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from probekit.errors import ProbekitError
from probekit.extraction.crash_recovery import CrashRecovery
from probekit.extraction.plan import PartJob
from probekit.parallel import dask as dask_module
from probekit.parallel import pool, resources

if TYPE_CHECKING:
    from distributed import Client

    from probekit.extraction.worker import PartResult

Tick = Callable[[int, float, int], None]

_PLAIN = re.compile(r"auto|(cpu|cuda|mps|xpu)(:\d+)?")  # devices that torch knows for certain


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
        Which share of how many this extraction does.
    """

    device: str = "auto"
    jobs: int | None = None
    devices: tuple[str, ...] = ()
    dask: str | None = None
    share: tuple[int, int] = (1, 1)

    @property
    def processes(self) -> int:
        """Processes that embed at the same time; 1 for a cluster, of which only it knows."""
        if self.dask is not None and self.dask != "local":
            return 1
        return len(self.devices) or self.jobs or (resources.cpu_count() if self.dask else 1)

    @property
    def in_process(self) -> bool:
        """Whether this process itself embeds."""
        return self.jobs is None and not self.devices and self.dask is None

    def check_available(self) -> None:
        """Find out, as far as that is quick, whether this place is there.

        Loading torch is not: whether a device exists is left to those who use it, where nothing
        else has loaded torch.

        Raises
        ------
        ProbekitError
            If it is not.
        """
        if self.dask is not None:
            dask_module.check_scheduler(self.dask)
        if self.in_process and "torch" in sys.modules:
            resources.resolve_device(self.device)


def parse_config(
    device: str, jobs: int | None, devices: Sequence[str], dask: str | None, share: str | None
) -> ExecutorConfig:
    """Check what a user asked for.

    Parameters
    ----------
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda:1"`` …
    jobs : int >= 1, optional
        Number of worker processes.
    devices : sequence of str
        One worker process for each.
    dask : str, optional
        Address, or ``"local"``.
    share : str, optional
        ``"3/16"``.

    Returns
    -------
    Place
        In which nothing contradicts.

    Raises
    ------
    ProbekitError
        If it does, or a value is none.
    """
    if jobs is not None and jobs < 1:
        raise ProbekitError(f"--jobs {jobs}: at least 1")
    if any(not name for name in devices):
        raise ProbekitError("--devices: names with commas between them, such as cuda:0,cuda:1")
    if devices and (jobs is not None or dask is not None or device != "auto"):
        other = "--jobs" if jobs is not None else "--dask" if dask is not None else "--device"
        raise ProbekitError(
            f"--devices starts one process for each device; leave out {other}, or --devices"
        )
    if jobs is not None and dask not in (None, "local"):
        raise ProbekitError(
            f"--jobs {jobs}: processes of this machine, or workers of --dask local; --dask {dask} "
            "has the workers that were started for it"
        )
    for name in devices or [device]:
        if not _PLAIN.fullmatch(name):
            resources.resolve_device(name)  # a rare one, or a slip: torch knows
    return ExecutorConfig(device, jobs, tuple(devices), dask, _parse_fraction(share))


def run_parts(jobs: Sequence[PartJob], place: ExecutorConfig, tick: Tick) -> Iterator["PartResult"]:
    """Do parts.

    Parameters
    ----------
    jobs : sequence of PartJob
        From a plan.
    place : Place
        Where.
    tick : callable
        Called with clips done, seconds of audio and failures: for each batch in this process, for
        each part elsewhere.

    Yields
    ------
    Report
        For each part, once it is on the disk; in any order.
    """
    if place.in_process:
        yield from _run_in_process(jobs, place.device, tick)
        return
    for report in _run_in_workers([job.absolute() for job in jobs], place):
        tick(report.done, report.seconds, len(report.failed))
        yield report


def _run_in_process(jobs: Sequence[PartJob], device: str, tick: Tick) -> Iterator["PartResult"]:
    """Do one part after another; the finished one is written behind the next."""
    from probekit.extraction import worker
    from probekit.extraction.worker import save_part

    try:
        with ThreadPoolExecutor(1, thread_name_prefix="write") as writer:
            pending: Future[PartResult] | None = None
            for job in jobs:
                content, report = worker.embed(job, worker.get_extractor(job, device), tick)
                if pending:
                    yield pending.result()
                pending = writer.submit(save_part, job, content, report)
            if pending:
                yield pending.result()
    finally:
        worker.clear_extractors()


def _run_in_workers(jobs: Sequence[PartJob], place: ExecutorConfig) -> Iterator["PartResult"]:
    """Do parts in worker processes; what kills its workers on a cluster is then found here."""
    from probekit.extraction.worker import process_part

    with CrashRecovery() as rescue:
        if place.dask is not None:
            gone = []
            where = f"{jobs[0].path.parent.parent.name}-{jobs[0].path.parent.name}"
            names = [f"{where}-{job.path.stem}" for job in jobs]
            with _connected(place) as client:
                work = partial(process_part, device=place.device)
                for job, report in dask_module.map_unordered(client, work, jobs, names):
                    if report is None:
                        gone.append(job)
                        continue
                    rescue.works |= report.done > 0
                    yield report
            jobs = gone
        devices = place.devices or [place.device] * (place.jobs or 1)
        functions = [partial(process_part, device=device) for device in devices]
        for report in pool.imap_unordered(functions, jobs, rescue):
            rescue.works |= report.done > 0
            yield report


def _connected(place: ExecutorConfig) -> AbstractContextManager["Client"]:
    assert place.dask is not None
    shares = resources.worker_environment(place.processes)
    return dask_module.connect(place.dask, place.processes, shares)


def _parse_fraction(text: str | None) -> tuple[int, int]:
    """Read ``3/16``."""
    if text is None:
        return 1, 1
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    number, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= of:
        raise ProbekitError(f"--share {text}: I/N with I from 1 to N, such as 3/16")
    return number, of
