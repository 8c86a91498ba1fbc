"""Plan of an extraction: the clips that are left to embed, part by part."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from probekit.audio.archives import MARK, file_of
from probekit.audio.segment import TRUNCATED
from probekit.cache import layout
from probekit.cache.index import Index, load_index
from probekit.cache.integrity import check_dims
from probekit.cache.layout import Layout
from probekit.data.manifest import Manifest
from probekit.errors import CacheError, DataError
from probekit.extractors.load import Spec
from probekit.extractors.pooling import POOLINGS
from probekit.utils.hashing import sha256

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
BatchProgress = Callable[[int, float, int], None]
"""Takes clips done, seconds of audio and failures."""

_LIBRARY = "transformers"  # key of its version in what identifies a model of ``hf:``
_MISSING = -2  # size of a missing recording; -1 in the cache: it was missing when it was embedded


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
        The segment in seconds; NaN for the start and end of the recording.
    """

    clip_id: str
    path: Path
    start: float
    end: float

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Start and end of the segment, None instead of NaN."""
        start, end = (None if np.isnan(t) else t for t in (self.start, self.end))
        return start, end


@dataclass(frozen=True)
class PartJob:
    """One part to write, with everything that a worker needs for it.

    Attributes
    ----------
    path : pathlib.Path
        File of the part.
    clips : tuple of Clip
        Clips to embed; other clips of the part stay.
    spec : Spec
        The extractor, with every stream that the part shall hold.
    frames : bool
        Whether to store frames.
    dtype : {"float32", "float16"}
        How numbers are stored.
    skipped : dict of str to str
        Crashing clips, with the reason: they are recorded as failures.
    allow_truncated : float from 0 to 1
        Share of a clip that may be missing at the end of a truncated recording.
    journal : pathlib.Path or None
        File for each clip's id before it is tried; clips are then embedded one by one.
    """

    path: Path
    clips: tuple[Clip, ...]
    spec: Spec
    frames: bool
    dtype: str
    skipped: dict[str, str] = field(default_factory=dict)
    allow_truncated: float = 0.0
    journal: Path | None = None

    def absolute(self) -> "PartJob":
        """Return the same job with absolute paths, for a process with another working folder."""
        sources = {
            role: replace(source, path=source.path.absolute()) if source.path else source
            for role, source in self.spec.sources.items()
        }
        file = self.spec.file
        return replace(
            self,
            path=self.path.absolute(),
            clips=tuple(replace(clip, path=clip.path.absolute()) for clip in self.clips),
            spec=replace(self.spec, sources=sources, file=file.absolute() if file else None),
        )


@dataclass
class Plan:
    """What one extraction has to do.

    Attributes
    ----------
    spec : Spec
        The extractor.
    folder : pathlib.Path
        The folder of its parts.
    total : int
        Clips of the manifest.
    cached : int
        Clips that have embeddings already.
    failed : dict of str to str
        Clips that failed before and are not tried again, with the reason.
    jobs : list of PartJob
        Parts to write.
    parts : int
        The number of parts of the dataset.
    """

    spec: Spec
    folder: Path
    total: int
    cached: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    jobs: list[PartJob] = field(default_factory=list)
    parts: int = 0

    @property
    def todo(self) -> int:
        """The number of clips to embed."""
        return sum(len(job.clips) for job in self.jobs)

    def share(self, number: int, total: int) -> "Plan":
        """Return share ``number`` of 1 to ``total`` independent ones; together they do all of it.

        It has every ``total``-th part of the dataset, complete or not, so shares stay the same
        while others are extracted.
        """
        names = {layout.part_name(k) for k in range(number - 1, self.parts, total)}
        return replace(self, jobs=[job for job in self.jobs if job.path.name in names])


def make_plan(
    manifest: Manifest,
    dataset_size: int,
    spec: Spec,
    cache: Path,
    dataset: str,
    *,
    frames: bool = False,
    dtype: str = "float32",
    retry_failed: bool = False,
    allow_truncated: float = 0.0,
    verify_audio: bool = False,
    dry_run: bool = False,
) -> Plan:
    """Determine which clips have to be embedded, and the parts that they belong in.

    Parameters
    ----------
    manifest : Manifest
        The requested clips; its ``root`` is the folder of their recordings.
    dataset_size : int
        The number of clips of the dataset, of which ``manifest`` may hold a few.
    spec : Spec
        The extractor.
    cache : pathlib.Path
        The cache root.
    dataset : str
        The dataset's name in the cache.
    frames : bool
        Whether to store frames besides pooled vectors.
    dtype : {"float32", "float16"}
        How numbers are stored.
    retry_failed : bool
        Whether failed clips are tried again though their recording is unchanged.
    allow_truncated : float from 0 to 1
        Share of a clip that may be missing at the end of a truncated recording; clips that failed
        since theirs is truncated are tried again if it is not 0.
    verify_audio : bool
        Whether recordings are compared by hash even if size and time are unchanged.
    dry_run : bool
        Write nothing.

    Returns
    -------
    Plan
        Parts in order.

    Raises
    ------
    CacheError
        If the cache holds another fingerprint or storage type, or clips would be lost.
    CardError
        If the card has other dimensions than the vectors that are cached.
    DataError
        If nothing is cached and no recording exists.
    """
    _check_library(spec, cache, dataset)
    folder = layout.dataset_folder(cache, spec.name, spec.fingerprint, dataset, spec.model)
    requested = Layout(
        extractor=spec.name,
        fingerprint=spec.fingerprint,
        identity=spec.identity,
        dataset=dataset,
        buckets=layout.choose_buckets(dataset_size, bytes_per_clip(spec, frames, dtype)),
        dtype=dtype,
        provenance=spec.provenance,
    )
    new = dry_run and not (folder / layout.LAYOUT_FILE).exists()
    info = requested if new else layout.create_or_load_layout(folder, requested)
    if info.dtype != dtype:
        raise CacheError(
            f"{folder}: numbers are stored as {info.dtype}; use --dtype {info.dtype}, or another "
            "--cache"
        )
    index = Index(pd.DataFrame(), {}) if new else load_index(folder, save=not dry_run)
    check_dims(folder, spec.card, index)
    spec, frames = _merge_cached(spec, frames, index)
    incomplete = {
        name
        for name, facts in index.parts.items()
        if any(facts["streams"].values()) and not _covers(facts["streams"], spec, frames)
    }
    plan = Plan(spec, folder, len(manifest), parts=info.buckets)
    if verify_audio:
        hash_recording.cache_clear()
    positions = find_up_to_date(
        manifest, index, incomplete, hash_recording, verify_audio=verify_audio
    )
    failed = (positions >= 0) & (index.failed[positions] if len(index.table) else False)
    plan.cached = int((positions >= 0).sum() - failed.sum())
    retried = failed & retry_failed
    if allow_truncated and failed.any():
        reasons = index.table["reason"].astype(str).str.startswith(TRUNCATED).to_numpy(bool)
        retried |= failed & reasons[positions]
    if (failed & ~retried).any():
        ids = manifest.table["clip_id"].to_numpy(object)[failed & ~retried]
        reasons = index.table["reason"].to_numpy(object)[positions[failed & ~retried]]
        plan.failed = dict(zip(ids, reasons, strict=True))
    groups: dict[str, list[Clip]] = {}
    for clip in _select_clips(manifest, (positions < 0) | retried):
        name = layout.part_name(layout.assign_bucket(clip.clip_id, info.buckets))
        groups.setdefault(name, []).append(clip)
    for name, clips in sorted(groups.items()):
        job = PartJob(
            folder / name, tuple(clips), spec, frames, dtype, allow_truncated=allow_truncated
        )
        plan.jobs.append(job)
    _check_no_data_loss(plan, incomplete, index)
    _check_root(plan, manifest)
    return plan


def bytes_per_clip(spec: Spec, frames: bool, dtype: str, seconds: float = 10.0) -> float:
    """Estimate the stored size of a clip of some duration.

    The number of parts is always computed for ten seconds: the layout must not depend on the
    recordings, which need not all exist.
    """
    item = 2 if dtype == "float16" else 4
    total = 0.0
    for stream in (spec.card.streams[name] for name in spec.streams):
        vectors = 1.0 if stream.kind == "clip" else float(len(POOLINGS))
        if frames and stream.hop:
            vectors += seconds / float(stream.hop)
        total += vectors * stream.dim * item
    return total


def _merge_cached(spec: Spec, frames: bool, index: Index) -> tuple[Spec, bool]:
    """Add the streams and frames that the parts hold already: all clips of a part have the same."""
    stored = {
        (name, array)
        for facts in index.parts.values()
        for name, arrays in facts["streams"].items()
        for array in arrays
    }
    names = {name for name, _ in stored} | set(spec.streams)
    streams = tuple(name for name in spec.card.streams if name in names)
    return replace(spec, streams=streams), frames or any(array == "frames" for _, array in stored)


def _covers(stored: dict[str, list[str]], spec: Spec, frames: bool) -> bool:
    """Return whether a part holds every stream of a spec, with frames if requested."""
    for name in spec.streams:
        arrays = stored.get(name)
        if arrays is None:
            return False
        if frames and spec.card.streams[name].kind == "frames" and "frames" not in arrays:
            return False
    return True


def _select_clips(manifest: Manifest, selected: Flags) -> Iterator[Clip]:
    """Yield some of a manifest's clips."""
    root = manifest.root or Path()
    table = manifest.table[selected]
    columns = (table[name].tolist() for name in ("clip_id", "path", "start", "end"))
    last, recording = None, root
    for clip_id, path, start, end in zip(*columns, strict=True):
        if path != last:  # clips of one recording are mostly adjacent
            last, recording = path, root / path
        yield Clip(clip_id, recording, start, end)


# ---- clips that are up to date


def find_up_to_date(
    manifest: Manifest,
    index: Index,
    incomplete: set[str],
    hash_file: Callable[[Path, int, int], str],
    *,
    verify_audio: bool = False,
) -> Integers:
    """Return the positions in a cache's index of the clips that need not be embedded.

    Parameters
    ----------
    manifest : Manifest
        The requested clips.
    index : Index
        Of the existing parts.
    incomplete : set of str
        Parts that lack requested streams; their clips are not up to date.
    hash_file : callable
        Returns the SHA-256 of a recording, given path, size and modification time.
    verify_audio : bool
        Whether recordings are compared by hash even if size and time are unchanged.

    Returns
    -------
    numpy.ndarray, shape (clips,)
        Row numbers of ``index.table``: of embeddings, or of failures that would fail again; -1 for
        clips that are not in it, of another segment, or of a recording that changed.
    """
    positions = index.find(manifest.table["clip_id"])
    if not (positions >= 0).any():
        return positions
    clips = np.flatnonzero(positions >= 0)  # narrowed down below
    codes, names = index.part_codes
    complete = np.array([name not in incomplete for name in names], bool)
    clips = clips[complete[codes[positions[clips]]]]
    for name in ("start", "end"):
        requested = manifest.table[name].to_numpy()[clips]
        stored = index.table[name].to_numpy()[positions[clips]]
        clips = clips[(requested == stored) | (np.isnan(requested) & np.isnan(stored))]
    unchanged = np.zeros(len(positions), bool)
    unchanged[clips] = _unchanged(manifest, index, clips, positions[clips], hash_file, verify_audio)
    return np.where(unchanged, positions, -1)


def _unchanged(
    manifest: Manifest,
    index: Index,
    clips: Integers,
    positions: Integers,
    hash_file: Callable[[Path, int, int], str],
    verify_audio: bool,
) -> Flags:
    """Return which clips come from unchanged recordings; embeddings of missing ones count too."""
    paths = manifest.table["path"].to_numpy(object)[clips]
    root = manifest.root or Path()
    new_size, new_mtime = _stat_recordings(root, paths)
    size, mtime = (index.table[name].to_numpy()[positions] for name in ("size", "mtime"))
    failed = index.failed[positions]
    missing, unknown = new_size == _MISSING, size < 0
    # an embedding stays valid without its recording, and a failure stays a failure; a recording
    # that was missing and now exists may be tried
    unchanged = np.where(missing, ~failed | unknown, unknown & ~failed)
    same_size = ~missing & ~unknown & (size == new_size)
    if not verify_audio:
        same_time = same_size & (mtime == new_mtime)
        unchanged |= same_time
        same_size &= ~same_time
    hashes = index.table["sha256"]
    for k in np.flatnonzero(same_size):
        stored = hashes.iloc[positions[k]]
        try:
            unchanged[k] = bool(stored) and stored == hash_file(
                root / paths[k], int(new_size[k]), int(new_mtime[k])
            )
        except OSError:
            unchanged[k] = not failed[k]
    return unchanged


def _stat_recordings(root: Path, paths: npt.NDArray[Any]) -> tuple[Integers, Integers]:
    """Return size and modification time of recordings, with one stat for adjacent clips."""
    size, mtime = np.full(len(paths), _MISSING, np.int64), np.zeros(len(paths), np.int64)
    prefix = str(root) + os.sep
    last, facts = None, (_MISSING, 0)
    for k, path in enumerate(paths):
        if path != last:
            try:
                stat = os.stat(prefix + path.partition(MARK)[0])  # noqa: PTH116 - a Path costs more than the stat
                facts = (stat.st_size, stat.st_mtime_ns)
            except OSError:
                facts = (_MISSING, 0)
            last = path
        size[k], mtime[k] = facts
    return size, mtime


@lru_cache(maxsize=4096)
def hash_recording(path: Path, size: int, mtime: int) -> str:
    """Return the SHA-256 of a recording, computed once for all its clips."""
    return sha256(path)


# ---- checks


def _check_library(spec: Spec, cache: Path, dataset: str) -> None:
    """Raise if the cache has the same model's embeddings by another version of its library."""
    version = spec.code.get(_LIBRARY)
    if version is None:
        return
    for path in sorted(cache.glob(f"{spec.name}-*/{dataset}/{layout.LAYOUT_FILE}")):
        info = layout.load_layout(path.parent)
        code = info.identity.get("module", {})
        same = {**info.identity, "module": {**code, _LIBRARY: version}} == spec.identity
        if same and code.get(_LIBRARY) != version:
            raise CacheError(
                f"{path.parent}: computed with {_LIBRARY} {code.get(_LIBRARY)}; this is {_LIBRARY} "
                f"{version}, whose numbers may differ, and one cache must not mix them. Install "
                f"{_LIBRARY} {code.get(_LIBRARY)}, choose another --cache, or remove them: "
                f"probekit cache gc {spec.name}@{info.fingerprint[:8]}"
            )


def _check_no_data_loss(plan: Plan, incomplete: set[str], index: Index) -> None:
    """Raise before parts are upgraded that hold clips without a known or existing recording."""
    for job in plan.jobs:
        if job.path.name not in incomplete:
            continue
        rows = index.table[(index.table["part"] == job.path.name) & ~index.table["failed"]]
        stored = set(rows["clip_id"])
        orphans = stored - {clip.clip_id for clip in job.clips}
        if orphans:
            raise CacheError(
                f"{plan.folder}: adding streams or frames rewrites whole parts, but {len(orphans)} "
                f"clips of {job.path.name} are not in this manifest, for example {min(orphans)!r}. "
                "Extract with a manifest of all clips, without --limit"
            )
        missing = [clip for clip in job.clips if clip.clip_id in stored and not clip.path.exists()]
        if missing:
            raise CacheError(
                f"{plan.folder}: adding streams or frames needs all recordings again, but "
                f"{len(missing)} of {job.path.name} were not found, for example {missing[0].path}"
            )


def _check_root(plan: Plan, manifest: Manifest) -> None:
    """Raise if every clip would fail since no recording exists."""
    paths = [clip.path for job in plan.jobs for clip in job.clips]
    if paths and not plan.cached and not any(file_of(path).exists() for path in paths):
        raise DataError(
            f"{manifest.root}: none of the {len(paths)} recordings was found in it, for example "
            f"{paths[0].name!r} should be {paths[0]}. Check --root"
        )
