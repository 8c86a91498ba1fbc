"""Worker of an extraction: embeds the clips of one part in the current process, and writes it."""

import json
import platform
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from probekit.audio import archives
from probekit.audio.recording import open_audio
from probekit.cache import part
from probekit.cache.head import SavedHead, save_head
from probekit.cache.part import Part, Row
from probekit.cards import Stream
from probekit.errors import AudioError, CacheError, ProbekitError
from probekit.extraction.audio_loader import (
    DecodedClip,
    batch_by_duration,
    prefetch_decoded,
    to_device,
    without_path,
)
from probekit.extraction.estimate import SPEED
from probekit.extraction.long_audio import Arrays, embed_streaming
from probekit.extraction.plan import BatchProgress, Clip, PartJob
from probekit.extractors import load, memory
from probekit.extractors.base import Extractor, Outputs
from probekit.extractors.pooling import pool
from probekit.parallel import resources
from probekit.utils import locking
from probekit.utils.text import first_line

_extractors: dict[tuple[str, tuple[str, ...], str], Extractor] = {}
_lock = threading.Lock()  # a Dask worker may have several threads; the network uses all cores


@dataclass
class PartResult:
    """Outcome of one part.

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
    notes : dict of str to list of str
        Embedded clips, with what is odd in their recording; the part stores it, too.
    """

    name: str
    done: int = 0
    seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)


def process_part(job: PartJob, device: str = "auto") -> PartResult:
    """Embed a part's clips, and write it.

    A job may be processed several times, also concurrently: the result is the same.

    Parameters
    ----------
    job : PartJob
        From a plan.
    device : str
        Device of the network; see :func:`probekit.parallel.resources.resolve_device`.

    Returns
    -------
    PartResult
        Once the part is on the disk.
    """
    with _lock:
        extractor = get_extractor(job, device)
        content, result = (
            embed_with_journal(job, extractor) if job.journal else embed(job, extractor)
        )
        return save_part(job, content, result)


# ---- the extractor


def get_extractor(job: PartJob, device: str) -> Extractor:
    """Return the extractor of a job; this process keeps the last one. Its head is saved, too."""
    key = (job.spec.fingerprint, job.spec.streams, device)
    if key not in _extractors:
        _extractors.clear()
        extractor = load.build_extractor(job.spec, resources.resolve_device(device))
        _save_head(extractor, job.path.parent.parent)
        _extractors[key] = extractor
    return _extractors[key]


def clear_extractors() -> None:
    """Free the memory of the extractor that this process keeps."""
    _extractors.clear()


def _save_head(extractor: Extractor, folder: Path) -> None:
    """Save the network's own classifier beside the embeddings, if it has one."""
    head = extractor.head()
    if head is not None:
        weight, bias = head.weight.cpu().numpy(), head.bias.cpu().numpy()
        attention = head.attention and (
            head.attention[0].cpu().numpy(),
            head.attention[1].cpu().numpy(),
        )
        save_head(
            folder, SavedHead(head.classes, weight, bias, head.stream, head.pooling, attention)
        )


# ---- embedding


def embed(
    job: PartJob, extractor: Extractor, progress: BatchProgress | None = None
) -> tuple[Part, PartResult]:
    """Embed a part's clips, and record the speed in the part's provenance."""
    start = perf_counter()
    content, result = embed_part(job, extractor, progress)
    speed = result.seconds / max(perf_counter() - start, 1e-9)
    content.meta["provenance"][SPEED] = f"{speed:.3g}"
    return content, result


def embed_with_journal(job: PartJob, extractor: Extractor) -> tuple[Part, PartResult]:
    """Embed the clips of a part that crashed its process one by one, to find the crashing clip.

    Each clip's id is written to ``job.journal`` before the clip is tried: the last one is that at
    which the process crashed. Clips of ``job.skipped`` are recorded as failures, not tried.

    Raises
    ------
    ProbekitError
        If the extractor cannot embed any of the clips.
    """
    assert job.journal is not None
    content, result = embed_part(replace(job, clips=()), extractor)
    last_error: ProbekitError | None = None
    with job.journal.open("w", encoding="utf-8") as journal:
        for clip in job.clips:
            reason = job.skipped.get(clip.clip_id)
            if reason is None:
                journal.write(json.dumps(clip.clip_id) + "\n")
                journal.flush()
                try:
                    clip_content, clip_result = embed_part(replace(job, clips=(clip,)), extractor)
                except ProbekitError as error:
                    last_error, reason = error, str(error)
                else:
                    content.rows |= clip_content.rows
                    content.failed |= clip_content.failed
                    result.done += clip_result.done
                    result.seconds += clip_result.seconds
                    result.failed |= clip_result.failed
                    result.notes |= clip_result.notes
                    continue
            content.failed[clip.clip_id] = {**_stat_clip(clip), "reason": reason}
            result.failed[clip.clip_id] = reason
    if result.notes:
        content.meta[part.NOTES] = result.notes
    if last_error is not None and not result.done:
        raise last_error
    return content, result


def embed_part(
    job: PartJob, extractor: Extractor, progress: BatchProgress | None = None
) -> tuple[Part, PartResult]:
    """Embed a part's clips.

    Parameters
    ----------
    job : PartJob
        From a plan.
    extractor : Extractor
        Built from ``job.spec``.
    progress : callable, optional
        Called with clips done, seconds of audio and failures: after each batch, and during a clip
        that is embedded piece by piece.

    Returns
    -------
    Part
        With these clips, embedded or failed.
    PartResult
        Their numbers, and the failures.
    """
    content = _empty_part(job, extractor)
    result = PartResult(job.path.name)
    waves = prefetch_decoded(job.clips, extractor, job.allow_truncated)
    for batch in batch_by_duration(waves, extractor):
        reported = 0.0  # seconds of this batch

        def tick(seconds: float) -> None:
            nonlocal reported
            reported += seconds
            if progress:
                progress(0, seconds, 0)

        decoded = [clip for clip in batch if clip.wave is not None]
        for clip, outputs in zip(decoded, _run_batch(extractor, decoded), strict=True):
            if isinstance(outputs, Exception):
                clip.reason = f"{extractor.card.name} failed ({first_line(outputs)})"
                continue
            try:
                arrays = _pool_outputs(outputs, extractor, job)
            except AudioError as error:
                clip.reason = str(error)
            else:
                content.rows[clip.clip.clip_id] = Row(clip.facts, arrays)
        for clip in (clip for clip in batch if clip.long):
            long_arrays = _embed_long(clip, extractor, job, tick)
            if long_arrays is not None:
                content.rows[clip.clip.clip_id] = Row(clip.facts, long_arrays)
        for clip in batch:
            if clip.notes and not clip.reason:
                result.notes[clip.clip.clip_id] = list(clip.notes)
        failed = [clip for clip in batch if clip.reason]
        for clip in failed:
            content.failed[clip.clip.clip_id] = {**clip.facts, "reason": clip.reason}
            result.failed[clip.clip.clip_id] = clip.reason
        seconds = sum(clip.facts["duration"] for clip in batch if not clip.reason)
        result.done += len(batch) - len(failed)
        result.seconds += seconds
        if progress:
            progress(len(batch) - len(failed), seconds - reported, len(failed))
    if result.notes:
        content.meta[part.NOTES] = result.notes
    return content, result


def _run_batch(extractor: Extractor, clips: list[DecodedClip]) -> list[Outputs | Exception]:
    """Embed a batch; if that fails, clip by clip, so that only the faulty clips fail."""
    if not clips:
        return []
    try:
        return [*extractor(to_device(clips, extractor.card, extractor.device))]
    except Exception as error:
        batch_error = error.with_traceback(None)  # which would hold what did not fit into memory
    memory.empty_cache(extractor.device)
    outputs: list[Outputs | Exception] = [batch_error]
    if len(clips) > 1:
        outputs = [_run_single(extractor, clip) for clip in clips]
    if any(not isinstance(output, Exception) or memory.is_oom(output) for output in outputs):
        return outputs
    # every clip fails: the extractor is faulty, not a clip
    if isinstance(batch_error, ProbekitError):
        raise batch_error
    raise ProbekitError(
        f"{extractor.card.name}: cannot embed ({first_line(batch_error)})"
    ) from batch_error


def _run_single(extractor: Extractor, clip: DecodedClip) -> Outputs | Exception:
    """Embed one clip, or return its error."""
    try:
        outputs: Outputs = extractor(to_device([clip], extractor.card, extractor.device))[0]
    except Exception as error:
        return error.with_traceback(None)
    return outputs


def _embed_long(
    decoded: DecodedClip, extractor: Extractor, job: PartJob, progress: Callable[[float], None]
) -> Arrays | None:
    """Embed a long clip while it is decoded; if that fails, set the reason."""
    clip = decoded.clip
    start, end = clip.bounds
    try:
        with open_audio(
            clip.path, start=start, end=end, allow_truncated=job.allow_truncated
        ) as recording:
            arrays, decoded.facts["duration"] = embed_streaming(
                extractor, recording, frames=job.frames, progress=progress
            )
            decoded.notes = recording.notes
        _check_finite(arrays, job)
    except AudioError as error:
        decoded.reason = without_path(clip.path, str(error))
    except Exception as error:
        decoded.reason = f"{extractor.card.name} failed ({first_line(error)})"
    else:
        return arrays
    return None


def _pool_outputs(outputs: Outputs, extractor: Extractor, job: PartJob) -> Arrays:
    """Return the arrays that a part stores of a clip's outputs."""
    arrays: Arrays = {}
    for name, stream in extractor.streams.items():
        values = outputs[name].cpu().numpy()
        if stream.kind == "clip":
            arrays[name] = {"clip": values}
        else:
            arrays[name] = pool(values)
            if job.frames:
                arrays[name]["frames"] = values
    _check_finite(arrays, job)
    return arrays


def _check_finite(arrays: Arrays, job: PartJob) -> None:
    """Raise if an embedding is not finite in the storage type."""
    for name, stream_arrays in arrays.items():
        with np.errstate(over="ignore"):
            finite = all(np.isfinite(a.astype(job.dtype)).all() for a in stream_arrays.values())
        if not finite:
            raise AudioError(f"the embedding {name!r} is not finite in {job.dtype}")


def _stat_clip(clip: Clip) -> dict[str, float]:
    """Return what is stored about a failed clip, without opening its recording."""
    facts: dict[str, float] = {"start": clip.start, "end": clip.end, "size": -1, "mtime": -1}
    try:
        stat = archives.stat(clip.path)
    except OSError:
        return facts
    return {**facts, "size": stat.st_size, "mtime": stat.st_mtime_ns}


# ---- the part


def save_part(job: PartJob, content: Part, result: PartResult) -> PartResult:
    """Write an embedded part, with the other clips that it holds already; return ``result``.

    Raises
    ------
    CacheError
        If the part cannot be written, or the older one is damaged; an older one is untouched.
    """
    with locking.write_lock(job.path.parent):
        if job.path.exists():
            _add_other_clips(job, content)
        try:
            part.write_part(job.path, content)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CacheError(
                f"{job.path}: cannot be written ({reason}). Finished parts are saved; run the same "
                "command again to resume"
            ) from error
    return result


def _add_other_clips(job: PartJob, content: Part) -> None:
    """Add the clips that the part on the disk holds beside these.

    It is read under the lock under which it is replaced, since another process may have written
    it meanwhile, and verified, since its bytes are about to get a new digest.
    """
    fault = part.verify_part(job.path)
    if fault is not None:
        raise CacheError(
            f"{job.path}: {fault}. Delete this file and run the same command again: only its clips "
            "are embedded again"
        )
    old = part.read_part(job.path)
    replaced = {clip.clip_id for clip in job.clips}
    content.rows |= {i: row for i, row in old.rows.items() if i not in replaced}
    content.failed |= {i: facts for i, facts in old.failed.items() if i not in replaced}
    part.merge_notes(content, old, old.rows.keys() - replaced)
    names = [
        {stream: set(arrays) for stream, arrays in row.streams.items()}
        for row in content.rows.values()
    ]
    if any(row_names != names[0] for row_names in names):
        raise CacheError(
            f"{job.path}: another extraction is adding streams or frames to it. Run the same "
            "command again when it has finished"
        )


def _empty_part(job: PartJob, extractor: Extractor) -> Part:
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
    if job.allow_truncated:
        meta[part.ALLOWED] = str(job.allow_truncated)
    return Part(meta, {name: _grid(stream) for name, stream in extractor.streams.items()})


def _grid(stream: Stream) -> dict[str, Any]:
    grid: dict[str, Any] = {"kind": stream.kind, "dim": stream.dim}
    if stream.kind == "frames":
        times = (stream.hop, stream.first_center, stream.window)
        for name, value in zip(("hop", "first_center", "window"), times, strict=True):
            grid[name] = str(value)
    return grid


def _provenance(extractor: Extractor) -> dict[str, str]:
    """Return device, machine, time and library versions, recorded beside the fingerprint."""
    device = extractor.device
    libraries = ["probekit", "torch", "numpy", "soundfile", "soxr", "h5py", "av"]
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: version(name) for name in libraries},
        **extractor.runtime(),
    }
