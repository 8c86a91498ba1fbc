"""Merging of caches from machines that share no disk, and of packed files, into one cache."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from probekit.cache import embeddings, integrity, layout, pack, part, training_clips
from probekit.cache.head import SavedHead, read_packed_head, save_head
from probekit.cache.index import Index, index_file, load_index
from probekit.cache.layout import Layout
from probekit.cache.manifests import all_paths, restore_manifest
from probekit.cache.texts import SavedTexts, add_texts, load_texts, read_packed_texts
from probekit.cache.training_clips import TrainingClips
from probekit.cards.selector import HF, MODEL, ONNX
from probekit.errors import CacheError
from probekit.utils import locking
from probekit.utils.text import summarize_ids

_BATCH = 256 << 20  # bytes of parts in memory at once
Progress = Callable[[str, int, int], None]  # description, done, total


@dataclass(frozen=True)
class Source:
    """Embeddings to be merged into another cache.

    Attributes
    ----------
    folder : pathlib.Path
        The folder of the parts.
    layout : Layout
        Of that folder.
    index : Index
        Which clip is in which part.
    head : SavedHead or None
        The network's own classifier, if saved.
    training_clips : TrainingClips or None
        Of a trained student, if saved.
    texts : SavedTexts or None
        Vectors of texts of a model of sound and text, if saved.
    """

    folder: Path
    layout: Layout
    index: Index
    head: SavedHead | None
    training_clips: TrainingClips | None = None
    texts: SavedTexts | None = None


@dataclass
class MergeSummary:
    """Outcome of merging into one folder of a cache.

    Attributes
    ----------
    folder : pathlib.Path
        Folder of the parts.
    added : int
        New clips; one that several sources hold counts once.
    known : int
        Clips of the sources that were in the folder before.
    """

    folder: Path
    added: int
    known: int


def merge_caches(
    sources: Sequence[Path], into: Path, progress: Progress | None = None
) -> list[MergeSummary]:
    """Copy the embeddings of caches, and of packed files, into one cache.

    Everything is checked before anything is written: digests, fingerprints, storage types, and
    that clips of one id come from one recording. An interrupted merge can be repeated.

    Parameters
    ----------
    sources : sequence of pathlib.Path
        Cache roots, or files of :func:`probekit.cache.pack.pack_embeddings`.
    into : pathlib.Path
        The target's cache root; created if missing.
    progress : callable, optional
        Called with a description, the steps done and their number.

    Returns
    -------
    list of MergeSummary
        One for each extractor, fingerprint and dataset.

    Raises
    ------
    CacheError
        If a source is damaged, or conflicts with the target or another source.
    """
    progress = progress or _no_progress
    groups: dict[Path, list[Source]] = {}
    for path in sources:
        for source in _open_sources(path, progress):
            info = source.layout
            model = info.params.get(MODEL, "") if info.extractor in (HF, ONNX) else ""
            folder = layout.dataset_folder(
                into, info.extractor, info.fingerprint, info.dataset, model
            )
            groups.setdefault(folder, []).append(source)
    targets = {folder: _load_target(folder) for folder in groups}
    for folder, group in groups.items():
        _check_conflicts([*filter(None, [targets[folder]]), *group])
    summaries = [
        _merge_folder(folder, targets[folder], group, progress)
        for folder, group in sorted(groups.items())
    ]
    for path in sources:
        if path.is_dir():
            _copy_manifests(path, into)
        else:
            pack.unpack_manifests(path, into)
    return summaries


def _open_sources(path: Path, progress: Progress) -> Iterator[Source]:
    """Yield the embeddings of a cache or a packed file, after reading every byte of them."""
    if path.is_file():
        progress(f"verify {path.name}", 0, 1)
        fault = part.verify_part(path)
        if fault is not None:
            raise CacheError(f"{path}: {fault}. Copy or download the file again")
        info = pack.read_packed_layout(path)
        index, head = index_file(path, info), read_packed_head(path)
        clips = training_clips.read_packed(path)
        yield Source(path.parent, info, index, head, clips, read_packed_texts(path))
        return
    entries = embeddings.list_embeddings(path)
    if not entries:
        raise CacheError(f"{path}: neither a cache with embeddings nor a packed file")
    for entry in entries:
        name = f"verify {entry.folder.parent.name}/{entry.folder.name}"
        count, total = iter(range(1, 1 << 40)), len(list(entry.folder.glob("part-*.h5")))

        def step(name: str = name, count: Iterator[int] = count, total: int = total) -> None:
            progress(name, next(count), total)

        integrity.check_undamaged(
            entry.folder, step, f"Repair it in the cache it comes from. {part.REPAIR_HINT}"
        )
        index = load_index(entry.folder, save=False)
        clips = training_clips.load(entry.folder.parent)
        texts = load_texts(entry.folder.parent)
        yield Source(entry.folder, entry.layout, index, entry.head, clips, texts)


def _load_target(folder: Path) -> Source | None:
    """Return what the target folder holds; None if it is new."""
    if not (folder / layout.LAYOUT_FILE).exists():
        return None
    integrity.check_undamaged(folder)
    return Source(folder, layout.load_layout(folder), load_index(folder, save=False), None)


def _check_conflicts(group: Sequence[Source]) -> None:
    """Raise unless all sources of a group fit into one folder."""
    first = group[0]
    first_arrays = _list_arrays(first)
    clips = first.index.table
    for source in group[1:]:
        layout.check_fingerprint(
            first.folder,
            first.layout.fingerprint,
            first.layout.identity,
            source.layout.fingerprint,
            source.layout.identity,
        )
        if source.layout.dtype != first.layout.dtype:
            raise CacheError(
                f"{source.folder}: numbers are stored as {source.layout.dtype}, those of "
                f"{first.folder} as {first.layout.dtype}. Merge them into different caches"
            )
        arrays = _list_arrays(source)
        if arrays and first_arrays and arrays != first_arrays:
            raise CacheError(
                f"{source.folder}: holds {', '.join(sorted(arrays))}; {first.folder} holds "
                f"{', '.join(sorted(first_arrays))}. Extract the same streams (and frames) in both"
            )
        both = clips.merge(source.index.table, on="clip_id", suffixes=("", "_new"))
        both = both[~both["failed"].astype(bool) & ~both["failed_new"].astype(bool)]
        differ = both["sha256"] != both["sha256_new"]
        for name in ("start", "end"):
            new = both[f"{name}_new"]
            differ |= (both[name] != new) & ~(both[name].isna() & new.isna())
        if differ.any():
            ids = sorted(both["clip_id"][differ])
            raise CacheError(
                f"{source.folder} and {first.folder}: {len(ids)} clips of the same name come from "
                f"different recordings: {summarize_ids(ids)}. Rename them, or delete the wrong ones"
            )
        clips = pd.concat([clips, source.index.table]).drop_duplicates("clip_id")


def _list_arrays(source: Source) -> set[str]:
    """Return the arrays of a source's parts, which must be the same in all."""
    arrays = [
        {f"{stream}/{array}" for stream, names in facts["streams"].items() for array in names}
        for facts in source.index.parts.values()
        if any(facts["streams"].values())
    ]
    if any(names != arrays[0] for names in arrays):
        raise CacheError(
            f"{source.folder}: some parts lack streams or frames that others have. Finish the "
            "extraction that adds them first"
        )
    return arrays[0] if arrays else set()


def _merge_folder(
    folder: Path, target: Source | None, group: Sequence[Source], progress: Progress
) -> MergeSummary:
    """Merge sources into one folder, a few of its parts at a time."""
    selected, added, known = _select_clips(target, group)
    buckets = target.layout.buckets if target else max(s.layout.buckets for s in group)
    info = layout.create_or_load_layout(folder, replace(group[0].layout, buckets=buckets))
    members: dict[int, list[list[str]]] = {}  # part to its clips of each source
    for k, ids in enumerate(selected):
        for clip_id in ids:
            number = layout.assign_bucket(clip_id, info.buckets)
            members.setdefault(number, [[] for _ in group])[k].append(clip_id)
    size = sum((s.folder / name).stat().st_size for s in group for name in s.index.parts)
    at_once = max(1, int(_BATCH * info.buckets / max(size, 1)))
    numbers = sorted(members)
    name = f"merge {folder.parent.name}/{folder.name}"
    for start in range(0, len(numbers), at_once):
        batch = numbers[start : start + at_once]
        parts: dict[int, part.Part] = {}
        for k, source in enumerate(group):
            _collect(parts, source, {number: members[number][k] for number in batch}, info.dtype)
        for number, content in parts.items():
            _write(folder / layout.part_name(number), content)
        progress(name, start + len(batch), len(numbers))
    for source in group:
        if source.head is not None:
            save_head(folder.parent, source.head)
        if source.texts is not None:
            add_texts(folder.parent, source.texts)
        record = folder.parent / training_clips.CLIPS_FILE
        if source.training_clips is not None and not record.exists():
            training_clips.save(folder.parent, source.training_clips)
    return MergeSummary(folder, added, known)


def _select_clips(
    target: Source | None, group: Sequence[Source]
) -> tuple[list[list[str]], int, int]:
    """Return the clips to take from each source, and how many are new and how many were known.

    A failed clip is taken only if no source before holds it.
    """
    table = target.index.table if target else pd.DataFrame({"clip_id": [], "failed": []})
    existing = frozenset(table["clip_id"][~table["failed"].astype(bool)])
    embedded, known = set(existing), set[str]()
    known_failed = set(table["clip_id"]) - embedded
    selected: list[list[str]] = []
    added = 0
    for source in group:
        table = source.index.table
        failed = table["failed"].astype(bool)
        new = [i for i in table["clip_id"][~failed] if i not in embedded]
        known.update(existing.intersection(table["clip_id"][~failed]))
        added += len(new)
        embedded.update(new)
        new_failed = [
            i for i in table["clip_id"][failed] if i not in embedded and i not in known_failed
        ]
        known_failed.update(new_failed)
        selected.append([*new, *new_failed])
    return selected, added, len(known)


def _collect(
    parts: dict[int, part.Part], source: Source, members: dict[int, list[str]], dtype: str
) -> None:
    """Read clips of a source into the parts that they belong in."""
    target = {clip_id: number for number, ids in members.items() for clip_id in ids}
    if not target:
        return
    positions = source.index.find(list(target))
    codes, names = source.index.part_codes
    by_file: dict[str, list[str]] = {}
    for clip_id, position in zip(target, positions, strict=True):
        by_file.setdefault(names[codes[position]], []).append(clip_id)
    for name, ids in sorted(by_file.items()):
        content = part.read_part(source.folder / name, only=set(ids))
        meta = {**content.meta, "dtype": dtype}
        for key in (*pack.PACK_ATTRIBUTES, part.NOTES):
            meta.pop(key, None)
        for clip_id in ids:
            merged = parts.setdefault(target[clip_id], part.Part(dict(meta), content.grids))
            if clip_id in content.rows:
                merged.rows[clip_id] = content.rows[clip_id]
                merged.failed.pop(clip_id, None)
                merged.grids = content.grids
            elif clip_id in content.failed and clip_id not in merged.rows:
                merged.failed[clip_id] = content.failed[clip_id]
        for clip_id in set(ids) & content.meta.get(part.NOTES, {}).keys():
            part.merge_notes(parts[target[clip_id]], content, {clip_id})


def _write(path: Path, content: part.Part) -> None:
    """Write a part, with the other clips that it holds already."""
    try:
        with locking.write_lock(path.parent):
            if path.exists():
                old = part.read_part(path)
                content.rows |= old.rows  # existing clips stay
                content.failed |= old.failed
                content.failed = {i: f for i, f in content.failed.items() if i not in content.rows}
                part.merge_notes(old, content, content.rows.keys() - old.rows.keys())
                content.meta = old.meta
                content.grids = old.grids if old.rows else content.grids
            part.write_part(path, content)
    except OSError as error:
        raise CacheError(layout.not_writable_message(path, error)) from error


def _copy_manifests(source: Path, into: Path) -> None:
    """Copy the saved manifests with their times: the newest is the one that is used."""
    for path in sorted(all_paths(source)):
        restore_manifest(into, path.name, path.read_bytes(), path.stat().st_mtime_ns)


def _no_progress(description: str, done: int, total: int) -> None:
    """Ignore progress."""
