"""Do one part from end to end, in whatever process: embed it, and write it."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from probekit import runtime
from probekit.cache import heads
from probekit.cache.part import Part
from probekit.errors import ProbekitError
from probekit.extraction.forecast import SPEED
from probekit.extraction.part import Report, embed_part, write_part
from probekit.extraction.plan import Clip, PartJob
from probekit.extractors import load
from probekit.extractors.base import Extractor

_loaded: dict[tuple[str, tuple[str, ...], str], Extractor] = {}
_alone = threading.Lock()  # a Dask worker may have several threads; the network has the cores


def do_part(job: PartJob, device: str = "auto") -> Report:
    """Embed a part's clips, and write it.

    Parameters
    ----------
    job : PartJob
        From a plan. May be done several times, also at once: the outcome is the same.
    device : str
        Where the network runs; see :func:`probekit.runtime.device`.

    Returns
    -------
    Report
        What it came to, once the part is on the disk.
    """
    with _alone:
        extractor = loaded(job, device)
        content, report = one_by_one(job, extractor) if job.journal else embed(job, extractor)
        return write_part(job, content, report)


def loaded(job: PartJob, device: str) -> Extractor:
    """Return the extractor of a job; this process keeps the one that it used last.

    Parameters
    ----------
    job : PartJob
        Says which, and where its embeddings go: its head is kept there, too.
    device : str
        Where it shall run.

    Returns
    -------
    Extractor
        Ready.
    """
    key = (job.spec.fingerprint, job.spec.streams, device)
    if key not in _loaded:
        _loaded.clear()
        extractor = load.build(job.spec, runtime.device(device))
        _keep_head(extractor, job.path.parent.parent)
        _loaded[key] = extractor
    return _loaded[key]


def forget() -> None:
    """Free the memory of the extractor that this process keeps."""
    _loaded.clear()


def embed(
    job: PartJob, extractor: Extractor, tick: Callable[[int, float, int], None] | None = None
) -> tuple[Part, Report]:
    """Embed a part's clips, and note in the part how fast that was.

    Parameters
    ----------
    job : PartJob
        From a plan.
    extractor : Extractor
        From :func:`loaded`.
    tick : callable, optional
        See :func:`probekit.extraction.part.embed_part`.

    Returns
    -------
    Part
        As it shall be written.
    Report
        What it came to.
    """
    begin = perf_counter()
    content, report = embed_part(job, extractor, tick)
    speed = report.seconds / max(perf_counter() - begin, 1e-9)
    content.meta["provenance"][SPEED] = f"{speed:.3g}"
    return content, report


def one_by_one(job: PartJob, extractor: Extractor) -> tuple[Part, Report]:
    """Embed the clips of a part that ended its process, so that the guilty one is found.

    Each clip's id is written to ``job.journal`` before the clip is touched: the last one there is
    what the process was at when it ended. Clips of ``job.lost`` are recorded, not touched.

    Parameters
    ----------
    job : PartJob
        With a journal.
    extractor : Extractor
        From :func:`loaded`.

    Returns
    -------
    Part
        As it shall be written.
    Report
        What it came to.

    Raises
    ------
    ProbekitError
        If the extractor cannot embed any of the clips.
    """
    assert job.journal is not None
    content, report = embed_part(replace(job, clips=()), extractor)
    fault: ProbekitError | None = None
    with job.journal.open("w", encoding="utf-8") as journal:
        for clip in job.clips:
            reason = job.lost.get(clip.clip_id)
            if reason is None:
                journal.write(json.dumps(clip.clip_id) + "\n")
                journal.flush()
                try:
                    own, said = embed_part(replace(job, clips=(clip,)), extractor)
                except ProbekitError as error:
                    fault, reason = error, str(error)
                else:
                    content.rows |= own.rows
                    content.failed |= own.failed
                    report.done += said.done
                    report.seconds += said.seconds
                    report.failed |= said.failed
                    continue
            content.failed[clip.clip_id] = {**_source(clip), "reason": reason}
            report.failed[clip.clip_id] = reason
    if fault is not None and not report.done:
        raise fault
    return content, report


def _source(clip: Clip) -> dict[str, float]:
    """Return what is kept about a clip that failed, without opening its recording."""
    facts: dict[str, float] = {"start": clip.start, "end": clip.end, "size": -1, "mtime": -1}
    try:
        stat = clip.path.stat()
    except OSError:
        return facts
    return {**facts, "size": stat.st_size, "mtime": stat.st_mtime_ns}


def _keep_head(extractor: Extractor, folder: Path) -> None:
    """Keep the network's own classifier beside the embeddings, where it has one."""
    head = extractor.head()
    if head is not None:
        arrays = (head.weight.cpu().numpy(), head.bias.cpu().numpy())
        heads.keep(folder, heads.KeptHead(head.classes, *arrays, head.stream, head.pooling))
