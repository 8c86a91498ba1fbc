"""Caches made on machines that share no disk become one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from probekit.cache import embeddings, integrity, layout, pack, part, training_clips
from probekit.cache import head as head_module
from probekit.cache import index as index_module
from probekit.cache.head import SavedHead
from probekit.cache.index import Index
from probekit.cache.layout import Layout
from probekit.cache.training_clips import TrainingClips
from probekit.errors import CacheError
from probekit.utils import atomic, locking
from probekit.utils.text import summarize_ids

_BATCH = 256 << 20  # bytes of parts that are put together at once
Tick = Callable[[str, int, int], None]  # what is going on, how much is done, of how much


@dataclass(frozen=True)
class Source:
    """Embeddings that go into another cache.

    Attributes
    ----------
    where : pathlib.Path
        The folder of the parts.
    layout : Layout
        What they share.
    index : Index
        Which clip is in which part.
    head : KeptHead or None
        The network's own classifier, where it is kept.
    heard : Heard or None
        What a trained student has learnt from, where it is kept.
    """

    folder: Path
    layout: Layout
    index: Index
    head: SavedHead | None
    training_clips: TrainingClips | None = None


@dataclass
class MergeSummary:
    """What came into one folder of a cache.

    Attributes
    ----------
    where : pathlib.Path
        The folder.
    added : int
        Clips that are new there; one that several sources hold counts once.
    known : int
        Clips that were there before, and that a source holds, too.
    """

    folder: Path
    added: int
    known: int


def merge_caches(sources: Sequence[Path], into: Path, tick: Tick | None = None) -> list[MergeSummary]:
    """Copy the embeddings of caches, and of packed files, into one cache.

    Everything is checked before anything is written: digests, fingerprints, storage types, and
    that clips of one name come from one recording. A merge that was interrupted can be repeated.

    Parameters
    ----------
    sources : sequence of pathlib.Path
        Folders of caches, or files of :func:`probekit.cache.pack.pack`.
    into : pathlib.Path
        The folder of the cache that they go into; made if missing.
    tick : callable, optional
        Called as work goes on.

    Returns
    -------
    list of Merged
        One for each extractor, fingerprint and dataset.

    Raises
    ------
    CacheError
        If a source is damaged, or does not fit what is there or another source.
    """
    tick = tick or _no_progress
    groups: dict[Path, list[Source]] = {}
    for source in sources:
        for own in _open(source, tick):
            settled = own.layout
            where = layout.dataset_folder(into, settled.extractor, settled.fingerprint, settled.dataset)
            groups.setdefault(where, []).append(own)
    there = {where: _load_target(where) for where in groups}
    for where, group in groups.items():
        _check_conflicts([*filter(None, [there[where]]), *group])
    done = [_merge(where, there[where], group, tick) for where, group in sorted(groups.items())]
    for source in sources:
        if source.is_dir():
            _copy_beside(source, into)
    return done


def _open(source: Path, tick: Tick) -> Iterator[Source]:
    """Yield what is in a cache or a packed file, once every byte of it was checked."""
    if source.is_file():
        tick(f"verify {source.name}", 0, 1)
        fault = part.verify_part(source)
        if fault is not None:
            raise CacheError(f"{source}: {fault}. Get the file again")
        settled = pack.layout_of(source)
        index = index_module.index_file(source, settled)
        yield Source(
            source.parent,
            settled,
            index,
            head_module.read_packed_head(source),
            training_clips.read_packed(source),
        )
        return
    entries = embeddings.list_embeddings(source)
    if not entries:
        raise CacheError(f"{source}: neither a cache with embeddings nor a packed file")
    for entry in entries:
        name = f"verify {entry.where.parent.name}/{entry.where.name}"
        count, total = iter(range(1, 1 << 40)), len(list(entry.where.glob("part-*.h5")))

        def step(name: str = name, count: Iterator[int] = count, total: int = total) -> None:
            tick(name, next(count), total)

        damaged = integrity.find_damaged(entry.where, step)
        for file, fault in damaged.items():
            raise CacheError(
                f"{entry.where / file}: {fault}. Mend it where it was made: {part.REPAIR}"
            )
        index = index_module.load_index(entry.where, save=False)
        clips = training_clips.load(entry.where.parent)
        yield Source(entry.where, entry.layout, index, entry.head, clips)


def _load_target(where: Path) -> Source | None:
    """Return what the folder holds that is merged into."""
    if not (where / layout.NAME).exists():
        return None
    damaged = integrity.find_damaged(where)
    for file, fault in damaged.items():
        raise CacheError(f"{where / file}: {fault}. {part.REPAIR}")
    return Source(where, layout.load_layout(where), index_module.load_index(where, save=False), None)


def _check_conflicts(group: Sequence[Source]) -> None:
    """Raise unless everything in a group can stand in one folder."""
    first = group[0]
    _kinds(first)
    held = first.index.table
    for own in group[1:]:
        layout.check_fingerprint(
            first.folder,
            first.layout.fingerprint,
            first.layout.identity,
            own.layout.fingerprint,
            own.layout.identity,
        )
        if own.layout.dtype != first.layout.dtype:
            raise CacheError(
                f"{own.folder}: numbers are stored as {own.layout.dtype}, those of {first.folder} as "
                f"{first.layout.dtype}. Merge them into different caches"
            )
        kinds = [_kinds(one) for one in (first, own)]
        if all(kinds) and kinds[0] != kinds[1]:
            raise CacheError(
                f"{own.folder}: holds {', '.join(sorted(kinds[1]))}; {first.folder} holds "
                f"{', '.join(sorted(kinds[0]))}. Extract the same streams (and frames) in both"
            )
        both = held.merge(own.index.table, on="clip_id", suffixes=("", "_own"))
        both = both[~both["failed"].astype(bool) & ~both["failed_own"].astype(bool)]
        differ = both["sha256"] != both["sha256_own"]
        for name in ("start", "end"):
            other = both[f"{name}_own"]
            differ |= (both[name] != other) & ~(both[name].isna() & other.isna())
        if differ.any():
            ids = sorted(both["clip_id"][differ])
            raise CacheError(
                f"{own.folder} and {first.folder}: {len(ids)} clips of the same name come from "
                f"different recordings: {summarize_ids(ids)}. Rename them, or delete the wrong ones"
            )
        held = pd.concat([held, own.index.table]).drop_duplicates("clip_id")


def _kinds(own: Source) -> set[str]:
    """Return which arrays a source's parts hold; all must hold the same."""
    found = [
        {f"{stream}/{array}" for stream, arrays in facts["streams"].items() for array in arrays}
        for facts in own.index.parts.values()
        if any(facts["streams"].values())
    ]
    if any(kinds != found[0] for kinds in found):
        raise CacheError(
            f"{own.folder}: some parts hold streams or frames that others lack. Run the extraction "
            "that was to add them to its end"
        )
    return found[0] if found else set()


def _merge(where: Path, there: Source | None, group: Sequence[Source], tick: Tick) -> MergeSummary:
    """Bring sources into one folder, some of its parts at a time."""
    before = there.index.table if there else pd.DataFrame({"clip_id": [], "failed": []})
    held = frozenset(before["clip_id"][~before["failed"].astype(bool)])
    good, known = set(held), set[str]()
    known_failed = set(before["clip_id"]) - good
    wanted: list[tuple[Source, list[str]]] = []
    added = 0
    for own in group:
        table = own.index.table
        failed = table["failed"].astype(bool)
        fresh = [i for i in table["clip_id"][~failed] if i not in good]
        known.update(held.intersection(table["clip_id"][~failed]))
        added += len(fresh)
        good.update(fresh)
        lost = [i for i in table["clip_id"][failed] if i not in good and i not in known_failed]
        known_failed.update(lost)
        wanted.append((own, [*fresh, *lost]))
    settled = layout.create_or_load_layout(
        where, replace(group[0].layout, buckets=_buckets(there, group))
    )
    homes: dict[int, list[list[str]]] = {}
    for number, (_, ids) in enumerate(wanted):
        for clip_id in ids:
            home = layout.bucket(clip_id, settled.buckets)
            homes.setdefault(home, [[] for _ in wanted])[number].append(clip_id)
    size = sum((own.folder / name).stat().st_size for own in group for name in own.index.parts)
    at_once = max(1, int(_BATCH * settled.buckets / max(size, 1)))
    numbers = sorted(homes)
    name = f"merge {where.parent.name}/{where.name}"
    for begin in range(0, len(numbers), at_once):
        batch = numbers[begin : begin + at_once]
        collected: dict[int, part.Part] = {}
        for number, (own, _) in enumerate(wanted):
            _collect(collected, own, {home: homes[home][number] for home in batch}, settled)
        for home, content in collected.items():
            _write(where / layout.part_name(home), content)
        tick(name, begin + len(batch), len(numbers))
    for own in group:
        if own.head is not None:
            head_module.save_head(where.parent, own.head)
        if own.training_clips is not None and not (where.parent / training_clips.NAME).exists():
            training_clips.save(where.parent, own.training_clips)
    return MergeSummary(where, added, len(known))


def _buckets(there: Source | None, group: Sequence[Source]) -> int:
    """Return into how many parts to cut: as it is there, else as in the largest source."""
    if there is not None:
        return there.layout.buckets
    return max(own.layout.buckets for own in group)


def _collect(
    into: dict[int, part.Part], own: Source, homes: dict[int, list[str]], settled: Layout
) -> None:
    """Read clips of a source into the parts that they go to."""
    target = {clip_id: home for home, ids in homes.items() for clip_id in ids}
    if not target:
        return
    found = own.index.find(list(target))
    codes, names = own.index.part_codes
    by_file: dict[str, list[str]] = {}
    for clip_id, row in zip(target, found, strict=True):
        by_file.setdefault(names[codes[row]], []).append(clip_id)
    for name, ids in sorted(by_file.items()):
        content = part.read_part(own.folder / name, only=set(ids))
        meta = {**content.meta, "dtype": settled.dtype}
        for key in pack.EXTRA:
            meta.pop(key, None)
        for clip_id in ids:
            mine = into.setdefault(target[clip_id], part.Part(meta, content.grids))
            if clip_id in content.rows:
                mine.rows[clip_id] = content.rows[clip_id]
                mine.failed.pop(clip_id, None)
                mine.grids = content.grids
            elif clip_id in content.failed and clip_id not in mine.rows:
                mine.failed[clip_id] = content.failed[clip_id]


def _write(path: Path, content: part.Part) -> None:
    """Write a part, with the other clips that it holds already."""
    try:
        with locking.write_lock(path.parent):
            if path.exists():
                old = part.read_part(path)
                content.rows |= old.rows  # what is there stays
                content.failed |= old.failed
                content.failed = {i: f for i, f in content.failed.items() if i not in content.rows}
                content.meta = old.meta
                content.grids = old.grids if old.rows else content.grids
            part.write_part(path, content)
    except OSError as error:
        raise CacheError(layout.not_writable_message(path, error)) from error


def _copy_beside(source: Path, into: Path) -> None:
    """Bring the kept manifests along, with their times: the newest is the one that is used."""
    for path in sorted((source / "manifests").glob("*.parquet")):
        own = into / "manifests" / path.name
        stat = path.stat()
        if own.exists() and own.stat().st_mtime_ns >= stat.st_mtime_ns:
            continue
        try:
            own.parent.mkdir(parents=True, exist_ok=True)
            atomic.atomic_copy(path, own)
        except OSError as error:
            raise CacheError(layout.not_writable_message(own, error)) from error


def _no_progress(what: str, done: int, total: int) -> None:
    """Take progress, and show none."""
