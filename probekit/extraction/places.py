"""Where parts are done: this process, processes of this machine, or a Dask cluster."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from probekit import cluster, runtime, workers
from probekit.errors import ProbekitError
from probekit.extraction.plan import PartJob
from probekit.extraction.rescue import Rescue

if TYPE_CHECKING:
    from distributed import Client

    from probekit.extraction.part import Report

Tick = Callable[[int, float, int], None]

_PLAIN = re.compile(r"auto|(cpu|cuda|mps|xpu)(:\d+)?")  # devices that torch knows for certain


@dataclass(frozen=True)
class Place:
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
        return len(self.devices) or self.jobs or (runtime.cpu_count() if self.dask else 1)

    @property
    def here(self) -> bool:
        """Whether this process itself embeds."""
        return self.jobs is None and not self.devices and self.dask is None

    def check(self) -> None:
        """Find out, as far as that is quick, whether this place is there.

        Loading torch is not: whether a device exists is left to those who use it, where nothing
        else has loaded torch.

        Raises
        ------
        ProbekitError
            If it is not.
        """
        if self.dask is not None:
            cluster.check(self.dask)
        if self.here and "torch" in sys.modules:
            runtime.device(self.device)


def parse(
    device: str, jobs: int | None, devices: Sequence[str], dask: str | None, share: str | None
) -> Place:
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
            runtime.device(name)  # a rare one, or a slip: torch knows
    return Place(device, jobs, tuple(devices), dask, _share(share))


def reports(jobs: Sequence[PartJob], place: Place, tick: Tick) -> Iterator["Report"]:
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
    if place.here:
        yield from _here(jobs, place.device, tick)
        return
    for report in _elsewhere([job.absolute() for job in jobs], place):
        tick(report.done, report.seconds, len(report.failed))
        yield report


def _here(jobs: Sequence[PartJob], device: str, tick: Tick) -> Iterator["Report"]:
    """Do one part after another; the finished one is written behind the next."""
    from probekit.extraction import work
    from probekit.extraction.part import write_part

    try:
        with ThreadPoolExecutor(1, thread_name_prefix="write") as writer:
            pending: Future[Report] | None = None
            for job in jobs:
                content, report = work.embed(job, work.loaded(job, device), tick)
                if pending:
                    yield pending.result()
                pending = writer.submit(write_part, job, content, report)
            if pending:
                yield pending.result()
    finally:
        work.forget()


def _elsewhere(jobs: Sequence[PartJob], place: Place) -> Iterator["Report"]:
    """Do parts in worker processes; what kills its workers on a cluster is then found here."""
    from probekit.extraction.work import do_part

    with Rescue() as rescue:
        if place.dask is not None:
            gone = []
            where = f"{jobs[0].path.parent.parent.name}-{jobs[0].path.parent.name}"
            names = [f"{where}-{job.path.stem}" for job in jobs]
            with _connected(place) as client:
                work = partial(do_part, device=place.device)
                for job, report in cluster.as_done(client, work, jobs, names):
                    if report is None:
                        gone.append(job)
                        continue
                    rescue.works |= report.done > 0
                    yield report
            jobs = gone
        devices = place.devices or [place.device] * (place.jobs or 1)
        functions = [partial(do_part, device=device) for device in devices]
        for report in workers.map_as_done(functions, jobs, rescue):
            rescue.works |= report.done > 0
            yield report


def _connected(place: Place) -> AbstractContextManager["Client"]:
    assert place.dask is not None
    shares = runtime.share_of_cores(place.processes)
    return cluster.connect(place.dask, place.processes, shares)


def _share(text: str | None) -> tuple[int, int]:
    """Read ``3/16``."""
    if text is None:
        return 1, 1
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    number, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= of:
        raise ProbekitError(f"--share {text}: I/N with I from 1 to N, such as 3/16")
    return number, of
