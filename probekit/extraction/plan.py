"""What is left to extract: which clips of which parts."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from probekit.cache import index as index_module
from probekit.cache import layout
from probekit.cache.index import Index
from probekit.cache.layout import Layout
from probekit.data.manifest import Manifest
from probekit.errors import CacheError, DataError
from probekit.extractors.load import Spec
from probekit.extractors.pooling import POOLINGS
from probekit.utils.hashing import sha256

Hash = Callable[[Path, int, int], str]
Numbers = npt.NDArray[np.int64]
_GONE = -2  # size of a recording that is not there; -1 is what the cache keeps where it was not


def find_up_to_date(
    clips: Manifest, index: Index, lacking: set[str], digest: Hash, *, verify_audio: bool = False
) -> Numbers:
    """Return where the clips stand in a cache's index, as far as they need not be embedded.

    Parameters
    ----------
    clips : Manifest
        The clips wanted.
    index : Index
        Of the parts that there are.
    lacking : set of str
        Parts that do not hold all that is wanted, and count for nothing.
    digest : callable
        Returns the SHA-256 of a recording, given path, size and time of change.
    verify_audio : bool
        Whether recordings are compared by hash even where size and time of change agree.

    Returns
    -------
    numpy.ndarray, shape (clips,)
        Numbers of rows of ``index.table``: of embeddings, or of failures that would fail again;
        -1 for clips that are not there, of another stretch, or of a recording that changed.
    """
    found = index.find(clips.table["clip_id"])
    if not (found >= 0).any():
        return found
    own = np.flatnonzero(found >= 0)  # what is compared; shrinks
    codes, names = index.part_codes
    whole = np.array([name not in lacking for name in names], bool)
    own = own[whole[codes[found[own]]]]
    for name in ("start", "end"):
        wanted, kept = clips.table[name].to_numpy()[own], index.table[name].to_numpy()[found[own]]
        own = own[(wanted == kept) | (np.isnan(wanted) & np.isnan(kept))]
    same = np.zeros(len(found), bool)
    same[own] = _same(clips, index, own, found[own], digest, verify_audio)
    return np.where(same, found, -1)


def _same(
    clips: Manifest, index: Index, own: Numbers, rows: Numbers, digest: Hash, verify_audio: bool
) -> npt.NDArray[np.bool_]:
    """Tell which clips come from recordings as they are now; those that are gone count as same."""
    paths = clips.table["path"].to_numpy(object)[own]
    root = clips.root or Path()
    size_now, mtime_now = _facts(root, paths)
    size, mtime = (index.table[name].to_numpy()[rows] for name in ("size", "mtime"))
    failed = index.failed[rows]
    gone, unknown = size_now == _GONE, size < 0
    # what was computed stays without its recording, and a failure stays a failure; a recording
    # that was not there and now is may be tried
    same = np.where(gone, ~failed | unknown, unknown & ~failed)
    compared = ~gone & ~unknown & (size == size_now)
    if not verify_audio:
        equal = compared & (mtime == mtime_now)
        same |= equal
        compared &= ~equal
    hashes = index.table["sha256"]
    for k in np.flatnonzero(compared):
        kept = hashes.iloc[rows[k]]
        try:
            same[k] = bool(kept) and kept == digest(
                root / paths[k], int(size_now[k]), int(mtime_now[k])
            )
        except OSError:
            same[k] = not failed[k]
    return same


def _facts(root: Path, paths: npt.NDArray[Any]) -> tuple[Numbers, Numbers]:
    """Return size and time of change of recordings, each looked at once."""
    size, mtime = np.full(len(paths), _GONE, np.int64), np.zeros(len(paths), np.int64)
    before = str(root) + os.sep
    last, known = None, (_GONE, 0)  # clips of one recording mostly stand together
    for k, path in enumerate(paths):
        if path != last:
            try:
                stat = os.stat(before + path)  # noqa: PTH116 - a Path costs more than the look
                known = (stat.st_size, stat.st_mtime_ns)
            except OSError:
                known = (_GONE, 0)
            last = path
        size[k], mtime[k] = known
    return size, mtime


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
    lost : dict of str to str
        Clips that are not tried, since they end the process, with the reason: they are recorded
        as failures.
    journal : pathlib.Path or None
        Where to write each clip's id before it is tried; clips are then done one by one.
    """

    path: Path
    clips: tuple[Clip, ...]
    spec: Spec
    frames: bool
    dtype: str
    lost: dict[str, str] = field(default_factory=dict)
    journal: Path | None = None

    def absolute(self) -> "PartJob":
        """Return the same job, for a process that may work in another folder."""
        sources = {
            role: replace(source, path=source.path.absolute()) if source.path else source
            for role, source in self.spec.sources.items()
        }
        return replace(
            self,
            path=self.path.absolute(),
            clips=tuple(replace(clip, path=clip.path.absolute()) for clip in self.clips),
            spec=replace(self.spec, sources=sources),
        )


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
    parts : int
        Into how many parts the whole dataset is cut.
    """

    spec: Spec
    where: Path
    total: int
    cached: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    jobs: list[PartJob] = field(default_factory=list)
    parts: int = 0

    @property
    def todo(self) -> int:
        """The number of clips to embed."""
        return sum(len(job.clips) for job in self.jobs)

    def share(self, number: int, of: int) -> "Plan":
        """Return the plan of one of several independent processes; together they do all of it.

        Parameters
        ----------
        number : int
            Which one, from 1 to ``of``.
        of : int >= 1
            How many there are.

        Returns
        -------
        Plan
            With every ``of``-th part of the dataset, whether there is something to do in it or not:
            so shares stay the same while others work.
        """
        own = {layout.part_name(k) for k in range(number - 1, self.parts, of)}
        return replace(self, jobs=[job for job in self.jobs if job.path.name in own])


def make_plan(
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
    size = bytes_per_clip(spec, frames, dtype)
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
    settled = wanted if fresh else layout.create_or_load_layout(where, wanted)
    if settled.dtype != dtype:
        raise CacheError(
            f"{where}: numbers are stored as {settled.dtype}; ask for --dtype {settled.dtype}, or "
            "use another --cache"
        )
    empty = index_module.Index(pd.DataFrame(), {})
    index = empty if fresh else index_module.load(where, keep=not dry)
    spec, frames = _merge_cached(spec, frames, index)
    lacking = {
        name
        for name, facts in index.parts.items()
        if any(facts["streams"].values()) and not _covers(facts["streams"], spec, frames)
    }
    plan = Plan(spec, where, len(clips), parts=settled.buckets)
    if verify_audio:
        recording_hash.cache_clear()
    there = find_up_to_date(clips, index, lacking, recording_hash, verify_audio=verify_audio)
    failed = (there >= 0) & (index.failed[there] if len(index.table) else False)
    plan.cached = int((there >= 0).sum() - failed.sum())
    if not retry_failed:
        ids = clips.table["clip_id"].to_numpy(object)[failed]
        reasons = index.table["reason"].to_numpy(object)[there[failed]] if len(ids) else []
        plan.failed = dict(zip(ids, reasons, strict=True))
    groups: dict[str, list[Clip]] = {}
    for clip in _clips(clips, (there < 0) | (failed & retry_failed)):
        name = layout.part_name(layout.bucket(clip.clip_id, settled.buckets))
        groups.setdefault(name, []).append(clip)
    for name, own in sorted(groups.items()):
        plan.jobs.append(PartJob(where / name, tuple(own), spec, frames, dtype))
    _check_no_data_loss(plan, lacking, index, where)
    _check_wrong_root(plan, clips)
    return plan


def _merge_cached(spec: Spec, frames: bool, index: index_module.Index) -> tuple[Spec, bool]:
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


def _covers(held: dict[str, list[str]], spec: Spec, frames: bool) -> bool:
    """Tell whether a part holds every stream that is wanted, with frames if they are."""
    for name in spec.streams:
        arrays = held.get(name)
        if arrays is None:
            return False
        if frames and spec.card.streams[name].kind == "frames" and "frames" not in arrays:
            return False
    return True


def _clips(clips: Manifest, wanted: npt.NDArray[np.bool_]) -> Iterator[Clip]:
    """Yield some of a manifest's clips."""
    root = clips.root or Path()
    table = clips.table[wanted]
    columns = (table[name].tolist() for name in ("clip_id", "path", "start", "end"))
    last, recording = None, root
    for clip_id, path, start, end in zip(*columns, strict=True):
        if path != last:  # clips of one recording mostly stand together
            last, recording = path, root / path
        yield Clip(clip_id, recording, start, end)


@lru_cache(maxsize=4096)
def recording_hash(path: Path, size: int, mtime: int) -> str:
    """Return the SHA-256 of a recording, computed once for all its clips."""
    return sha256(path)


def _check_no_data_loss(
    plan: Plan, lacking: set[str], index: index_module.Index, where: Path
) -> None:
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


def _check_wrong_root(plan: Plan, clips: Manifest) -> None:
    """Refuse an extraction in which every clip would fail since its recording is not there."""
    wanted = [clip.path for job in plan.jobs for clip in job.clips]
    if wanted and not plan.cached and not any(path.exists() for path in wanted):
        raise DataError(
            f"{clips.root}: none of the {len(wanted)} recordings is in it, for example "
            f"{wanted[0].name!r} would be {wanted[0]}. Is this the right --root?"
        )


def bytes_per_clip(spec: Spec, frames: bool, dtype: str, seconds: float = 10.0) -> float:
    """Estimate what one clip takes on the disk.

    Parameters
    ----------
    spec : Spec
        Its streams are kept.
    frames : bool
        Whether frames are kept.
    dtype : {"float32", "float16"}
        How numbers are stored.
    seconds : float > 0
        How long clips are. Parts are always cut for ten seconds: the layout must not depend on
        the recordings, which need not all be there.

    Returns
    -------
    float
        Bytes.
    """
    item = 2 if dtype == "float16" else 4
    total = 0.0
    for stream in (spec.card.streams[name] for name in spec.streams):
        vectors = 1.0 if stream.kind == "clip" else float(len(POOLINGS))
        if frames and stream.hop:
            vectors += seconds / float(stream.hop)
        total += vectors * stream.dim * item
    return total
