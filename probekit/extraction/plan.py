"""What is left to extract: which clips of which parts."""

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from probekit.cache import index as index_module
from probekit.cache import layout
from probekit.cache.layout import Layout
from probekit.errors import CacheError, DataError
from probekit.extractors.load import Spec
from probekit.extractors.pooling import POOLINGS
from probekit.extractors.weights import sha256
from probekit.manifest import Manifest


@dataclass(frozen=True)
class Clip:
    """One clip to embed.

    Attributes
    ----------
    clip_id : str
        Its id.
    path : pathlib.Path
        The recording.
    start, end : float
        The stretch in seconds; NaN for the whole recording.
    """

    clip_id: str
    path: Path
    start: float
    end: float


@dataclass(frozen=True)
class PartJob:
    """One part to write: everything that doing it needs, so that it can travel to a worker.

    Attributes
    ----------
    path : pathlib.Path
        The part.
    clips : tuple of Clip
        Clips to embed; what else the part holds is kept.
    spec : Spec
        The extractor, with every stream that the part shall hold.
    frames : bool
        Whether to keep frames.
    dtype : {"float32", "float16"}
        How numbers are stored.
    """

    path: Path
    clips: tuple[Clip, ...]
    spec: Spec
    frames: bool
    dtype: str


@dataclass
class Plan:
    """What one extraction has to do.

    Attributes
    ----------
    spec : Spec
        The extractor.
    where : pathlib.Path
        The folder of its parts.
    total : int
        Clips of the manifest.
    cached : int
        Clips that are there already.
    failed : dict of str to str
        Clips that failed before and are not tried again, with the reason.
    jobs : list of PartJob
        Parts to write.
    bytes_per_clip : float
        About what a clip takes on the disk.
    """

    spec: Spec
    where: Path
    total: int
    cached: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    jobs: list[PartJob] = field(default_factory=list)
    bytes_per_clip: float = 0.0

    @property
    def todo(self) -> int:
        """The number of clips to embed."""
        return sum(len(job.clips) for job in self.jobs)


def make(
    clips: Manifest,
    whole: int,
    spec: Spec,
    cache: Path,
    dataset: str,
    *,
    frames: bool = False,
    dtype: str = "float32",
    retry_failed: bool = False,
    verify_audio: bool = False,
    dry: bool = False,
) -> Plan:
    """Find out which clips have to be embedded, and in which parts they belong.

    Parameters
    ----------
    clips : Manifest
        The clips wanted; ``root`` says where their recordings are.
    whole : int
        The number of clips of the whole dataset, of which ``clips`` may be a few.
    spec : Spec
        The extractor.
    cache : pathlib.Path
        The cache's folder.
    dataset : str
        The dataset's name in the cache.
    frames : bool
        Whether frames are wanted besides pooled vectors.
    dtype : {"float32", "float16"}
        How numbers are stored.
    retry_failed : bool
        Whether clips that failed are tried again though their recording is unchanged.
    verify_audio : bool
        Whether recordings are compared by hash even where size and time of change agree.
    dry : bool
        Only look: nothing is written.

    Returns
    -------
    Plan
        Parts in order.

    Raises
    ------
    CacheError
        If the cache holds another fingerprint or storage type, or clips would be lost.
    DataError
        If nothing is cached and no recording is where the manifest says.
    """
    where = layout.folder(cache, spec.name, spec.fingerprint, dataset)
    size = _bytes_per_clip(spec, frames, dtype)
    wanted = Layout(
        extractor=spec.name,
        fingerprint=spec.fingerprint,
        identity=spec.identity,
        dataset=dataset,
        buckets=layout.choose_buckets(whole, size),
        dtype=dtype,
        provenance=spec.provenance,
    )
    fresh = dry and not (where / "dataset.json").exists()
    settled = wanted if fresh else layout.settle(where, wanted)
    if settled.dtype != dtype:
        raise CacheError(
            f"{where}: numbers are stored as {settled.dtype}; ask for --dtype {settled.dtype}, or "
            "use another --cache"
        )
    empty = index_module.Index(pd.DataFrame(), {})
    index = empty if fresh else index_module.load(where, keep=not dry)
    spec, frames = _with_what_is_kept(spec, frames, index)
    lacking = {
        name
        for name, facts in index.parts.items()
        if any(facts["streams"].values()) and not _holds(facts["streams"], spec, frames)
    }
    plan = Plan(spec, where, len(clips), bytes_per_clip=size)
    known: dict[str, Any] = {}
    if len(index.table):
        known = dict(zip(index.table["clip_id"], index.table.itertuples(index=False), strict=True))
    if verify_audio:
        recording_hash.cache_clear()
    root = clips.root or Path()
    groups: dict[str, list[Clip]] = {}
    columns = (clips.table[name] for name in ("clip_id", "path", "start", "end"))
    for clip_id, path, start, end in zip(*columns, strict=True):
        clip = Clip(clip_id, root / path, start, end)
        there = known.get(clip.clip_id)
        if there is not None and there.part not in lacking and _same(clip, there, verify_audio):
            if not there.failed:
                plan.cached += 1
                continue
            if not retry_failed:
                plan.failed[clip.clip_id] = there.reason
                continue
        name = layout.part_name(layout.bucket(clip.clip_id, settled.buckets))
        groups.setdefault(name, []).append(clip)
    for name, own in sorted(groups.items()):
        plan.jobs.append(PartJob(where / name, tuple(own), spec, frames, dtype))
    _refuse_loss(plan, lacking, index, where)
    _refuse_wrong_root(plan, clips)
    return plan


def _with_what_is_kept(spec: Spec, frames: bool, index: index_module.Index) -> tuple[Spec, bool]:
    """Add the streams and frames that the parts hold already: all clips of a part have the same."""
    held = {
        (name, array)
        for facts in index.parts.values()
        for name, arrays in facts["streams"].items()
        for array in arrays
    }
    kept = {name for name, _ in held} | set(spec.streams)
    streams = tuple(name for name in spec.card.streams if name in kept)
    return replace(spec, streams=streams), frames or any(array == "frames" for _, array in held)


def _holds(held: dict[str, list[str]], spec: Spec, frames: bool) -> bool:
    """Tell whether a part holds every stream that is wanted, with frames if they are."""
    for name in spec.streams:
        arrays = held.get(name)
        if arrays is None:
            return False
        if frames and spec.card.streams[name].kind == "frames" and "frames" not in arrays:
            return False
    return True


def _same(clip: Clip, there: Any, verify_audio: bool) -> bool:
    """Tell whether a clip in the cache comes from this very stretch of this very recording."""
    for own, kept in ((clip.start, there.start), (clip.end, there.end)):
        if not (own == kept or (math.isnan(own) and math.isnan(kept))):
            return False
    try:
        stat = clip.path.stat()
        if there.size < 0:
            return bool(not there.failed)
        if there.size == stat.st_size and there.mtime == stat.st_mtime_ns and not verify_audio:
            return True
        if there.size != stat.st_size or not there.sha256:
            return False
        own_hash = recording_hash(clip.path, stat.st_size, stat.st_mtime_ns)
    except OSError:
        # the recording is not here: what was computed stays, and a failure stays a failure
        return not there.failed or there.size < 0
    return bool(own_hash == there.sha256)


@lru_cache(maxsize=4096)
def recording_hash(path: Path, size: int, mtime: int) -> str:
    """Return the SHA-256 of a recording, computed once for all its clips."""
    return sha256(path)


def _refuse_loss(plan: Plan, lacking: set[str], index: index_module.Index, where: Path) -> None:
    """Refuse to upgrade parts that hold clips of which no recording is known or there now."""
    for job in plan.jobs:
        if job.path.name not in lacking:
            continue
        rows = index.table[(index.table["part"] == job.path.name) & ~index.table["failed"]]
        held = set(rows["clip_id"])
        orphans = held - {clip.clip_id for clip in job.clips}
        if orphans:
            raise CacheError(
                f"{where}: adding streams or frames rewrites whole parts, but {len(orphans)} clips "
                f"of {job.path.name} are not in this manifest, for example {min(orphans)!r}. "
                "Extract with a manifest of all clips, without --limit"
            )
        gone = [clip for clip in job.clips if clip.clip_id in held and not clip.path.exists()]
        if gone:
            raise CacheError(
                f"{where}: adding streams or frames needs all recordings again, but {len(gone)} of "
                f"{job.path.name} are not there, for example {gone[0].path}"
            )


def _refuse_wrong_root(plan: Plan, clips: Manifest) -> None:
    """Refuse an extraction in which every clip would fail since its recording is not there."""
    wanted = [clip.path for job in plan.jobs for clip in job.clips]
    if wanted and not plan.cached and not any(path.exists() for path in wanted):
        raise DataError(
            f"{clips.root}: none of the {len(wanted)} recordings is in it, for example "
            f"{wanted[0].name!r} would be {wanted[0]}. Is this the right --root?"
        )


def _bytes_per_clip(spec: Spec, frames: bool, dtype: str) -> float:
    """Estimate what one clip takes; clips are taken to be of ten seconds."""
    item = 2 if dtype == "float16" else 4
    total = 0.0
    for stream in (spec.card.streams[name] for name in spec.streams):
        vectors = 1.0 if stream.kind == "clip" else float(len(POOLINGS))
        if frames and stream.hop:
            vectors += 10 / float(stream.hop)
        total += vectors * stream.dim * item
    return total
