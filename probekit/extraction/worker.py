"""Do one part from end to end, in whatever process: embed it, and write it."""

import json
import platform
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from probekit.audio import recording as recording_module
from probekit.cache import head as head_module
from probekit.cache import part as part_file
from probekit.cache.part import Part, Row
from probekit.cards import Stream
from probekit.errors import AudioError, CacheError, ProbekitError
from probekit.extraction import long_audio
from probekit.extraction.audio_loader import (
    DecodedClip,
    batches,
    nan_to_none,
    prefetch_decoded,
    to_device,
    without_path,
)
from probekit.extraction.estimate import SPEED
from probekit.extraction.plan import Clip, PartJob
from probekit.extractors import load, memory
from probekit.extractors.base import Extractor, Outputs
from probekit.extractors.pooling import pool
from probekit.parallel import resources
from probekit.utils import locking
from probekit.utils.text import first_line


@dataclass
class PartResult:
    """What doing one part came to.

    Attributes
    ----------
    name : str
        The part's file name.
    done : int
        Clips embedded.
    seconds : float
        Their duration.
    failed : dict of str to str
        Clips that could not be embedded, with the reason.
    """

    name: str
    done: int = 0
    seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)


def embed_part(
    job: PartJob, extractor: Extractor, tick: Callable[[int, float, int], None] | None = None
) -> tuple[Part, PartResult]:
    """Embed a part's clips.

    Parameters
    ----------
    job : PartJob
        From a plan.
    extractor : Extractor
        Built from ``job.spec``.
    tick : callable, optional
        Called after each batch with clips done, seconds of audio and failures, for progress.

    Returns
    -------
    Part
        These clips, as the part shall hold them.
    Report
        How many there are, and which failed: those are recorded in the part.
    """
    content = _empty(job, extractor)
    report = PartResult(job.path.name)
    memory.tune_malloc()
    for batch in batches(prefetch_decoded(job.clips, extractor), extractor):
        good = [source for source in batch if source.wave is not None]
        for source, streams in zip(good, _outputs(extractor, good), strict=True):
            if isinstance(streams, Exception):
                source.reason = f"{extractor.card.name} failed ({first_line(streams)})"
                continue
            try:
                arrays = _arrays(streams, extractor, job)
            except AudioError as error:
                source.reason = str(error)
            else:
                content.rows[source.clip.clip_id] = Row(source.facts, arrays)
        for source in (source for source in batch if source.long):
            long_arrays = _embed_long(source, extractor, job)
            if long_arrays is not None:
                content.rows[source.clip.clip_id] = Row(source.facts, long_arrays)
        bad = [source for source in batch if source.reason]
        for source in bad:
            content.failed[source.clip.clip_id] = {**source.facts, "reason": source.reason}
            report.failed[source.clip.clip_id] = source.reason
        seconds = sum(source.facts["duration"] for source in batch if not source.reason)
        report.done += len(batch) - len(bad)
        report.seconds += seconds
        if tick:
            tick(len(batch) - len(bad), seconds, len(bad))
    return content, report


def _outputs(extractor: Extractor, sources: list[DecodedClip]) -> list[Outputs | Exception]:
    """Embed a batch; where that fails, clip by clip, so that only the guilty ones fail."""
    if not sources:
        return []
    try:
        return [*extractor(to_device(sources, extractor.card, extractor.device))]
    except Exception as error:
        together = error.with_traceback(None)  # which would keep what did not fit into memory
    memory.empty_cache(extractor.device)
    found: list[Outputs | Exception] = [together]
    if len(sources) > 1:
        found = [_embed_single(extractor, source) for source in sources]
    if any(not isinstance(one, Exception) or memory.is_oom(one) for one in found):
        return found
    # nothing works: the extractor is at fault, not a clip
    if isinstance(together, ProbekitError):
        raise together
    raise ProbekitError(
        f"{extractor.card.name}: cannot embed ({first_line(together)})"
    ) from together


def _embed_single(extractor: Extractor, source: DecodedClip) -> Outputs | Exception:
    """Embed one clip, or say why that fails."""
    try:
        outputs: Outputs = extractor(to_device([source], extractor.card, extractor.device))[0]
    except Exception as error:
        return error.with_traceback(None)
    return outputs


def _embed_long(
    source: DecodedClip, extractor: Extractor, job: PartJob
) -> long_audio.Arrays | None:
    """Embed a long clip while it is decoded; if that fails, note the reason."""
    clip = source.clip
    try:
        with recording_module.open_audio(
            clip.path, start=nan_to_none(clip.start), end=nan_to_none(clip.end)
        ) as recording:
            arrays, source.facts["duration"] = long_audio.embed_streaming(
                extractor, recording, frames=job.frames
            )
        _check_not_finite(arrays, job)
    except AudioError as error:
        source.reason = without_path(clip.path, str(error))
    except Exception as error:
        source.reason = f"{extractor.card.name} failed ({first_line(error)})"
    else:
        return arrays
    return None


def save_part(job: PartJob, content: Part, report: PartResult) -> PartResult:
    """Write a part that was embedded, with the other clips that it holds already.

    Parameters
    ----------
    job : PartJob
        Says where.
    content : Part
        From :func:`embed_part`.
    report : Report
        Handed through.

    Returns
    -------
    Report
        The same, once the part is on the disk.

    Raises
    ------
    CacheError
        If the part cannot be written, or the older one is damaged; an older one is untouched.
    """
    with locking.write_lock(job.path.parent):
        if job.path.exists():
            _add_others(job, content)
        try:
            part_file.write_part(job.path, content)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CacheError(
                f"{job.path}: cannot be written ({reason}). Parts that were finished stay; run the "
                "same command again to go on"
            ) from error
    return report


def _empty(job: PartJob, extractor: Extractor) -> Part:
    """Return the part without clips."""
    spec = job.spec
    meta = {
        "extractor": spec.name,
        "fingerprint": spec.fingerprint,
        "identity": spec.identity,
        "card": spec.card.model_dump(mode="json", exclude={"weights", "bibtex"}),
        "weights": {role: source.identity for role, source in spec.sources.items()},
        "precision": spec.precision,
        "dtype": job.dtype,
        "provenance": _provenance(extractor),
    }
    grids = {name: _grid(stream) for name, stream in extractor.streams.items()}
    return Part(meta, grids)


def _add_others(job: PartJob, content: Part) -> None:
    """Add the clips that the part on the disk holds beside these.

    It is read under the lock under which it is replaced, since another process may have written
    it meanwhile, and checked, since its bytes are about to get a new digest.
    """
    fault = part_file.verify_part(job.path)
    if fault is not None:
        raise CacheError(
            f"{job.path}: {fault}. Delete this file and run the same command again: only its clips "
            "are embedded anew"
        )
    old = part_file.read_part(job.path)
    redone = {clip.clip_id for clip in job.clips}
    content.rows |= {i: row for i, row in old.rows.items() if i not in redone}
    content.failed |= {i: facts for i, facts in old.failed.items() if i not in redone}
    kept = [{name: set(own) for name, own in row.streams.items()} for row in content.rows.values()]
    if any(own != kept[0] for own in kept):
        raise CacheError(
            f"{job.path}: another extraction is adding streams or frames to it. Run the same "
            "command again when that is done"
        )


def _arrays(
    streams: Outputs, extractor: Extractor, job: PartJob
) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """Turn a clip's outputs into what the part keeps."""
    kept: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    for name, stream in extractor.streams.items():
        values = streams[name].cpu().numpy()
        if stream.kind == "clip":
            kept[name] = {"clip": values}
        else:
            kept[name] = pool(values)
            if job.frames:
                kept[name]["frames"] = values
    _check_not_finite(kept, job)
    return kept


def _check_not_finite(kept: long_audio.Arrays, job: PartJob) -> None:
    """Raise where an embedding cannot be stored as a number."""
    for name, arrays in kept.items():
        with np.errstate(over="ignore"):
            finite = all(np.isfinite(a.astype(job.dtype)).all() for a in arrays.values())
        if not finite:
            raise AudioError(f"the embedding {name!r} is not finite in {job.dtype}")


def _grid(stream: Stream) -> dict[str, Any]:
    grid: dict[str, Any] = {"kind": stream.kind, "dim": stream.dim}
    if stream.kind == "frames":
        times = (stream.hop, stream.first_center, stream.window)
        for name, value in zip(("hop", "first_center", "window"), times, strict=True):
            grid[name] = str(value)
    return grid


def _provenance(extractor: Extractor) -> dict[str, str]:
    """Return what is recorded beside the fingerprint: where and with what this was computed."""
    where = extractor.device
    libraries = ["probekit", "torch", "numpy", "soundfile", "soxr", "h5py"]
    libraries += ["av"] if find_spec("av") else []
    return {
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else str(where),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: version(name) for name in libraries},
    }


_loaded: dict[tuple[str, tuple[str, ...], str], Extractor] = {}
_alone = threading.Lock()  # a Dask worker may have several threads; the network has the cores


def process_part(job: PartJob, device: str = "auto") -> PartResult:
    """Embed a part's clips, and write it.

    Parameters
    ----------
    job : PartJob
        From a plan. May be done several times, also at once: the outcome is the same.
    device : str
        Where the network runs; see :func:`probekit.parallel.resources.device`.

    Returns
    -------
    Report
        What it came to, once the part is on the disk.
    """
    with _alone:
        extractor = get_extractor(job, device)
        content, report = (
            embed_with_journal(job, extractor) if job.journal else embed(job, extractor)
        )
        return save_part(job, content, report)


def get_extractor(job: PartJob, device: str) -> Extractor:
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
        extractor = load.build(job.spec, resources.device(device))
        _keep_head(extractor, job.path.parent.parent)
        _loaded[key] = extractor
    return _loaded[key]


def clear_extractors() -> None:
    """Free the memory of the extractor that this process keeps."""
    _loaded.clear()


def embed(
    job: PartJob, extractor: Extractor, tick: Callable[[int, float, int], None] | None = None
) -> tuple[Part, PartResult]:
    """Embed a part's clips, and note in the part how fast that was.

    Parameters
    ----------
    job : PartJob
        From a plan.
    extractor : Extractor
        From :func:`get_extractor`.
    tick : callable, optional
        See :func:`probekit.extraction.worker.embed_part`.

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


def embed_with_journal(job: PartJob, extractor: Extractor) -> tuple[Part, PartResult]:
    """Embed the clips of a part that ended its process, so that the guilty one is found.

    Each clip's id is written to ``job.journal`` before the clip is touched: the last one there is
    what the process was at when it ended. Clips of ``job.lost`` are recorded, not touched.

    Parameters
    ----------
    job : PartJob
        With a journal.
    extractor : Extractor
        From :func:`get_extractor`.

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
            reason = job.skipped.get(clip.clip_id)
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
        head_module.save_head(
            folder, head_module.SavedHead(head.classes, *arrays, head.stream, head.pooling)
        )
