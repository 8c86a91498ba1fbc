"""Do one part: decode, embed, pool, and write it whole."""

import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from probekit import audio
from probekit.cache import lock
from probekit.cache import part as part_file
from probekit.cache.part import Part, Row
from probekit.cards import Stream
from probekit.errors import AudioError, CacheError, ProbekitError
from probekit.extraction import long
from probekit.extraction.decoding import (
    Source,
    batches,
    decode_ahead,
    given,
    waves,
    without_path,
)
from probekit.extraction.plan import PartJob
from probekit.extractors import memory
from probekit.extractors.base import Extractor, Outputs
from probekit.extractors.pooling import pool


@dataclass
class Report:
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
) -> tuple[Part, Report]:
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
    report = Report(job.path.name)
    memory.keep_freed()
    for batch in batches(decode_ahead(job.clips, extractor), extractor):
        good = [source for source in batch if source.wave is not None]
        for source, streams in zip(good, _outputs(extractor, good), strict=True):
            if isinstance(streams, Exception):
                source.reason = f"{extractor.card.name} failed ({_first_line(streams)})"
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


def _outputs(extractor: Extractor, sources: list[Source]) -> list[Outputs | Exception]:
    """Embed a batch; where that fails, clip by clip, so that only the guilty ones fail."""
    if not sources:
        return []
    try:
        return [*extractor(waves(sources, extractor.card, extractor.device))]
    except Exception as error:
        together = error.with_traceback(None)  # which would keep what did not fit into memory
    memory.release(extractor.device)
    found: list[Outputs | Exception] = [together]
    if len(sources) > 1:
        found = [_alone(extractor, source) for source in sources]
    if any(not isinstance(one, Exception) or memory.ran_out(one) for one in found):
        return found
    # nothing works: the extractor is at fault, not a clip
    if isinstance(together, ProbekitError):
        raise together
    raise ProbekitError(
        f"{extractor.card.name}: cannot embed ({_first_line(together)})"
    ) from together


def _alone(extractor: Extractor, source: Source) -> Outputs | Exception:
    """Embed one clip, or say why that fails."""
    try:
        outputs: Outputs = extractor(waves([source], extractor.card, extractor.device))[0]
    except Exception as error:
        return error.with_traceback(None)
    return outputs


def _embed_long(source: Source, extractor: Extractor, job: PartJob) -> long.Arrays | None:
    """Embed a long clip while it is decoded; if that fails, note the reason."""
    clip = source.clip
    try:
        with audio.opened(clip.path, start=given(clip.start), end=given(clip.end)) as recording:
            arrays, source.facts["duration"] = long.embed(extractor, recording, frames=job.frames)
        _refuse_not_finite(arrays, job)
    except AudioError as error:
        source.reason = without_path(clip.path, str(error))
    except Exception as error:
        source.reason = f"{extractor.card.name} failed ({_first_line(error)})"
    else:
        return arrays
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def write_part(job: PartJob, content: Part, report: Report) -> Report:
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
    with lock.writing(job.path.parent):
        if job.path.exists():
            _add_others(job, content)
        try:
            part_file.write(job.path, content)
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
    fault = part_file.verify(job.path)
    if fault is not None:
        raise CacheError(
            f"{job.path}: {fault}. Delete this file and run the same command again: only its clips "
            "are embedded anew"
        )
    old = part_file.read(job.path)
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
    _refuse_not_finite(kept, job)
    return kept


def _refuse_not_finite(kept: long.Arrays, job: PartJob) -> None:
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
