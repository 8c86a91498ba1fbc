"""Do one part: decode, embed, pool, and write it whole."""

import platform
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probekit import audio, runtime
from probekit.cache import part as part_file
from probekit.cache.part import Part, Row
from probekit.cards import ExtractorCard, Stream
from probekit.errors import AudioError, CacheError, ProbekitError
from probekit.extraction.plan import Clip, PartJob, recording_hash
from probekit.extractors.base import Extractor, Outputs
from probekit.extractors.pooling import pool
from probekit.extractors.resampling import KAISER, resample

_BATCH_SECONDS = 60.0
_BATCH_CLIPS = 64


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


@dataclass
class _Source:
    """A decoded clip, or why it could not be decoded."""

    clip: Clip
    facts: dict[str, Any]
    wave: torch.Tensor | None = None
    reason: str = ""


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
    for batch in _batches(_decode_ahead(job.clips, extractor.card)):
        good = [source for source in batch if source.wave is not None]
        waves = [source.wave for source in good if source.wave is not None]
        for source, streams in zip(good, _outputs(extractor, waves), strict=True):
            if isinstance(streams, Exception):
                source.reason = f"{extractor.card.name} failed ({_first_line(streams)})"
                continue
            try:
                arrays = _arrays(streams, extractor, job)
            except AudioError as error:
                source.reason = str(error)
            else:
                content.rows[source.clip.clip_id] = Row(source.facts, arrays)
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


def _outputs(extractor: Extractor, waves: list[torch.Tensor]) -> list[Outputs | Exception]:
    """Embed a batch; where that fails, clip by clip, so that only the guilty ones fail."""
    if not waves:
        return []
    try:
        return [*extractor(waves)]
    except Exception as error:
        found: list[Outputs | Exception] = []
        for wave in waves if len(waves) > 1 else ():
            try:
                found += extractor([wave])
            except Exception as own:
                found.append(own)
        if any(not isinstance(one, Exception) for one in found):
            return found
        # nothing works: the extractor is at fault, not a clip
        if isinstance(error, ProbekitError):
            raise
        raise ProbekitError(
            f"{extractor.card.name}: cannot embed ({_first_line(error)})"
        ) from error


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
    if job.path.exists():
        _add_others(job, content)
    try:
        part_file.write(job.path, content)
    except OSError as error:
        raise CacheError(
            f"{job.path}: cannot be written ({(error.strerror or str(error)).lower()}). Parts that "
            "were finished stay; run the same command again to go on"
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

    It is read just before it is replaced, since another process may have written it meanwhile,
    and checked, since its bytes are about to get a new digest.
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


def _decode_ahead(clips: Iterable[Clip], card: ExtractorCard) -> Iterator[_Source]:
    """Decode in threads, some clips ahead of the network, in order."""
    threads = runtime.cpu_count()
    clips = iter(clips)
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool_of_threads:
        ahead: list[Future[_Source]] = [
            pool_of_threads.submit(_decode, clip, card) for clip in islice(clips, 4 * threads)
        ]
        while ahead:
            source = ahead.pop(0).result()
            ahead += [pool_of_threads.submit(_decode, clip, card) for clip in islice(clips, 1)]
            yield source


def _decode(clip: Clip, card: ExtractorCard) -> _Source:
    """Decode one clip; whatever is wrong with the recording becomes its reason."""
    facts: dict[str, Any] = {
        "start": clip.start,
        "end": clip.end,
        "duration": 0.0,
        "size": -1,
        "mtime": -1,
        "sha256": b"",
    }
    try:
        stat = clip.path.stat()
        facts.update(size=stat.st_size, mtime=stat.st_mtime_ns)
        start, end = (None if np.isnan(s) else s for s in (clip.start, clip.end))
        by_soxr = card.sample_rate if card.resampler == "soxr_hq" else None
        decoded = audio.load(clip.path, by_soxr, start=start, end=end)
        limit = None if card.long_audio == "cropped" else card.max_seconds
        if limit is not None and decoded.seconds > limit:
            raise AudioError(f"{decoded.seconds:.1f} s long; {card.name} takes at most {limit:g} s")
        digest = recording_hash(clip.path, stat.st_size, stat.st_mtime_ns)
        facts.update(duration=decoded.seconds, sha256=digest.encode())
    except AudioError as error:
        return _Source(clip, facts, reason=_without_path(clip.path, str(error)))
    except OSError as error:
        return _Source(clip, facts, reason=(error.strerror or str(error)).lower())
    wave = torch.from_numpy(decoded.wave)
    if by_soxr is None:
        wave = resample(wave, decoded.rate, card.sample_rate, KAISER[card.resampler])
    return _Source(clip, facts, wave)


def _batches(sources: Iterable[_Source]) -> Iterator[list[_Source]]:
    """Group clips by seconds of audio, so that long clips do not make huge batches."""
    batch: list[_Source] = []
    seconds = 0.0
    for source in sources:
        batch.append(source)
        seconds += source.facts["duration"]
        if seconds >= _BATCH_SECONDS or len(batch) >= _BATCH_CLIPS:
            yield batch
            batch, seconds = [], 0.0
    if batch:
        yield batch


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
        with np.errstate(over="ignore"):
            finite = all(np.isfinite(a.astype(job.dtype)).all() for a in kept[name].values())
        if not finite:
            raise AudioError(f"the embedding {name!r} is not finite in {job.dtype}")
    return kept


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
    libraries = ("probekit", "torch", "numpy", "soundfile", "soxr", "h5py")
    return {
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else str(where),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: version(name) for name in libraries},
    }


def _without_path(path: Path, message: str) -> str:
    """Take the path out of a message that is kept beside the clip's id."""
    return message.removeprefix(f"{path}: ")
